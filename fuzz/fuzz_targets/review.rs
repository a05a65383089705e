//! Any bytes as a review: an answer with the request's uid, or an error, and nothing else read from JSON than what `serde_json` reads.
#![no_main]

mod bounded;

use std::fmt::Debug;
use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use spark_webhook::admission::{OnProblem, Policy, admit};
use spark_webhook::json;
use spark_webhook::pod::Pod;

fuzz_target!(|body: &[u8]| {
    let policies = [OnProblem::Warn, OnProblem::Deny].map(|on_problem| Policy { on_problem, ..Policy::default() });
    for policy in &policies {
        bounded::bounded(|| drop(black_box(admit(body, policy))));
        if let Ok(admission) = admit(body, policy) {
            let response: Value = serde_json::from_slice(&admission.response).unwrap();
            assert_eq!(response["response"]["uid"], *admission.uid);
        }
    }
    if let Ok(text) = str::from_utf8(body) {
        compare::<IgnoredAny>(text);
        compare::<Review>(text);
    }
});

#[derive(Debug, Deserialize)]
struct Review<'a> {
    #[serde(borrow)]
    #[expect(dead_code, reason = "compared as text")]
    request: Request<'a>,
}

#[derive(Debug, Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    #[expect(dead_code, reason = "compared as text")]
    object: Pod<'a>,
}

/// What is read on the request path of a text that is JSON, `serde_json` reads the same.
fn compare<'a, T: Deserialize<'a> + Debug>(text: &'a str) {
    if let (Some(value), Ok(expected)) = (json::read::<T>(text), serde_json::from_str::<T>(text)) {
        assert_eq!(format!("{value:?}"), format!("{expected:?}"));
    }
}
