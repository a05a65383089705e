//! How many instructions an admission takes where somebody makes reviews cost as much as their size
//! allows.
//!
//! `cargo bench --no-default-features --bench hostile` counts one admission of each shape of
//! `testkit::hostile` in a few sizes, under valgrind's callgrind. It fails where one takes more than
//! its bound. Words after `--` select the shapes whose names contain one of them. An admission that
//! ends with an error counts like any other.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use spark_webhook::admission::{Settings, admit};
use testkit::hostile;

/// The program's: much of a hostile review's cost can be allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The bounds are relative to this recorded driver.
const ORDINARY: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/all-kinds.spark-3.5.driver.json");

/// A review takes at most so many times the instructions per byte of the ordinary one.
const MOST_TIMES: u64 = 3;

/// A review below [`LARGE`] may take these besides: 100 µs, at 3 instructions per ns. An admission
/// carries out about as many on a core of 3 GHz.
const FIXED: u64 = 100_000 * 3;

/// From this size on, a review has only the bound per byte.
const LARGE: usize = 64 * 1024;

/// The times and the fixed part of a shape.
fn allowed(shape: &str) -> (u64, u64) {
    match shape {
        // Each entry of five bytes is hashed. At most 4,096 are read.
        "entries of a list" | "entries that opt out" => (MOST_TIMES, 4096 * 800),
        // The thousand items of the volume are sorted first.
        "mounts of parts of a volume" => (MOST_TIMES, 1000 * 800),
        // Each element of two bytes becomes a struct. At most 4,096 are read.
        "sources" => (MOST_TIMES, 4096 * 100),
        // Annotations are sorted, and these differ only in their values. Each key with an escape
        // is copied.
        "one request in two spellings" | "escapes in keys" => (5, 0),
        _ => (MOST_TIMES, 0),
    }
}

/// A small one, the smallest without a fixed part, and one with more elements than are read.
const SIZES: [usize; 3] = [16 * 1024, LARGE, 1024 * 1024];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [run, bodies @ ..] = words.as_slice()
        && run == "run"
    {
        admit_each(bodies);
        return ExitCode::SUCCESS;
    }
    let is_selected =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let shapes = hostile::SHAPES.iter().filter(|shape| is_selected(shape.name));
    let cases: Vec<_> =
        shapes.flat_map(|shape| SIZES.map(|size| (shape, size, shape.review(size)))).collect();
    let ordinary = fs::read(ORDINARY).unwrap();
    let requests = hostile::SHAPES.iter().find(|shape| shape.has_requests()).unwrap().review(0);
    let counts =
        count([&ordinary, &requests].into_iter().chain(cases.iter().map(|(_, _, review)| review)));
    let [of_ordinary, of_requests, counts @ ..] = counts.as_slice() else { unreachable!() };

    let length = |review: &[u8]| u64::try_from(review.len()).unwrap();
    let ordinary = length(&ordinary);
    println!("an ordinary driver's review of {ordinary} bytes takes {of_ordinary} instructions");
    println!(
        "a driver's with 250 requests of {} bytes takes {of_requests}, and what comes beside them may take twice as much more",
        requests.len()
    );
    println!("{:42} {:>9} {:>13} {:>16}", "shape", "bytes", "instructions", "times ordinary");
    let mut is_within = true;
    for ((shape, size, review), count) in cases.iter().zip(counts) {
        let (name, bytes) = (shape.name, length(review));
        let (times, more) = allowed(name);
        let more = more
            + if *size < LARGE { FIXED } else { 0 }
            + if shape.has_requests() { 2 * of_requests } else { 0 };
        let most = bytes * of_ordinary * times / ordinary + more;
        let percent = count * ordinary * 100 / (of_ordinary * bytes);
        let remark =
            if *count > most { format!("  too many: at most {most}") } else { String::new() };
        println!(
            "{name:42} {bytes:9} {count:13} {:>13}.{:02}{remark}",
            percent / 100,
            percent % 100
        );
        is_within &= remark.is_empty();
    }
    if is_within {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "an admission of a hostile review takes too many instructions: see which in the table, and why with callgrind_annotate"
    );
    ExitCode::FAILURE
}

/// Instructions of an admission of each body, all counted in one run of callgrind.
fn count<'a>(bodies: impl Iterator<Item = &'a Vec<u8>>) -> Vec<u64> {
    let directory = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> =
        bodies.enumerate().map(|(number, body)| write(directory.path(), number, body)).collect();
    let output = directory.path().join("callgrind");
    // Each time that the function returns, callgrind writes another file with what was counted
    // since it was called.
    let mut command = Command::new("valgrind");
    command.args([
        "--tool=callgrind",
        "--zero-before=hostile::counted_admission",
        "--dump-after=hostile::counted_admission",
    ]);
    command
        .arg(format!("--callgrind-out-file={}", output.display()))
        .arg(std::env::current_exe().unwrap());
    let ran = command.arg("run").args(&files).output().expect("valgrind must be installed");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let counted = |number: usize| {
        let written = fs::read_to_string(output.with_extension(number.to_string())).unwrap();
        written.lines().find_map(|line| line.strip_prefix("summary: ")).unwrap().parse().unwrap()
    };
    (1..=files.len()).map(counted).collect()
}

fn write(directory: &Path, number: usize, body: &[u8]) -> PathBuf {
    let file = directory.join(number.to_string());
    fs::write(&file, body).unwrap();
    file
}

fn admit_each(files: &[String]) {
    let settings = Settings::default();
    for file in files {
        let body = fs::read(file).unwrap();
        // Once without: the allocator of a server that runs for a while has memory already.
        let _ = black_box(admit(&body, &settings));
        counted_admission(&body, &settings);
    }
}

/// A function of its own, because callgrind is told its name.
#[inline(never)]
fn counted_admission(body: &[u8], settings: &Settings) {
    // An error costs as well.
    let _ = black_box(admit(black_box(body), settings));
}
