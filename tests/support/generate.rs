//! Pods that nobody would write by hand, and rules for them. Few names and paths, so that they meet.
#![allow(dead_code, reason = "each user has a part of it")]

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};
use spark_webhook::admission::review;
use spark_webhook::rules::Rules;

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
        ][..],
    )
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
    let prefix = select(&["spark-operator.k8s.io/", "spark-operator.k8s.io/", "sparkoperator.k8s.io/", "example.com/"][..]);
    let entry = (name(), path(), options()).prop_map(|(name, path, options)| format!("{name}={path}{options}"));
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
        &["app-volume", "spark-config-map-volume", "conf-volume", "v", "gcp-service-account-secret-volume", "x-1-volume"][..],
    );
    let source = (name(), select(&["configMap", "secret", "emptyDir", "projected", "image", "nfs"][..]), 0..6_u8).prop_map(
        |(name, kind, form)| {
            let mut source = match kind {
                "configMap" => json!({"name": name}),
                "secret" => json!({"secretName": name}),
                "projected" => json!({"sources": [{"configMap": {"name": "base"}}, {"configMap": {"name": name}}]}),
                _ => json!({}),
            };
            match (kind, form) {
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
        },
    );
    (names, source).prop_map(|(name, mut volume)| {
        volume["name"] = json!(name);
        volume
    })
}

fn mount() -> impl Strategy<Value = Value> {
    let names = select(&["app-volume", "spark-config-map-volume", "conf-volume", "v"][..]);
    (names, path(), any::<Option<bool>>(), select(&[None, Some("k"), Some("")][..])).prop_map(
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
        &["SPARK_CONF_DIR", "HADOOP_CONF_DIR", "GOOGLE_APPLICATION_CREDENTIALS", "OTHER", "SPARK_DRIVER_BIND_ADDRESS"][..],
    );
    (
        names,
        prop_oneof![
            path().prop_map(|path| json!({"value": path})),
            Just(json!({"valueFrom": {"fieldRef": {"fieldPath": "x"}}})),
            Just(json!({}))
        ],
    )
        .prop_map(|(name, mut env)| {
            env["name"] = json!(name);
            env
        })
}

fn optional_array(element: impl Strategy<Value = Value>, most: usize) -> impl Strategy<Value = Option<Vec<Value>>> {
    proptest::option::weighted(0.8, proptest::collection::vec(element, 0..=most))
}

fn container() -> impl Strategy<Value = Value> {
    let names = select(&["spark-kubernetes-driver", "spark", "executor", "sidecar", "spark-kubernetes-executor"][..]);
    let args = subsequence(vec!["driver", "--load-spark-defaults", "executor", "--x"], 0..=4);
    (names, args, optional_array(env(), 6), optional_array(mount(), 5)).prop_map(|(name, args, env, mounts)| {
        let mut container = json!({"name": name, "args": args, "resources": {"limits": {"cpu": "1"}}});
        if let Some(env) = env {
            container["env"] = json!(env);
        }
        if let Some(mounts) = mounts {
            container["volumeMounts"] = json!(mounts);
        }
        container
    })
}

/// An AdmissionReview of a pod.
pub fn review() -> impl Strategy<Value = Value> {
    let role = select(&["driver", "driver", "executor", "worker"][..]);
    let containers = proptest::option::weighted(0.98, proptest::collection::vec(container(), 0..=3));
    let version = select(&["3.5.9", "4.0.0", "4.1.2", "x", "10"][..]);
    (role, version, proptest::collection::vec(annotation(), 0..12), containers, optional_array(volume(), 6)).prop_map(|(role, version, annotations, containers, volumes)| {
        let annotations: serde_json::Map<String, Value> = annotations.into_iter().map(|(key, value)| (key, json!(value))).collect();
        // Volumes of one name do not pass the API server.
        let volumes = volumes.map(|mut volumes| {
            let mut seen = Vec::new();
            volumes.retain(|volume| !seen.contains(&volume["name"]) && { seen.push(volume["name"].clone()); true });
            volumes
        });
            // The API server refuses a mount without its volume. Ours could become that volume, and change what the mount means.
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

/// A generated pod with what the generator leaves out because nothing of ours looks at it; none where that does not help.
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
        for (kind, source) in [("image", json!({"reference": "i"})), ("nfs", json!({"server": "s", "path": "/p"}))] {
            if volume.get(kind).is_some() {
                volume[kind] = source;
            }
        }
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
    let rule = (proptest::collection::vec(annotation(), 1..4), any::<bool>(), any::<bool>()).prop_map(
        |(annotations, required, enforce)| {
            let annotations: serde_json::Map<String, Value> =
                annotations.into_iter().map(|(key, value)| (key, json!(value))).collect();
            json!({"annotations": annotations, "required": required, "enforce": enforce})
        },
    );
    let is_taken =
        |rule: &Value| Rules::parse(&json!({"apiVersion": "spark-webhook/v1", "defaults": [rule]}).to_string()).is_ok();
    let allow = select(vec![
        Value::Null,
        Value::Null,
        json!([{"configMaps": ["*"]}]),
        json!([{"secrets": ["a*", "!app"], "configMaps": ["conf"]}]),
    ]);
    (proptest::collection::vec(rule, 1..12), allow).prop_map(move |(mut rules, allow)| {
        // Most generated annotations would be refused in a file; those that would are left out.
        rules.retain(is_taken);
        let mut file = json!({"apiVersion": "spark-webhook/v1", "defaults": rules});
        if !allow.is_null() {
            file["allow"] = allow;
        }
        Rules::parse(&file.to_string()).unwrap()
    })
}

/// 10,000 cases of each property, unless `PROPTEST_CASES` says otherwise.
pub fn config() -> ProptestConfig {
    // `PROPTEST_CASES` still decides where it is set.
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { 10_000 };
    ProptestConfig { cases, failure_persistence: None, ..default }
}
