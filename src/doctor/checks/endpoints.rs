//! Who answers: the endpoints behind the Service that is called, or the URL.
//!
//! A registration may outlive what it calls: who deletes the namespace of the webhook leaves a
//! MutatingWebhookConfiguration behind that refuses Spark pods for ever. That is told apart from a
//! webhook that is merely not ready.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhook;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::net::TcpStream;

use super::registration::Registered;
use crate::doctor::api::{Reader, Unreadable};
use crate::doctor::finding::{Finding, counted, some_of};

const CHECK: &str = "endpoints";

/// Where packets are dropped, nothing is heard for longer than this.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Where one webhook of the registration is called.
pub(crate) struct Place {
    /// The name that the API server wants to see in the certificate.
    pub(super) server_name: String,
    /// What is there.
    pub(super) found: Found,
}

/// What is at a place.
pub(super) enum Found {
    /// A URL, and why it cannot be reached from here.
    Url(Target, Option<String>),
    /// A Service.
    Service(Box<ServiceFound>),
    /// The Service or its namespace does not exist.
    Gone(String),
    /// A registration that no API server could call.
    Nowhere(String),
    /// It may not be read.
    Unreadable(Unreadable),
}

/// A Service and its endpoints.
pub(super) struct ServiceFound {
    pub(super) namespace: String,
    pub(super) name: String,
    /// The labels of the pods behind it, as a selector; empty where it has none.
    pub(super) selector: String,
    /// The endpoints that are ready.
    pub(super) ready: Vec<Target>,
    pub(super) not_ready: usize,
}

/// Where a certificate is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// A name or an address.
    pub(super) host: String,
    pub(super) port: u16,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, self.port).fmt(f),
            Err(_) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The places of all webhooks, in their order.
pub(crate) async fn find(reader: &Reader, registered: &Registered) -> Vec<Place> {
    let mut places = Vec::new();
    for webhook in &registered.webhooks {
        places.push(find_place(reader, webhook).await);
    }
    places
}

async fn find_place(reader: &Reader, webhook: &MutatingWebhook) -> Place {
    let config = &webhook.client_config;
    if let Some(service) = &config.service {
        let (namespace, name) = (service.namespace.as_str(), service.name.as_str());
        let found = find_service(reader, namespace, name, service.port.unwrap_or(443)).await;
        return Place {
            server_name: format!("{name}.{namespace}.svc"),
            found: found.unwrap_or_else(Found::Unreadable),
        };
    }
    let url = config.url.as_deref().unwrap_or_default();
    match target_of(url) {
        Some(target) => {
            let unreached = unreached(&target).await;
            Place { server_name: target.host.clone(), found: Found::Url(target, unreached) }
        }
        None => Place {
            server_name: String::new(),
            found: Found::Nowhere(format!("{url:?} is no URL to call")),
        },
    }
}

/// Why nobody can be reached, from here.
async fn unreached(target: &Target) -> Option<String> {
    let connect = TcpStream::connect((target.host.as_str(), target.port));
    match tokio::time::timeout(PROBE_TIMEOUT, connect).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => {
            Some(format!("nothing was heard for {}", humantime::format_duration(PROBE_TIMEOUT)))
        }
    }
}

/// Host and port of a URL.
fn target_of(url: &str) -> Option<Target> {
    let authority = url.strip_prefix("https://")?.split(['/', '?', '#']).next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, 443),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| Target { host: host.to_owned(), port })
}

async fn find_service(
    reader: &Reader,
    namespace: &str,
    name: &str,
    port: i32,
) -> Result<Found, Unreadable> {
    let Some(service) = reader.get_in::<Service>(namespace, name).await? else {
        // Not being allowed to see namespaces does not make the Service exist.
        let is_namespace =
            reader.get::<Namespace>(namespace).await.is_ok_and(|found| found.is_none());
        let what = if is_namespace {
            format!("namespace {namespace}")
        } else {
            format!("Service {namespace}/{name}")
        };
        return Ok(Found::Gone(what));
    };
    let spec = service.spec.unwrap_or_default();
    let port_name = spec
        .ports
        .iter()
        .flatten()
        .find(|candidate| candidate.port == port)
        .and_then(|port| port.name.clone());
    let slices = reader
        .list_in::<EndpointSlice>(namespace, &format!("kubernetes.io/service-name={name}"))
        .await?;
    let (mut ready, mut not_ready) = (Vec::new(), 0);
    for slice in slices {
        let ports = slice.ports.unwrap_or_default();
        let port = ports.iter().find(|port| {
            port.name.as_deref().unwrap_or_default() == port_name.as_deref().unwrap_or_default()
        });
        let Some(port) = port.and_then(|port| u16::try_from(port.port?).ok()) else { continue };
        for endpoint in slice.endpoints.into_iter().flatten() {
            // Absent means ready, as EndpointSlice documents.
            if endpoint.conditions.and_then(|conditions| conditions.ready).unwrap_or(true) {
                ready.extend(
                    endpoint.addresses.first().map(|host| Target { host: host.clone(), port }),
                );
            } else {
                not_ready += 1;
            }
        }
    }
    let selector: Vec<String> =
        spec.selector.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    let (namespace, name, selector) = (namespace.to_owned(), name.to_owned(), selector.join(","));
    Ok(Found::Service(Box::new(ServiceFound { namespace, name, selector, ready, not_ready })))
}

/// With what the dry run has shown, where it has shown anything.
pub(crate) fn check(
    registered: &Registered,
    places: &[Place],
    is_mutated: Option<bool>,
) -> Vec<Finding> {
    places
        .iter()
        .map(|place| {
            judge(&registered.name, registered.ignores_failure(), &place.found, is_mutated)
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
            Finding::passed(CHECK, format!("the API server reaches {target}"))
        }
        Found::Url(target, Some(reason)) if is_mutated == Some(false) => Finding::failed(
            CHECK,
            format!("nobody answers at {target}: {reason}: {effect}"),
            format!(
                "start the webhook; to let Spark pods go on meanwhile, without mounts: {}",
                removal(registration)
            ),
        ),
        Found::Url(target, unreached) => {
            let from_here = if unreached.is_none() { "is" } else { "is not" };
            Finding::unknown(
                CHECK,
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
            Finding::failed(CHECK, message, advice)
        }
        Found::Service(service) => {
            let shown: Vec<String> = service.ready.iter().map(ToString::to_string).collect();
            let not_ready = if service.not_ready == 0 {
                String::new()
            } else {
                format!(", {} not ready", service.not_ready)
            };
            let ready = counted(service.ready.len(), "endpoint");
            Finding::passed(CHECK, format!("{ready} ready{not_ready}: {}", some_of(&shown)))
        }
        Found::Gone(what) => Finding::failed(
            CHECK,
            format!("{what} does not exist, and the registration was left behind: {effect}"),
            format!(
                "install the webhook again, or remove what was left: {}",
                removal(registration)
            ),
        ),
        Found::Nowhere(reason) => Finding::failed(
            CHECK,
            format!("{reason}: {effect}"),
            "install the chart again, or write the registration again",
        ),
        Found::Unreadable(unreadable) => unreadable.finding(CHECK),
    }
}

/// The line that lets pods go on in any case.
fn removal(registration: &str) -> String {
    format!("kubectl delete mutatingwebhookconfiguration {registration}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_as_the_api_server_does() {
        for (url, expected) in [
            ("https://127.0.0.1:8443/mutate", Some("127.0.0.1:8443")),
            ("https://hook.example/mutate?x=1", Some("hook.example:443")),
            ("https://[::1]:8443/", Some("[::1]:8443")),
            ("https://[::1]/", Some("[::1]:443")),
            ("http://hook.example/", None),
            ("https://hook.example:x/", None),
            ("https:///mutate", None),
            ("", None),
        ] {
            assert_eq!(
                target_of(url).map(|target| target.to_string()).as_deref(),
                expected,
                "{url}"
            );
        }
    }

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
