//! Replicas that are restarted, behind what a Service is: new connections go to those that are
//! ready.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64_simd::STANDARD;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};
use testkit::cluster::Cluster;
use testkit::http::try_read_reply;
use testkit::soak::{Row, scale};
use testkit::webhook::Webhook;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::alone;

/// How often readiness is looked at. The kubelet takes seconds; the drain delay must be longer than
/// that in any case.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// Passes connections on to the replicas that are ready, in turn; those that are open stay where
/// they are.
#[derive(Clone)]
struct Balancer {
    address: SocketAddr,
    replicas: Arc<Mutex<Vec<Replica>>>,
}

#[derive(Clone, Copy)]
struct Replica {
    address: SocketAddr,
    admin_address: SocketAddr,
    is_ready: bool,
}

impl Balancer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let balancer = Self { address: listener.local_addr().unwrap(), replicas: Arc::default() };
        tokio::spawn(balancer.clone().probe());
        tokio::spawn(balancer.clone().pass_on(listener));
        balancer
    }

    async fn pass_on(self, listener: TcpListener) {
        for turn in 0.. {
            let (mut client, _) = listener.accept().await.unwrap();
            let ready: Vec<_> = self
                .replicas
                .lock()
                .unwrap()
                .iter()
                .filter(|replica| replica.is_ready)
                .copied()
                .collect();
            // Without any, the connection is closed, as a Service does it.
            if ready.is_empty() {
                continue;
            }
            let replica = ready[turn % ready.len()];
            tokio::spawn(async move {
                let mut server = TcpStream::connect(replica.address).await?;
                client.set_nodelay(true)?;
                server.set_nodelay(true)?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    }

    async fn probe(self) {
        loop {
            let replicas = self.replicas.lock().unwrap().clone();
            for replica in replicas {
                let is_ready = is_ready(replica.admin_address).await;
                // It may have gone in the meantime.
                for known in self.replicas.lock().unwrap().iter_mut() {
                    if known.admin_address == replica.admin_address {
                        known.is_ready = is_ready;
                    }
                }
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    /// Puts a replica into a place, in which there may have been another one, and waits until it is
    /// used.
    async fn put(&self, index: usize, webhook: &Webhook) {
        let replica = Replica {
            address: webhook.address(),
            admin_address: webhook.admin_address(),
            is_ready: false,
        };
        {
            let mut replicas = self.replicas.lock().unwrap();
            if index < replicas.len() {
                replicas[index] = replica;
            } else {
                replicas.push(replica);
            }
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.replicas.lock().unwrap()[index].is_ready {
            assert!(Instant::now() < deadline, "the replica does not get ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What a probe says; who is gone is not ready.
async fn is_ready(admin_address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(admin_address).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await?;
        try_read_reply(&mut stream).await
    };
    ask.await.is_ok_and(|reply| reply.status == 200)
}

/// A CA that both replicas are given, so that one bundle verifies them.
fn write_ca(directory: &Path) -> (PathBuf, PathBuf, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    let (cert, key_file) = (directory.join("ca.crt"), directory.join("ca.key"));
    fs::write(&cert, &pem).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    (cert, key_file, pem)
}

/// Creates pods, as a dry run, one after another until told to stop; what was refused.
async fn create_until(
    pods: Api<Pod>,
    is_over: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
) -> Vec<String> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": "p", "labels": {"spark-role": "driver"}, "annotations": {"spark-operator.k8s.io/sparkConfigMap": "conf"},
        },
        "spec": {"containers": [{"name": "spark-kubernetes-driver", "image": "i"}]},
    }))
    .unwrap();
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let mut lost = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        match pods.create(&dry_run, &pod).await {
            Ok(created) => {
                let annotations = created.metadata.annotations.unwrap();
                assert!(annotations.contains_key("spark-operator.k8s.io/injected"));
            }
            Err(error) => lost.push(error.to_string()),
        }
        count.fetch_add(1, Ordering::Relaxed);
        // A steady load, and some breath for the control plane on the same cores.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    lost
}

#[tokio::test(flavor = "multi_thread")]
async fn no_create_fails_while_replicas_are_restarted() {
    let _alone = alone().await;
    let started = Instant::now();
    let (restarts, drain_delay) = scale((2, "5s"), (20, "10s"));
    let directory = tempfile::tempdir().unwrap();
    let (ca_cert, ca_key, ca_pem) = write_ca(directory.path());
    let registration = directory.path().join("registration.yaml");
    let arguments = [
        ["--ca-cert", ca_cert.to_str().unwrap()],
        ["--ca-key", ca_key.to_str().unwrap()],
        ["--drain-delay", drain_delay],
        ["--write-registration", registration.to_str().unwrap()],
    ]
    .concat();
    let balancer = Balancer::start().await;
    let mut replicas = Vec::new();
    for index in 0..2 {
        let replica = Webhook::start(&arguments);
        balancer.put(index, &replica).await;
        replicas.push(replica);
    }

    // The API server calls the balancer, and knows only the CA.
    let mut registered: Value =
        serde_saphyr::from_str(&fs::read_to_string(&registration).unwrap()).unwrap();
    let client_config = &mut registered["webhooks"][0]["clientConfig"];
    client_config["url"] = json!(format!("https://{}/mutate", balancer.address));
    assert_eq!(client_config["caBundle"], json!(STANDARD.encode_to_string(&ca_pem)));
    assert_eq!(registered["webhooks"][0]["failurePolicy"], "Fail");
    let registration = directory.path().join("balanced.yaml");
    fs::write(&registration, registered.to_string()).unwrap();
    let cluster = Cluster::start().await;
    let client = cluster.namespace("restarts").await;
    cluster.register(&registration, "restarts").await;

    let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut creators = JoinSet::new();
    for _ in 0..8 {
        creators.spawn(create_until(
            Api::namespaced(client.clone(), "restarts"),
            is_over.clone(),
            count.clone(),
        ));
    }
    for restart in 0..restarts * 2 {
        let index = restart % 2;
        let replica = replicas.remove(index);
        replica.signal("TERM");
        let status =
            tokio::task::spawn_blocking(move || replica.wait_up_to(Duration::from_secs(40)))
                .await
                .unwrap();
        assert_eq!(status.code(), Some(0));
        let replica = Webhook::start(&arguments);
        balancer.put(index, &replica).await;
        replicas.insert(index, replica);
        // Both serve for a while.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let mut lost = creators.join_all().await.concat();
    let attempts = count.load(Ordering::Relaxed);
    let answered = attempts - lost.len();
    Row {
        what: &format!("creates while each of two replicas is restarted {restarts} times"),
        attempts,
        answered,
        memory_kib: None,
        started,
    }
    .print();
    lost.truncate(3);
    assert_eq!(answered, attempts, "such as {lost:#?}");
    assert!(attempts > 100, "{attempts}");
    drop(cluster);
}
