//! Whether the MutatingWebhookConfiguration exists and is about pods.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhook;

use crate::doctor::finding::Finding;
use crate::doctor::scope::Scope;
use crate::doctor::snapshot::registration::Registration;

pub(super) fn check(scope: &Scope, registration: &Registration) -> Finding {
    let name = &scope.registration;
    let registered = match registration {
        Registration::Found(registered) => registered,
        Registration::Absent => {
            let message = format!(
                "MutatingWebhookConfiguration {name} does not exist, so the API server calls nobody"
            );
            let advice = "install the chart, or say what yours is called: --name; kubectl get mutatingwebhookconfigurations";
            return Finding::failed(message, advice);
        }
        Registration::Unseen(unreadable) => return unreadable.finding(),
    };
    if let Some(message) = registered.lacks_rule() {
        return Finding::failed(
            message,
            "install the chart again, or write the registration again",
        );
    }
    let policy = if registered.ignores_failure() { "Ignore" } else { "Fail" };
    let addresses: Vec<String> = registered.webhooks.iter().map(address).collect();
    Finding::passed(format!("{name} calls {}, failurePolicy {policy}", addresses.join(", ")))
}

/// The address at which the API server calls a webhook.
fn address(webhook: &MutatingWebhook) -> String {
    let config = &webhook.client_config;
    match (&config.service, &config.url) {
        (Some(service), _) => format!("Service {}/{}", service.namespace, service.name),
        (None, Some(url)) => url.clone(),
        (None, None) => "nobody".to_owned(),
    }
}
