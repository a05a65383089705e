//! Any annotations, a line each, as `key=value`: requests in order, problems that are short and on
//! one line.
#![no_main]

mod bounded;

use libfuzzer_sys::fuzz_target;
use spark_webhook::annotations::{self, MAX_REQUESTS};

fuzz_target!(|text: &str| bounded::bounded(|| check(text)));

fn check(text: &str) {
    let pairs = || text.split('\0').filter_map(|pair| pair.split_once('='));
    let requests = annotations::parse(pairs());
    assert!(requests.mounts.len() <= MAX_REQUESTS);
    for problem in requests.problems.iter() {
        assert!(
            problem.text().chars().count() <= 120 && !problem.text().chars().any(char::is_control),
            "{:?}",
            problem.text()
        );
    }
    let order: Vec<_> = requests
        .mounts
        .iter()
        .map(|request| (request.kind, &request.name, &request.path))
        .collect();
    assert!(order.is_sorted());
    // The order in which they are written decides nothing, but where one key is there twice.
    let mut keys: Vec<&str> = pairs().map(|(key, _)| key).collect();
    keys.sort_unstable();
    if keys.windows(2).all(|pair| pair[0] != pair[1]) {
        let mut backwards: Vec<_> = pairs().collect();
        backwards.reverse();
        assert_eq!(requests.mounts, annotations::parse(backwards.into_iter()).mounts);
    }
}
