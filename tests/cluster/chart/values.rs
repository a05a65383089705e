//! The values of the chart: one list of them, in three places, and nothing beside it.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Map, Value};

use super::{HELMS, IMAGE, RELEASE, template};

/// Each value with its default, by what the schema has: what stands below a value whose keys the
/// schema leaves to Kubernetes is part of it.
fn values(schema: &Value, defaults: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    let properties = schema["properties"].as_object().unwrap();
    for name in defaults.as_object().unwrap().keys() {
        assert!(properties.contains_key(name), "the schema lacks {path}{name}");
    }
    // Only Helm sets it.
    for (name, schema) in properties.iter().filter(|(name, _)| *name != "global") {
        let default =
            defaults.get(name).unwrap_or_else(|| panic!("values.yaml lacks {path}{name}"));
        if schema.get("properties").is_some() {
            values(schema, default, &format!("{path}{name}."), found);
        } else {
            found.insert(format!("{path}{name}"), default.clone());
        }
    }
}

fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string("manifests/chart/values.schema.json").unwrap())
        .unwrap()
}

#[test]
fn readme_schema_and_defaults_have_the_same_values() {
    let defaults =
        serde_saphyr::from_str(&fs::read_to_string("manifests/chart/values.yaml").unwrap())
            .unwrap();
    let mut expected = BTreeMap::new();
    values(&schema(), &defaults, "", &mut expected);
    let readme = fs::read_to_string("manifests/chart/README.md").unwrap();
    let rows = readme
        .split("\n## Values\n")
        .nth(1)
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("| `"));
    let documented: BTreeMap<String, Value> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split(" | ").collect();
            let value = |cell: &str| cell.trim_start_matches("| ").trim_matches('`').to_owned();
            (value(cells[0]), serde_json::from_str(&value(cells[1])).unwrap())
        })
        .collect();
    assert_eq!(documented, expected);
    assert!(expected.len() > 40);
}

/// Wherever the schema lists names, others are refused; and maps have strings.
#[test]
fn the_schema_has_no_gap() {
    fn check(schema: &Value, path: &str) {
        if schema["type"] == "object" {
            let is_kubernetes = path.contains("Affinity.") || path.ends_with(".global");
            assert!(is_kubernetes || schema.get("additionalProperties").is_some(), "{path}");
            assert!(
                schema.get("properties").is_none() || schema["additionalProperties"] == false,
                "{path}"
            );
        }
        let children = ["properties", "definitions"]
            .into_iter()
            .filter_map(|key| schema[key].as_object())
            .flatten();
        for (name, schema) in children.filter(|(_, schema)| schema.is_object()) {
            check(schema, &format!("{path}.{name}"));
        }
    }
    check(&schema(), "");
}

/// The rules in the values are checked as a file of rules is.
#[test]
fn the_rules_have_the_schema_of_their_file() {
    let text =
        fs::read_to_string("rules.schema.json").unwrap().replace("#/$defs/", "#/definitions/");
    let mut file: Map<String, Value> = serde_json::from_str(&text).unwrap();
    let Some(Value::Object(mut definitions)) = file.remove("$defs") else { panic!("no $defs") };
    file.remove("$schema");
    let required = file.remove("required").unwrap();
    // Here they may be absent as a whole.
    file.insert("if".to_owned(), serde_json::json!({"minProperties": 1}));
    file.insert("then".to_owned(), serde_json::json!({"required": required}));
    definitions.insert("Rules".to_owned(), file.into());
    let schema = schema();
    for (name, expected) in definitions {
        assert_eq!(schema["definitions"][&name], expected, "{name}");
    }
}

#[test]
fn a_misspelt_value_is_refused() {
    for values in [
        "replica: 1",
        "image: {repo: x}",
        "webhook: {failurepolicy: Fail}",
        "webhook: {failurePolicy: fail}",
        "webhook: {timeoutSeconds: 31}",
        "webhook: {namespaceSelector: {matchLabel: {a: b}}}",
        "webhook: {objectSelector: {matchExpressions: [{key: a, operator: NotExists}]}}",
        "webhook: {url: \"http://hook.example/mutate\"}",
        "certificates: {mode: self-signed}",
        "certificates: {managed: {caLifetime: 30m}}",
        "certificates: {managed: {validatingAdmissionPolicy: \"yes\"}}",
        "certificates: {certManager: {issuerRef: {nam: x}}}",
        "certificates: {caBundle: LS0tLS1CRUdJTg==}",
        "clientCA: {configmap: mine}",
        "clientCA: {secret: mine, key: \"a/b\"}",
        "image: {digest: \"sha256:abc\"}",
        "rules: {defaults: []}",
        "rules: {apiVersion: spark-webhook/v1, allow: }",
        "rules: {apiVersion: spark-webhook/v1, allow: [{secrets: []}]}",
        "rules: {apiVersion: spark-webhook/v1, defaults: [{roles: [], annotations: {}}]}",
        "rules: {apiVersion: spark-webhook/v1, defaults: [{selector: , annotations: {}}]}",
        "rules: {apiVersion: spark-webhook/v1, defaults: [{namespaces: [Team-A], annotations: {}}]}",
        "rules: {apiVersion: spark-webhook/v2}",
        "rules: {apiVersion: spark-webhook/v1, defaults: [{namespace: a, annotations: {}}]}",
        "rules: {apiVersion: spark-webhook/v1, defaults: [{namespaces: [\"a'b\"], annotations: {}}]}",
        "tolerations: [{keys: a}]",
        "networkPolicy: {from: [{ipblock: {}}]}",
        "extraArgs: [max-connections=1]",
        "drainDelaySeconds: 10s",
        "drainDelaySeconds: 3601",
        "log: {format: yaml}",
        "log: {level: warning}",
        "log: {level: spark_webhook}",
    ] {
        for version in HELMS {
            let both = if values.starts_with("image") {
                values.to_owned()
            } else {
                format!("{IMAGE}{values}")
            };
            let error = template(version, RELEASE, &format!("{both}\n")).expect_err(values);
            assert!(
                error.contains("values don't meet the specifications of the schema"),
                "{values}: {error}"
            );
        }
    }
    // As a part of another chart it gets these.
    template("helm3", RELEASE, &format!("{IMAGE}global: {{anything: 1}}\n")).unwrap();
}
