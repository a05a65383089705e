//! The server as a process: how soon after its start it answers, and how much memory it has after
//! 10,000 reviews.
//!
//! `cargo bench --bench serve`

use std::fs;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use testkit::http::{connect, exchange, post};
use testkit::webhook::Webhook;

fn serve(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let request = post(&fs::read("tests/golden/conf-dirs.spark-4.1.driver.json").unwrap());

    let mut group = criterion.benchmark_group("serve");
    group.sample_size(20);
    group.bench_function("from the start of the process to its first answer", |bencher| {
        bencher.iter_custom(|times| {
            (0..times)
                .map(|_| {
                    let started = Instant::now();
                    let webhook = Webhook::start(&[]);
                    let reply = runtime.block_on(async {
                        exchange(&mut connect(webhook.address()).await, &request).await
                    });
                    let elapsed = started.elapsed();
                    assert_eq!(reply.status, 200);
                    elapsed
                })
                .sum()
        });
    });
    group.finish();

    let webhook = Webhook::start(&[]);
    let after_start = webhook.resident_kib();
    runtime.block_on(async {
        let mut stream = connect(webhook.address()).await;
        for _ in 0..10_000 {
            assert_eq!(exchange(&mut stream, &request).await.status, 200);
        }
    });
    println!(
        "resident memory: {after_start} KiB after the start, {} KiB after 10,000 reviews",
        webhook.resident_kib()
    );
}

criterion_group!(benches, serve);
criterion_main!(benches);
