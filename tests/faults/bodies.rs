//! Large bodies: many at once, and some that never end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use testkit::http::{ANONYMOUS, Reply, connect, exchange, post, try_connect, try_read_reply};
use testkit::soak::{Row, allow_descriptors, is_soak};
use testkit::webhook::Webhook;
use tokio::io::{AsyncWrite, AsyncWriteExt, split};
use tokio::task::JoinSet;

use crate::{AtRest, alone, assert_memory, assert_nothing_is_left, review};

/// As much as the server takes of one body.
pub const LARGEST: usize = 7 * 1024 * 1024;

/// When a client reads the answer.
#[derive(Clone, Copy)]
enum Reads {
    /// While it sends, as the API server does; and then it sends no more.
    WhileSending,
    /// After it has sent everything: a reset would take the answer from it.
    AfterSending,
}

/// Posts a body; the answer, or what came instead of it.
async fn post_body(address: SocketAddr, request: &[u8], reads: Reads) -> io::Result<Reply> {
    let mut stream = try_connect(address, &ANONYMOUS).await?;
    match reads {
        Reads::AfterSending => {
            send(&mut stream, request).await?;
            try_read_reply(&mut stream).await
        }
        Reads::WhileSending => {
            let (mut read, mut write) = split(stream);
            let sending = async {
                // What becomes of it is known by the answer.
                let _ = send(&mut write, request).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                reply = try_read_reply(&mut read) => reply,
                () = sending => unreachable!("it is pending for ever"),
            }
        }
    }
}

/// Sends as much as there is, while others do the same: all of these clients share one process, and
/// none is to wait for long.
pub async fn send(stream: &mut (impl AsyncWrite + Unpin), request: &[u8]) -> io::Result<()> {
    for piece in request.chunks(64 * 1024) {
        stream.write_all(piece).await?;
        tokio::task::yield_now().await;
    }
    stream.flush().await
}

/// Small reviews, one after another on one connection and on fresh ones, until told to stop: how
/// many were answered.
async fn ask_until(address: SocketAddr, is_over: Arc<AtomicBool>) -> usize {
    let request = post(&review());
    let mut kept = connect(address).await;
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) {
        for reply in [
            exchange(&mut kept, &request).await,
            exchange(&mut connect(address).await, &request).await,
        ] {
            assert_eq!(reply.status, 200, "{reply:?}");
            count += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    count
}

/// More than can be held together, beside a client with small ones.
async fn flood(clients: usize) {
    allow_descriptors(8_192);
    let started = Instant::now();
    let webhook = Webhook::start(&[]);
    assert_eq!(exchange(&mut connect(webhook.address()).await, &post(&review())).await.status, 200);
    let before = AtRest::of(&webhook);
    let padded = |length| {
        let mut body = review();
        body.resize(length, b' ');
        Arc::new(post(&body))
    };
    let (whole, too_large) = (padded(LARGEST), padded(LARGEST + 1));
    let address = webhook.address();

    let is_over = Arc::new(AtomicBool::new(false));
    let small = tokio::spawn(ask_until(address, is_over.clone()));
    let mut answers = JoinSet::new();
    for number in 0..clients {
        let request = if number % 8 == 7 { too_large.clone() } else { whole.clone() };
        let reads = if number % 2 == 0 { Reads::WhileSending } else { Reads::AfterSending };
        answers.spawn(async move { post_body(address, &request, reads).await });
    }
    let (mut taken, mut refused, mut shed, mut lost) = (0, 0, 0, Vec::new());
    while let Some(answer) = answers.join_next().await {
        match answer.unwrap() {
            Ok(reply) => match reply.status {
                200 => taken += 1,
                413 => refused += 1,
                503 if reply.head.contains("\r\nretry-after: 1\r\n") => shed += 1,
                _ => lost.push(format!("{reply:?}")),
            },
            Err(error) => lost.push(error.to_string()),
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let small = small.await.unwrap();
    let took = started.elapsed();
    println!(
        "{taken} of {clients} were answered, {refused} refused and {shed} shed in {took:?}, {small} small ones beside them; peak {} KiB",
        webhook.peak_kib()
    );
    let lost_count = lost.len();
    Row {
        what: &format!("{clients} bodies of 7 MiB at once"),
        attempts: clients,
        answered: clients - lost_count,
        memory_kib: Some(webhook.peak_kib()),
        started,
    }
    .print();
    lost.truncate(3);
    assert_eq!(lost_count, 0, "such as {lost:#?}");
    assert!(taken > 0, "somebody gets through");
    assert!(refused >= clients / 8, "what is too large for ever is not asked for again");
    assert_memory(&webhook);
    assert_nothing_is_left(&webhook, before, Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_at_once_are_answered_or_told_to_come_again_and_never_reset() {
    let _alone = alone().await;
    flood(64).await;
    if is_soak() {
        flood(1_000).await;
    }
}

/// Bodies that are held until their deadline fill what may be held; whoever comes with less is
/// served all the same.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_stop_do_not_shut_out_small_ones() {
    let _alone = alone().await;
    let started = Instant::now();
    let webhook = Webhook::start(&[]);
    let address = webhook.address();
    assert_eq!(exchange(&mut connect(address).await, &post(&review())).await.status, 200);
    let before = AtRest::of(&webhook);
    let head = format!(
        "POST /mutate?timeout=6s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {LARGEST}\r\n\r\n"
    );
    let part = Arc::new([head.as_bytes(), &vec![b' '; LARGEST / 4]].concat());
    let mut holders = JoinSet::new();
    for _ in 0..64 {
        let part = part.clone();
        holders.spawn(async move {
            let mut stream = connect(address).await;
            let _ = stream.write_all(&part).await;
            let _ = stream.flush().await;
            try_read_reply(&mut stream).await
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let small = tokio::spawn(ask_until(address, is_over.clone()));
    while let Some(answer) = holders.join_next().await {
        let reply = answer.unwrap().unwrap();
        assert!(reply.status == 503 && reply.head.contains("\r\nretry-after: 1\r\n"), "{reply:?}");
    }
    is_over.store(true, Ordering::Relaxed);
    let small = small.await.unwrap();
    assert!(small > 10, "{small}");
    println!("{small} small ones beside them; peak {} KiB", webhook.peak_kib());
    assert_memory(&webhook);
    assert_nothing_is_left(&webhook, before, Duration::from_secs(20)).await;
    Row {
        what: "small reviews beside 64 bodies that stop",
        attempts: small,
        answered: small,
        memory_kib: Some(webhook.peak_kib()),
        started,
    }
    .print();
}
