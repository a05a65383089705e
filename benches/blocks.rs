//! Whether the crates that look at many bytes at once are worth their place on the request path.
//!
//! `cargo bench --no-default-features --bench blocks` counts, for one admission of a recorded
//! review, the instructions of each step with the crate that does it and with the best that goes
//! without: `base64-simd` beside `base64` and `data-encoding` for the patch, `wide` beside `memchr`
//! and single bytes for skipping and escaping JSON, and `simdutf8` beside the standard library. The
//! last is measured on a driver without annotations, because every Spark pod passes that step and
//! most have none. The bench fails if a simpler crate comes within 3 % of the admission.

mod callgrind;

use std::fs;
use std::hint::black_box;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;
use serde_json::Value;
use spark_webhook::admission::{Settings, admit};
use spark_webhook::internals::{push_string, read_json};

/// The admission that a step is a part of, a way to do it, and the ways that would do without the
/// crate.
const STEPS: [(&str, &str, &[&str]); 4] = [
    ("admission", "base64-simd", &["base64", "data-encoding"]),
    ("admission", "skip-wide", &["skip-memchr", "skip-bytes"]),
    ("admission", "escape-wide", &["escape-bytes"]),
    ("admission-without-annotations", "utf8-simd", &["utf8-std"]),
];

/// What another crate may cost more before it is the better choice, in percent of an admission.
const TOLERANCE: f64 = 3.0;

fn main() -> ExitCode {
    if let Some((case, times)) = callgrind::asked() {
        let review = read("all-kinds.spark-3.5.driver");
        let input = Input::of(&review);
        for _ in 0..times {
            run(&case, &review, &input);
        }
        return ExitCode::SUCCESS;
    }
    let mut is_worth_it = true;
    for (admission, used, others) in STEPS {
        let whole = callgrind::instructions(admission);
        let count = callgrind::instructions(used);
        println!("{used}: {count} of {whole} instructions");
        for other in others {
            let more = callgrind::instructions(other).saturating_sub(count);
            #[expect(clippy::cast_precision_loss, reason = "some percent")]
            let percent = more as f64 * 100.0 / whole as f64;
            println!("    {other}: {more} more, {percent:.1} % of an admission");
            is_worth_it &= percent > TOLERANCE;
        }
    }
    if is_worth_it { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read(review: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/golden/{review}.json", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// What the steps work on, as the admission has it.
struct Input {
    without_annotations: Vec<u8>,
    patch: Vec<u8>,
    text: String,
    /// Strings that are written into the answer: they are in the record and in the patch.
    strings: Vec<String>,
}

impl Input {
    fn of(review: &[u8]) -> Self {
        let answer: Value =
            serde_json::from_slice(&admit(review, &Settings::default()).unwrap().response).unwrap();
        let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
        let record =
            answer["response"]["auditAnnotations"]["injected"].as_str().unwrap().to_owned();
        let operations: Vec<Value> = serde_json::from_slice(&patch).unwrap();
        let paths = operations
            .iter()
            .filter_map(|operation| operation["value"]["mountPath"].as_str().map(str::to_owned));
        let strings = paths.chain([record.clone(), record]).collect();
        let without_annotations = read("no-annotations.spark-3.5.driver");
        Self {
            without_annotations,
            patch,
            text: String::from_utf8(review.to_vec()).unwrap(),
            strings,
        }
    }
}

fn run(case: &str, review: &[u8], input: &Input) {
    let Input { without_annotations, patch, text, strings } = black_box(input);
    match case {
        "admission" => drop(black_box(admit(black_box(review), &Settings::default()).unwrap())),
        "admission-without-annotations" => {
            drop(black_box(admit(without_annotations, &Settings::default()).unwrap()));
        }
        "utf8-simd" => {
            black_box(simdutf8::basic::from_utf8(without_annotations).unwrap());
        }
        "utf8-std" => {
            black_box(str::from_utf8(without_annotations).unwrap());
        }
        "base64-simd" => {
            let mut body = Vec::with_capacity(4096);
            base64_simd::STANDARD.encode_append(patch, &mut body);
            black_box(body);
        }
        "base64" => {
            let mut body = String::with_capacity(4096);
            STANDARD.encode_string(patch, &mut body);
            black_box(body);
        }
        "data-encoding" => {
            let mut body = String::with_capacity(4096);
            data_encoding::BASE64.encode_append(patch, &mut body);
            black_box(body);
        }
        "skip-wide" => drop(black_box(read_json::<IgnoredAny>(text).unwrap())),
        "skip-memchr" => drop(black_box(skip(text.as_bytes(), string_end_by_memchr).unwrap())),
        "skip-bytes" => drop(black_box(skip(text.as_bytes(), string_end_by_bytes).unwrap())),
        "escape-wide" => {
            let mut bytes = Vec::with_capacity(4096);
            for string in strings {
                push_string(&mut bytes, &[string]);
            }
            black_box(bytes);
        }
        "escape-bytes" => {
            let mut bytes = Vec::with_capacity(4096);
            for string in strings {
                escape(string, &mut bytes);
            }
            black_box(bytes);
        }
        other => panic!("{other}"),
    }
}

/// The end of the object or array at the beginning.
fn skip(bytes: &[u8], string_end: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        match bytes.get(at)? {
            b'"' => at += string_end(bytes.get(at + 1..)?)?,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Where the quotation mark after a string's beginning is, counted from that one.
fn string_end_by_memchr(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn string_end_by_bytes(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn escape(text: &str, bytes: &mut Vec<u8>) {
    bytes.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => bytes.extend_from_slice(&[b'\\', byte]),
            ..b' ' => bytes.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => bytes.push(byte),
        }
    }
    bytes.push(b'"');
}
