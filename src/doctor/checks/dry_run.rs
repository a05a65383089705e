//! The proof: a driver and an executor that ask for something come back from the API server with
//! it.
//!
//! All of the way is walked, by the API server itself: selectors, condition, network, certificate,
//! webhook, patch. A dry run stores nothing and starts nothing. What the pods ask for is optional
//! and need not exist.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::registration::{Registered, Registration};
use crate::doctor::Scope;
use crate::doctor::api::{self, Reader, Unreadable};
use crate::doctor::finding::{Finding, Status};
use crate::doctor::matching::{ROLES, labels_for};
use crate::request::{INJECTED, PREFIXES};

const CHECK: &str = "dry-run";

/// So often each role is created: enough for a median.
const ROUNDS: usize = 5;

/// Begins the names of the pods, and is that of the ConfigMap that they ask for and of their
/// images.
const NAME: &str = "spark-webhook-doctor";

/// What the dry runs have shown.
pub(crate) struct Proof {
    /// Whether pods come back mutated, where that could be seen and should be so.
    pub(crate) is_mutated: Option<bool>,
    pub(crate) findings: Vec<Finding>,
}

pub(crate) async fn check(reader: &Reader, scope: &Scope, registration: &Registration) -> Proof {
    let (mut took, mut have_mounts) = (Vec::new(), true);
    for _ in 0..ROUNDS {
        for role in ROLES {
            let started = Instant::now();
            match create(reader, scope, registration, role).await {
                Ok(has_mount) => {
                    took.push(started.elapsed());
                    have_mounts &= has_mount;
                }
                Err(finding) => {
                    // An excluded namespace says nothing about the webhook.
                    let should_be = registration
                        .found()
                        .is_some_and(|registered| registered.withheld.is_none());
                    let is_mutated =
                        (should_be && finding.status == Status::Failed).then_some(false);
                    return Proof { is_mutated, findings: vec![*finding] };
                }
            }
        }
    }
    took.sort_unstable();
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    let what = if have_mounts {
        "a driver and an executor get their mounts"
    } else {
        "the webhook is called for a driver and an executor, and its rules do not allow what they ask for"
    };
    let message = format!("{what}; a create takes {} (median of {})", shown(median), took.len());
    Proof { is_mutated: Some(true), findings: vec![Finding::passed(CHECK, message)] }
}

/// Whether a pod of the role gets its mount; `false` where the webhook itself says no.
async fn create(
    reader: &Reader,
    scope: &Scope,
    registration: &Registration,
    role: &str,
) -> Result<bool, Box<Finding>> {
    let registered = registration.found();
    let namespace = &scope.namespace;
    let unreadable =
        |error: &kube::Error| Unreadable::new("create", "pods", Some(namespace), error);
    let created = match serde_json::from_value::<Pod>(pod(registered, role)) {
        Ok(pod) => {
            let dry_run = PostParams { dry_run: true, ..PostParams::default() };
            reader.pods(namespace).create(&dry_run, &pod).await
        }
        Err(error) => Err(kube::Error::SerdeError(error)),
    };
    match created {
        Ok(created) if has_mount(&created) => Ok(true),
        Ok(created) if has_record(&created) => Ok(false),
        Ok(_) => Err(Box::new(unchanged(registration, role))),
        Err(kube::Error::Api(status)) => {
            let webhooks: Vec<&str> = registered
                .iter()
                .flat_map(|registered| &registered.webhooks)
                .map(|webhook| webhook.name.as_str())
                .collect();
            let message = format!("a {role} is refused: {}", status.message);
            match meaning(&status.message, &webhooks) {
                Some(DryRunError::ByRules) => Ok(false),
                Some(DryRunError::Forbidden) => {
                    Err(Box::new(unreadable(&kube::Error::Api(status)).finding(CHECK)))
                }
                Some(DryRunError::Webhook(advice)) => {
                    Err(Box::new(Finding::failed(CHECK, message, advice)))
                }
                // What comes after the webhook, or before it, says nothing about it.
                Some(DryRunError::Other(advice)) => {
                    Err(Box::new(Finding::unknown(CHECK, message, advice)))
                }
                None => Err(Box::new(Finding::unknown(
                    CHECK,
                    message,
                    "the message is that of the API server, not of this webhook",
                ))),
            }
        }
        Err(error) => Err(Box::new(Finding::unknown(
            CHECK,
            format!("no answer: {}", api::cause(&error)),
            "run it again",
        ))),
    }
}

fn unchanged(registration: &Registration, role: &str) -> Finding {
    let message = format!("a {role} comes back without its mounts");
    let registered = match registration {
        Registration::Found(registered) => registered,
        Registration::Absent => {
            return Finding::failed(
                CHECK,
                format!("{message}: there is no registration"),
                "see configuration",
            );
        }
        Registration::Unseen => {
            return Finding::failed(
                CHECK,
                message,
                "ask who may see the registration to run this: see configuration",
            );
        }
    };
    if let Some(reason) = &registered.withheld {
        return Finding::failed(
            CHECK,
            format!("{message}: {reason}"),
            "see configuration and selectors",
        );
    }
    if registered.ignores_failure() {
        return Finding::failed(
            CHECK,
            format!(
                "{message}: the call fails, and failurePolicy Ignore lets the pod through, or a condition leaves it out"
            ),
            "see certificate, endpoints and condition; the API server's log and its metric \
             apiserver_admission_webhook_fail_open_count tell of failed calls",
        );
    }
    Finding::failed(
        CHECK,
        format!("{message}: a condition or selector of the registration leaves it out"),
        "see condition and selectors; an API server learns of a new registration within seconds",
    )
}

/// A pod that passes Pod Security `restricted` and most quotas, so that nobody but the webhook has
/// a say in what comes back.
fn pod(registered: Option<&Registered>, role: &str) -> Value {
    let webhooks = registered.map(|registered| registered.webhooks.as_slice()).unwrap_or_default();
    let labels =
        webhooks.iter().find_map(|webhook| labels_for(webhook.object_selector.as_ref(), role));
    let resources = json!({"cpu": "10m", "memory": "16Mi"});
    json!({
        "metadata": {
            "generateName": format!("{NAME}-{role}-"),
            "labels": labels.map_or_else(|| json!({"spark-role": role}), |labels| json!(labels)),
            "annotations": {format!("{}configMap.{NAME}", PREFIXES[0]): format!("{MOUNT_PATH}:optional")},
        },
        "spec": {
            "automountServiceAccountToken": false,
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": if role == "driver" { "spark-kubernetes-driver" } else { "spark-kubernetes-executor" },
                "image": NAME,
                "args": [role],
                "resources": {"requests": resources, "limits": resources},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
}

/// Where the pods ask for their ConfigMap.
const MOUNT_PATH: &str = "/mnt/spark-webhook-doctor";

fn has_mount(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut mounts = containers.flat_map(|container| container.volume_mounts.iter().flatten());
    mounts.any(|mount| mount.mount_path == MOUNT_PATH)
}

/// The webhook's word: it was called.
fn has_record(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(INJECTED))
}

/// What a refusal means.
#[derive(Debug, PartialEq, Eq)]
enum DryRunError {
    /// The webhook was asked, and its rules deny what the pod asks for: it works.
    ByRules,
    /// Who asks may not create pods.
    Forbidden,
    /// The webhook is not as it should be.
    Webhook(&'static str),
    /// Something else stands before or behind the webhook.
    Other(&'static str),
}

/// Reads the API server's message (Kubernetes 1.32 to 1.36), given the names of our webhooks.
fn meaning(message: &str, webhooks: &[&str]) -> Option<DryRunError> {
    let is_ours = webhooks.iter().any(|name| message.contains(&format!("webhook \"{name}\"")));
    let failed = [
        ("connection refused", "nobody listens there: see endpoints; kubectl logs of the webhook"),
        ("no endpoints available", "no replica is ready: see endpoints"),
        ("not found", "what is called does not exist: see endpoints"),
        (
            "certificate signed by unknown authority",
            "caBundle is not of the CA that is served: see certificate",
        ),
        ("certificate has expired", "see certificate"),
        (
            "certificate is valid for",
            "the certificate lacks the name that is called: see certificate",
        ),
        (
            "cannot validate certificate",
            "the certificate lacks the name that is called: see certificate",
        ),
        ("x509:", "the certificate is not taken: see certificate"),
        (
            "tls:",
            "the certificate is not taken, or it is not the webhook that answers: see certificate",
        ),
        (
            "deadline exceeded",
            "a network policy or firewall drops the call, or the webhook has no CPU",
        ),
        ("no such host", "the API server cannot resolve the name"),
        (
            "no route to host",
            "the API server cannot reach pods: see hostNetwork in the chart's values",
        ),
    ];
    if message.contains("failed calling webhook") {
        if !is_ours {
            return Some(DryRunError::Other("another webhook fails: the message names it"));
        }
        let advice =
            failed.iter().find(|(text, _)| message.contains(text)).map(|(_, advice)| *advice);
        return Some(DryRunError::Webhook(
            advice.unwrap_or("the webhook's answer is not one: read its log"),
        ));
    }
    if message.contains("denied the request") {
        return Some(if is_ours {
            DryRunError::ByRules
        } else {
            DryRunError::Other("another webhook or policy denies it: the message names it")
        });
    }
    [
        ("cannot create resource", DryRunError::Forbidden),
        ("violates PodSecurity", DryRunError::Other("Pod Security of the namespace refuses even a restricted pod: see its labels")),
        (
            "exceeded quota",
            DryRunError::Other("the namespace's ResourceQuota is used up; the webhook is called before it is counted"),
        ),
        ("failed quota", DryRunError::Other("a ResourceQuota of the namespace wants what the test pod does not say")),
        ("error looking up service account", DryRunError::Other("the namespace has no service account default: create it")),
        ("namespaces \"", DryRunError::Other("give a namespace that exists: --namespace")),
    ]
    .into_iter()
    .find_map(|(text, refusal)| message.contains(text).then_some(refusal))
}

/// In milliseconds, with a tenth.
fn shown(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_the_api_servers_message() {
        let failed = "Internal error occurred: failed calling webhook \"spark-webhook.k8s.io\": failed to call webhook: Post \"https://x/mutate?timeout=5s\": ";
        for (message, expected) in [
            (format!("{failed}dial tcp 127.0.0.1:1: connect: connection refused"), "webhook nobody listens there"),
            (format!("{failed}no endpoints available for service \"x\""), "webhook no replica is ready"),
            (format!("{failed}service \"x\" not found"), "webhook what is called does not exist"),
            (
                format!("{failed}tls: failed to verify certificate: x509: certificate signed by unknown authority"),
                "webhook caBundle is not",
            ),
            (
                format!("{failed}tls: failed to verify certificate: x509: certificate has expired or is not yet valid"),
                "webhook see certificate",
            ),
            (
                format!("{failed}tls: failed to verify certificate: x509: certificate is valid for a, not b"),
                "webhook the certificate lacks",
            ),
            (format!("{failed}context deadline exceeded"), "webhook a network policy"),
            (format!("{failed}EOF"), "webhook the webhook's answer"),
            ("Internal error occurred: failed calling webhook \"other.example\": x".to_owned(), "other another webhook fails"),
            ("admission webhook \"spark-webhook.k8s.io\" denied the request: configMap.x: not allowed".to_owned(), "by rules"),
            ("admission webhook \"validate.kyverno.svc\" denied the request: no".to_owned(), "other another webhook or policy"),
            (
                "pods is forbidden: User \"x\" cannot create resource \"pods\" in API group \"\" in the namespace \"n\""
                    .to_owned(),
                "forbidden",
            ),
            ("pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": a".to_owned(), "other Pod Security"),
            (
                "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1".to_owned(),
                "other the namespace's ResourceQuota",
            ),
            (
                "pods \"x\" is forbidden: error looking up service account n/default: serviceaccount \"default\" not found"
                    .to_owned(),
                "other the namespace has no service account",
            ),
            ("Pod \"x\" is invalid: y".to_owned(), "none"),
        ] {
            let shown = match meaning(&message, &["spark-webhook.k8s.io"]) {
                Some(DryRunError::ByRules) => "by rules".to_owned(),
                Some(DryRunError::Forbidden) => "forbidden".to_owned(),
                Some(DryRunError::Webhook(advice)) => format!("webhook {advice}"),
                Some(DryRunError::Other(advice)) => format!("other {advice}"),
                None => "none".to_owned(),
            };
            assert!(shown.starts_with(expected), "{message}: {shown}");
        }
    }

    /// What the pods ask for is carried out by this version without a problem.
    #[test]
    fn the_pods_are_mutated_by_the_webhook_itself() {
        for role in ROLES {
            let mut pod = pod(None, role);
            pod["kind"] = json!("Pod");
            let body = serde_json::to_vec(&crate::admission::review::of(&pod, "n")).unwrap();
            let admission =
                crate::admission::admit(&body, &crate::admission::Policy::default()).unwrap();
            assert_eq!(admission.outcome, crate::admission::Outcome::Mutated);
            assert!(admission.subject.unwrap().problems.is_empty());
        }
    }
}
