//! Any text as a file of rules: rejected with mistakes that have a line and a text, or rules that
//! apply to a pod without a panic.
#![no_main]

mod bounded;

use libfuzzer_sys::fuzz_target;
use spark_webhook::admission::Role;
use spark_webhook::annotations::Requests;
use spark_webhook::config::{PodAttributes, Rules};
use spark_webhook::internals::{apply_rules, load_rules};

fuzz_target!(|text: &str| {
    match load_rules(text) {
        // A file is read beside the admissions; only what is done for each of them must be quick.
        Ok(rules) => bounded::bounded(|| apply(&rules)),
        Err(error) => {
            assert!(!error.mistakes().is_empty());
            for mistake in error.mistakes() {
                assert!(
                    mistake.line > 0
                        && !mistake.text.is_empty()
                        && !mistake.text.contains(char::is_control),
                    "{mistake}"
                );
            }
        }
    }
});

fn apply(rules: &Rules) {
    let pod = PodAttributes {
        namespace: "team-a",
        role: Role::Driver,
        label: &|key| (key == "tier").then_some("batch"),
    };
    let requests = apply_rules(rules, &pod, Requests::default());
    assert!(
        requests.problems.is_empty(),
        "a file that is accepted cannot fail later: {:?}",
        requests.problems
    );
}
