//! One admission: from the bytes of a review to the bytes of its answer.
//!
//! [`admit`] is the whole product as one pure function: no I/O, no clock, no lock. The server, `mutate`, the tests and the
//! benches all call it. What a caller wants to know beside the answer, for its log line, is in [`Admission`].

pub mod response;
pub mod review;

use crate::annotations::{self, Kind, Problems};
use crate::mutation::{self, Plan};
use crate::patch;
use crate::pod::{Pod, Role};
use crate::rules::{self, Rules};
use crate::text::Text;

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
pub struct Policy {
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
    pub subject: Option<Subject>,
    /// The answer, to be sent with status 200.
    pub response: Vec<u8>,
}

impl Admission<'_> {
    /// Whether it is about a driver with errors, which `--on-problem deny` refuses. Executors never are: Spark would ask for them
    /// again for ever.
    #[must_use]
    pub fn has_refusable_errors(&self) -> bool {
        self.subject.as_ref().is_some_and(|subject| subject.role == Role::Driver && subject.problems.has_errors())
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
    #[error("it has no annotation under spark-operator.k8s.io/ or sparkoperator.k8s.io/, and no default applies to it")]
    NoAnnotation,
}

/// A pod that was looked at, for the log.
#[derive(Debug)]
pub struct Subject {
    /// Driver or executor.
    pub role: Role,
    /// What was done and what was not, as JSON.
    pub record: Option<String>,
    /// Errors, then notes.
    pub problems: Problems,
    /// Of each request that is mounted, by us or already.
    pub mounted: Vec<Kind>,
    /// How many of the administrator's defaults gave way to what the pod has or asks for.
    pub defaults_given_way: usize,
}

/// Answers a review.
///
/// # Errors
///
/// When the body is not a review that can be answered; see [`ReviewError`]. A pod with wrong annotations is no error.
///
/// # Example
///
/// ```
/// use spark_webhook::admission::{Outcome, Policy, admit};
///
/// let review = std::fs::read("examples/driver-review.json")?;
/// let admission = admit(&review, &Policy::default())?;
/// assert_eq!(admission.outcome, Outcome::Mutated);
/// assert!(admission.response.starts_with(br#"{"apiVersion":"admission.k8s.io/v1""#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn admit<'a>(body: &'a [u8], policy: &Policy) -> Result<Admission<'a>, ReviewError> {
    let Review { uid, namespace, pod } = review::parse(body)?;
    let Some(pod) = pod else { return Ok(ignore(uid, namespace, None, Reason::NotAPodCreation)) };
    let Some(role) = pod.role() else { return Ok(ignore(uid, namespace, Some(pod), Reason::NotSpark)) };
    if pod.is_mirror() {
        return Ok(ignore(uid, namespace, Some(pod), Reason::Mirror));
    }
    let mut requests = annotations::parse(pod.annotations());
    if !policy.rules.is_empty() {
        let label = |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key));
        let namespace = namespace.as_ref().or(pod.metadata.namespace.as_ref()).map_or("", |namespace| &**namespace);
        requests = policy.rules.apply(&rules::Subject { namespace, role: role.as_str(), label: &label }, requests);
    }
    if !requests.has_keys {
        drop(requests);
        return Ok(ignore(uid, namespace, Some(pod), Reason::NoAnnotation));
    }
    let plan = mutation::plan(&pod, role, &requests);
    let patch = if plan.is_empty() { None } else { Some(patch::write(&plan)) };
    let refused = policy.on_problem == OnProblem::Deny && role == Role::Driver && plan.problems.has_errors();
    let (outcome, verdict) = match &patch {
        _ if refused => (Outcome::Refused, Verdict::Refused),
        Some(patch) => (Outcome::Mutated, Verdict::Patched(patch)),
        None => (Outcome::Unchanged, Verdict::Allowed),
    };
    let response = Response { uid: &uid, verdict, problems: &plan.problems, record: plan.record.as_deref() }.write();
    let Plan { record, problems, mounted, defaults_given_way, .. } = plan;
    drop(requests);
    let (namespace, name) = identify(namespace, Some(pod));
    let subject = Subject { role, record, problems, mounted, defaults_given_way };
    Ok(Admission { uid, namespace, name, outcome, subject: Some(subject), response })
}

fn ignore<'a>(uid: Text<'a>, namespace: Option<Text<'a>>, pod: Option<Pod<'a>>, reason: Reason) -> Admission<'a> {
    let response = Response { uid: &uid, verdict: Verdict::Allowed, problems: &Problems::default(), record: None }.write();
    let (namespace, name) = identify(namespace, pod);
    Admission { uid, namespace, name, outcome: Outcome::Ignored(reason), subject: None, response }
}

/// Namespace and name; a pod's own namespace may be missing, and the request's is the one that counts.
fn identify<'a>(namespace: Option<Text<'a>>, pod: Option<Pod<'a>>) -> (Text<'a>, Text<'a>) {
    let metadata = pod.map(|pod| pod.metadata).unwrap_or_default();
    let name = metadata.name.or(metadata.generate_name).unwrap_or_default();
    (namespace.or(metadata.namespace).unwrap_or_default(), name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
            let admission = admit(review.as_bytes(), &Policy::default()).unwrap();
            assert_eq!(admission.has_refusable_errors(), is_refusable, "{role} {annotation}={value}");
            let deny = Policy { on_problem: OnProblem::Deny, ..Policy::default() };
            let is_refused = admit(review.as_bytes(), &deny).unwrap().outcome == Outcome::Refused;
            assert_eq!(is_refused, is_refusable, "{role} {annotation}={value}");
        }
    }
}
