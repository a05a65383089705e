//! The binary.

use std::process::ExitCode;

/// With glibc's allocator, to allocate was among the first things that a request cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    spark_webhook::cli::main()
}
