//! No input may take long: an admission that hangs holds up everybody's pods.

use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_millis(10);

/// Runs it, and again where it took longer than the limit: on a busy machine the clock goes on
/// while others run, but not each of fifty times.
pub fn bounded(run: impl Fn()) {
    let once = || {
        let started = Instant::now();
        run();
        started.elapsed()
    };
    let is_slow = once() > LIMIT && (0..50).all(|_| once() > LIMIT);
    assert!(!is_slow, "it takes longer than {LIMIT:?}");
}
