//! The binary: reads the command line, runs the command, turns an error into one line and an exit status.

use std::process::ExitCode;

use clap::Parser;
use spark_webhook::cli::Cli;

/// With glibc's allocator, and more so musl's, a request costs noticeably more CPU time (`make bench-server`).
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
