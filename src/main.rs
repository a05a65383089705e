//! The binary: reads the command line, runs the command, turns an error into one line and an exit status.

use std::process::ExitCode;

use clap::Parser;
use spark_webhook::cli::Cli;

/// glibc's takes up to a quarter of the CPU time of an admission (`make bench-server`), and returns less memory after a flood.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("spark-webhook: {error:#}");
            ExitCode::from(2)
        }
    }
}
