//! One admission: from the bytes of a review to the bytes of its answer.
//!
//! [`admit`] is the whole product as one pure function: no I/O, no clock, no lock. The server,
//! `mutate`, the tests and the benches all call it. What a caller wants to know beside the answer,
//! for its log line, is in [`Admission`].

pub mod response;
pub mod review;

use crate::annotations::key::PrefixedKey;
use crate::annotations::{self, Requests};
use crate::config::{PodAttributes, Rules};
use crate::json::{MAX_ELEMENTS, MAX_VIEW, TooMany};
use crate::mutation::{self, Plan};
use crate::patch;
use crate::pod::{Pairs, Pod};
use crate::request::{Annotation, Kind, ProblemKind, Problems};
use crate::resolve;
use crate::text::Text;

pub use crate::spark::Role;
pub use review::ReviewError;

use response::{Response, Verdict};
use review::Review;

/// What becomes of a driver with errors in its annotations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnProblem {
    /// It is created without what could not be done, and its creator is warned.
    #[default]
    Warn,
    /// It is refused. Executors never are: Spark would ask for them again for ever.
    Deny,
}

/// How reviews are answered.
#[derive(Debug, Default)]
pub struct Settings {
    /// What becomes of drivers with errors.
    pub on_problem: OnProblem,
    /// The administrator's rules.
    pub rules: Rules,
}

/// A review that was answered.
#[derive(Debug)]
pub struct Admission<'a> {
    /// Of the request.
    pub uid: Text<'a>,
    /// The request's; empty where there is none.
    pub namespace: Text<'a>,
    /// The name of the pod, or the prefix of the name that it will get; empty for anything else.
    pub name: Text<'a>,
    /// What was decided.
    pub outcome: Outcome,
    /// About the pod, where it is one that Spark's roles and our annotations make ours.
    pub summary: Option<Summary>,
    /// The answer, to be sent with status 200.
    pub response: Vec<u8>,
}

impl Admission<'_> {
    /// Whether it is about a driver with errors, which `--on-problem deny` refuses. Executors never
    /// are: Spark would ask for them again for ever.
    #[must_use]
    pub fn has_refusable_errors(&self) -> bool {
        self.summary
            .as_ref()
            .is_some_and(|summary| summary.role == Role::Driver && summary.problems.has_errors())
    }
}

/// What was decided about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not ours.
    Ignored(Reason),
    /// Ours, and it has all that it asks for, or asks for nothing.
    Unchanged,
    /// It gets a patch.
    Mutated,
    /// It may not be created.
    Refused,
}

impl Outcome {
    /// One lower-case word, as logs have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ignored(_) => "ignored",
            Self::Unchanged => "unchanged",
            Self::Mutated => "mutated",
            Self::Refused => "refused",
        }
    }
}

/// Why a request is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Another kind, another operation or a subresource.
    #[error("it is not the creation of a pod")]
    NotAPodCreation,
    /// A pod that is none of Spark's drivers and executors.
    #[error("its label spark-role is neither driver nor executor")]
    NotSpark,
    /// The report of a pod that the kubelet made from a file.
    #[error("it is the mirror of a static pod")]
    Mirror,
    /// A pod that asks for nothing.
    #[error(
        "it has no annotation under spark-operator.k8s.io/ or sparkoperator.k8s.io/, and no default applies to it"
    )]
    NoAnnotation,
}

/// A pod that was looked at, for the log.
#[derive(Debug)]
pub struct Summary {
    /// Driver or executor.
    pub role: Role,
    /// What was done and what was not, as JSON.
    pub record: Option<String>,
    /// Errors, then notes.
    pub problems: Problems,
    /// Of each request that is mounted, by us or already.
    pub mounted: Vec<Kind>,
    /// How many of the administrator's defaults are overridden by what the pod has or asks for.
    pub defaults_overridden: usize,
}

/// Answers a review.
///
/// # Errors
///
/// When the body is not a review that can be answered; see [`ReviewError`]. A pod with wrong
/// annotations is no error.
///
/// # Example
///
/// ```
/// use spark_webhook::admission::{Outcome, Settings, admit};
///
/// let review = std::fs::read("examples/driver-review.json")?;
/// let admission = admit(&review, &Settings::default())?;
/// assert_eq!(admission.outcome, Outcome::Mutated);
/// assert!(admission.response.starts_with(br#"{"apiVersion":"admission.k8s.io/v1""#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn admit<'a>(body: &'a [u8], settings: &Settings) -> Result<Admission<'a>, ReviewError> {
    let Review { uid, namespace, pod, too_many } = review::parse(body)?;
    let Some(pod) = pod else { return Ok(ignore(uid, namespace, None, Reason::NotAPodCreation)) };
    let Some(role) = pod.role() else {
        return Ok(ignore(uid, namespace, Some(pod), Reason::NotSpark));
    };
    if pod.is_mirror() {
        return Ok(ignore(uid, namespace, Some(pod), Reason::Mirror));
    }
    let requests = requests(&pod, role, namespace.as_ref(), too_many, &settings.rules);
    if !requests.has_keys {
        drop(requests);
        return Ok(ignore(uid, namespace, Some(pod), Reason::NoAnnotation));
    }
    let plan = mutation::plan(&pod, role, &requests);
    let patch = if plan.is_empty() { None } else { Some(patch::write(&plan)) };
    let refused = settings.on_problem == OnProblem::Deny
        && role == Role::Driver
        && plan.problems.has_errors();
    let (outcome, verdict) = match &patch {
        _ if refused => (Outcome::Refused, Verdict::Refused),
        Some(patch) => (Outcome::Mutated, Verdict::Patched(patch)),
        None => (Outcome::Unchanged, Verdict::Allowed),
    };
    let response =
        Response { uid: &uid, verdict, problems: &plan.problems, record: plan.record.as_deref() }
            .write();
    let Plan { edits: _, record, problems, mounted, defaults_overridden } = plan;
    drop(requests);
    let (namespace, name) = identify(namespace, Some(pod));
    let summary = Summary { role, record, problems, mounted, defaults_overridden };
    Ok(Admission { uid, namespace, name, outcome, summary: Some(summary), response })
}

/// What the pod asks for, with what the administrator adds and takes away. For a pod that is too
/// large nothing is mounted, but what it asks for, or a default would, is not forgotten: size is no
/// way around a default.
fn requests<'a>(
    pod: &'a Pod<'a>,
    role: Role,
    namespace: Option<&Text>,
    too_many: Option<TooMany>,
    rules: &'a Rules,
) -> Requests<'a> {
    let mut requests = match too_many {
        None => annotations::parse(pod.annotations()),
        Some(_) => Requests {
            has_keys: pod.annotations().any(|(key, _)| PrefixedKey::parse(key).is_some()),
            ..Requests::default()
        },
    };
    let labels = pod.metadata.labels.as_ref();
    if !rules.is_empty() {
        let label = |key: &str| labels.and_then(|labels| labels.get(key));
        let namespace =
            namespace.or(pod.metadata.namespace.as_ref()).map_or("", |namespace| &**namespace);
        requests =
            resolve::apply(rules, &PodAttributes { namespace, role, label: &label }, requests);
        // Of labels that are not all known, any may be one that a default selects by.
        requests.has_keys |=
            labels.is_some_and(Pairs::is_cut) && !resolve::requests_in(rules, namespace).is_empty();
    }
    let Some(TooMany { field }) = too_many else { return requests };
    let mib = MAX_VIEW >> 20;
    let mut problems = Problems::default();
    problems.push(
        ProblemKind::TooMany,
        &Annotation::new(field, ""),
        format_args!("too many elements: more than {MAX_ELEMENTS}, or {mib} MiB in all; remove some, nothing is mounted"),
    );
    Requests { has_keys: requests.has_keys, problems, ..Requests::default() }
}

fn ignore<'a>(
    uid: Text<'a>,
    namespace: Option<Text<'a>>,
    pod: Option<Pod<'a>>,
    reason: Reason,
) -> Admission<'a> {
    let response = Response {
        uid: &uid,
        verdict: Verdict::Allowed,
        problems: &Problems::default(),
        record: None,
    }
    .write();
    let (namespace, name) = identify(namespace, pod);
    Admission { uid, namespace, name, outcome: Outcome::Ignored(reason), summary: None, response }
}

/// Namespace and name; a pod's own namespace may be missing, and the request's is the one that
/// counts.
fn identify<'a>(namespace: Option<Text<'a>>, pod: Option<Pod<'a>>) -> (Text<'a>, Text<'a>) {
    let metadata = pod.map(|pod| pod.metadata).unwrap_or_default();
    let name = metadata.name.or(metadata.generate_name).unwrap_or_default();
    (namespace.or(metadata.namespace).unwrap_or_default(), name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::trial;

    /// A driver, or another role, of a namespace `team-a` with a request and whatever else.
    fn answer(
        role: &str,
        settings: &Settings,
        change: impl FnOnce(&mut Value),
    ) -> (Outcome, Value) {
        let mut pod = json!({
            "kind": "Pod",
            "metadata": {"labels": {"spark-role": role}, "annotations": {"spark-operator.k8s.io/secret.s": "/s"}},
            "spec": {"containers": [{"name": "spark"}]},
        });
        change(&mut pod);
        let body = review::of(&pod, "team-a").to_string();
        let admission = admit(body.as_bytes(), settings).unwrap();
        (
            admission.outcome,
            serde_json::from_slice::<Value>(&admission.response).unwrap()["response"].take(),
        )
    }

    fn array(count: usize, element: &Value) -> Value {
        vec![element.clone(); count].into()
    }

    fn map(count: usize) -> Value {
        // Before all keys of ours, as an API server writes them.
        (0..count)
            .map(|number| (format!("a{number:05}"), json!("")))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    fn deny() -> Settings {
        Settings { on_problem: OnProblem::Deny, ..Settings::default() }
    }

    type Change<'c> = &'c dyn Fn(&mut Value);

    /// The most elements, and one more.
    const SIZES: [(usize, bool); 2] = [(MAX_ELEMENTS, false), (MAX_ELEMENTS + 1, true)];

    #[test]
    fn more_elements_than_are_read_of_any_array_or_map_are_an_error_and_nothing_is_mounted() {
        let named = json!({"name": "x"});
        let item = json!({"key": "k", "path": "p"});
        let volume = |kind: Value| {
            let mut volume = json!({"name": "v"});
            volume.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
            json!([volume])
        };
        for (size, is_too_many) in SIZES {
            // All but what the pod has already.
            let (labels, annotations) = (map(size - 1), map(size - 1));
            let fields: [(&str, Change); 12] = [
                ("labels", &|pod| {
                    pod["metadata"]["labels"]
                        .as_object_mut()
                        .unwrap()
                        .extend(labels.as_object().unwrap().clone());
                }),
                ("annotations", &|pod| {
                    pod["metadata"]["annotations"]
                        .as_object_mut()
                        .unwrap()
                        .extend(annotations.as_object().unwrap().clone());
                }),
                ("volumes", &|pod| pod["spec"]["volumes"] = array(size, &named)),
                ("containers", &|pod| {
                    let containers = [
                        vec![json!({"name": "spark-kubernetes-driver"})],
                        vec![named.clone(); size - 1],
                    ]
                    .concat();
                    pod["spec"]["containers"] = containers.into();
                }),
                ("args", &|pod| pod["spec"]["containers"][0]["args"] = array(size, &json!("a"))),
                ("env", &|pod| pod["spec"]["containers"][0]["env"] = array(size, &named)),
                ("volumeMounts", &|pod| {
                    pod["spec"]["containers"][0]["volumeMounts"] =
                        array(size, &json!({"name": "x", "mountPath": "/x"}));
                }),
                ("volumeDevices", &|pod| {
                    pod["spec"]["containers"][0]["volumeDevices"] =
                        array(size, &json!({"name": "x", "devicePath": "/dev/x"}));
                }),
                ("items", &|pod| {
                    pod["spec"]["volumes"] =
                        volume(json!({"configMap": {"items": array(size, &item)}}));
                }),
                ("items", &|pod| {
                    pod["spec"]["volumes"] =
                        volume(json!({"secret": {"items": array(size, &item)}}));
                }),
                ("sources", &|pod| {
                    pod["spec"]["volumes"] =
                        volume(json!({"projected": {"sources": array(size, &json!({}))}}));
                }),
                ("items", &|pod| {
                    let source = json!({"configMap": {"items": array(size, &item)}});
                    pod["spec"]["volumes"] = volume(json!({"projected": {"sources": [source]}}));
                }),
            ];
            for (field, change) in fields {
                let expected = format!(
                    "{field}: too many elements: more than 4096, or 2 MiB in all; remove some, nothing is mounted"
                );
                for settings in [Settings::default(), deny()] {
                    let (outcome, response) = answer("driver", &settings, change);
                    assert_eq!(response["uid"], "00000000-0000-0000-0000-000000000000");
                    let is_refused = is_too_many && settings.on_problem == OnProblem::Deny;
                    assert_eq!(
                        outcome,
                        if is_refused { Outcome::Refused } else { Outcome::Mutated },
                        "{size} of {field}"
                    );
                    let audit = response["auditAnnotations"]["injected"].as_str().unwrap();
                    if is_too_many {
                        assert_eq!(response["warnings"], json!([expected]), "{size} of {field}");
                        assert!(
                            audit.contains(&expected) && audit.contains(r#""mounts":[]"#),
                            "{audit}"
                        );
                    } else {
                        assert_eq!(response["warnings"], Value::Null, "{size} of {field}");
                        assert!(audit.contains("/s=secret/s"), "{audit}");
                    }
                    assert_eq!(
                        response["status"]["code"],
                        if is_refused { json!(422) } else { Value::Null }
                    );
                }
                // Executors are never refused.
                assert_eq!(
                    answer("executor", &deny(), change).0,
                    Outcome::Mutated,
                    "{size} of {field}"
                );
                // A pod without requests gets no warning.
                let (outcome, _) = answer("driver", &deny(), |pod| {
                    pod["metadata"]["annotations"].as_object_mut().unwrap().clear();
                    change(pod);
                });
                assert_eq!(outcome, Outcome::Ignored(Reason::NoAnnotation), "{size} of {field}");
                assert_eq!(
                    answer("worker", &deny(), change).0,
                    Outcome::Ignored(Reason::NotSpark),
                    "{size} of {field}"
                );
            }
        }
    }

    #[test]
    fn size_is_no_way_around_a_default() {
        let rules = |selection: &str| {
            let rules = format!(
                "apiVersion: spark-webhook/v1\ndefaults: [{{{selection}, enforce: true, annotations: {{spark-operator.k8s.io/secret.s: /s}}}}]"
            );
            Settings { on_problem: OnProblem::Deny, rules: trial::load(&rules).unwrap() }
        };
        let (labels, volumes) = ("labels", "volumes");
        for (selection, field, is_refused) in [
            ("namespaces: [team-a]", volumes, true),
            ("namespaces: [team-b]", volumes, false),
            ("selector: {matchLabels: {a: b}}", volumes, false),
            ("selector: {matchLabels: {spark-role: driver}}", volumes, true),
            ("roles: [executor]", volumes, false),
            ("namespaces: [team-a]", labels, true),
            ("namespaces: [team-b]", labels, false),
            // Which labels it has is not known.
            ("selector: {matchLabels: {zz: b}}", labels, true),
        ] {
            let (outcome, _) = answer("driver", &rules(selection), |pod| {
                pod["metadata"]["annotations"] = json!({});
                if field == labels {
                    pod["metadata"]["labels"]
                        .as_object_mut()
                        .unwrap()
                        .extend(map(MAX_ELEMENTS).as_object().unwrap().clone());
                } else {
                    pod["spec"]["volumes"] = array(MAX_ELEMENTS + 1, &json!({"name": "x"}));
                }
            });
            let expected =
                if is_refused { Outcome::Refused } else { Outcome::Ignored(Reason::NoAnnotation) };
            assert_eq!(outcome, expected, "{selection}, {field}");
        }
    }

    #[test]
    fn only_errors_of_a_driver_are_refusable() {
        for (role, annotation, value, is_refusable) in [
            ("driver", "configMap.app", "etc/app", true),
            ("driver", "configMap.app", "/etc/app", false),
            // A note.
            ("driver", "typo", "", false),
            ("executor", "configMap.app", "etc/app", false),
            ("worker", "configMap.app", "etc/app", false),
        ] {
            let annotations = json!({format!("spark-operator.k8s.io/{annotation}"): value});
            let metadata = json!({"labels": {"spark-role": role}, "annotations": annotations});
            let pod = json!({"kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "spark"}]}});
            let review = review::of(&pod, "default").to_string();
            let admission = admit(review.as_bytes(), &Settings::default()).unwrap();
            assert_eq!(
                admission.has_refusable_errors(),
                is_refusable,
                "{role} {annotation}={value}"
            );
            let deny = Settings { on_problem: OnProblem::Deny, ..Settings::default() };
            let is_refused = admit(review.as_bytes(), &deny).unwrap().outcome == Outcome::Refused;
            assert_eq!(is_refused, is_refusable, "{role} {annotation}={value}");
        }
    }
}
