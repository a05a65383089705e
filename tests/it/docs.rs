//! The documentation's examples: what stands there is what a pod may ask for.

use std::fs;

use serde_json::{Value, json};
use spark_webhook::admission::{Policy, review};
use testkit::contract::{accepts, golden, golden_with, recorded_mounts};

use testkit::documentation::{properties, tasks};

/// The annotations that a task puts on the pods of a role.
fn annotations(task: &str, role: &str) -> serde_json::Map<String, Value> {
    let start = format!("spark.kubernetes.{role}.annotation.");
    let properties = properties(task);
    properties
        .filter_map(|(key, value)| Some((key.strip_prefix(&start)?.to_owned(), json!(value))))
        .collect()
}

/// A golden pod of Spark 4, which `defaults` needs, with other annotations.
fn of_spark_4(case: &str, annotations: serde_json::Map<String, Value>) -> Value {
    let mut review = golden_with(case, annotations);
    review["request"]["object"]["metadata"]["labels"]["spark-version"] = json!("4.1.2");
    review
}

#[test]
fn every_task_is_carried_out_without_a_problem() {
    let page = fs::read_to_string("docs/annotations.md").unwrap();
    let tasks = tasks(&page);
    assert!(tasks.len() >= 8);
    for (title, task) in tasks {
        assert!(
            task.contains("kubectl create "),
            "{title} says how to make its ConfigMap or Secret"
        );
        let mut asked = 0;
        for (role, case) in [
            ("driver", "no-annotations.spark-3.5.driver"),
            ("executor", "no-annotations.spark-3.5.executor"),
        ] {
            let annotations = annotations(task, role);
            if annotations.is_empty() {
                continue;
            }
            asked += annotations.len();
            let count = annotations.len();
            let answer = accepts(&of_spark_4(case, annotations), &Policy::default());
            let mounts = recorded_mounts(&answer);
            assert_eq!(mounts.len(), count, "{title}");
            // What is mounted is what the kubectl lines make.
            for mount in mounts {
                let (kind, name) = mount.split_once('=').unwrap().1.split_once('/').unwrap();
                let name = name.split('/').next().unwrap();
                let made = if kind == "configmap" {
                    format!("kubectl create configmap {name} ")
                } else {
                    format!("kubectl create secret generic {name} ")
                };
                assert!(task.contains(&made), "{title} does not make {name}");
            }
        }
        assert!(asked > 0, "{title}");
    }
}

/// Annotations of ours in the recipes' `--conf` lines: a problem would be a recipe that does not
/// work.
#[test]
fn what_the_recipes_ask_for_is_carried_out_without_a_problem() {
    let mut asked = 0;
    for entry in fs::read_dir("docs/recipes").unwrap() {
        let file = entry.unwrap().path();
        let page = fs::read_to_string(&file).unwrap();
        for (role, case) in [
            ("driver", "no-annotations.spark-3.5.driver"),
            ("executor", "no-annotations.spark-3.5.executor"),
        ] {
            let annotations = annotations(&page, role);
            let prefixes = ["spark-operator.k8s.io/", "sparkoperator.k8s.io/"];
            if annotations.keys().any(|key| prefixes.iter().any(|prefix| key.starts_with(prefix))) {
                accepts(&of_spark_4(case, annotations), &Policy::default());
                asked += 1;
            }
        }
    }
    assert!(asked >= 4, "{asked}");
}

/// A key's row in the page, and the mount that the webhook makes of it.
#[test]
fn the_table_says_what_happens() {
    let page = fs::read_to_string("docs/annotations.md").unwrap();
    for (key, value, volume, path, variable) in [
        (
            "sparkConfigMap",
            "n",
            "spark-config-map-volume",
            "/etc/spark/conf",
            "SPARK_CONF_DIR=/etc/spark/conf",
        ),
        (
            "hadoopConfigMap",
            "n",
            "hadoop-config-map-volume",
            "/etc/hadoop/conf",
            "HADOOP_CONF_DIR=/etc/hadoop/conf",
        ),
        ("configMap.n", "/p", "n-volume", "/p", ""),
        ("secret.n", "/p", "n-volume", "/p", ""),
        (
            "GCPServiceAccount.n",
            "/p",
            "gcp-service-account-secret-volume",
            "/p",
            "GOOGLE_APPLICATION_CREDENTIALS=/p/key.json",
        ),
        (
            "hadoopDelegationToken.n",
            "/p",
            "n-volume",
            "/p",
            "HADOOP_TOKEN_FILE_LOCATION=/p/hadoop.token",
        ),
    ] {
        let documented = key.replace(".n", ".NAME");
        let row =
            page.lines().find(|line| line.starts_with(&format!("| `{documented}` |"))).unwrap();
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        assert_eq!(cells[4].replace("NAME", "n"), volume, "{key}");
        assert_eq!(cells[5].replace("PATH", "/p"), path, "{key}");
        let documented_variable = cells[6].replace("PATH", "/p");
        assert_eq!(
            if documented_variable == "with `env=" { "" } else { &documented_variable },
            variable,
            "{key}"
        );

        let mut spellings = vec![key.to_owned()];
        spellings.extend((!cells[2].is_empty()).then(|| cells[2].replace("NAME", "n")));
        for spelling in spellings {
            let pod = json!({
                "kind": "Pod",
                "metadata": {"labels": {"spark-role": "executor"}, "annotations": {format!("spark-operator.k8s.io/{spelling}"): value}},
                "spec": {"containers": [{"name": "executor"}]},
            });
            let review = review::of(&pod, "default");
            let patch = accepts(&review, &Policy::default()).patch;
            assert_eq!(patch[0]["value"][0]["name"], volume, "{spelling}");
            assert_eq!(patch[1]["value"][0]["mountPath"], path, "{spelling}");
            if let Some((name, value)) = variable.split_once('=') {
                assert_eq!(
                    patch[2]["value"],
                    json!([{"name": name, "value": value}]),
                    "{spelling}"
                );
            }
        }
    }
}

/// Each claim of docs/comparison.md has a source: a page, or a test that is there.
#[test]
fn the_comparison_claims_nothing_without_a_source() {
    let page = fs::read_to_string("docs/comparison.md").unwrap();
    let claims: Vec<&str> =
        page.split("\n- ").skip(1).map(|claim| claim.split("\n\n").next().unwrap()).collect();
    assert!(claims.len() > 25);
    for claim in claims {
        let tests: Vec<&str> =
            claim.split("[`").skip(1).filter(|link| link.contains(".rs`: `")).collect();
        assert!(claim.contains("](https://") || !tests.is_empty(), "{claim}");
        for test in tests {
            let (file, name) = test.split_once("`: `").unwrap();
            let code = fs::read_to_string(format!("tests/{file}")).unwrap();
            let name = name.split('`').next().unwrap();
            assert!(code.contains(&format!("fn {name}(")), "{claim}");
        }
    }
}

/// What docs/comparison.md says of properties and pod templates, in pods that real Sparks made with
/// either.
#[test]
fn sparks_own_conf_dir_comes_last_but_for_executor_env() {
    let mut names = std::collections::HashSet::new();
    // `spark.kubernetes.driverEnv`, `spark.executorEnv`, and two templates.
    let cases = [
        ("secrets-and-env-properties.spark-3.5.driver", 1),
        ("secrets-and-env-properties.spark-3.5.executor", 0),
        ("template-conf-dirs.spark-3.5.driver", 1),
        ("template-conf-dirs.spark-3.5.executor", 1),
    ];
    for (case, own) in cases {
        let review = golden(case);
        let spec = &review["request"]["object"]["spec"];
        let env = spec["containers"][0]["env"].as_array().unwrap();
        let entries: Vec<&Value> = env
            .iter()
            .filter(|entry| entry["name"] == "SPARK_CONF_DIR")
            .map(|entry| &entry["value"])
            .collect();
        assert!(
            entries.len() == 2
                && entries[own] == "/opt/spark/conf"
                && entries[1 - own] != "/opt/spark/conf",
            "{case}: {entries:?}"
        );
        let volumes = spec["volumes"].as_array().unwrap();
        let conf = volumes
            .iter()
            .find(|volume| volume["name"].as_str().unwrap().starts_with("spark-conf-volume-"))
            .unwrap();
        names.insert(conf["configMap"]["name"].as_str().unwrap().to_owned());
    }
    assert_eq!(names.len(), cases.len(), "each submission makes a name of its own: {names:?}");
}

#[test]
fn every_recipe_is_in_the_list() {
    let list = fs::read_to_string("docs/recipes/README.md").unwrap();
    let mut recipes = 0;
    for file in fs::read_dir("docs/recipes").unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || list.contains(&format!("({name})")), "{name}");
        recipes += 1;
    }
    assert_eq!(recipes - 1, list.lines().filter(|line| line.contains(".md](")).count());
}

/// Whoever adds a metric or a value of one of its labels says what it means.
#[test]
fn operations_names_every_metric_and_its_labels_values() {
    let page = fs::read_to_string("docs/operations.md").unwrap();
    let metrics = spark_webhook::internals::Metrics::new(Box::new(|| 0)).write().unwrap();
    let mut names = 0;
    for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket{"))
    {
        let series = line.split(' ').next().unwrap().strip_prefix("spark_webhook_").unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        if name.starts_with("request_duration_seconds") {
            continue;
        }
        assert!(
            page.contains(&format!("`{name}`")) || page.contains(&format!("`{name}{{")),
            "{name}"
        );
        names += 1;
        let value = labels.split('"').nth(1).unwrap_or_default();
        let is_explained = value.is_empty()
            || name == "build_info"
            || name == "mutations_total"
            || page.contains(&format!("`{value}`"));
        assert!(is_explained, "{series}");
    }
    assert!(names > 30, "{names}");
}
