//! `POST /mutate`: HTTP around [`admission::admit`].
//!
//! What is not an admission gets a status that says so and one line of reason. The rest of its body is read and dropped, up
//! to a bound, because a connection that is closed on a client that still sends is reset, and the client never sees the answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::BodyExt;

use crate::admission::{self, Admission, Outcome, Policy};
use crate::annotations::problem::Excerpt;

/// A review may hold two objects of 3 MiB (the API server's own limit for a request), and what is around them.
const MAX_BODY: usize = 7 * 1024 * 1024;

/// How much of a refused body is read and dropped, and for how long, so that the client gets to see the refusal.
const MAX_DISCARDED: usize = 64 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn router(policy: Arc<ArcSwap<Policy>>) -> Router {
    Router::new()
        .route("/mutate", post(mutate))
        .method_not_allowed_fallback(|request: Request| async {
            refuse(request, StatusCode::METHOD_NOT_ALLOWED, "admission reviews are sent by POST\n".to_owned())
        })
        .fallback(|request: Request| async {
            refuse(request, StatusCode::NOT_FOUND, "admission reviews are sent to /mutate\n".to_owned())
        })
        .with_state(policy)
}

async fn mutate(State(policy): State<Arc<ArcSwap<Policy>>>, mut request: Request) -> Response {
    if !is_json(request.headers()) {
        return refuse(request, StatusCode::UNSUPPORTED_MEDIA_TYPE, "the Content-Type must be application/json\n".to_owned());
    }
    match read_body(&mut request).await {
        Ok(body) => answer(&body, &policy.load()),
        Err(BodyError::TooLarge) => {
            refuse(request, StatusCode::PAYLOAD_TOO_LARGE, format!("the body must not be larger than {MAX_BODY} bytes\n"))
        }
        Err(BodyError::Broken(error)) => {
            (StatusCode::BAD_REQUEST, format!("the body could not be read: {error}\n")).into_response()
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

fn answer(body: &[u8], policy: &Policy) -> Response {
    let admitted = catch_unwind(AssertUnwindSafe(|| {
        #[cfg(test)]
        tests::provoke_a_panic(body);
        let admission = admission::admit(body, policy)?;
        log(&admission);
        Ok(admission.response)
    }));
    match admitted {
        Ok(Ok(response)) => {
            (StatusCode::OK, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], response).into_response()
        }
        Ok(Err::<_, admission::ReviewError>(error)) => {
            // It may quote the body, which is anybody's.
            let error = error.to_string();
            let reason = Excerpt::new(&error, 200);
            tracing::warn!(%reason, "a body could not be answered");
            (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response()
        }
        // Where it happened, the panic hook has already said.
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal error, see the log of spark-webhook\n").into_response(),
    }
}

/// One line for each pod that was changed or refused, or about which there is something to say.
fn log(admission: &Admission) {
    let Admission { uid, outcome, subject, response: _ } = admission;
    let Some(subject) = subject.as_ref().filter(|subject| *outcome != Outcome::Unchanged || !subject.problems.is_empty()) else {
        return;
    };
    tracing::info!(
        uid = &**uid,
        namespace = &*subject.namespace,
        pod = &*subject.name,
        role = subject.role.as_str(),
        outcome = outcome.as_str(),
        injected = subject.record.as_deref().unwrap_or_default(),
        "admission"
    );
}

enum BodyError {
    TooLarge,
    Broken(axum::Error),
}

/// Reads a whole body. One that arrives in a single piece, as nearly all do, is not copied.
async fn read_body(request: &mut Request) -> Result<Bytes, BodyError> {
    if declared_length(request.headers()).is_some_and(|length| length > MAX_BODY) {
        return Err(BodyError::TooLarge);
    }
    // From here on the client is told to continue, and what it sends must be read even if it is too much.
    request.headers_mut().remove(EXPECT);
    let body = request.body_mut();
    let mut first = Bytes::new();
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
        if first.len() + rest.len() + piece.len() > MAX_BODY {
            return Err(BodyError::TooLarge);
        }
        if first.is_empty() {
            first = piece;
        } else {
            rest.extend_from_slice(&piece);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = Vec::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.append(&mut rest);
    Ok(whole.into())
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Answers at once and closes, but only after what the client still sends.
fn refuse(request: Request, status: StatusCode, reason: String) -> Response {
    // A client that waits to be told to continue sends nothing after a refusal; asking for its body would tell it to.
    if !request.headers().contains_key(EXPECT) {
        tokio::spawn(discard(request.into_body()));
    }
    (status, [(CONNECTION, HeaderValue::from_static("close"))], reason).into_response()
}

async fn discard(mut body: Body) {
    let discard = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > MAX_DISCARDED {
                return;
            }
        }
    };
    // Whichever comes first, the connection ends with it.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, discard).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a test build, this body makes the handler panic.
    const PANIC: &[u8] = b"{\"provoke\":\"a panic\"}";

    pub(super) fn provoke_a_panic(body: &[u8]) {
        assert_ne!(body, PANIC, "provoked by a test");
    }

    async fn status_of(body: &'static [u8]) -> StatusCode {
        let request = Request::builder().header(CONTENT_TYPE, "application/json").body(Body::from(body)).unwrap();
        mutate(State(Arc::default()), request).await.status()
    }

    #[tokio::test]
    async fn a_panic_is_a_500_and_the_next_request_is_answered() {
        assert_eq!(status_of(PANIC).await, StatusCode::INTERNAL_SERVER_ERROR);
        let review = std::fs::read("examples/driver-review.json").unwrap().leak();
        assert_eq!(status_of(review).await, StatusCode::OK);
    }

    #[test]
    fn json_with_or_without_parameters() {
        for (content_type, expected) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("Application/JSON", true),
            ("application/yaml", false),
            ("application/json-patch+json", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            assert_eq!(is_json(&headers), expected, "{content_type}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
