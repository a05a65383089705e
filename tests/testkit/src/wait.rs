//! Waiting for what a test cannot be told of.

use std::time::{Duration, Instant};

/// Asks again and again until it is so, and fails when it is not within that time; `what` says what
/// was waited for.
pub async fn wait_until<F: Future<Output = bool>>(
    what: &str,
    within: Duration,
    mut is_so: impl FnMut() -> F,
) {
    let deadline = Instant::now() + within;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
