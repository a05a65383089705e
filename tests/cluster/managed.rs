//! The CA that replicas share by a Secret, with real kube-apiservers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testkit::cluster::{Cluster, SharedCluster};
use testkit::http::{connect_trusting, get};
use testkit::wait::wait_until;
use testkit::webhook::Webhook;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

static CLUSTER: SharedCluster = SharedCluster::new();

/// What a replica may take to notice and to heal; a minute is promised.
const HEALS_WITHIN: Duration = Duration::from_secs(60);

/// Replicas, and what they share.
struct Setup {
    cluster: Arc<Cluster>,
    name: &'static str,
    client: Client,
    replicas: Vec<Webhook>,
    directory: tempfile::TempDir,
    writes: Mutex<usize>,
}

impl Setup {
    /// A namespace with an empty Secret, or one with this content, and replicas that start at once.
    async fn new(
        name: &'static str,
        replicas: usize,
        secret: BTreeMap<String, ByteString>,
    ) -> Self {
        let cluster = CLUSTER.get().await;
        let client = cluster.namespace(name).await;
        let directory = tempfile::tempdir().unwrap();
        let mut setup = Self {
            cluster,
            name,
            client,
            replicas: Vec::new(),
            directory,
            writes: Mutex::default(),
        };
        setup.create_secret(secret).await;
        let kubeconfig = setup.cluster.kubeconfig();
        for _ in 0..replicas {
            setup.replicas.push(start(name, kubeconfig.to_str().unwrap()));
        }
        setup.register().await;
        setup
    }

    /// Replicas that reach the API server by a gate, which is closed.
    async fn start_behind_gate(&mut self, replicas: usize) -> Gate {
        let url = self.cluster.url().to_owned();
        let gate = Gate::new(url.strip_prefix("https://").unwrap().parse().unwrap()).await;
        let kubeconfig = std::fs::read_to_string(self.cluster.kubeconfig()).unwrap();
        let path = self.directory.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig.replace(&url, &format!("https://{}", gate.address)))
            .unwrap();
        for _ in 0..replicas {
            self.replicas.push(start(self.name, path.to_str().unwrap()));
        }
        self.registrations().delete(self.name, &DeleteParams::default()).await.unwrap();
        self.register().await;
        gate
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), self.name)
    }

    async fn create_secret(&self, data: BTreeMap<String, ByteString>) {
        let mut secret: Secret =
            serde_json::from_value(json!({"metadata": {"name": "ca"}})).unwrap();
        secret.data = Some(data);
        self.secrets().create(&PostParams::default(), &secret).await.unwrap();
    }

    async fn ca(&self) -> Option<String> {
        let secret = self.secrets().get_opt("ca").await.unwrap()?;
        Some(String::from_utf8(secret.data?.get("ca.crt")?.0.clone()).unwrap())
    }

    /// A webhook for each replica, so that the API server calls each of them for each pod.
    async fn register(&self) {
        let webhooks: Vec<Value> = self
            .replicas
            .iter()
            .enumerate()
            .map(|(number, replica)| {
                json!({
                    "name": format!("replica-{number}.example.com"),
                    "admissionReviewVersions": ["v1"],
                    "clientConfig": {"url": format!("https://{}/mutate", replica.address())},
                    "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.name}},
                    "sideEffects": "None",
                    "failurePolicy": "Fail",
                })
            })
            .collect();
        let registration =
            serde_json::from_value(json!({"metadata": {"name": self.name}, "webhooks": webhooks}))
                .unwrap();
        self.registrations().create(&PostParams::default(), &registration).await.unwrap();
    }

    fn registrations(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }

    async fn bundle(&self) -> String {
        bundle(&self.registrations(), self.name).await
    }

    /// How often replicas have written the Secret or the registration.
    fn writes(&self) -> usize {
        let mut writes = self.writes.lock().unwrap();
        *writes +=
            self.replicas.iter().map(|replica| replica.logged(" was written")).sum::<usize>();
        *writes
    }

    async fn wait_until_ready(&self) {
        for replica in &self.replicas {
            wait_until("ready", HEALS_WITHIN, async || {
                get(replica.admin_address(), "/readyz").await.body == "ok\n"
            })
            .await;
        }
    }
}

/// The bundle that all webhooks of a registration have.
async fn bundle(registrations: &Api<MutatingWebhookConfiguration>, name: &str) -> String {
    let webhooks = registrations.get(name).await.unwrap().webhooks.unwrap();
    let bundles: Vec<_> = webhooks
        .into_iter()
        .map(|webhook| webhook.client_config.ca_bundle.unwrap_or_default().0)
        .collect();
    assert!(bundles.iter().all(|bundle| *bundle == bundles[0]));
    String::from_utf8(bundles[0].clone()).unwrap()
}

fn start(name: &str, kubeconfig: &str) -> Webhook {
    start_in(name, &[("KUBECONFIG", kubeconfig)])
}

fn start_in(name: &str, environment: &[(&str, &str)]) -> Webhook {
    let secret = format!("{name}/ca");
    Webhook::start_in(environment, &["--ca-secret", &secret, "--registration-name", name])
}

async fn create_pod(client: &Client, namespace: &str) -> Result<Pod, kube::Error> {
    let pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "labels": {"spark-role": "driver"}, "annotations": {"spark-operator.k8s.io/secret.s": "/s"}},
        "spec": {"containers": [{"name": "spark", "image": "i"}]},
    }));
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    Api::namespaced(client.clone(), namespace).create(&dry_run, &pod.unwrap()).await
}

/// The API server learns of a bundle a moment after it was written.
async fn wait_until_called(setup: &Setup) {
    wait_until("called", HEALS_WITHIN, async || {
        create_pod(&setup.client, setup.name).await.is_ok()
    })
    .await;
}

async fn metric(replica: &Webhook, name: &str) -> String {
    let metrics = get(replica.admin_address(), "/metrics").await.body;
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(&format!("spark_webhook_{name} ")))
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn three_replicas_start_at_once_share_one_ca_and_heal_what_is_broken() {
    let setup = Setup::new("managed", 3, BTreeMap::new()).await;
    setup.wait_until_ready().await;
    let ca = setup.ca().await.unwrap();
    assert_eq!(setup.bundle().await, ca);
    for replica in &setup.replicas {
        connect_trusting(replica.address(), &ca).await.unwrap();
    }
    wait_until_called(&setup).await;
    for replica in &setup.replicas {
        let answered = [
            metric(replica, "requests_total{outcome=\"mutated\"}").await,
            metric(replica, "requests_total{outcome=\"unchanged\"}").await,
        ];
        assert_ne!(answered, ["0", "0"], "each one is called");
    }

    // Emptied: the CA is put back, and nobody notices.
    let mut secret = setup.secrets().get("ca").await.unwrap();
    secret.data = None;
    setup.secrets().replace("ca", &PostParams::default(), &secret).await.unwrap();
    wait_until("the Secret is healed", HEALS_WITHIN, async || {
        create_pod(&setup.client, setup.name).await.unwrap();
        setup.ca().await.as_ref() == Some(&ca)
    })
    .await;

    // Overwritten: calls fail until the bundle is put right, and only then.
    let patch = json!({"webhooks": [{"name": "replica-1.example.com", "clientConfig": {"caBundle": ByteString(b"".to_vec())}}]});
    setup
        .registrations()
        .patch(setup.name, &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .unwrap();
    wait_until("the caBundle is healed", HEALS_WITHIN, async || {
        let registration = setup.registrations().get(setup.name).await.unwrap();
        registration
            .webhooks
            .unwrap()
            .iter()
            .all(|webhook| webhook.client_config.ca_bundle.is_some())
    })
    .await;
    wait_until_called(&setup).await;
    assert_eq!(setup.bundle().await, ca);

    // Deleted: that is said, serving goes on, and an empty one is filled as soon as it is there.
    setup.secrets().delete("ca", &DeleteParams::default()).await.unwrap();
    wait_until("the probe tells", HEALS_WITHIN, async || {
        create_pod(&setup.client, setup.name).await.unwrap();
        let reply = get(setup.replicas[0].admin_address(), "/readyz").await;
        assert_eq!(reply.status, 200);
        reply.body.contains("Secret managed/ca does not exist")
    })
    .await;
    assert_eq!(metric(&setup.replicas[0], "certificate_problem").await, "1");
    setup.create_secret(BTreeMap::new()).await;
    setup.wait_until_ready().await;
    assert_eq!(setup.ca().await, Some(ca));
    assert_eq!(metric(&setup.replicas[0], "certificate_problem").await, "0");
}

/// With two API servers, each of which learns of the bundle by itself, and a CA that is soon to
/// end.
#[tokio::test]
async fn a_new_ca_is_in_the_bundle_a_minute_before_anybody_serves_a_leaf_of_it() {
    let secret = BTreeMap::from(ca_between(
        "ca",
        SystemTime::now() - DAY,
        SystemTime::now() + Duration::from_secs(3600),
    ));
    let old = String::from_utf8(secret["ca.crt"].0.clone()).unwrap();
    let cluster = CLUSTER.get().await;
    let another = cluster.another_api_server().await;
    let setup = Setup::new("renewed", 2, secret).await;
    let bundled = tokio::spawn({
        let registrations = setup.registrations();
        async move {
            wait_until("the next CA is in the bundle, too", Duration::from_secs(90), async || {
                bundle(&registrations, "renewed").await.matches("BEGIN CERTIFICATE").count() == 2
            })
            .await;
            Instant::now()
        }
    });
    setup.wait_until_ready().await;
    wait_until_called(&setup).await;
    let clients = [setup.client.clone(), another.client().await];
    wait_until("the other API server calls too", Duration::from_secs(30), async || {
        create_pod(&clients[1], setup.name).await.is_ok()
    })
    .await;

    let (stop, created) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = tokio::spawn({
        let (stop, created, name) = (stop.clone(), created.clone(), setup.name);
        async move {
            while !stop.load(Ordering::Relaxed) {
                for client in &clients {
                    create_pod(client, name)
                        .await
                        .expect("no create fails while the CA is renewed");
                    created.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    wait_until("a replica has made the next CA", Duration::from_secs(120), async || {
        setup.ca().await.as_ref() != Some(&old)
    })
    .await;
    let new = setup.ca().await.unwrap();
    let mut served = None;
    for replica in &setup.replicas {
        wait_until("a leaf of the new CA", Duration::from_secs(90), async || {
            connect_trusting(replica.address(), &new).await.is_ok()
        })
        .await;
        served.get_or_insert_with(Instant::now);
    }
    let bundled = bundled.await.unwrap();
    // It was there before it was seen there.
    let waited = served.expect("there are replicas").duration_since(bundled);
    assert!(waited > Duration::from_secs(55), "{waited:?}");
    let bundle = setup.bundle().await;
    assert!(bundle.contains(&new) && bundle.contains(&old), "the current CA and the previous one");
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    assert!(created.load(Ordering::Relaxed) > 100);
    println!("{} creates through two API servers, none failed", created.load(Ordering::Relaxed));
}

/// A CA that is valid between two times, as the entries of a Secret that hold it under this name.
fn ca_between(
    name: &str,
    not_before: SystemTime,
    not_after: SystemTime,
) -> [(String, ByteString); 2] {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (not_before.into(), not_after.into());
    let key = rcgen::KeyPair::generate().unwrap();
    [
        (format!("{name}.crt"), bytes(&params.self_signed(&key).unwrap().pem())),
        (format!("{name}.key"), bytes(&key.serialize_pem())),
    ]
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// As an API server that was away for a weekend leaves them, with certificates that end within it.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_were_cut_off_until_every_ca_had_expired_agree_on_a_new_one() {
    // It takes a while to start, and the CAs should be served before they expire.
    let _cluster = CLUSTER.get().await;
    let (from, to) = (SystemTime::now() - DAY, SystemTime::now() + Duration::from_secs(40));
    let secret =
        [ca_between("ca", from, to), ca_between("next", from, to)].concat().into_iter().collect();
    let mut setup = Setup::new("expired", 0, secret).await;
    let old = setup.ca().await.unwrap();
    let gate = setup.start_behind_gate(3).await;
    gate.is_open.store(true, Ordering::Relaxed);
    for replica in &setup.replicas {
        wait_until("the first CA is served", HEALS_WITHIN, async || {
            connect_trusting(replica.address(), &old).await.is_ok()
        })
        .await;
    }
    gate.is_open.store(false, Ordering::Relaxed);
    for replica in &setup.replicas {
        wait_until("it says that its certificate expired, and why", HEALS_WITHIN, async || {
            let reply = get(replica.admin_address(), "/readyz").await;
            reply.status == 503
                && reply.body.contains("the certificate expired at ")
                && reply.body.contains("cannot read the Secret")
        })
        .await;
        assert_eq!(metric(replica, "certificate_problem").await, "1");
    }
    let before = setup.writes();
    gate.is_open.store(true, Ordering::Relaxed);
    // Two minutes are promised.
    setup.wait_until_ready().await;
    wait_until_called(&setup).await;
    let new = setup.ca().await.unwrap();
    // Each has looked several times since.
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(setup.ca().await.unwrap(), new);
    assert_eq!(setup.bundle().await, new);
    for replica in &setup.replicas {
        connect_trusting(replica.address(), &new).await.unwrap();
    }
    // The new CA and its bundle. Replicas that read at the same moment may write the bundle once
    // more.
    let writes = setup.writes() - before;
    println!("{before} writes before the new CA, {writes} for it");
    assert!(writes <= 4, "{writes}");
}

/// As a node with a clock that is ahead writes it, or a hand.
#[tokio::test]
async fn what_cannot_be_used_in_the_secret_is_replaced_and_reaches_no_bundle() {
    let early = SystemTime::now() + DAY;
    let setup =
        Setup::new("early", 2, ca_between("ca", early, early + 100 * DAY).into_iter().collect())
            .await;
    let not_yet_valid = setup.ca().await.unwrap();
    setup.wait_until_ready().await;
    wait_until_called(&setup).await;
    let ca = setup.ca().await.unwrap();
    assert_ne!(ca, not_yet_valid);
    assert_eq!(setup.bundle().await, ca);

    // The API server takes no bundle with this in it.
    let garbage = bytes("-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n");
    let entry = |name: &str| (name.to_owned(), garbage.clone());
    let broken: [Vec<(String, ByteString)>; 5] = [
        vec![entry("previous.crt")],
        vec![entry("next.crt"), entry("next.key")],
        vec![entry("ca.crt")],
        ca_between("ca", early, early + 100 * DAY).to_vec(),
        ca_between("ca", SystemTime::now() - 2 * DAY, SystemTime::now() - DAY).to_vec(),
    ];
    for entries in broken {
        let mut secret = setup.secrets().get("ca").await.unwrap();
        let good = secret.data.clone();
        let mut data = good.clone().unwrap();
        data.extend(entries);
        secret.data = Some(data);
        setup.secrets().replace("ca", &PostParams::default(), &secret).await.unwrap();
        wait_until("the Secret is healed", HEALS_WITHIN, async || {
            create_pod(&setup.client, setup.name).await.unwrap();
            setup.secrets().get("ca").await.unwrap().data == good
        })
        .await;
        assert_eq!(setup.bundle().await, ca);
    }
    setup.wait_until_ready().await;
    let writes = setup.writes();
    assert!(writes <= 4 + 2 * 5, "{writes}");
}

/// Edits until the probe of each replica tells of it, and then for a while; how often replicas have
/// written meanwhile.
async fn contend<F: Future<Output = ()>>(setup: &Setup, object: &str, edit: impl Fn() -> F) {
    let edits = AtomicUsize::new(0);
    let editing = async {
        loop {
            edit().await;
            edits.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let watching = async {
        let before = setup.writes();
        for replica in &setup.replicas {
            wait_until("the probe tells", 2 * HEALS_WITHIN, async || {
                get(replica.admin_address(), "/readyz")
                    .await
                    .body
                    .contains(&format!("something else changes {object}"))
            })
            .await;
        }
        let first = setup.writes();
        tokio::time::sleep(Duration::from_secs(30)).await;
        (first - before, setup.writes() - first)
    };
    let (first, later) =
        tokio::select! { () = editing => unreachable!(), writes = watching => writes };
    println!(
        "{object}: {} edits, {first} writes at first, {later} in the half minute after",
        edits.load(Ordering::Relaxed)
    );
    // Three at once for each replica, and one more each half minute.
    assert!(first <= 3 * (3 + 4) && later <= 3 * 2, "{first} {later}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_others_edit_all_the_time_is_written_now_and_then() {
    let setup = Setup::new("contended", 3, BTreeMap::new()).await;
    setup.wait_until_ready().await;
    wait_until_called(&setup).await;
    let ca = setup.ca().await.unwrap();
    contend(&setup, "secret ca --namespace contended", async || {
        let patch = Patch::Merge(json!({"data": {"ca.crt": bytes("garbage")}}));
        setup.secrets().patch("ca", &PatchParams::default(), &patch).await.unwrap();
        create_pod(&setup.client, setup.name).await.expect("serving goes on");
    })
    .await;
    wait_until("the Secret is healed", HEALS_WITHIN, async || {
        setup.ca().await.as_ref() == Some(&ca)
    })
    .await;
    setup.wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_others_edit_all_the_time_is_written_now_and_then() {
    let setup = Setup::new("disputed", 3, BTreeMap::new()).await;
    setup.wait_until_ready().await;
    let ca = setup.ca().await.unwrap();
    let webhooks: Vec<Value> = (0..setup.replicas.len())
        .map(|number| json!({"name": format!("replica-{number}.example.com"), "clientConfig": {"caBundle": bytes("")}}))
        .collect();
    contend(&setup, "mutatingwebhookconfiguration disputed", async || {
        let patch = Patch::Strategic(json!({"webhooks": webhooks}));
        setup.registrations().patch(setup.name, &PatchParams::default(), &patch).await.unwrap();
    })
    .await;
    wait_until("the bundle is healed", HEALS_WITHIN, async || setup.bundle().await == ca).await;
    setup.wait_until_ready().await;
    wait_until_called(&setup).await;
}

/// A library that makes the clock of a process wrong.
fn wrong_clock(directory: &std::path::Path) -> String {
    let library = directory.join("clock.so").to_str().unwrap().to_owned();
    let arguments = ["-shared", "-fPIC", "-o", &library, "tests/cluster/clock.c", "-ldl"];
    assert!(std::process::Command::new("cc").args(arguments).status().unwrap().success());
    library
}

#[tokio::test]
async fn replicas_with_wrong_clocks_agree_with_all_others_and_are_called() {
    let mut setup = Setup::new("clocks", 0, BTreeMap::new()).await;
    let (library, kubeconfig) = (wrong_clock(setup.directory.path()), setup.cluster.kubeconfig());
    let mut start = |ahead: &str| {
        let environment = [
            ("KUBECONFIG", kubeconfig.to_str().unwrap()),
            ("LD_PRELOAD", &library),
            ("CLOCK_AHEAD", ahead),
        ];
        setup.replicas.push(start_in(setup.name, &environment));
    };
    // As far as the API server's own certificate allows; and what the first one makes, all others
    // get.
    start(&(300 * DAY).as_secs().to_string());
    start("-2400");
    start("0");
    setup.registrations().delete(setup.name, &DeleteParams::default()).await.unwrap();
    setup.register().await;
    for (replica, expected) in setup.replicas.iter().zip([
        "ok, but with a wrong clock: this machine's clock is 300 days ahead of the API server's; set the clock of the node\n",
        "ok, but with a wrong clock: this machine's clock is 40 minutes behind the API server's; set the clock of the node\n",
        "ok\n",
    ]) {
        wait_until("it is ready, and says that its clock is wrong", HEALS_WITHIN, async || {
            let reply = get(replica.admin_address(), "/readyz").await;
            reply.status == 200 && reply.body.starts_with(expected)
        })
        .await;
        wait_until("the metric too", HEALS_WITHIN, async || {
            metric(replica, "certificate_problem").await == if expected == "ok\n" { "0" } else { "1" }
        })
        .await;
    }
    wait_until_called(&setup).await;
    let ca = setup.ca().await.unwrap();
    for replica in &setup.replicas {
        connect_trusting(replica.address(), &ca).await.unwrap();
        assert_ne!(
            metric(replica, "requests_total{outcome=\"mutated\"}").await
                + &metric(replica, "requests_total{outcome=\"unchanged\"}").await,
            "00"
        );
    }
    // Each has looked several times since.
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(setup.ca().await.unwrap(), ca);
    assert_eq!(setup.bundle().await, ca);
    let writes = setup.writes();
    assert!(writes <= 4, "{writes}");
}

/// A way to an API server that can be closed.
struct Gate {
    address: SocketAddr,
    is_open: Arc<AtomicBool>,
}

impl Gate {
    async fn new(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = Self { address: listener.local_addr().unwrap(), is_open: Arc::default() };
        let is_open = gate.is_open.clone();
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let is_open = is_open.clone();
                tokio::spawn(async move {
                    if !is_open.load(Ordering::Relaxed) {
                        return;
                    }
                    let mut to = TcpStream::connect(to).await.unwrap();
                    let closed = async {
                        while is_open.load(Ordering::Relaxed) {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    };
                    tokio::select! { _ = copy_bidirectional(&mut from, &mut to) => {}, () = closed => {} }
                });
            }
        });
        gate
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_api_server_it_waits_at_start_and_serves_on_later() {
    let mut setup = Setup::new("away", 0, BTreeMap::new()).await;
    let gate = setup.start_behind_gate(1).await;
    let admin = setup.replicas[0].admin_address();
    wait_until("it says what it waits for", Duration::from_secs(30), async || {
        let reply = get(admin, "/readyz").await;
        assert_eq!(reply.status, 503);
        reply.body.contains("cannot read the Secret")
    })
    .await;
    gate.is_open.store(true, Ordering::Relaxed);
    setup.wait_until_ready().await;
    wait_until_called(&setup).await;

    gate.is_open.store(false, Ordering::Relaxed);
    let away = Instant::now();
    let seconds = if std::env::var_os("SOAK").is_some() { 60 } else { 15 };
    while away.elapsed() < Duration::from_secs(seconds) {
        create_pod(&setup.client, setup.name).await.unwrap();
        assert_eq!(get(admin, "/readyz").await.status, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(get(admin, "/readyz").await.body.contains("cannot read the Secret"));
    gate.is_open.store(true, Ordering::Relaxed);
    setup.wait_until_ready().await;
}
