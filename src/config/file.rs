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
        self.check_annotations(&mut rule);
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
    fn check_annotations(&mut self, rule: &mut DefaultRule) {
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
            for problem in rule.read_annotations().iter() {
                self.add(rule.line_of(problem), problem.text());
            }
        }
    }
}

const NO_NAME: &str = "remove it to permit no name";

#[cfg(test)]
mod tests;
