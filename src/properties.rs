//! The other direction of [`crate::annotations`]: the Spark properties that a person passes so that pods ask for something.
//!
//! What is written here is read by the same parser before anybody sees it, so it cannot be refused later.

use crate::annotations::{self, Kind, PREFIXES};

/// One thing to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What.
    pub kind: Kind,
    /// The ConfigMap or Secret that the key names; empty for conf dirs, whose value names it.
    pub name: String,
    /// `NAME[:option…]` of a conf dir, `PATH[:option…]` of the others.
    pub value: String,
}

/// Why something cannot be asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// There is no list of this kind, and the key would be too long.
    #[error(
        "{key}{name}: an annotation's key has room for a name of {room} characters, and there is no list of these; use a shorter name"
    )]
    TooLong {
        /// The key's beginning.
        key: &'static str,
        /// The name.
        name: String,
        /// How long it may be.
        room: usize,
    },
    /// An entry of a list would end at the comma.
    #[error("{name}={value}: needs a list, in which a path must not contain a comma; use another path")]
    Comma {
        /// The ConfigMap or Secret.
        name: String,
        /// What was to be its entry.
        value: String,
    },
    /// The parser of annotations has an objection.
    #[error("{0}")]
    Refused(String),
}

/// The most characters of an annotation's key after the `/`.
const MAX_KEY: usize = 63;

/// The annotations, without prefix, that ask for all of it: a key each, and a list for names that are too long for a key or
/// are asked for at several paths.
///
/// # Errors
///
/// When the annotations would be refused on a pod, or cannot be written at all.
pub fn annotations(asks: &[Ask]) -> Result<Vec<(String, String)>, AskError> {
    let mut written: Vec<(String, String)> = Vec::new();
    let mut lists: [(&str, Vec<String>); 2] = [("configMaps", Vec::new()), ("secrets", Vec::new())];
    for Ask { kind, name, value } in asks {
        let (start, list) = match kind {
            Kind::SparkConfigMap => ("sparkConfigMap", None),
            Kind::HadoopConfigMap => ("hadoopConfigMap", None),
            Kind::ConfigMap => ("configMap.", Some(0)),
            Kind::Secret => ("secret.", Some(1)),
            Kind::GcpServiceAccount => ("GCPServiceAccount.", None),
            Kind::HadoopDelegationToken => ("hadoopDelegationToken.", None),
        };
        let key = format!("{start}{name}");
        let is_taken = written.iter().any(|(other, _)| *other == key);
        match list.and_then(|list| lists.get_mut(list)) {
            Some((_, entries)) if key.len() > MAX_KEY || is_taken => {
                if value.contains(',') {
                    return Err(AskError::Comma { name: name.clone(), value: value.clone() });
                }
                entries.push(format!("{name}={value}"));
            }
            None if key.len() > MAX_KEY => {
                return Err(AskError::TooLong { key: start, name: name.clone(), room: MAX_KEY - start.len() });
            }
            _ if is_taken => return Err(AskError::Refused(format!("{key} is asked for twice, ask once"))),
            _ => written.push((key, value.clone())),
        }
    }
    let lists = lists.into_iter().filter(|(_, entries)| !entries.is_empty());
    written.extend(lists.map(|(key, entries)| (key.to_owned(), entries.join(","))));
    let prefixed: Vec<(String, &str)> =
        written.iter().map(|(key, value)| (format!("{}{key}", PREFIXES[0]), value.as_str())).collect();
    let requests = annotations::parse(prefixed.iter().map(|(key, value)| (key.as_str(), *value)));
    match requests.problems.first() {
        Some(problem) => Err(AskError::Refused(problem.text().to_owned())),
        None => Ok(written),
    }
}

/// The property that puts an annotation on the pods of a role, `driver` or `executor`.
#[must_use]
pub fn property(role: &str, annotation: &str) -> String {
    format!("spark.kubernetes.{role}.annotation.{}{annotation}", PREFIXES[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(asks: &[(Kind, &str, &str)]) -> Result<Vec<String>, String> {
        let asks: Vec<_> = asks
            .iter()
            .map(|(kind, name, value)| Ask { kind: *kind, name: (*name).to_owned(), value: (*value).to_owned() })
            .collect();
        let written = annotations(&asks).map_err(|error| error.to_string())?;
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
        for (asks, expected) in [
            (vec![(Kind::Secret, "s", "rel")], "secret.s=rel: the path must start with \"/\", write secret.s=/rel"),
            (vec![(Kind::HadoopConfigMap, "", "h:typo")], "hadoopConfigMap=h:typo: unknown option typo"),
            (vec![(Kind::SparkConfigMap, "", "a"), (Kind::SparkConfigMap, "", "b")], "sparkConfigMap is asked for twice"),
            (vec![(Kind::ConfigMap, "a", "/a"), (Kind::ConfigMap, "a", "/b,c")], "a=/b,c: needs a list"),
        ] {
            let error = written(&asks).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        let name = "g".repeat(46);
        let error = written(&[(Kind::GcpServiceAccount, &name, "/g")]).unwrap_err();
        assert!(error.contains("room for a name of 45 characters, and there is no list of these"), "{error}");
        assert!(written(&[(Kind::GcpServiceAccount, &name[1..], "/g")]).is_ok());
        assert!(written(&[(Kind::HadoopDelegationToken, &"t".repeat(42), "/t")]).is_err());
    }
}
