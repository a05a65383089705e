//! Whether a webhook answers: the endpoints of the Service, or the URL.
//!
//! A registration may outlive its Service: if the namespace of the webhook is deleted, its
//! MutatingWebhookConfiguration stays and rejects Spark pods for ever. This check tells that apart
//! from a webhook that is not ready.

use crate::doctor::finding::{Finding, counted, some_of};
use crate::doctor::snapshot::backend::{Backend, Found, ServiceFound};
use crate::doctor::snapshot::registration::Registered;

/// `is_mutated` is the result of the dry runs, if they have one.
pub(super) fn check(
    registered: &Registered,
    backends: &[Backend],
    is_mutated: Option<bool>,
) -> Vec<Finding> {
    backends
        .iter()
        .map(|backend| {
            judge(&registered.name, registered.ignores_failure(), &backend.found, is_mutated)
        })
        .collect()
}

fn judge(
    registration: &str,
    ignores_failure: bool,
    found: &Found,
    is_mutated: Option<bool>,
) -> Finding {
    let effect = if ignores_failure {
        "Spark pods get no mounts"
    } else {
        "Spark pods that ask for something are refused"
    };
    match found {
        Found::Url(target, _) if is_mutated == Some(true) => {
            Finding::passed(format!("the API server reaches {target}"))
        }
        Found::Url(target, Some(reason)) if is_mutated == Some(false) => Finding::failed(
            format!("nobody answers at {target}: {reason}: {effect}"),
            format!(
                "start the webhook; to let Spark pods go on meanwhile, without mounts: {}",
                removal(registration)
            ),
        ),
        Found::Url(target, unreached) => {
            let from_here = if unreached.is_none() { "is" } else { "is not" };
            Finding::unknown(
                format!(
                    "{target} {from_here} reached from here; whether the API server reaches it, only a dry run shows"
                ),
                "see the dry run below",
            )
        }
        Found::Service(service) if service.ready.is_empty() => {
            let ServiceFound { namespace, name, selector, not_ready, .. } = &**service;
            let message = format!(
                "no endpoint of Service {namespace}/{name} is ready ({not_ready} not ready): {effect}"
            );
            let selector =
                if selector.is_empty() { String::new() } else { format!(" --selector {selector}") };
            let advice = format!(
                "kubectl --namespace {namespace} get pods{selector}, and their logs; to let Spark pods go on meanwhile, without \
                 mounts: {}",
                removal(registration)
            );
            Finding::failed(message, advice)
        }
        Found::Service(service) => {
            let shown: Vec<String> = service.ready.iter().map(ToString::to_string).collect();
            let not_ready = if service.not_ready == 0 {
                String::new()
            } else {
                format!(", {} not ready", service.not_ready)
            };
            let ready = counted(service.ready.len(), "endpoint");
            Finding::passed(format!("{ready} ready{not_ready}: {}", some_of(&shown)))
        }
        Found::Gone(what) => Finding::failed(
            format!("{what} does not exist, and the registration was left behind: {effect}"),
            format!(
                "install the webhook again, or remove what was left: {}",
                removal(registration)
            ),
        ),
        Found::Nowhere(reason) => Finding::failed(
            format!("{reason}: {effect}"),
            "install the chart again, or write the registration again",
        ),
        Found::Unreadable(unreadable) => unreadable.finding(),
    }
}

/// The command after which the API server no longer calls the webhook.
fn removal(registration: &str) -> String {
    format!("kubectl delete mutatingwebhookconfiguration {registration}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::snapshot::backend::Target;

    #[test]
    fn what_was_left_behind_is_told_from_what_is_not_ready() {
        let target = || Target { host: "10.0.0.1".to_owned(), port: 8443 };
        let service = |ready: Vec<Target>| {
            let [namespace, name, selector] =
                ["spark-webhook", "spark-webhook", "app=x"].map(str::to_owned);
            Found::Service(Box::new(ServiceFound {
                namespace,
                name,
                selector,
                ready,
                not_ready: 1,
            }))
        };
        let url = |reason: Option<&str>| Found::Url(target(), reason.map(str::to_owned));
        let none_ready = "failed: no endpoint of Service spark-webhook/spark-webhook is ready (1 not ready): Spark pods";
        for (found, ignores, is_mutated, expected) in [
            (
                service(vec![target()]),
                false,
                None,
                "passed: 1 endpoint ready, 1 not ready: 10.0.0.1:8443".to_owned(),
            ),
            (service(vec![]), false, None, format!("{none_ready} that ask")),
            (service(vec![]), true, Some(false), format!("{none_ready} get no mounts")),
            (
                Found::Gone("namespace x".to_owned()),
                false,
                None,
                "failed: namespace x does not exist, and the registration was left behind"
                    .to_owned(),
            ),
            (
                url(Some("refused")),
                false,
                Some(true),
                "passed: the API server reaches 10.0.0.1:8443".to_owned(),
            ),
            (
                url(Some("refused")),
                true,
                Some(false),
                "failed: nobody answers at 10.0.0.1:8443: refused: Spark pods get no mounts"
                    .to_owned(),
            ),
            (
                url(Some("refused")),
                false,
                None,
                "unknown: 10.0.0.1:8443 is not reached from here".to_owned(),
            ),
            (
                url(None),
                false,
                Some(false),
                "unknown: 10.0.0.1:8443 is reached from here".to_owned(),
            ),
            (
                Found::Nowhere("\"\" is no URL to call".to_owned()),
                false,
                None,
                "failed: \"\" is no URL".to_owned(),
            ),
        ] {
            let finding = judge("spark-webhook", ignores, &found, is_mutated);
            let shown = format!("{}: {}", finding.status.as_str(), finding.message);
            assert!(shown.starts_with(&expected), "{shown}");
            let removes = finding
                .advice
                .contains("kubectl delete mutatingwebhookconfiguration spark-webhook");
            assert_eq!(
                removes,
                ["left behind", "no endpoint", "nobody answers"]
                    .iter()
                    .any(|text| shown.contains(text)),
                "{}",
                finding.advice
            );
        }
    }
}
