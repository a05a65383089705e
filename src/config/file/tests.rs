use serde_json::Value as Json;

use super::*;
use crate::config::RulesError;

fn parse(text: &str) -> Result<Rules, RulesError> {
    let (rules, mistakes) = super::parse(text);
    if mistakes.is_empty() { Ok(rules) } else { Err(RulesError::new(mistakes)) }
}

const VERSION: &str = "apiVersion: spark-webhook/v1\n";
const H: &str = "annotations: {spark-operator.k8s.io/hadoopConfigMap: h}";

/// The mistakes of a file whose second line is the first of this.
fn mistakes(yaml: &str) -> Vec<String> {
    let error = parse(&format!("{VERSION}{yaml}")).err();
    error
        .map(|error| error.mistakes().iter().map(ToString::to_string).collect())
        .unwrap_or_default()
}

fn rejects(yaml: &str, expected: &[&str]) {
    assert_eq!(mistakes(yaml), expected, "{yaml}");
}

fn accepts(yaml: &str) {
    rejects(yaml, &[]);
}

#[test]
fn the_file_as_a_whole() {
    let whole = |text: &str| parse(text).unwrap_err().to_string();
    let empty = "line 1: the file is empty; write apiVersion: spark-webhook/v1";
    for (text, expected) in [
        ("", empty),
        ("# nothing\n", empty),
        ("---\n", empty),
        ("rules", "line 1: the file is a map; write apiVersion: spark-webhook/v1"),
        ("defaults: []\n", "line 1: apiVersion is missing; write apiVersion: spark-webhook/v1"),
        (
            "apiVersion: spark-webhook/v2\n",
            "line 1: the apiVersion is \"spark-webhook/v2\"; write apiVersion: spark-webhook/v1",
        ),
        ("apiVersion:\n", "line 1: apiVersion has no value; write one"),
        ("apiVersion: [a]\n", "line 1: apiVersion is a text; write apiVersion: TEXT"),
        (
            "apiVersion: spark-webhook/v1\n---\nx: y\n",
            "line 3: a second document begins; write all rules in one",
        ),
        ("a: [", "line 1: \"[\" is not closed; add \"]\""),
    ] {
        assert_eq!(whole(text), expected, "{text:?}");
    }
    rejects(
        "rules: []\n",
        &["line 2: unknown field \"rules\"; write one of apiVersion, defaults, allow"],
    );
    accepts("");
    accepts("defaults: []\nallow: []\n");
}

#[test]
fn no_field_is_without_a_value() {
    let default = |field: &str| format!("defaults:\n- {H}\n  {field}\n");
    for (yaml, expected) in [
        (
            "allow:\n".to_owned(),
            "line 2: allow has no value; write allow: [] to permit no name, or remove it to permit every name",
        ),
        (
            "defaults: ~\n".to_owned(),
            "line 2: defaults has no value; write defaults: [{annotations: {KEY: VALUE}}], or remove it",
        ),
        (
            default("namespaces:"),
            "line 4: namespaces has no value; write namespaces: [\"team-*\"], or remove it for all namespaces",
        ),
        (
            default("namespaces: []"),
            "line 4: namespaces is empty; write namespaces: [\"team-*\"], or remove it for all namespaces",
        ),
        (
            default("namespaces: [a, null]"),
            "line 4: an entry of namespaces has no value; remove it",
        ),
        (
            default("roles: null"),
            "line 4: roles has no value; write roles: [driver, executor], or remove it for both",
        ),
        (
            default("roles: []"),
            "line 4: roles is empty; write roles: [driver, executor], or remove it for both",
        ),
        (
            default("selector:"),
            "line 4: selector has no value; write selector: {matchLabels: {KEY: VALUE}}, or remove it for all pods",
        ),
        (
            default("selector: {matchLabels: }"),
            "line 4: matchLabels has no value; write matchLabels: {KEY: VALUE}, or remove it",
        ),
        (
            default("selector: {matchLabels: {tier: }}"),
            "line 4: tier has no value; write \"\" for an empty one",
        ),
        (
            default("selector: {matchExpressions: }"),
            "line 4: matchExpressions has no value; write matchExpressions: [{key: KEY, operator: Exists}], or remove it",
        ),
        (
            default("required:"),
            "line 4: required has no value; write required: true or required: false",
        ),
        (
            "defaults: [{annotations: }]".to_owned(),
            "line 2: annotations has no value; write annotations: {KEY: VALUE}, or remove the rule",
        ),
        (
            "defaults:\n- annotations:\n    spark-operator.k8s.io/secret.s:\n".to_owned(),
            "line 4: spark-operator.k8s.io/secret.s has no value; write \"\" for an empty one",
        ),
        (
            "defaults: [null]".to_owned(),
            "line 2: a default is a map; write - annotations: {KEY: VALUE}",
        ),
        (
            "allow: [{configMaps: }]".to_owned(),
            "line 2: configMaps has no value; write configMaps: [\"*\"], or remove it to permit no name",
        ),
        (
            "allow: [{secrets: []}]".to_owned(),
            "line 2: secrets is empty; write secrets: [\"*\"], or remove it to permit no name",
        ),
        (
            "allow: [null]".to_owned(),
            "line 2: an entry of allow is a map; write - configMaps: [\"*\"]",
        ),
    ] {
        rejects(&yaml, &[expected]);
    }
    accepts(&default("selector: {}"));
    accepts(&default("selector: {matchLabels: {}, matchExpressions: []}"));
    accepts("allow: [{}]");
    accepts("defaults: [{annotations: {}}]");
}

#[test]
fn every_value_has_its_shape() {
    let default = |field: &str| format!("defaults:\n- {H}\n  {field}\n");
    for (field, expected) in [
        ("namespaces: team-a", "namespaces is a list; write namespaces: [\"team-a\"]"),
        ("namespaces: team.*", "namespaces is a list; write namespaces: [\"team-*\"]"),
        ("namespaces: {a: b}", "namespaces is a list; write namespaces: [\"team-*\"]"),
        (
            "namespaces: [[a]]",
            "an entry of namespaces is a text; write it without brackets and colons",
        ),
        ("roles: driver", "roles is a list; write roles: [\"driver\"]"),
        ("roles: [worker]", "there is no role \"worker\"; write driver or executor"),
        ("selector: tier", "selector is a map; write selector: {matchLabels: {KEY: VALUE}}"),
        (
            "selector: {matchLabel: {}}",
            "unknown field \"matchLabel\"; write one of matchLabels, matchExpressions",
        ),
        (
            "selector: {matchLabels: [tier]}",
            "matchLabels is a map; write matchLabels: {KEY: VALUE}",
        ),
        ("selector: {matchLabels: {tier: [a]}}", "the value of tier is a text; write it in quotes"),
        (
            "selector: {matchExpressions: [{key: a, operator: Like}]}",
            "there is no operator \"Like\"; write In, NotIn, Exists or DoesNotExist",
        ),
        (
            "selector: {matchExpressions: [{key: a, operator: In}]}",
            "In and NotIn need values; write at least one",
        ),
        (
            "selector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
            "Exists and DoesNotExist take no values; remove them",
        ),
        (
            "selector: {matchExpressions: [{operator: Exists}]}",
            "key or operator is missing; write {key: KEY, operator: Exists}",
        ),
        (
            "required: yes",
            "required is true or false, not \"yes\"; write required: true or required: false, without quotes",
        ),
        (
            "required: \"true\"",
            "required is true or false, not \"true\"; write required: true or required: false, without quotes",
        ),
        ("enforce: [true]", "enforce is true or false; write one of them"),
        (
            "enforced: true",
            "unknown field \"enforced\"; write one of namespaces, roles, selector, annotations, required, enforce",
        ),
    ] {
        rejects(&default(field), &[&format!("line 4: {expected}")]);
    }
    rejects(
        "defaults: {a: b}",
        &["line 2: defaults is a list; write defaults: [{annotations: {KEY: VALUE}}]"],
    );
    rejects(
        "defaults: [{namespaces: [a]}]",
        &["line 2: annotations is missing; write annotations: {KEY: VALUE}"],
    );
    rejects(
        "allow: [{secret: [a]}]",
        &["line 2: unknown field \"secret\"; write one of namespaces, configMaps, secrets"],
    );
    rejects(
        "allow: [{secrets: [\"Spark-*\"]}]",
        &[
            "line 2: no name matches \"Spark-*\": these are globs (* and ?) of lower-case letters, digits, \"-\" and \".\"; write \"spark-*\"",
        ],
    );
    accepts(&default("required: True"));
    // Plain values are texts where texts are expected.
    accepts(&default("namespaces: [123, true]"));
    accepts(&default(
        "selector: {matchLabels: {tier: true}, matchExpressions: [{key: a, operator: In, values: [1, b]}]}",
    ));
}

#[test]
fn annotations_are_those_that_a_pod_could_have() {
    let rule = |fields: &str, annotation: &str| {
        format!("defaults:\n- annotations:\n    {annotation}\n{fields}")
    };
    for (fields, annotation, expected) in [
        (
            "",
            "spark-operator.k8s.io/container: c",
            "spark-operator.k8s.io/container: a rule cannot have this annotation, remove it",
        ),
        (
            "",
            "spark-operator.k8s.io/injected: c",
            "spark-operator.k8s.io/injected: a rule cannot have this annotation, remove it",
        ),
        (
            "",
            "spark-operator.k8s.io/sparkConfMap: c",
            "spark-operator.k8s.io/sparkConfMap: not an annotation of this webhook, write spark-operator.k8s.io/sparkConfigMap",
        ),
        (
            "",
            "prometheus.io/scrape: \"true\"",
            "prometheus.io/scrape: not an annotation of this webhook, write spark-operator.k8s.io/sparkConfigMap",
        ),
        (
            "",
            "spark-operator.k8s.io/secret.s: s",
            "secret.s=s: the path must start with \"/\", write secret.s=/s",
        ),
        (
            "",
            "spark-operator.k8s.io/secret.s: /s/f:file=f",
            "spark-operator.k8s.io/secret.s=/s/f:file=f: file= cannot be optional, write required: true",
        ),
    ] {
        rejects(&rule(fields, annotation), &[&format!("line 4: {expected}")]);
    }
    accepts(&rule("  required: true", "spark-operator.k8s.io/secret.s: /s/f:file=f"));
    rejects(
        &rule("    sparkoperator.k8s.io/secret.s: /b", "spark-operator.k8s.io/secret.s: /a"),
        &["line 5: sparkoperator.k8s.io/secret.s=/b: loses to secret.s=/a; remove one"],
    );
}

#[test]
fn all_mistakes_are_told_in_order_of_lines() {
    rejects(
        "allow:\ndefaults:\n- roles: []\n  required: yes\n  required: true\n  annotations:\n    spark-operator.k8s.io/secret.a: a\n    \
         spark-operator.k8s.io/secret.b: !b\n- namespaces: [*a, Team]\n  annotations: {}\nallo: []\n",
        &[
            "line 2: allow has no value; write allow: [] to permit no name, or remove it to permit every name",
            "line 4: roles is empty; write roles: [driver, executor], or remove it for both",
            "line 5: required is true or false, not \"yes\"; write required: true or required: false, without quotes",
            "line 6: required is set twice; remove one",
            "line 8: secret.a=a: the path must start with \"/\", write secret.a=/a",
            "line 9: !b needs quotes in YAML; write \"!b\"",
            "line 10: *a needs quotes in YAML; write \"*a\"",
            "line 10: no namespace matches \"Team\": these are globs (* and ?) of lower-case letters, digits and \"-\"; write \"team\"",
            "line 12: unknown field \"allo\"; write one of apiVersion, defaults, allow",
        ],
    );
    let error = parse(&format!("{VERSION}allow:\nrules:\n")).unwrap_err().to_string();
    assert!(
        error.starts_with("line 2: allow has no value")
            && error.ends_with(" (1 more mistake: spark-webhook check-config lists it)"),
        "{error}"
    );
    let many = format!("defaults:\n{}", "- {}\n".repeat(150));
    let error = parse(&format!("{VERSION}{many}")).unwrap_err();
    assert_eq!(error.mistakes().len(), 100);
    assert!(
        error.to_string().ends_with(" (149 more mistakes: spark-webhook check-config lists them)"),
        "{error}"
    );
    // One that several aliases repeat is one.
    rejects(
        &format!("defaults:\n- &a {{roles: [], {H}}}\n- *a\n- *a\n"),
        &["line 3: roles is empty; write roles: [driver, executor], or remove it for both"],
    );
}

#[test]
fn fragments_are_shared_by_anchors_and_merged_by_keys() {
    let yaml = format!(
        "{VERSION}defaults:\n- &a {{namespaces: [a], {H}}}\n- {{<<: *a, namespaces: [b], required: true}}\n"
    );
    let rules = parse(&yaml).unwrap();
    assert_eq!(rules.defaults.len(), 2);
    assert_eq!(rules.defaults[0].annotations, rules.defaults[1].annotations);
    assert!(
        rules.defaults[1].required
            && rules.defaults[1].namespaces.contains("b")
            && !rules.defaults[1].namespaces.contains("a")
    );
}

#[test]
fn what_is_read_is_bounded() {
    let comment = |bytes: usize| format!("{VERSION}#{}", "x".repeat(bytes - VERSION.len() - 1));
    assert!(parse(&comment(MAX_BYTES)).is_ok());
    assert_eq!(
        parse(&comment(MAX_BYTES + 1)).unwrap_err().to_string(),
        format!("line 1: {TOO_LARGE}")
    );
    assert_eq!(read_text_from(comment(MAX_BYTES).as_bytes()).unwrap().len(), MAX_BYTES);
    let error = read_text_from(io::repeat(b'#')).unwrap_err();
    assert_eq!(error.to_string(), TOO_LARGE);
    assert_eq!(read_text_from(&b"a\xff"[..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(mistakes(&format!("defaults: {}", "[".repeat(200))).len(), 1);
}

/// Whatever stands in a file, each mistake is one line.
#[test]
fn a_mistake_is_one_line_without_control_characters() {
    for yaml in [
        "\"a\\nb\\e[2J\": 1",
        "apiVersion: \"a\\nb\"",
        "defaults: [{namespaces: [\"a\\nb\"], roles: [\"a\\nb\"], required: \"a\\nb\", annotations: {\"a\\nb\": \"c\\nd\", \"spark-operator.k8s.io/secret.s\": \"a\\nb\"}}]",
        "defaults: [{selector: {matchLabels: {\"a\\nb\": }, matchExpressions: [{key: k, operator: \"a\\nb\"}]}}]",
        "a: {\"b\\nc\": 1, \"b\\nc\": 2}",
    ] {
        for mistake in mistakes(yaml) {
            assert!(!mistake.contains(char::is_control), "{mistake:?}");
        }
        assert_ne!(mistakes(yaml), [""; 0], "{yaml}");
    }
}

#[test]
fn the_schema_has_the_fields_that_are_read() {
    let schema: Json =
        serde_json::from_str(&std::fs::read_to_string("rules.schema.json").unwrap()).unwrap();
    let names = |schema: &Json| {
        schema["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    let of = |name: &str| &schema["$defs"][name];
    for (schema, fields) in [
        (&schema, FILE),
        (of("DefaultRule"), DEFAULT),
        (of("AllowRule"), ALLOW),
        (of("Selector"), SELECTOR),
        (of("Requirement"), REQUIREMENT),
    ] {
        assert_eq!(
            (names(schema), &schema["additionalProperties"]),
            (fields.iter().map(|name| (*name).to_owned()).collect(), &Json::Bool(false))
        );
    }
    // No value may be null, and no list that selects may be empty.
    assert!(!schema.to_string().contains("null"), "{schema}");
    for list in [&of("DefaultRule")["properties"]["roles"], of("NamespaceGlobs"), of("ObjectGlobs")]
    {
        assert_eq!(list["minItems"], 1, "{list}");
    }
}
