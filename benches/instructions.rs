//! How many instructions one admission takes: a figure that the same program gives again, unlike a time.
//!
//! `cargo bench --no-default-features --bench instructions` counts them under valgrind's callgrind and compares them with the
//! committed `benches/instructions.txt`; more than 5 % away, in either direction, fails. `UPDATE_INSTRUCTIONS=1` writes the file:
//! look at its difference before you commit it.

#[path = "../tests/support/sidecars.rs"]
mod sidecars;

use std::fmt::Write;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::{env, fs};

use spark_webhook::admission::{Policy, admit};

const CASES: [&str; 6] =
    ["plain-41-driver", "kubeflow-35-driver", "ctr1-35-driver", "noann-35-driver", "plain-41-exec", "sidecars+ctr1-35-driver"];
const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

/// How far a count may be from the committed one, in percent.
const TOLERANCE: u64 = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    // As valgrind runs it; Cargo's own argument is `--bench`.
    if let [_, run, case, times] = arguments.as_slice()
        && run == "run"
    {
        admit_often(case, times.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let counted: Vec<(&str, u64)> = CASES.into_iter().map(|case| (case, instructions(case))).collect();
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
        println!("{case}: {count} instructions, {expected} committed{}", if is_near { "" } else { ": more than 5 % away" });
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
    let read = |case: &str| fs::read(format!("{}/tests/golden/{case}.json", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let body = case.strip_prefix("sidecars+").map_or_else(|| read(case), |case| sidecars::with_sidecars(&read(case)));
    let policy = Policy::default();
    for _ in 0..times {
        black_box(admit(black_box(&body), &policy).unwrap());
    }
}

/// Of one admission: the difference between many and few, so that the start of the process is not in it.
fn instructions(case: &str) -> u64 {
    let (few, many) = (100, 1_100);
    (under_callgrind(case, many) - under_callgrind(case, few)) / (many - few)
}

fn under_callgrind(case: &str, times: u64) -> u64 {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(env::current_exe().unwrap());
    let output = command.args(["run", case, &times.to_string()]).output().expect("valgrind must be installed");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let collected = log.lines().find_map(|line| line.split_once("Collected : ")).unwrap_or_else(|| panic!("{log}"));
    collected.1.trim().parse().unwrap()
}
