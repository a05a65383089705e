//! Whether the replicas have the same version.
//!
//! Two versions at once are a roll-out, or one that is stuck. They may mutate the same pod in two
//! ways.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use crate::doctor::api::Reader;
use crate::doctor::finding::{Finding, counted, some_of};
use crate::doctor::snapshot::backend::{Backend, Found};

pub(super) async fn check(reader: &Reader, backends: &[Backend]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for backend in backends {
        match &backend.found {
            Found::Service(service) if !service.selector.is_empty() => {
                let finding =
                    match reader.list_in::<Pod>(&service.namespace, &service.selector).await {
                        Ok(pods) => judge(&pods, &service.namespace, &service.selector),
                        Err(unreadable) => unreadable.finding(),
                    };
                findings.push(finding);
            }
            Found::Service(service) => findings.push(Finding::unknown(
                format!(
                    "Service {}/{} has no selector, so its pods are not known",
                    service.namespace, service.name
                ),
                "compare spark_webhook_build_info of the replicas",
            )),
            Found::Url(..) => findings.push(Finding::unknown(
                "the registration is for a URL, and the cluster does not know who is behind it",
                "compare spark_webhook_build_info of the replicas",
            )),
            Found::Gone(_) | Found::Nowhere(_) | Found::Unreadable(_) => {}
        }
    }
    findings
}

fn judge(pods: &[Pod], namespace: &str, selector: &str) -> Finding {
    let mut by_version: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        by_version
            .entry(version(pod))
            .or_default()
            .push(pod.metadata.name.clone().unwrap_or_default());
    }
    let count = by_version.values().map(Vec::len).sum();
    // A pod that has not started yet has no digest, so only its image is compared.
    let known: Vec<String> = by_version.keys().cloned().collect();
    by_version.retain(|version, _| {
        !known.iter().any(|other| other.starts_with(&format!("{version} (sha256:")))
    });
    let shown: Vec<String> =
        by_version.iter().map(|(version, pods)| format!("{version} ({})", some_of(pods))).collect();
    match (&*shown, by_version.keys().next()) {
        (_, None) => Finding::unknown(
            "there is no replica",
            format!(
                "kubectl --namespace {namespace} get deployments,replicasets,events --selector {selector}"
            ),
        ),
        ([_], Some(version)) => {
            Finding::passed(format!("{} of {version}", counted(count, "replica")))
        }
        _ => Finding::failed(
            format!("the replicas differ: {}", shown.join("; ")),
            format!(
                "wait for the roll-out, or see why it stands: kubectl --namespace {namespace} rollout status deployment"
            ),
        ),
    }
}

/// The image; for a tag, with the digest at the time of the pull.
fn version(pod: &Pod) -> String {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    // A mesh may add a sidecar.
    let container = containers
        .iter()
        .find(|container| container.name == "spark-webhook")
        .or(containers.first());
    let Some(container) = container else { return String::new() };
    let image = container.image.clone().unwrap_or_default();
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let mut ids = statuses
        .filter(|status| status.name == container.name)
        .map(|status| status.image_id.as_str());
    let digest =
        ids.find_map(|id| id.rsplit_once("sha256:")).and_then(|(_, digest)| digest.get(..12));
    match digest {
        Some(digest) if !image.contains('@') => format!("{image} (sha256:{digest}…)"),
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replicas_are_compared_by_image_and_digest() {
        let digest = |start: &str| format!("docker.io/x@sha256:{start}{}", "0".repeat(60));
        let pod = |name: &str, image: &str, id: &str| {
            let containers = json!([{"name": "proxy", "image": name}, {"name": "spark-webhook", "image": image}]);
            let statuses = json!([{"name": "spark-webhook", "imageID": id, "image": image, "ready": true, "restartCount": 0}]);
            json!({"metadata": {"name": name}, "spec": {"containers": containers}, "status": {"containerStatuses": statuses}})
        };
        let (one, two) = (digest("aaaa"), digest("bbbb"));
        let mut ending = pod("c", "x:2", &two);
        ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        for (pods, expected) in [
            (
                vec![pod("a", "x:1", &one), pod("b", "x:1", &one)],
                "passed: 2 replicas of x:1 (sha256:aaaa00000000…)",
            ),
            (
                vec![pod("a", "x:1", &one), pod("b", "x:2", &two)],
                "failed: the replicas differ: x:1 (sha256:aaaa00000000…) (a); x:2",
            ),
            // The tag moved between the two pulls.
            (
                vec![pod("a", "x:1", &one), pod("b", "x:1", &two)],
                "failed: the replicas differ: x:1",
            ),
            (vec![pod("a", "x:1", &one), ending], "passed: 1 replica of x:1"),
            (
                vec![pod("a", "x:1", &one), pod("b", "x:1", "")],
                "passed: 2 replicas of x:1 (sha256:aaaa00000000…)",
            ),
            (
                vec![pod("a", "x:1", &one), pod("b", "x:2", "")],
                "failed: the replicas differ: x:1 (sha256:aaaa00000000…) (a); x:2 (b)",
            ),
            (vec![], "unknown: there is no replica"),
        ] {
            let pods: Vec<Pod> =
                pods.into_iter().map(|pod| serde_json::from_value(pod).unwrap()).collect();
            let finding = judge(&pods, "n", "app=x");
            let shown = format!("{}: {}", finding.status.as_str(), finding.message);
            assert!(shown.starts_with(expected), "{shown}");
        }
    }
}
