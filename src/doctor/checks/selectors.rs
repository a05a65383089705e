//! Whether the selectors of the registration select the Spark pods of the namespace.

use crate::doctor::finding::Finding;
use crate::doctor::matching::shown_labels;
use crate::doctor::snapshot::registration::{Registered, Selection};

pub(super) fn check(registered: &Registered) -> Finding {
    let namespace = &registered.namespace;
    let advice = match &registered.selection {
        Selection::Selected(labels) => {
            let more = shown_labels(labels.iter().filter(|(key, _)| *key != "spark-role"));
            let only = if more.is_empty() {
                String::new()
            } else {
                format!(", with labels such as {more}")
            };
            return Finding::passed(format!("Spark pods of namespace {namespace} are sent{only}"));
        }
        Selection::Unseen => {
            return Finding::unknown(
                format!(
                    "you may not get namespaces, and the namespaceSelector is about the labels of {namespace}"
                ),
                format!(
                    "allow it, or ask who may: kubectl get namespace {namespace} --show-labels"
                ),
            );
        }
        Selection::NoNamespace => "give --namespace",
        Selection::Excluded => {
            "run Spark in another namespace, give this one the label that is asked for (chart: webhook.namespaceSelector), or \
             give --namespace"
        }
        Selection::NoRole(_) => "install the chart again, or write the registration again",
    };
    Finding::failed(registered.deselects().unwrap_or_default(), advice)
}
