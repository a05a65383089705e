use serde_json::{Value, json};

use super::*;

/// A role in the schema.
pub(super) enum RoleName {}

impl schemars::JsonSchema for RoleName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RoleName".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "enum": Role::ALL.map(Role::as_str)})
    }
}

fn rules(yaml: &str) -> Rules {
    let (rules, mistakes) = Rules::parse(&format!("apiVersion: spark-webhook/v1\n{yaml}"));
    assert_eq!(mistakes, []);
    rules
}

#[test]
fn names_are_permitted_by_every_entry_for_the_namespace() {
    assert_eq!(rules("defaults: []").permitted_in("team-a"), None);
    let rules = rules(
        "allow: [{namespaces: [team-*], configMaps: [a, b]}, {secrets: [c]}, {namespaces: [other], secrets: [d]}]",
    );
    for (namespace, config_maps, secrets) in [("team-a", 1, 1), ("other", 0, 2), ("x", 0, 1)] {
        let permitted = rules.permitted_in(namespace).unwrap();
        let counts = (permitted.config_maps.len(), permitted.secrets.len());
        assert_eq!(counts, (config_maps, secrets), "{namespace}");
    }
    let permitted = rules.permitted_in("team-a").unwrap();
    assert!(permitted.config_maps[0].contains("b") && !permitted.config_maps[0].contains("c"));
}

/// The file has one field more than its rules.
pub(super) fn add_api_version(schema: &mut schemars::Schema) {
    let version = json!({"description": "Always `spark-webhook/v1`.", "type": "string", "const": "spark-webhook/v1"});
    let object = schema.ensure_object();
    if let Some(Value::Object(fields)) = object.get_mut("properties") {
        let others = std::mem::take(fields);
        fields.insert("apiVersion".to_owned(), version);
        fields.extend(others);
    }
    object.insert("required".to_owned(), json!(["apiVersion"]));
}

#[test]
fn the_examples_and_their_schema_hold() {
    let example = std::fs::read_to_string("examples/rules.yaml").unwrap();
    assert!(!crate::trial::load(&example).unwrap().is_empty());
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(Rules)).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write("rules.schema.json", &schema).unwrap();
    }
    let committed = std::fs::read_to_string("rules.schema.json").unwrap_or_default();
    assert!(
        schema == committed,
        "rules.schema.json is not the types' schema; UPDATE_SCHEMA=1 cargo test the_examples_and_their_schema writes it"
    );
}
