//! What a pod asks for: its annotations, read into typed requests and the problems that were met on
//! the way.
//!
//! Everything that can be checked without looking at the pod is checked here, once: a [`Request`]
//! has a name that an object can have and a path that can be mounted, and nothing downstream asks
//! again. Keys that mean the same are made one, so the order and the spelling in which they were
//! written decide nothing, except where they contradict each other.

pub mod key;
mod lists;
pub mod options;

use crate::request::kind::PathFrom;
use crate::request::path::{is_windows_path, substitution};
use crate::request::{
    Annotation, Claim, Kind, MountPath, ObjectName, Options, Origin, PREFIXES, PathError, Problem,
    ProblemKind, Problems, Request,
};
use key::{Key, PrefixedKey};
use lists::Lists;

/// More requests than this in one pod are an attack or a mistake, and none of them is carried out.
pub const MAX_REQUESTS: usize = 256;

/// Entries of lists that request nothing count too, or a list of them could be as long as a body.
const MAX_LIST_ENTRIES: usize = 4096;

/// What a pod's annotations ask for.
#[derive(Debug, Default)]
pub struct Requests<'a> {
    /// In the order in which they are carried out: by kind, then by name, then by path.
    pub mounts: Vec<Request<'a>>,
    /// The name of Spark's container, for pods that Spark did not make.
    pub container: Option<Annotation<'a>>,
    /// What was wrong with annotations under our prefixes.
    pub problems: Problems,
    /// What the annotations are about, also where they ask for nothing or are wrong: no default
    /// takes its place.
    pub claims: Vec<Claim<'a>>,
    /// Annotations with an empty value, which opt out of a default.
    pub opt_outs: Vec<(Claim<'a>, Annotation<'a>)>,
    /// Whether there is any key under our prefixes, even one that asks for nothing.
    pub has_keys: bool,
}

/// Reads a pod's annotations, given in any order as key and value.
#[must_use]
pub fn parse<'a>(annotations: impl Iterator<Item = (&'a str, &'a str)>) -> Requests<'a> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    let mut unknown: Vec<PrefixedKey<'a>> = Vec::new();
    for (key, value) in annotations {
        match PrefixedKey::parse(key) {
            None => {}
            Some(key) if key.key == Key::Unknown => unknown.push(key),
            Some(key) => {
                let (place, value) = (key.key.place(), value.trim_matches(BLANKS));
                entries.push(Entry { place, key, value });
            }
        }
    }
    entries.sort_unstable_by(Entry::cmp);

    let mut requests =
        Requests { has_keys: !(entries.is_empty() && unknown.is_empty()), ..Requests::default() };
    let mut lists = Lists::default();
    let mut asked = 0;
    let are_too_many = entries.len() > MAX_REQUESTS && {
        let firsts = entries.chunk_by(Entry::is_about_the_same_as).filter_map(<[_]>::first);
        firsts
            .filter(|entry| matches!(entry.key.key, Key::Request(..)) && !entry.value.is_empty())
            .count()
            > MAX_REQUESTS
    };
    for same in entries.chunk_by(Entry::is_about_the_same_as) {
        let Some((entry, others)) = same.split_first() else { continue };
        match entry.key.key {
            Key::Request(kind, name) => {
                requests.claims.push((kind, name));
                for other in others.iter().filter(|other| other.value != entry.value) {
                    note_loss(&mut requests.problems, other.annotation(), entry.annotation());
                }
                if entry.value.is_empty() {
                    requests.opt_outs.push(((kind, name), entry.annotation()));
                } else {
                    asked += 1;
                    // Of too many, nothing is mounted and no problem is listed.
                    if !are_too_many {
                        requests.add(read_request(
                            kind,
                            Some(name),
                            entry.value,
                            entry.annotation(),
                        ));
                    }
                }
            }
            Key::List(kind) => {
                for entry in same {
                    asked += lists.read(kind, entry, &mut requests);
                }
            }
            Key::Container => {
                requests.container = (!entry.value.is_empty()).then(|| entry.annotation());
            }
            Key::Injected | Key::Unknown => {}
            Key::Legacy(legacy) => {
                for entry in same {
                    let message = format_args!("no longer acted on; {}", legacy.instead);
                    requests.problems.push(
                        ProblemKind::FormerKey,
                        entry.key.annotation(""),
                        message,
                    );
                }
            }
        }
    }
    name_unknown_keys(unknown, &mut requests.problems);
    let too_many = if asked > MAX_REQUESTS {
        Some(format!("more than {MAX_REQUESTS} requests, write fewer: nothing is mounted"))
    } else {
        lists.is_too_long().then(|| {
            format!(
                "more than {MAX_LIST_ENTRIES} entries in lists, write fewer: nothing is mounted"
            )
        })
    };
    if let Some(message) = too_many {
        requests.mounts.clear();
        requests.problems = Problems::default();
        requests.problems.push(
            ProblemKind::TooMany,
            Annotation { key: PREFIXES[0], value: "" },
            message,
        );
    }
    // The key forms are in order, but what lists ask for comes after them.
    requests.mounts.sort_by(Request::order);
    requests
}

/// Notes on unknown keys, in their order. There may be thousands: only those that somebody will
/// read are sorted and get a hint.
fn name_unknown_keys(mut keys: Vec<PrefixedKey>, problems: &mut Problems) {
    let listed = problems.room_for_notes().min(keys.len());
    if listed < keys.len() {
        keys.select_nth_unstable(listed);
    }
    let (named, others) = keys.split_at_mut(listed);
    named.sort_unstable();
    for key in named {
        match key.nearest() {
            Some(nearest) => {
                let message = format_args!("unknown key, ignored; the nearest is {nearest}");
                problems.push(ProblemKind::UnknownKey, key.annotation(""), message);
            }
            None => {
                problems.push(ProblemKind::UnknownKey, key.annotation(""), "unknown key, ignored");
            }
        }
    }
    problems.add_unlisted(ProblemKind::UnknownKey, others.len());
}

/// Removed at either end of a value: `--conf` keeps them, properties files do not.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

impl<'a> Requests<'a> {
    fn add(&mut self, read: Result<Request<'a>, Problem>) {
        match read {
            Ok(request) => self.mounts.push(request),
            Err(problem) => self.problems.add(problem),
        }
    }
}

/// An annotation of ours. The order of the fields is the order of requests, and of precedence among
/// the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry<'a> {
    place: u64,
    key: PrefixedKey<'a>,
    value: &'a str,
}

impl<'a> Entry<'a> {
    fn annotation(&self) -> Annotation<'a> {
        self.key.annotation(self.value)
    }

    fn is_about_the_same_as(&self, other: &Self) -> bool {
        self.key.key == other.key.key
    }
}

/// Notes that another annotation about the same thing wins; one that requests nothing loses
/// nothing.
fn note_loss(problems: &mut Problems, loser: Annotation, winner: Annotation) {
    if loser.value.is_empty() {
        return;
    }
    if problems.room_for_notes() == 0 {
        problems.add_unlisted(ProblemKind::Precedence, 1);
    } else {
        let empty = if winner.value.is_empty() { "the empty " } else { "" };
        let message = format_args!("loses to {empty}{}; remove one", winner.excerpt(45));
        problems.push(ProblemKind::Precedence, loser, message);
    }
}

/// Reads `NAME[:option…]` or `PATH[:option…]`; the name stands in the key, in the list's entry, or
/// is the value.
fn read_request<'a>(
    kind: Kind,
    name: Option<&'a str>,
    value: &'a str,
    annotation: Annotation<'a>,
) -> Result<Request<'a>, Problem> {
    let error =
        |message: &dyn std::fmt::Display| Problem::new(ProblemKind::Value, annotation, message);
    if is_windows_path(value) {
        return Err(error(&PathError::Windows));
    }
    let (value, options) = match value.split_once(':') {
        Some((value, options)) => (value.trim_end_matches(BLANKS), Some(options)),
        None => (value, None),
    };
    let default_path = match kind.spec().path {
        PathFrom::Default(path) => Some(path),
        PathFrom::Value => None,
    };
    let name = if default_path.is_some() { value } else { name.unwrap_or_default() };
    let name = ObjectName::parse(name).map_err(|reason| error(&reason))?;
    // The path before the options: an annotation that is read as `s3` with the option `//bucket`
    // was meant as a path.
    let path = default_path
        .is_none()
        .then(|| MountPath::parse(value))
        .transpose()
        .map_err(|reason| wrong_path(&reason, annotation))?;
    let mut options = Options::parse(kind, options).map_err(|reason| error(&reason))?;
    let path = match (path, default_path) {
        (Some(path), _) => path,
        (None, Some(default)) => options.path.take().unwrap_or_else(|| MountPath::fixed(default)),
        (None, None) => return Err(error(&"there is no path, write one")),
    };
    let request =
        Request { kind, name, path, options, is_listed: false, origin: Origin::Pod, annotation };
    // The other part of a variable's value is the name of a file, which has no such characters.
    match substitution(request.path.as_str()) {
        Some(pair) if request.variable().is_some() => Err(error(&PathError::Substitution(pair))),
        _ => Ok(request),
    }
}

fn wrong_path(reason: &PathError, annotation: Annotation) -> Problem {
    // Said with the whole annotation where there is room for it: the path was nearly right.
    let with_key = |path: &String| {
        let has_room =
            annotation.key.len() + path.len() < 50 && !annotation.value.contains([':', '=']);
        has_room.then(|| format!("{}={path}", annotation.key))
    };
    let reason = match reason {
        PathError::Relative(Some(path)) => {
            PathError::Relative(with_key(path).or(Some(path.clone())))
        }
        PathError::Quoted(Some(path)) => PathError::Quoted(with_key(path).or(Some(path.clone()))),
        other => other.clone(),
    };
    Problem::new(ProblemKind::Value, annotation, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{MAX_LISTED, Severity};

    /// Requests as `kind name path`, then problems as `error: …` and `note: …`.
    fn read(annotations: &[(&str, &str)]) -> Vec<String> {
        let forwards = parse(annotations.iter().copied());
        let backwards = parse(annotations.iter().rev().copied());
        assert_eq!(forwards.mounts, backwards.mounts, "the order of annotations decides nothing");
        assert_eq!(forwards.problems, backwards.problems);
        let mounts = forwards
            .mounts
            .iter()
            .map(|request| format!("{:?} {} {}", request.kind, request.name, request.path));
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
                &[
                    ("spark-operator.k8s.io/sparkConfigMap", "a"),
                    ("sparkoperator.k8s.io/spark-configmap", "a "),
                ][..],
                &["SparkConfigMap a /etc/spark/conf"][..],
            ),
            (
                &[
                    ("spark-operator.k8s.io/spark-configmap", "a"),
                    ("sparkoperator.k8s.io/sparkConfigMap", "b"),
                ],
                &[
                    "SparkConfigMap a /etc/spark/conf",
                    "note: sparkoperator.k8s.io/sparkConfigMap=b: loses to spark-configmap=a; remove one",
                ],
            ),
            (
                &[
                    ("spark-operator.k8s.io/configMap.x", "/a"),
                    ("spark-operator.k8s.io/configmap.x", "/b"),
                ],
                &["ConfigMap x /a", "note: configmap.x=/b: loses to configMap.x=/a; remove one"],
            ),
            (
                &[
                    ("sparkoperator.k8s.io/gcp-service-account.x", "/a"),
                    ("sparkoperator.k8s.io/GCPServiceAccount.x", "/b"),
                ],
                &[
                    "GcpServiceAccount x /b",
                    "note: sparkoperator.k8s.io/gcp-service-account.x=/a: loses to sparkoperator.k8s.io/GCPServiceAccount.x=/b; remove one",
                ],
            ),
            // An invalid value that wins stays an error: nothing is guessed.
            (
                &[
                    ("spark-operator.k8s.io/configMap.x", "rel"),
                    ("sparkoperator.k8s.io/configMap.x", "/b"),
                ],
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
        assert!(
            read(&[
                ("spark-operator.k8s.io/sparkConfigMap", " \t"),
                ("spark-operator.k8s.io/secret.x", "")
            ])
            .is_empty()
        );
        assert_eq!(
            read(&[
                ("spark-operator.k8s.io/sparkConfigMap", ""),
                ("sparkoperator.k8s.io/sparkConfigMap", "b")
            ]),
            [
                "note: sparkoperator.k8s.io/sparkConfigMap=b: loses to the empty sparkConfigMap; remove one"
            ]
        );
        assert_eq!(
            read(&[
                ("spark-operator.k8s.io/sparkConfigMap", "a"),
                ("sparkoperator.k8s.io/sparkConfigMap", "")
            ]),
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
                "configMap.z",
                "s3://b/x",
                "error: configMap.z=s3://b/x: the path must start with \"/\", write /s3",
            ),
            (
                "configMap.y",
                "../x",
                "error: configMap.y=../x: the path must start with \"/\", write an absolute one",
            ),
            (
                "configMap.three",
                "/",
                "error: configMap.three=/: a mount at / hides what the container needs, write a directory below it",
            ),
            (
                "configMap.App_Conf",
                "/a",
                "error: configMap.App_Conf=/a: no object can have this name: write lower case letters, digits, \"-\" and \".\" between them",
            ),
            (
                "configMap.",
                "/x",
                "error: configMap.=/x: the name is missing, write NAME as the ConfigMap or Secret is called",
            ),
            (
                "sparkConfigMap",
                ":merge",
                "error: sparkConfigMap=:merge: the name is missing, write NAME as the ConfigMap or Secret is called",
            ),
            (
                "secret.s",
                "/a:mode=9",
                "error: secret.s=/a:mode=9: the mode must be 3 or 4 octal digits up to 0777, write :mode=0440",
            ),
            (
                "GCPServiceAccount.g",
                "/$(X)",
                "error: GCPServiceAccount.g=/$(X): the path must not contain \"$(\" because it is also a variable's value, write it without",
            ),
            (
                "configMap.app",
                "\"/etc/app\"",
                "error: configMap.app=\"/etc/app\": the path is in quotes, write configMap.app=/etc/app",
            ),
            (
                "configMap.app",
                "'/etc/app:mode=0440'",
                "error: configMap.app='/etc/app:mode=0440': the path is in quotes, write /etc/app",
            ),
            (
                "sparkConfigMap",
                "\"c\"",
                "error: sparkConfigMap=\"c\": the name is in quotes, write it without them",
            ),
            (
                "configMap.w",
                "C:\\conf",
                "error: configMap.w=C:\\conf: this is a Windows path, write a path in the container",
            ),
            (
                "configMap.w",
                "/etc/krb5.conf\\",
                "error: configMap.w=/etc/krb5.conf\\: the path ends with a backslash, write it without",
            ),
            (
                "configMap.w",
                "/etc/\u{200b}app",
                "error: configMap.w=/etc/\\u{200b}app: the path contains the invisible character U+200B, write it without",
            ),
            (
                "GCPServiceAccount.g",
                "/a$$b",
                "error: GCPServiceAccount.g=/a$$b: the path must not contain \"$$\" because it is also a variable's value, write it without",
            ),
            ("typo", "hello", "note: typo: unknown key, ignored"),
            (
                "secretz.x",
                "hello",
                "note: secretz.x: unknown key, ignored; the nearest is secret.NAME",
            ),
            (
                "ownerReference",
                "Cg==",
                "note: ownerReference: no longer acted on; Spark sets owner references itself",
            ),
            (
                "volumes.x",
                "Cg==",
                "note: volumes.x: no longer acted on; use configMap.NAME, secret.NAME or spark.kubernetes.*.volumes.*",
            ),
            ("affinity", "Cg==", "note: affinity: no longer acted on; use a pod template"),
            (
                "tolerations.0",
                "Cg==",
                "note: tolerations.0: no longer acted on; use a pod template",
            ),
        ] {
            let key = format!("spark-operator.k8s.io/{key}");
            assert_eq!(read(&[(&key, value)]), [expected]);
        }
    }

    #[test]
    fn a_relative_path_is_corrected_with_its_whole_annotation_where_there_is_room() {
        let key = "spark-operator.k8s.io/secret.s";
        for (length, corrected) in [(40, "secret.s=/"), (41, "/")] {
            let path = "p".repeat(length);
            let read = read(&[(key, &path)]);
            assert!(
                read[0].ends_with(&format!(
                    ": the path must start with \"/\", write {corrected}{path}"
                )),
                "{read:?}"
            );
        }
    }

    #[test]
    fn a_path_becomes_a_variable_only_with_env() {
        assert_eq!(
            read(&[("spark-operator.k8s.io/configMap.x", "/a/$(X)")]),
            ["ConfigMap x /a/$(X)"]
        );
        assert_eq!(
            read(&[("spark-operator.k8s.io/configMap.x", "/a/$$b")]),
            ["ConfigMap x /a/$$b"]
        );
        assert_eq!(
            read(&[("spark-operator.k8s.io/configMap.x", "/a$/$b$:env=V")]),
            ["ConfigMap x /a$/$b$"]
        );
        for value in ["/a/$(X):env=V", "/a/$(X):key=f:env=V"] {
            assert!(
                read(&[("spark-operator.k8s.io/configMap.x", value)])[0]
                    .contains("must not contain \"$(\"")
            );
        }
        assert!(
            read(&[("spark-operator.k8s.io/configMap.x", "/a$$:env=V")])[0]
                .contains("must not contain \"$$\"")
        );
        assert!(
            read(&[("spark-operator.k8s.io/hadoopConfigMap", "h:path=/a/$(X)")])[0]
                .contains("must not contain \"$(\"")
        );
    }

    #[test]
    fn variables_name_the_path_or_a_file_in_it() {
        for (key, value, expected) in [
            ("sparkConfigMap", "c", Some("SPARK_CONF_DIR=/etc/spark/conf")),
            ("sparkConfigMap", "c:path=/my/conf", Some("SPARK_CONF_DIR=/my/conf")),
            ("hadoopConfigMap", "c:path=/my//conf/", Some("HADOOP_CONF_DIR=/my/conf")),
            ("configMap.c", "/c", None),
            ("configMap.c", "/c:env=V", Some("V=/c")),
            ("secret.c", "/c/:env=V:key=f", Some("V=/c/f")),
            ("configMap.c", "/c/f:file=f:env=V", Some("V=/c/f")),
            ("GCPServiceAccount.g", "/g", Some("GOOGLE_APPLICATION_CREDENTIALS=/g/key.json")),
            (
                "GCPServiceAccount.g",
                "/g:key=sa.json",
                Some("GOOGLE_APPLICATION_CREDENTIALS=/g/sa.json"),
            ),
            ("hadoopDelegationToken.t", "/t", Some("HADOOP_TOKEN_FILE_LOCATION=/t/hadoop.token")),
            ("hadoop-delegation-token.t", "/t:key=x", Some("HADOOP_TOKEN_FILE_LOCATION=/t/x")),
        ] {
            let key = format!("spark-operator.k8s.io/{key}");
            let requests = parse([(&*key, value)].into_iter());
            let variable = requests.mounts[0]
                .variable()
                .map(|variable| format!("{}={}", variable.name, variable.value));
            assert_eq!(variable.as_deref(), expected, "{key}={value}");
        }
    }

    #[test]
    fn lists_hold_many_requests() {
        assert_eq!(
            read(&[
                ("spark-operator.k8s.io/configMaps", "b=/b , a=/z:mode=0440,a=/a,c="),
                ("sparkoperator.k8s.io/configmaps", "d = /d, b=/b"),
                ("spark-operator.k8s.io/secrets", "s=/s:env=V"),
                ("spark-operator.k8s.io/hadoopConfigMap", "h"),
                ("spark-operator.k8s.io/configMap.a", "/other"),
            ]),
            [
                "HadoopConfigMap h /etc/hadoop/conf",
                "ConfigMap a /a",
                "ConfigMap a /other",
                "ConfigMap a /z",
                "ConfigMap b /b",
                "ConfigMap d /d",
                "Secret s /s",
            ]
        );
        assert!(read(&[("spark-operator.k8s.io/configMaps", " ")]).is_empty());
    }

    #[test]
    fn entries_of_lists_meet_each_other_and_the_key_forms() {
        for (annotations, expected) in [
            // The key form beats an entry for the same path, unless it is an error.
            (
                &[
                    ("spark-operator.k8s.io/configMaps", "a=/a:mode=0440"),
                    ("sparkoperator.k8s.io/configmap.a", "/a/"),
                ][..],
                &[
                    "ConfigMap a /a",
                    "note: configMaps=a=/a:mode=0440: loses to sparkoperator.k8s.io/configmap.a=/a/; remove one",
                ][..],
            ),
            (
                &[
                    ("spark-operator.k8s.io/configMaps", "a=/a"),
                    ("spark-operator.k8s.io/configMap.a", "/a"),
                ],
                &["ConfigMap a /a"],
            ),
            (
                &[
                    ("spark-operator.k8s.io/configMaps", "a=/a"),
                    ("spark-operator.k8s.io/configMap.a", "a"),
                ],
                &[
                    "ConfigMap a /a",
                    "error: configMap.a=a: the path must start with \"/\", write configMap.a=/a",
                ],
            ),
            // Then the first prefix, then the first spelling, then the first entry.
            (
                &[
                    ("sparkoperator.k8s.io/configMaps", "a=/a"),
                    ("spark-operator.k8s.io/configmaps", "a=/a:optional"),
                ],
                &[
                    "ConfigMap a /a",
                    "note: sparkoperator.k8s.io/configMaps=a=/a: loses to configmaps=a=/a:optional; remove one",
                ],
            ),
            (
                &[("spark-operator.k8s.io/secrets", "a=/a,a=/a/,a=/a")],
                &["Secret a /a", "note: secrets=a=/a/: loses to secrets=a=/a; remove one"],
            ),
            // Another separator than a comma would make one path of two requests.
            (
                &[(
                    "spark-operator.k8s.io/secrets",
                    "a=/a b=/b,c=/c;d=/d,e=/e ; f = /f,g=/g :mode=0440,h=/h i,j=/j;mode=0440",
                )],
                &[
                    "Secret g /g",
                    "Secret h /h i",
                    "error: secrets=a=/a b=/b: write a comma before b=",
                    "error: secrets=c=/c;d=/d: write a comma before d=",
                    "error: secrets=e=/e ; f = /f: write a comma before f=",
                    "error: secrets=j=/j;mode=0440: write a colon before mode=",
                ],
            ),
            // A wrong entry is named, and those beside it are carried out.
            (
                &[("spark-operator.k8s.io/secrets", "a=/a,,b,=/c,d=rel")],
                &[
                    "Secret a /a",
                    "error: secrets: an entry is empty, remove its comma",
                    "error: secrets=b: an entry must be NAME=PATH",
                    "error: secrets==/c: the name is missing, write NAME as the ConfigMap or Secret is called",
                    "error: secrets=d=rel: the path must start with \"/\", write /rel",
                ],
            ),
        ] {
            assert_eq!(read(annotations), expected);
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
            let list = (0..count).map(|i| format!("c{i}=/c/{i}")).collect::<Vec<_>>().join(",");
            let requests = parse([("spark-operator.k8s.io/configMaps", &*list)].into_iter());
            assert_eq!(
                (requests.mounts.len(), requests.problems.len()),
                (mounts, problems),
                "{count}"
            );
            let annotations: Vec<_> = (0..count)
                .map(|i| (format!("spark-operator.k8s.io/configMap.c{i}"), format!("/c/{i}")))
                .collect();
            let requests = parse(annotations.iter().map(|(key, value)| (&**key, &**value)));
            assert_eq!(
                (requests.mounts.len(), requests.problems.len()),
                (mounts, problems),
                "{count}"
            );
        }
    }

    #[test]
    fn more_than_4096_entries_that_request_nothing_are_one_error_too() {
        for (count, problems) in [(4096, 0), (4097, 1)] {
            let list = (0..count).map(|i| format!("c{i}=")).collect::<Vec<_>>().join(",");
            for list in [list, "c=,".repeat(count - 1) + "c="] {
                let requests = parse(
                    [
                        ("spark-operator.k8s.io/configMaps", &*list),
                        ("spark-operator.k8s.io/secret.s", "/s"),
                    ]
                    .into_iter(),
                );
                assert_eq!(
                    (requests.mounts.len(), requests.problems.len()),
                    (1 - problems, problems),
                    "{count}"
                );
                assert!(requests.claims.len() <= MAX_LIST_ENTRIES + 1);
            }
        }
    }

    #[test]
    fn only_the_first_unknown_keys_get_a_hint_and_all_are_counted() {
        let keys: Vec<String> =
            (0..1_000).rev().map(|i| format!("spark-operator.k8s.io/secretz.{i:04}")).collect();
        let requests = parse(keys.iter().map(|key| (&**key, "")));
        assert_eq!((requests.problems.len(), requests.problems.count()), (MAX_LISTED, 1_000));
        let texts: Vec<_> = requests.problems.iter().map(Problem::text).collect();
        assert_eq!(texts[0], "secretz.0000: unknown key, ignored; the nearest is secret.NAME");
        assert_eq!(texts[19], "secretz.0019: unknown key, ignored; the nearest is secret.NAME");
    }

    #[test]
    fn what_is_wrong_in_a_list_counts_as_a_request_too() {
        let key_forms: Vec<_> = (0..100)
            .map(|i| (format!("spark-operator.k8s.io/secret.s{i}"), format!("/s/{i}")))
            .collect();
        for (what, entry) in [
            ("empty", ""),
            ("no path", "a"),
            ("a relative path", "a=#"),
            ("no name", "=/#"),
            ("right", "a=/#"),
        ] {
            for (count, expected) in [(156, 256), (157, 1)] {
                let list = (0..count)
                    .map(|i| entry.replace('#', &i.to_string()))
                    .collect::<Vec<_>>()
                    .join(",");
                let list = ("spark-operator.k8s.io/configMaps", &*format!("b=,{list}"));
                let requests =
                    parse(key_forms.iter().map(|(key, value)| (&**key, &**value)).chain([list]));
                assert_eq!(
                    requests.mounts.len() + requests.problems.len(),
                    expected,
                    "{count} {what}"
                );
            }
        }
    }
}
