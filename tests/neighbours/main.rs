//! The systems that a Spark user already has, beside this webhook on a real kube-apiserver: the
//! real one wherever it can be had, and the shape that it gives to pods where it cannot.

mod cern;
#[path = "../support/cluster.rs"]
mod cluster;
#[path = "../support/documentation.rs"]
mod documentation;
mod history_server;
#[path = "../support/later.rs"]
mod later;
mod operator;
mod recipe;
mod rock;
mod shapes;
#[path = "../support/soundness.rs"]
mod soundness;
#[path = "../support/spark.rs"]
mod spark;
mod spark8t;
mod submitters;
#[path = "../support/webhook.rs"]
mod webhook;
