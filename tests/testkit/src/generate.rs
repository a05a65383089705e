//! Pods that nobody would write by hand, and rules for them. Few names and paths, so that they
//! meet.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};
use spark_webhook::admission::review;
use spark_webhook::config::Rules;
use spark_webhook::internals::load_rules;

fn name() -> impl Strategy<Value = &'static str> {
    select(
        &[
            "app",
            "a.b",
            "conf",
            "spark-conf",
            "x-1",
            "Bad_Name",
            "",
            "more.dotted.name.that.is.longer.than.a.label.may.be.so.it.is.cut",
        ][..],
    )
}

fn path() -> impl Strategy<Value = &'static str> {
    select(
        &[
            "/etc/app",
            "/etc/app/",
            "/etc/app/below",
            "//etc//app",
            "/etc/spark/conf",
            "/etc/hadoop/conf",
            "/opt/spark/conf",
            "/mnt",
            "/mnt/a b",
            "/mnt/$(X)",
            "relative",
            "/",
            "/etc",
            "/proc/x",
            "/a/../b",
            "/a:b",
            "/\u{1}",
            "",
            " /etc/app ",
            "/etc/grüße",
            "/mnt/$$x",
            "\"/etc/app\"",
            "/etc/app\\",
            "/etc/\u{200b}app",
            "C:\\app",
            "/run/secrets",
            "/run/secrets/app",
            "/var/run/secrets/app",
        ][..],
    )
}

/// Paths of the pod's own mounts, in the spellings that the API server takes.
fn mount_path() -> impl Strategy<Value = &'static str> {
    let spelled = select(
        &[
            "etc/app",
            "./etc/app",
            "/etc/./app",
            "/etc/x/../app/",
            "/../etc/app",
            "etc/spark/conf",
            "/opt/spark/./conf",
            "/etc/app/below/deep",
            "/var/run/secrets/kubernetes.io/serviceaccount",
            "/var/run/secrets",
            "run/secrets/app",
            "/run",
        ][..],
    );
    prop_oneof![3 => path(), 2 => spelled]
}

fn options() -> impl Strategy<Value = String> {
    let option = select(
        &[
            ":optional",
            ":mode=0440",
            ":mode=644",
            ":mode=9",
            ":file=k",
            ":file=core-site.xml",
            ":env=VAR",
            ":env=SPARK_CONF_DIR",
            ":env=HADOOP_CONF_DIR",
            ":key=k",
            ":path=/etc/app",
            ":path=/opt/spark/conf",
            ":path=/opt/mine",
            ":merge",
            ":defaults",
            ":typo",
            ":",
            " :optional",
            ": optional",
        ][..],
    );
    prop_oneof![2 => Just(String::new()), 3 => proptest::collection::vec(option, 1..4).prop_map(|options| options.concat())]
}

fn annotation() -> impl Strategy<Value = (String, String)> {
    let prefix = select(
        &[
            "spark-operator.k8s.io/",
            "spark-operator.k8s.io/",
            "sparkoperator.k8s.io/",
            "example.com/",
        ][..],
    );
    let entry = (name(), path(), options())
        .prop_map(|(name, path, options)| format!("{name}={path}{options}"));
    let request = prop_oneof![
        4 => (select(&["sparkConfigMap", "spark-configmap", "hadoopConfigMap", "hadoop-configmap", "container"][..]), name(), options())
            .prop_map(|(key, name, options)| (key.to_owned(), format!("{name}{options}"))),
        8 => (
            select(&["configMap.", "configmap.", "secret.", "GCPServiceAccount.", "gcp-service-account.", "hadoopDelegationToken."][..]),
            name(), path(), options(),
        )
            .prop_map(|(key, name, path, options)| (format!("{key}{name}"), format!("{path}{options}"))),
        3 => (select(&["configMaps", "configmaps", "secrets"][..]), proptest::collection::vec(entry, 0..5))
            .prop_map(|(key, entries)| (key.to_owned(), entries.join(","))),
        1 => (select(&["injected", "volumes.x", "affinity", "typo", "injected "][..]), "\\PC{0,20}").prop_map(|(key, value)| (key.to_owned(), value)),
        1 => (".{0,20}", ".{0,200}"),
    ];
    (prefix, request).prop_map(|(prefix, (key, value))| (format!("{prefix}{key}"), value))
}

fn volume() -> impl Strategy<Value = Value> {
    let names = select(
        &[
            "app-volume",
            "spark-config-map-volume",
            "conf-volume",
            "v",
            "gcp-service-account-secret-volume",
            "x-1-volume",
        ][..],
    );
    let kinds = [
        "configMap",
        "configMap",
        "secret",
        "secret",
        "emptyDir",
        "projected",
        "projected",
        "image",
        "nfs",
        "csi",
        "hostPath",
        "persistentVolumeClaim",
        "downwardAPI",
    ];
    let source = (name(), select(kinds.to_vec()), 0..6_u8).prop_map(|(name, kind, form)| {
        let mut source = match kind {
            "configMap" => json!({"name": name}),
            "secret" => json!({"secretName": name}),
            "projected" => json!({"sources": [{"configMap": {"name": "base"}}, {"configMap": {"name": name}}]}),
            "downwardAPI" => json!({"items": [{"path": "k/labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}),
            _ => json!({}),
        };
        match (kind, form) {
            ("projected", 1) => source["sources"][1]["configMap"]["items"] = json!([{"key": "k", "path": "k"}]),
            ("projected", 2) => source["sources"][1]["configMap"]["optional"] = json!(true),
            ("projected", 3) => source["sources"][1] = json!({"secret": {"name": name, "items": [{"key": "a", "path": "k/a"}]}}),
            ("projected", 4) => source["sources"][1]["configMap"]["items"] = json!([]),
            ("nfs" | "csi" | "persistentVolumeClaim", 0..3) => source["readOnly"] = json!(true),
            ("nfs" | "csi" | "persistentVolumeClaim", 3) => source["readOnly"] = json!(false),
            ("hostPath", 0) => source["type"] = json!("File"),
            ("hostPath", 1) => source["type"] = json!("Socket"),
            ("hostPath", 2) => source["type"] = json!("DirectoryOrCreate"),
            ("configMap" | "secret", 1) => source["optional"] = json!(true),
            ("configMap" | "secret", 2) => source["defaultMode"] = json!(256),
            ("configMap" | "secret", 3) => source["items"] = json!([{"key": "k", "path": "k"}]),
            ("configMap" | "secret", 5) => {
                source["items"] = json!([{"key": "k", "path": "k", "mode": 256}, {"key": "a", "path": "b/c"}]);
            }
            ("configMap" | "secret", 4) => source["defaultMode"] = json!(420),
            _ => {}
        }
        json!({kind: source})
    });
    (names, source).prop_map(|(name, mut volume)| {
        volume["name"] = json!(name);
        volume
    })
}

fn mount() -> impl Strategy<Value = Value> {
    let names = select(&["app-volume", "spark-config-map-volume", "conf-volume", "v"][..]);
    let sub_path = select(&[None, None, Some("k"), Some("b"), Some("b/c"), Some("")][..]);
    (names, mount_path(), any::<Option<bool>>(), sub_path).prop_map(
        |(name, path, read_only, sub_path)| {
            let mut mount = json!({"name": name, "mountPath": path});
            if let Some(read_only) = read_only {
                mount["readOnly"] = json!(read_only);
            }
            if let Some(sub_path) = sub_path {
                mount["subPath"] = json!(sub_path);
            }
            mount
        },
    )
}

fn env() -> impl Strategy<Value = Value> {
    let names = select(
        &[
            "SPARK_CONF_DIR",
            "HADOOP_CONF_DIR",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "VAR",
            "SPARK_DRIVER_BIND_ADDRESS",
        ][..],
    );
    (
        names,
        prop_oneof![
            mount_path().prop_map(|path| json!({"value": path})),
            Just(json!({"valueFrom": {"fieldRef": {"fieldPath": "x"}}})),
            Just(json!({}))
        ],
    )
        .prop_map(|(name, mut env)| {
            env["name"] = json!(name);
            env
        })
}

fn optional_array(
    element: impl Strategy<Value = Value>,
    most: usize,
) -> impl Strategy<Value = Option<Vec<Value>>> {
    proptest::option::weighted(0.8, proptest::collection::vec(element, 0..=most))
}

fn container() -> impl Strategy<Value = Value> {
    let names = select(
        &["spark-kubernetes-driver", "spark", "executor", "sidecar", "spark-kubernetes-executor"][..],
    );
    // The second one is the application's, where there is a primary resource before it.
    let args = vec![
        "driver",
        "--conf",
        "a=b",
        "--load-spark-defaults",
        "executor",
        "--x",
        "app.jar",
        "--load-spark-defaults",
    ];
    let args = subsequence(args, 0..=8);
    (names, args, optional_array(env(), 6), optional_array(mount(), 5)).prop_map(
        |(name, args, env, mounts)| {
            let mut container =
                json!({"name": name, "args": args, "resources": {"limits": {"cpu": "1"}}});
            if let Some(env) = env {
                container["env"] = json!(env);
            }
            if let Some(mounts) = mounts {
                container["volumeMounts"] = json!(mounts);
            }
            container
        },
    )
}

/// An AdmissionReview of a pod.
pub fn review() -> impl Strategy<Value = Value> {
    let role = select(&["driver", "driver", "executor", "worker"][..]);
    let containers =
        proptest::option::weighted(0.98, proptest::collection::vec(container(), 0..=3));
    let version = select(&["3.5.9", "4.0.0", "4.1.2", "x", "10"][..]);
    (role, version, proptest::collection::vec(annotation(), 0..12), containers, optional_array(volume(), 6)).prop_map(|(role, version, annotations, containers, volumes)| {
        let annotations: serde_json::Map<String, Value> = annotations.into_iter().map(|(key, value)| (key, json!(value))).collect();
        // Volumes of one name do not pass the API server.
        let volumes = volumes.map(|mut volumes| {
            let mut seen = Vec::new();
            volumes.retain(|volume| !seen.contains(&volume["name"]) && { seen.push(volume["name"].clone()); true });
            volumes
        });
            // The API server refuses a mount without its volume. Ours could become that volume, and
            // change what the mount means.
            let is_there = |mount: &Value| volumes.iter().flatten().any(|volume| volume["name"] == mount["name"]);
            let containers = containers.map(|mut containers| {
                for container in &mut containers {
                    if let Some(mounts) = container.get_mut("volumeMounts").and_then(Value::as_array_mut) {
                        mounts.retain(is_there);
                    }
                }
                containers
            });
        let mut spec = json!({"containers": containers, "initContainers": [{"name": "init", "volumeMounts": []}], "restartPolicy": "Never"});
        if let Some(volumes) = volumes {
            spec["volumes"] = json!(volumes);
        }
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "labels": {"spark-role": role, "spark-version": version}, "annotations": annotations, "unknownField": [1, 2]},
            "spec": spec,
        });
        review::of(&pod, "default")
    })
}

/// Fills in the required fields of a volume's source.
pub fn complete(volume: &mut Value) {
    for (kind, field, value) in [
        ("configMap", "name", "conf"),
        ("secret", "secretName", "conf"),
        ("nfs", "server", "nfs.example.com"),
        ("nfs", "path", "/"),
        ("csi", "driver", "csi.example.com"),
        ("hostPath", "path", "/x"),
        ("persistentVolumeClaim", "claimName", "claim"),
        ("image", "reference", "registry.example.com/files"),
    ] {
        if let Some(source) = volume.get_mut(kind)
            && source.get(field).is_none_or(|value| value == "")
        {
            source[field] = json!(value);
        }
    }
    for source in
        volume.pointer_mut("/projected/sources").and_then(Value::as_array_mut).into_iter().flatten()
    {
        for kind in ["configMap", "secret"] {
            if source.get(kind).is_some_and(|source| source["name"] == "") {
                source[kind]["name"] = json!("conf");
            }
        }
    }
}

/// A generated pod with what the generator leaves out because nothing of ours looks at it; none
/// where that does not help.
pub fn acceptable(mut pod: Value) -> Option<Value> {
    let is_qualified = |name: &str| {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric();
        let is_of_a_name = |byte: u8| is_word(byte) || b"-_.".contains(&byte);
        name.len() <= 63
            && name.bytes().all(is_of_a_name)
            && name.bytes().next().is_some_and(is_word)
            && name.bytes().last().is_some_and(is_word)
    };
    pod["metadata"].as_object_mut()?.remove("unknownField");
    pod["metadata"]["annotations"]
        .as_object_mut()?
        .retain(|key, _| key.split_once('/').is_some_and(|(_, name)| is_qualified(name)));
    let volumes = pod["spec"]["volumes"].as_array_mut();
    for volume in volumes.into_iter().flatten() {
        complete(volume);
    }
    let containers = pod["spec"]["containers"].as_array_mut()?;
    for (index, container) in containers.iter_mut().enumerate() {
        container["image"] = json!("i");
        // Names must differ; the first keeps what tells that it is Spark's.
        if index > 0 {
            container["name"] = json!(format!("c{index}"));
        }
        for env in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
            if env.get("valueFrom").is_some() {
                env["valueFrom"] = json!({"fieldRef": {"fieldPath": "metadata.name"}});
            }
        }
        let mut paths = Vec::new();
        if let Some(mounts) = container.get_mut("volumeMounts").and_then(Value::as_array_mut) {
            // No path twice, and none that is empty.
            mounts.retain(|mount| {
                mount["mountPath"] != "" && !paths.contains(&mount["mountPath"]) && {
                    paths.push(mount["mountPath"].clone());
                    true
                }
            });
        }
    }
    pod["spec"]["initContainers"][0]["image"] = json!("i");
    Some(pod)
}

/// Rules as a file of an administrator's may have them.
pub fn rules() -> impl Strategy<Value = Rules> {
    rules_file().prop_map(|file| load_rules(&file.to_string()).unwrap())
}

/// The file itself, which is accepted.
pub fn rules_file() -> impl Strategy<Value = Value> {
    let rule = (proptest::collection::vec(annotation(), 1..4), any::<bool>(), any::<bool>())
        .prop_map(|(annotations, required, enforce)| {
            let annotations: serde_json::Map<String, Value> =
                annotations.into_iter().map(|(key, value)| (key, json!(value))).collect();
            json!({"annotations": annotations, "required": required, "enforce": enforce})
        });
    let allow = select(vec![
        Value::Null,
        Value::Null,
        json!([{"configMaps": ["*"]}]),
        json!([{"secrets": ["a*", "!app"], "configMaps": ["conf"]}]),
    ]);
    (proptest::collection::vec(rule, 1..12), allow).prop_map(|(mut rules, allow)| {
        // Most generated annotations are rejected in a file; their rules are left out.
        while let Err(error) = load_rules(&a_rule_a_line(&rules)) {
            let (before, mut line) = (rules.len(), 1);
            rules.retain(|_| {
                line += 1;
                error.mistakes().iter().all(|mistake| mistake.line != line)
            });
            assert!(rules.len() < before, "{error}");
        }
        let mut file = json!({"apiVersion": "spark-webhook/v1", "defaults": rules});
        if !allow.is_null() {
            file["allow"] = allow;
        }
        file
    })
}

/// A file whose second line is the first rule.
fn a_rule_a_line(rules: &[Value]) -> String {
    let lines = rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(",\n");
    format!("{{\"apiVersion\": \"spark-webhook/v1\", \"defaults\": [\n{lines}\n]}}")
}

/// 10,000 cases of each property, unless `PROPTEST_CASES` says otherwise.
pub fn config() -> ProptestConfig {
    // `PROPTEST_CASES` still decides where it is set.
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { 10_000 };
    ProptestConfig { cases, failure_persistence: None, ..default }
}
