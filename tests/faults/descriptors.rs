//! A process that can open no more files.

use std::time::{Duration, Instant};

use testkit::http::{connect, exchange, get, metric, post};
use testkit::soak::{Row, median};
use testkit::wait::wait_until;
use testkit::webhook::Webhook;
use tokio::net::TcpStream;

use crate::{alone, assert_memory, review};

#[tokio::test]
async fn without_descriptors_it_waits_and_does_not_spin_and_recovers_by_itself() {
    let _alone = alone().await;
    let started = Instant::now();
    let webhook = Webhook::start_with_descriptors(64, &[]);
    assert_eq!(exchange(&mut connect(webhook.address()).await, &post(&review())).await.status, 200);
    let before = webhook.descriptors();

    // More than there can be, on both ports.
    let mut held = Vec::new();
    for address in [webhook.admin_address(), webhook.address()] {
        for _ in 0..100 {
            held.push(TcpStream::connect(address).await.unwrap());
        }
    }
    wait_until("all are in use", Duration::from_secs(4), async || webhook.descriptors() >= 64)
        .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (cpu_before, watched) = (webhook.cpu_time(), Instant::now());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (cpu, watched) = (webhook.cpu_time().saturating_sub(cpu_before), watched.elapsed());
    println!("{cpu:?} of CPU time in {watched:?} without descriptors");
    assert!(cpu < watched / 20, "{cpu:?} of CPU time in {watched:?}");

    drop(held);
    wait_until("they are free again", Duration::from_secs(20), async || {
        webhook.descriptors() <= before
    })
    .await;
    assert_eq!(exchange(&mut connect(webhook.address()).await, &post(&review())).await.status, 200);
    assert_eq!(get(webhook.admin_address(), "/readyz").await.status, 200);
    assert!(metric(webhook.admin_address(), "accept_errors_total").await > 0.0);
    assert_memory(&webhook);
    Row {
        what: "no descriptors left, then some again",
        attempts: 2,
        answered: 2,
        memory_kib: Some(webhook.peak_kib()),
        started,
    }
    .print();
}

/// Where the limit of open files is lower than that of connections, as it often is by default.
#[tokio::test]
async fn fewer_descriptors_than_connections_are_no_reason_to_wait() {
    let _alone = alone().await;
    let started = Instant::now();
    let webhook = Webhook::start_with_descriptors(256, &[]);
    let mut held = Vec::new();
    for address in [webhook.admin_address(), webhook.address()] {
        for _ in 0..400 {
            held.push(TcpStream::connect(address).await.unwrap());
        }
    }
    assert!(metric(webhook.admin_address(), "connections").await <= 192.0);
    let mut times = Vec::new();
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(
            exchange(&mut connect(webhook.address()).await, &post(&review())).await.status,
            200
        );
        assert_eq!(get(webhook.admin_address(), "/readyz").await.status, 200);
        times.push(asked.elapsed());
    }
    let answered = 2 * times.len();
    assert!(median(&mut times) < Duration::from_millis(500), "{times:?}");
    assert!(metric(webhook.admin_address(), "accept_errors_total").await < 1.0);
    Row {
        what: "good client beside 800 connections, with 256 descriptors",
        attempts: answered,
        answered,
        memory_kib: Some(webhook.peak_kib()),
        started,
    }
    .print();
}
