//! What the kubelet, Prometheus and people ask, in plain HTTP on a port of its own.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, response::Html};

use super::Shared;

/// Who asks.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// As Prometheus asks for it.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/decisions", get(decisions))
        .with_state(shared)
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    if shared.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response();
    }
    let certificates = shared.certificates.health();
    if let Some(reason) = &certificates.not_ready {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response();
    }
    // A pod with old rules or an old certificate is better than none, so that is said and does not
    // make it unready.
    let rules = shared.rules_watcher.problem().map(|problem| format!("old rules: {problem}"));
    let problems: Vec<String> =
        rules.into_iter().chain(certificates.certificate).chain(certificates.client_ca).collect();
    if problems.is_empty() {
        "ok\n".into_response()
    } else {
        format!("ok, but with {}\n", problems.join("; and with ")).into_response()
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    match shared.metrics.write() {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Names of pods and of what they mount are nobody's business but who can reach this very pod.
async fn decisions(
    State(shared): State<Arc<Shared>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    if !peer.to_canonical().is_loopback() {
        return (
            StatusCode::FORBIDDEN,
            "only for this machine: kubectl port-forward POD 8080, then http://127.0.0.1:8080/decisions\n",
        )
            .into_response();
    }
    if !names_this_machine(&headers) {
        return (
            StatusCode::FORBIDDEN,
            "the Host header must be localhost, 127.0.0.1 or [::1], with any port: use http://127.0.0.1:8080/decisions\n",
        )
            .into_response();
    }
    let wants_html = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    if wants_html {
        return Html(shared.decisions.to_html()).into_response();
    }
    match shared.decisions.to_json() {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Whether the Host header is a name of the loopback interface. A browser on this machine connects
/// from loopback for any web page whose own name resolves to 127.0.0.1 (DNS rebinding), but sends
/// that name.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next())
    else {
        return false;
    };
    ["localhost", "127.0.0.1", "[::1]"].into_iter().any(|name| {
        let Some((start, rest)) = host.split_at_checked(name.len()) else { return false };
        let is_port = |rest: &str| {
            rest.strip_prefix(':')
                .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
        };
        start.eq_ignore_ascii_case(name) && (rest.is_empty() || is_port(rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_loopback_interface_name_this_machine() {
        for (hosts, expected) in [
            (&["localhost"][..], true),
            (&["localhost:8080"], true),
            (&["LocalHost:1"], true),
            (&["127.0.0.1"], true),
            (&["127.0.0.1:8080"], true),
            (&["[::1]"], true),
            (&["[::1]:8080"], true),
            (&[], false),
            (&[""], false),
            (&["evil.example:8080"], false),
            (&["localhost.evil.example"], false),
            (&["127.0.0.1.evil.example"], false),
            (&["127.0.0.1:8080.evil.example"], false),
            (&["evil.example@localhost"], false),
            (&["localhost:8080@evil.example"], false),
            (&["127.0.0.2"], false),
            (&["::1"], false),
            (&["0.0.0.0:8080"], false),
            (&["10.0.0.7:8080"], false),
            (&["localhost", "evil.example"], false),
            (&["evil.example", "localhost"], false),
        ] {
            let headers = hosts.iter().map(|host| (HOST, host.parse().unwrap())).collect();
            assert_eq!(names_this_machine(&headers), expected, "{hosts:?}");
        }
    }
}
