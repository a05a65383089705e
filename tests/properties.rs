//! What must hold for every pod, tried on pods that nobody would write by hand.
//!
//! `PROPTEST_CASES=1000000 cargo test --release --test properties` runs longer.

#[path = "support/soundness.rs"]
mod soundness;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};
use soundness::{answer, assert_sound};
use spark_webhook::admission::{OnProblem, Outcome, Policy};
use spark_webhook::rules::Rules;

/// Few names and paths, so that they meet.
fn deny() -> Policy {
    Policy { on_problem: OnProblem::Deny, ..Policy::default() }
}

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

fn review() -> impl Strategy<Value = Value> {
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
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "b0f7a5b8-0000-4000-8000-000000000000",
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "operation": "CREATE",
                "namespace": "default",
                "object": {
                    "apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": "p", "labels": {"spark-role": role, "spark-version": version}, "annotations": annotations, "unknownField": [1, 2]},
                    "spec": spec,
                },
            },
        })
    })
}

fn rules() -> impl Strategy<Value = Rules> {
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

fn config() -> ProptestConfig {
    // `PROPTEST_CASES` still decides where it is set.
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { 10_000 };
    ProptestConfig { cases, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    /// The patch applies, adds and replaces only what the contract allows, gives valid names, and a second round after the API
    /// server's defaulting finds nothing to do and says the same.
    #[test]
    fn every_answer_is_sound(review in review()) {
        assert_sound(&review, &Policy::default(), &answer(&review, &Policy::default()));
    }

    /// The same with an administrator's rules.
    #[test]
    fn every_answer_is_sound_under_rules(review in review(), rules in rules()) {
        let policy = Policy { rules, ..Policy::default() };
        assert_sound(&review, &policy, &answer(&review, &policy));
    }

    /// Every ConfigMap or Secret that is asked for rightly is mounted, or the annotation that asks is named by a problem.
    #[test]
    fn every_request_is_satisfied_or_named(review in review()) {
        let answer = answer(&review, &Policy::default());
        if matches!(answer.outcome, Outcome::Ignored(_)) {
            return Ok(());
        }
        let pod = &answer.pod;
        let is_mounted = |source: &str, field: &str, name: &str| {
            pod["spec"]["volumes"].as_array().into_iter().flatten().filter(|volume| volume[source][field] == name).any(|volume| {
                pod["spec"]["containers"].as_array().into_iter().flatten()
                    .flat_map(|container| container["volumeMounts"].as_array().into_iter().flatten())
                    .any(|mount| mount["name"] == volume["name"])
            })
        };
        let is_projected = |name: &str| {
            pod["spec"]["volumes"].as_array().into_iter().flatten().any(|volume| {
                volume["projected"]["sources"].as_array().and_then(|sources| sources.last()).is_some_and(|last| last["configMap"]["name"] == name)
            })
        };
        let annotations = review["request"]["object"]["metadata"]["annotations"].as_object().unwrap();
        let container_problem = answer.warnings.iter().any(|warning| warning.contains(" container"));
        for (key, value) in annotations {
            let Some(key) = key.strip_prefix("spark-operator.k8s.io/") else { continue };
            let value = value.as_str().unwrap().trim_matches([' ', '\t', '\r', '\n']);
            let name_in_value = value.split(':').next().unwrap_or_default().trim();
            let satisfied = match key.split_once('.') {
                Some(("configMap" | "configmap", name)) => is_mounted("configMap", "name", name),
                Some(("secret" | "GCPServiceAccount" | "gcp-service-account" | "hadoopDelegationToken", name)) => is_mounted("secret", "secretName", name),
                None if ["sparkConfigMap", "spark-configmap", "hadoopConfigMap", "hadoop-configmap"].contains(&key) => is_mounted("configMap", "name", name_in_value) || is_projected(name_in_value),
                _ => continue,
            };
            // A problem begins with the annotation, or with as much of it as there is room for: 22 characters at least. Of two
            // spellings with one value the first is named.
            let spellings = [("configmap.", "configMap."), ("gcp-service-account.", "GCPServiceAccount."), ("spark-configmap", "sparkConfigMap"), ("hadoop-configmap", "hadoopConfigMap")];
            let first = spellings.iter().find_map(|(second, first)| key.strip_prefix(second).map(|rest| format!("{first}{rest}")));
            let is_named = [key.to_owned(), first.unwrap_or_default()].iter().filter(|key| !key.is_empty()).any(|key| {
                let shown: String = key.chars().take(22).collect();
                answer.warnings.iter().any(|warning| warning.starts_with(&shown))
            });
            prop_assert!(
                value.is_empty() || satisfied || is_named || container_problem || answer.warnings.len() == 20,
                "{key}={value}: {:?}", answer.warnings
            );
        }
    }

    /// The order in which annotations are written decides nothing.
    #[test]
    fn the_order_of_annotations_does_not_matter(review in review()) {
        let mut reversed = review.clone();
        let annotations = review["request"]["object"]["metadata"]["annotations"].as_object().unwrap().clone();
        reversed["request"]["object"]["metadata"]["annotations"] = annotations.into_iter().rev().collect::<serde_json::Map<_, _>>().into();
        let (one, other) = (answer(&review, &Policy::default()), answer(&reversed, &Policy::default()));
        prop_assert_eq!(one.patch, other.patch);
        prop_assert_eq!(one.warnings, other.warnings);
    }

    /// Whatever the bytes are, there is an answer or an error.
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..3000_usize, at in 0..3000_usize, byte in any::<u8>()) {
        let _ = spark_webhook::admission::admit(&body, &deny());
        let mut review = std::fs::read("tests/golden/ctr4-41-driver.json").unwrap();
        let at = at % review.len();
        review[at] = byte;
        let _ = spark_webhook::admission::admit(&review, &deny());
        review.truncate(cut);
        let _ = spark_webhook::admission::admit(&review, &deny());
    }
}

/// The API server asks before it validates: a pod may have thousands of volumes and mounts, and requests that look at each.
#[test]
fn thousands_of_volumes_mounts_and_requests_are_answered_all_the_same() {
    let annotations: serde_json::Map<String, Value> =
        (0..256).map(|i| (format!("spark-operator.k8s.io/configMap.x{i}"), json!(format!("/a/b{i}")))).collect();
    let volumes: Vec<Value> = (0..10_000).map(|i| json!({"name": format!("x{i}-volume"), "emptyDir": {}})).collect();
    let mounts: Vec<Value> = (0..10_000).map(|_| json!({"name": "none", "mountPath": "/a"})).collect();
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u",
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "object": {
                "kind": "Pod",
                "metadata": {"labels": {"spark-role": "driver"}, "annotations": annotations},
                "spec": {"volumes": volumes, "containers": [{"name": "spark", "volumeMounts": mounts}]},
            },
        },
    });
    let started = std::time::Instant::now();
    let answer = answer(&review, &Policy::default());
    assert_eq!(answer.patch.len(), 2 * 256 + 1);
    // A quadratic search took minutes for this; the bound is wide because debug builds and busy machines are slow.
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
}
