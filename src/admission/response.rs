//! The response half of an `admission.k8s.io/v1` AdmissionReview.

use base64_simd::STANDARD;

use crate::json::push_string;
use crate::request::{MAX_LISTED, Problem, Problems, Severity};

/// What the API server is told about a pod.
#[derive(Debug)]
pub struct Response<'a> {
    /// Of the request, to the letter.
    pub uid: &'a str,
    /// Allowed, with or without a patch, or refused.
    pub verdict: Verdict<'a>,
    /// Shown to whoever creates the pod, in this order.
    pub problems: &'a Problems,
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

impl Response<'_> {
    /// The body of the answer.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let Self { uid, verdict, problems, record } = self;
        let mut body = Vec::with_capacity(4096);
        body.extend_from_slice(
            br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"#,
        );
        push_string(&mut body, &[uid]);
        match verdict {
            Verdict::Allowed | Verdict::Patched(_) => body.extend_from_slice(br#","allowed":true"#),
            Verdict::Refused => {
                body.extend_from_slice(
                    br#","allowed":false,"status":{"code":422,"reason":"Invalid","message":"#,
                );
                push_string(&mut body, &[&refusal(problems)]);
                body.push(b'}');
            }
        }
        push_warnings(&mut body, problems);
        if let Some(record) = record {
            // The API server puts the webhook's name before each key.
            body.extend_from_slice(br#","auditAnnotations":{"injected":"#);
            push_string(&mut body, &[record]);
            body.push(b'}');
        }
        if let Verdict::Patched(patch) = verdict {
            body.extend_from_slice(br#","patchType":"JSONPatch","patch":""#);
            STANDARD.encode_append(patch, &mut body);
            body.push(b'"');
        }
        body.extend_from_slice(b"}}");
        body
    }
}

fn push_warnings(body: &mut Vec<u8>, problems: &Problems) {
    let count = problems.count();
    if count == 0 {
        return;
    }
    let kept = if count <= MAX_LISTED { count } else { problems.len().min(MAX_LISTED - 1) };
    for (index, problem) in problems.iter().take(kept).enumerate() {
        body.extend_from_slice(if index == 0 { br#","warnings":["# } else { b"," });
        push_string(body, &[problem.text()]);
    }
    if kept < count {
        body.push(b',');
        push_string(body, &[&format!("and {} more problems", count - kept)]);
    }
    body.push(b']');
}

fn refusal(problems: &Problems) -> String {
    let errors: Vec<&str> = problems
        .iter()
        .filter(|problem| problem.severity() == Severity::Error)
        .map(Problem::text)
        .collect();
    match errors.len().checked_sub(MAX_LISTED) {
        None | Some(0) => errors.join("; "),
        Some(more) => {
            format!("{}; and {more} more", errors.get(..MAX_LISTED).unwrap_or(&errors).join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::request::{Annotation, ProblemKind};

    fn written(verdict: Verdict, problems: &[Problem], record: Option<&str>) -> Value {
        let mut all = Problems::default();
        problems.iter().cloned().for_each(|problem| all.add(problem));
        serde_json::from_slice(&Response { uid: "a-b", verdict, problems: &all, record }.write())
            .unwrap()
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
        let annotation = Annotation::new("k", "");
        let problems = [
            Problem::new(ProblemKind::Value, &annotation, "e1"),
            Problem::new(ProblemKind::Value, &annotation, "e2"),
            Problem::new(ProblemKind::Variable, &annotation, "n"),
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
        let problem = |i: usize| Problem::new(ProblemKind::Value, &Annotation::new("k", ""), i);
        for (count, last) in
            [(20, "k: 19"), (21, "and 2 more problems"), (300, "and 281 more problems")]
        {
            let problems: Vec<_> = (0..count).map(problem).collect();
            let response = written(Verdict::Allowed, &problems, None);
            let warnings = response["response"]["warnings"].as_array().unwrap();
            assert_eq!(
                (warnings.len(), warnings.last().unwrap().as_str()),
                (20, Some(last)),
                "{count}"
            );
        }
        let problems: Vec<_> = (0..22).map(problem).collect();
        let response = written(Verdict::Refused, &problems, None);
        assert!(
            response["response"]["status"]["message"]
                .as_str()
                .unwrap()
                .ends_with("k: 19; and 2 more")
        );
        let mut problems = Problems::default();
        problems.add(problem(0));
        problems.add_unlisted(ProblemKind::UnknownKey, 30);
        let response =
            Response { uid: "u", verdict: Verdict::Allowed, problems: &problems, record: None }
                .write();
        let response: Value = serde_json::from_slice(&response).unwrap();
        assert_eq!(response["response"]["warnings"], json!(["k: 0", "and 30 more problems"]));
    }
}
