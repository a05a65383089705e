//! Instructions under valgrind's callgrind: a figure that the same program gives again, whatever
//! else the machine does.

use std::env;
use std::process::Command;

/// What callgrind runs: this program, with the name of a case and how often.
pub fn asked() -> Option<(String, u64)> {
    let arguments: Vec<String> = env::args().collect();
    match arguments.as_slice() {
        // Cargo's own argument is `--bench`.
        [_, run, case, times] if run == "run" => Some((case.clone(), times.parse().unwrap())),
        _ => None,
    }
}

/// Instructions of one run of a case: the difference between many and few, so that the start of the
/// process is not in it.
pub fn instructions(case: &str) -> u64 {
    let (few, many) = (100, 1_100);
    (collected(case, many) - collected(case, few)) / (many - few)
}

fn collected(case: &str, times: u64) -> u64 {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().unwrap());
    let output = command
        .args(["run", case, &times.to_string()])
        .output()
        .expect("valgrind must be installed");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let collected = log
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .unwrap_or_else(|| panic!("{log}"));
    collected.1.trim().parse().unwrap()
}
