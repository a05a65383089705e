//! How many instructions one admission takes.
//!
//! `cargo bench --no-default-features --bench instructions` counts them under valgrind's callgrind
//! and compares them with the committed `benches/instructions.txt`; more than 5 % away, in either
//! direction, fails. `UPDATE_INSTRUCTIONS=1` writes the file: look at its difference before you
//! commit it. What the administrator's rules add has a maximum instead.

mod callgrind;

use std::fmt::Write;
use std::hint::black_box;
use std::process::ExitCode;
use std::{env, fs};

use serde_json::{Value, json};
use spark_webhook::admission::{Settings, admit};
use spark_webhook::config::Rules;
use spark_webhook::internals::load_rules;
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

/// A driver that 100 and 200 rules see, by the namespace that they select, and the most that one of
/// them may take. The driver's namespace is `default`. Each rule is about the same annotation, so
/// the last one that selects the driver wins.
const RULES: [(&str, u64); 2] = [("other", 120), ("default", 500)];

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
    for (namespace, most) in RULES {
        let of = |count: u64| callgrind::instructions(&format!("{count} rules for {namespace}"));
        let each = (of(200) - of(100)) / 100;
        let is_few = each <= most;
        println!(
            "a rule for the namespace {namespace}: {each} instructions, at most {most}{}",
            if is_few { "" } else { ": too many" }
        );
        is_within &= is_few;
    }
    if is_within {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "if that is meant for a case, write the file anew: UPDATE_INSTRUCTIONS=1 cargo bench --no-default-features --bench instructions"
    );
    ExitCode::FAILURE
}

fn admit_often(case: &str, times: u64) {
    let read = |case: &str| {
        fs::read(format!("{}/tests/golden/{case}.json", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let (body, settings) = if let Some((count, namespace)) = case.split_once(" rules for ") {
        let rules = rules(count.parse().unwrap(), namespace);
        (read("conf-dirs.spark-4.1.driver"), Settings { rules, ..Settings::default() })
    } else if let Some(case) = case.strip_prefix("sidecars+") {
        (sidecars::with_sidecars(&read(case)), Settings::default())
    } else {
        (read(case), Settings::default())
    };
    for _ in 0..times {
        black_box(admit(black_box(&body), &settings).unwrap());
    }
}

fn rules(count: usize, namespace: &str) -> Rules {
    let rule = json!({
        "namespaces": [format!("{namespace}*"), "!team-*-legacy"],
        "annotations": {"spark-operator.k8s.io/configMap.platform": "/etc/platform"},
    });
    let rules: Vec<Value> = vec![rule; count];
    load_rules(&json!({"apiVersion": "spark-webhook/v1", "defaults": rules}).to_string()).unwrap()
}
