//! The other webhooks for Spark pods, and their order.
//!
//! The API server calls mutating webhooks in the order of the names of their configurations. Most
//! may be anywhere: ours sees the changes of a later one in a second round. The CRD operator's must
//! come first: it does not check whether a path already has a mount
//! (`tests/cluster/neighbours/operator.rs` shows the conflict).

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Namespace;

use crate::doctor::finding::{Finding, some_of};
use crate::doctor::matching::{calls_for_pods, labels_for, selects};
use crate::doctor::snapshot::Snapshot;
use crate::request::PREFIXES;
use crate::spark::Role;

/// The suffix of the names of the CRD operator's webhooks, in its chart. It does not depend on the
/// name of the release.
const OPERATOR: &str = ".sparkoperator.k8s.io";

/// Another configuration that may be called for Spark pods.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Other<'a> {
    name: &'a str,
    is_like_ours: bool,
    is_operators: bool,
}

pub(super) async fn check(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let Snapshot { reader, scope, registration, .. } = snapshot;
    let configurations = match reader.list::<MutatingWebhookConfiguration>().await {
        Ok(configurations) => configurations,
        Err(unreadable) => return vec![unreadable.finding()],
    };
    // If the labels cannot be read, only selectors without requirements select the namespace.
    let labels = reader
        .get::<Namespace>(&scope.namespace)
        .await
        .ok()
        .flatten()
        .and_then(|namespace| namespace.metadata.labels);
    let is_reinvoked = registration.found().is_some_and(|registered| {
        registered
            .webhooks
            .iter()
            .all(|webhook| webhook.reinvocation_policy.as_deref() == Some("IfNeeded"))
    });
    vec![judge(&scope.registration, is_reinvoked, &configurations, &labels.unwrap_or_default())]
}

fn judge(
    own: &str,
    is_reinvoked: bool,
    configurations: &[MutatingWebhookConfiguration],
    namespace: &BTreeMap<String, String>,
) -> Finding {
    let mut others: Vec<Other> = configurations
        .iter()
        .filter_map(|configuration| {
            let webhooks = configuration.webhooks.as_deref().unwrap_or_default();
            let touching: Vec<&MutatingWebhook> =
                webhooks.iter().filter(|webhook| touches(webhook, namespace)).collect();
            let other = Other {
                name: configuration.metadata.name.as_deref()?,
                is_like_ours: touching.iter().any(|webhook| knows_our_prefixes(webhook)),
                is_operators: touching.iter().any(|webhook| webhook.name.ends_with(OPERATOR)),
            };
            Some(other).filter(|other| other.name != own && !touching.is_empty())
        })
        .collect();
    others.sort_unstable();
    let names = |is_wanted: &dyn Fn(&Other) -> bool| -> Vec<String> {
        others.iter().filter(|other| is_wanted(other)).map(|other| other.name.to_owned()).collect()
    };
    let (before, after) = (names(&|other| other.name < own), names(&|other| other.name > own));
    if let Some(late) = others.iter().find(|other| other.is_operators && other.name > own) {
        return Finding::failed(
            format!(
                "{} is called after {own}: a pod that asks for one path by a SparkApplication's field and by annotation is refused",
                late.name
            ),
            "let its name sort before: install the operator with fullnameOverride=spark-operator; or ask for a path in one way only",
        );
    }
    let mut told = Vec::new();
    if !before.is_empty() {
        told.push(format!("before {own}: {}", some_of(&before)));
    }
    if !after.is_empty() {
        let again = if is_reinvoked { ", after which it is called again" } else { "" };
        told.push(format!("after it: {}{again}", some_of(&after)));
    }
    let like_ours = names(&|other| other.is_like_ours);
    if !like_ours.is_empty() {
        told.push(format!(
            "{} is another registration for the same annotations",
            some_of(&like_ours)
        ));
    }
    let told = if told.is_empty() {
        "no other webhook changes Spark pods".to_owned()
    } else {
        told.join("; ")
    };
    Finding::passed(told)
}

/// Whether the API server may call a webhook for a Spark pod. Its conditions are programs, so they
/// are ignored.
fn touches(webhook: &MutatingWebhook, namespace: &BTreeMap<String, String>) -> bool {
    calls_for_pods(webhook.rules.as_deref().unwrap_or_default())
        && selects(webhook.namespace_selector.as_ref(), namespace)
        && Role::ALL
            .into_iter()
            .any(|role| labels_for(webhook.object_selector.as_ref(), role).is_some())
}

fn knows_our_prefixes(webhook: &MutatingWebhook) -> bool {
    let conditions = webhook.match_conditions.iter().flatten();
    conditions
        .into_iter()
        .any(|condition| PREFIXES.iter().any(|prefix| condition.expression.contains(prefix)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Rules;
    use crate::registration::condition;

    #[test]
    fn others_are_named_in_the_order_in_which_they_are_called() {
        let configuration = |name: &str| {
            let like_ours = if name.contains("copy") {
                json!([{"name": "c", "expression": condition(&Rules::default())}])
            } else {
                json!([])
            };
            let resource = if name.contains("jobs") { "jobs" } else { "pods" };
            let webhook = if name.contains("operator") {
                "mutate--v1-pod.sparkoperator.k8s.io"
            } else {
                "w.example.com"
            };
            serde_json::from_value(json!({"metadata": {"name": name}, "webhooks": [{
                "name": webhook, "admissionReviewVersions": ["v1"], "clientConfig": {}, "sideEffects": "None", "matchConditions": like_ours,
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]}],
                "namespaceSelector": if name.contains("elsewhere") { json!({"matchLabels": {"a": "b"}}) } else { json!({}) },
            }]}))
            .unwrap()
        };
        for (names, own, is_reinvoked, expected) in [
            (
                vec!["spark-webhook", "jobs", "elsewhere"],
                "spark-webhook",
                true,
                "passed: no other webhook changes Spark pods",
            ),
            (
                vec!["spark-webhook", "spark-operator-webhook", "istio"],
                "spark-webhook",
                true,
                "passed: before spark-webhook: istio, spark-operator-webhook",
            ),
            (
                vec!["spark-webhook", "vault"],
                "spark-webhook",
                true,
                "passed: after it: vault, after which it is called again",
            ),
            (vec!["spark-webhook", "vault"], "spark-webhook", false, "passed: after it: vault"),
            // A second round of this one cannot take away what the operator's has mounted again.
            (
                vec!["hook", "spark-operator-webhook"],
                "hook",
                true,
                "failed: spark-operator-webhook is called after hook",
            ),
            (
                vec!["spark-webhook", "sparkoperator-spark-operator-webhook"],
                "spark-webhook",
                true,
                "failed: sparkoperator-spark-operator-webhook is called after spark-webhook",
            ),
            (
                vec!["a", "copy"],
                "a",
                true,
                "passed: after it: copy, after which it is called again; copy is another registration",
            ),
        ] {
            let configurations: Vec<_> = names.iter().map(|name| configuration(name)).collect();
            let finding = judge(own, is_reinvoked, &configurations, &BTreeMap::new());
            let shown = format!("{}: {}", finding.status.as_str(), finding.message);
            assert!(shown.starts_with(expected), "{shown}");
        }
    }
}
