//! What a webhook adds to the creation of a pod on a real kube-apiserver: ours beside one that
//! answers always the same patch, and beside the API server's own MutatingAdmissionPolicy, which
//! needs no call.
//!
//! `make bench-cluster`, some two minutes after it has built the program of the image, which `OURS`
//! names. Pods are created (dry run) in four namespaces, one after the other in turns; what is
//! compared are the creates of one turn, and what is told are medians, because others work on the
//! machine too.

use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs};

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};
use spark_webhook::admission::{Settings, admit};
use spark_webhook::internals::policy_manifest;
use testkit::cluster::Cluster;
use testkit::later::LaterWebhook;
use testkit::webhook::Webhook;

const NAMESPACES: [&str; 4] = ["none", "floor", "ours", "policy"];

/// How much slower than the floor ours may be, at the median.
const MOST_ABOVE_FLOOR: Duration = Duration::from_micros(150);

fn main() -> ExitCode {
    let turns = if env::args().any(|argument| argument == "quick") { 200 } else { 3000 };
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(measure(turns))
}

async fn measure(turns: usize) -> ExitCode {
    let cluster = Cluster::start().await;
    for namespace in NAMESPACES {
        cluster.namespace(namespace).await;
    }
    let client = cluster.client().await;
    let pod = driver();

    let directory = tempfile::tempdir().unwrap();
    let registration = directory.path().join("registration.yaml");
    let program = env::var("OURS")
        .expect("OURS must name the program; make bench-cluster has that of the image");
    let _ours =
        Webhook::start_program(&program, &["--write-registration", registration.to_str().unwrap()]);
    cluster.register(&registration, "ours").await;
    let _floor = register_floor(&client, &pod).await;
    register_policy(&client).await;
    wait_until_all_are_mutated(&client, &pod).await;

    let mut took: [Vec<Duration>; 4] = Default::default();
    for turn in 0..turns {
        for offset in 0..NAMESPACES.len() {
            // Each is first, second, third and fourth equally often.
            let index = (turn + offset) % NAMESPACES.len();
            let started = Instant::now();
            create(&client, NAMESPACES[index], &pod).await;
            took[index].push(started.elapsed());
        }
    }
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    println!("{turns} creates each; milliseconds at the median");
    println!("{:<8} {:>8} {:>14}", "", "create", "above none");
    for (index, namespace) in NAMESPACES.iter().enumerate() {
        let above = median_difference(&took[index], &took[0]);
        println!("{namespace:<8} {:>8.2} {above:>14.2}", milliseconds(median(took[index].clone())));
    }
    let above_floor = median_difference(&took[2], &took[1]);
    let holds = above_floor <= milliseconds(MOST_ABOVE_FLOOR);
    println!(
        "ours above the floor: {above_floor:.3} ms, at most {:.3}: {}",
        milliseconds(MOST_ABOVE_FLOOR),
        if holds { "holds" } else { "MISSED" }
    );
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort_unstable();
    durations[durations.len() / 2]
}

/// Of the pairs of one turn, in milliseconds.
fn median_difference(those: &[Duration], others: &[Duration]) -> f64 {
    let mut differences: Vec<f64> = those
        .iter()
        .zip(others)
        .map(|(this, other)| (this.as_secs_f64() - other.as_secs_f64()) * 1e3)
        .collect();
    differences.sort_unstable_by(f64::total_cmp);
    differences[differences.len() / 2]
}

/// A driver as a real spark-submit makes it, with six annotations of ours, all such as the policy
/// takes.
fn driver() -> Pod {
    let review: Value =
        serde_json::from_slice(&fs::read("tests/golden/all-kinds.spark-3.5.driver.json").unwrap())
            .unwrap();
    let mut pod = review["request"]["object"].clone();
    for field in ["namespace", "managedFields", "creationTimestamp", "uid"] {
        pod["metadata"].as_object_mut().unwrap().remove(field);
    }
    pod["spec"]["serviceAccountName"] = json!("default");
    for field in ["serviceAccount", "priorityClassName", "priority"] {
        pod["spec"].as_object_mut().unwrap().remove(field);
    }
    pod["spec"]["automountServiceAccountToken"] = json!(false);
    // A name with dots is none that the policy takes at a path.
    let annotations = pod["metadata"]["annotations"].as_object_mut().unwrap();
    let path = annotations.remove("spark-operator.k8s.io/configMap.more.dotted.name").unwrap();
    annotations.insert("spark-operator.k8s.io/configMap.more".to_owned(), path);
    serde_json::from_value(pod).unwrap()
}

async fn create(client: &Client, namespace: &str, pod: &Pod) -> Pod {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    Api::namespaced(client.clone(), namespace).create(&dry_run, pod).await.unwrap()
}

/// Answers each review with the patch that is right for this pod, and looks at nothing of it but
/// the uid.
async fn register_floor(client: &Client, pod: &Pod) -> LaterWebhook {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "UID", "operation": "CREATE", "resource": {"group": "", "version": "v1", "resource": "pods"}, "object": pod},
    });
    let mut review = review;
    review["request"]["object"]["kind"] = json!("Pod");
    let answer = String::from_utf8(
        admit(review.to_string().as_bytes(), &Settings::default()).unwrap().response,
    )
    .unwrap();
    let (before, after) = answer
        .split_once("UID")
        .map(|(before, after)| (before.to_owned(), after.to_owned()))
        .unwrap();
    let floor = LaterWebhook::serve(move |body| {
        let at = body.windows(7).position(|window| window == b"\"uid\":\"").unwrap() + 7;
        [before.as_bytes(), &body[at..at + 36], after.as_bytes()].concat()
    })
    .await;
    let registration = json!({
        "metadata": {"name": "floor"},
        "webhooks": [{
            "name": "floor.example.com",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": floor.url, "caBundle": floor.ca_bundle},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "floor"}},
            "objectSelector": {"matchExpressions": [{"key": "spark-role", "operator": "In", "values": ["driver", "executor"]}]},
            "matchConditions": [{"name": "annotated", "expression": "has(object.metadata.annotations)"}],
            "sideEffects": "None",
            "failurePolicy": "Fail",
        }],
    });
    store(client, "MutatingWebhookConfiguration", &registration).await;
    floor
}

/// The policy that `spark-webhook policy` prints. The one that only warns has nothing to say of
/// this pod.
async fn register_policy(client: &Client) {
    for mut document in serde_saphyr::from_multiple::<Value>(&policy_manifest()).unwrap() {
        let kind = document["kind"].as_str().unwrap().to_owned();
        if kind.ends_with("Binding") {
            document["spec"]["matchResources"] = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "policy"}}});
        }
        store(client, &kind, &document).await;
    }
}

async fn store(client: &Client, kind: &str, object: &Value) {
    let resource =
        ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind));
    let resource = match kind {
        // The plural that English would make is another.
        "MutatingAdmissionPolicy" => {
            ApiResource { plural: "mutatingadmissionpolicies".to_owned(), ..resource }
        }
        "ValidatingAdmissionPolicy" => {
            ApiResource { plural: "validatingadmissionpolicies".to_owned(), ..resource }
        }
        _ => resource,
    };
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let mut object = object.clone();
    object["apiVersion"] = json!("admissionregistration.k8s.io/v1");
    object["kind"] = json!(kind);
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

/// The API server learns of each of them by a watch.
async fn wait_until_all_are_mutated(client: &Client, pod: &Pod) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let is_mutated = |pod: &Pod| {
        let volumes = pod.spec.as_ref().unwrap().volumes.as_deref().unwrap_or_default();
        volumes.iter().any(|volume| volume.name == "hadoop-config-map-volume")
    };
    for namespace in &NAMESPACES[1..] {
        while !is_mutated(&create(client, namespace, pod).await) {
            assert!(Instant::now() < deadline, "{namespace}: the pod is not mutated");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert!(!is_mutated(&create(client, "none", pod).await));
}
