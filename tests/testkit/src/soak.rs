//! The two forms of a test: a quick one for `make test`, and a long one for `make soak`.

use std::env;
use std::process::{Command, id};
use std::time::{Duration, Instant};

/// Whether this is the long form.
pub fn is_soak() -> bool {
    env::var_os("SOAK").is_some()
}

/// How much of something, in the quick form and in the long one.
pub fn scale<T>(quick: T, long: T) -> T {
    if is_soak() { long } else { quick }
}

/// For how long a steady load is kept up in the long form.
pub fn minutes() -> u32 {
    env::var("SOAK_MINUTES")
        .map_or(10, |minutes| minutes.parse().expect("SOAK_MINUTES is a number"))
}

/// A line of what `make soak` prints.
pub struct Row<'a> {
    pub what: &'a str,
    pub attempts: usize,
    /// With what was to be answered, a refusal where that is right.
    pub answered: usize,
    pub memory_kib: Option<u64>,
    pub started: Instant,
}

impl Row<'_> {
    /// Prints it, whatever else was printed on the same line.
    pub fn print(&self) {
        let Self { what, attempts, answered, memory_kib, started } = self;
        let lost = attempts - answered;
        let memory = memory_kib
            .map(|kib| format!("{:.1} MiB", f64::from(u32::try_from(kib).unwrap()) / 1024.0));
        let (memory, seconds) = (memory.unwrap_or_default(), started.elapsed().as_secs());
        println!(
            "soak: {what:<62} {attempts:>9} {answered:>9} {lost:>6} {memory:>10} {seconds:>7}"
        );
    }
}

/// Lets this process and those that it starts open so many files, as far as the system allows it.
pub fn allow_descriptors(count: u32) {
    let status = Command::new("prlimit")
        .args(["--pid", &id().to_string(), &format!("--nofile={count}:")])
        .status();
    let status =
        status.unwrap_or_else(|error| panic!("prlimit, of util-linux, cannot be run: {error}"));
    assert!(
        status.success(),
        "this needs {count} open files in each of two processes: raise the hard limit (ulimit -Hn)"
    );
}

/// The middle one.
pub fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
