//! The rules file: its text becomes [`Rules`], or the list of all its mistakes in order of lines.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

mod shape;

use super::glob::Named;
use super::selector::{Operator, Requirement};
use super::{AllowRule, DefaultRule, Globs, Rules, Selector, Written};
use crate::annotations;
use crate::annotations::key::{Documented, Key, PrefixedKey};
use crate::request::PREFIXES;
use crate::spark::Role;
use crate::yaml::{self, Document, Mistake, Node, Value};
use shape::{Field, Form, Reader, excerpt, form, quoted};

/// The most bytes that a file may have: a ConfigMap cannot hold more.
const MAX_BYTES: usize = 1024 * 1024;

const TOO_LARGE: &str = "the file is larger than 1 MiB; write fewer rules";

const API_VERSION: &str = "spark-webhook/v1";

/// The fields of the file, a default, an entry of `allow`, a selector and an expression;
/// `rules.schema.json` has the same.
const FILE: &[&str] = &["apiVersion", "defaults", "allow"];
const DEFAULT: &[&str] = &["namespaces", "roles", "selector", "annotations", "required", "enforce"];
const ALLOW: &[&str] = &["namespaces", "configMaps", "secrets"];
const SELECTOR: &[&str] = &["matchLabels", "matchExpressions"];
const REQUIREMENT: &[&str] = &["key", "operator", "values"];

/// Reads a file, or as much of it as says that it is too large.
///
/// # Errors
///
/// When it cannot be read, is too large or is not UTF-8.
pub fn read_text(file: &Path) -> io::Result<String> {
    read_text_from(io::BufReader::new(std::fs::File::open(file)?))
}

/// The same for what is open already, such as standard input.
///
/// # Errors
///
/// When it cannot be read, is too large or is not UTF-8.
pub fn read_text_from(source: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    source.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, TOO_LARGE));
    }
    String::from_utf8(bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// Reads the text of a file: the rules that are valid, and the mistakes.
pub(super) fn parse(text: &str) -> (Rules, Vec<Mistake>) {
    read_document(text).unwrap_or_else(|mistake| (Rules::default(), vec![mistake]))
}

/// The same, or the one mistake that makes the file no rules file at all.
fn read_document(text: &str) -> Result<(Rules, Vec<Mistake>), Mistake> {
    let alone = |line: usize, text: &str| Mistake { line, text: text.to_owned() };
    if text.len() > MAX_BYTES {
        return Err(alone(1, TOO_LARGE));
    }
    let mut documents = yaml::parse(text)?.into_iter();
    let Some(Document { root, mistakes }) =
        documents.next().filter(|document| !document.root.is_null())
    else {
        return Err(alone(1, "the file is empty; write apiVersion: spark-webhook/v1"));
    };
    if let Some(second) = documents.next() {
        return Err(alone(second.root.line, "a second document begins; write all rules in one"));
    }
    let mut reader = Reader { mistakes };
    let rules = reader.rules(&root);
    Ok((rules, reader.mistakes))
}

impl Reader {
    fn rules(&mut self, root: &Node) -> Rules {
        let mut rules = Rules::default();
        let mut has_version = false;
        for field in self.fields(root, "the file", "apiVersion: spark-webhook/v1", FILE) {
            match field.name {
                "apiVersion" => {
                    has_version = true;
                    if let Some(version) =
                        self.text(&field).filter(|version| *version != API_VERSION)
                    {
                        let text = format!(
                            "the apiVersion is {}; write apiVersion: {API_VERSION}",
                            quoted(version)
                        );
                        self.add(field.node.line, text);
                    }
                }
                "defaults" => {
                    let form = form("defaults: [{annotations: {KEY: VALUE}}]", "remove it");
                    rules.defaults = self
                        .list(&field, &form)
                        .iter()
                        .filter_map(|node| self.default_rule(node))
                        .collect();
                }
                "allow" => {
                    let form =
                        form("allow: [] to permit no name", "remove it to permit every name");
                    let allow =
                        self.list(&field, &form).iter().map(|node| self.allow_rule(node)).collect();
                    rules.allow = Some(allow);
                }
                _ => {}
            }
        }
        if !has_version && matches!(root.value, Value::Map(_)) {
            self.add(root.line, format!("apiVersion is missing; write apiVersion: {API_VERSION}"));
        }
        rules
    }

    /// Nothing where the rule has a mistake, so that nothing more is said of it.
    fn default_rule(&mut self, node: &Node) -> Option<DefaultRule> {
        let before = self.mistakes.len();
        let mut rule = DefaultRule { line: node.line, ..DefaultRule::default() };
        let mut has_annotations = false;
        for field in self.fields(node, "a default", "- annotations: {KEY: VALUE}", DEFAULT) {
            match field.name {
                "namespaces" => rule.namespaces = self.namespaces(&field),
                "roles" => rule.roles = Some(self.roles(&field)),
                "selector" => rule.selector = self.selector(&field),
                "annotations" => {
                    has_annotations = true;
                    rule.annotations = self.annotations(&field);
                }
                "required" => rule.required = self.flag(&field),
                "enforce" => rule.enforce = self.flag(&field),
                _ => {}
            }
        }
        if !has_annotations && self.mistakes.len() == before {
            self.add(node.line, "annotations is missing; write annotations: {KEY: VALUE}");
        }
        self.check_annotations(&rule);
        (self.mistakes.len() == before).then_some(rule)
    }

    fn allow_rule(&mut self, node: &Node) -> AllowRule {
        let mut rule = AllowRule::default();
        for field in self.fields(node, "an entry of allow", "- configMaps: [\"*\"]", ALLOW) {
            match field.name {
                "namespaces" => rule.namespaces = self.namespaces(&field),
                "configMaps" => {
                    rule.config_maps = Some(self.globs(
                        &field,
                        Named::Objects,
                        &form("configMaps: [\"*\"]", NO_NAME),
                    ));
                }
                "secrets" => {
                    rule.secrets = Some(self.globs(
                        &field,
                        Named::Objects,
                        &form("secrets: [\"*\"]", NO_NAME),
                    ));
                }
                _ => {}
            }
        }
        rule
    }

    fn namespaces(&mut self, field: &Field) -> Globs {
        self.globs(
            field,
            Named::Namespaces,
            &form("namespaces: [\"team-*\"]", "remove it for all namespaces"),
        )
    }

    fn globs(&mut self, field: &Field, named: Named, form: &Form) -> Globs {
        let mut globs = Globs::default();
        for (line, glob) in self.texts(field, form) {
            match named.check(glob) {
                Ok(()) => globs.add(glob),
                Err(text) => self.add(line, text),
            }
        }
        globs
    }

    fn roles(&mut self, field: &Field) -> Vec<Role> {
        let mut roles = Vec::new();
        for (line, role) in
            self.texts(field, &form("roles: [driver, executor]", "remove it for both"))
        {
            match Role::parse(role) {
                Some(role) => roles.push(role),
                None => self.add(
                    line,
                    format!("there is no role {}; write driver or executor", quoted(role)),
                ),
            }
        }
        roles
    }

    fn selector(&mut self, field: &Field) -> Selector {
        let mut selector = Selector::default();
        let form_of_it = form("selector: {matchLabels: {KEY: VALUE}}", "remove it for all pods");
        if self.is_null(field, &form_of_it) {
            return selector;
        }
        for field in
            self.fields(field.node, "selector", "selector: {matchLabels: {KEY: VALUE}}", SELECTOR)
        {
            match field.name {
                "matchLabels" => {
                    let form = form("matchLabels: {KEY: VALUE}", "remove it");
                    let labels = self
                        .map(&field, &form)
                        .into_iter()
                        .map(|(key, _, value)| (key.to_owned(), value.to_owned()));
                    selector.match_labels = labels.collect();
                }
                "matchExpressions" => {
                    let form =
                        form("matchExpressions: [{key: KEY, operator: Exists}]", "remove it");
                    selector.match_expressions = self
                        .list(&field, &form)
                        .iter()
                        .filter_map(|node| self.requirement(node))
                        .collect();
                }
                _ => {}
            }
        }
        selector
    }

    fn requirement(&mut self, node: &Node) -> Option<Requirement> {
        let before = self.mistakes.len();
        let (mut key, mut operator, mut values) = (None, None, Vec::new());
        for field in self.fields(node, "an expression", "{key: KEY, operator: Exists}", REQUIREMENT)
        {
            match field.name {
                "key" => key = self.text(&field),
                "operator" => {
                    if let Some(name) = self.text(&field) {
                        operator =
                            Operator::ALL.into_iter().find(|operator| operator.as_str() == name);
                        if operator.is_none() {
                            let text = format!(
                                "there is no operator {}; write In, NotIn, Exists or DoesNotExist",
                                quoted(name)
                            );
                            self.add(field.node.line, text);
                        }
                    }
                }
                "values" => {
                    let form = form("values: [VALUE]", "remove it");
                    let entries = self
                        .list(&field, &form)
                        .iter()
                        .filter_map(|node| self.entry(field.name, node));
                    values = entries.map(|(_, text)| text.to_owned()).collect();
                }
                _ => {}
            }
        }
        match (key, operator) {
            _ if self.mistakes.len() > before => None,
            (Some(key), Some(operator)) => match Requirement::new(key, operator, values) {
                Ok(requirement) => Some(requirement),
                Err(text) => {
                    self.add(node.line, text);
                    None
                }
            },
            _ => {
                self.add(
                    node.line,
                    "key or operator is missing; write {key: KEY, operator: Exists}",
                );
                None
            }
        }
    }

    fn annotations(&mut self, field: &Field) -> BTreeMap<String, Written> {
        let form = form("annotations: {KEY: VALUE}", "remove the rule");
        let annotations = self.map(field, &form).into_iter();
        annotations
            .map(|(key, line, value)| (key.to_owned(), Written { line, value: value.to_owned() }))
            .collect()
    }

    /// What a pod would be told of the annotations, so that a file that is accepted cannot fail
    /// later.
    fn check_annotations(&mut self, rule: &DefaultRule) {
        let before = self.mistakes.len();
        for (key, Written { line, value }) in &rule.annotations {
            let parsed = PrefixedKey::parse(key);
            match parsed.as_ref().map(|key| key.key) {
                Some(Key::Request(..) | Key::List(_)) => {}
                Some(Key::Container | Key::Injected) => {
                    self.add(
                        *line,
                        format!("{}: a rule cannot have this annotation, remove it", excerpt(key)),
                    );
                    continue;
                }
                Some(Key::Legacy(_) | Key::Unknown) | None => {
                    let nearest = parsed.and_then(|key| key.nearest()).unwrap_or(Documented::FIRST);
                    let text = format!(
                        "{}: not an annotation of this webhook, write {}{nearest}",
                        excerpt(key),
                        PREFIXES[0]
                    );
                    self.add(*line, text);
                    continue;
                }
            }
            let requests = annotations::parse([(&**key, &**value)].into_iter());
            for problem in requests.problems.iter() {
                self.add(*line, problem.text());
            }
            if !rule.required
                && requests.mounts.iter().any(|request| request.options.file.is_some())
            {
                let text = format!(
                    "{}={}: file= cannot be optional, write required: true",
                    excerpt(key),
                    excerpt(value)
                );
                self.add(*line, text);
            }
        }
        if self.mistakes.len() == before {
            // What the annotations say together.
            for problem in rule.requests().problems.iter() {
                self.add(rule.line_of(problem), problem.text());
            }
        }
    }
}

const NO_NAME: &str = "remove it to permit no name";

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;
    use crate::rules::RulesError;

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
            (
                "selector: {matchLabels: {tier: [a]}}",
                "the value of tier is a text; write it in quotes",
            ),
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
            error
                .to_string()
                .ends_with(" (149 more mistakes: spark-webhook check-config lists them)"),
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
        for list in
            [&of("DefaultRule")["properties"]["roles"], of("NamespaceGlobs"), of("ObjectGlobs")]
        {
            assert_eq!(list["minItems"], 1, "{list}");
        }
    }
}
