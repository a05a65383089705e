//! How many instructions one admission takes.
//!
//! `cargo bench --no-default-features --bench instructions` counts them under valgrind's callgrind
//! and compares them with the committed `benches/instructions.txt`; more than 5 % away, in either
//! direction, fails. `UPDATE_INSTRUCTIONS=1` writes the file: look at its difference before you
//! commit it.

mod callgrind;

use std::fmt::Write;
use std::hint::black_box;
use std::process::ExitCode;
use std::{env, fs};

use spark_webhook::admission::{Policy, admit};
use testkit::sidecars;

const CASES: [&str; 6] = [
    "conf-dirs.spark-4.1.driver",
    "kubeflow-operator.spark-3.5.driver",
    "all-kinds.spark-3.5.driver",
    "no-annotations.spark-3.5.driver",
    "conf-dirs.spark-4.1.executor",
    "sidecars+all-kinds.spark-3.5.driver",
];
const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

/// How far a count may be from the committed one, in percent.
const TOLERANCE: u64 = 5;

fn main() -> ExitCode {
    if let Some((case, times)) = callgrind::asked() {
        admit_often(&case, times);
        return ExitCode::SUCCESS;
    }
    let counted: Vec<(&str, u64)> =
        CASES.into_iter().map(|case| (case, callgrind::instructions(case))).collect();
    if env::var_os("UPDATE_INSTRUCTIONS").is_some() {
        let lines = counted.iter().fold(String::new(), |mut lines, (case, count)| {
            writeln!(lines, "{case} {count}").unwrap();
            lines
        });
        fs::write(COMMITTED, lines).unwrap();
        return ExitCode::SUCCESS;
    }
    let committed = fs::read_to_string(COMMITTED).unwrap();
    let mut is_within = true;
    for (case, count) in counted {
        let line = committed.lines().find_map(|line| line.strip_prefix(case)).unwrap_or("0");
        let expected: u64 = line.trim().parse().unwrap();
        let is_near = count.abs_diff(expected) * 100 <= expected * TOLERANCE;
        println!(
            "{case}: {count} instructions, {expected} committed{}",
            if is_near { "" } else { ": more than 5 % away" }
        );
        is_within &= is_near;
    }
    if is_within {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "if that is meant, write the file anew: UPDATE_INSTRUCTIONS=1 cargo bench --no-default-features --bench instructions"
    );
    ExitCode::FAILURE
}

fn admit_often(case: &str, times: u64) {
    let read = |case: &str| {
        fs::read(format!("{}/tests/golden/{case}.json", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let body = case
        .strip_prefix("sidecars+")
        .map_or_else(|| read(case), |case| sidecars::with_sidecars(&read(case)));
    let policy = Policy::default();
    for _ in 0..times {
        black_box(admit(black_box(&body), &policy).unwrap());
    }
}
