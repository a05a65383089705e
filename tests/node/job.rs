//! A Spark job in a namespace and behind a webhook of its own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Client;
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, LogParams, PostParams,
};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use spark_webhook::annotations::{self, Requests};
use testkit::cluster::{installed, register};
use testkit::spark::{SHORT_LIVED, Spark, conf};
use testkit::webhook::Webhook;

/// Of the node that tests/node/node brings up. Never the caller's own cluster.
pub const KUBECONFIG: &str = "/var/lib/spark-webhook-node/kubeconfig";

/// The certificate authority of its API server.
pub const NODE_CA: &str = "/var/lib/spark-webhook-node/pki/ca.crt";

/// How long a pod of a test may take.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A ConfigMap of some files.
pub fn config_map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// A Secret of some files.
pub fn secret(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
}

/// A job to run: what it asks for, and what must be there for it.
pub struct Job {
    /// Also its namespace, and the beginning of its pods' names.
    name: String,
    version: &'static str,
    image: String,
    objects: Vec<Value>,
    kubectl: Vec<String>,
    properties: Vec<(String, String)>,
    driver: Vec<(String, String)>,
    executor: Vec<(String, String)>,
    paths: Vec<String>,
    url: Option<&'static str>,
    problem: Option<&'static str>,
    rules: Option<&'static str>,
    directory: tempfile::TempDir,
}

/// What a job that succeeded has said: see job.py.
pub struct Report {
    pub driver: Value,
    pub executor: Value,
    pub driver_log: String,
    pub executor_log: String,
}

impl Job {
    pub fn new(name: &str, version: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            version,
            image: format!("localhost/spark:{version}"),
            objects: Vec::new(),
            kubectl: Vec::new(),
            properties: Vec::new(),
            driver: Vec::new(),
            executor: Vec::new(),
            paths: Vec::new(),
            url: None,
            problem: None,
            rules: None,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub fn image(mut self, image: &str) -> Self {
        image.clone_into(&mut self.image);
        self
    }

    pub fn object(mut self, object: Value) -> Self {
        self.objects.push(object);
        self
    }

    /// A file in the directory in which [`kubectl`](Self::kubectl) runs.
    pub fn file(self, name: &str, content: &[u8]) -> Self {
        std::fs::write(self.directory.path().join(name), content).unwrap();
        self
    }

    /// A command line of kubectl's that makes what must be there.
    pub fn kubectl(mut self, line: &str) -> Self {
        self.kubectl.push(line.to_owned());
        self
    }

    /// A property to submit with; an annotation among them counts as asked for.
    pub fn property(mut self, key: &str, value: &str) -> Self {
        let annotation = |role: &str| {
            key.strip_prefix(&format!("spark.kubernetes.{role}.annotation.")).map(str::to_owned)
        };
        match (annotation("driver"), annotation("executor")) {
            (Some(key), _) => self.driver.push((key, value.to_owned())),
            (_, Some(key)) => self.executor.push((key, value.to_owned())),
            (None, None) => self.properties.push((key.to_owned(), value.to_owned())),
        }
        self
    }

    /// An annotation of the driver's, under our first prefix.
    pub fn driver(mut self, key: &str, value: &str) -> Self {
        self.driver.push((format!("spark-operator.k8s.io/{key}"), value.to_owned()));
        self
    }

    pub fn executor(mut self, key: &str, value: &str) -> Self {
        self.executor.push((format!("spark-operator.k8s.io/{key}"), value.to_owned()));
        self
    }

    /// What the job is to report of.
    pub fn look_at(mut self, paths: &[&str]) -> Self {
        self.paths.extend(paths.iter().map(|&path| path.to_owned()));
        self
    }

    /// What driver and executor are to fetch, by Python and by the JVM.
    pub fn fetch(mut self, url: &'static str) -> Self {
        self.url = Some(url);
        self
    }

    /// The one problem that the driver pod must have recorded; without this, it must have none.
    pub fn expect_problem(mut self, text: &'static str) -> Self {
        self.problem = Some(text);
        self
    }

    /// The administrator's rules.
    pub fn rules(mut self, rules: &'static str) -> Self {
        self.rules = Some(rules);
        self
    }

    /// The conf dir of the machine that submits: Spark ships these files.
    pub fn submitted_conf_dir(self, files: &[(&str, &str)]) -> Self {
        std::fs::create_dir(self.conf_dir()).unwrap();
        for (name, content) in files {
            std::fs::write(self.conf_dir().join(name), content).unwrap();
        }
        self
    }

    fn conf_dir(&self) -> PathBuf {
        self.directory.path().join("conf")
    }

    /// What a role asks for.
    pub fn requests(&self, role: &str) -> Requests<'_> {
        let annotations = if role == "driver" { &self.driver } else { &self.executor };
        annotations::parse(annotations.iter().map(|(key, value)| (&**key, &**value)))
    }

    /// Runs it, to Succeeded.
    pub async fn run(self) -> Report {
        let (client, _webhook) = self.set_up().await;
        self.run_to_the_end(client).await
    }

    /// The same behind a webhook that the cluster has, which is called for the job's namespace.
    pub async fn run_as_the_cluster_is(self) -> Report {
        let client = self.make_namespace().await;
        self.run_to_the_end(client).await
    }

    async fn run_to_the_end(&self, client: Client) -> Report {
        let output = self.submit();
        let pods: Api<Pod> = Api::namespaced(client, &self.name);
        let driver = self.one_pod(&pods, "driver").await;
        let driver_log = log(&pods, &driver, None).await;
        let submit_log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(phase(&driver), "Succeeded", "{}: {submit_log}\n{driver_log}", &self.name);
        let executor = self.one_pod(&pods, "executor").await;
        let executor_log = log(&pods, &executor, None).await;
        self.assert_record(&driver, &self.driver, self.problem);
        self.assert_record(&executor, &self.executor, None);
        let report =
            driver_log.lines().find_map(|line| line.strip_prefix("REPORT ")).expect(&driver_log);
        let mut report: Value = serde_json::from_str(report).unwrap();
        Report {
            driver: report["driver"].take(),
            executor: report["executor"].take(),
            driver_log,
            executor_log,
        }
    }

    /// Runs a pod that no Spark made, with the driver's annotations, and gives the logs of its
    /// containers.
    pub async fn run_pod(self, spec: &Value, containers: &[&str]) -> Vec<String> {
        let (client, _webhook) = self.set_up().await;
        let annotations: serde_json::Map<_, _> =
            self.driver.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let metadata = json!({"name": self.name, "labels": {"spark-role": "driver"}, "annotations": annotations});
        let pod: Pod = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        let pods: Api<Pod> = Api::namespaced(client, &self.name);
        pods.create(&PostParams::default(), &pod).await.unwrap();
        let deadline = Instant::now() + TIMEOUT;
        let pod = loop {
            let pod = pods.get(&self.name).await.unwrap();
            if ["Succeeded", "Failed"].contains(&phase(&pod)) {
                break pod;
            }
            assert!(Instant::now() < deadline, "{pod:#?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let mut logs = Vec::new();
        for container in containers {
            logs.push(log(&pods, &pod, Some(container)).await);
        }
        logs
    }

    /// The namespace, with what Spark and the job need in it.
    async fn make_namespace(&self) -> Client {
        let client = client().await;
        create_namespace(&client, &self.name, &json!({})).await;
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "spark"}});
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "spark"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"kind": "ServiceAccount", "name": "spark", "namespace": self.name}],
        });
        for object in [&account, &binding].into_iter().chain(&self.objects) {
            create(&client, &self.name, object).await;
        }
        for line in &self.kubectl {
            self.run_kubectl(line);
        }
        client
    }

    /// That, and a webhook for it.
    async fn set_up(&self) -> (Client, Webhook) {
        let client = self.make_namespace().await;
        let path = |name: &str| self.directory.path().join(name).to_str().unwrap().to_owned();
        let mut arguments = vec!["--write-registration".to_owned(), path("registration.yaml")];
        if let Some(rules) = self.rules {
            std::fs::write(path("rules.yaml"), rules).unwrap();
            arguments.extend(["--config".to_owned(), path("rules.yaml")]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let webhook = Webhook::start(&arguments);
        register(
            &client,
            Path::new(&path("registration.yaml")),
            &format!("spark-webhook-{}", self.name),
            &self.name,
        )
        .await;
        (client, webhook)
    }

    fn run_kubectl(&self, line: &str) {
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("kubectl"));
        let mut command = std::process::Command::new(installed("node", &[]).join("kubectl"));
        command.args(words).args(["--namespace", &self.name]).env("KUBECONFIG", KUBECONFIG);
        let output = command.current_dir(self.directory.path()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn submit(&self) -> std::process::Output {
        let kubeconfig = Kubeconfig::read_from(KUBECONFIG).unwrap();
        let api_server = kubeconfig.clusters[0].cluster.as_ref().unwrap().server.clone().unwrap();
        let mut properties = vec![
            ("spark.kubernetes.namespace".to_owned(), self.name.clone()),
            (
                "spark.kubernetes.authenticate.driver.serviceAccountName".to_owned(),
                "spark".to_owned(),
            ),
            ("spark.kubernetes.container.image".to_owned(), self.image.clone()),
            ("spark.kubernetes.container.image.pullPolicy".to_owned(), "Never".to_owned()),
            ("spark.kubernetes.executor.deleteOnTermination".to_owned(), "false".to_owned()),
            ("spark.executor.instances".to_owned(), "1".to_owned()),
            ("spark.ui.enabled".to_owned(), "false".to_owned()),
            ("spark.test.submitted".to_owned(), "yes".to_owned()),
            // The program itself, from this directory.
            (
                "spark.kubernetes.driver.volumes.hostPath.job.mount.path".to_owned(),
                "/opt/job".to_owned(),
            ),
            (
                "spark.kubernetes.driver.volumes.hostPath.job.mount.readOnly".to_owned(),
                "true".to_owned(),
            ),
            (
                "spark.kubernetes.driver.volumes.hostPath.job.options.path".to_owned(),
                concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node").to_owned(),
            ),
        ];
        for role in ["driver", "executor"] {
            properties.push((format!("spark.{role}.memory"), "512m".to_owned()));
            properties.push((format!("spark.{role}.extraJavaOptions"), SHORT_LIVED.to_owned()));
            properties.push((format!("spark.kubernetes.{role}.request.cores"), "100m".to_owned()));
        }
        for (role, annotations) in [("driver", &self.driver), ("executor", &self.executor)] {
            let annotation = |(key, value): &(String, String)| {
                (format!("spark.kubernetes.{role}.annotation.{key}"), value.clone())
            };
            properties.extend(annotations.iter().map(annotation));
        }
        properties.extend(self.properties.iter().cloned());
        let mut command = Spark::new(self.version).command(Path::new(KUBECONFIG));
        if self.conf_dir().exists() {
            command.env("SPARK_CONF_DIR", self.conf_dir());
        }
        command.args([
            "--master",
            &format!("k8s://{api_server}"),
            "--deploy-mode=cluster",
            "--name",
            &self.name,
        ]);
        command.args(properties.iter().flat_map(|(key, value)| conf(key, value)));
        command.args(["local:///opt/job/job.py", &self.paths.join(",")]).args(self.url);
        command.output().unwrap()
    }

    /// The only pod of a role, once it has ended; all must have ended by now but for a moment.
    async fn one_pod(&self, pods: &Api<Pod>, role: &str) -> Pod {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let mut list = pods
                .list(&ListParams::default().labels(&format!("spark-role={role}")))
                .await
                .unwrap()
                .items;
            assert!(list.len() <= 1, "{}: several pods of the role {role}", &self.name);
            match list.pop() {
                Some(pod) if ["Succeeded", "Failed"].contains(&phase(&pod)) => return pod,
                pod => assert!(Instant::now() < deadline, "{}: {role}: {pod:#?}", &self.name),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The annotation `injected` says that everything was carried out, but for the problem that was
    /// expected.
    fn assert_record(&self, pod: &Pod, asked: &[(String, String)], problem: Option<&str>) {
        let annotations = pod.metadata.annotations.as_ref();
        let injected =
            annotations.and_then(|annotations| annotations.get("spark-operator.k8s.io/injected"));
        if asked.is_empty() && self.rules.is_none() {
            assert_eq!(injected, None, "{}", &self.name);
            return;
        }
        let record: Value = serde_json::from_str(injected.expect("it says what was done")).unwrap();
        let problems: Vec<&str> =
            record["problems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match (&*problems, problem) {
            ([], None) => {}
            ([found], Some(expected)) if found.contains(expected) => {}
            _ => panic!("{}: {record}", &self.name),
        }
    }
}

/// A client for the node's administrator.
pub async fn client() -> Client {
    let kubeconfig =
        Kubeconfig::read_from(KUBECONFIG).expect("there is no node: make test-node brings one up");
    let config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// A namespace in which pods can be created: the controller manager has made its own service
/// account.
pub async fn create_namespace(client: &Client, name: &str, labels: &Value) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    create(client, "", &namespace).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
    let deadline = Instant::now() + TIMEOUT;
    while accounts.get_opt("default").await.unwrap().is_none() {
        assert!(Instant::now() < deadline, "there is no service account");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// An object in a namespace, or without one.
pub async fn create(client: &Client, namespace: &str, object: &Value) {
    let (group, version) =
        object["apiVersion"].as_str().unwrap().rsplit_once('/').unwrap_or(("", "v1"));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(
        group,
        version,
        object["kind"].as_str().unwrap(),
    ));
    let api: Api<DynamicObject> = if namespace.is_empty() {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, &resource)
    };
    api.create(&PostParams::default(), &serde_json::from_value(object.clone()).unwrap())
        .await
        .unwrap();
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub async fn log(pods: &Api<Pod>, pod: &Pod, container: Option<&str>) -> String {
    let parameters = LogParams { container: container.map(str::to_owned), ..LogParams::default() };
    pods.logs(pod.metadata.name.as_deref().unwrap(), &parameters).await.unwrap()
}
