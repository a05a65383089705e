//! What a real kube-apiserver makes of the chart: it takes everything, the program works with the
//! rights that it is given, and Helm leaves alone what the program has written.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, ServiceAccount};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
    ValidationDirective,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use testkit::cluster::{Cluster, SharedCluster, installed};
use testkit::http::get;
use testkit::spark::Spark;
use testkit::wait::wait_until;
use testkit::webhook::{Webhook, command};
use tokio::sync::OnceCell;

use super::{
    CHART, EVERYTHING, IMAGE, arguments, certificate_modes, flag, helm, objects, only, run,
    template, tests,
};

static CLUSTER: SharedCluster = SharedCluster::new();

/// What an API server or a replica may take to learn of something.
const A_MINUTE: Duration = Duration::from_secs(60);

fn dry_run() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}

/// As `kubectl apply --server-side --validate=strict`.
async fn apply(client: &Client, object: &Value) -> Result<DynamicObject, kube::Error> {
    let params = PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("test").force()
    };
    api_of(client, object)
        .patch(object["metadata"]["name"].as_str().unwrap(), &params, &Patch::Apply(object))
        .await
}

/// The resource of an object: in its namespace, if it has one.
fn api_of(client: &Client, object: &Value) -> Api<DynamicObject> {
    let (api_version, kind) =
        (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, version, kind));
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

fn asking_pod(labels: &Value) -> Pod {
    let mut pod = json!({
        "metadata": {"name": "p", "labels": {"spark-role": "driver"}, "annotations": {"spark-operator.k8s.io/secret.s": "/s"}},
        "spec": {"containers": [{"name": "spark", "image": "i"}]},
    });
    pod["metadata"]["labels"].as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
    serde_json::from_value(pod).unwrap()
}

/// Whether a pod that asks comes back with its mount; an error where the webhook does not answer.
async fn is_mutated(client: &Client, namespace: &str, labels: &Value) -> Result<bool, kube::Error> {
    let pod = Api::<Pod>::namespaced(client.clone(), namespace)
        .create(&dry_run(), &asking_pod(labels))
        .await?;
    Ok(pod.metadata.annotations.unwrap().contains_key("spark-operator.k8s.io/injected"))
}

/// The kinds of cert-manager and the Prometheus operator; only once, as two tests need them.
async fn define_foreign_kinds(client: &Client) {
    static DEFINED: OnceCell<()> = OnceCell::const_new();
    DEFINED.get_or_init(|| define_foreign_kinds_anew(client)).await;
}

async fn define_foreign_kinds_anew(client: &Client) {
    let directory = installed("crds", &[]);
    for entry in fs::read_dir(directory).unwrap() {
        let definition: Value =
            serde_saphyr::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        apply(client, &definition).await.unwrap();
        wait_until("the kind is there", A_MINUTE, async || {
            let defined = api_of(client, &definition)
                .get(definition["metadata"]["name"].as_str().unwrap())
                .await
                .unwrap();
            let conditions =
                defined.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|condition| {
                condition["type"] == "Established" && condition["status"] == "True"
            })
        })
        .await;
        // That is said a moment before the API server answers for it.
        let names = &definition["spec"]["names"];
        let (group, kind) =
            (definition["spec"]["group"].as_str().unwrap(), names["kind"].as_str().unwrap());
        for version in definition["spec"]["versions"].as_array().unwrap() {
            let kind =
                kube::core::GroupVersionKind::gvk(group, version["name"].as_str().unwrap(), kind);
            let resource =
                ApiResource::from_gvk_with_plural(&kind, names["plural"].as_str().unwrap());
            let all = Api::<DynamicObject>::all_with(client.clone(), &resource);
            wait_until("it is served", A_MINUTE, async || {
                version["served"] == false || all.list(&ListParams::default()).await.is_ok()
            })
            .await;
        }
    }
}

#[tokio::test]
async fn everything_is_accepted_and_the_pods_are_under_pod_security_restricted() {
    let cluster = CLUSTER.get().await;
    let client = cluster.client().await;
    define_foreign_kinds(&client).await;
    let more = "certificates: {managed: {validatingAdmissionPolicy: true}}\npodDisruptionBudget: {maxUnavailable: 50%}\n";
    let mut tables: Vec<(String, String)> =
        vec![("managed, with the policy".to_owned(), more.to_owned())];
    for (mode, certificates) in certificate_modes() {
        tables.push((mode.to_owned(), certificates.clone()));
        tables.push((format!("{mode}, everything"), format!("{certificates}{EVERYTHING}")));
    }
    for (number, (name, values)) in tables.into_iter().enumerate() {
        let release = format!("accepted-{number}");
        let namespace: Namespace = serde_json::from_value(json!({
            "metadata": {"name": release, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }))
        .unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        let objects = objects(&template("helm3", &release, &format!("{IMAGE}{values}")).unwrap());
        let tests = tests(&release, &values);
        for object in objects.iter().chain(&tests) {
            // Where it is not looked at, no other test's pod waits for it.
            let mut object = object.clone();
            if object["kind"] == "MutatingWebhookConfiguration" {
                let nowhere = json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": [release]});
                object["webhooks"][0]["namespaceSelector"]["matchExpressions"]
                    .as_array_mut()
                    .unwrap()
                    .push(nowhere);
            }
            let applied = apply(&client, &object).await;
            applied
                .unwrap_or_else(|error| panic!("{name}: {}: {error}\n{object:#}", object["kind"]));
        }
        let mut pod = only(&objects, "Deployment")["spec"]["template"].clone();
        pod["metadata"]["name"] = json!("p");
        let pods: Api<Pod> = Api::namespaced(client.clone(), &release);
        pods.create(&dry_run(), &serde_json::from_value(pod.clone()).unwrap()).await.unwrap();
        // The namespace does refuse what is not restricted, such as hostNetwork.
        pod["spec"]["hostNetwork"] = json!(true);
        let refused =
            pods.create(&dry_run(), &serde_json::from_value(pod).unwrap()).await.unwrap_err();
        assert!(refused.to_string().contains("violates PodSecurity \"restricted"), "{refused}");
        for object in
            objects.iter().chain(&tests).filter(|object| object["metadata"]["namespace"].is_null())
        {
            let name = object["metadata"]["name"].as_str().unwrap();
            api_of(&client, object).delete(name, &DeleteParams::default()).await.unwrap();
        }
    }
}

/// `kubectl apply -f` of the file that is for it.
#[tokio::test]
async fn the_manifests_are_accepted_as_they_are() {
    let cluster = CLUSTER.get().await;
    let client = cluster.client().await;
    for file in ["canary.yaml", "install.yaml"] {
        let objects = objects(&fs::read_to_string(format!("manifests/{file}")).unwrap());
        for object in &objects {
            // No other test's pod waits for it.
            let mut object = object.clone();
            if object["kind"] == "MutatingWebhookConfiguration" {
                object["webhooks"][0]["objectSelector"]["matchLabels"] = json!({"no": "pod"});
            }
            apply(&client, &object).await.unwrap();
        }
        let mut pod = only(&objects, "Deployment")["spec"]["template"].clone();
        pod["metadata"]["name"] = json!("p");
        let pods: Api<Pod> = Api::namespaced(client.clone(), "spark-webhook");
        pods.create(&dry_run(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        if file == "canary.yaml" {
            continue;
        }
        for object in objects.iter().filter(|object| object["metadata"]["namespace"].is_null()) {
            api_of(&client, object)
                .delete(object["metadata"]["name"].as_str().unwrap(), &DeleteParams::default())
                .await
                .unwrap();
        }
    }
}

/// `kubectl apply -f` of the objects for cert-manager, whose kinds the API server knows.
#[tokio::test]
async fn the_objects_of_cert_manager_are_accepted_and_checked() {
    let cluster = CLUSTER.get().await;
    let client = cluster.client().await;
    define_foreign_kinds(&client).await;
    cluster.namespace("certs-by-cert-manager").await;
    for mut object in objects(&fs::read_to_string("certs/cert-manager.yaml").unwrap()) {
        // Their own namespace is another test's.
        object["metadata"]["namespace"] = json!("certs-by-cert-manager");
        let accepted = apply(&client, &object).await.unwrap();
        assert_eq!(accepted.data["spec"], object["spec"], "no field is dropped");
        let mut wrong = object.clone();
        wrong["spec"]["noSuchField"] = json!("x");
        let error = apply(&client, &wrong).await.unwrap_err().to_string();
        assert!(error.contains("noSuchField"), "{error}");
    }
}

/// The files of `certs/openssl.sh`: the chart takes them with the values that it prints, and the API
/// server calls a process that has the files and the flags.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_the_script_serve_in_both_modes_that_take_some() {
    let mut release = Release::new("certs", "").await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let mut script = Command::new("certs/openssl.sh");
    script.args(["--namespace", "certs", "--service", "spark-webhook-certs"]);
    let output = script.args(["--dns-name", "127.0.0.1", path]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap().replace("\\\n", "");
    let lines = |start: &str| -> Vec<Vec<String>> {
        let lines = printed.lines().filter_map(|line| line.strip_prefix("  ")?.strip_prefix(start));
        lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let flags = lines("--");
    let secrets = lines("kubectl --namespace certs create secret ");
    let values = lines("helm … ");
    assert_eq!((flags.len(), secrets.len(), values.len()), (2, 2, 2), "{printed}");
    for ((mut flags, secret), values) in flags.into_iter().zip(secrets).zip(values) {
        let (name, entries) = secret_entries(&secret);
        for (key, file) in [("tls.crt", &flags[1]), ("tls.key", &flags[3])] {
            assert_eq!(entries[key].0, fs::read(file).unwrap(), "{name} has what the flags name");
        }
        let secret = Secret {
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(entries),
            ..serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
        };
        Api::namespaced(release.client.clone(), "certs")
            .create(&PostParams::default(), &secret)
            .await
            .unwrap();
        flags[0].insert_str(0, "--");
        let webhook = Webhook::start(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        let before = release.values.clone();
        release.point_at(&webhook);
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let template = [&["template", "certs", CHART, "--values", "-"], &values[..]].concat();
        let rendered = objects(&release.try_helm("helm4", &template).unwrap());
        let spec = &only(&rendered, "Deployment")["spec"]["template"]["spec"];
        assert_eq!(spec["volumes"][0]["secret"]["secretName"], name);
        for name in [&flags[0], &flags[2]] {
            assert!(flag(&rendered, name).is_some(), "{values:?} does not set {name}");
        }
        release.upgrade("helm4", &[&["--install"], &values[..]].concat());
        let bundle = fs::read(directory.path().join("ca.crt")).unwrap();
        assert_eq!(release.bundle().await, Some(ByteString(bundle)));
        release.wait_until_mutated().await;
        release.helm("helm4", &["uninstall", "certs"]);
        release.values = before;
    }
}

/// The name and the entries of a Secret that `kubectl create secret` makes by these arguments.
fn secret_entries(arguments: &[String]) -> (&str, BTreeMap<String, ByteString>) {
    let value_of = |flag: &str| {
        let position = arguments.iter().position(|argument| argument == flag);
        position.map(|position| arguments[position + 1].as_str())
    };
    let of_files = arguments.iter().filter_map(|argument| argument.split_once('='));
    let of_kind_tls = [("tls.crt", value_of("--cert")), ("tls.key", value_of("--key"))];
    let of_kind_tls = of_kind_tls.into_iter().filter_map(|(key, file)| Some((key, file?)));
    let read = |(key, file): (&str, &str)| (key.to_owned(), ByteString(fs::read(file).unwrap()));
    (&arguments[1], of_files.chain(of_kind_tls).map(read).collect())
}

/// A release in a namespace of the same name, by a real helm. Only pods with its label are its own.
struct Release {
    cluster: Arc<Cluster>,
    client: Client,
    name: &'static str,
    values: String,
}

impl Release {
    async fn new(name: &'static str, values: &str) -> Self {
        let cluster = CLUSTER.get().await;
        let client = cluster.namespace(name).await;
        // Pods are made in a namespace that a registration does not leave out.
        let pods = format!("{name}-jobs");
        cluster.namespace(&pods).await;
        let selector = format!(
            "webhook: {{objectSelector: {{matchLabels: {{release: {name}}}}}, url: \"https://127.0.0.1:1/mutate\"}}\n"
        );
        Self { cluster, client, name, values: format!("{IMAGE}{selector}{values}") }
    }

    /// Runs a command of helm on the release.
    fn helm(&self, version: &str, arguments: &[&str]) {
        self.try_helm(version, arguments)
            .unwrap_or_else(|error| panic!("{version} {arguments:?}: {error}"));
    }

    fn try_helm(&self, version: &str, arguments: &[&str]) -> Result<String, String> {
        let kubeconfig = self.cluster.kubeconfig();
        let arguments =
            [arguments, &["--namespace", self.name, "--kubeconfig", kubeconfig.to_str().unwrap()]]
                .concat();
        run(&mut helm(version, &arguments), &self.values)
    }

    fn install(&self, version: &str) {
        self.helm(version, &["install", self.name, CHART, "--values", "-"]);
    }

    fn upgrade(&self, version: &str, more: &[&str]) {
        self.helm(version, &[&["upgrade", self.name, CHART, "--values", "-"], more].concat());
    }

    /// From now on the registration names a process of this machine.
    fn point_at(&mut self, webhook: &Webhook) {
        self.values = self.values.replace("127.0.0.1:1", &webhook.address().to_string());
    }

    fn labels(&self) -> Value {
        json!({"release": self.name})
    }

    async fn is_mutated(&self) -> Result<bool, kube::Error> {
        is_mutated(&self.client, &format!("{}-jobs", self.name), &self.labels()).await
    }

    async fn wait_until_mutated(&self) {
        wait_until("a pod that asks is mutated", A_MINUTE, async || {
            self.is_mutated().await.is_ok_and(|is_mutated| is_mutated)
        })
        .await;
    }

    /// The objects as they are rendered for it, with its values.
    fn objects(&self) -> Vec<Value> {
        objects(&template("helm3", self.name, &self.values).unwrap())
    }

    /// A kubeconfig of its service account, with a token that the API server has issued.
    async fn kubeconfig(&self) -> Value {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), self.name);
        let account = format!("spark-webhook-{}", self.name);
        let token = accounts
            .create_token_request(&account, &PostParams::default(), &TokenRequest::default())
            .await
            .unwrap();
        let mut kubeconfig: Value =
            serde_json::from_slice(&fs::read(self.cluster.kubeconfig()).unwrap()).unwrap();
        kubeconfig["users"][0]["user"]["token"] = json!(token.status.unwrap().token);
        kubeconfig
    }

    async fn secret(&self, name: &str) -> BTreeMap<String, ByteString> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), self.name);
        secrets.get(name).await.unwrap().data.unwrap_or_default()
    }

    async fn bundle(&self) -> Option<ByteString> {
        let registrations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let registration =
            registrations.get(&format!("spark-webhook-{}", self.name)).await.unwrap();
        registration.webhooks.unwrap().remove(0).client_config.ca_bundle
    }

    /// The file of rules, its checksum on the pods, and the match condition, as they are stored.
    async fn rules(&self) -> Vec<Value> {
        let objects = self.objects();
        let stored = async |kind: &str| {
            let object = only(&objects, kind);
            let stored = api_of(&self.client, object)
                .get(object["metadata"]["name"].as_str().unwrap())
                .await
                .unwrap();
            serde_json::to_value(stored).unwrap()
        };
        vec![
            stored("ConfigMap").await["data"]["rules.yaml"].take(),
            stored("Deployment").await["spec"]["template"]["metadata"]["annotations"]["checksum/rules"].take(),
            stored("MutatingWebhookConfiguration").await["webhooks"][0]["matchConditions"].take(),
        ]
    }

    /// What is left of it, by its label.
    async fn remains(&self) -> Vec<String> {
        let mut remains = Vec::new();
        for object in self.objects() {
            let list =
                ListParams::default().labels(&format!("app.kubernetes.io/instance={}", self.name));
            let found = api_of(&self.client, &object).list(&list).await.unwrap();
            remains.extend(
                found
                    .items
                    .into_iter()
                    .map(|found| format!("{} {}", object["kind"], found.metadata.name.unwrap())),
            );
        }
        remains
    }
}

/// The rendered arguments for a process of this machine: it listens elsewhere, and finds mounted
/// files in another directory.
fn arguments_here(objects: &[Value], certificates: &str) -> Vec<String> {
    let elsewhere = ["serve", "--listen", "--admin-listen", "--drain-delay"];
    let arguments = arguments(objects)
        .into_iter()
        .filter(|argument| !elsewhere.contains(&argument.split('=').next().unwrap()));
    arguments
        .map(|argument| argument.replace("/etc/spark-webhook/certificate", certificates))
        .collect()
}

/// Creates pods that ask, all the time, and counts those that fail.
struct Load {
    stop: Arc<AtomicBool>,
    created: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Load {
    fn start(release: &Release) -> Self {
        let (stop, created) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (client, namespace, labels) =
            (release.client.clone(), format!("{}-jobs", release.name), release.labels());
        let task = tokio::spawn({
            let (stop, created) = (stop.clone(), created.clone());
            async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match is_mutated(&client, &namespace, &labels).await {
                        Ok(_) => created.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            failures.push(error.to_string());
                            0
                        }
                    };
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                failures
            }
        });
        Self { stop, created, task }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        assert_eq!(self.task.await.unwrap(), Vec::<String>::new());
        self.created.load(Ordering::Relaxed)
    }
}

/// The whole life of a release with managed certificates. The program has the account of the chart,
/// with its rights and, by the policy, no more; and what it writes is not Helm's.
async fn lives(name: &'static str, installed_by: &str, upgraded_by: &str) {
    let mut release =
        Release::new(name, "certificates: {managed: {validatingAdmissionPolicy: true}}\n").await;
    release.install(installed_by);
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    fs::write(&kubeconfig, release.kubeconfig().await.to_string()).unwrap();
    let arguments = arguments_here(&release.objects(), "");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let webhook = Webhook::start_in(&[("KUBECONFIG", kubeconfig.to_str().unwrap())], &arguments);
    wait_until("it is ready", A_MINUTE, async || {
        get(webhook.admin_address(), "/readyz").await.body == "ok\n"
    })
    .await;
    let secret = release.secret(&format!("spark-webhook-{name}-ca")).await;
    let bundle = release.bundle().await;
    assert_eq!(bundle.as_ref(), secret.get("ca.crt"), "the program has written both");
    // A pod that asks is refused while nobody answers, and one that does not is none of our
    // business.
    wait_until("it is refused", A_MINUTE, async || release.is_mutated().await.is_err()).await;
    let mut silent = asking_pod(&release.labels());
    silent.metadata.annotations = None;
    let jobs = Api::<Pod>::namespaced(release.client.clone(), &format!("{name}-jobs"));
    jobs.create(&dry_run(), &silent).await.unwrap();

    release.point_at(&webhook);
    release.upgrade(upgraded_by, &[]);
    release.wait_until_mutated().await;
    let load = Load::start(&release);
    release.upgrade(
        upgraded_by,
        &["--set", "webhook.timeoutSeconds=7", "--set", "drainDelaySeconds=12"],
    );
    assert_eq!(
        (&release.bundle().await, &release.secret(&format!("spark-webhook-{name}-ca")).await),
        (&bundle, &secret)
    );
    assert!(release.is_mutated().await.unwrap());
    release.helm(upgraded_by, &["rollback", name, "2"]);
    assert_eq!(
        (&release.bundle().await, &release.secret(&format!("spark-webhook-{name}-ca")).await),
        (&bundle, &secret)
    );
    assert!(release.is_mutated().await.unwrap());
    assert_eq!(get(webhook.admin_address(), "/readyz").await.body, "ok\n");
    release.helm(upgraded_by, &["uninstall", name]);
    wait_until("nothing is mutated any more", A_MINUTE, async || {
        !release.is_mutated().await.unwrap()
    })
    .await;
    assert!(load.end().await > 20);
    assert_eq!(release.remains().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_program_writes_outlives_upgrades_by_helm_3() {
    lives("three", "helm3", "helm3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_program_writes_outlives_upgrades_by_helm_4() {
    lives("four", "helm4", "helm4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_program_writes_outlives_an_upgrade_from_helm_3_to_helm_4() {
    lives("three-to-four", "helm3", "helm4").await;
}

/// Each has its own pods: the CA of the one was made by Helm, and the certificate of the other is
/// in a Secret, from which Helm reads the CA.
#[tokio::test(flavor = "multi_thread")]
async fn two_releases_live_together_with_certificates_of_other_kinds() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, data: &BTreeMap<String, ByteString>| {
        let directory = directory.path().join(name);
        fs::create_dir(&directory).unwrap();
        for (key, content) in data {
            fs::write(directory.join(key), &content.0).unwrap();
        }
        directory.to_str().unwrap().to_owned()
    };
    let mut first = Release::new("first", "certificates: {mode: ca}\n").await;
    first.install("helm4");
    let made = first.secret("spark-webhook-first-helm-ca").await;
    assert_eq!(first.bundle().await.as_ref(), made.get("tls.crt"));

    let mut second =
        Release::new("second", "certificates: {mode: existingSecret, existingSecret: mine}\n")
            .await;
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let entries = [("ca.crt", &certificate), ("tls.crt", &certificate), ("tls.key", &key)];
    let mine: BTreeMap<_, _> = entries
        .into_iter()
        .map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes())))
        .collect();
    let secret = Secret {
        data: Some(mine.clone()),
        ..serde_json::from_value(json!({"metadata": {"name": "mine"}})).unwrap()
    };
    Api::namespaced(second.client.clone(), "second")
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    second.install("helm3");
    assert_eq!(second.bundle().await, Some(ByteString(certificate.into_bytes())));

    let start = |certificates: &str, objects: &[Value]| {
        let arguments = arguments_here(objects, certificates);
        Webhook::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let in_template = "caBundle: \"-----BEGIN CERTIFICATE-----\"}";
    let second_objects = objects(
        &template(
            "helm3",
            "second",
            &second
                .values
                .replace("existingSecret: mine}", &format!("existingSecret: mine, {in_template}")),
        )
        .unwrap(),
    );
    let webhooks = [
        start(&write("made", &made), &first.objects()),
        start(&write("mine", &mine), &second_objects),
    ];
    first.point_at(&webhooks[0]);
    second.point_at(&webhooks[1]);
    first.upgrade("helm4", &[]);
    second.upgrade("helm3", &[]);
    assert_eq!(first.secret("spark-webhook-first-helm-ca").await, made, "Helm keeps its CA");
    assert_eq!(first.bundle().await.as_ref(), made.get("tls.crt"));
    for release in [&first, &second] {
        release.wait_until_mutated().await;
    }
    // What a real spark-submit makes is theirs too.
    let property =
        |key: &str, value: &str| (format!("spark.kubernetes.driver.{key}"), value.to_owned());
    let properties = [
        property("label.release", "first"),
        property("annotation.spark-operator.k8s.io/hadoopConfigMap", "hadoop-conf"),
    ];
    let output = Spark::new("4.1.2").submit(&first.cluster, "first-jobs", &properties);
    let drivers = Api::<Pod>::namespaced(first.client.clone(), "first-jobs")
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    assert_eq!(drivers.len(), 1, "{output:?}");
    let injected =
        &drivers[0].metadata.annotations.as_ref().unwrap()["spark-operator.k8s.io/injected"];
    assert!(injected.contains("/etc/hadoop/conf=configmap/hadoop-conf"), "{injected}");
    // Each is called for its own only: without the first, only the first one's pods are refused.
    let [webhook, _second] = webhooks;
    drop(webhook);
    assert!(first.is_mutated().await.is_err());
    assert!(second.is_mutated().await.unwrap());
    first.helm("helm4", &["uninstall", "first"]);
    second.helm("helm3", &["uninstall", "second"]);
    assert_eq!(first.remains().await, Vec::<String>::new());
}

/// Both have their rules, and a rollback brings back the ones before, with their checksum.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_brings_the_rules_back() {
    for (name, version) in [("rules-three", "helm3"), ("rules-four", "helm4")] {
        let mut release = Release::new(name, "").await;
        let first = release.values.clone();
        let rules = |namespaces: &str| {
            format!(
                "{first}rules: {{apiVersion: spark-webhook/v1, defaults: [{{namespaces: [{namespaces}], annotations: {{spark-operator.k8s.io/secret.s: /s}}}}]}}\n"
            )
        };
        release.values = rules("a");
        release.install(version);
        let before = release.rules().await;
        release.values = rules("b");
        release.upgrade(version, &[]);
        let after = release.rules().await;
        for (before, after) in before.iter().zip(&after) {
            assert_ne!(before, after, "the file, its checksum and the condition are others");
        }
        release.helm(version, &["rollback", name, "1"]);
        assert_eq!(release.rules().await, before);
        release.helm(version, &["uninstall", name]);
    }
}

/// The bundle that the replicas wrote becomes Helm's, and goes away with it: Helm 4 wants to be
/// told so.
#[tokio::test(flavor = "multi_thread")]
async fn the_mode_of_a_release_can_be_changed() {
    for (name, version, force) in
        [("mode-three", "helm3", None), ("mode-four", "helm4", Some("--force-conflicts"))]
    {
        let release = Release::new(name, "").await;
        release.install(version);
        let registrations: Api<MutatingWebhookConfiguration> = Api::all(release.client.clone());
        let ca = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem();
        let written = ByteString(ca.into_bytes());
        let change = json!({"webhooks": [{"name": format!("spark-webhook-{name}.k8s.io"), "clientConfig": {"caBundle": written}}]});
        let configuration = format!("spark-webhook-{name}");
        registrations
            .patch(&configuration, &PatchParams::default(), &Patch::Strategic(change))
            .await
            .unwrap();
        let to_ca = ["--set", "certificates.mode=ca"];
        if let Some(force) = force {
            let error = release
                .try_helm(
                    version,
                    &[&["upgrade", name, CHART, "--values", "-"], &to_ca[..]].concat(),
                )
                .unwrap_err();
            assert!(error.contains("conflict") && error.contains("caBundle"), "{error}");
            release.upgrade(version, &[&to_ca[..], &[force]].concat());
        } else {
            release.upgrade(version, &to_ca);
        }
        let made = release.secret(&format!("spark-webhook-{name}-helm-ca")).await;
        assert_eq!(release.bundle().await.as_ref(), made.get("tls.crt"));
        release.upgrade(version, &[]);
        assert_eq!(release.bundle().await, None);
        release.helm(version, &["uninstall", name]);
    }
}

/// Whether a service account may do something, as the API server decides it.
async fn is_allowed(client: &Client, namespace: &str, account: &str, what: &Value) -> bool {
    let review = serde_json::from_value(json!({"metadata": {}, "spec": {
        "user": format!("system:serviceaccount:{namespace}:{account}"),
        "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{namespace}"), "system:authenticated"],
        "resourceAttributes": what,
    }}));
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    reviews.create(&PostParams::default(), &review.unwrap()).await.unwrap().status.unwrap().allowed
}

/// What the service account may do, as the API server decides it.
#[tokio::test]
async fn the_service_account_may_do_what_it_needs_and_nothing_else() {
    let release = Release::new("rights", "").await;
    release.install("helm3");
    let (secret, configuration) = ("spark-webhook-rights-ca", "spark-webhook-rights");
    for (verb, group, resource, namespace, name, expected) in [
        ("get", "", "secrets", "rights", secret, true),
        ("update", "", "secrets", "rights", secret, true),
        (
            "get",
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations",
            "",
            configuration,
            true,
        ),
        (
            "patch",
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations",
            "",
            configuration,
            true,
        ),
        ("list", "", "secrets", "rights", "", false),
        ("watch", "", "secrets", "rights", "", false),
        ("create", "", "secrets", "rights", "", false),
        ("patch", "", "secrets", "rights", secret, false),
        ("delete", "", "secrets", "rights", secret, false),
        ("get", "", "secrets", "rights", "another", false),
        ("get", "", "secrets", "rights-jobs", secret, false),
        (
            "update",
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations",
            "",
            configuration,
            false,
        ),
        (
            "delete",
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations",
            "",
            configuration,
            false,
        ),
        ("list", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", "", false),
        ("create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", "", false),
        (
            "patch",
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations",
            "",
            "another",
            false,
        ),
        (
            "patch",
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations",
            "",
            configuration,
            false,
        ),
        ("get", "", "pods", "rights-jobs", "", false),
        ("create", "", "pods", "rights", "", false),
        ("get", "", "configmaps", "rights", "", false),
        ("create", "", "serviceaccounts/token", "rights", configuration, false),
        ("escalate", "rbac.authorization.k8s.io", "roles", "rights", configuration, false),
    ] {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let what = json!({"verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace, "name": name});
        let is_allowed = async || is_allowed(&release.client, "rights", configuration, &what).await;
        // What allows something is learnt by a watch.
        if expected {
            wait_until(&what.to_string(), A_MINUTE, is_allowed).await;
        } else {
            assert!(!is_allowed().await, "{what}");
        }
    }
    release.helm("helm3", &["uninstall", "rights"]);
}

/// With the chart's role, `doctor` sees everything but Secrets that are not named, and only what is
/// a right of its own is missing: to create pods.
#[tokio::test]
async fn doctor_sees_with_its_role_all_but_secrets_and_may_create_nothing() {
    let release =
        Release::new("doctor", "doctor: {rbac: {create: true, secrets: [spark8t-sa-conf-etl]}}\n")
            .await;
    let namespace = "doctor-jobs";
    let pods: Api<Pod> = Api::namespaced(release.client.clone(), namespace);
    let mut pod = asking_pod(&release.labels());
    let conf = ("spark-operator.k8s.io/hadoopConfigMap".to_owned(), "missing".to_owned());
    pod.metadata.annotations.as_mut().unwrap().extend([conf]);
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let etl = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "etl", "namespace": namespace}});
    apply(&release.client, &etl).await.unwrap();
    release.install("helm4");
    let account = "system:serviceaccount:doctor:spark-webhook-doctor";
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "doctor"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "spark-webhook-doctor-doctor"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": account}],
    });
    apply(&release.client, &binding).await.unwrap();
    let what = json!({"verb": "list", "resource": "pods", "namespace": namespace});
    wait_until("the role is known", A_MINUTE, async || {
        is_allowed(&release.client, "doctor", "spark-webhook-doctor", &what).await
    })
    .await;
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    fs::write(&kubeconfig, release.kubeconfig().await.to_string()).unwrap();
    let mut doctor = command();
    doctor.args([
        "doctor",
        "--namespace",
        namespace,
        "--name",
        "spark-webhook-doctor",
        "-o",
        "json",
    ]);
    doctor.args(["--service-account", "doctor-jobs:etl", "--kubeconfig"]);
    let output = doctor.arg(kubeconfig.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let row = |row: &Value| {
        format!("{} {} {}", row["check"], row["status"], row["message"]).replace('"', "")
    };
    let not_allowed: Vec<String> =
        found.iter().map(row).filter(|row| row.contains("you may not")).collect();
    let expected = [
        "dry-run unknown you may not create pods --namespace doctor-jobs",
        "objects unknown you may not get secrets --namespace doctor-jobs",
        "account unknown Secret integrator-hub-conf-etl: you may not get secrets --namespace doctor-jobs",
    ];
    assert_eq!(not_allowed, expected);
    let missing =
        "objects failed ConfigMap missing does not exist in namespace doctor-jobs; asked for by p";
    assert!(found.iter().map(row).any(|row| row == missing), "{found:#?}");
    release.helm("helm4", &["uninstall", "doctor"]);
}

/// RBAC lets the account patch the configuration; with the policy, the API server takes nothing but
/// a caBundle from it.
#[tokio::test]
async fn with_the_policy_the_service_account_changes_nothing_but_the_bundle() {
    let policy = "certificates: {managed: {validatingAdmissionPolicy: true}}\n";
    let by_url = Release::new("policy-url", policy).await;
    let mut by_service = Release::new("policy-service", policy).await;
    by_service.values =
        by_service.values.replace("url: \"https://127.0.0.1:1/mutate\"", "url: \"\"");
    let evil = [
        (by_url, json!({"url": "https://evil.example/mutate"})),
        (by_service, json!({"service": {"name": "evil", "namespace": "policy-service"}})),
    ];
    for (release, elsewhere) in evil {
        changes_nothing_but_the_bundle(&release, &elsewhere).await;
    }
}

async fn changes_nothing_but_the_bundle(release: &Release, elsewhere: &Value) {
    release.install("helm4");
    let kubeconfig: Kubeconfig = serde_json::from_value(release.kubeconfig().await).unwrap();
    let config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let registrations: Api<MutatingWebhookConfiguration> =
        Api::all(Client::try_from(config).unwrap());
    let name = &*format!("spark-webhook-{}", release.name);
    let patch = async |patch: Value| {
        registrations.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await
    };
    let webhook = |change: Value| {
        let mut webhook = json!({"name": format!("{name}.k8s.io")});
        webhook.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"webhooks": [webhook]})
    };
    let is_refused = |error: kube::Error| {
        error.to_string().contains("the webhook may change its caBundle, and nothing else")
    };
    // The API server learns of a policy a moment after it has stored it.
    wait_until("the policy is in force", A_MINUTE, async || {
        let change = json!({"metadata": {"labels": {"probe": "x"}}});
        let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
        registrations.patch(name, &dry_run, &Patch::Strategic(change)).await.is_err_and(is_refused)
    })
    .await;
    for change in [
        json!({"metadata": {"labels": {"x": "y"}}}),
        json!({"metadata": {"annotations": {"x": "y"}}}),
        json!({"metadata": {"finalizers": ["example.com/x"]}}),
        json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]}}),
        webhook(json!({"clientConfig": elsewhere})),
        webhook(
            json!({"rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}]}),
        ),
        webhook(json!({"failurePolicy": "Ignore"})),
        webhook(json!({"matchPolicy": "Exact"})),
        webhook(json!({"namespaceSelector": null})),
        webhook(json!({"objectSelector": {"matchLabels": {"x": "y"}}})),
        webhook(json!({"sideEffects": "NoneOnDryRun"})),
        webhook(json!({"timeoutSeconds": 30})),
        webhook(json!({"admissionReviewVersions": ["v1", "v1beta1"]})),
        webhook(json!({"reinvocationPolicy": "Never"})),
        webhook(json!({"matchConditions": [{"name": "more", "expression": "true"}]})),
        webhook(json!({"matchConditions": [{"$patch": "replace"}]})),
        webhook(json!({"$patch": "delete"})),
        json!({"webhooks": [{
            "name": "another.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://evil.example/mutate"},
        }]}),
    ] {
        let error = patch(change.clone()).await.map(|_| ()).expect_err(&change.to_string());
        assert!(is_refused(error), "{change}");
    }
    let ca = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem();
    let bundle = ByteString(ca.into_bytes());
    patch(webhook(json!({"clientConfig": {"caBundle": bundle}}))).await.unwrap();
    assert_eq!(release.bundle().await, Some(bundle));
    // Others may change anything, such as who upgrades or removes it.
    release.helm("helm4", &["uninstall", release.name]);
}
