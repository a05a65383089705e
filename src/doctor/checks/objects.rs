//! Whether the ConfigMaps, Secrets and keys that pods name exist.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use crate::annotations;
use crate::doctor::api::Reader;
use crate::doctor::finding::Finding;
use crate::doctor::references::{self, Reference, Referrers, add};
use crate::doctor::scope::Scope;
use crate::doctor::snapshot::pods::{has_requests, name};

pub(super) async fn check(reader: &Reader, scope: &Scope, pods: &[Pod]) -> Vec<Finding> {
    references::check(reader, &scope.namespace, named(pods)).await
}

fn named(pods: &[Pod]) -> BTreeMap<Reference, Referrers> {
    let mut named: BTreeMap<Reference, Referrers> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| has_requests(pod)) {
        let annotations = pod.metadata.annotations.iter().flatten();
        let requests =
            annotations::parse(annotations.map(|(key, value)| (key.as_str(), value.as_str())));
        add(&mut named, &requests.mounts, &name(pod));
    }
    named
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_pods_name_is_collected_once_with_the_keys_that_they_need() {
        let pod = |name: &str, annotations: &[(&str, &str)]| -> Pod {
            let annotations: BTreeMap<_, _> = annotations
                .iter()
                .map(|(key, value)| (format!("spark-operator.k8s.io/{key}"), *value))
                .collect();
            serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations}}))
                .unwrap()
        };
        let pods = [
            pod(
                "a",
                &[
                    ("hadoopConfigMap", "h"),
                    ("secret.s", "/s:optional"),
                    ("configMap.k", "/k.conf:file=k.conf"),
                ],
            ),
            pod(
                "b",
                &[("hadoopConfigMap", "h"), ("secret.s", "/s"), ("GCPServiceAccount.g", "/g")],
            ),
            pod(
                "c",
                &[
                    ("hadoopDelegationToken.t", "/t:key=x"),
                    ("sparkConfigMap", "c:optional"),
                    ("configMaps", "h=/1,h=/2"),
                ],
            ),
            pod("d", &[]),
        ];
        let shown: Vec<String> = named(&pods)
            .into_iter()
            .map(|(object, by)| {
                let key = object.key.map(|key| format!("#{key}")).unwrap_or_default();
                format!(
                    "{} {}{key} {} {}",
                    object.kind,
                    object.name,
                    by.pods.join(","),
                    by.is_required
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "ConfigMap c c false",
                "ConfigMap h a,b,c true",
                "ConfigMap k#k.conf a true",
                "Secret g#key.json b true",
                "Secret s a,b true",
                "Secret t#x c true",
            ]
        );
    }
}
