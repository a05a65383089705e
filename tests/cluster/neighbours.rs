//! The systems that a Spark user already has, beside this webhook on a real kube-apiserver: the
//! real one wherever it can be had, and the shape that it gives to pods where it cannot.

mod cern;
mod history_server;
mod operator;
mod recipe;
mod rock;
mod shapes;
mod spark8t;
mod submitters;
