//! Memory under a steady load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use testkit::http::{connect, exchange, post};
use testkit::soak::{Row, minutes, scale};
use testkit::webhook::Webhook;
use tokio::task::JoinSet;

use crate::{alone, assert_memory, review};

const CLIENTS: u32 = 8;

/// Asks on several connections, on each no sooner than a pause after the last time, until told to
/// stop.
fn load(
    webhook: &Webhook,
    pause: Duration,
    is_over: &Arc<AtomicBool>,
    count: &Arc<AtomicUsize>,
) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (address, is_over, count) = (webhook.address(), is_over.clone(), count.clone());
        clients.spawn(async move {
            let request = post(&review());
            let mut stream = connect(address).await;
            let mut next = Instant::now();
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(exchange(&mut stream, &request).await.status, 200);
                count.fetch_add(1, Ordering::Relaxed);
                next = (next + pause).max(Instant::now());
                tokio::time::sleep_until(next.into()).await;
            }
        });
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_flat_under_a_steady_load() {
    let _alone = alone().await;
    let webhook = Webhook::start(&[]);
    let measure = async |pause: Duration, steps: u32, step: Duration| {
        let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients = load(&webhook, pause, &is_over, &count);
        let mut resident = Vec::new();
        for _ in 0..steps {
            tokio::time::sleep(step).await;
            resident.push(webhook.resident_kib());
        }
        is_over.store(true, Ordering::Relaxed);
        clients.join_all().await;
        (count.load(Ordering::Relaxed), resident)
    };
    let seconds = scale(2, 10);
    let (capacity, _) = measure(Duration::ZERO, seconds, Duration::from_secs(1)).await;
    let each = u32::try_from(capacity).unwrap() / seconds / CLIENTS;

    let started = Instant::now();
    let (steps, step) = scale((10, Duration::from_secs(1)), (minutes(), Duration::from_secs(60)));
    let (answered, resident) = measure(Duration::from_secs(2) / each, steps, step).await;
    println!(
        "{} reviews a second at most; KiB at half of that, every {step:?}: {resident:?}",
        each * CLIENTS
    );
    let (first, last) = (resident[0], *resident.last().unwrap());
    assert!(last * 100 <= first * 105, "{first} KiB became {last} KiB");
    assert_memory(&webhook);
    Row {
        what: &format!("{:?} at half of capacity, from {first} to {last} KiB", step * steps),
        attempts: answered,
        answered,
        memory_kib: Some(webhook.peak_kib()),
        started,
    }
    .print();
}
