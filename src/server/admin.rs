//! What the kubelet, Prometheus and people ask, in plain HTTP on a port of its own.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
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
    let certificates = shared.certificates.condition();
    if let Some(reason) = &certificates.not_ready {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response();
    }
    // A pod with old rules or an old certificate is better than none, so that is said and does not make it unready.
    let rules = shared.reload.problem().map(|problem| format!("old rules: {problem}"));
    let problems: Vec<String> = rules.into_iter().chain(certificates.certificate).chain(certificates.client_ca).collect();
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
async fn decisions(State(shared): State<Arc<Shared>>, Extension(Peer(peer)): Extension<Peer>, headers: HeaderMap) -> Response {
    if !peer.to_canonical().is_loopback() {
        return (
            StatusCode::FORBIDDEN,
            "only for this machine: kubectl port-forward POD 8080, then http://127.0.0.1:8080/decisions\n",
        )
            .into_response();
    }
    let wants_html =
        headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"));
    if wants_html {
        return Html(shared.decisions.to_html()).into_response();
    }
    match shared.decisions.to_json() {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
