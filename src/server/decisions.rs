//! The last admissions that this replica saw, for somebody who asks why a pod is as it is.
//!
//! Only what concerns us: never the contents of other annotations. They are shown to peers on this
//! machine alone, which `kubectl port-forward` is.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::admission::{Admission, Outcome};

/// So many are kept.
const KEPT: usize = 256;

/// The most characters that are kept of a name: an API server has not validated it yet.
const MAX_NAME: usize = 253;

/// The ring of decisions.
#[derive(Default)]
pub(super) struct Decisions {
    last: Mutex<VecDeque<Decision>>,
}

#[derive(Clone)]
struct Decision {
    at: SystemTime,
    namespace: Box<str>,
    pod: Box<str>,
    role: Option<&'static str>,
    outcome: Outcome,
    /// As in the annotation `injected`: JSON.
    record: Option<String>,
}

/// As `/decisions` shows it.
#[derive(Serialize)]
struct Shown<'a> {
    time: String,
    namespace: &'a str,
    pod: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    outcome: &'static str,
    /// Why it is not ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    injected: Option<&'a RawValue>,
}

impl Decisions {
    pub(super) fn remember(&self, admission: Admission) {
        let Admission { uid: _, namespace, name, outcome, summary, response: _ } = admission;
        let (role, record) = summary.map(|summary| (summary.role.as_str(), summary.record)).unzip();
        let (namespace, pod) = (beginning(&namespace).into(), beginning(&name).into());
        let decision = Decision {
            at: SystemTime::now(),
            namespace,
            pod,
            role,
            outcome,
            record: record.flatten(),
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = if last.len() == KEPT { last.pop_front() } else { None };
        last.push_back(decision);
        drop(last);
        drop(oldest);
    }

    /// The latest first, as JSON.
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        let decisions = self.latest_first();
        let shown = decisions.iter().map(|decision| {
            Ok(Shown {
                time: humantime::format_rfc3339_millis(decision.at).to_string(),
                namespace: &decision.namespace,
                pod: &decision.pod,
                role: decision.role,
                outcome: decision.outcome.as_str(),
                reason: match decision.outcome {
                    Outcome::Ignored(reason) => Some(reason.to_string()),
                    _ => None,
                },
                injected: decision.record.as_deref().map(serde_json::from_str).transpose()?,
            })
        });
        serde_json::to_string_pretty(&shown.collect::<serde_json::Result<Vec<_>>>()?)
    }

    /// The latest first, as a page without scripts.
    pub(super) fn to_html(&self) -> String {
        let mut page = String::from(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>spark-webhook: decisions</title>\n\
             <style>body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}\
             td,th{border-bottom:1px solid #ccc;padding:.3em .8em;text-align:left;vertical-align:top}\
             td:last-child{font-family:monospace;white-space:pre-wrap;overflow-wrap:anywhere}</style></head>\n\
             <body><h1>The last admissions of this replica</h1>\n\
             <table><tr><th>Time<th>Namespace<th>Pod<th>Role<th>Outcome<th>What was done, and what was not</tr>\n",
        );
        for decision in self.latest_first() {
            let what = match decision.outcome {
                Outcome::Ignored(reason) => reason.to_string(),
                _ => decision.record.as_deref().unwrap_or_default().to_owned(),
            };
            let time = humantime::format_rfc3339_millis(decision.at).to_string();
            let cells = [
                &*time,
                &decision.namespace,
                &decision.pod,
                decision.role.unwrap_or_default(),
                decision.outcome.as_str(),
                &what,
            ];
            page.push_str("<tr>");
            for cell in cells {
                // Writing to a String cannot fail.
                let _ = write!(page, "<td>{}", escape(cell));
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</table></body></html>\n");
        page
    }

    /// A copy, so that nobody waits while it is written.
    fn latest_first(&self) -> Vec<Decision> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }
}

fn beginning(text: &str) -> &str {
    if text.len() <= MAX_NAME {
        return text;
    }
    text.char_indices().nth(MAX_NAME).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// What a browser shows as it stands, in text and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Also those that would turn the direction of what follows.
            _ if character.is_control()
                || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                escaped.extend(character.escape_unicode());
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::admission::{Settings, admit};

    #[test]
    fn the_last_256_are_kept_the_latest_first_and_nothing_of_other_annotations() {
        let decisions = Decisions::default();
        let review = std::fs::read_to_string("examples/driver-review.json").unwrap();
        assert_eq!(decisions.to_json().unwrap(), "[]");
        for number in 0..300 {
            let review = review.replace(
                "\"annotations\":{",
                &format!("\"annotations\":{{\"other/secret\":\"S3CRET{number}\","),
            );
            let review = review
                .replace("\"namespace\":\"default\"", &format!("\"namespace\":\"n{number}\""));
            decisions.remember(admit(review.as_bytes(), &Settings::default()).unwrap());
        }
        let json = decisions.to_json().unwrap();
        let shown: Vec<Value> = serde_json::from_str(&json).unwrap();
        assert_eq!(shown.len(), 256);
        assert_eq!(
            (&shown[0]["namespace"], &shown[255]["namespace"]),
            (&"n299".into(), &"n44".into())
        );
        assert_eq!(shown[0]["outcome"], "mutated");
        assert!(
            shown[0]["injected"]["mounts"][0].as_str().unwrap().starts_with("/etc/spark/conf="),
            "{}",
            shown[0]
        );
        assert!(!json.contains("S3CRET") && !decisions.to_html().contains("S3CRET"));
    }

    #[test]
    fn names_are_text_and_nothing_else() {
        let decisions = Decisions::default();
        let hostile = "<script>alert(1)</script>\\\"'&\\u202e";
        let review = format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","operation":"CREATE","namespace":"{hostile}",
            "resource":{{"group":"","version":"v1","resource":"pods"}},"object":{{"kind":"Pod","metadata":{{"name":"{hostile}"}}}}}}}}"#
        );
        decisions.remember(admit(review.as_bytes(), &Settings::default()).unwrap());
        let page = decisions.to_html();
        assert!(
            page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;\\u{202e}"),
            "{page}"
        );
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("its label spark-role is neither driver nor executor"), "{page}");
        let shown: Value = serde_json::from_str(&decisions.to_json().unwrap()).unwrap();
        assert_eq!(shown[0]["pod"], "<script>alert(1)</script>\"'&\u{202e}");
    }

    #[test]
    fn a_name_is_cut_at_a_character() {
        assert_eq!(beginning("short"), "short");
        assert_eq!(beginning(&"ü".repeat(300)).chars().count(), 253);
    }
}
