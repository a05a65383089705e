//! Dry runs: a driver and an executor with a request, as the API server would create them.
//!
//! The API server itself goes all the way: selectors, condition, network, certificate, webhook,
//! patch. A dry run stores nothing and starts nothing. The request is optional, so its object need
//! not exist.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::registration::{Registered, Registration};
use crate::doctor::api::{self, Reader, Unreadable};
use crate::doctor::matching::labels_for;
use crate::doctor::scope::Scope;
use crate::request::{INJECTED, PREFIXES};
use crate::spark::Role;

/// Creates of each role: enough for a median.
const ROUNDS: usize = 5;

/// The prefix of the pods' names, and the name of their ConfigMap and of their image.
const NAME: &str = "spark-webhook-doctor";

/// The result of the dry runs.
pub(crate) struct DryRun {
    pub(crate) result: Result<Mutation, DryRunError>,
    /// Whether the webhook mutates pods. `None` if no dry run shows that, or if the registration
    /// does not send them.
    pub(crate) is_mutated: Option<bool>,
}

/// The webhook was called for every pod.
pub(crate) struct Mutation {
    /// Whether all of them came back with their mounts; else the rules do not allow the requests.
    pub(crate) have_mounts: bool,
    /// How long a create took.
    pub(crate) median: Duration,
    /// The number of creates.
    pub(crate) count: usize,
}

/// Why dry runs do not show that the webhook is called.
pub(crate) enum DryRunError {
    /// A pod of this role comes back unchanged.
    Unchanged(Role),
    /// The user may not create pods.
    Forbidden(Unreadable),
    /// The API server rejects a pod of this role with this message.
    Rejected { role: Role, message: String, by: Option<Rejection> },
    /// The API server does not answer, and why.
    NoAnswer(String),
}

impl DryRunError {
    /// Whether the webhook itself fails; an error before or after it says nothing about it.
    fn is_of_webhook(&self) -> bool {
        match self {
            Self::Unchanged(_) => true,
            Self::Rejected { by, .. } => matches!(by, Some(Rejection::Webhook(_))),
            Self::Forbidden(_) | Self::NoAnswer(_) => false,
        }
    }
}

/// Creates pods of each role. Stops at the first error.
pub(super) async fn run(reader: &Reader, scope: &Scope, registration: &Registration) -> DryRun {
    let result = create_all(reader, &scope.namespace, registration.found()).await;
    let is_mutated = match &result {
        Ok(_) => Some(true),
        // An excluded namespace says nothing about the webhook.
        Err(error) => {
            let is_sent =
                registration.found().is_some_and(|registered| registered.withheld().is_none());
            (is_sent && error.is_of_webhook()).then_some(false)
        }
    };
    DryRun { result, is_mutated }
}

async fn create_all(
    reader: &Reader,
    namespace: &str,
    registered: Option<&Registered>,
) -> Result<Mutation, DryRunError> {
    let (mut took, mut have_mounts) = (Vec::new(), true);
    for _ in 0..ROUNDS {
        for role in Role::ALL {
            let started = Instant::now();
            let has_mount = create(reader, namespace, registered, role).await?;
            took.push(started.elapsed());
            have_mounts &= has_mount;
        }
    }
    took.sort_unstable();
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    Ok(Mutation { have_mounts, median, count: took.len() })
}

/// Whether a pod of the role gets its mount; `false` where the webhook itself rejects the request.
async fn create(
    reader: &Reader,
    namespace: &str,
    registered: Option<&Registered>,
    role: Role,
) -> Result<bool, DryRunError> {
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
        Ok(_) => Err(DryRunError::Unchanged(role)),
        Err(kube::Error::Api(status)) => {
            let webhooks: Vec<&str> = registered
                .iter()
                .flat_map(|registered| &registered.webhooks)
                .map(|webhook| webhook.name.as_str())
                .collect();
            match Rejection::of(&status.message, &webhooks) {
                Some(Rejection::ByRules) => Ok(false),
                Some(Rejection::Forbidden) => {
                    let error = kube::Error::Api(status);
                    let unreadable = Unreadable::new("create", "pods", Some(namespace), &error);
                    Err(DryRunError::Forbidden(unreadable))
                }
                by => Err(DryRunError::Rejected { role, message: status.message, by }),
            }
        }
        Err(error) => Err(DryRunError::NoAnswer(api::cause(&error))),
    }
}

/// A pod that passes Pod Security `restricted` and most quotas, so that only the webhook decides.
fn pod(registered: Option<&Registered>, role: Role) -> Value {
    let webhooks = registered.map(|registered| registered.webhooks.as_slice()).unwrap_or_default();
    let labels =
        webhooks.iter().find_map(|webhook| labels_for(webhook.object_selector.as_ref(), role));
    let resources = json!({"cpu": "10m", "memory": "16Mi"});
    json!({
        "metadata": {
            "generateName": format!("{NAME}-{role}-"),
            "labels": labels.map_or_else(|| json!({"spark-role": role.as_str()}), |labels| json!(labels)),
            "annotations": {format!("{}configMap.{NAME}", PREFIXES[0]): format!("{MOUNT_PATH}:optional")},
        },
        "spec": {
            "automountServiceAccountToken": false,
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": if role == Role::Driver { "spark-kubernetes-driver" } else { "spark-kubernetes-executor" },
                "image": NAME,
                "args": [role.as_str()],
                "resources": {"requests": resources, "limits": resources},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
}

/// The path that the pods request for their ConfigMap.
const MOUNT_PATH: &str = "/mnt/spark-webhook-doctor";

fn has_mount(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut mounts = containers.flat_map(|container| container.volume_mounts.iter().flatten());
    mounts.any(|mount| mount.mount_path == MOUNT_PATH)
}

/// Whether the webhook was called: it leaves a record.
fn has_record(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(INJECTED))
}

/// Who rejects a pod, with advice.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// The webhook, because its rules do not allow the requests: it works.
    ByRules,
    /// The API server, because the user may not create pods.
    Forbidden,
    /// The API server, because its call of the webhook fails.
    Webhook(&'static str),
    /// Something before or after the webhook.
    Other(&'static str),
}

impl Rejection {
    /// Reads the API server's message (Kubernetes 1.32 to 1.36), given the names of our webhooks.
    fn of(message: &str, webhooks: &[&str]) -> Option<Self> {
        let is_ours = webhooks.iter().any(|name| message.contains(&format!("webhook \"{name}\"")));
        let failed = [
            (
                "connection refused",
                "nobody listens there: see endpoints; kubectl logs of the webhook",
            ),
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
                return Some(Self::Other("another webhook fails: the message names it"));
            }
            let advice =
                failed.iter().find(|(text, _)| message.contains(text)).map(|(_, advice)| *advice);
            return Some(Self::Webhook(
                advice.unwrap_or("the webhook's answer is not one: read its log"),
            ));
        }
        if message.contains("denied the request") {
            return Some(if is_ours {
                Self::ByRules
            } else {
                Self::Other("another webhook or policy denies it: the message names it")
            });
        }
        [
        ("cannot create resource", Self::Forbidden),
        ("violates PodSecurity", Self::Other("Pod Security of the namespace refuses even a restricted pod: see its labels")),
        (
            "exceeded quota",
            Self::Other("the namespace's ResourceQuota is used up; the webhook is called before it is counted"),
        ),
        ("failed quota", Self::Other("a ResourceQuota of the namespace wants what the test pod does not say")),
        ("error looking up service account", Self::Other("the namespace has no service account default: create it")),
        ("namespaces \"", Self::Other("give a namespace that exists: --namespace")),
    ]
    .into_iter()
    .find_map(|(text, refusal)| message.contains(text).then_some(refusal))
    }
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
            let shown = match Rejection::of(&message, &["spark-webhook.k8s.io"]) {
                Some(Rejection::ByRules) => "by rules".to_owned(),
                Some(Rejection::Forbidden) => "forbidden".to_owned(),
                Some(Rejection::Webhook(advice)) => format!("webhook {advice}"),
                Some(Rejection::Other(advice)) => format!("other {advice}"),
                None => "none".to_owned(),
            };
            assert!(shown.starts_with(expected), "{message}: {shown}");
        }
    }

    /// This version mutates the pods without a problem.
    #[test]
    fn the_pods_are_mutated_by_the_webhook_itself() {
        for role in Role::ALL {
            let mut pod = pod(None, role);
            pod["kind"] = json!("Pod");
            let body = serde_json::to_vec(&crate::admission::review::of(&pod, "n")).unwrap();
            let admission =
                crate::admission::admit(&body, &crate::admission::Settings::default()).unwrap();
            assert_eq!(admission.outcome, crate::admission::Outcome::Mutated);
            assert!(admission.summary.unwrap().problems.is_empty());
        }
    }
}
