//! Any bytes as a review: an answer with the request's uid, or an error.
#![no_main]

mod bounded;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use spark_webhook::admission::{OnProblem, Policy, admit};

fuzz_target!(|body: &[u8]| bounded::bounded(|| check(body)));

fn check(body: &[u8]) {
    for on_problem in [OnProblem::Warn, OnProblem::Deny] {
        let policy = Policy { on_problem, ..Policy::default() };
        if let Ok(admission) = admit(body, &policy) {
            let response: Value = serde_json::from_slice(&admission.response).unwrap();
            assert_eq!(response["response"]["uid"], *admission.uid);
        }
    }
}
