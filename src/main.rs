//! The binary: reads the command line, runs the command, turns an error into one line and an exit status.

use std::process::ExitCode;

use clap::Parser;
use spark_webhook::cli::Cli;

/// With glibc's allocator, to allocate was among the first things that a request cost.
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
