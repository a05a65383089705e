//! The backends of a registration: the endpoints of a Service, or a URL.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhook;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::net::TcpStream;

use super::registration::Registered;
use crate::doctor::api::{Reader, Unreadable};
use crate::doctor::matching::shown_labels;

/// A firewall that drops packets is silent for longer.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// The address at which the API server calls one webhook of the registration.
pub(crate) struct Backend {
    /// The name that the API server requires in the certificate.
    pub(crate) server_name: String,
    pub(crate) found: Found,
}

/// The state of a backend.
pub(crate) enum Found {
    /// A URL, and why this process cannot reach it.
    Url(Target, Option<String>),
    /// A Service.
    Service(Box<ServiceFound>),
    /// The Service or its namespace does not exist.
    Gone(String),
    /// The registration has an address that no API server can call.
    Nowhere(String),
    /// It may not be read.
    Unreadable(Unreadable),
}

/// A Service and its endpoints.
pub(crate) struct ServiceFound {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The labels of its pods, as a selector; empty if it has none.
    pub(crate) selector: String,
    /// The endpoints that are ready.
    pub(crate) ready: Vec<Target>,
    pub(crate) not_ready: usize,
}

/// The address of a TLS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// A name or an address.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, self.port).fmt(f),
            Err(_) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The backends of all webhooks, in their order.
pub(super) async fn find(reader: &Reader, registered: &Registered) -> Vec<Backend> {
    let mut backends = Vec::new();
    for webhook in &registered.webhooks {
        backends.push(find_backend(reader, webhook).await);
    }
    backends
}

async fn find_backend(reader: &Reader, webhook: &MutatingWebhook) -> Backend {
    let config = &webhook.client_config;
    if let Some(service) = &config.service {
        let (namespace, name) = (service.namespace.as_str(), service.name.as_str());
        let found = find_service(reader, namespace, name, service.port.unwrap_or(443)).await;
        return Backend {
            server_name: format!("{name}.{namespace}.svc"),
            found: found.unwrap_or_else(Found::Unreadable),
        };
    }
    let url = config.url.as_deref().unwrap_or_default();
    match target_of(url) {
        Some(target) => {
            let unreached = unreached(&target).await;
            Backend { server_name: target.host.clone(), found: Found::Url(target, unreached) }
        }
        None => Backend {
            server_name: String::new(),
            found: Found::Nowhere(format!("{url:?} is no URL to call")),
        },
    }
}

/// Why this process cannot connect.
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
        // A user who may not get namespaces still learns that the Service does not exist.
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
    let selector = shown_labels(spec.selector.iter().flatten());
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    Ok(Found::Service(Box::new(ServiceFound { namespace, name, selector, ready, not_ready })))
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
}
