//! The response half of an `admission.k8s.io/v1` AdmissionReview.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::ser::Serializer;

use crate::annotations::{Problem, Severity};

/// What the API server is told about a pod.
#[derive(Debug)]
pub struct Response<'a> {
    /// Of the request, to the letter.
    pub uid: &'a str,
    /// Allowed, with or without a patch, or refused.
    pub verdict: Verdict<'a>,
    /// Shown to whoever creates the pod, in this order.
    pub problems: &'a [Problem],
    /// The value of the audit annotation `injected`.
    pub record: Option<&'a str>,
}

/// Whether the pod may be created.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// As it is.
    Allowed,
    /// With this JSON patch.
    Patched(&'a [u8]),
    /// Not at all: its errors say why.
    Refused,
}

/// So many warnings at most: with 120 characters each they stay below the 4,096 at which the API server cuts them.
const MAX_WARNINGS: usize = 20;

impl Response<'_> {
    /// The body of the answer.
    ///
    /// # Errors
    ///
    /// None that can happen: writing text to memory does not fail.
    pub fn write(&self) -> serde_json::Result<Vec<u8>> {
        let Self { uid, verdict, problems, record } = self;
        let status =
            matches!(verdict, Verdict::Refused).then(|| Status { code: 422, reason: "Invalid", message: refusal(problems) });
        let review = ReviewResponse {
            api_version: "admission.k8s.io/v1",
            kind: "AdmissionReview",
            response: AdmissionResponse {
                uid,
                allowed: status.is_none(),
                status,
                warnings: Warnings(problems),
                audit_annotations: record.map(|injected| AuditAnnotations { injected }),
            },
        };
        let mut body = Vec::with_capacity(4096);
        serde_json::to_writer(&mut body, &review)?;
        if let Verdict::Patched(patch) = verdict {
            append(&mut body, patch);
        }
        Ok(body)
    }
}

/// Gives a response its patch. Not by serde, which looks at each character for what needs an escape: nothing does in base64, and
/// for a pod with six requests that is a tenth of an admission (`benches/instructions.rs`).
fn append(body: &mut Vec<u8>, patch: &[u8]) {
    // Inside the two objects that end there.
    body.truncate(body.len().saturating_sub(2));
    body.extend_from_slice(br#","patchType":"JSONPatch","patch":""#);
    body.extend_from_slice(STANDARD.encode(patch).as_bytes());
    body.extend_from_slice(br#""}}"#);
}

fn refusal(problems: &[Problem]) -> String {
    let errors: Vec<&str> = problems.iter().filter(|problem| problem.severity() == Severity::Error).map(Problem::text).collect();
    match errors.len().checked_sub(MAX_WARNINGS) {
        None | Some(0) => errors.join("; "),
        Some(more) => format!("{}; and {more} more", errors.get(..MAX_WARNINGS).unwrap_or(&errors).join("; ")),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReviewResponse<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: AdmissionResponse<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionResponse<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Warnings::is_empty")]
    warnings: Warnings<'a>,
    /// The API server puts the webhook's name before each key.
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_annotations: Option<AuditAnnotations<'a>>,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

#[derive(Serialize)]
struct AuditAnnotations<'a> {
    injected: &'a str,
}

struct Warnings<'a>(&'a [Problem]);

impl Warnings<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Warnings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.len() <= MAX_WARNINGS {
            return serializer.collect_seq(self.0.iter().map(Problem::text));
        }
        let more = format!("and {} more problems", self.0.len() + 1 - MAX_WARNINGS);
        serializer.collect_seq(self.0.iter().take(MAX_WARNINGS - 1).map(Problem::text).chain([&*more]))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::annotations::{Annotation, ProblemKind};

    fn written(verdict: Verdict, problems: &[Problem], record: Option<&str>) -> Value {
        serde_json::from_slice(&Response { uid: "a-b", verdict, problems, record }.write().unwrap()).unwrap()
    }

    #[test]
    fn patch_and_patch_type_come_together_or_not_at_all() {
        assert_eq!(
            written(Verdict::Allowed, &[], None),
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": "a-b", "allowed": true}})
        );
        assert_eq!(
            written(Verdict::Patched(b"[1]"), &[], Some("{}"))["response"],
            json!({"uid": "a-b", "allowed": true, "patchType": "JSONPatch", "patch": "WzFd", "auditAnnotations": {"injected": "{}"}})
        );
    }

    #[test]
    fn a_refusal_lists_the_errors() {
        let annotation = Annotation { key: "k", value: "" };
        let problems = [
            Problem::new(ProblemKind::Value, annotation, "e1"),
            Problem::new(ProblemKind::Value, annotation, "e2"),
            Problem::new(ProblemKind::Variable, annotation, "n"),
        ];
        assert_eq!(
            written(Verdict::Refused, &problems, None)["response"],
            json!({
                "uid": "a-b",
                "allowed": false,
                "status": {"code": 422, "reason": "Invalid", "message": "k: e1; k: e2"},
                "warnings": ["k: e1", "k: e2", "k: n"],
            })
        );
    }

    #[test]
    fn at_most_20_warnings_the_last_one_counts_the_rest() {
        let problem = |i: usize| Problem::new(ProblemKind::Value, Annotation { key: "k", value: "" }, i);
        for (count, last) in [(20, "k: 19"), (21, "and 2 more problems"), (300, "and 281 more problems")] {
            let problems: Vec<_> = (0..count).map(problem).collect();
            let response = written(Verdict::Allowed, &problems, None);
            let warnings = response["response"]["warnings"].as_array().unwrap();
            assert_eq!((warnings.len(), warnings.last().unwrap().as_str()), (20, Some(last)), "{count}");
        }
        let problems: Vec<_> = (0..22).map(problem).collect();
        let response = written(Verdict::Refused, &problems, None);
        assert!(response["response"]["status"]["message"].as_str().unwrap().ends_with("k: 19; and 2 more"));
    }
}
