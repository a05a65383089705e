//! `examples/`: each file is safe to copy and does what it says. `tests/cluster/chart/examples.rs`
//! renders those of Argo CD and Flux, `tests/node/examples.rs` builds the kustomization by kubectl.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Map, Value, json};
use spark_webhook::internals::load_rules;
use spark_webhook::registration::condition;
use testkit::webhook;

/// The objects of a file.
fn objects(file: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&fs::read_to_string(file).unwrap()).unwrap()
}

fn object(file: &str, kind: &str) -> Value {
    objects(file).into_iter().find(|object| object["kind"] == kind).unwrap()
}

/// Runs the program with text on standard input.
fn run(arguments: &[&str], input: &str) -> Output {
    let mut command = webhook::command();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

/// What a command prints; it says nothing on standard error.
fn printed(arguments: &[&str], input: &str) -> String {
    let output = run(arguments, input);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*errors), (Some(0), ""), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_file_is_in_the_list() {
    let list = fs::read_to_string("examples/README.md").unwrap();
    assert!(list.lines().count() <= 30);
    let mut files = 0;
    for file in fs::read_dir("examples").unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || list.contains(&format!("| [{name}]({name}) |")), "{name}");
        files += 1;
    }
    assert_eq!(files - 1, list.lines().filter(|line| line.starts_with("| [")).count());
}

/// Who copies rules makes only the namespaces that they name depend on the webhook, and closes no
/// other.
#[test]
fn rules_name_their_namespaces_and_leave_others_alone() {
    let argocd = object("examples/argocd.yaml", "Application");
    let flux = object("examples/flux.yaml", "HelmRelease");
    for (file, rules) in [
        ("examples/rules.yaml", fs::read_to_string("examples/rules.yaml").unwrap()),
        (
            "examples/argocd.yaml",
            argocd["spec"]["source"]["helm"]["valuesObject"]["rules"].to_string(),
        ),
        ("examples/flux.yaml", flux["spec"]["values"]["rules"].to_string()),
    ] {
        let content: Value = serde_saphyr::from_str(&rules).unwrap();
        let lists = ["defaults", "allow"].map(|list| content[list].as_array());
        assert!(lists[0].is_some(), "{file}");
        for rule in lists.into_iter().flatten().flatten() {
            assert!(rule["namespaces"].is_array(), "{file}: {rule}");
        }
        assert_eq!(printed(&["check-config", "-"], &rules), "standard input: ok\n", "{file}");
        let of_default = printed(&["check-config", "-", "--namespace", "default"], &rules);
        assert!(!of_default.contains("all drivers and executors"), "{file}: {of_default}");
        let is_open = of_default.contains("  ConfigMaps: any\n  Secrets: any\n")
            || of_default.contains("because the file has no allow list");
        assert!(is_open, "{file}: {of_default}");
    }
}

/// As kustomize applies it: patches to the objects of the base, by name.
#[test]
fn the_kustomization_adds_rules_and_the_condition_that_goes_with_them() {
    let kustomization = object("examples/kustomization.yaml", "Kustomization");
    let base = Path::new("examples").join(kustomization["resources"][0].as_str().unwrap());
    let resources = object(base.join("kustomization.yaml").to_str().unwrap(), "Kustomization");
    let base = base.join(resources["resources"][0].as_str().unwrap());
    let base = base.to_str().unwrap();

    let image = &kustomization["images"][0];
    let placeholder = format!("{}:VERSION", image["name"].as_str().unwrap());
    assert_eq!(image["newTag"], env!("CARGO_PKG_VERSION"));
    let [mut deployment, mut registration] =
        ["Deployment", "MutatingWebhookConfiguration"].map(|kind| object(base, kind));
    assert_eq!(
        deployment["spec"]["template"]["spec"]["containers"][0]["image"],
        placeholder.as_str()
    );
    let scaled = &kustomization["replicas"][0];
    assert!(scaled["name"] == deployment["metadata"]["name"] && scaled["count"] == 3);

    let before = deployment["spec"]["template"]["spec"].clone();
    for patch in kustomization["patches"].as_array().unwrap() {
        let target = [&mut deployment, &mut registration].into_iter().find(|object| {
            patch["target"] == json!({"kind": object["kind"], "name": object["metadata"]["name"]})
        });
        let operations: json_patch::Patch =
            serde_saphyr::from_str(patch["patch"].as_str().unwrap()).unwrap();
        json_patch::patch(target.unwrap(), &operations).unwrap();
    }
    let generator = &kustomization["configMapGenerator"][0];
    assert_eq!(generator["namespace"], deployment["metadata"]["namespace"]);
    let file = generator["files"][0].as_str().unwrap();
    let rules = fs::read_to_string(Path::new("examples").join(file)).unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let mount = &container["volumeMounts"][0];
    assert_eq!(
        pod["volumes"],
        json!([{"name": mount["name"], "configMap": {"name": generator["name"]}}])
    );
    let path = Path::new(mount["mountPath"].as_str().unwrap()).join(file);
    let config = format!("--config={}", path.display());
    assert_eq!(container["args"].as_array().unwrap().last().unwrap(), config.as_str());
    // A base with volumes of its own would lose them to `add`.
    assert!(before["volumes"].is_null() && before["containers"][0]["volumeMounts"].is_null());

    let expected = condition(&load_rules(&rules).unwrap());
    assert_eq!(registration["webhooks"][0]["matchConditions"][0]["expression"], expected);
}

/// Stands for `airflow.sdk.DAG`.
const DAG: &str = "\
class DAG:
    def __init__(self, *, dag_id, schedule, start_date, catchup):
        self.dag_id = dag_id
    def __enter__(self):
        return self
    def __exit__(self, *error):
        pass
";

/// The properties with which the DAG would submit, by an operator that builds its command as
/// Airflow's does.
fn properties_of_the_dag() -> Map<String, Value> {
    let directory = tempfile::tempdir().unwrap();
    let operators = directory.path().join("airflow/providers/apache/spark/operators");
    fs::create_dir_all(&operators).unwrap();
    let operator = include_str!("../cluster/neighbours/airflow.py");
    fs::write(operators.join("spark_submit.py"), operator).unwrap();
    fs::write(directory.path().join("airflow/sdk.py"), DAG).unwrap();
    let spark_submit = directory.path().join("spark-submit");
    fs::write(&spark_submit, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").unwrap();
    Command::new("chmod").arg("+x").arg(&spark_submit).status().unwrap();
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new("python3")
        .args(["-B", "examples/airflow_dag.py"])
        .env("PYTHONPATH", directory.path())
        .env("PATH", path)
        .env("MASTER", "k8s://https://api.example:6443")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut properties = Map::new();
    for pair in lines.windows(2).filter(|pair| pair[0] == "--conf") {
        let (name, value) = pair[1].split_once('=').unwrap();
        properties.insert(name.to_owned(), json!(value));
    }
    properties
}

#[test]
fn the_webhook_applies_what_the_dag_requests_without_a_warning() {
    let properties = properties_of_the_dag();
    let example: Value = object("examples/driver-pod.yaml", "Pod");
    let mut annotated = 0;
    for (role, expected) in [
        ("driver", &["/etc/hadoop/conf=configmap/hadoop-conf", "/mnt/keytab=secret/keytab"][..]),
        ("executor", &["/etc/hadoop/conf=configmap/hadoop-conf"]),
    ] {
        let prefix = format!("spark.kubernetes.{role}.annotation.");
        let annotations: Map<String, Value> = properties
            .iter()
            .filter_map(|(name, value)| {
                Some((name.strip_prefix(&prefix)?.to_owned(), value.clone()))
            })
            .collect();
        annotated += annotations.len();
        let mut pod = example.clone();
        pod["metadata"]["annotations"] = json!(annotations);
        pod["metadata"]["labels"]["spark-role"] = json!(role);
        if role == "executor" {
            let container = &mut pod["spec"]["containers"][0];
            container["name"] = json!("spark-kubernetes-executor");
            container["env"] = json!([{"name": "SPARK_EXECUTOR_ID", "value": "1"}]);
        }
        let mutated = printed(&["mutate", "-", "--output", "pod"], &pod.to_string());
        let mutated: Value = serde_saphyr::from_str(&mutated).unwrap();
        let record = &mutated["metadata"]["annotations"]["spark-operator.k8s.io/injected"];
        let record: Value = serde_json::from_str(record.as_str().unwrap()).unwrap();
        assert_eq!(record["mounts"], json!(expected), "{role}");
        assert!(record["problems"].is_null(), "{record}");
    }
    let is_annotation = |name: &&String| name.contains(".annotation");
    assert_eq!(properties.keys().filter(is_annotation).count(), annotated, "{properties:?}");
}
