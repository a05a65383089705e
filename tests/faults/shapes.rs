//! Clients that send the largest reviews, in the shapes that cost the server most.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use testkit::hostile::SHAPES;
use testkit::http::{ANONYMOUS, get, post, try_connect, try_read_reply};
use testkit::soak::{Row, scale};
use testkit::wait::wait_until;
use testkit::webhook::Webhook;
use tokio::task::JoinSet;

use crate::bodies::{LARGEST, send};
use crate::holders::{Good, assert_good_clients_do_not_suffer};
use crate::{AtRest, alone, assert_memory, assert_nothing_is_left};

/// How many send such reviews at once.
const CLIENTS: usize = 4;

/// 99 of 100 answers to a good client arrive within this time.
const MOST_P99: Duration = Duration::from_millis(150);

/// 99 of 100 answers to a probe arrive within this time; the kubelet gives a probe a second.
const MOST_PROBE: Duration = Duration::from_millis(100);

/// An unoptimised server needs half a second to read some of them.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// Sends a request again and again, and counts the answers. The server answers, or says when to
/// come again.
async fn send_for_ever(address: SocketAddr, request: Arc<Vec<u8>>, answered: Arc<AtomicUsize>) {
    loop {
        let mut stream = try_connect(address, &ANONYMOUS).await.unwrap();
        send(&mut stream, &request).await.unwrap();
        let reply = try_read_reply(&mut stream).await.unwrap();
        match reply.status {
            // Some are not reviews.
            200 | 400 => {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            503 => assert!(reply.head.contains("\r\nretry-after: 1\r\n"), "{reply:?}"),
            _ => panic!("{reply:?}"),
        }
    }
}

/// The time within which 99 of 100 were done.
fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_client_does_not_suffer_from_reviews_that_cost_most() {
    let _alone = alone().await;
    let started = Instant::now();
    let (webhook, other) = (Webhook::start(&[]), Webhook::start(&[]));
    let address = webhook.address();
    let (mut good, mut quiet) = (Good::new(address).await, Good::new(other.address()).await);
    let before = AtRest::of(&webhook).without_one_connection();
    let (mut answers, mut probes) = (Vec::new(), Vec::new());
    for shape in &SHAPES {
        let request = Arc::new(post(&shape.review(LARGEST)));
        let answered = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(send_for_ever(address, request.clone(), answered.clone()));
        }
        println!(
            "beside {}, resident {} KiB, peak {} KiB",
            shape.name,
            webhook.resident_kib(),
            webhook.peak_kib()
        );
        for good in [&mut good, &mut quiet] {
            good.on_kept.clear();
            good.on_fresh.clear();
        }
        for _ in 0..scale(10, 100) {
            let asked = Instant::now();
            assert_eq!(get(webhook.admin_address(), "/livez").await.status, 200);
            probes.push(asked.elapsed());
        }
        assert_good_clients_do_not_suffer(&mut good, &mut quiet, scale(20, 200)).await;
        answers.extend(good.on_kept.iter().chain(&good.on_fresh));
        wait_until("one of them is answered", ANSWERED_WITHIN, async || {
            answered.load(Ordering::Relaxed) > 0
        })
        .await;
        while let Some(ended) = clients.try_join_next() {
            ended.unwrap();
        }
        clients.shutdown().await;
    }
    let (answer, probe) = (p99(&mut answers), p99(&mut probes));
    println!("p99 of {} answers: {answer:?}, of {} probes: {probe:?}", answers.len(), probes.len());
    assert!(answer < MOST_P99, "{answer:?}");
    assert!(probe < MOST_PROBE, "/livez after {probe:?}");
    let asked = answers.len();
    drop(good);
    assert_memory(&webhook);
    assert_nothing_is_left(&webhook, before, Duration::from_secs(10)).await;
    println!(
        "memory: {} KiB in the end, {} KiB at most",
        webhook.resident_kib(),
        webhook.peak_kib()
    );
    Row {
        what: &format!("good client beside {CLIENTS} that send {} shapes of 7 MiB", SHAPES.len()),
        attempts: asked,
        answered: asked,
        memory_kib: Some(webhook.peak_kib()),
        started,
    }
    .print();
}
