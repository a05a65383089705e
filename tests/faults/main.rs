//! What must hold when clients are hostile, too many or broken, and when replicas come and go:
//! against the real binary, with the log at its default level.
//!
//! Each test has a quick form, which `make test` runs, and a long one, for which `make soak` sets
//! `SOAK`; the bounds are the same. They run one after another, because most of them measure time
//! or memory.

mod bodies;
mod descriptors;
mod endurance;
mod holders;
mod openings;
mod replicas;
mod shapes;

use std::fs;
use std::time::{Duration, Instant};

use testkit::http;
use testkit::webhook::Webhook;
use tokio::sync::{Mutex, MutexGuard};

/// However many clients there are and whatever they send, resident memory never exceeds this.
const MOST_MEMORY_KIB: u64 = 128 * 1024;

/// Held by each test for as long as it runs.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

fn review() -> Vec<u8> {
    fs::read("examples/driver-review.json").unwrap()
}

/// What a server has while nobody but the test itself is connected.
#[derive(Clone, Copy)]
struct AtRest {
    descriptors: usize,
    resident_kib: u64,
}

impl AtRest {
    fn of(webhook: &Webhook) -> Self {
        Self { descriptors: webhook.descriptors(), resident_kib: webhook.resident_kib() }
    }

    /// The same after a connection that is open now.
    fn without_one_connection(self) -> Self {
        Self { descriptors: self.descriptors - 1, ..self }
    }
}

/// How much more resident memory a server may have than before its clients came, soon after they
/// have gone.
const MOST_KEPT_KIB: u64 = 24 * 1024;

/// How soon that is.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(20);

/// Waits until nothing is left of what clients did: no connection, no request, no more file
/// descriptors than before, and hardly more memory.
async fn assert_nothing_is_left(webhook: &Webhook, before: AtRest, within: Duration) {
    let deadline = Instant::now() + within;
    let AtRest { descriptors: descriptors_before, resident_kib } = before;
    loop {
        // Before the admin port is asked: the connection for that may take a while to close.
        let descriptors = webhook.descriptors();
        let connections = http::metric(webhook.admin_address(), "connections").await;
        let requests = http::metric(webhook.admin_address(), "requests_in_flight").await;
        if connections == 0.0 && requests == 0.0 && descriptors <= descriptors_before {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{connections} connections and {requests} requests are left, {descriptors} descriptors where {descriptors_before} were"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let gone = Instant::now();
    let most = resident_kib + MOST_KEPT_KIB;
    while webhook.resident_kib() > most {
        let kept = webhook.resident_kib();
        assert!(
            gone.elapsed() < GIVEN_BACK_WITHIN,
            "{kept} KiB of memory are left where {resident_kib} KiB were"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        http::metric(webhook.admin_address(), "requests_total{outcome=\"panicked\"}").await < 1.0
    );
    assert_eq!(webhook.panics(), [""; 0]);
}

/// Asserts the bound that holds for each of these tests, on the most that the process has ever had.
fn assert_memory(webhook: &Webhook) {
    let peak = webhook.peak_kib();
    assert!(peak < MOST_MEMORY_KIB, "{peak} KiB of memory");
}
