//! Any bytes as a review: an answer with the request's uid, or an error, and nothing else read from
//! JSON than what `serde_json` reads.
#![no_main]

mod bounded;

use std::fmt::Debug;
use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use spark_webhook::admission::{OnProblem, Settings, admit};
use spark_webhook::internals::{Pod, Reading, read_json};

fuzz_target!(|body: &[u8]| {
    let all_settings = [OnProblem::Warn, OnProblem::Deny]
        .map(|on_problem| Settings { on_problem, ..Settings::default() });
    for settings in &all_settings {
        bounded::bounded(|| drop(black_box(admit(body, settings))));
        if let Ok(admission) = admit(body, settings) {
            let response: Value = serde_json::from_slice(&admission.response).unwrap();
            assert_eq!(response["response"]["uid"], *admission.uid);
        }
    }
    if let Ok(text) = str::from_utf8(body) {
        compare::<Review>(text);
        compare_whole(text);
        compare_skipped(text);
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

/// What is read of a text that is JSON, `serde_json` reads the same, and it reads nothing that is
/// not read here.
fn compare<'a, T: Deserialize<'a> + Debug>(text: &'a str) {
    match (read_json::<T>(text), serde_json::from_str::<T>(text)) {
        (Ok(Reading { value, too_many: None }), Ok(expected)) => {
            assert_eq!(format!("{value:?}"), format!("{expected:?}"))
        }
        (Err(error), Ok(_)) => panic!("{error}"),
        // What is too much, or no JSON where nobody looks.
        (Ok(_), _) | (Err(_), Err(_)) => {}
    }
}

/// Where all of a text is looked at, it is JSON if it is read.
fn compare_whole(text: &str) {
    // serde_json goes no deeper, and what is read on the request path is never so deep.
    let opened = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if opened < 128
        && let Ok(Reading { value, too_many: None }) = read_json::<Value>(text)
    {
        assert_eq!(serde_json::from_str::<Value>(text).ok(), Some(value));
    }
}

/// What is skipped of JSON ends where it ends.
fn compare_skipped(text: &str) {
    if serde_json::from_str::<IgnoredAny>(text).is_ok() && read_json::<IgnoredAny>(text).is_ok() {
        let followed = format!("[{},7]", text.trim_end());
        let (IgnoredAny, seven) = read_json::<(IgnoredAny, i64)>(&followed).unwrap().value;
        assert_eq!(seven, 7);
    }
}
