//! Whether the Spark pods have what they request, and why not.
//!
//! This process admits each stored pod once more. A patch means that the pod was not mutated; that
//! is certain. Why the webhook was not called is concluded from the snapshot, the likeliest cause
//! first.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::admission::{Outcome, Reason, Settings, admit, review};
use crate::config::Rules;
use crate::doctor::finding::{Finding, Status, counted, some_of};
use crate::doctor::matching::{Condition, labels_for, selects, shown_labels};
use crate::doctor::snapshot::Snapshot;
use crate::doctor::snapshot::pods::{has_requests, name};
use crate::doctor::snapshot::registration::Registration;
use crate::request::{INJECTED, Severity};
use crate::spark::Role;

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let Snapshot { scope, registration, rules, pods, .. } = snapshot;
    let pods = match pods {
        Ok(pods) => pods,
        Err(finding) => return vec![finding.clone()],
    };
    // Pods with the same problem share a finding: an application has hundreds of executors.
    let mut grouped: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let (mut asking, mut with_notes) = (0, 0);
    for pod in pods.iter().filter(|pod| has_requests(pod)) {
        asking += 1;
        match judge(pod, &scope.namespace, registration, rules.as_rules()) {
            Judged::Fine => {}
            Judged::Noted => with_notes += 1,
            Judged::Wrong { what, advice } => {
                grouped.entry((what, advice)).or_default().push(name(pod));
            }
        }
    }
    if !grouped.is_empty() {
        let told = grouped.into_iter();
        return told
            .map(|((what, advice), names)| {
                Finding::failed(format!("{}: {what}", some_of(&names)), advice)
            })
            .collect();
    }
    let which = scope.pod.as_ref().map_or_else(
        || format!("of {} in {}", counted(pods.len(), "pod"), scope.namespace),
        Clone::clone,
    );
    let message = match (asking, &scope.pod) {
        (0, Some(pod)) => format!("{pod} has no annotation of ours, and asks for nothing"),
        (0, None) => format!("{which}, none asks for anything"),
        (_, Some(_)) => format!("{which} has what it asks for"),
        (count, None) => format!(
            "{which}, {count} ask{} for something and ha{} it",
            if count == 1 { "s" } else { "" },
            if count == 1 { "s" } else { "ve" }
        ),
    };
    let notes = if with_notes == 0 {
        String::new()
    } else {
        format!("; {} with notes in the annotation {INJECTED}", counted(with_notes, "pod"))
    };
    vec![Finding { status: Status::Passed, message: message + &notes, advice: String::new() }]
}

/// The verdict on a pod with requests.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    Fine,
    /// It has all that it can have, and the webhook left a note.
    Noted,
    Wrong {
        what: String,
        advice: String,
    },
}

impl Judged {
    fn wrong(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Wrong { what: what.into(), advice: advice.into() }
    }
}

fn judge(pod: &Pod, namespace: &str, registration: &Registration, rules: Option<&Rules>) -> Judged {
    let Ok(body) =
        serde_json::to_value(pod).and_then(|pod| serde_json::to_vec(&review::of(&pod, namespace)))
    else {
        return Judged::Fine;
    };
    // The webhook's record has what the rules do not allow, so only the pod's own requests count
    // here.
    let settings = Settings::default();
    let Ok(admission) = admit(&body, &settings) else { return Judged::Fine };
    let problems = admission.summary.as_ref().map(|summary| &*summary.problems).unwrap_or_default();
    let record =
        pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(INJECTED));
    if let Some(record) = record {
        let is_note = |text: &str| {
            problems
                .iter()
                .any(|problem| problem.text() == text && problem.severity() == Severity::Note)
        };
        let recorded = recorded_problems(record);
        return match recorded.iter().find(|text| !is_note(text)) {
            Some(problem) => Judged::wrong(
                format!("a request was not carried out: {problem}"),
                format!(
                    "correct the annotation, and submit again; kubectl describe pod shows all of {INJECTED}"
                ),
            ),
            None if recorded.is_empty() => Judged::Fine,
            None => Judged::Noted,
        };
    }
    match admission.outcome {
        Outcome::Ignored(Reason::NotSpark) => {
            return Judged::wrong(
                "not mutated: it has no label spark-role with the value driver or executor",
                "set the label; Spark does on the pods that it makes",
            );
        }
        // Everything is there, or nothing is requested.
        Outcome::Unchanged | Outcome::Ignored(_) => return Judged::Fine,
        Outcome::Mutated | Outcome::Refused => {}
    }
    let (what, advice) = why_not_called(pod, registration, rules);
    Judged::wrong(format!("not mutated: {what}"), advice)
}

/// The problems in the webhook's record.
fn recorded_problems(record: &str) -> Vec<String> {
    let record: Value = serde_json::from_str(record).unwrap_or_default();
    let problems = record.get("problems").and_then(Value::as_array);
    problems
        .into_iter()
        .flatten()
        .filter_map(|problem| problem.as_str().map(str::to_owned))
        .collect()
}

fn why_not_called(
    pod: &Pod,
    registration: &Registration,
    rules: Option<&Rules>,
) -> (String, String) {
    const AGAIN: &str = "submit it again: pods are changed only when they are created";
    let registered = match registration {
        Registration::Found(registered) => registered,
        Registration::Absent => {
            return (
                "there is no registration".to_owned(),
                format!("see configuration; then {AGAIN}"),
            );
        }
        Registration::Unseen(_) => {
            let what = "why, the registration would tell, which you may not see";
            return (
                what.to_owned(),
                "ask who may see it to run this: see configuration".to_owned(),
            );
        }
    };
    if let Some(reason) = registered.withheld() {
        return (reason, "see configuration and selectors".to_owned());
    }
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    if !registered.webhooks.iter().any(|webhook| selects(webhook.object_selector.as_ref(), &labels))
    {
        let wanted = registered
            .webhooks
            .iter()
            .find_map(|webhook| labels_for(webhook.object_selector.as_ref(), Role::Driver));
        let wanted = shown_labels(wanted.iter().flatten());
        let what = format!("the objectSelector wants labels such as {wanted}");
        return (
            what,
            "set them: spark.kubernetes.driver.label.KEY and spark.kubernetes.executor.label.KEY"
                .to_owned(),
        );
    }
    let created = pod.metadata.creation_timestamp.as_ref();
    // Timestamps are in whole seconds, and an API server takes about one to learn of a
    // registration.
    if let (Some(created), Some(since)) = (created, &registered.created)
        && created.0 <= since.0
    {
        return ("it is older than the registration".to_owned(), AGAIN.to_owned());
    }
    if matches!(registered.condition(rules), Condition::Older(_)) {
        return (
            "the registration's condition left it out".to_owned(),
            format!("see condition; then {AGAIN}"),
        );
    }
    if registered.ignores_failure() {
        let what = "probably the webhook was away when it was created, and failurePolicy Ignore let it through";
        return (what.to_owned(), format!("{AGAIN}; failurePolicy Fail refuses such pods instead"));
    }
    let what = "the webhook was not called, though it would be now: registration, selectors or annotations have changed since";
    (what.to_owned(), AGAIN.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::snapshot::registration::{Registered, Selection};

    fn registered(value: &Value) -> Registration {
        let webhook = json!({
            "name": "w", "admissionReviewVersions": ["v1"], "clientConfig": {}, "sideEffects": "None",
            "failurePolicy": value["policy"], "objectSelector": value["objectSelector"],
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        });
        Registration::Found(Registered {
            name: "spark-webhook".to_owned(),
            created: Some(serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap()),
            webhooks: vec![serde_json::from_value(webhook).unwrap()],
            namespace: "n".to_owned(),
            selection: if value["isExcluded"] == true {
                Selection::Excluded
            } else {
                Selection::Selected(BTreeMap::new())
            },
        })
    }

    #[test]
    fn a_pod_that_was_not_mutated_is_told_why() {
        let fail = json!({"policy": "Fail"});
        let pod = |role: &str, created: &str, injected: Option<&str>| {
            let mut pod = json!({
                "metadata": {
                    "name": "p", "labels": {"spark-role": role}, "creationTimestamp": created,
                    "annotations": {"spark-operator.k8s.io/secret.s": "/s"},
                },
                "spec": {"containers": [{"name": "c"}]},
            });
            if let Some(injected) = injected {
                pod["metadata"]["annotations"][INJECTED] = json!(injected);
            }
            pod
        };
        let (late, early) = ("2026-01-03T00:00:00Z", "2026-01-01T00:00:00Z");
        let mut mounted = pod("driver", early, None);
        mounted["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "s"}}]);
        mounted["spec"]["containers"][0]["volumeMounts"] =
            json!([{"name": "v", "mountPath": "/s", "readOnly": true}]);
        let mut noted = pod(
            "driver",
            early,
            Some(r#"{"problems":["secretx: unknown key, ignored; the nearest is secrets"]}"#),
        );
        noted["metadata"]["annotations"]["spark-operator.k8s.io/secretx"] = json!("");
        for (pod, registration, expected) in [
            (pod("driver", late, Some("{}")), Some(&fail), "fine"),
            (mounted, Some(&fail), "fine"),
            (noted, Some(&fail), "noted"),
            (
                pod("driver", late, Some(r#"{"problems":["secret.s=s: no"]}"#)),
                Some(&fail),
                "a request was not carried out: secret.s=s: no",
            ),
            (pod("worker", late, None), Some(&fail), "not mutated: it has no label spark-role"),
            (pod("driver", late, None), None, "not mutated: there is no registration"),
            (
                pod("driver", late, None),
                Some(&json!({"isExcluded": true})),
                "not mutated: namespace n is excluded",
            ),
            (
                pod("driver", late, None),
                Some(&json!({"objectSelector": {"matchLabels": {"canary": "yes"}}})),
                "not mutated: the objectSelector wants labels such as canary=yes",
            ),
            (
                pod("driver", early, None),
                Some(&fail),
                "not mutated: it is older than the registration",
            ),
            (
                pod("executor", late, None),
                Some(&json!({"policy": "Ignore"})),
                "not mutated: probably the webhook was away",
            ),
            (
                pod("executor", late, None),
                Some(&fail),
                "not mutated: the webhook was not called, though",
            ),
        ] {
            let parsed: Pod = serde_json::from_value(pod.clone()).unwrap();
            let registration = registration.map_or(Registration::Absent, registered);
            let shown = match judge(&parsed, "n", &registration, None) {
                Judged::Fine => "fine".to_owned(),
                Judged::Noted => "noted".to_owned(),
                Judged::Wrong { what, .. } => what,
            };
            assert!(shown.starts_with(expected), "{pod}: {shown}");
        }
    }
}
