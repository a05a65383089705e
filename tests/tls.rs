//! Certificates that change while the server serves, against the real binary.

#[path = "support/http.rs"]
mod http;
#[path = "support/wait.rs"]
mod wait;
#[path = "support/webhook.rs"]
mod webhook;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{connect, connect_trusting, exchange, get, post};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use wait::wait_until;
use webhook::Webhook;

/// What a server may take to follow its files.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(15);

fn review() -> Vec<u8> {
    post(&fs::read("examples/driver-review.json").unwrap())
}

/// A CA, and its files in a directory: its certificate in PEM.
fn write_ca(directory: &Path) -> String {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, format!("CA {}", KeyPair::generate().unwrap().serialize_pem().len()));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(directory.join("ca.key"), ca.key().serialize_pem()).unwrap();
    fs::write(directory.join("ca.crt"), ca.pem()).unwrap();
    ca.pem()
}

fn ca_arguments(directory: &Path) -> Vec<String> {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    vec!["--ca-cert".to_owned(), path("ca.crt"), "--ca-key".to_owned(), path("ca.key")]
}

#[tokio::test]
async fn replicas_with_one_ca_serve_leaves_of_their_own_that_it_verifies() {
    let directory = tempfile::tempdir().unwrap();
    let ca = write_ca(directory.path());
    let arguments = ca_arguments(directory.path());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let replicas = [Webhook::start(&arguments), Webhook::start(&arguments)];
    let mut leaves = Vec::new();
    for replica in &replicas {
        let (mut stream, leaf) = connect_trusting(replica.address(), &ca).await.unwrap();
        assert_eq!(exchange(&mut stream, &review()).await.status, 200);
        leaves.push(leaf);
    }
    assert_ne!(leaves[0], leaves[1]);

    // Another CA in the files is used without a restart; one whose key is another's is not.
    let other = tempfile::tempdir().unwrap();
    write_ca(other.path());
    fs::copy(other.path().join("ca.key"), directory.path().join("ca.key")).unwrap();
    replicas[0].log_line("--ca-key does not belong to the certificate in --ca-cert");
    assert!(connect_trusting(replicas[0].address(), &ca).await.is_ok());
    let new = write_ca(directory.path());
    wait_until("a leaf of the new CA", FOLLOWS_WITHIN, async || connect_trusting(replicas[0].address(), &new).await.is_ok())
        .await;
    assert!(connect_trusting(replicas[0].address(), &ca).await.is_err());
}

/// With a client whose clock decides, as the API server's does.
#[tokio::test]
async fn no_leaf_is_served_after_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let ca = write_ca(directory.path());
    let (lifetime, watched) = if std::env::var_os("SOAK").is_some() { ("30s", 300) } else { ("15s", 35) };
    let arguments = [ca_arguments(directory.path()), vec!["--leaf-lifetime".to_owned(), lifetime.to_owned()]].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let webhook = Webhook::start(&arguments);
    let mut leaves = Vec::new();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(watched) {
        let (_, leaf) = connect_trusting(webhook.address(), &ca).await.unwrap();
        if leaves.last() != Some(&leaf) {
            leaves.push(leaf);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(leaves.len() >= 3, "{} leaves in {watched} s", leaves.len());
}

fn certificate(key: &KeyPair, year: i32) -> String {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    params.self_signed(key).unwrap().pem()
}

fn key(number: usize) -> KeyPair {
    let algorithms = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384];
    KeyPair::generate_for(algorithms[number % algorithms.len()]).unwrap()
}

/// Puts files into a directory as the kubelet does: into one of their own, to which a link is swapped.
fn swap(directory: &Path, number: usize, cert: &str, key: &str) {
    let version = directory.join(format!("..version_{number}"));
    fs::create_dir(&version).unwrap();
    fs::write(version.join("tls.crt"), cert).unwrap();
    fs::write(version.join("tls.key"), key).unwrap();
    let _ = fs::remove_file(directory.join("..data_tmp"));
    std::os::unix::fs::symlink(&version, directory.join("..data_tmp")).unwrap();
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
}

fn start_with_files(directory: &Path) -> Webhook {
    for name in ["tls.crt", "tls.key"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), directory.join(name)).unwrap();
    }
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    Webhook::start(&["--tls-cert", &path("tls.crt"), "--tls-key", &path("tls.key")])
}

async fn served(webhook: &Webhook) -> Vec<u8> {
    let stream = connect(webhook.address()).await;
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn der(pem: &str) -> Vec<u8> {
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    base64_simd::STANDARD.decode_to_vec(base64).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_swapped_under_load_and_nothing_fails() {
    let directory = tempfile::tempdir().unwrap();
    let first = key(0);
    swap(directory.path(), 0, &certificate(&first, 2100), &first.serialize_pem());
    let webhook = start_with_files(directory.path());
    let (address, stop, done) = (webhook.address(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = tokio::spawn({
        let (stop, done) = (stop.clone(), done.clone());
        async move {
            let mut kept = connect(address).await;
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(exchange(&mut kept, &review()).await.status, 200);
                assert_eq!(exchange(&mut connect(address).await, &review()).await.status, 200);
                done.fetch_add(2, Ordering::Relaxed);
            }
        }
    });
    let rotations = if std::env::var_os("SOAK").is_some() { 100 } else { 3 };
    for number in 1..=rotations {
        let key = key(number);
        let certificate = certificate(&key, 2100);
        swap(directory.path(), number, &certificate, &key.serialize_pem());
        wait_until("the new certificate is served", FOLLOWS_WITHIN, async || served(&webhook).await == der(&certificate)).await;
    }
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    assert!(done.load(Ordering::Relaxed) > 100);
    println!("{rotations} rotations, {} requests, none lost", done.load(Ordering::Relaxed));
}

#[tokio::test]
async fn files_that_cannot_be_served_change_nothing_but_the_probe_and_a_metric() {
    let directory = tempfile::tempdir().unwrap();
    let (good, other) = (key(0), key(0));
    let certificate_of_good = certificate(&good, 2100);
    swap(directory.path(), 0, &certificate_of_good, &good.serialize_pem());
    let webhook = start_with_files(directory.path());
    let readyz = async || get(webhook.admin_address(), "/readyz").await;
    let metric = async |name: &str| {
        let metrics = get(webhook.admin_address(), "/metrics").await.body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("spark_webhook_{name} "))).unwrap();
        line.to_owned()
    };
    assert_eq!(readyz().await.body, "ok\n");
    let bad = [
        (certificate_of_good.clone(), other.serialize_pem(), "does not belong to the certificate"),
        (certificate(&other, 2020), other.serialize_pem(), "the certificate has expired at 2020-01-01T00:00:00Z"),
        ("garbage".to_owned(), "garbage".to_owned(), "expected a PEM certificate, found none"),
        (certificate(&other, 2100), "garbage".to_owned(), "expected a PEM private key"),
    ];
    for (number, (cert, key, reason)) in bad.iter().enumerate() {
        swap(directory.path(), number + 1, cert, key);
        let line = webhook.log_line(reason);
        assert!(line.contains("the old one is served on"), "{line}");
        let reply = readyz().await;
        assert!(reply.status == 200 && reply.body.starts_with("ok, but with the old certificate: "), "{reply:?}");
        assert!(reply.body.contains(reason), "{reply:?}");
        assert_eq!(served(&webhook).await, der(&certificate_of_good));
    }
    fs::remove_file(directory.path().join("..data")).unwrap();
    webhook.log_line("No such file or directory");
    assert_eq!(metric("certificate_problem").await, "1");
    assert_eq!(metric("certificate_reloads_total{result=\"failed\"}").await, "5");

    let certificate_of_other = certificate(&other, 2100);
    swap(directory.path(), 9, &certificate_of_other, &other.serialize_pem());
    wait_until("it recovers", FOLLOWS_WITHIN, async || served(&webhook).await == der(&certificate_of_other)).await;
    assert_eq!(readyz().await.body, "ok\n");
    wait_until("the metric too", FOLLOWS_WITHIN, async || metric("certificate_problem").await == "0").await;
    assert_eq!(metric("certificate_reloads_total{result=\"done\"}").await, "1");
    let expiry = metric("certificate_expiry_timestamp_seconds").await;
    assert_eq!(expiry, "4102444800");
}
