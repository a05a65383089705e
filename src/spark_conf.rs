//! The other direction of [`crate::annotations`]: the Spark properties that a person passes so that
//! pods ask for something.
//!
//! What is written here is read by the same parser before anybody sees it, so it cannot be refused
//! later.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::admission::Settings;
use crate::annotations;
use crate::request::{Kind, PREFIXES, Problem};
use crate::sample_pod;
use crate::spark::Role;
use crate::text::Excerpt;

/// One request, before it is written as an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSpec {
    /// The kind of annotation.
    pub kind: Kind,
    /// The ConfigMap or Secret that the key names; empty for conf dirs, whose value names it.
    pub name: String,
    /// `NAME[:option…]` of a conf dir, `PATH[:option…]` of the others.
    pub value: String,
}

/// Why a request cannot be written as an annotation.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestSpecError {
    /// There is no list of this kind, and the key would be too long.
    #[error(
        "{key}{name}: an annotation's key has room for a name of {room} characters, and there is no list of these; use a shorter name"
    )]
    TooLong {
        /// The key without the name.
        key: String,
        /// The name.
        name: String,
        /// How long it may be.
        room: usize,
    },
    /// An entry of a list would end at the comma.
    #[error(
        "{name}={value}: needs a list, in which a path must not contain a comma; use another path"
    )]
    Comma {
        /// The ConfigMap or Secret.
        name: String,
        /// What was to be its entry.
        value: String,
    },
    /// Whoever reads the properties would take the rest for another one, or lose it.
    #[error("{0}: it has a line break, a tab or another control character, write it without")]
    Control(String),
    /// The parser of annotations has an objection.
    #[error("{0}")]
    Refused(String),
}

/// The most characters of an annotation's key after the `/`.
const MAX_KEY: usize = 63;

/// The annotations, without prefix, for these requests: a key each, and a list for names that are
/// too long for a key, or that have several paths.
///
/// # Errors
///
/// When the annotations would be refused on a pod, or cannot be written at all.
pub fn annotations(specs: &[RequestSpec]) -> Result<Vec<(String, String)>, RequestSpecError> {
    let mut written: Vec<(String, String)> = Vec::new();
    let mut lists: BTreeMap<Kind, (&str, Vec<String>)> = BTreeMap::new();
    for RequestSpec { kind, name, value } in specs {
        let text = if name.is_empty() { value.clone() } else { format!("{name}={value}") };
        if text.contains(char::is_control) {
            return Err(RequestSpecError::Control(Excerpt::new(&text, 100).to_string()));
        }
        let spec = kind.spec();
        let dot = if spec.is_named_in_key() { "." } else { "" };
        let start = format!("{}{dot}", spec.key);
        let key = format!("{start}{name}");
        let is_taken = written.iter().any(|(other, _)| *other == key);
        match spec.list {
            Some(list) if key.len() > MAX_KEY || is_taken => {
                if value.contains(',') {
                    return Err(RequestSpecError::Comma {
                        name: name.clone(),
                        value: value.clone(),
                    });
                }
                let (_, entries) = lists.entry(*kind).or_insert((list.key, Vec::new()));
                entries.push(format!("{name}={value}"));
            }
            None if key.len() > MAX_KEY => {
                let room = MAX_KEY - start.len();
                return Err(RequestSpecError::TooLong { key: start, name: name.clone(), room });
            }
            _ if is_taken => {
                return Err(RequestSpecError::Refused(format!(
                    "{key} is asked for twice, ask once"
                )));
            }
            _ => written.push((key, value.clone())),
        }
    }
    written.extend(lists.into_values().map(|(key, entries)| (key.to_owned(), entries.join(","))));
    let prefixed: Vec<(String, &str)> = written
        .iter()
        .map(|(key, value)| (format!("{}{key}", PREFIXES[0]), value.as_str()))
        .collect();
    let requests = annotations::parse(prefixed.iter().map(|(key, value)| (key.as_str(), *value)));
    match requests.problems.first() {
        Some(problem) => Err(RequestSpecError::Refused(problem.text().to_owned())),
        None => Ok(written),
    }
}

/// What the webhook will say of the annotations on a pod that Spark makes.
#[must_use]
pub fn problems(role: Role, annotations: &[(String, String)]) -> Vec<Problem> {
    let mut pod = sample_pod::spark(role);
    let prefixed = annotations
        .iter()
        .map(|(key, value)| (format!("{}{key}", PREFIXES[0]), Value::from(value.as_str())));
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("annotations".to_owned(), prefixed.collect());
    }
    sample_pod::problems(&sample_pod::review(&pod), &Settings::default())
}

/// The property that puts an annotation on the pods of a role.
#[must_use]
pub fn property(role: Role, annotation: &str) -> String {
    format!("spark.kubernetes.{}.annotation.{}{annotation}", role.as_str(), PREFIXES[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(specs: &[(Kind, &str, &str)]) -> Result<Vec<String>, String> {
        let specs: Vec<_> = specs
            .iter()
            .map(|(kind, name, value)| RequestSpec {
                kind: *kind,
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            })
            .collect();
        let written = annotations(&specs).map_err(|error| error.to_string())?;
        Ok(written.into_iter().map(|(key, value)| format!("{key}={value}")).collect())
    }

    #[test]
    fn a_key_each_and_lists_where_keys_do_not_serve() {
        let long = "l".repeat(54);
        assert_eq!(
            written(&[
                (Kind::SparkConfigMap, "", "spark-conf:merge"),
                (Kind::ConfigMap, "a", "/a"),
                (Kind::ConfigMap, "a", "/b"),
                (Kind::ConfigMap, &long, "/l:optional"),
                (Kind::Secret, &"s".repeat(56), "/s"),
                (Kind::GcpServiceAccount, "g", "/g"),
                (Kind::Secret, "none", ""),
            ]),
            Ok(vec![
                "sparkConfigMap=spark-conf:merge".to_owned(),
                "configMap.a=/a".to_owned(),
                format!("secret.{}=/s", "s".repeat(56)),
                "GCPServiceAccount.g=/g".to_owned(),
                "secret.none=".to_owned(),
                format!("configMaps=a=/b,{long}=/l:optional"),
            ])
        );
    }

    #[test]
    fn what_a_pod_would_be_refused_is_refused_here() {
        for (specs, expected) in [
            (
                vec![(Kind::Secret, "s", "rel")],
                "secret.s=rel: the path must start with \"/\", write secret.s=/rel",
            ),
            (
                vec![(Kind::HadoopConfigMap, "", "h:typo")],
                "hadoopConfigMap=h:typo: unknown option typo",
            ),
            (
                vec![(Kind::SparkConfigMap, "", "a"), (Kind::SparkConfigMap, "", "b")],
                "sparkConfigMap is asked for twice",
            ),
            (
                vec![(Kind::ConfigMap, "a", "/a"), (Kind::ConfigMap, "a", "/b,c")],
                "a=/b,c: needs a list",
            ),
            // Also where the parser of annotations would remove them, at the end of a value and of
            // a list's names.
            (
                vec![(Kind::Secret, "s", "/s\nspark.master=local")],
                "s=/s\\nspark.master=local: it has a line break",
            ),
            (vec![(Kind::Secret, "s", "/s\n")], "s=/s\\n: it has a line break"),
            (vec![(Kind::HadoopConfigMap, "", "h\r")], "h\\r: it has a line break"),
            (
                vec![(Kind::ConfigMap, "a", "/a"), (Kind::ConfigMap, "a\t", "/b")],
                "a\\t=/b: it has a line break, a tab",
            ),
        ] {
            let error = written(&specs).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        let name = "g".repeat(46);
        let error = written(&[(Kind::GcpServiceAccount, &name, "/g")]).unwrap_err();
        assert!(
            error.contains("room for a name of 45 characters, and there is no list of these"),
            "{error}"
        );
        assert!(written(&[(Kind::GcpServiceAccount, &name[1..], "/g")]).is_ok());
        assert!(written(&[(Kind::HadoopDelegationToken, &"t".repeat(42), "/t")]).is_err());
    }

    #[test]
    fn a_property_names_role_prefix_and_annotation() {
        for (role, expected) in [
            (Role::Driver, "spark.kubernetes.driver.annotation.spark-operator.k8s.io/secret.a"),
            (Role::Executor, "spark.kubernetes.executor.annotation.spark-operator.k8s.io/secret.a"),
        ] {
            assert_eq!(property(role, "secret.a"), expected);
        }
    }

    #[test]
    fn the_whole_set_is_tried_on_pods_that_spark_makes() {
        let set = |entries: &[(&str, &str)]| -> Vec<(String, String)> {
            entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        for role in [Role::Driver, Role::Executor] {
            for (entries, expected) in [
                (&[("secret.a", "/m"), ("secret.b", "/n")][..], None),
                (&[("secret.a", "/m"), ("secret.b", "/m")], Some("secret.b=/m: ")),
                (
                    &[("configMap.a", "/opt/spark/conf/a:file=a")],
                    Some("configMap.a=/opt/spark/conf/a"),
                ),
                (
                    &[("sparkConfigMap", "c:merge:path=/opt/spark/conf")],
                    Some("sparkConfigMap=c:merge:path=/opt/spark/conf"),
                ),
            ] {
                let problems = problems(role, &set(entries));
                let text = problems.first().map(|problem| problem.text().to_owned());
                assert_eq!(text.is_some(), expected.is_some(), "{entries:?}: {text:?}");
                assert!(text.is_none_or(|text| text.starts_with(expected.unwrap())), "{entries:?}");
            }
        }
    }
}
