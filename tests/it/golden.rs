//! Real AdmissionReviews, and what the webhook answers. `tests/golden/INDEX.md` says where each
//! comes from.
//!
//! A change here is a change of the product: look at it, then accept it with `INSTA_UPDATE=always
//! cargo test --test it golden::`.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write;
use std::fs;

use serde_json::{Value, json};
use spark_webhook::admission::{OnProblem, Outcome, Settings};
use testkit::golden::cases;
use testkit::sidecars;
use testkit::soundness::{INJECTED, answer, assert_sound, defaulted};

fn deny() -> Settings {
    Settings { on_problem: OnProblem::Deny, ..Settings::default() }
}

#[test]
fn every_review_is_answered_as_its_golden_file_says() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"spark-webhook/\d+\.\d+\.\d+", "spark-webhook/[VERSION]");
    let cases = cases();
    assert!(cases.len() >= 66, "the reviews are there");
    settings.bind(|| {
        for case in cases {
            let review = case.review();
            let answer = answer(&review, &Settings::default());
            assert_sound(&review, &Settings::default(), &answer);
            let mut shown = format!("{:?}\n", answer.outcome);
            for warning in &answer.warnings {
                writeln!(shown, "warning: {warning}").unwrap();
            }
            for operation in &answer.patch {
                writeln!(shown, "{operation}").unwrap();
            }
            insta::assert_snapshot!(case.name, shown);
        }
    });
}

/// Longer annotation values of the submitter are shown by their length alone.
const LONGEST_SHOWN: usize = 1000;

/// The changed pod for a reader: without managed fields, which say nothing about it.
fn shown(mut pod: Value) -> String {
    let metadata = &mut pod["metadata"];
    metadata.as_object_mut().unwrap().remove("managedFields");
    for (key, value) in metadata["annotations"].as_object_mut().unwrap() {
        let length = value.as_str().unwrap().chars().count();
        if length > LONGEST_SHOWN && key != INJECTED {
            *value = json!(format!("[{length} characters]"));
        }
    }
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let yaml = serde_saphyr::to_string_with_options(&pod, options).unwrap();
    yaml.replace(concat!("spark-webhook/", env!("CARGO_PKG_VERSION")), "spark-webhook/[VERSION]")
}

#[test]
fn every_changed_pod_is_the_one_in_its_yaml_file() {
    let is_update = env::var("INSTA_UPDATE").is_ok_and(|update| update == "always");
    for case in cases() {
        let answer = answer(&case.review(), &Settings::default());
        let file = format!("tests/golden/{}.pod.yaml", case.name);
        if answer.patch.is_empty() {
            assert!(!fs::exists(&file).unwrap(), "{file}: the review gets no patch");
            continue;
        }
        let pod = shown(answer.pod);
        if is_update {
            fs::write(&file, &pod).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            pod == expected,
            "{file} is not the changed pod:\n{}",
            similar::TextDiff::from_lines(&expected, &pod).unified_diff()
        );
    }
}

#[test]
fn what_is_not_ours_is_not_changed() {
    let mut untouched = 0;
    for case in cases() {
        let (name, review) = (&case.name, case.review());
        for settings in [Settings::default(), deny()] {
            let answer = answer(&review, &settings);
            let is_ignored = matches!(answer.outcome, Outcome::Ignored(_));
            assert_eq!(is_ignored, !case.is_ours, "{name}");
            assert!(!is_ignored || answer.patch.is_empty() && answer.warnings.is_empty(), "{name}");
        }
        untouched += usize::from(!case.is_ours);
    }
    assert!(untouched >= 13, "{untouched}");
}

#[test]
fn every_spark_made_pod_has_its_mounts_in_the_container_that_spark_runs_in() {
    let mut checked = 0;
    for case in cases() {
        let (name, review) = (&case.name, case.review());
        if review["request"]["object"]["metadata"]["annotations"]["spark-operator.k8s.io/sparkConfigMap"].is_null() {
            continue;
        }
        let answer = answer(&review, &Settings::default());
        let mark =
            if case.role == "driver" { "SPARK_DRIVER_BIND_ADDRESS" } else { "SPARK_EXECUTOR_ID" };
        for container in answer.pod["spec"]["containers"].as_array().into_iter().flatten() {
            let is_sparks =
                container["env"].as_array().into_iter().flatten().any(|env| env["name"] == mark);
            let ours = container["volumeMounts"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|mount| {
                    mount["mountPath"] == "/etc/spark/conf" && mount["readOnly"] == true
                })
                .count();
            if is_sparks && answer.outcome == Outcome::Mutated && answer.warnings.is_empty() {
                assert_eq!(ours, 1, "{name}");
                checked += 1;
            }
        }
    }
    assert!(checked >= 30, "{checked}");
}

#[test]
fn sidecars_that_came_before_change_nothing_but_the_place_of_sparks_container() {
    let mut changed = 0;
    for case in cases() {
        let (name, review) = (&case.name, case.review());
        if !review["request"]["object"]["metadata"]["labels"]["spark-app-selector"].is_string() {
            continue;
        }
        let with_sidecars =
            serde_json::from_slice(&sidecars::with_sidecars(review.to_string().as_bytes()))
                .unwrap();
        let [mut without, with] =
            [&review, &with_sidecars].map(|review| answer(review, &Settings::default()));
        assert_sound(&with_sidecars, &Settings::default(), &with);
        for operation in &mut without.patch {
            let path = operation["path"].as_str().unwrap();
            if let Some((index, field)) =
                path.strip_prefix("/spec/containers/").and_then(|rest| rest.split_once('/'))
            {
                operation["path"] = json!(format!(
                    "/spec/containers/{}/{field}",
                    index.parse::<usize>().unwrap() + 4
                ));
            }
        }
        assert_eq!((&with.patch, &with.warnings), (&without.patch, &without.warnings), "{name}");
        changed += usize::from(!with.patch.is_empty());
    }
    assert!(changed > 45, "{changed}");
}

#[test]
fn with_deny_a_driver_with_errors_is_refused_and_an_executor_never() {
    let mut refused = 0;
    for case in cases() {
        let (name, review) = (&case.name, case.review());
        let warned = answer(&review, &Settings::default());
        let denied = answer(&review, &deny());
        if denied.outcome == Outcome::Refused {
            assert!(
                review["request"]["object"]["metadata"]["labels"]["spark-role"] == "driver",
                "{name}"
            );
            assert!(!warned.warnings.is_empty() && denied.patch.is_empty(), "{name}");
            refused += 1;
        } else {
            assert_eq!(denied.patch, warned.patch, "{name}");
        }
    }
    assert!(refused >= 4, "{refused}");
}

/// The API server calls again when a later webhook has changed the pod: what others added in
/// between stays, and nothing of ours is added twice.
#[test]
fn a_second_round_after_another_webhook_changes_nothing() {
    for case in cases() {
        let (name, mut review) = (&case.name, case.review());
        let first = answer(&review, &Settings::default());
        if first.patch.is_empty() {
            continue;
        }
        let mut pod = defaulted(first.pod);
        let containers = pod["spec"]["containers"].as_array_mut().unwrap();
        let sidecar =
            json!({"name": "late-sidecar", "image": "x", "env": [{"name": "X", "value": "x"}]});
        containers.insert(0, sidecar);
        for container in containers {
            let mut env = container["env"].as_array().cloned().unwrap_or_default();
            env.push(json!({"name": "LATE", "value": "1"}));
            container["env"] = json!(env);
        }
        let volume = json!({"name": "late", "emptyDir": {}});
        match pod["spec"]["volumes"].as_array_mut() {
            Some(volumes) => volumes.insert(0, volume),
            None => pod["spec"]["volumes"] = json!([volume]),
        }
        // Pods that Spark did not make are recognised by the only container they have; with a
        // second one that is over.
        review["request"]["object"] = pod;
        let second = answer(&review, &Settings::default());
        if !case.spark.is_empty() {
            assert_eq!(second.patch, [Value::Null; 0], "{name}");
        }
        assert_eq!(second.warnings, first.warnings, "{name}");
    }
}

/// The snapshots of the registration, which belong to no review.
const REGISTRATIONS: [&str; 2] = ["registration-with-rules.snap", "registration.snap"];

/// A missing snapshot or YAML file fails the test that compares it.
#[test]
fn each_file_has_a_row_in_the_index_and_each_row_a_review() {
    let rows: Vec<String> = cases().into_iter().map(|case| case.name).collect();
    assert!(rows.is_sorted_by(|a, b| a < b), "the rows are sorted, and a case has one");
    let entries = fs::read_dir("tests/golden").unwrap().map(|entry| entry.unwrap());
    let names = entries
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().into_string().unwrap());
    // After a failed comparison, insta leaves `.snap.new` files for a look; git ignores them.
    let names = names.filter(|name| name != "INDEX.md" && !name.ends_with(".snap.new"));
    let files: BTreeSet<String> =
        names.filter(|name| !REGISTRATIONS.contains(&name.as_str())).collect();
    let with_row: BTreeSet<String> = rows
        .iter()
        .flat_map(|row| ["json", "snap", "pod.yaml"].map(|ending| format!("{row}.{ending}")))
        .collect();
    assert_eq!(files.difference(&with_row).collect::<Vec<_>>(), [""; 0], "files without a row");
    for row in rows {
        assert!(files.contains(&format!("{row}.json")), "{row} has no review");
    }
}

#[test]
fn each_pod_template_has_a_row_in_the_index() {
    let index = fs::read_to_string("tests/golden/INDEX.md").unwrap();
    let rows = index.lines().filter_map(|line| line.strip_prefix("| templates/"));
    let listed: Vec<&str> = rows.filter_map(|row| Some(row.split_once(" |")?.0)).collect();
    let entries = fs::read_dir("tests/golden/templates").unwrap();
    let files = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(listed, files.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
}

#[test]
fn the_index_agrees_with_the_reviews() {
    for case in cases() {
        let name = &case.name;
        let labels = &case.object()["metadata"]["labels"];
        assert_eq!(labels["spark-role"].as_str().unwrap_or_default(), case.role, "{name}");
        let is_sparks = labels["spark-app-selector"].is_string();
        assert_eq!(is_sparks, !case.spark.is_empty(), "{name}: Spark sets spark-app-selector");
        // Spark 2.4 sets no version.
        if let Some(version) = labels["spark-version"].as_str() {
            assert_eq!(version, case.spark, "{name}");
        }
    }
}
