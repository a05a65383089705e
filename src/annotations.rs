//! What a pod asks for: its annotations, read into typed requests and the problems that were met on the way.
//!
//! Everything that can be checked without looking at the pod is checked here, once: a [`Request`] has a name that an object
//! can have and a path that can be mounted, and nothing downstream asks again. Keys that mean the same are made one, so the
//! order and the spelling in which they were written decide nothing, except where they contradict each other.

use std::borrow::Cow;

pub mod key;
pub mod problem;
pub mod value;

pub use key::{INJECTED, Kind, PREFIXES};
pub use problem::{Annotation, Problem, Severity};
pub use value::{MountPath, ObjectName, PathError};

use key::{Key, PrefixedKey};
use problem::Excerpt;

/// More requests than this in one pod are an attack or a mistake, and none of them is carried out.
pub const MAX_REQUESTS: usize = 256;

/// What a pod's annotations ask for.
#[derive(Debug, Default)]
pub struct Requests<'a> {
    /// In the order in which they are carried out: by kind, then by name.
    pub mounts: Vec<Request<'a>>,
    /// The name of Spark's container, for pods that Spark did not make.
    pub container: Option<Annotation<'a>>,
    /// What was wrong with annotations under our prefixes.
    pub problems: Vec<Problem>,
    /// Whether there is any key under our prefixes, even one that asks for nothing.
    pub has_keys: bool,
}

/// A request to mount one ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What is asked for.
    pub kind: Kind,
    /// The ConfigMap or Secret.
    pub name: ObjectName<'a>,
    /// Where it is to appear.
    pub path: MountPath<'a>,
    /// The annotation, for problems.
    pub annotation: Annotation<'a>,
}

/// What kind of object a volume takes its files from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl Request<'_> {
    /// The kind of object that the request names.
    #[must_use]
    pub fn source(&self) -> Source {
        match self.kind {
            Kind::SparkConfigMap | Kind::HadoopConfigMap | Kind::ConfigMap => Source::ConfigMap,
            Kind::Secret | Kind::GcpServiceAccount | Kind::HadoopDelegationToken => Source::Secret,
        }
    }

    /// The variable that the request sets, with its value.
    #[must_use]
    pub fn env(&self) -> Option<(&'static str, Cow<'_, str>)> {
        match self.kind {
            Kind::SparkConfigMap => Some(("SPARK_CONF_DIR", Cow::Borrowed(self.path.as_str()))),
            Kind::HadoopConfigMap => Some(("HADOOP_CONF_DIR", Cow::Borrowed(self.path.as_str()))),
            Kind::GcpServiceAccount => Some(("GOOGLE_APPLICATION_CREDENTIALS", Cow::Owned(format!("{}/key.json", self.path)))),
            Kind::ConfigMap | Kind::Secret | Kind::HadoopDelegationToken => None,
        }
    }
}

impl Source {
    /// As Kubernetes spells the kind.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// Reads a pod's annotations, given in any order as key and value.
#[must_use]
pub fn parse<'a>(annotations: impl Iterator<Item = (&'a str, &'a str)>) -> Requests<'a> {
    let mut entries: Vec<Entry<'a>> = annotations
        .filter_map(|(key, value)| PrefixedKey::parse(key).map(|key| Entry { key, value: value.trim_matches(BLANKS) }))
        .collect();
    entries.sort_unstable();

    let mut requests = Requests { has_keys: !entries.is_empty(), ..Requests::default() };
    let mut asked = 0;
    for same in entries.chunk_by(Entry::is_about_the_same_as) {
        let Some((entry, others)) = same.split_first() else { continue };
        match entry.key.key {
            Key::Request(kind, name) => {
                requests.problems.extend(others.iter().filter_map(|other| other.loses_to(entry)));
                if !entry.value.is_empty() {
                    asked += 1;
                    match entry.request(kind, name) {
                        Ok(request) => requests.mounts.push(request),
                        Err(problem) => requests.problems.push(problem),
                    }
                }
            }
            Key::List(kind) => {
                requests.problems.extend(others.iter().filter_map(|other| other.loses_to(entry)));
                if !entry.value.is_empty() {
                    asked += 1;
                    let instead = if kind == Kind::Secret { "secret.NAME=PATH" } else { "configMap.NAME=PATH" };
                    requests
                        .problems
                        .push(Problem::error(entry.annotation(), format_args!("lists are not supported yet, write {instead}")));
                }
            }
            Key::Container => requests.container = (!entry.value.is_empty()).then(|| entry.annotation()),
            Key::Injected => {}
            Key::Legacy(legacy) => {
                for entry in same {
                    let annotation = entry.key.annotation("");
                    requests.problems.push(Problem::note(annotation, format_args!("no longer acted on; {}", legacy.instead)));
                }
            }
            Key::Unknown => {
                let nearest = entry.key.nearest();
                requests.problems.push(Problem::note(
                    entry.key.annotation(""),
                    format_args!("unknown key, ignored; the nearest is {nearest}"),
                ));
            }
        }
    }
    if asked > MAX_REQUESTS {
        requests.mounts.clear();
        requests.problems.clear();
        let every = Annotation { key: PREFIXES[0], value: "" };
        requests
            .problems
            .push(Problem::error(every, format_args!("{asked} requests, at most {MAX_REQUESTS} a pod: nothing is mounted")));
    }
    requests
}

/// Removed at either end of a value: `--conf` keeps them, properties files do not.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// An annotation of ours. The order of the fields is the order of requests, and of precedence among the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry<'a> {
    key: PrefixedKey<'a>,
    value: &'a str,
}

impl<'a> Entry<'a> {
    fn annotation(&self) -> Annotation<'a> {
        self.key.annotation(self.value)
    }

    fn is_about_the_same_as(&self, other: &Self) -> bool {
        // Unknown keys are told apart by their text, which is no more than text to us.
        self.key.key == other.key.key && self.key.key != Key::Unknown
    }

    fn loses_to(&self, winner: &Self) -> Option<Problem> {
        if self.value.is_empty() || self.value == winner.value {
            return None;
        }
        let empty = if winner.value.is_empty() { "the empty " } else { "" };
        let winner = winner.annotation().to_string();
        let winner = Excerpt::new(&winner, 45);
        Some(Problem::note(self.annotation(), format_args!("loses to {empty}{winner}; remove one")))
    }

    fn request(&self, kind: Kind, name: &'a str) -> Result<Request<'a>, Problem> {
        let error = |message: &dyn std::fmt::Display| Problem::error(self.annotation(), message);
        let (value, options) = match self.value.split_once(':') {
            Some((value, options)) => (value.trim_end_matches(BLANKS), Some(options)),
            None => (self.value, None),
        };
        if options.is_some() {
            let value = Excerpt::new(value, 30);
            return Err(error(&format_args!("options after \":\" are not supported yet, write {value} alone")));
        }
        let wrong_path = |reason: PathError| match &reason {
            // Said with the whole annotation, because it can be: the path was nearly right.
            PathError::Relative(path) => {
                let instead = Annotation { value: path, ..self.annotation() }.to_string();
                error(&format_args!("the path must start with \"/\", write {}", Excerpt::new(&instead, 50)))
            }
            _ => error(&reason),
        };
        let named_by_key = || ObjectName::parse(name).map_err(|reason| error(&reason));
        let named_by_value = || ObjectName::parse(value).map_err(|reason| error(&reason));
        let (name, path) = match kind {
            Kind::SparkConfigMap => (named_by_value()?, MountPath::fixed("/etc/spark/conf")),
            Kind::HadoopConfigMap => (named_by_value()?, MountPath::fixed("/etc/hadoop/conf")),
            Kind::ConfigMap | Kind::Secret => (named_by_key()?, MountPath::parse(value).map_err(wrong_path)?),
            Kind::GcpServiceAccount => (named_by_key()?, MountPath::parse_for_env(value).map_err(wrong_path)?),
            Kind::HadoopDelegationToken => return Err(error(&"tokens are not supported yet, write secret.NAME=PATH")),
        };
        Ok(Request { kind, name, path, annotation: self.annotation() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests as `kind name path`, then problems as `error: …` and `note: …`.
    fn read(annotations: &[(&str, &str)]) -> Vec<String> {
        let forwards = parse(annotations.iter().copied());
        let backwards = parse(annotations.iter().rev().copied());
        assert_eq!(forwards.mounts, backwards.mounts, "the order of annotations decides nothing");
        assert_eq!(forwards.problems, backwards.problems);
        let mounts = forwards.mounts.iter().map(|request| format!("{:?} {} {}", request.kind, request.name, request.path));
        let problems = forwards.problems.iter().map(|problem| {
            let severity = if problem.severity() == Severity::Error { "error" } else { "note" };
            format!("{severity}: {}", problem.text())
        });
        mounts.chain(problems).collect()
    }

    #[test]
    fn every_kind_of_request_in_the_order_of_kinds_and_names() {
        assert_eq!(
            read(&[
                ("spark-operator.k8s.io/GCPServiceAccount.gcp-sa", "/mnt/gcp/"),
                ("spark-operator.k8s.io/secret.b", "/mnt/b"),
                ("spark-operator.k8s.io/secret.a", "/mnt/a"),
                ("spark-operator.k8s.io/configMap.more.dotted.name", "/etc/more"),
                ("spark-operator.k8s.io/configMap.app", "/etc/app"),
                ("spark-operator.k8s.io/hadoopConfigMap", " hadoop-conf\n"),
                ("spark-operator.k8s.io/sparkConfigMap", "spark-conf"),
                ("prometheus.io/scrape", "true"),
            ]),
            [
                "SparkConfigMap spark-conf /etc/spark/conf",
                "HadoopConfigMap hadoop-conf /etc/hadoop/conf",
                "ConfigMap app /etc/app",
                "ConfigMap more.dotted.name /etc/more",
                "Secret a /mnt/a",
                "Secret b /mnt/b",
                "GcpServiceAccount gcp-sa /mnt/gcp",
            ]
        );
    }

    #[test]
    fn first_prefix_beats_second_then_first_spelling_beats_second() {
        for (annotations, expected) in [
            (
                &[("spark-operator.k8s.io/sparkConfigMap", "a"), ("sparkoperator.k8s.io/spark-configmap", "a ")][..],
                &["SparkConfigMap a /etc/spark/conf"][..],
            ),
            (
                &[("spark-operator.k8s.io/spark-configmap", "a"), ("sparkoperator.k8s.io/sparkConfigMap", "b")],
                &[
                    "SparkConfigMap a /etc/spark/conf",
                    "note: sparkoperator.k8s.io/sparkConfigMap=b: loses to spark-configmap=a; remove one",
                ],
            ),
            (
                &[("spark-operator.k8s.io/configMap.x", "/a"), ("spark-operator.k8s.io/configmap.x", "/b")],
                &["ConfigMap x /a", "note: configmap.x=/b: loses to configMap.x=/a; remove one"],
            ),
            (
                &[("sparkoperator.k8s.io/gcp-service-account.x", "/a"), ("sparkoperator.k8s.io/GCPServiceAccount.x", "/b")],
                &[
                    "GcpServiceAccount x /b",
                    "note: sparkoperator.k8s.io/gcp-service-account.x=/a: loses to sparkoperator.k8s.io/GCPServiceAccount.x=/b; remove one",
                ],
            ),
            // An invalid value that wins stays an error: nothing is guessed.
            (
                &[("spark-operator.k8s.io/configMap.x", "rel"), ("sparkoperator.k8s.io/configMap.x", "/b")],
                &[
                    "note: sparkoperator.k8s.io/configMap.x=/b: loses to configMap.x=rel; remove one",
                    "error: configMap.x=rel: the path must start with \"/\", write configMap.x=/rel",
                ],
            ),
        ] {
            assert_eq!(read(annotations), expected);
        }
    }

    #[test]
    fn an_empty_value_asks_for_nothing_and_wins_where_it_comes_first() {
        assert!(read(&[("spark-operator.k8s.io/sparkConfigMap", " \t"), ("spark-operator.k8s.io/secret.x", "")]).is_empty());
        assert_eq!(
            read(&[("spark-operator.k8s.io/sparkConfigMap", ""), ("sparkoperator.k8s.io/sparkConfigMap", "b")]),
            ["note: sparkoperator.k8s.io/sparkConfigMap=b: loses to the empty sparkConfigMap; remove one"]
        );
        assert_eq!(
            read(&[("spark-operator.k8s.io/sparkConfigMap", "a"), ("sparkoperator.k8s.io/sparkConfigMap", "")]),
            ["SparkConfigMap a /etc/spark/conf"]
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_what_to_write_instead() {
        for (key, value, expected) in [
            (
                "configMap.app",
                "etc/app",
                "error: configMap.app=etc/app: the path must start with \"/\", write configMap.app=/etc/app",
            ),
            (
                "configMap.three",
                "/",
                "error: configMap.three=/: a mount at / hides what the container needs, write a directory below it",
            ),
            (
                "configMap.App_Conf",
                "/a",
                "error: configMap.App_Conf=/a: the name must be lower case letters, digits, \"-\" and \".\"; no such object can exist",
            ),
            ("configMap.", "/x", "error: configMap.=/x: the name is missing, write it after the dot"),
            (
                "secret.s",
                "/a:mode=0440",
                "error: secret.s=/a:mode=0440: options after \":\" are not supported yet, write /a alone",
            ),
            (
                "sparkConfigMap",
                "c:merge",
                "error: sparkConfigMap=c:merge: options after \":\" are not supported yet, write c alone",
            ),
            (
                "GCPServiceAccount.g",
                "/$(X)",
                "error: GCPServiceAccount.g=/$(X): the path must not contain \"$(\" because it is also the value of a variable",
            ),
            ("configMaps", "a=/b", "error: configMaps=a=/b: lists are not supported yet, write configMap.NAME=PATH"),
            ("secrets", "a=/b", "error: secrets=a=/b: lists are not supported yet, write secret.NAME=PATH"),
            (
                "hadoopDelegationToken.t",
                "/t",
                "error: hadoopDelegationToken.t=/t: tokens are not supported yet, write secret.NAME=PATH",
            ),
            ("secrets.x", "hello", "note: secrets.x: unknown key, ignored; the nearest is secret.NAME"),
            ("ownerReference", "Cg==", "note: ownerReference: no longer acted on; Spark sets owner references itself"),
            (
                "volumes.x",
                "Cg==",
                "note: volumes.x: no longer acted on; use configMap.NAME, secret.NAME or spark.kubernetes.*.volumes.*",
            ),
        ] {
            let key = format!("spark-operator.k8s.io/{key}");
            assert_eq!(read(&[(&key, value)]), [expected]);
        }
    }

    #[test]
    fn only_keys_under_our_prefixes_count_as_asking() {
        assert!(!parse([("prometheus.io/scrape", "true")].into_iter()).has_keys);
        assert!(parse([("spark-operator.k8s.io/sparkConfigMap", "")].into_iter()).has_keys);
        assert!(parse([("sparkoperator.k8s.io/anything", "x")].into_iter()).has_keys);
    }

    #[test]
    fn more_than_256_requests_are_one_error_and_nothing_is_mounted() {
        for (count, mounts, problems) in [(256, 256, 0), (257, 0, 1)] {
            let annotations: Vec<_> =
                (0..count).map(|i| (format!("spark-operator.k8s.io/configMap.c{i}"), format!("/c/{i}"))).collect();
            let requests = parse(annotations.iter().map(|(key, value)| (&**key, &**value)));
            assert_eq!((requests.mounts.len(), requests.problems.len()), (mounts, problems), "{count}");
        }
    }
}
