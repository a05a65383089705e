//! The MutatingWebhookConfiguration, and whether it sends the Spark pods of a namespace.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::config::Rules;
use crate::doctor::api::{Reader, Unreadable};
use crate::doctor::matching::{
    Condition, NAMESPACE_NAME, calls_for_pods, is_about_the_name, labels_for, selects,
};
use crate::doctor::scope::Scope;
use crate::spark::Role;

/// Whether the API server knows the webhook.
pub(crate) enum Registration {
    /// It does.
    Found(Registered),
    /// There is no such MutatingWebhookConfiguration.
    Absent,
    /// It may not be read.
    Unseen(Unreadable),
}

impl Registration {
    /// The configuration, where it can be seen.
    pub(crate) fn found(&self) -> Option<&Registered> {
        match self {
            Self::Found(registered) => Some(registered),
            Self::Absent | Self::Unseen(_) => None,
        }
    }
}

/// A MutatingWebhookConfiguration.
pub(crate) struct Registered {
    /// Its name.
    pub(crate) name: String,
    /// When it was created.
    pub(crate) created: Option<Time>,
    /// Its webhooks; usually one.
    pub(crate) webhooks: Vec<MutatingWebhook>,
    /// The namespace of the Spark pods.
    pub(crate) namespace: String,
    /// Whether its selectors select the Spark pods of the namespace.
    pub(crate) selection: Selection,
}

/// Whether selectors select the Spark pods of a namespace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Yes, with labels such as these.
    Selected(BTreeMap<String, String>),
    /// The namespace does not exist.
    NoNamespace,
    /// No namespaceSelector selects the namespace.
    Excluded,
    /// No objectSelector selects pods of this role.
    NoRole(Role),
    /// It depends on labels of the namespace that may not be read.
    Unseen,
}

impl Selection {
    /// Without permission to read the namespace, only the label with its name is known.
    fn of(
        namespace: Result<Option<Namespace>, Unreadable>,
        name: &str,
        webhooks: &[MutatingWebhook],
    ) -> Self {
        let (labels, is_whole) = match namespace {
            Ok(Some(found)) => (found.metadata.labels.unwrap_or_default(), true),
            Ok(None) => return Self::NoNamespace,
            // The API server itself sets this label on every namespace.
            Err(_) => (BTreeMap::from([(NAMESPACE_NAME.to_owned(), name.to_owned())]), false),
        };
        let knows = |webhook: &MutatingWebhook| {
            is_whole || webhook.namespace_selector.as_ref().is_none_or(is_about_the_name)
        };
        if !webhooks.iter().all(knows) {
            return Self::Unseen;
        }
        let selected: Vec<&MutatingWebhook> = webhooks
            .iter()
            .filter(|webhook| selects(webhook.namespace_selector.as_ref(), &labels))
            .collect();
        if selected.is_empty() {
            return Self::Excluded;
        }
        let labels_for = |role| {
            selected.iter().find_map(|webhook| labels_for(webhook.object_selector.as_ref(), role))
        };
        match Role::ALL.into_iter().find(|role| labels_for(*role).is_none()) {
            Some(role) => Self::NoRole(role),
            None => Self::Selected(labels_for(Role::Driver).unwrap_or_default()),
        }
    }
}

impl Registered {
    /// Whether pods are created without their mounts while the webhook is away.
    pub(crate) fn ignores_failure(&self) -> bool {
        self.webhooks.iter().any(|webhook| webhook.failure_policy.as_deref() == Some("Ignore"))
    }

    /// Why the API server calls no webhook for any pod.
    pub(crate) fn lacks_rule(&self) -> Option<String> {
        let calls = |webhook: &MutatingWebhook| {
            calls_for_pods(webhook.rules.as_deref().unwrap_or_default())
        };
        (!self.webhooks.iter().any(calls))
            .then(|| format!("no rule of {} is about the creation of pods", self.name))
    }

    /// Why the selectors do not select the Spark pods of the namespace.
    pub(crate) fn deselects(&self) -> Option<String> {
        let Self { name, namespace, .. } = self;
        match self.selection {
            Selection::Selected(_) | Selection::Unseen => None,
            Selection::NoNamespace => Some(format!("namespace {namespace} does not exist")),
            Selection::Excluded => Some(format!(
                "namespace {namespace} is excluded by the namespaceSelector of {name}"
            )),
            Selection::NoRole(role) => Some(format!(
                "no pod with the label spark-role={role} passes the objectSelector of {name}"
            )),
        }
    }

    /// Why the API server does not send the Spark pods of the namespace, if that is known.
    pub(crate) fn withheld(&self) -> Option<String> {
        self.lacks_rule().or_else(|| self.deselects())
    }

    /// The worst of its webhooks' conditions.
    pub(crate) fn condition(&self, rules: Option<&Rules>) -> Condition {
        let conditions = self.webhooks.iter().map(|webhook| {
            Condition::of(webhook.match_conditions.as_deref().unwrap_or_default(), rules)
        });
        conditions.max().unwrap_or(Condition::Absent)
    }
}

pub(super) async fn read(reader: &Reader, scope: &Scope) -> Registration {
    let name = &scope.registration;
    let configuration = match reader.get::<MutatingWebhookConfiguration>(name).await {
        Ok(Some(configuration)) => configuration,
        Ok(None) => return Registration::Absent,
        Err(unreadable) => return Registration::Unseen(unreadable),
    };
    let webhooks = configuration.webhooks.unwrap_or_default();
    let namespace = reader.get::<Namespace>(&scope.namespace).await;
    let selection = Selection::of(namespace, &scope.namespace, &webhooks);
    Registration::Found(Registered {
        name: name.clone(),
        created: configuration.metadata.creation_timestamp,
        webhooks,
        namespace: scope.namespace.clone(),
        selection,
    })
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::{Value, json};

    use super::*;

    fn registered(webhook: &Value, namespace: Result<Option<Namespace>, Unreadable>) -> Registered {
        let mut webhook = webhook.clone();
        for (key, value) in [
            ("name", json!("w")),
            ("admissionReviewVersions", json!(["v1"])),
            ("sideEffects", json!("None")),
            ("clientConfig", json!({})),
        ] {
            webhook[key] = value;
        }
        let webhooks = vec![serde_json::from_value(webhook).unwrap()];
        Registered {
            name: "r".to_owned(),
            created: None,
            namespace: "n".to_owned(),
            selection: Selection::of(namespace, "n", &webhooks),
            webhooks,
        }
    }

    #[test]
    fn pods_are_withheld_by_a_rule_or_else_by_a_selector() {
        let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]);
        let of_label = json!({"rules": rules, "namespaceSelector": {"matchLabels": {"team": "a"}}});
        let of_name = json!({"rules": rules, "namespaceSelector": {"matchLabels": {NAMESPACE_NAME: "other"}}});
        let of_driver =
            json!({"rules": rules, "objectSelector": {"matchLabels": {"spark-role": "driver"}}});
        let of_tier = json!({"rules": rules, "objectSelector": {"matchLabels": {"tier": "x"}}});
        let seen = |labels: Value| {
            Ok(Some(serde_json::from_value(json!({"metadata": {"labels": labels}})).unwrap()))
        };
        let unseen = || {
            let status = Status::failure("no", "Forbidden").with_code(403);
            Err(Unreadable::new("get", "namespaces", None, &kube::Error::Api(Box::new(status))))
        };
        for (webhook, namespace, expected) in [
            (&of_label, seen(json!({"team": "a"})), None),
            (
                &of_label,
                seen(json!({})),
                Some("namespace n is excluded by the namespaceSelector of r"),
            ),
            (&of_label, Ok(None), Some("namespace n does not exist")),
            (&of_name, unseen(), Some("namespace n is excluded by the namespaceSelector of r")),
            (
                &of_driver,
                seen(json!({})),
                Some("no pod with the label spark-role=executor passes the objectSelector of r"),
            ),
            (&json!({"rules": []}), Ok(None), Some("no rule of r is about the creation of pods")),
        ] {
            let registered = registered(webhook, namespace);
            assert_eq!(registered.withheld().as_deref(), expected, "{webhook}");
        }
        assert_eq!(registered(&of_label, unseen()).selection, Selection::Unseen);
        let labels = [("spark-role", "driver"), ("tier", "x")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let selection = Selection::Selected(BTreeMap::from(labels));
        assert_eq!(registered(&of_tier, seen(json!({}))).selection, selection);
    }
}
