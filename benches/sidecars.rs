//! How long an admission takes where the neighbours have been before: each golden review of a real
//! Spark's pod, with four sidecars and 40 volumes.
//!
//! `cargo bench --no-default-features --bench sidecars` says it in a few seconds, and fails where
//! the bound is missed.

use std::fs;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;
use spark_webhook::admission::{Settings, admit};
use testkit::sidecars;

/// The program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The most that an admission may take, on average over the golden reviews; of each the median
/// counts.
const MOST: Duration = Duration::from_micros(25);

fn main() -> ExitCode {
    let files = fs::read_dir("tests/golden").unwrap().map(|entry| entry.unwrap().path());
    let reviews =
        files.filter(|file| file.extension().is_some_and(|extension| extension == "json"));
    let mut took: Vec<(Duration, usize, String)> = Vec::new();
    for file in reviews {
        let body = fs::read(&file).unwrap();
        let review: Value = serde_json::from_slice(&body).unwrap();
        if review["request"]["object"]["metadata"]["labels"]["spark-app-selector"].is_string() {
            let body = sidecars::with_sidecars(&body);
            took.push((
                median(&body),
                body.len(),
                file.file_stem().unwrap().to_string_lossy().into_owned(),
            ));
        }
    }
    took.sort_unstable();
    let count = took.len();
    assert!(count > 50, "{count} reviews of real Sparks");
    let mean =
        took.iter().map(|(time, ..)| *time).sum::<Duration>() / u32::try_from(count).unwrap();
    let bytes = took.iter().map(|(_, bytes, _)| bytes).sum::<usize>() / count;
    let (slowest, _, name) = &took[count - 1];
    let holds = mean <= MOST;
    println!(
        "{count} golden reviews with sidecars, {bytes} bytes on average: {mean:?} each, at most {MOST:?}: {}; the slowest, {name}, {slowest:?}",
        if holds { "holds" } else { "MISSED" }
    );
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn median(body: &[u8]) -> Duration {
    let settings = Settings::default();
    let mut took: Vec<Duration> = (0..2001)
        .map(|_| {
            let started = Instant::now();
            black_box(admit(black_box(body), &settings).unwrap());
            started.elapsed()
        })
        .collect();
    took.sort_unstable();
    took[took.len() / 2]
}
