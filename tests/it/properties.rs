//! What must hold for every pod, tried on pods that nobody would write by hand.
//!
//! `PROPTEST_CASES=1000000 cargo test --release --test it properties::` runs longer.

use proptest::prelude::*;
use serde_json::{Value, json};
use spark_webhook::admission::{OnProblem, Outcome, Settings, review};
use testkit::generate::{config, review, rules};
use testkit::soundness::{answer, assert_sound};

fn deny() -> Settings {
    Settings { on_problem: OnProblem::Deny, ..Settings::default() }
}

proptest! {
    #![proptest_config(config())]

    /// The patch applies, adds and replaces only what the contract allows, gives valid names, and a
    /// second round after the API server's defaulting finds nothing to do and says the same.
    #[test]
    fn every_answer_is_sound(review in review()) {
        assert_sound(&review, &Settings::default(), &answer(&review, &Settings::default()));
    }

    /// The same with an administrator's rules.
    #[test]
    fn every_answer_is_sound_under_rules(review in review(), rules in rules()) {
        let settings = Settings { rules, ..Settings::default() };
        assert_sound(&review, &settings, &answer(&review, &settings));
    }

    /// Every ConfigMap or Secret that is asked for rightly is mounted, or the annotation that asks
    /// is named by a problem.
    #[test]
    fn every_request_is_satisfied_or_named(review in review()) {
        let answer = answer(&review, &Settings::default());
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
        // One problem speaks for all requests where Spark's container is unknown, or where there
        // are too many requests.
        let speaks_for_all = ["container", "sparkoperator.k8s.io/container", "…/container", "spark-operator.k8s.io/"];
        let all_fail = answer.problems.iter().any(|problem| {
            speaks_for_all.iter().filter_map(|key| problem.strip_prefix(key)).any(|rest| rest.starts_with([':', '=', '…']))
        });
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
            // A problem begins with the annotation, or with as much of it as there is room for: 22
            // characters at least. Of two spellings with one value the first is named.
            let spellings = [("configmap.", "configMap."), ("gcp-service-account.", "GCPServiceAccount."), ("spark-configmap", "sparkConfigMap"), ("hadoop-configmap", "hadoopConfigMap")];
            let first = spellings.iter().find_map(|(second, first)| key.strip_prefix(second).map(|rest| format!("{first}{rest}")));
            let is_named = [key.to_owned(), first.unwrap_or_default()].iter().filter(|key| !key.is_empty()).any(|key| {
                let shown: String = key.chars().take(22).collect();
                answer.problems.iter().any(|problem| problem.starts_with(&shown))
            });
            prop_assert!(
                value.is_empty() || satisfied || is_named || all_fail,
                "{key}={value}: {:?}", answer.problems
            );
        }
    }

    /// The order in which annotations are written decides nothing.
    #[test]
    fn the_order_of_annotations_does_not_matter(review in review()) {
        let mut reversed = review.clone();
        let annotations = review["request"]["object"]["metadata"]["annotations"].as_object().unwrap().clone();
        reversed["request"]["object"]["metadata"]["annotations"] = annotations.into_iter().rev().collect::<serde_json::Map<_, _>>().into();
        let (one, other) = (answer(&review, &Settings::default()), answer(&reversed, &Settings::default()));
        prop_assert_eq!(one.patch, other.patch);
        prop_assert_eq!(one.warnings, other.warnings);
    }

    /// Whatever the bytes are, there is an answer or an error.
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..3000_usize, at in 0..3000_usize, byte in any::<u8>()) {
        let _ = spark_webhook::admission::admit(&body, &deny());
        let mut review = std::fs::read("tests/golden/odd-values.spark-4.1.driver.json").unwrap();
        let at = at % review.len();
        review[at] = byte;
        let _ = spark_webhook::admission::admit(&review, &deny());
        review.truncate(cut);
        let _ = spark_webhook::admission::admit(&review, &deny());
    }
}

/// The API server asks before it validates: a pod may have thousands of volumes and mounts, and
/// requests that look at each.
#[test]
fn thousands_of_volumes_mounts_and_requests_are_answered_all_the_same() {
    let annotations: serde_json::Map<String, Value> = (0..256)
        .map(|i| (format!("spark-operator.k8s.io/configMap.x{i}"), json!(format!("/a/b{i}"))))
        .collect();
    let volumes: Vec<Value> =
        (0..4_096).map(|i| json!({"name": format!("x{i}-volume"), "emptyDir": {}})).collect();
    let mounts: Vec<Value> =
        (0..4_096).map(|_| json!({"name": "none", "mountPath": "/a"})).collect();
    let pod = json!({
        "kind": "Pod",
        "metadata": {"labels": {"spark-role": "driver"}, "annotations": annotations},
        "spec": {"volumes": volumes, "containers": [{"name": "spark", "volumeMounts": mounts}]},
    });
    let review = review::of(&pod, "default");
    let started = std::time::Instant::now();
    let answer = answer(&review, &Settings::default());
    assert_eq!(answer.patch.len(), 2 * 256 + 1);
    // A quadratic search took minutes for this; the bound is wide because debug builds and busy
    // machines are slow.
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
}
