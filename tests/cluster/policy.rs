//! The policy of `spark-webhook policy` on a real kube-apiserver: each pod that it changes becomes
//! the one that the webhook makes of it, and every other one stays as it is and has a warning.

use std::fs;
use std::time::{Duration, Instant};

use axum::http::Request;
use kube::Client;
use kube::client::Body;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};
use spark_webhook::admission::{self, Settings, admit, review};
use testkit::cluster::{Cluster, SharedCluster};
use testkit::generate;
use testkit::golden::{Case, cases};
use testkit::webhook::{self, Webhook};

static CLUSTER: SharedCluster = SharedCluster::new();

const PREFIX: &str = "spark-operator.k8s.io/";
const INJECTED: &str = "spark-operator.k8s.io/injected";

/// Three namespaces: `plain`, `webhook` with ours registered for it, and `policy` with the policies
/// bound to it.
struct Setup {
    client: Client,
    prefix: &'static str,
    _webhook: Webhook,
    _cluster: std::sync::Arc<Cluster>,
}

/// What became of a pod in the policy's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// What the webhook makes of it.
    Changed,
    /// Nothing, though it asks for something.
    LeftAlone,
    /// It asks for nothing.
    NotAsked,
    /// It is refused where there is neither webhook nor policy.
    Refused,
}

impl Setup {
    /// The prefix keeps the namespaces of tests apart.
    async fn new(prefix: &'static str) -> Self {
        let cluster = CLUSTER.get().await;
        let name = |kind: &str| format!("{prefix}-{kind}");
        for kind in ["plain", "webhook", "policy"] {
            cluster.namespace(&name(kind)).await;
        }
        let directory = tempfile::tempdir().unwrap();
        let registration = directory.path().join("registration.yaml");
        let webhook = Webhook::start(&["--write-registration", registration.to_str().unwrap()]);
        cluster.register(&registration, &name("webhook")).await;
        let client = cluster.client().await;
        for document in printed() {
            store(&client, document, prefix, &name("policy")).await;
        }
        let setup = Self { client, prefix, _webhook: webhook, _cluster: cluster };
        setup.wait_until_bound().await;
        setup
    }

    /// The API server learns of policies by a watch.
    async fn wait_until_bound(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let (plain, other) =
            (pod(&[("sparkConfigMap", "c")]), pod(&[("sparkConfigMap", "c:optional")]));
        loop {
            let (changed, _) = self.create("policy", &plain).await.unwrap();
            let (_, warnings) = self.create("policy", &other).await.unwrap();
            if changed["metadata"]["annotations"][INJECTED].is_string() && !warnings.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the policies are not in force: {changed} {warnings:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Creates a pod in a dry run: the pod that would be stored, without what differs by chance,
    /// and the warnings.
    async fn create(&self, kind: &str, pod: &Value) -> Result<(Value, Vec<String>), String> {
        let path = format!("/api/v1/namespaces/{}-{kind}/pods?dryRun=All", self.prefix);
        let request = Request::post(path)
            .header("Content-Type", "application/json")
            .body(Body::from(pod.to_string().into_bytes()));
        let response = self.client.send(request.unwrap()).await.unwrap();
        let warnings = response
            .headers()
            .get_all("Warning")
            .iter()
            .map(|warning| String::from_utf8_lossy(warning.as_bytes()).into_owned())
            .collect();
        let is_created = response.status().is_success();
        let body = response.into_body().collect_bytes().await.unwrap();
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        if !is_created {
            return Err(body["message"].to_string());
        }
        let metadata = body["metadata"].as_object_mut().unwrap();
        for by_chance in ["namespace", "uid", "creationTimestamp", "managedFields"] {
            metadata.remove(by_chance);
        }
        if pod["metadata"]["name"].is_null() {
            metadata.remove("name");
        }
        Ok((body, warnings))
    }

    /// Creates a pod in each namespace and compares them.
    async fn outcome(&self, pod: &Value) -> Outcome {
        let Ok((before, usual)) = self.create("plain", pod).await else { return Outcome::Refused };
        let (expected, problems) =
            self.create("webhook", pod).await.unwrap_or_else(|error| panic!("{error}: {pod}"));
        let (after, warnings) =
            self.create("policy", pod).await.unwrap_or_else(|error| panic!("{error}: {pod}"));
        if after != before {
            assert_eq!(after, expected, "{pod}");
            assert_eq!((&problems, &warnings), (&usual, &usual), "{pod}");
            // Where both are there, the webhook comes second and finds its work done.
            let review = review::of(&after, "both").to_string();
            assert_eq!(
                admit(review.as_bytes(), &Settings::default()).unwrap().outcome,
                admission::Outcome::Unchanged,
                "{pod}"
            );
            return Outcome::Changed;
        }
        let metadata = &before["metadata"];
        let mut keys = metadata["annotations"].as_object().into_iter().flat_map(Map::keys);
        let is_ours =
            |key: &String| key.starts_with(PREFIX) || key.starts_with("sparkoperator.k8s.io/");
        let asks =
            ["driver", "executor"].map(Value::from).contains(&metadata["labels"]["spark-role"])
                && keys.any(is_ours);
        let is_warned_of = asks
            && ["kubernetes.io/config.mirror", INJECTED]
                .iter()
                .all(|key| metadata["annotations"][key].is_null());
        let more: Vec<&String> =
            warnings.iter().filter(|warning| !usual.contains(warning)).collect();
        match &*more {
            [] if !is_warned_of => Outcome::NotAsked,
            [warning]
                if is_warned_of
                    && warning.contains("nothing was mounted for this pod's annotations") =>
            {
                Outcome::LeftAlone
            }
            more => panic!("{more:?}: {pod}"),
        }
    }
}

/// What the command writes.
fn printed() -> Vec<Value> {
    let output = webhook::command().arg("policy").output().unwrap();
    assert!(output.status.success());
    serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

/// Stores an object as `kubectl apply -f` would, unknown fields being errors, with a binding for
/// one namespace.
async fn store(client: &Client, mut object: Value, prefix: &str, namespace: &str) {
    let kind = object["kind"].as_str().unwrap().to_owned();
    for pointer in ["/metadata/name", "/spec/policyName"] {
        if let Some(Value::String(name)) = object.pointer_mut(pointer) {
            name.insert_str(0, &format!("{prefix}-"));
        }
    }
    if kind.ends_with("Binding") {
        let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
        object["spec"]["matchResources"] = json!({"namespaceSelector": selector});
    }
    let plural = if kind.ends_with("Policy") {
        kind.to_lowercase().replace("policy", "policies")
    } else {
        format!("{}s", kind.to_lowercase())
    };
    let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}?fieldValidation=Strict");
    let request = Request::post(path)
        .header("Content-Type", "application/json")
        .body(object.to_string().into_bytes());
    let _: Value = client.request(request.unwrap()).await.unwrap();
}

/// A driver that asks for something, keys without their prefix.
fn pod(annotations: &[(&str, &str)]) -> Value {
    let annotations: Map<String, Value> =
        annotations.iter().map(|(key, value)| (format!("{PREFIX}{key}"), json!(value))).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "driver", "labels": {"spark-role": "driver"}, "annotations": annotations},
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{"name": "spark", "image": "i", "env": [{"name": "SPARK_CONF_DIR", "value": "/opt/spark/conf"}]}],
        },
    })
}

/// The pod of a golden review, without what only its own cluster had.
fn golden(case: &Case) -> Option<Value> {
    let review = case.review();
    let mut pod = review["request"]["object"].clone();
    if pod["kind"] != "Pod" || review["request"]["operation"] != "CREATE" {
        return None;
    }
    for field in ["namespace", "managedFields", "creationTimestamp", "uid", "ownerReferences"] {
        pod["metadata"].as_object_mut().unwrap().remove(field);
    }
    for field in ["serviceAccount", "serviceAccountName", "priorityClassName", "priority"] {
        pod["spec"].as_object_mut().unwrap().remove(field);
    }
    pod["spec"]["automountServiceAccountToken"] = json!(false);
    Some(pod)
}

#[tokio::test]
async fn a_golden_pod_that_it_changes_is_the_webhooks() {
    let setup = Setup::new("golden").await;
    let cases = cases();
    let mut outcomes = Vec::new();
    for case in &cases {
        let Some(pod) = golden(case) else { continue };
        outcomes.push((case.name.as_str(), setup.outcome(&pod).await));
    }
    let with = |outcome| -> Vec<&str> {
        outcomes.iter().filter(|(_, of)| *of == outcome).map(|(name, _)| *name).collect()
    };
    assert_eq!(
        with(Outcome::Changed).join(" "),
        "conf-dirs.spark-2.4.driver conf-dirs.spark-2.4.executor conf-dirs.spark-3.5.driver \
         conf-dirs.spark-3.5.executor conf-dirs.spark-4.1.driver conf-dirs.spark-4.1.executor \
         disable-config-map.spark-4.1.driver disable-config-map.spark-4.1.executor \
         disable-config-map.spark-4.3.driver disable-config-map.spark-4.3.executor \
         dry-run.driver generate-name.executor hadoop-conf-dir-at-submission.spark-3.5.driver \
         hadoop-conf-dir-at-submission.spark-3.5.executor \
         hadoop-config-map-property.spark-3.5.driver \
         hadoop-config-map-property.spark-3.5.executor kerberos.spark-3.5.driver \
         kerberos.spark-3.5.executor long-application-name.spark-4.1.executor minimal.driver \
         pyspark.spark-3.5.driver stateful-set.spark-3.5.executor \
         template-conf-dirs.spark-3.5.driver template-conf-dirs.spark-3.5.executor \
         template-istio-proxy-first.spark-4.1.executor template-sidecar-first.spark-3.5.driver \
         template-sidecar-first.spark-3.5.executor template-sidecar-first.spark-4.1.driver \
         template-sidecar-first.spark-4.1.executor template-without-containers.spark-3.5.driver"
    );
    assert!(with(Outcome::LeftAlone).len() >= 23, "{outcomes:?}");
    assert_eq!(
        with(Outcome::Refused),
        [
            "duplicate-mount-path.spark-3.5.driver",
            "key-with-space.spark-4.1.driver",
            "key-without-name.spark-4.1.driver",
            "name-with-slash.spark-4.1.driver"
        ]
    );
}

/// An annotation that is plain, or nearly.
fn annotation() -> impl Strategy<Value = (String, String)> {
    let mostly = |plain: &[&'static str], other: &[&'static str]| prop_oneof![9 => select(plain.to_vec()), 1 => select(other.to_vec())];
    let conf = (
        mostly(
            &["sparkConfigMap", "hadoopConfigMap"],
            &["hadoop-configmap", "container", "injected", "typo"],
        ),
        mostly(&["conf", "spark-conf", "a.b", "x.0"], &["a-.b", "Conf", "conf ", "conf:merge", ""]),
    );
    let kinds = select(vec![
        "configMap.",
        "configMap.",
        "secret.",
        "secret.",
        "GCPServiceAccount.",
        "hadoopDelegationToken.",
    ]);
    let names =
        mostly(&["app", "b", "a-b", "a0", "x-1", "conf"], &["spark-config-map", "a.b", "-a", "A"]);
    let paths = mostly(
        &[
            "/etc/app",
            "/etc/app/below",
            "/etc/app/below/x",
            "/mnt",
            "/mnt/a",
            "/mnt/C_3.d-e",
            "/opt/mine",
            "/a",
            "/system",
        ],
        &[
            "/etc/spark/conf",
            "/usr/lib",
            "/sys/x",
            "/a/.b",
            "/a/..",
            "/a/",
            "/a b",
            "a",
            "/run/x",
            "/var/run/secrets",
            "/opt/spark/jars",
            "",
            "/x:optional",
            "/é",
        ],
    );
    let object = (kinds, names, paths)
        .prop_map(|(kind, name, path)| (format!("{kind}{name}"), path.to_owned()));
    prop_oneof![1 => conf.prop_map(|(key, value)| (key.to_owned(), value.to_owned())), 2 => object]
        .prop_map(|(key, value)| (format!("{PREFIX}{key}"), value))
}

#[tokio::test]
async fn a_generated_pod_that_it_changes_is_the_webhooks() {
    let setup = Setup::new("generated").await;
    let mut runner = TestRunner::deterministic();
    let annotations = proptest::collection::vec(annotation(), 1..4);
    let pods = (generate::review(), annotations, any::<bool>(), 0..10_u8);
    let (mut changed, mut left_alone) = (0, 0);
    while changed + left_alone < 600 {
        let (review, annotations, is_mounted, origin) =
            pods.new_tree(&mut runner).unwrap().current();
        let Some(mut pod) = generate::acceptable(review["request"]["object"].clone()) else {
            continue;
        };
        pod["spec"]["automountServiceAccountToken"] = json!(false);
        // Those that the generator makes are hardly ever plain.
        if origin > 0 {
            pod["metadata"]["annotations"] =
                annotations.into_iter().map(|(key, value)| (key, json!(value))).collect();
        }
        if !is_mounted {
            for container in pod["spec"]["containers"].as_array_mut().unwrap() {
                container.as_object_mut().unwrap().remove("volumeMounts");
            }
        }
        match setup.outcome(&pod).await {
            Outcome::Changed => changed += 1,
            Outcome::LeftAlone => left_alone += 1,
            Outcome::NotAsked | Outcome::Refused => {}
        }
    }
    println!("{changed} changed, {left_alone} left alone");
    assert!(changed >= 100 && left_alone >= 100, "{changed} changed, {left_alone} left alone");
}

/// A pod with four sidecars and 40 volumes, and so many mounts of them, that asks for as much as
/// may be.
fn large(mounts: usize) -> Value {
    let mut pod = pod(&[]);
    let path = "d".repeat(200);
    pod["metadata"]["annotations"] = (0..12)
        .map(|i| (format!("{PREFIX}secret.s{i}"), json!(format!("/mnt/{i}/{path}"))))
        .collect();
    pod["spec"]["volumes"] =
        (0..40).map(|i| json!({"name": format!("v{i}"), "emptyDir": {}})).collect();
    let mounts: Vec<Value> = (0..mounts)
        .map(|i| json!({"name": format!("v{}", i % 40), "mountPath": format!("/data/{i}")}))
        .collect();
    let env: Vec<Value> =
        (0..100).map(|i| json!({"name": format!("VARIABLE_{i}"), "value": "something"})).collect();
    let mark = json!({"name": "SPARK_DRIVER_BIND_ADDRESS", "value": "x"});
    let mut containers: Vec<Value> = (0..5)
        .map(|i| json!({"name": format!("c{i}"), "image": "i", "env": env, "volumeMounts": mounts}))
        .collect();
    containers[2]["env"].as_array_mut().unwrap().push(mark);
    pod["spec"]["containers"] = json!(containers);
    pod
}

/// A driver that asks for one thing, with a volume of its own and more in its container.
fn with(volume: &Value, in_container: &Value) -> Value {
    let mut pod = pod(&[("configMap.app", "/etc/app")]);
    pod["spec"]["volumes"] = json!([volume]);
    pod["spec"]["containers"][0]
        .as_object_mut()
        .unwrap()
        .extend(in_container.as_object().unwrap().clone());
    pod
}

#[tokio::test]
async fn at_its_limits_it_does_the_same_or_nothing() {
    let setup = Setup::new("limits").await;
    let long = |length: usize| format!("/{}", "d".repeat(length - 1));
    let many = |count: usize| {
        let annotations: Vec<(String, String)> = (0..count)
            .map(|i| {
                (format!("configMap.{}{i:02}", "n".repeat(51)), format!("{}{i:02}", long(253)))
            })
            .collect();
        pod(&annotations.iter().map(|(key, value)| (&**key, &**value)).collect::<Vec<_>>())
    };
    let with_note = |length: usize| {
        let mut pod = pod(&[("sparkConfigMap", "c")]);
        let others = format!("{PREFIX}sparkConfigMap").len() + "c".len() + "note".len();
        // Two bytes each.
        pod["metadata"]["annotations"]["note"] =
            json!("é".repeat((length - others) / 2) + &"x".repeat((length - others) % 2));
        pod
    };
    let claim = json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}});
    let same = json!({"name": "v", "configMap": {"name": "app"}});
    let mount = |path: &str| json!({"volumeMounts": [{"name": "v", "mountPath": path}]});
    for (what, pod, expected) in [
        ("12 requests", many(12), Outcome::Changed),
        ("13 requests", many(13), Outcome::LeftAlone),
        ("a path of 255 characters", pod(&[("secret.s", &long(255))]), Outcome::Changed),
        ("a path of 256 characters", pod(&[("secret.s", &long(256))]), Outcome::LeftAlone),
        (
            "a name of 253 characters",
            pod(&[("sparkConfigMap", &"n".repeat(253))]),
            Outcome::Changed,
        ),
        (
            "a name of 254 characters",
            pod(&[("sparkConfigMap", &"n".repeat(254))]),
            Outcome::LeftAlone,
        ),
        ("annotations of 258,000 bytes", with_note(258_000), Outcome::Changed),
        ("annotations of 258,001 bytes", with_note(258_001), Outcome::LeftAlone),
        ("mounted beside it", with(&claim, &mount("/etc/app-1")), Outcome::Changed),
        ("mounted beside it, with a dot", with(&claim, &mount("/etc/.app/..a")), Outcome::Changed),
        ("mounted there, with a dot", with(&claim, &mount("/etc/./app")), Outcome::LeftAlone),
        ("mounted there, with two dots", with(&claim, &mount("/etc/x/../app")), Outcome::LeftAlone),
        ("mounted there, relative", with(&claim, &mount("etc/app")), Outcome::LeftAlone),
        ("mounted below it", with(&claim, &mount("/etc/app/1")), Outcome::LeftAlone),
        ("mounted above it", with(&claim, &mount("/etc/")), Outcome::LeftAlone),
        ("the same mounted", with(&same, &mount("/etc/app")), Outcome::LeftAlone),
        (
            "a block device",
            with(&claim, &json!({"volumeDevices": [{"name": "v", "devicePath": "/d"}]})),
            Outcome::LeftAlone,
        ),
        (
            "a volume of its name",
            with(&json!({"name": "app-volume", "emptyDir": {}}), &json!({})),
            Outcome::LeftAlone,
        ),
        ("40 mounts", large(40), Outcome::Changed),
        ("2,000 mounts", large(2_000), Outcome::LeftAlone),
    ] {
        assert_eq!(setup.outcome(&pod).await, expected, "{what}");
    }
}

/// Each row of the table in docs/policy.md.
#[tokio::test]
async fn the_table_says_what_happens() {
    let setup = Setup::new("table").await;
    let page = fs::read_to_string("docs/policy.md").unwrap();
    let mut rows = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let asked: Vec<(&str, &str)> =
            cells[2].split('`').filter_map(|annotation| annotation.split_once('=')).collect();
        let pod = pod(&asked);
        let expected = if cells[3] == "yes" { Outcome::Changed } else { Outcome::LeftAlone };
        assert_eq!(
            (cells[3] == "no", setup.outcome(&pod).await),
            (cells[3] != "yes", expected),
            "{row}"
        );
        let (webhooks, problems) = setup.create("webhook", &pod).await.unwrap();
        assert!(webhooks["metadata"]["annotations"][INJECTED].is_string(), "{row}");
        assert_eq!(problems.is_empty(), cells[4] == "yes", "{row}: {problems:?}");
        rows += 1;
    }
    assert_eq!(rows, 14);
}
