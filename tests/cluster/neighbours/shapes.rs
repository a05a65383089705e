//! Neighbours whose doing is known from their sources: injectors of sidecars, schedulers, Apache's
//! Spark operator. Each file in `shapes/` has what one of them does to a pod, as a JSON patch, and
//! says where that was read. It is done to pods that real Sparks made, before this webhook and
//! after it, and must come out the same.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use base64_simd::STANDARD;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use spark_webhook::admission::review;
use spark_webhook::admission::{Outcome, Settings};
use testkit::later::LaterWebhook;
use testkit::soundness::{answer, assert_sound, defaulted};

use super::recipe::{Place, injected};

/// What real Sparks made: `tests/golden/INDEX.md` says how.
const PODS: [&str; 4] = [
    "conf-dirs.spark-3.5.driver",
    "conf-dirs.spark-3.5.executor",
    "conf-dirs.spark-4.1.driver",
    "conf-dirs.spark-4.1.executor",
];

/// The label that has a pod changed by the neighbour of that name.
const SHAPE: &str = "neighbour";

/// The label that says whether that is done before or after this webhook.
const ORDER: &str = "order";

/// The patch of each neighbour.
fn shapes() -> BTreeMap<String, json_patch::Patch> {
    let files =
        fs::read_dir("tests/cluster/neighbours/shapes").unwrap().map(|entry| entry.unwrap().path());
    let named = files.map(|file| (file.file_stem().unwrap().to_str().unwrap().to_owned(), file));
    let patches = named.filter(|(name, _)| name != CLUSTER);
    patches
        .map(|(name, file)| {
            (name, serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap())
        })
        .collect()
}

/// The file that has pods instead of a patch.
const CLUSTER: &str = "apache-operator-cluster";

/// A pod as the API server got it from Spark, in a namespace, and told apart by labels.
fn pod(case: &str, namespace: &str, labels: &[(&str, &str)]) -> Value {
    let review: Value =
        serde_json::from_slice(&fs::read(format!("tests/golden/{case}.json")).unwrap()).unwrap();
    let mut pod = review["request"]["object"].clone();
    pod["metadata"].as_object_mut().unwrap().remove("managedFields");
    pod["metadata"]["namespace"] = json!(namespace);
    for (key, value) in labels {
        pod["metadata"]["labels"][key] = json!(value);
    }
    pod
}

fn patched(mut pod: Value, patch: &json_patch::Patch) -> Value {
    json_patch::patch(&mut pod, patch).unwrap();
    pod
}

/// A pod without what differs by chance or by order: volumes, and the mounts of every container, by
/// name and path.
fn in_order(mut pod: Value) -> Value {
    pod.as_object_mut().unwrap().remove("status");
    let metadata = pod["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| {
        !["uid", "creationTimestamp", "managedFields", "generation"].contains(&key.as_str())
    });
    metadata["labels"].as_object_mut().unwrap().remove(ORDER);
    let sort = |list: &mut Value, key: &str| {
        list.as_array_mut()
            .unwrap()
            .sort_by_key(|element| element[key].as_str().unwrap().to_owned());
    };
    sort(&mut pod["spec"]["volumes"], "name");
    for container in pod["spec"]["containers"].as_array_mut().unwrap() {
        sort(&mut container["volumeMounts"], "mountPath");
    }
    pod
}

/// That what the annotations ask for is in Spark's container, once, and in no other.
#[track_caller]
fn assert_mounted_in_sparks_container(pod: &Value) {
    for container in pod["spec"]["containers"].as_array().unwrap() {
        let is_sparks = container["name"].as_str().unwrap().starts_with("spark-kubernetes-");
        for path in ["/etc/spark/conf", "/etc/hadoop/conf"] {
            let mounts = container["volumeMounts"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|mount| mount["mountPath"] == path);
            assert_eq!(mounts.count(), usize::from(is_sparks), "{path} in {}", container["name"]);
        }
    }
    let injected = injected(pod);
    let mounts =
        json!(["/etc/spark/conf=configmap/spark-conf", "/etc/hadoop/conf=configmap/hadoop-conf"]);
    assert_eq!((&injected["mounts"], &injected["problems"]), (&mounts, &Value::Null));
}

#[test]
fn what_a_neighbour_adds_makes_no_difference() {
    let shapes = shapes();
    assert!(shapes.len() >= 8, "{shapes:?}");
    for (name, patch) in &shapes {
        for case in PODS {
            let asks = |pod: Value| {
                let review = review::of(&pod, "default");
                let answer = answer(&review, &Settings::default());
                assert_sound(&review, &Settings::default(), &answer);
                answer
            };
            let before = asks(defaulted(patched(pod(case, "default", &[]), patch)));
            let first = asks(pod(case, "default", &[]));
            let after = asks(defaulted(patched(first.pod, patch)));
            assert_eq!(
                after.patch,
                [Value::Null; 0],
                "{name}, {case}: the second round finds everything done"
            );
            assert_mounted_in_sparks_container(&before.pod);
            assert_eq!(in_order(defaulted(before.pod)), in_order(after.pod), "{name}, {case}");
        }
    }
}

/// Does to a pod what the neighbour of its label does, on a real API server.
fn do_to_pod(body: &[u8]) -> Vec<u8> {
    let review: Value = serde_json::from_slice(body).unwrap();
    let name = review["request"]["object"]["metadata"]["labels"][SHAPE].as_str().unwrap();
    let patch = serde_json::to_string(&shapes()[name]).unwrap();
    let response = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode_to_string(patch)},
    });
    response.to_string().into_bytes()
}

/// A namespace where this webhook is called, and before or after it, by a pod's label, the
/// neighbour.
async fn set_up(namespace: &'static str) -> (Place, Api<Pod>) {
    let place = Place::new(namespace).await;
    let neighbour = LaterWebhook::serve(do_to_pod).await;
    let pods: Api<Pod> = Api::namespaced(place.client.clone(), namespace);
    for (configuration, order) in [("a", "before"), ("z", "after")] {
        let configuration: MutatingWebhookConfiguration = serde_json::from_value(json!({
            "metadata": {"name": format!("{configuration}-{namespace}")},
            "webhooks": [{
                "name": "neighbour.example.com",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": neighbour.url, "caBundle": neighbour.ca_bundle},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "objectSelector": {"matchLabels": {ORDER: order}},
                "sideEffects": "None",
                "failurePolicy": "Fail",
            }],
        }))
        .unwrap();
        Api::all(place.client.clone())
            .create(&PostParams::default(), &configuration)
            .await
            .unwrap();
        let probe = pod(PODS[0], namespace, &[(SHAPE, "yunikorn"), (ORDER, order)]);
        let deadline = Instant::now() + Duration::from_secs(60);
        while create(&pods, &probe).await.unwrap()["spec"]["schedulerName"] != "yunikorn" {
            assert!(Instant::now() < deadline, "the neighbour is not called");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    (place, pods)
}

/// The pod that would be stored.
async fn create(pods: &Api<Pod>, pod: &Value) -> Result<Value, kube::Error> {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let stored = pods.create(&dry_run, &serde_json::from_value(pod.clone()).unwrap()).await?;
    Ok(serde_json::to_value(stored).unwrap())
}

#[tokio::test]
async fn the_api_server_stores_the_same_pod_whoever_comes_first() {
    let (_place, pods) = set_up("shapes").await;
    for (name, patch) in &shapes() {
        for case in PODS {
            let mut stored = Vec::new();
            for order in ["before", "after"] {
                let pod = create(&pods, &pod(case, "shapes", &[(SHAPE, name), (ORDER, order)]))
                    .await
                    .unwrap();
                assert_mounted_in_sparks_container(&pod);
                let spec = &pod["spec"];
                // Whatever the neighbour adds to the spec is there.
                for operation in &patch.0 {
                    let json_patch::PatchOperation::Add(add) = operation else {
                        panic!("{operation:?}")
                    };
                    match add.path.as_str() {
                        "/spec/schedulerName" => assert_eq!(spec["schedulerName"], add.value),
                        "/spec/schedulingGates" => assert_eq!(spec["schedulingGates"], add.value),
                        path if path.starts_with("/metadata/") => {
                            assert_eq!(pod.pointer(path), Some(&add.value), "{path}");
                        }
                        _ => {}
                    }
                }
                stored.push(in_order(pod));
            }
            assert_eq!(stored[0], stored[1], "{name}, {case}");
        }
    }
}

/// Bad input: both want one path. Who is first has it, and the other's request is named or the pod
/// is refused.
#[tokio::test]
async fn a_path_that_a_neighbour_mounts_too() {
    let (_place, pods) = set_up("same-path").await;
    for (path, order, expected) in [
        ("/vault/secrets", "before", Ok("secret.db=/vault/secrets: ")),
        ("/vault/secrets", "after", Err("must be unique")),
        ("/vault/secrets/more", "before", Ok("")),
        ("/vault/secrets/more", "after", Ok("")),
    ] {
        let mut asking = pod(PODS[2], "same-path", &[(SHAPE, "vault-agent"), (ORDER, order)]);
        asking["metadata"]["annotations"]["spark-operator.k8s.io/secret.db"] = json!(path);
        match (create(&pods, &asking).await, expected) {
            (Ok(stored), Ok(problem)) => {
                let injected = injected(&stored);
                // Whatever else was asked for is there.
                assert!(injected["mounts"].as_array().unwrap().len() >= 2, "{injected}");
                let told = injected["problems"][0].as_str().unwrap_or_default();
                assert!(
                    told.starts_with(problem) && told.is_empty() == problem.is_empty(),
                    "{path} {order}: {told}"
                );
            }
            (Err(error), Err(message)) => {
                assert!(error.to_string().contains(message), "{path} {order}: {error}");
            }
            (outcome, _) => panic!("{path} {order}: {outcome:?}"),
        }
    }
}

/// Masters and workers of standalone clusters, Spark Connect servers and whatever else is labelled
/// is no driver and no executor.
#[tokio::test]
async fn pods_of_other_roles_are_left_alone() {
    let (_place, pods) = set_up("roles").await;
    let text =
        fs::read_to_string(format!("tests/cluster/neighbours/shapes/{CLUSTER}.yaml")).unwrap();
    let mut others: Vec<Value> = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(
        others.iter().map(|pod| &pod["metadata"]["labels"]["spark-role"]).collect::<Vec<_>>(),
        ["master", "worker"]
    );
    for role in ["cluster", "connect-server", "operator", "history-server", "Driver"] {
        let mut pod = others[0].clone();
        pod["metadata"]["labels"]["spark-role"] = json!(role);
        others.push(pod);
    }
    for mut other in others {
        let annotations = json!({"spark-operator.k8s.io/sparkConfigMap": "spark-conf", "spark-operator.k8s.io/container": "master"});
        other["metadata"]["annotations"] = annotations.clone();
        let stored = create(&pods, &other).await.unwrap();
        assert_eq!(stored["metadata"]["annotations"], annotations);
        assert!(!stored.to_string().contains("/etc/spark/conf"), "{stored}");
        // And the webhook itself would not, were it asked.
        other["kind"] = json!("Pod");
        assert!(matches!(
            answer(&review::of(&other, "roles"), &Settings::default()).outcome,
            Outcome::Ignored(_)
        ));
    }
}

/// The page's column says in which order the API server calls them: that of the names.
#[test]
fn the_recipe_says_who_is_called_first() {
    let page = fs::read_to_string("docs/recipes/service-mesh-and-schedulers.md").unwrap();
    let mut told = 0;
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let Some(name) = cells[2].strip_prefix('`').and_then(|cell| cell.strip_suffix('`')) {
            assert_eq!(cells[3], if name < "spark-webhook" { "before" } else { "after" }, "{name}");
            told += 1;
        }
    }
    assert_eq!(told, 6);
}
