//! Whether the MutatingWebhookConfiguration is there, and sends the pods of a namespace.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::doctor::Scope;
use crate::doctor::api::Reader;
use crate::doctor::finding::Finding;
use crate::doctor::matching::{
    Judged, NAMESPACE_NAME, ROLES, calls_for_pods, is_about_the_name, judge, labels_for, selects,
    shown_label,
};
use crate::rules::Rules;

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
