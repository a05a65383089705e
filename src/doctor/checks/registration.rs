//! Whether the MutatingWebhookConfiguration is there, and sends the pods of a namespace.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations,
};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::core::{Selector, SelectorExt};

use crate::doctor::Scope;
use crate::doctor::api::Reader;
use crate::doctor::finding::Finding;
use crate::registration::condition;
use crate::request::PREFIXES;
use crate::rules::Rules;

/// The roles of the pods that are ours.
pub(super) const ROLES: [&str; 2] = ["driver", "executor"];

/// The label by which an API server's own labels name each namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Whether the API server was told anything.
pub(crate) enum Registration {
    /// It was.
    Found(Registered),
    /// There is no such MutatingWebhookConfiguration.
    Absent,
    /// It may not be read.
    Unseen,
}

impl Registration {
    /// What the API server was told, as far as it can be seen.
    pub(crate) fn found(&self) -> Option<&Registered> {
        match self {
            Self::Found(registered) => Some(registered),
            Self::Absent | Self::Unseen => None,
        }
    }
}

/// What the API server was told.
pub(crate) struct Registered {
    /// The name of the MutatingWebhookConfiguration.
    pub(super) name: String,
    /// Since when it is there.
    pub(super) created: Option<Time>,
    /// Its webhooks; usually one.
    pub(super) webhooks: Vec<MutatingWebhook>,
    /// Why the Spark pods of the namespace are not sent, where that is known.
    pub(super) withheld: Option<String>,
}

impl Registered {
    /// Whether pods are created without their mounts while the webhook is away.
    pub(super) fn ignores_failure(&self) -> bool {
        self.webhooks.iter().any(|webhook| webhook.failure_policy.as_deref() == Some("Ignore"))
    }
}

pub(crate) async fn check(reader: &Reader, scope: &Scope) -> (Registration, Vec<Finding>) {
    const CHECK: &str = "configuration";
    let name = &scope.registration;
    let configuration = match reader.get::<MutatingWebhookConfiguration>(name).await {
        Ok(Some(configuration)) => configuration,
        Ok(None) => {
            let message = format!(
                "MutatingWebhookConfiguration {name} does not exist, so the API server calls nobody"
            );
            let advice = "install the chart, or say what yours is called: --name; kubectl get mutatingwebhookconfigurations";
            return (Registration::Absent, vec![Finding::failed(CHECK, message, advice)]);
        }
        Err(unreadable) => return (Registration::Unseen, vec![unreadable.finding(CHECK)]),
    };
    let mut registered = Registered {
        name: name.clone(),
        created: configuration.metadata.creation_timestamp,
        webhooks: configuration.webhooks.unwrap_or_default(),
        withheld: None,
    };
    let mut findings = Vec::new();
    if registered
        .webhooks
        .iter()
        .any(|webhook| calls_for_pods(webhook.rules.as_deref().unwrap_or_default()))
    {
        let policy = if registered.ignores_failure() { "Ignore" } else { "Fail" };
        let places: Vec<String> = registered.webhooks.iter().map(place).collect();
        findings.push(Finding::passed(
            CHECK,
            format!("{name} calls {}, failurePolicy {policy}", places.join(", ")),
        ));
    } else {
        let message = format!("no rule of {name} is about the creation of pods");
        registered.withheld = Some(message.clone());
        findings.push(Finding::failed(
            CHECK,
            message,
            "install the chart again, or write the registration again",
        ));
    }
    let namespace = check_namespace(reader, scope, &registered).await;
    if namespace.status == crate::doctor::Status::Failed {
        registered.withheld.get_or_insert(namespace.message.clone());
    }
    findings.push(namespace);
    (Registration::Found(registered), findings)
}

/// Where a webhook is called.
fn place(webhook: &MutatingWebhook) -> String {
    let config = &webhook.client_config;
    match (&config.service, &config.url) {
        (Some(service), _) => format!("Service {}/{}", service.namespace, service.name),
        (None, Some(url)) => url.clone(),
        (None, None) => "nobody".to_owned(),
    }
}

async fn check_namespace(reader: &Reader, scope: &Scope, registered: &Registered) -> Finding {
    const CHECK: &str = "selectors";
    let namespace = &scope.namespace;
    let (labels, is_whole) = match reader.get::<Namespace>(namespace).await {
        Ok(Some(found)) => (found.metadata.labels.unwrap_or_default(), true),
        Ok(None) => {
            return Finding::failed(
                CHECK,
                format!("namespace {namespace} does not exist"),
                "give --namespace",
            );
        }
        // This one the API server sees to itself.
        Err(_) => (BTreeMap::from([(NAMESPACE_NAME.to_owned(), namespace.clone())]), false),
    };
    let knows = |webhook: &MutatingWebhook| {
        is_whole || webhook.namespace_selector.as_ref().is_none_or(is_about_the_name)
    };
    if !registered.webhooks.iter().all(knows) {
        return Finding::unknown(
            CHECK,
            format!(
                "you may not get namespaces, and the namespaceSelector is about the labels of {namespace}"
            ),
            format!("allow it, or ask who may: kubectl get namespace {namespace} --show-labels"),
        );
    }
    let selected: Vec<&MutatingWebhook> = registered
        .webhooks
        .iter()
        .filter(|webhook| selects(webhook.namespace_selector.as_ref(), &labels))
        .collect();
    if selected.is_empty() {
        let message = format!(
            "namespace {namespace} is excluded by the namespaceSelector of {}",
            registered.name
        );
        let advice = "run Spark in another namespace, give this one the label that is asked for (chart: webhook.namespaceSelector), or \
                      give --namespace";
        return Finding::failed(CHECK, message, advice);
    }
    for role in ROLES {
        if !selected
            .iter()
            .any(|webhook| labels_for(webhook.object_selector.as_ref(), role).is_some())
        {
            let message = format!(
                "no pod with the label spark-role={role} passes the objectSelector of {}",
                registered.name
            );
            return Finding::failed(
                CHECK,
                message,
                "install the chart again, or write the registration again",
            );
        }
    }
    let more =
        selected.iter().find_map(|webhook| labels_for(webhook.object_selector.as_ref(), "driver"));
    let more: Vec<String> = more
        .unwrap_or_default()
        .into_iter()
        .filter(|(key, _)| key != "spark-role")
        .map(shown_label)
        .collect();
    let only = if more.is_empty() {
        String::new()
    } else {
        format!(", with labels such as {}", more.join(","))
    };
    Finding::passed(CHECK, format!("Spark pods of namespace {namespace} are sent{only}"))
}

fn shown_label((key, value): (String, String)) -> String {
    format!("{key}={value}")
}

fn is_about_the_name(selector: &LabelSelector) -> bool {
    selector.match_labels.iter().flat_map(BTreeMap::keys).all(|key| key == NAMESPACE_NAME)
        && selector
            .match_expressions
            .iter()
            .flatten()
            .all(|requirement| requirement.key == NAMESPACE_NAME)
}

/// Whether a webhook is called for the creation of pods: `*` and `pods/*` are about pods too, as
/// the API server reads them.
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

/// Whether a selector selects labels; without one everything is selected.
pub(super) fn selects(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    // One that cannot be read was refused when it was written.
    selector.is_none_or(|selector| {
        Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
    })
}

/// Labels of a pod of a role that an objectSelector lets through; `None` where there can be none.
pub(super) fn labels_for(
    selector: Option<&LabelSelector>,
    role: &str,
) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::from([("spark-role".to_owned(), role.to_owned())]);
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

/// Whether the matchConditions let through what this version acts on. A condition that is neither
/// ours nor one that certainly lacks something is left to the dry run: it is a program.
pub(crate) fn check_condition(registered: &Registered, rules: Option<&Rules>) -> Finding {
    const CHECK: &str = "condition";
    let judged: Vec<Judged> = registered
        .webhooks
        .iter()
        .map(|webhook| judge(webhook.match_conditions.as_deref().unwrap_or_default(), rules))
        .collect();
    let again = "bring it up to date: helm upgrade, or write and apply the registration again";
    match judged.iter().max().copied().unwrap_or(Judged::Everything) {
        Judged::Everything => Finding::passed(
            CHECK,
            "there is no condition: every Spark pod is sent, and depends on the webhook",
        ),
        Judged::Ours => Finding::passed(CHECK, "pods with a key under our prefixes are sent"),
        Judged::OursAndMore => Finding::passed(
            CHECK,
            "pods with a key under our prefixes are sent, and those of the rules' namespaces",
        ),
        Judged::Other => {
            let message = "the matchConditions are not those that this version writes";
            Finding::unknown(
                CHECK,
                message,
                format!("see whether the dry run below passes; {again}"),
            )
        }
        Judged::Older(prefix) => {
            let message = format!(
                "the matchConditions are older than this version: they do not know {prefix}"
            );
            Finding::failed(CHECK, message, again)
        }
    }
}

/// What conditions let through, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Judged {
    Everything,
    Ours,
    OursAndMore,
    Other,
    Older(&'static str),
}

fn judge(conditions: &[MatchCondition], rules: Option<&Rules>) -> Judged {
    let ours = condition(&Rules::default());
    let expressions: Vec<&str> =
        conditions.iter().map(|condition| condition.expression.trim()).collect();
    match &*expressions {
        [] => return Judged::Everything,
        [one] if *one == ours => return Judged::Ours,
        [one] if one.strip_prefix(&ours).is_some_and(|rest| rest.starts_with(" || ")) => {
            return Judged::OursAndMore;
        }
        [one] if rules.is_some_and(|rules| *one == condition(rules)) => return Judged::OursAndMore,
        _ => {}
    }
    // What is about annotations at all, but not about one of the prefixes, was written before that
    // was one.
    let text = expressions.join(" && ");
    let missing = PREFIXES.into_iter().find(|prefix| !text.contains(prefix));
    match missing {
        Some(prefix) if PREFIXES.iter().any(|prefix| text.contains(prefix)) => {
            Judged::Older(prefix)
        }
        _ => Judged::Other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

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
            let labels = labels_for(selector(value.clone()).as_ref(), "executor");
            let shown = labels
                .map(|labels| labels.into_iter().map(shown_label).collect::<Vec<_>>().join(","));
            assert_eq!(shown.as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn a_condition_is_ours_or_older_or_another() {
        let ours = condition(&Rules::default());
        let text = "apiVersion: spark-webhook/v1\ndefaults: [{annotations: {spark-operator.k8s.io/secret.s: /s}}]\n";
        let rules = Rules::parse(text).unwrap();
        for (expressions, expected) in [
            (&[][..], Judged::Everything),
            (&[&*ours], Judged::Ours),
            (&[&*condition(&rules)], Judged::OursAndMore),
            (
                &[
                    "object.metadata.annotations.exists(key, key.startsWith('spark-operator.k8s.io/'))",
                ],
                Judged::Older(PREFIXES[1]),
            ),
            (
                &[
                    "object.metadata.annotations.exists(key, key.startsWith('sparkoperator.k8s.io/'))",
                ],
                Judged::Older(PREFIXES[0]),
            ),
            (&["request.userInfo.username != 'x'"], Judged::Other),
            (&[&*ours, "request.userInfo.username != 'x'"], Judged::Other),
        ] {
            let conditions: Vec<MatchCondition> = expressions
                .iter()
                .map(|expression| MatchCondition {
                    name: "c".to_owned(),
                    expression: (*expression).to_owned(),
                })
                .collect();
            assert_eq!(judge(&conditions, Some(&rules)), expected, "{expressions:?}");
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
