//! What must hold of every answer, whatever the pod: checked on the pod that comes out, never on
//! the operations alone.

use std::collections::HashSet;

use base64_simd::STANDARD;
use serde_json::{Value, json};
use spark_webhook::admission::{Admission, Outcome, Settings, admit};

/// The annotation that the webhook writes.
pub const INJECTED: &str = "spark-operator.k8s.io/injected";

/// An answer, read back.
pub struct Answer {
    pub outcome: Outcome,
    pub warnings: Vec<String>,
    /// Those that have a text, where the warnings are at most 20.
    pub problems: Vec<String>,
    pub patch: Vec<Value>,
    /// The pod with the patch applied, strictly, as the API server does.
    pub pod: Value,
}

/// Answers a review and applies the patch.
pub fn answer(review: &Value, settings: &Settings) -> Answer {
    let body = serde_json::to_vec(review).unwrap();
    let Admission { outcome, response, uid, summary, .. } = admit(&body, settings).unwrap();
    let response: Value = serde_json::from_slice(&response).unwrap();
    let response = &response["response"];
    assert_eq!(response["uid"], review["request"]["uid"], "the uid is echoed");
    assert_eq!(&*uid, review["request"]["uid"]);
    assert_eq!(response["patch"].is_null(), response["patchType"].is_null(), "both or neither");
    let patch: Vec<Value> = match response["patch"].as_str() {
        Some(patch) => serde_json::from_slice(&STANDARD.decode_to_vec(patch).unwrap()).unwrap(),
        None => Vec::new(),
    };
    let mut pod = review["request"]["object"].clone();
    let operations: json_patch::Patch = serde_json::from_value(json!(patch)).unwrap();
    json_patch::patch(&mut pod, &operations).expect("the patch applies");
    let warnings: Vec<String> = response["warnings"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|warning| warning.as_str().unwrap().to_owned())
        .collect();
    for warning in &warnings {
        assert!(warning.chars().count() <= 120, "{warning}");
        assert!(!warning.chars().any(char::is_control), "{warning:?}");
    }
    assert!(warnings.len() <= 20);
    let problems: Vec<String> = summary
        .iter()
        .flat_map(|summary| summary.problems.iter())
        .map(|problem| problem.text().to_owned())
        .collect();
    assert_eq!(
        warnings.len(),
        summary.as_ref().map_or(0, |summary| summary.problems.count()).min(20)
    );
    Answer { outcome, warnings, problems, patch, pod }
}

/// Checks an answer against the review: only what may change has changed, the result is a pod that
/// the API server can take, and a second round finds nothing left to do and says the same.
pub fn assert_sound(review: &Value, settings: &Settings, answer: &Answer) {
    let before = &review["request"]["object"];
    if answer.patch.is_empty() {
        assert_eq!(before, &answer.pod);
        return;
    }
    assert_only_additions(before, &answer.pod);
    assert_variables_lead_to_mounts(review, settings, &answer.pod);
    assert_valid_names(before, &answer.pod);

    let mut second = review.clone();
    second["request"]["object"] = defaulted(answer.pod.clone());
    let again = self::answer(&second, settings);
    assert_eq!(again.patch, [Value::Null; 0], "the second round changes nothing");
    assert_eq!(again.warnings, answer.warnings, "the second round says the same");
}

/// What the API server fills in between two rounds, as far as it concerns what we add.
pub fn defaulted(mut pod: Value) -> Value {
    for volume in pod["spec"]["volumes"].as_array_mut().into_iter().flatten() {
        for source in ["configMap", "secret", "projected"] {
            if let Some(source) = volume[source].as_object_mut() {
                source.entry("defaultMode").or_insert(json!(420));
            }
        }
        // Looking at a field of a `Value` made it.
        volume.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    }
    pod
}

/// Takes out of the changed pod what the contract lets us add; what is left must be the pod as it
/// was.
fn assert_only_additions(before: &Value, after: &Value) {
    let mut rest = after.clone();
    if let Some(annotations) = rest["metadata"]["annotations"].as_object_mut() {
        annotations.remove(INJECTED);
        if annotations.is_empty() && before["metadata"]["annotations"].is_null() {
            rest["metadata"].as_object_mut().unwrap().remove("annotations");
        }
    }
    let mut expected = before.clone();
    if let Some(annotations) = expected["metadata"]["annotations"].as_object_mut() {
        annotations.remove(INJECTED);
    }
    drop_null(&mut expected["metadata"], "annotations");
    truncate(&mut rest["spec"], &expected["spec"], "volumes");
    let containers = expected["spec"]["containers"].as_array().map_or(0, Vec::len);
    let mut changed = 0;
    for index in 0..containers {
        let was = &mut expected["spec"]["containers"][index];
        let is = &mut rest["spec"]["containers"][index];
        changed += usize::from(was != is);
        truncate(is, was, "volumeMounts");
        truncate(is, was, "env");
        // A driver's arguments may have got one more, as the second.
        if let Some(arguments) = is["args"]
            .as_array_mut()
            .filter(|arguments| Some(arguments.len()) > was["args"].as_array().map(Vec::len))
        {
            assert_eq!(arguments.remove(1), "--load-spark-defaults");
        }
        // `assert_variables_lead_to_mounts` judges the entries that are replaced.
        was["env"] = is["env"].clone();
        for field in ["env", "volumeMounts", "args"] {
            drop_null(was, field);
            drop_null(is, field);
        }
    }
    assert!(changed <= 1, "one container at most is changed");
    for spec in [&mut expected["spec"], &mut rest["spec"]] {
        drop_null(spec, "volumes");
        drop_null(spec, "containers");
    }
    assert_eq!(rest, expected, "only additions");
}

/// The variables that the webhook sets whatever the pod says.
const VARIABLES: [&str; 4] = [
    "SPARK_CONF_DIR",
    "HADOOP_CONF_DIR",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "HADOOP_TOKEN_FILE_LOCATION",
];

/// Each variable that is new or replaced keeps its name, is one that a request sets, and holds the
/// path of a mount of its container, or of a file in that mount.
fn assert_variables_lead_to_mounts(review: &Value, settings: &Settings, after: &Value) {
    let before = &review["request"]["object"];
    let annotations = before["metadata"]["annotations"].to_string();
    let containers =
        |pod: &Value| pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    for (was, is) in containers(before).iter().zip(containers(after)) {
        let [old, new] =
            [was, &is].map(|container| container["env"].as_array().cloned().unwrap_or_default());
        let mounts = is["volumeMounts"].as_array().cloned().unwrap_or_default();
        let paths: Vec<String> =
            mounts.iter().map(|mount| cleaned(mount["mountPath"].as_str().unwrap())).collect();
        for (index, entry) in new.iter().enumerate() {
            if old.get(index) == Some(entry) {
                continue;
            }
            assert!(
                old.get(index).is_none_or(|old| old["name"] == entry["name"]),
                "{entry} has another name"
            );
            let (name, value) = (entry["name"].as_str().unwrap(), entry["value"].as_str().unwrap());
            assert_eq!(entry, &json!({"name": name, "value": value}));
            let is_requested = VARIABLES.contains(&name)
                || !settings.rules.is_empty()
                || annotations.contains(&format!("env={name}"));
            assert!(is_requested, "no request sets {name}");
            let directory = value.rsplit_once('/').map_or("", |(directory, _)| directory);
            assert!(
                paths.iter().any(|path| path == value || path == directory),
                "{entry} leads to no mount of {paths:?}"
            );
        }
    }
}

/// A path as the kubelet sees it.
fn cleaned(path: &str) -> String {
    let mut elements = Vec::new();
    for element in path.split('/') {
        match element {
            "" | "." => {}
            ".." => drop(elements.pop()),
            element => elements.push(element),
        }
    }
    format!("/{}", elements.join("/"))
}

/// Cuts an array to the length that it had, and takes it away where there was none.
fn truncate(after: &mut Value, before: &Value, field: &str) {
    match before.get(field).and_then(Value::as_array) {
        Some(array) => after[field].as_array_mut().unwrap().truncate(array.len()),
        None => {
            if let Some(object) = after.as_object_mut() {
                object.remove(field);
            }
        }
    }
}

fn drop_null(object: &mut Value, field: &str) {
    if object[field].is_null()
        && let Some(object) = object.as_object_mut()
    {
        object.remove(field);
    }
}

/// Volumes have unique names, ours are DNS-1123 labels, mounts name a volume, and no path is
/// mounted twice by our doing.
fn assert_valid_names(before: &Value, after: &Value) {
    let names = |pod: &Value| -> Vec<String> {
        let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        volumes.iter().map(|volume| volume["name"].as_str().unwrap().to_owned()).collect()
    };
    let (old, new) = (names(before), names(after));
    for (index, name) in new.iter().enumerate().skip(old.len()) {
        assert!(!new[..index].contains(name), "volume {name} is there twice");
        let is_label = name.len() <= 63
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        assert!(is_label, "{name} is no DNS-1123 label");
    }
    let containers =
        |pod: &Value| pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    for (was, is) in containers(before).iter().zip(containers(after)) {
        let was_mounted = was["volumeMounts"].as_array().map_or(0, Vec::len);
        let mounts = is["volumeMounts"].as_array().cloned().unwrap_or_default();
        let mut paths = HashSet::new();
        for (index, mount) in mounts.iter().enumerate() {
            let path = mount["mountPath"].as_str().unwrap();
            let is_new = paths.insert(cleaned(path));
            if index >= was_mounted {
                assert!(is_new, "{path} is mounted twice");
                assert_eq!(mount["readOnly"], true);
                assert!(
                    new[old.len()..].iter().any(|name| mount["name"] == **name),
                    "{mount} names no volume of ours"
                );
            }
        }
    }
}
