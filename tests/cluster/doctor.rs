//! `spark-webhook doctor` on a real kube-apiserver: what is broken on purpose is named, with the
//! exit code for scripts.

mod connection;
mod servers;

use std::fmt::Debug;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Pod, ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testkit::cluster::{Cluster, SharedCluster};
use testkit::spark::Spark;
use testkit::webhook::{Webhook, command};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

static CLUSTER: SharedCluster = SharedCluster::new();

/// A namespace, a webhook, and its registration for that namespace alone.
struct Setup {
    cluster: Arc<Cluster>,
    name: &'static str,
    registration: String,
    client: Client,
    webhook: Option<Webhook>,
    directory: tempfile::TempDir,
}

impl Setup {
    /// All is well.
    async fn new(name: &'static str) -> Self {
        let setup = Self::without_registration(name, &[]).await;
        setup.cluster.register(&setup.registration_file(), name).await;
        setup
    }

    async fn without_registration(name: &'static str, arguments: &[&str]) -> Self {
        let cluster = CLUSTER.get().await;
        let client = cluster.namespace(name).await;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("registration.yaml");
        let written = ["--write-registration", file.to_str().unwrap()];
        // A certificate from files has no CA to write.
        let arguments = if arguments.contains(&"--tls-cert") {
            arguments.to_vec()
        } else {
            [arguments, &written].concat()
        };
        let webhook = Some(Webhook::start(&arguments));
        Self {
            cluster,
            name,
            registration: format!("spark-webhook-{name}"),
            client,
            webhook,
            directory,
        }
    }

    fn registration_file(&self) -> PathBuf {
        self.directory.path().join("registration.yaml")
    }

    /// Registers one that is changed, for this namespace alone unless that is changed too.
    async fn register_value(&self, registration: &mut Value, change: impl FnOnce(&mut Value)) {
        registration["metadata"]["name"] = json!(self.registration);
        let only = json!({"matchLabels": {"kubernetes.io/metadata.name": self.name}});
        registration["webhooks"][0]["namespaceSelector"] = only;
        change(&mut registration["webhooks"][0]);
        let registrations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let registration = serde_json::from_value(registration.clone()).unwrap();
        registrations.create(&PostParams::default(), &registration).await.unwrap();
        self.settle().await;
    }

    async fn change_registration(&self, webhook: Value) {
        let registrations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let mut webhook = webhook;
        webhook["name"] = json!("spark-webhook.k8s.io");
        let patch = Patch::Strategic(json!({"webhooks": [webhook]}));
        registrations.patch(&self.registration, &PatchParams::default(), &patch).await.unwrap();
        self.settle().await;
    }

    /// The API server learns of a registration by a watch, within a second where it is not kept
    /// from it.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(2500)).await;
    }

    async fn create_pod(&self, name: &str, role: &str, annotations: &Value, volumes: Value) {
        let pod = json!({
            "metadata": {"name": name, "labels": {"spark-role": role}, "annotations": annotations},
            "spec": {"containers": [{"name": "spark", "image": "i"}], "volumes": volumes},
        });
        self.create::<Pod>(self.name, pod).await;
    }

    async fn create_config_map(&self, name: &str, data: Value) {
        self.create::<ConfigMap>(self.name, json!({"metadata": {"name": name}, "data": data}))
            .await;
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_as(&self.cluster.kubeconfig(), arguments)
    }

    fn run_as(&self, kubeconfig: &Path, arguments: &[&str]) -> Output {
        let mut doctor = command();
        doctor
            .arg("doctor")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--name", &self.registration]);
        doctor.args(arguments);
        if !arguments.contains(&"--namespace") {
            doctor.args(["--namespace", self.name]);
        }
        doctor.output().unwrap()
    }

    /// The findings, and that the exit code is theirs.
    fn findings(&self, arguments: &[&str]) -> Vec<Found> {
        read(&self.run(&[arguments, &["-o", "json"]].concat()))
    }
}

/// A row, as scripts read it.
#[derive(Debug)]
struct Found {
    check: String,
    status: String,
    message: String,
    advice: String,
}

fn read(output: &Output) -> Vec<Found> {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&stdout).unwrap_or_else(|error| {
        panic!("{error}: {stdout}{}", String::from_utf8_lossy(&output.stderr))
    });
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let found: Vec<Found> = rows
        .iter()
        .map(|row| {
            assert_eq!(row.as_object().unwrap().len(), 4);
            let [check, status, message, advice] =
                ["check", "status", "message", "advice"].map(|key| text(row, key));
            assert!(status == "passed" || !advice.is_empty(), "{row}");
            Found { check, status, message, advice }
        })
        .collect();
    let has = |status: &str| found.iter().any(|found| found.status == status);
    let expected = if has("failed") {
        1
    } else if has("passed") {
        0
    } else {
        3
    };
    assert_eq!(output.status.code(), Some(expected), "{found:#?}");
    found
}

/// That exactly these checks fail or are unknown, each with a beginning of its message.
#[track_caller]
fn assert_found(found: &[Found], expected: &[(&str, &str, &str)]) {
    let shown = |found: &Found| (found.check.clone(), found.status.clone());
    let wrong: Vec<_> = found.iter().filter(|found| found.status != "passed").map(shown).collect();
    let checks: Vec<_> = expected
        .iter()
        .map(|(check, status, _)| ((*check).to_owned(), (*status).to_owned()))
        .collect();
    assert_eq!(wrong, checks, "{found:#?}");
    let wrong = found.iter().filter(|found| found.status != "passed");
    for (found, (_, _, message)) in wrong.zip(expected) {
        assert!(found.message.contains(message), "{message}: {found:#?}");
    }
}

/// With a URL, the cluster does not know who is behind it.
const BY_URL: (&str, &str, &str) = ("versions", "unknown", "for a URL");
const RULES_UNSEEN: (&str, &str, &str) = ("rules", "unknown", "no Service");

/// A certificate for 127.0.0.1 from a CA of its own, and the CA in PEM.
fn certificate(directory: &Path, not_after: SystemTime) -> (Vec<String>, String) {
    let mut ca_params = CertificateParams::default();
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca = ca_params.self_signed(&ca_key).unwrap();
    let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    leaf.not_before = (SystemTime::now() - Duration::from_secs(3600)).into();
    leaf.not_after = not_after.into();
    let key = KeyPair::generate().unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::from_ca_cert_der(ca.der(), ca_key).unwrap()).unwrap();
    let (cert_file, key_file) = (directory.join("tls.crt"), directory.join("tls.key"));
    fs::write(&cert_file, leaf.pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    let [cert_file, key_file] = [cert_file, key_file].map(|file| file.to_str().unwrap().to_owned());
    (vec!["--tls-cert".to_owned(), cert_file, "--tls-key".to_owned(), key_file], ca.pem())
}

#[tokio::test]
async fn nothing_fails_where_all_is_well() {
    let setup = Setup::new("healthy").await;
    setup.create_config_map("hadoop", json!({"core-site.xml": "<configuration/>"})).await;
    setup
        .create_pod(
            "driver",
            "driver",
            &json!({"spark-operator.k8s.io/hadoopConfigMap": "hadoop"}),
            json!([]),
        )
        .await;
    let rules = setup.directory.path().join("rules.yaml");
    fs::write(&rules, "apiVersion: spark-webhook/v1\nallow: [{configMaps: [\"*\"]}]\n").unwrap();
    let found = setup.findings(&["--config", rules.to_str().unwrap()]);
    assert_found(&found, &[BY_URL]);
    let checks: Vec<&str> = found.iter().map(|found| found.check.as_str()).collect();
    assert_eq!(
        checks,
        [
            "configuration",
            "selectors",
            "condition",
            "certificate",
            "endpoints",
            "versions",
            "dry-run",
            "order",
            "pods",
            "objects",
            "properties",
            "rules",
        ]
    );
    let page = fs::read_to_string("docs/operations.md").unwrap();
    for check in checks {
        assert!(page.contains(&format!("| `{check}` |")), "{check} is not documented");
    }
    let message =
        |check: &str| found.iter().find(|found| found.check == check).unwrap().message.clone();
    assert!(message("certificate").ends_with(" h left"), "{}", message("certificate"));
    assert!(message("dry-run").contains(" ms (median of 10)"), "{}", message("dry-run"));
    assert_eq!(message("pods"), "of 1 pod in healthy, 1 asks for something and has it");
    assert_eq!(message("objects"), "1 object asked for, all there");

    // For people.
    let output = setup.run(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    assert!(
        text.starts_with("passed   configuration  spark-webhook-healthy calls https://127.0.0.1:"),
        "{text}"
    );
    assert!(text.ends_with("\n10 passed, 0 failed, 2 unknown\n"), "{text}");
    assert_eq!(setup.run(&["--strict"]).status.code(), Some(1));
    println!("{text}");

    // The dry runs have left nothing.
    let pods: Api<Pod> = Api::namespaced(setup.client.clone(), setup.name);
    assert_eq!(pods.list(&kube::api::ListParams::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn without_a_registration() {
    let setup = Setup::without_registration("nothing", &[]).await;
    let driver = json!({"spark-operator.k8s.io/secret.s": "/s:optional"});
    setup.create_pod("driver", "driver", &driver, json!([])).await;
    let found = setup.findings(&[]);
    assert_found(
        &found,
        &[
            (
                "configuration",
                "failed",
                "MutatingWebhookConfiguration spark-webhook-nothing does not exist",
            ),
            (
                "dry-run",
                "failed",
                "a driver comes back without its mounts: there is no registration",
            ),
            ("pods", "failed", "driver: not mutated: there is no registration"),
            RULES_UNSEEN,
        ],
    );

    // And once there is one, the pod is older.
    setup.cluster.register(&setup.registration_file(), setup.name).await;
    let found = setup.findings(&["--pod", "driver"]);
    assert_found(
        &found,
        &[
            BY_URL,
            ("pods", "failed", "driver: not mutated: it is older than the registration"),
            RULES_UNSEEN,
        ],
    );
    let found = setup.findings(&["--pod", "other"]);
    assert_found(
        &found,
        &[
            BY_URL,
            ("pods", "failed", "pod other does not exist in namespace nothing"),
            RULES_UNSEEN,
        ],
    );
}

#[tokio::test]
async fn a_bundle_of_another_ca() {
    let setup = Setup::new("bundle").await;
    let (_, other) =
        certificate(setup.directory.path(), SystemTime::now() + Duration::from_secs(3600));
    let bundle = |pem: &str| json!({"clientConfig": {"caBundle": base64_simd::STANDARD.encode_to_string(pem)}});
    setup.change_registration(bundle(&other)).await;
    let found = setup.findings(&[]);
    // The API server may still be connected from before, but makes a new connection for a changed
    // registration.
    assert_found(
        &found,
        &[
            ("certificate", "failed", "caBundle does not verify the certificate"),
            ("endpoints", "unknown", "is reached from here"),
            BY_URL,
            ("dry-run", "failed", "x509: certificate signed by unknown authority"),
            RULES_UNSEEN,
        ],
    );
    assert!(found.iter().any(|found| found.advice.contains("--ca-secret")));
}

#[tokio::test]
async fn a_certificate_that_expired() {
    let directory = tempfile::tempdir().unwrap();
    // It would not start with one that has expired; the control plane takes seconds, and comes
    // first.
    let _cluster = CLUSTER.get().await;
    let end = SystemTime::now() + Duration::from_secs(20);
    let (arguments, ca) = certificate(directory.path(), end);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let setup = Setup::without_registration("expired", &arguments).await;
    let url = format!("https://{}/mutate", setup.webhook.as_ref().unwrap().address());
    let condition =
        spark_webhook::registration::condition(&spark_webhook::config::Rules::default());
    let mut registration = spark_webhook::registration::registration(&url, &ca, &condition);
    tokio::time::sleep(
        end.duration_since(SystemTime::now()).unwrap_or_default() + Duration::from_secs(1),
    )
    .await;
    setup.register_value(&mut registration, |_| ()).await;
    assert_found(
        &setup.findings(&[]),
        &[
            ("certificate", "failed", "expired 0 min ago"),
            ("endpoints", "unknown", "is reached from here"),
            BY_URL,
            ("dry-run", "failed", "x509: certificate has expired"),
            RULES_UNSEEN,
        ],
    );
}

#[tokio::test]
async fn a_namespace_that_is_excluded_and_pods_that_are_left_out() {
    let setup = Setup::new("excluded").await;
    let asks = json!({"spark-operator.k8s.io/hadoopConfigMap": "hadoop:optional"});
    setup.create_pod("no-role", "worker", &asks, json!([])).await;
    let found = setup.findings(&[]);
    assert_found(
        &found,
        &[
            BY_URL,
            ("pods", "failed", "no-role: not mutated: it has no label spark-role"),
            RULES_UNSEEN,
        ],
    );

    setup.cluster.namespace("excluded-other").await;
    let found = setup.findings(&["--namespace", "excluded-other"]);
    let excluded =
        "namespace excluded-other is excluded by the namespaceSelector of spark-webhook-excluded";
    let expected = [
        ("selectors", "failed", excluded),
        ("endpoints", "unknown", "is reached from here"),
        BY_URL,
        ("dry-run", "failed", excluded),
        RULES_UNSEEN,
    ];
    assert_found(&found, &expected);

    // A condition from before the second prefix, and a problem that the webhook recorded.
    let wrong = json!({"spark-operator.k8s.io/secret.s": "relative"});
    setup.create_pod("wrong", "driver", &wrong, json!([])).await;
    let found = setup.findings(&["--pod", "wrong"]);
    assert_found(
        &found,
        &[
            BY_URL,
            ("pods", "failed", "wrong: a request was not carried out: secret.s=relative"),
            RULES_UNSEEN,
        ],
    );
    let old = "has(object.metadata.annotations) && object.metadata.annotations.exists(key, key.startsWith('sparkoperator.k8s.io/'))";
    setup
        .change_registration(
            json!({"matchConditions": [{"name": "concerns-spark-webhook", "expression": old}]}),
        )
        .await;
    let found = setup.findings(&["--pod", "wrong"]);
    assert!(
        found.iter().any(|found| found.check == "condition" && found.status == "failed"),
        "{found:#?}"
    );
    assert!(
        found.iter().any(|found| found.check == "dry-run" && found.status == "failed"),
        "{found:#?}"
    );
}

#[tokio::test]
async fn a_webhook_that_is_away() {
    let mut setup = Setup::new("away").await;
    drop(setup.webhook.take());
    let found = setup.findings(&[]);
    assert_found(
        &found,
        &[
            ("certificate", "unknown", "cannot be reached from here"),
            ("endpoints", "failed", "Connection refused"),
            BY_URL,
            ("dry-run", "failed", "connect: connection refused"),
            RULES_UNSEEN,
        ],
    );
    assert!(
        found
            .iter()
            .any(|found| found.message.contains("Spark pods that ask for something are refused"))
    );
    assert!(found.iter().any(|found| {
        found.advice.contains("kubectl delete mutatingwebhookconfiguration spark-webhook-away")
    }));

    setup.change_registration(json!({"failurePolicy": "Ignore"})).await;
    let asks = json!({"spark-operator.k8s.io/hadoopConfigMap": "hadoop:optional"});
    for name in ["one", "two"] {
        setup.create_pod(name, "executor", &asks, json!([])).await;
    }
    let found = setup.findings(&[]);
    assert_found(
        &found,
        &[
            ("certificate", "unknown", "cannot be reached from here"),
            ("endpoints", "failed", "Spark pods get no mounts"),
            BY_URL,
            ("dry-run", "failed", "failurePolicy Ignore lets the pod through"),
            ("pods", "failed", "one, two: not mutated: probably the webhook was away"),
            RULES_UNSEEN,
        ],
    );

    // A wait ends in vain, having said once what it waits for.
    let output = setup.run(&["--wait", "10s"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "waiting for endpoints, dry-run, pods\n");
}

#[tokio::test]
async fn objects_that_do_not_exist_and_properties_in_the_plural() {
    let setup = Setup::new("objects").await;
    setup.create_config_map("krb5", json!({"krb5.ini": ""})).await;
    let asks = json!({
        "spark-operator.k8s.io/hadoopConfigMap": "hadoop",
        "spark-operator.k8s.io/secret.extra": "/extra:optional",
        "spark-operator.k8s.io/configMap.krb5": "/etc/krb5.conf:file=krb5.conf",
    });
    setup.create_pod("driver", "driver", &asks, json!([])).await;
    let properties = "spark.kubernetes.driver.annotations.spark-operator.k8s.io/hadoopConfigMap=hadoop\nspark.app.name=x\n";
    setup.create_config_map("conf", json!({"spark.properties": properties})).await;
    let conf = json!([{"name": "spark-conf-volume-driver", "configMap": {"name": "conf"}}]);
    setup.create_pod("plural", "driver", &json!({}), conf).await;
    assert_found(
        &setup.findings(&[]),
        &[
            BY_URL,
            (
                "objects",
                "failed",
                "ConfigMap hadoop does not exist in namespace objects; asked for by driver",
            ),
            (
                "objects",
                "failed",
                "ConfigMap krb5 has no key krb5.conf in namespace objects; asked for by driver",
            ),
            (
                "properties",
                "failed",
                "plural was submitted with spark.kubernetes.driver.annotations.spark-operator.k8s.io/hadoopConfigMap",
            ),
            RULES_UNSEEN,
        ],
    );

    // The administrator's rules, where a default's object is missing and the registration does not
    // send the pods.
    let rules = setup.directory.path().join("rules.yaml");
    let text = "apiVersion: spark-webhook/v1\ndefaults: [{namespaces: [objects], required: true, annotations: {spark-operator.k8s.io/secret.ca: /ca}}]\n";
    fs::write(&rules, text).unwrap();
    assert_found(
        &setup.findings(&["--pod", "plural", "--config", rules.to_str().unwrap()]),
        &[
            BY_URL,
            ("properties", "failed", "plural was submitted with"),
            (
                "rules",
                "failed",
                "the matchConditions leave out pods of the rules' defaults: they lack || (request.namespace.matches('^objects$'))",
            ),
            ("rules", "failed", "Secret ca, which a default requires, does not exist in objects"),
        ],
    );
}

/// The address of this machine that an `EndpointSlice` may have, which a loopback address is not.
async fn own_address() -> IpAddr {
    // Nothing is sent: this only asks which address would be used.
    let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
    socket
        .connect("198.51.100.1:9")
        .await
        .expect("this machine has an address beside the loopback one");
    socket.local_addr().unwrap().ip()
}

/// An address of this machine that leads to another one.
async fn outside(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((own_address().await, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut to = TcpStream::connect(to).await.unwrap();
                from.set_nodelay(true).unwrap();
                to.set_nodelay(true).unwrap();
                copy_bidirectional(&mut from, &mut to).await
            });
        }
    });
    address
}

impl Setup {
    async fn create<K>(&self, namespace: &str, object: Value)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Serialize
            + Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    /// By these, and not by slices, older API servers find a Service's replica, such as that of
    /// 1.32; a controller keeps both alike.
    async fn create_endpoints(&self, namespace: &str, service: &str, ready: SocketAddr) {
        let subset = json!({"addresses": [{"ip": ready.ip()}], "ports": [{"name": "https", "port": ready.port()}]});
        self.create::<Endpoints>(
            namespace,
            json!({"metadata": {"name": service}, "subsets": [subset]}),
        )
        .await;
    }

    /// A Service and two replicas behind it, as the chart makes them; the addresses are those of
    /// the endpoints.
    async fn create_service(&self, namespace: &str, ready: SocketAddr) {
        let name = "spark-webhook";
        let labels = json!({"app.kubernetes.io/name": name});
        let spec = json!({"selector": labels, "ports": [{"name": "https", "port": 443, "targetPort": 8443}]});
        self.create::<Service>(namespace, json!({"metadata": {"name": name}, "spec": spec})).await;
        let slice = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": ready.port()}],
            "endpoints": [
                {"addresses": [ready.ip()], "conditions": {"ready": true}},
                {"addresses": ["198.51.100.78"], "conditions": {"ready": false}},
            ],
        });
        self.create::<EndpointSlice>(namespace, slice).await;
        self.create_endpoints(namespace, name, ready).await;
        for name in ["spark-webhook-6d4b9-7xk2p", "spark-webhook-6d4b9-qz8fm"] {
            let containers = json!([{"name": "spark-webhook", "image": "registry.example/spark-webhook:0.1.0", "args": ["serve"]}]);
            let pod = json!({"metadata": {"name": name, "labels": labels}, "spec": {"containers": containers}});
            self.create::<Pod>(namespace, pod).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_replicas_are_well_passes_everything() {
    let mut setup =
        Setup::without_registration("spark", &["--dns-name", "spark-webhook.spark-webhook.svc"])
            .await;
    setup.registration = "spark-webhook".to_owned();
    setup.cluster.namespace("spark-webhook").await;
    let address = outside(setup.webhook.as_ref().unwrap().address()).await;
    setup.create_service("spark-webhook", address).await;
    let mut registration =
        serde_saphyr::from_str(&fs::read_to_string(setup.registration_file()).unwrap()).unwrap();
    setup
        .register_value(&mut registration, |webhook| {
            let config = webhook["clientConfig"].as_object_mut().unwrap();
            config.remove("url");
            let service =
                json!({"name": "spark-webhook", "namespace": "spark-webhook", "path": "/mutate"});
            config.insert("service".to_owned(), service);
        })
        .await;
    setup.create_config_map("hadoop-conf", json!({"core-site.xml": "<configuration/>"})).await;
    setup
        .create_pod(
            "pi-driver",
            "driver",
            &json!({"spark-operator.k8s.io/hadoopConfigMap": "hadoop-conf"}),
            json!([]),
        )
        .await;
    let found = setup.findings(&[]);
    assert_found(&found, &[]);
    let message = |check: &str| &found.iter().find(|found| found.check == check).unwrap().message;
    assert_eq!(*message("endpoints"), format!("1 endpoint ready, 1 not ready: {address}"));
    assert_eq!(message("versions"), "2 replicas of registry.example/spark-webhook:0.1.0");
    assert!(
        message("certificate").contains("for spark-webhook.spark-webhook.svc")
            || message("certificate").contains("localhost")
    );

    // The README shows such a run.
    let text = String::from_utf8(setup.run(&[]).stdout).unwrap();
    println!("{text}");
    let readme = fs::read_to_string("README.md").unwrap();
    let shown = readme.split("spark-webhook doctor --namespace spark\n").nth(1).unwrap();
    let shown: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .take(text.lines().count() - 1)
        .collect();
    let without_numbers = |line: &str| {
        line.replace(|character: char| character.is_ascii_digit() || character == '.', "")
    };
    for (line, expected) in text.lines().filter(|line| !line.is_empty()).zip(&shown) {
        assert_eq!(without_numbers(line), without_numbers(expected));
    }

    // For another name than that of the certificate.
    let service = json!({"name": "other", "namespace": "spark-webhook"});
    setup
        .create::<Service>(
            "spark-webhook",
            json!({"metadata": {"name": "other"}, "spec": {"ports": [{"name": "https", "port": 443}]}}),
        )
        .await;
    let slice = json!({
        "metadata": {"name": "other", "labels": {"kubernetes.io/service-name": "other"}},
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": address.port()}],
        "endpoints": [{"addresses": [address.ip()]}],
    });
    setup.create::<EndpointSlice>("spark-webhook", slice).await;
    setup.create_endpoints("spark-webhook", "other", address).await;
    setup.change_registration(json!({"clientConfig": {"service": service}})).await;
    assert_found(
        &setup.findings(&[]),
        &[
            ("certificate", "failed", "and not for other.spark-webhook.svc"),
            ("versions", "unknown", "has no selector"),
            ("dry-run", "failed", "x509: certificate is valid for"),
            RULES_UNSEEN,
        ],
    );
    println!("{}", String::from_utf8(setup.run(&[]).stdout).unwrap());
}

/// A Service whose endpoints only the cluster could reach, its replicas and their rules; and what
/// deleting leaves behind.
#[tokio::test]
async fn a_service_its_replicas_and_what_is_left_of_it() {
    let setup = Setup::without_registration("service", &[]).await;
    let service = json!({"name": "hook", "namespace": setup.name, "path": "/mutate", "port": 443});
    let ca = certificate(setup.directory.path(), SystemTime::now() + Duration::from_secs(3600)).1;
    let condition =
        spark_webhook::registration::condition(&spark_webhook::config::Rules::default());
    let mut registration =
        spark_webhook::registration::registration("https://unused", &ca, &condition);
    setup
        .register_value(&mut registration, |webhook| {
            webhook["clientConfig"].as_object_mut().unwrap().remove("url");
            webhook["clientConfig"]["service"] = service;
            // The test's own pods must come to be.
            webhook["failurePolicy"] = json!("Ignore");
        })
        .await;
    let found = setup.findings(&[]);
    let gone = found.iter().find(|found| found.check == "endpoints").unwrap();
    assert_eq!(gone.status, "failed");
    assert!(
        gone.message.starts_with(
            "Service service/hook does not exist, and the registration was left behind"
        ),
        "{gone:?}"
    );
    assert!(
        gone.advice.ends_with("kubectl delete mutatingwebhookconfiguration spark-webhook-service"),
        "{gone:?}"
    );

    let spec = json!({"selector": {"app": "hook"}, "ports": [{"name": "https", "port": 443, "targetPort": 8443}]});
    setup.create::<Service>(setup.name, json!({"metadata": {"name": "hook"}, "spec": spec})).await;
    let found = setup.findings(&[]);
    let endpoints = found.iter().find(|found| found.check == "endpoints").unwrap();
    assert!(
        endpoints.message.starts_with("no endpoint of Service service/hook is ready (0 not ready)"),
        "{endpoints:?}"
    );
    assert!(
        endpoints.advice.contains("kubectl --namespace service get pods --selector app=hook"),
        "{endpoints:?}"
    );

    // A port on which nobody listens.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((own_address().await, 0).into()).unwrap();
    let nobody = socket.local_addr().unwrap();
    let slice = json!({
        "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": nobody.port()}],
        "endpoints": [
            {"addresses": [nobody.ip()], "conditions": {"ready": true}},
            {"addresses": ["198.51.100.78"], "conditions": {"ready": false}},
        ],
    });
    setup.create::<EndpointSlice>(setup.name, slice).await;
    let rules = "apiVersion: spark-webhook/v1\ndefaults: [{annotations: {spark-operator.k8s.io/secret.ca: /ca}}]\n";
    setup.create_config_map("rules", json!({"rules.yaml": rules})).await;
    for (name, image) in [("hook-a", "spark-webhook:1"), ("hook-b", "spark-webhook:2")] {
        let pod = json!({
            "metadata": {"name": name, "labels": {"app": "hook"}},
            "spec": {
                "containers": [{
                    "name": "spark-webhook", "image": image, "args": ["serve", "--config=/etc/rules/rules.yaml"],
                    "volumeMounts": [{"name": "rules", "mountPath": "/etc/rules"}],
                }],
                "volumes": [{"name": "rules", "configMap": {"name": "rules"}}],
            },
        });
        setup.create::<Pod>(setup.name, pod).await;
    }
    let found = setup.findings(&[]);
    let row = |check: &str| found.iter().find(|found| found.check == check).unwrap();
    let certificate = row("certificate");
    assert_eq!(certificate.status, "unknown");
    assert!(
        certificate.message.contains(&format!("{nobody} cannot be reached from here")),
        "{certificate:?}"
    );
    assert!(certificate.advice.contains("port-forward service/hook 8443:443"), "{certificate:?}");
    assert_eq!(row("endpoints").message, format!("1 endpoint ready, 1 not ready: {nobody}"));
    assert_eq!(
        row("versions").message,
        "the replicas differ: spark-webhook:1 (hook-a); spark-webhook:2 (hook-b)"
    );
    assert_eq!(
        row("rules").message,
        "the matchConditions leave out pods of the rules' defaults: they lack || true"
    );

    let pods: Api<Pod> = Api::namespaced(setup.client.clone(), setup.name);
    pods.delete(
        "hook-b",
        &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() },
    )
    .await
    .unwrap();
    let found = setup.findings(&[]);
    assert_eq!(
        found.iter().find(|found| found.check == "versions").unwrap().message,
        "1 replica of spark-webhook:1"
    );

    // What the deletion of a namespace leaves behind.
    let gone = json!({"service": {"name": "hook", "namespace": "deleted"}});
    setup.change_registration(json!({"failurePolicy": "Fail", "clientConfig": gone})).await;
    assert_found(
        &setup.findings(&[]),
        &[
            ("certificate", "unknown", "there is nobody to ask"),
            (
                "endpoints",
                "failed",
                "namespace deleted does not exist, and the registration was left behind: Spark pods that ask",
            ),
            ("dry-run", "failed", "service \"hook\" not found"),
            RULES_UNSEEN,
        ],
    );
}

/// What spark8t and the integration hub have stored, by hand and half;
/// `tests/cluster/neighbours/spark8t.rs` has them store it themselves.
#[tokio::test]
async fn a_service_account_of_charmed_spark() {
    let setup = Setup::new("accounts").await;
    let annotation = |role: &str, key: &str| {
        format!("spark.kubernetes.{role}.annotation.spark-operator.k8s.io_2f{key}")
    };
    let found = setup.findings(&["--service-account", "accounts:nobody"]);
    let create =
        "create it: service-account-registry create --username nobody --namespace accounts";
    assert_found(
        &found,
        &[BY_URL, RULES_UNSEEN, ("account", "failed", "service account nobody does not exist")],
    );
    assert!(found.iter().any(|found| found.advice == create), "{found:#?}");
    let page = fs::read_to_string("docs/operations.md").unwrap();
    assert!(page.contains("| `account` |"));

    setup.create::<ServiceAccount>(setup.name, json!({"metadata": {"name": "etl"}})).await;
    let account = ["--service-account", "accounts:etl"];
    let found = setup.findings(&account);
    assert_found(
        &found,
        &[BY_URL, RULES_UNSEEN, ("account", "failed", "Secret spark8t-sa-conf-etl does not exist")],
    );

    let hub = json!({
        "spark.hadoop.fs.s3a.secret.key": "password-of-the-hub",
        "spark.kubernetes.driver.secrets.integrator-hub-conf-truststore": "/etc/spark8t/conf/integrator-hub-conf-truststore",
        "spark.driver.extraJavaOptions": "-Djavax.net.ssl.trustStore=/etc/spark8t/conf/integrator-hub-conf-truststore/truststore.jks",
        // As spark8t before 1.5 wrote it.
        "spark.executorEnv.A__B": "c",
        "spark.executor.extraJavaOptions": "-Djavax.net.ssl.trustStore=/opt/truststore.jks",
        annotation("executor", "configMap.app"): "etc/app",
    });
    let own = json!({
        annotation("driver", "hadoopConfigMap"): "hadoop",
        "spark.kubernetes.driver.annotations.spark-operator.k8s.io_2fsecret.s": "/s",
        "spark_zz": "x",
    });
    let secret = |name: &str, data: Value| json!({"metadata": {"name": name}, "stringData": data});
    setup.create::<Secret>(setup.name, secret("integrator-hub-conf-etl", hub)).await;
    setup.create::<Secret>(setup.name, secret("spark8t-sa-conf-etl", own)).await;
    let found = setup.findings(&account);
    assert_found(
        &found,
        &[
            BY_URL,
            RULES_UNSEEN,
            (
                "account",
                "failed",
                "key spark_zz of Secret spark8t-sa-conf-etl is none that spark8t writes",
            ),
            (
                "account",
                "failed",
                "etl stores spark.kubernetes.driver.annotations.spark-operator.k8s.io/secret.s, which Spark",
            ),
            ("account", "failed", "executors: configMap.app=etc/app: the path must start with"),
            (
                "account",
                "unknown",
                "executors read the truststore /opt/truststore.jks, which no property mounts",
            ),
            (
                "account",
                "failed",
                "ConfigMap hadoop does not exist in namespace accounts; asked for by drivers",
            ),
            (
                "account",
                "failed",
                "Secret integrator-hub-conf-truststore does not exist in namespace accounts; asked for by drivers",
            ),
        ],
    );
    assert!(found.last().unwrap().advice.starts_with("the integration hub makes it"), "{found:#?}");
    let asks = |pods: &str, what: &str| format!("{pods} of accounts:etl will ask for {what}");
    for message in [
        asks("drivers", "hadoopConfigMap=hadoop"),
        asks("executors", "configMap.app=etc/app (by the hub)"),
    ] {
        assert!(found.iter().any(|found| found.message == message), "{message}: {found:#?}");
    }
    let text = String::from_utf8(setup.run(&account).stdout).unwrap();
    assert!(!text.contains("password-of-the-hub"), "{text}");
    println!("{text}");

    // As its advice says.
    let remove = found.iter().find(|found| found.message.contains("spark_zz")).unwrap();
    let (_, patch) = remove.advice.split_once("--patch '").unwrap();
    let patch: json_patch::Patch = serde_json::from_str(patch.split_once('\'').unwrap().0).unwrap();
    let secrets: Api<Secret> = Api::namespaced(setup.client.clone(), setup.name);
    let mut own = serde_json::to_value(secrets.get("spark8t-sa-conf-etl").await.unwrap()).unwrap();
    json_patch::patch(&mut own, &patch).unwrap();
    let own = serde_json::from_value(own).unwrap();
    secrets.replace("spark8t-sa-conf-etl", &PostParams::default(), &own).await.unwrap();
    setup.create_config_map("hadoop", json!({"core-site.xml": ""})).await;
    let truststore = json!({"metadata": {"name": "integrator-hub-conf-truststore"}, "stringData": {"other.jks": ""}});
    setup.create::<Secret>(setup.name, truststore).await;
    let found = setup.findings(&account);
    let failed: Vec<&str> = found
        .iter()
        .filter(|found| found.status == "failed")
        .map(|found| found.message.as_str())
        .collect();
    assert_eq!(failed.len(), 3, "{found:#?}");
    assert!(
        failed[2].starts_with("Secret integrator-hub-conf-truststore has no key truststore.jks"),
        "{found:#?}"
    );

    let directory = tempfile::tempdir().unwrap();
    let rules = directory.path().join("rules.yaml");
    fs::write(&rules, "apiVersion: spark-webhook/v1\nallow: [{configMaps: [\"!hadoop\"]}]\n")
        .unwrap();
    let found = setup.findings(&[&account[..], &["--config", rules.to_str().unwrap()]].concat());
    let message = "drivers: hadoopConfigMap=hadoop: this ConfigMap is not allowed in this namespace, ask its administrator";
    assert!(
        found.iter().any(|found| found.status == "failed" && found.message == message),
        "{found:#?}"
    );

    // An add-config that was refused leaves it empty.
    let patch = Patch::Merge(json!({"data": null}));
    secrets.patch("spark8t-sa-conf-etl", &PatchParams::default(), &patch).await.unwrap();
    let found = setup.findings(&account);
    assert!(
        found
            .iter()
            .any(|found| found.status == "unknown" && found.message.contains("conf-etl is empty")),
        "{found:#?}"
    );
}

#[tokio::test]
async fn what_may_not_be_read_is_unknown_with_the_right_that_is_missing() {
    let setup = Setup::without_registration("rights", &[]).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(setup.client.clone(), setup.name);
    let token: TokenRequest =
        serde_json::from_value(json!({"metadata": {}, "spec": {"audiences": []}})).unwrap();
    let token = accounts
        .create_token_request("default", &PostParams::default(), &token)
        .await
        .unwrap()
        .status
        .unwrap()
        .token;
    let mut kubeconfig: Value =
        serde_json::from_str(&fs::read_to_string(setup.cluster.kubeconfig()).unwrap()).unwrap();
    kubeconfig["users"][0]["user"]["token"] = json!(token);
    let file = setup.directory.path().join("kubeconfig");
    fs::write(&file, kubeconfig.to_string()).unwrap();
    for (strict, exit_status) in [(&[][..], 3), (&["--strict"], 1)] {
        assert_eq!(setup.run_as(&file, strict).status.code(), Some(exit_status), "{strict:?}");
    }
    assert_found(
        &read(&setup.run_as(&file, &["-o", "json"])),
        &[
            (
                "configuration",
                "unknown",
                "you may not get mutatingwebhookconfigurations.admissionregistration.k8s.io",
            ),
            ("dry-run", "unknown", "you may not create pods --namespace rights"),
            (
                "order",
                "unknown",
                "you may not list mutatingwebhookconfigurations.admissionregistration.k8s.io",
            ),
            ("pods", "unknown", "you may not list pods --namespace rights"),
            RULES_UNSEEN,
        ],
    );

    // Who may read what is in the namespace learns what is wrong there, but not why.
    let asks = json!({"spark-operator.k8s.io/secret.s": "/s", "spark-operator.k8s.io/hadoopConfigMap": "h"});
    setup.create_pod("driver", "driver", &asks, json!([])).await;
    let may = |resource: &str, verbs: &[&str]| json!({"apiGroups": [""], "resources": [resource], "verbs": verbs});
    let rules = [may("pods", &["get", "list"]), may("configmaps", &["get"])];
    setup.create::<Role>(setup.name, json!({"metadata": {"name": "view"}, "rules": rules})).await;
    let binding = json!({
        "metadata": {"name": "view"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": setup.name}],
    });
    setup.create::<RoleBinding>(setup.name, binding).await;
    setup.settle().await;
    assert_found(
        &read(&setup.run_as(&file, &["-o", "json"])),
        &[
            ("configuration", "unknown", "you may not get mutatingwebhookconfigurations"),
            ("dry-run", "unknown", "you may not create pods --namespace rights"),
            ("order", "unknown", "you may not list mutatingwebhookconfigurations"),
            (
                "pods",
                "failed",
                "driver: not mutated: why, the registration would tell, which you may not see",
            ),
            ("objects", "failed", "ConfigMap h does not exist"),
            ("objects", "unknown", "you may not get secrets --namespace rights"),
            RULES_UNSEEN,
        ],
    );
    let found = read(&setup.run_as(&file, &["-o", "json", "--service-account", "rights:etl"]));
    let account: Vec<&str> = found
        .iter()
        .filter(|found| found.check == "account")
        .map(|found| found.message.as_str())
        .collect();
    assert_eq!(
        account,
        [
            "you may not get serviceaccounts --namespace rights",
            "Secret integrator-hub-conf-etl: you may not get secrets --namespace rights",
            "Secret spark8t-sa-conf-etl: you may not get secrets --namespace rights",
            "drivers of rights:etl will ask for nothing, as far as may be read",
            "executors of rights:etl will ask for nothing, as far as may be read",
        ]
    );
}

/// The dry run passes Pod Security and what a quota wants to be told; where the quota is used up,
/// that is no fault of the webhook.
#[tokio::test]
async fn a_namespace_under_pod_security_and_a_quota() {
    let setup = Setup::new("limited").await;
    let namespaces: Api<Namespace> = Api::all(setup.client.clone());
    let restricted =
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    namespaces.patch(setup.name, &PatchParams::default(), &Patch::Merge(restricted)).await.unwrap();
    let hard = json!({"pods": "5", "requests.cpu": "1", "limits.memory": "1Gi"});
    let used = |pods: &str| json!({"pods": pods, "requests.cpu": "0", "limits.memory": "0"});
    let quota = json!({"metadata": {"name": "quota"}, "spec": {"hard": hard}});
    setup.create::<ResourceQuota>(setup.name, quota).await;
    let quotas: Api<ResourceQuota> = Api::namespaced(setup.client.clone(), setup.name);
    for (pods, expected) in [
        ("0", &[BY_URL, RULES_UNSEEN][..]),
        (
            "5",
            &[
                ("endpoints", "unknown", "is reached from here"),
                BY_URL,
                ("dry-run", "unknown", "exceeded quota: quota"),
                RULES_UNSEEN,
            ],
        ),
    ] {
        // No controller counts here.
        let status = json!({"status": {"hard": hard, "used": used(pods)}});
        quotas.patch_status("quota", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        setup.settle().await;
        assert_found(&setup.findings(&[]), expected);
    }
}

/// Real spark-submits with a property in the plural: the driver has no annotation, but its
/// properties tell.
#[tokio::test]
async fn a_driver_that_spark_submit_made_with_a_property_in_the_plural() {
    let setup = Setup::new("plural").await;
    let annotation = "spark-operator.k8s.io/hadoopConfigMap";
    for version in ["3.5.9", "4.1.2"] {
        let properties = [(
            format!("spark.kubernetes.driver.annotations.{annotation}"),
            "hadoop-conf".to_owned(),
        )];
        let output = Spark::new(version).submit(&setup.cluster, setup.name, &properties);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let found = setup.findings(&[]);
    let plural = format!(
        "-driver was submitted with spark.kubernetes.driver.annotations.{annotation}, which Spark does not know"
    );
    assert_found(
        &found,
        &[
            BY_URL,
            ("properties", "failed", &plural),
            ("properties", "failed", &plural),
            RULES_UNSEEN,
        ],
    );
    let advice =
        format!("write it in the singular: spark.kubernetes.driver.annotation.{annotation}");
    assert_eq!(found.iter().filter(|found| found.advice == advice).count(), 2);
}

#[tokio::test]
async fn a_wait_ends_when_nothing_fails_any_more() {
    let setup = Setup::without_registration("wait", &[]).await;
    let mut doctor = command();
    doctor.args([
        "doctor",
        "--namespace",
        setup.name,
        "--name",
        &setup.registration,
        "--wait",
        "1m",
    ]);
    doctor
        .env("SPARK_WEBHOOK_KUBECONFIG", setup.cluster.kubeconfig())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut doctor = doctor.spawn().unwrap();
    let mut said = BufReader::new(doctor.stderr.take().unwrap());
    let read_line = move || {
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        (line, said)
    };
    // It may say more: when it looks in the moment in which the API server has stored the
    // registration, and does not call yet.
    let (line, _said) = tokio::task::spawn_blocking(read_line).await.unwrap();
    assert_eq!(line, "waiting for configuration, dry-run\n");
    setup.cluster.register(&setup.registration_file(), setup.name).await;
    let output = tokio::task::spawn_blocking(|| doctor.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test]
async fn rules_that_do_not_allow_what_the_dry_run_asks_for_are_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let rules = directory.path().join("rules.yaml");
    fs::write(&rules, "apiVersion: spark-webhook/v1\nallow: [{configMaps: [spark-conf]}]\n")
        .unwrap();
    for (namespace, on_problem) in [("allow-warn", "warn"), ("allow-deny", "deny")] {
        let arguments = ["--config", rules.to_str().unwrap(), "--on-problem", on_problem];
        let setup = Setup::without_registration(namespace, &arguments).await;
        setup.cluster.register(&setup.registration_file(), namespace).await;
        let found = setup.findings(&["--config", rules.to_str().unwrap()]);
        assert_found(&found, &[BY_URL]);
        let message = &found.iter().find(|found| found.check == "dry-run").unwrap().message;
        assert!(
            message.starts_with(
                "the webhook is called for a driver and an executor, and its rules do not allow"
            ),
            "{message}"
        );
    }
}
