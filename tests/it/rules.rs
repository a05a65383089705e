//! The administrator's rules on real reviews: what a default adds, and where it is overridden.

use serde_json::json;
use spark_webhook::admission::{OnProblem, Outcome, Settings};
use spark_webhook::internals::load_rules;
use testkit::contract::{golden, recorded_mounts, rejects};
use testkit::golden::cases;
use testkit::soundness::{Answer, answer, assert_sound};

fn settings(on_problem: OnProblem, yaml: &str) -> Settings {
    Settings {
        on_problem,
        rules: load_rules(&format!("apiVersion: spark-webhook/v1\n{yaml}")).unwrap(),
    }
}

/// What a case is answered with these annotations as defaults.
fn with_default(case: &str, flags: &str, annotation: &str) -> Answer {
    let settings =
        settings(OnProblem::Warn, &format!("defaults: [{{{flags}annotations: {{{annotation}}}}}]"));
    let review = golden(case);
    let answer = answer(&review, &settings);
    assert_sound(&review, &settings, &answer);
    answer
}

#[test]
fn a_pod_that_asks_for_nothing_gets_the_default() {
    for case in [
        "no-annotations.spark-3.5.driver",
        "no-annotations.spark-3.5.executor",
        "no-annotations.driver",
    ] {
        let answer = with_default(case, "", "spark-operator.k8s.io/hadoopConfigMap: h");
        assert_eq!(answer.outcome, Outcome::Mutated, "{case}");
        assert_eq!(recorded_mounts(&answer), ["/etc/hadoop/conf=configmap/h"], "{case}");
        let volumes = answer.pod["spec"]["volumes"].as_array().unwrap();
        assert_eq!(
            volumes.last().unwrap(),
            &json!({"name": "hadoop-config-map-volume", "configMap": {"name": "h", "optional": true}})
        );
    }
    // Not ours stays not ours.
    assert!(matches!(
        with_default("no-role", "", "spark-operator.k8s.io/hadoopConfigMap: h").outcome,
        Outcome::Ignored(_)
    ));
}

#[test]
fn a_default_conf_dir_is_merged_with_sparks_own() {
    let answer = with_default(
        "no-annotations.spark-3.5.driver",
        "",
        "spark-operator.k8s.io/sparkConfigMap: c",
    );
    let volume = answer.pod["spec"]["volumes"].as_array().unwrap().last().unwrap().clone();
    let sources = volume["projected"]["sources"].as_array().unwrap();
    assert_eq!(sources.len(), 2, "{volume}");
    assert_eq!(sources[1], json!({"configMap": {"name": "c", "optional": true}}));
    assert_eq!(recorded_mounts(&answer), ["/etc/spark/conf=configmap/c"]);
}

#[test]
fn a_default_is_overridden_without_a_word_by_what_is_there() {
    for (what, case, annotation, expected) in [
        (
            "a mount at its path",
            "template-many-containers.spark-4.1.driver",
            "spark-operator.k8s.io/configMap.x: /etc/hadoop/conf",
            vec![],
        ),
        (
            "a variable with another value",
            "template-conf-dirs.spark-3.5.driver",
            "spark-operator.k8s.io/GCPServiceAccount.x: /x",
            vec!["/x=secret/x"],
        ),
        (
            "the pod's own request",
            "conf-dirs.spark-4.1.driver",
            "spark-operator.k8s.io/hadoopConfigMap: x",
            vec![],
        ),
        (
            "the pod's own request for its path",
            "conf-dirs.spark-4.1.driver",
            "spark-operator.k8s.io/secret.x: /etc/hadoop/conf",
            vec![],
        ),
        (
            "a read-only mount above it",
            "template-many-containers.spark-4.1.driver",
            "spark-operator.k8s.io/configMap.x: \"/etc/hadoop/conf/x:optional\"",
            vec!["/etc/hadoop/conf/x=configmap/x"],
        ),
    ] {
        let without = answer(&golden(case), &Settings::default());
        let with = with_default(case, "", annotation);
        assert_eq!(with.warnings, without.warnings, "{what}");
        let own = recorded_mounts(&without);
        let added: Vec<_> =
            recorded_mounts(&with).into_iter().filter(|mount| !own.contains(mount)).collect();
        assert_eq!(added, expected, "{what}");
    }
}

#[test]
fn another_value_of_its_variable_overrides_a_whole_conf_dir_but_not_the_mount_of_env() {
    let with_env = |name: &str, annotation: &str| {
        let mut review = golden("no-annotations.spark-3.5.driver");
        let env = json!({"name": name, "value": "/mine"});
        review["request"]["object"]["spec"]["containers"][0]["env"]
            .as_array_mut()
            .unwrap()
            .push(env);
        let settings =
            settings(OnProblem::Warn, &format!("defaults: [{{annotations: {{{annotation}}}}}]"));
        let answer = answer(&review, &settings);
        assert_sound(&review, &settings, &answer);
        assert!(answer.warnings.is_empty(), "{:?}", answer.warnings);
        let env = answer.pod["spec"]["containers"][0]["env"].as_array().unwrap().clone();
        assert_eq!(env.iter().rfind(|entry| entry["name"] == name).unwrap()["value"], "/mine");
        recorded_mounts(&answer)
    };
    for (variable, annotation) in [
        ("SPARK_CONF_DIR", "spark-operator.k8s.io/sparkConfigMap: x"),
        ("HADOOP_CONF_DIR", "spark-operator.k8s.io/hadoopConfigMap: x"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "spark-operator.k8s.io/GCPServiceAccount.x: /x"),
        ("HADOOP_TOKEN_FILE_LOCATION", "spark-operator.k8s.io/hadoopDelegationToken.x: /x"),
    ] {
        assert_eq!(with_env(variable, annotation), [""; 0], "{variable}");
    }
    assert_eq!(
        with_env("V", "spark-operator.k8s.io/configMap.x: \"/x:env=V\""),
        ["/x=configmap/x"]
    );
}

#[test]
fn an_enforced_default_replaces_variables_and_what_stands_in_its_way_is_an_error() {
    let enforce = "enforce: true, required: true, ";
    let answer = with_default(
        "template-conf-dirs.spark-3.5.driver",
        enforce,
        "spark-operator.k8s.io/configMap.x: \"/x:env=HADOOP_CONF_DIR\"",
    );
    let env = answer.pod["spec"]["containers"][0]["env"].as_array().unwrap().clone();
    assert_eq!(
        env.iter().rfind(|entry| entry["name"] == "HADOOP_CONF_DIR").unwrap()["value"],
        "/x"
    );
    assert_eq!(
        answer.warnings,
        [
            "hadoopConfigMap=hadoop-conf: mounted, but HADOOP_CONF_DIR is set by configMap.x=/x:env=HADOOP_CONF_DIR"
        ]
    );

    let stands = "configMap.x=/etc/hadoop/conf: volume hadoop-conf is mounted there; remove that mount or this annotation";
    let in_the_way = with_default(
        "template-many-containers.spark-4.1.driver",
        enforce,
        "spark-operator.k8s.io/configMap.x: /etc/hadoop/conf",
    );
    assert_eq!(in_the_way.warnings[0], stands);
    let deny = settings(
        OnProblem::Deny,
        "defaults: [{enforce: true, annotations: {spark-operator.k8s.io/configMap.x: /etc/hadoop/conf}}]",
    );
    assert_eq!(
        self::answer(&golden("template-many-containers.spark-4.1.driver"), &deny).outcome,
        Outcome::Refused
    );
    assert_eq!(
        self::answer(&golden("template-many-containers.spark-4.1.executor"), &deny).outcome,
        Outcome::Mutated
    );

    let taken = with_default(
        "all-kinds.spark-3.5.driver",
        enforce,
        "spark-operator.k8s.io/secret.x: /etc/app",
    );
    assert_eq!(
        taken.warnings,
        ["configMap.app-conf=/etc/app: secret.x=/etc/app is asked for there, write another path"]
    );
}

/// Found by the oracle: a conf dir is the same thing whatever its ConfigMap is called.
#[test]
fn who_asks_for_another_conf_dir_than_the_enforced_one_is_told() {
    for (name, expected) in [
        (
            "other",
            &[
                "hadoopConfigMap=other: the administrator's default for it is enforced, remove this annotation",
            ][..],
        ),
        ("h", &[]),
    ] {
        let yaml = "defaults: [{enforce: true, required: true, annotations: {spark-operator.k8s.io/hadoopConfigMap: h}}]";
        let mut review = golden("no-annotations.spark-3.5.driver");
        review["request"]["object"]["metadata"]["annotations"] =
            json!({"spark-operator.k8s.io/hadoopConfigMap": name});
        let answer = rejects(&review, &settings(OnProblem::Warn, yaml), expected);
        assert_eq!(recorded_mounts(&answer), ["/etc/hadoop/conf=configmap/h"]);
    }
}

/// Found by the property test: an enforced default sets the variable by which `merge` finds what to
/// merge with.
#[test]
fn a_variable_that_a_default_sets_is_nothing_to_merge_with_in_the_second_round() {
    let enforced = "{enforce: true, annotations: {spark-operator.k8s.io/configMap.conf: \"/etc/app:env=HADOOP_CONF_DIR\"}}";
    for (rules, own) in [
        (
            format!(
                "[{enforced}, {{enforce: true, annotations: {{spark-operator.k8s.io/hadoopConfigMap: app}}}}]"
            ),
            None,
        ),
        (format!("[{enforced}]"), Some("app:merge")),
    ] {
        let settings = settings(OnProblem::Warn, &format!("defaults: {rules}"));
        let mut review = golden("no-annotations.spark-3.5.driver");
        if let Some(own) = own {
            review["request"]["object"]["metadata"]["annotations"] =
                json!({"spark-operator.k8s.io/hadoopConfigMap": own});
        }
        let answer = answer(&review, &settings);
        assert_sound(&review, &settings, &answer);
        assert_eq!(recorded_mounts(&answer).len(), 2, "{rules}");
    }
}

/// Every golden review with many rules at once: sound, and who is not selected is answered as
/// without rules.
#[test]
fn every_golden_review_is_sound_under_rules() {
    let rules = "defaults:\n\
        - annotations: {spark-operator.k8s.io/sparkConfigMap: \"d:defaults\", spark-operator.k8s.io/hadoopConfigMap: d, spark-operator.k8s.io/configMap.d: \"/etc/d:env=D\"}\n\
        - {enforce: true, annotations: {spark-operator.k8s.io/secret.e: \"/etc/e:env=HADOOP_CONF_DIR\"}}\n\
        - {required: true, annotations: {spark-operator.k8s.io/configMap.f: \"/etc/f.conf:file=f\"}}\n\
        allow: [{configMaps: [\"*\", \"!spark-*\"]}]\n";
    let settings = settings(OnProblem::Warn, rules);
    let elsewhere = self::settings(
        OnProblem::Warn,
        "defaults: [{namespaces: [elsewhere], annotations: {spark-operator.k8s.io/secret.e: /e}}]",
    );
    let mut changed = 0;
    for case in cases() {
        let review = case.review();
        let answer = answer(&review, &settings);
        assert_sound(&review, &settings, &answer);
        changed += usize::from(answer.outcome == Outcome::Mutated);
        let (without, not_selected) =
            (self::answer(&review, &Settings::default()), self::answer(&review, &elsewhere));
        assert_eq!(
            (without.patch, without.warnings),
            (not_selected.patch, not_selected.warnings),
            "{}",
            case.name
        );
    }
    assert!(changed >= 50, "{changed}");
}
