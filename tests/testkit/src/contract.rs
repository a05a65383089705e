//! From annotations to the changed pod: the words in which tests state the contract.

use std::fs;

use serde_json::{Map, Value};
use spark_webhook::admission::{Outcome, Settings};

use crate::REPOSITORY;
use crate::soundness::{Answer, answer, assert_sound};

/// A review of tests/golden.
pub fn golden(case: &str) -> Value {
    let review = fs::read(format!("{REPOSITORY}/tests/golden/{case}.json")).unwrap();
    serde_json::from_slice(&review).unwrap()
}

/// A review of tests/golden, with these annotations in the place of its own.
pub fn golden_with(case: &str, annotations: Map<String, Value>) -> Value {
    let mut review = golden(case);
    review["request"]["object"]["metadata"]["annotations"] = annotations.into();
    review
}

/// The webhook carries out every request, and says nothing.
pub fn accepts(review: &Value, settings: &Settings) -> Answer {
    rejects(review, settings, &[])
}

/// The webhook carries out every request but those that these problems name.
pub fn rejects(review: &Value, settings: &Settings, problems: &[&str]) -> Answer {
    let answer = answer(review, settings);
    assert_sound(review, settings, &answer);
    let annotations = &review["request"]["object"]["metadata"]["annotations"];
    assert_eq!(answer.problems, problems, "{annotations}");
    assert_eq!(answer.outcome, Outcome::Mutated, "{annotations}");
    answer
}

/// The mounts that the record in the pod lists, in the form `PATH=KIND/NAME`.
pub fn recorded_mounts(answer: &Answer) -> Vec<String> {
    let annotations = &answer.pod["metadata"]["annotations"];
    let Some(record) = annotations["spark-operator.k8s.io/injected"].as_str() else {
        return Vec::new();
    };
    let record: Value = serde_json::from_str(record).unwrap();
    let mounts = record["mounts"].as_array().unwrap().iter();
    mounts.map(|mount| mount.as_str().unwrap().to_owned()).collect()
}
