//! The pages of docs/recipes as their readers carry them out: in a namespace where the webhook is
//! registered, by the real programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    ValidationDirective,
};
use serde_json::Value;
use testkit::cluster::{Cluster, Process, SharedCluster, installed};
use testkit::webhook::{Webhook, binary};

static CLUSTER: SharedCluster = SharedCluster::new();

/// The version that the pages name.
const SPARK: &str = "4.1.2";

/// A page of docs/recipes.
pub struct Recipe {
    text: String,
}

impl Recipe {
    pub fn new(name: &str) -> Self {
        let path = format!("{}/docs/recipes/{name}.md", env!("CARGO_MANIFEST_DIR"));
        Self { text: std::fs::read_to_string(path).unwrap() }
    }

    /// The only block of code with these words, without its indent.
    pub fn block(&self, words: &str) -> String {
        let mut blocks: Vec<Vec<&str>> = vec![Vec::new()];
        for line in self.text.lines() {
            match line.strip_prefix("    ").or(line.is_empty().then_some("")) {
                Some(code) => blocks.last_mut().unwrap().push(code),
                None => blocks.push(Vec::new()),
            }
        }
        let mut found =
            blocks.iter().map(|lines| lines.join("\n")).filter(|block| block.contains(words));
        let block = found.next().unwrap_or_else(|| panic!("no block has {words:?}"));
        assert!(found.next().is_none(), "several blocks have {words:?}");
        block.trim_matches('\n').to_owned() + "\n"
    }

    /// The `spark-webhook conf` that stands in its text.
    pub fn conf(&self) -> &str {
        self.text.split('`').find(|words| words.starts_with("spark-webhook conf ")).unwrap()
    }
}

/// A namespace with the webhook, and where its users work.
pub struct Place {
    pub cluster: Arc<Cluster>,
    pub client: Client,
    pub namespace: &'static str,
    pub directory: tempfile::TempDir,
    _webhook: Webhook,
}

impl Place {
    pub async fn new(namespace: &'static str) -> Self {
        let cluster = CLUSTER.get().await;
        let client = cluster.namespace(namespace).await;
        let directory = tempfile::tempdir().unwrap();
        let registration = directory.path().join("registration.yaml");
        let webhook = Webhook::start(&["--write-registration", registration.to_str().unwrap()]);
        cluster.register(&registration, namespace).await;
        Self { cluster, client, namespace, directory, _webhook: webhook }
    }

    /// A shell for its lines, in which the first failure ends it. No submission waits for a driver,
    /// which no node runs.
    pub fn shell(&self, script: &str) -> Command {
        let home = spark_home();
        let binary = Path::new(binary()).parent().unwrap();
        let path = std::env::var_os("PATH").unwrap();
        let path: Vec<PathBuf> = [binary.to_owned(), home.join("bin")]
            .into_iter()
            .chain(std::env::split_paths(&path))
            .collect();
        let options = [
            "-Dspark.kubernetes.submission.waitAppCompletion=false".to_owned(),
            "-Dspark.driver.host=127.0.0.1".to_owned(),
            format!("-Dspark.kubernetes.namespace={}", self.namespace),
        ];
        let mut command = Command::new("sh");
        command
            .args(["-ec", &script.replace("https://127.0.0.1:6443", self.cluster.url())])
            .current_dir(self.directory.path())
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .env("SPARK_HOME", home)
            .env("SPARK_LOCAL_IP", "127.0.0.1")
            .env("SPARK_SUBMIT_OPTS", options.join(" "))
            .env("SPARK_WEBHOOK_NAME", format!("spark-webhook-{}", self.namespace))
            .env_remove("SPARK_CONF_DIR")
            .env_remove("HADOOP_CONF_DIR")
            .stdin(Stdio::null());
        command
    }

    /// Runs lines that succeed; what they write to standard output.
    pub fn run(&self, script: &str) -> String {
        written(self.shell(script))
    }

    /// The stored pod of a role, waiting up to five minutes for it.
    pub async fn pod(&self, role: &str) -> Value {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), self.namespace);
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            let list = pods
                .list(&ListParams::default().labels(&format!("spark-role={role}")))
                .await
                .unwrap();
            if let Some(pod) = list.items.into_iter().next() {
                return serde_json::to_value(pod).unwrap();
            }
            assert!(Instant::now() < deadline, "no {role} appears in {}", self.namespace);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// As `kubectl apply -f`, unknown fields being errors.
    pub async fn apply(&self, object: &Value) -> DynamicObject {
        let (api_version, kind) =
            (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let objects: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), self.namespace, &resource);
        let params = PatchParams {
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::apply("test")
        };
        objects
            .patch(object["metadata"]["name"].as_str().unwrap(), &params, &Patch::Apply(object))
            .await
            .unwrap()
    }

    /// Starts a command whose end is that of the handle; its output is in a file.
    pub fn start(&self, command: &mut Command, log: &str) -> Process {
        Process::start(command, self.directory.path().join(log).to_str().unwrap())
    }
}

/// What a command that succeeds writes to standard output.
pub fn written(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// Where Spark is.
pub fn spark_home() -> PathBuf {
    installed("spark", &[SPARK]).join("pyspark")
}

/// What the webhook says that it has mounted, and what was wrong.
pub fn injected(pod: &Value) -> Value {
    let injected = pod["metadata"]["annotations"]["spark-operator.k8s.io/injected"].as_str();
    serde_json::from_str(injected.unwrap_or_else(|| panic!("nothing was mounted: {pod:#}")))
        .unwrap()
}

/// The last value of a variable of Spark's container.
pub fn variable<'p>(pod: &'p Value, name: &str) -> &'p Value {
    let variables = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    &variables
        .iter()
        .rfind(|variable| variable["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {pod:#}"))["value"]
}
