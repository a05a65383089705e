//! The tests that start the program, or look at what is packaged with it.

mod certs;
mod commands;
mod downloads;
mod operations;
mod packaging;
mod protocol;
mod tls;
