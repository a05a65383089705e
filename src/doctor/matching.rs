//! Which pods the API server sends to a webhook: its rules, selectors and conditions.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{MatchCondition, RuleWithOperations};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};

use crate::config::Rules;
use crate::registration::condition;
use crate::request::PREFIXES;
use crate::spark::{ROLE_LABEL, Role};

/// The API server itself sets this label on every namespace, with its name.
pub(super) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Whether the API server calls a webhook with these rules when a pod is created. As the API server
/// reads them, `*` and `pods/*` include pods.
pub(super) fn calls_for_pods(rules: &[RuleWithOperations]) -> bool {
    let has = |list: Option<&Vec<String>>, accepted: &[&str]| {
        list.is_some_and(|list| list.iter().any(|entry| accepted.contains(&entry.as_str())))
    };
    rules.iter().any(|rule| {
        has(rule.api_groups.as_ref(), &["", "*"])
            && has(rule.api_versions.as_ref(), &["v1", "*"])
            && has(rule.operations.as_ref(), &["CREATE", "*"])
            && has(rule.resources.as_ref(), &["pods", "pods/*", "*", "*/*"])
            && rule.scope.as_deref() != Some("Cluster")
    })
}

/// Whether a selector selects labels. No selector selects everything.
pub(super) fn selects(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    // The API server rejects an invalid selector when it is written.
    selector.is_none_or(|selector| {
        Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
    })
}

/// Labels with which an objectSelector selects a pod of a role; `None` if there are none.
pub(super) fn labels_for(
    selector: Option<&LabelSelector>,
    role: Role,
) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::from([(ROLE_LABEL.to_owned(), role.to_string())]);
    for (key, value) in selector.iter().flat_map(|selector| selector.match_labels.iter().flatten())
    {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    for requirement in
        selector.iter().flat_map(|selector| selector.match_expressions.iter().flatten())
    {
        let first = requirement.values.iter().flatten().next();
        match requirement.operator.as_str() {
            "In" => labels
                .entry(requirement.key.clone())
                .or_insert_with(|| first.cloned().unwrap_or_default()),
            "Exists" => labels.entry(requirement.key.clone()).or_default(),
            _ => continue,
        };
    }
    selects(selector, &labels).then_some(labels)
}

pub(super) fn is_about_the_name(selector: &LabelSelector) -> bool {
    selector.match_labels.iter().flat_map(BTreeMap::keys).all(|key| key == NAMESPACE_NAME)
        && selector
            .match_expressions
            .iter()
            .flatten()
            .all(|requirement| requirement.key == NAMESPACE_NAME)
}

/// The origin of a webhook's matchConditions, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    /// There is none.
    Absent,
    /// Those that this version writes.
    Ours,
    /// Those that this version writes for rules with defaults.
    OursAndMore,
    /// Another program.
    Other,
    /// Those of a version that did not know this prefix.
    Older(&'static str),
}

impl Condition {
    pub(super) fn of(conditions: &[MatchCondition], rules: Option<&Rules>) -> Self {
        let ours = condition(&Rules::default());
        let expressions: Vec<&str> =
            conditions.iter().map(|condition| condition.expression.trim()).collect();
        match &*expressions {
            [] => return Self::Absent,
            [one] if *one == ours => return Self::Ours,
            [one] if one.strip_prefix(&ours).is_some_and(|rest| rest.starts_with(" || ")) => {
                return Self::OursAndMore;
            }
            [one] if rules.is_some_and(|rules| *one == condition(rules)) => {
                return Self::OursAndMore;
            }
            _ => {}
        }
        // Conditions with one of our prefixes but not all are from before the other was added.
        let text = expressions.join(" && ");
        let missing = PREFIXES.into_iter().find(|prefix| !text.contains(prefix));
        match missing {
            Some(prefix) if PREFIXES.iter().any(|prefix| text.contains(prefix)) => {
                Self::Older(prefix)
            }
            _ => Self::Other,
        }
    }
}

/// Labels as kubectl takes them: `a=b,c=d`.
pub(super) fn shown_labels<'l>(
    labels: impl IntoIterator<Item = (&'l String, &'l String)>,
) -> String {
    let labels = labels.into_iter().map(|(key, value)| format!("{key}={value}"));
    labels.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::trial;

    fn selector(value: Value) -> Option<LabelSelector> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn rules_are_read_as_the_api_server_reads_them() {
        let rule = |group: &str, operation: &str, resource: &str, scope: &str| json!([{"apiGroups": [group], "apiVersions": ["v1"], "operations": [operation], "resources": [resource], "scope": scope}]);
        for (rules, expected) in [
            (rule("", "CREATE", "pods", "Namespaced"), true),
            (rule("*", "*", "*/*", "*"), true),
            (rule("", "CREATE", "pods/*", "*"), true),
            (rule("", "UPDATE", "pods", "*"), false),
            (rule("", "CREATE", "services", "*"), false),
            (rule("apps", "CREATE", "pods", "*"), false),
            (rule("", "CREATE", "pods", "Cluster"), false),
            (json!([]), false),
        ] {
            let parsed: Vec<RuleWithOperations> = serde_json::from_value(rules.clone()).unwrap();
            assert_eq!(calls_for_pods(&parsed), expected, "{rules}");
        }
    }

    #[test]
    fn labels_are_found_that_pass_a_selector() {
        let role = json!({"key": "spark-role", "operator": "In", "values": ["driver", "executor"]});
        for (value, expected) in [
            (json!(null), Some("spark-role=executor")),
            (json!({"matchExpressions": [role]}), Some("spark-role=executor")),
            (
                json!({"matchLabels": {"canary": "yes"}, "matchExpressions": [role]}),
                Some("canary=yes,spark-role=executor"),
            ),
            (
                json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}),
                Some("spark-role=executor,tier="),
            ),
            (
                json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}),
                Some("spark-role=executor"),
            ),
            (
                json!({"matchExpressions": [{"key": "spark-role", "operator": "NotIn", "values": ["executor"]}]}),
                None,
            ),
            (json!({"matchLabels": {"spark-role": "driver"}}), None),
        ] {
            let labels = labels_for(selector(value.clone()).as_ref(), Role::Executor);
            let shown = labels.as_ref().map(shown_labels);
            assert_eq!(shown.as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn a_condition_is_ours_or_older_or_another() {
        let ours = condition(&Rules::default());
        let text = "apiVersion: spark-webhook/v1\ndefaults: [{annotations: {spark-operator.k8s.io/secret.s: /s}}]\n";
        let rules = trial::load(text).unwrap();
        for (expressions, expected) in [
            (&[][..], Condition::Absent),
            (&[&*ours], Condition::Ours),
            (&[&*condition(&rules)], Condition::OursAndMore),
            (
                &[
                    "object.metadata.annotations.exists(key, key.startsWith('spark-operator.k8s.io/'))",
                ],
                Condition::Older(PREFIXES[1]),
            ),
            (
                &[
                    "object.metadata.annotations.exists(key, key.startsWith('sparkoperator.k8s.io/'))",
                ],
                Condition::Older(PREFIXES[0]),
            ),
            (&["request.userInfo.username != 'x'"], Condition::Other),
            (&[&*ours, "request.userInfo.username != 'x'"], Condition::Other),
        ] {
            let conditions: Vec<MatchCondition> = expressions
                .iter()
                .map(|expression| MatchCondition {
                    name: "c".to_owned(),
                    expression: (*expression).to_owned(),
                })
                .collect();
            assert_eq!(Condition::of(&conditions, Some(&rules)), expected, "{expressions:?}");
        }
    }

    #[test]
    fn a_selector_about_the_name_alone_needs_no_labels_of_the_namespace() {
        let name = json!({"key": NAMESPACE_NAME, "operator": "NotIn", "values": ["kube-system"]});
        assert!(is_about_the_name(&selector(json!({"matchExpressions": [name]})).unwrap()));
        assert!(!is_about_the_name(
            &selector(json!({"matchLabels": {"a": "b"}, "matchExpressions": [name]})).unwrap()
        ));
    }
}
