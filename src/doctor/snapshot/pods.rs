//! The Spark pods that the checks look at.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use crate::annotations::key::{Key, PrefixedKey};
use crate::doctor::api::Reader;
use crate::doctor::finding::Finding;
use crate::doctor::scope::Scope;

/// The pod that was named, or those of the namespace that are not finished.
pub(super) async fn read(reader: &Reader, scope: &Scope) -> Result<Vec<Pod>, Finding> {
    let namespace = &scope.namespace;
    let Some(name) = &scope.pod else {
        let pods = reader
            .list_in::<Pod>(namespace, "")
            .await
            .map_err(|unreadable| unreadable.finding())?;
        return Ok(pods.into_iter().filter(is_unfinished).collect());
    };
    match reader.get_in::<Pod>(namespace, name).await {
        Ok(Some(pod)) => Ok(vec![pod]),
        Ok(None) => Err(Finding::failed(
            format!("pod {name} does not exist in namespace {namespace}"),
            format!("kubectl --namespace {namespace} get pods --selector spark-role"),
        )),
        Err(unreadable) => Err(unreadable.finding()),
    }
}

fn is_unfinished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed")) && pod.metadata.deletion_timestamp.is_none()
}

/// Whether a pod has a request of ours.
pub(crate) fn has_requests(pod: &Pod) -> bool {
    let keys = pod.metadata.annotations.iter().flat_map(BTreeMap::keys);
    let mut keys = keys.filter_map(|key| PrefixedKey::parse(key));
    keys.any(|key| key.key != Key::Injected)
}

pub(crate) fn name(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap_or_default()
}
