//! The binary: reads the command line, runs the command, turns an error into one line and an exit status.

use std::process::ExitCode;

use clap::Parser;
use spark_webhook::cli::Cli;

/// With glibc's allocator, a fifth of the server's CPU time went into libc, most of it to allocate (`make bench-server` under perf).
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
