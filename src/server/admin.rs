//! What the kubelet asks, in plain HTTP on a port of its own: whether the process lives and whether it is ready.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

pub(super) fn router(shutdown: CancellationToken) -> Router {
    let ready = move || {
        let is_shutting_down = shutdown.is_cancelled();
        async move { if is_shutting_down { (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n") } else { (StatusCode::OK, "ok\n") } }
    };
    Router::new().route("/livez", get(|| async { "ok\n" })).route("/readyz", get(ready))
}
