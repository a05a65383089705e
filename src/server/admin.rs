//! What the kubelet asks, in plain HTTP on a port of its own: whether the process lives and whether it is ready.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use super::reload::Reload;

pub(super) fn router(shutdown: CancellationToken, reload: Arc<Reload>) -> Router {
    let ready = move || {
        let answer = if shutdown.is_cancelled() {
            (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n".to_owned())
        } else {
            // A pod with old rules is better than none, so a bad file is said and does not make it unready.
            (StatusCode::OK, reload.problem().map_or("ok\n".to_owned(), |problem| format!("ok, but with old rules: {problem}\n")))
        };
        async move { answer }
    };
    Router::new().route("/livez", get(|| async { "ok\n" })).route("/readyz", get(ready))
}
