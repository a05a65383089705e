//! A control plane for tests: a real etcd and a real kube-apiserver, without nodes. Pods stay
//! Pending; what counts is the object that is stored.
//!
//! `tests/tools/install controlplane` provides the binaries. The tests of one module share one
//! control plane ([`SharedCluster`]): what they register is not called for the pods of another.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::http::Request;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::REPOSITORY;

/// The user of `kubeconfig()`: may do everything.
pub const ADMIN_TOKEN: &str = "admin-token-of-the-tests";

/// A running control plane.
pub struct Cluster {
    // Dropped in this order: an API server without its etcd takes long to end.
    api_server: ApiServer,
    _etcd: Process,
    etcd_port: u16,
    directory: tempfile::TempDir,
}

/// One API server of a control plane.
pub struct ApiServer {
    _process: Process,
    url: String,
    directory: PathBuf,
}

/// A control plane that several tests share. It starts with the first of them, in about a second,
/// and ends with the last, also when that panics.
pub struct SharedCluster(Mutex<Weak<Cluster>>);

impl SharedCluster {
    /// Starts nothing.
    #[expect(clippy::new_without_default, reason = "it is the value of a static")]
    pub const fn new() -> Self {
        Self(Mutex::const_new(Weak::new()))
    }

    /// The control plane, which the caller keeps running.
    pub async fn get(&self) -> Arc<Cluster> {
        let mut shared = self.0.lock().await;
        if let Some(cluster) = shared.upgrade() {
            return cluster;
        }
        let cluster = Arc::new(Cluster::start().await);
        *shared = Arc::downgrade(&cluster);
        cluster
    }
}

impl Cluster {
    /// Starts one, and waits until it is ready.
    pub async fn start() -> Self {
        let binaries = installed("controlplane", &[]);
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let [etcd_port, peer_port] = free_ports();
        let etcd = Process::start(
            Command::new(binaries.join("etcd"))
                .args(["--data-dir", &path("etcd"), "--unsafe-no-fsync", "--log-level", "error"])
                .args(["--listen-client-urls", &format!("http://127.0.0.1:{etcd_port}")])
                .args(["--advertise-client-urls", &format!("http://127.0.0.1:{etcd_port}")])
                .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peer_port}")]),
            &path("etcd.log"),
        );
        write_service_account_keys(directory.path());
        let api_server = ApiServer::start(directory.path(), etcd_port);
        api_server.wait_until_ready().await;
        Self { api_server, _etcd: etcd, etcd_port, directory }
    }

    /// One more API server over the same etcd, as a control plane of several machines has them.
    pub async fn another_api_server(&self) -> ApiServer {
        let directory = self.directory.path().join("another");
        fs::create_dir(&directory).unwrap();
        for file in ["service-account.key", "service-account.pub"] {
            fs::copy(self.directory.path().join(file), directory.join(file)).unwrap();
        }
        let api_server = ApiServer::start(&directory, self.etcd_port);
        api_server.wait_until_ready().await;
        api_server
    }

    /// Where the API server answers.
    pub fn url(&self) -> &str {
        &self.api_server.url
    }

    /// A kubeconfig for the administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.api_server.kubeconfig()
    }

    /// The file of the API server's certificate, which is its own authority.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("apiserver.crt")
    }

    /// A client for the administrator, for the calling test's runtime.
    pub async fn client(&self) -> Client {
        self.api_server.client().await
    }

    /// A namespace of the test's own, with the service accounts that a controller manager would
    /// make, and one for Spark.
    pub async fn namespace(&self, name: &str) -> Client {
        let client = self.client().await;
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        for account in ["default", "spark"] {
            let account: ServiceAccount =
                serde_json::from_value(json!({"metadata": {"name": account}})).unwrap();
            Api::namespaced(client.clone(), name)
                .create(&PostParams::default(), &account)
                .await
                .unwrap();
        }
        client
    }

    /// Registers a webhook for one namespace, so that tests do not meet.
    pub async fn register(&self, registration: &Path, namespace: &str) {
        register(
            &self.client().await,
            registration,
            &format!("spark-webhook-{namespace}"),
            namespace,
        )
        .await;
    }
}

impl ApiServer {
    /// Starts one whose files are in a directory, with the keys of service accounts.
    fn start(directory: &Path, etcd_port: u16) -> Self {
        let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        let [port] = free_ports();
        fs::write(path("tokens.csv"), format!("{ADMIN_TOKEN},admin,admin,\"system:masters\"\n"))
            .unwrap();
        let process = Process::start(
            Command::new(installed("controlplane", &[]).join("kube-apiserver"))
                .arg(format!("--etcd-servers=http://127.0.0.1:{etcd_port}"))
                .arg(format!("--secure-port={port}"))
                .args([
                    "--bind-address=127.0.0.1",
                    "--advertise-address=127.0.0.1",
                    "--endpoint-reconciler-type=none",
                ])
                .arg(format!("--cert-dir={}", directory.display()))
                .arg("--service-account-issuer=https://kubernetes.default.svc")
                .arg(format!("--service-account-signing-key-file={}", path("service-account.key")))
                .arg(format!("--service-account-key-file={}", path("service-account.pub")))
                .arg(format!("--token-auth-file={}", path("tokens.csv")))
                .args([
                    "--authorization-mode=RBAC",
                    "--service-cluster-ip-range=10.0.0.0/24",
                    "--allow-privileged=true",
                ])
                // Services are called at their endpoints: there is no kube-proxy.
                .arg("--enable-aggregator-routing=true"),
            &path("kube-apiserver.log"),
        );
        let url = format!("https://127.0.0.1:{port}");
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": url,
                // The API server makes its own certificate, which is its own authority.
                "certificate-authority": path("apiserver.crt"),
            }}],
            "users": [{"name": "admin", "user": {"token": ADMIN_TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        });
        fs::write(path("kubeconfig"), kubeconfig.to_string()).unwrap();
        Self { _process: process, url, directory: directory.to_owned() }
    }

    /// A kubeconfig for the administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// A client for the administrator, for the calling test's runtime.
    pub async fn client(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        Client::try_from(config).unwrap()
    }

    async fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !self.is_ready().await {
            let log =
                fs::read_to_string(self.directory.join("kube-apiserver.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the API server does not get ready\n{log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn is_ready(&self) -> bool {
        // The certificate is there as soon as the API server has made it.
        if !self.directory.join("apiserver.crt").exists() {
            return false;
        }
        let request = Request::get("/readyz").body(Vec::new()).unwrap();
        self.client().await.request_text(request).await.is_ok_and(|body| body == "ok")
    }
}

/// Registers a webhook under a name as `kubectl apply -f` would, unknown fields being errors, for
/// one namespace; and waits until it is called there.
pub async fn register(client: &Client, registration: &Path, name: &str, namespace: &str) {
    let yaml = fs::read_to_string(registration).unwrap();
    let mut registration: Value = serde_saphyr::from_str(&yaml).unwrap();
    registration["metadata"]["name"] = json!(name);
    for webhook in registration["webhooks"].as_array_mut().unwrap() {
        webhook["namespaceSelector"] =
            json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    }
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations?fieldValidation=Strict";
    let request = Request::post(path)
        .header("Content-Type", "application/json")
        .body(registration.to_string().into_bytes());
    let _: MutatingWebhookConfiguration = client.request(request.unwrap()).await.unwrap();
    wait_until_called(client, namespace).await;
}

/// The API server learns of a registration by a watch, a moment after it has stored it.
async fn wait_until_called(client: &Client, namespace: &str) {
    let pod = serde_json::from_value(json!({
        "metadata": {"name": "probe", "labels": {"spark-role": "executor"}, "annotations": {"spark-operator.k8s.io/probe": ""}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }))
    .unwrap();
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client.clone(), namespace);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let stored = pods.create(&dry_run, &pod).await.unwrap();
        if stored.metadata.annotations.unwrap().contains_key("spark-operator.k8s.io/injected") {
            return;
        }
        assert!(Instant::now() < deadline, "the webhook is not called");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A process that ends with its handle.
pub struct Process(Child);

impl Process {
    pub fn start(command: &mut Command, log: &str) -> Self {
        let log = fs::File::create(log).unwrap();
        let child =
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The directory of a tool, which must be installed.
pub fn installed(tool: &str, arguments: &[&str]) -> PathBuf {
    let install = Path::new(REPOSITORY).join("tests/tools/install");
    let output = Command::new(install).arg("path").arg(tool).args(arguments).output().unwrap();
    let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    assert!(
        path.is_dir(),
        "{tool} is not installed; run tests/tools/install {tool}, or make test, which does"
    );
    path
}

/// Ports on which nothing listens at the moment.
pub fn free_ports<const N: usize>() -> [u16; N] {
    // All are held until all are known, so that no two are the same.
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn write_service_account_keys(directory: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    fs::write(directory.join("service-account.key"), key.serialize_pem()).unwrap();
    fs::write(directory.join("service-account.pub"), key.public_key_pem()).unwrap();
}
