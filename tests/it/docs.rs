//! The documentation's examples: what stands there is what a pod may ask for.

use std::fs;

use serde_json::{Value, json};
use spark_webhook::admission::{Settings, review};
use spark_webhook::request::OptionName;
use spark_webhook::request::kind::{KINDS, PathFrom, VariableFrom, VolumeName};
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
            let answer = accepts(&of_spark_4(case, annotations), &Settings::default());
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
                accepts(&of_spark_4(case, annotations), &Settings::default());
                asked += 1;
            }
        }
    }
    assert!(asked >= 4, "{asked}");
}

/// The row of each kind in the page, and what the webhook does with the key and its second
/// spelling.
#[test]
fn the_table_says_what_happens() {
    let page = fs::read_to_string("docs/annotations.md").unwrap();
    for spec in &KINDS {
        let name = if spec.is_named_in_key() { ".NAME" } else { "" };
        let (path, form) = match spec.path {
            PathFrom::Default(path) => (path, "NAME"),
            PathFrom::Value => ("PATH", "PATH"),
        };
        let volume = match spec.volume_name {
            VolumeName::Fixed(volume) => volume,
            VolumeName::OfObject => "NAME-volume",
        };
        let variable = match spec.variable {
            VariableFrom::Kind(variable, Some(file)) => format!("{variable}={path}/{file}"),
            VariableFrom::Kind(variable, None) => format!("{variable}={path}"),
            VariableFrom::Option => "with env=".to_owned(),
        };
        let spelling = |key: &str| format!("{key}{name}");
        let spellings = [Some(spec.key), spec.alias].map(|key| key.map(spelling));
        let [key, also] = spellings.clone().map(Option::unwrap_or_default);
        let cells = [&key, &also, &format!("{form}[:option…]"), volume, path, &variable];
        assert_eq!(row(&page, &key), cells);
        if let Some(list) = spec.list {
            let also = list.alias.unwrap_or_default();
            let as_key = &format!("as {key}");
            let cells = [list.key, also, "NAME=PATH[:option…],…", as_key, as_key, as_key];
            assert_eq!(row(&page, list.key), cells);
        }

        let filled = |text: &str| text.replace("NAME", "n").replace("PATH", "/p");
        for key in spellings.into_iter().flatten().map(|spelling| filled(&spelling)) {
            let pod = json!({
                "kind": "Pod",
                "metadata": {"labels": {"spark-role": "executor"}, "annotations": {format!("spark-operator.k8s.io/{key}"): filled(form)}},
                "spec": {"containers": [{"name": "executor"}]},
            });
            let operations = accepts(&review::of(&pod, "default"), &Settings::default()).patch;
            assert_eq!(operations[0]["value"][0]["name"], filled(volume), "{key}");
            assert_eq!(operations[1]["value"][0]["mountPath"], filled(path), "{key}");
            if let Some((name, value)) =
                variable.split_once('=').filter(|_| spec.variable != VariableFrom::Option)
            {
                let expected = json!([{"name": name, "value": filled(value)}]);
                assert_eq!(operations[2]["value"], expected, "{key}");
            }
        }
    }
}

/// Which kinds take an option; the page may say more after that.
#[test]
fn the_table_of_options_says_which_kinds_take_them() {
    let page = fs::read_to_string("docs/annotations.md").unwrap();
    for option in OptionName::ALL {
        let takers: Vec<_> = KINDS.iter().filter(|spec| spec.takes(option)).collect();
        let mut on: Vec<String> = takers
            .iter()
            .map(|spec| format!("{}{}", spec.key, if spec.is_named_in_key() { "." } else { "" }))
            .collect();
        on.extend(takers.iter().any(|spec| spec.list.is_some()).then(|| "the lists".to_owned()));
        let on = if takers.len() == KINDS.len() { "all".to_owned() } else { on.join(", ") };
        let (_, table) = page.split_once("| option | on |").unwrap();
        let rows: Vec<Vec<String>> = table.lines().skip(1).filter_map(cells).collect();
        let is_for = |cell: &str| {
            cell == option.as_str() || cell.starts_with(&format!("{}=", option.as_str()))
        };
        let row = rows.iter().find(|row| is_for(&row[0])).unwrap();
        let more = row[1]
            .strip_prefix(&*on)
            .unwrap_or_else(|| panic!("{option:?} is on {on}, not {}", row[1]));
        assert!(more.is_empty() || more.starts_with(", "), "{option:?}: {more}");
        assert_eq!(row[0].contains('='), option.takes_value(), "{option:?}");
    }
}

/// The cells of a line of a table, without marks of code; nothing for any other line.
fn cells(line: &str) -> Option<Vec<String>> {
    let row = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(row.split('|').map(|cell| cell.trim().replace('`', "")).collect())
}

/// The row of a table that begins with a cell.
fn row(page: &str, first: &str) -> Vec<String> {
    page.lines().filter_map(cells).find(|row| row[0] == first).expect(first)
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
