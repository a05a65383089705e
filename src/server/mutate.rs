//! `POST /mutate`: HTTP around [`admission::admit`].
//!
//! What is not an admission gets a status that says so and one line of reason. The rest of its body
//! is not read here: the connection ends with the answer, but not before the client has had time to
//! see it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, http::HeaderValue};

use super::Shared;
use super::budget::{HeldAnswer, HeldBody};
use super::limits::{OpenConnection, deadline};
use super::memory::{MAX_BODY, SMALL};
use super::readers::NotRead;
use crate::admission::{self, Admission, Outcome, ReviewError};
use crate::metrics::{Answer, Metrics};
use crate::text::Excerpt;

/// Answers one request. Not by a router: there is one path and one method, and the API server is in
/// a hurry.
pub(super) async fn handle<B>(
    mut request: Request<B>,
    connection: &OpenConnection,
    shared: &Arc<Shared>,
) -> Response<HeldAnswer>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let started = Instant::now();
    let in_flight = InFlight::count(&shared.metrics);
    let (answer, mut response) = match answer(&mut request, started, connection, shared).await {
        Ok(answered) => answered,
        Err(error) => {
            connection.leave_unread(error.silent_since());
            (error.answer(), error.into_response())
        }
    };
    if shared.draining.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    drop(in_flight);
    shared.metrics.count_request(answer);
    shared.metrics.duration.observe(started.elapsed().as_secs_f64());
    response
}

async fn answer<B>(
    request: &mut Request<B>,
    started: Instant,
    connection: &OpenConnection,
    shared: &Arc<Shared>,
) -> Result<(Answer, Response<HeldAnswer>), RequestError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let deadline = deadline(request.uri().query());
    let body = read(request, started, deadline, shared).await?;
    shared.metrics.request_bytes.inc_by(body.len() as u64);
    let _serving = connection.serving();
    let (answer, reply) = match body {
        WholeBody::Small(body) => admit(&body, shared),
        WholeBody::Large(body) => {
            let (within, owned) = (deadline.saturating_sub(started.elapsed()), shared.clone());
            shared
                .readers
                .read(body, within, move |body| admit(body, &owned))
                .await
                .map_err(|NotRead| RequestError::Shed)?
        }
    };
    let Reply { status, content_type, body } = reply;
    let body = shared.budget.answer(body, connection.end()).ok_or(RequestError::Shed)?;
    Ok((answer, response(status, content_type, body)))
}

/// A request that counts until it is dropped, which it also is where its connection ends before the
/// answer.
struct InFlight<'a>(&'a Metrics);

impl<'a> InFlight<'a> {
    fn count(metrics: &'a Metrics) -> Self {
        metrics.in_flight.inc();
        Self(metrics)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

/// Why there is no body to look at.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("admission reviews are sent to /mutate")]
    Path,
    #[error("admission reviews are sent by POST")]
    Method,
    #[error("the Content-Type must be application/json")]
    ContentType,
    #[error("the body must not be larger than {MAX_BODY} bytes")]
    TooLarge,
    /// Nothing of it has come since then.
    #[error("the body did not come in time")]
    Late(Instant),
    #[error("too many bodies at once, ask again")]
    Shed,
    #[error("the body could not be read: {0}")]
    Broken(String),
}

impl RequestError {
    fn answer(&self) -> Answer {
        match self {
            Self::Path | Self::Method | Self::ContentType => Answer::Misdirected,
            Self::TooLarge => Answer::TooLarge,
            Self::Late(_) => Answer::Late,
            Self::Shed => Answer::Shed,
            Self::Broken(_) => Answer::Broken,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late(_) | Self::Shed => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }

    fn silent_since(&self) -> Instant {
        match self {
            Self::Late(since) => *since,
            _ => Instant::now(),
        }
    }

    /// Says so at once; the connection is of no use after it.
    fn into_response(self) -> Response<HeldAnswer> {
        let mut response = response(self.status(), TEXT, format!("{self}\n").into_bytes().into());
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            // With this, and only with this, the API server asks again.
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A body that has come, by who reads it.
enum WholeBody {
    /// This thread.
    Small(Bytes),
    /// Another one, when it may.
    Large(HeldBody),
}

impl WholeBody {
    fn len(&self) -> usize {
        match self {
            Self::Small(body) => body.len(),
            Self::Large(body) => body.len(),
        }
    }
}

/// Waits for the body of a request that may be an admission.
async fn read<B>(
    request: &mut Request<B>,
    started: Instant,
    deadline: Duration,
    shared: &Shared,
) -> Result<WholeBody, RequestError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    if request.uri().path() != "/mutate" {
        return Err(RequestError::Path);
    }
    if request.method() != Method::POST {
        return Err(RequestError::Method);
    }
    if !is_json(request.headers()) {
        return Err(RequestError::ContentType);
    }
    if declared_length(request.headers()).is_some_and(|length| length > MAX_BODY) {
        return Err(RequestError::TooLarge);
    }
    let body = request.body_mut();
    let Some(first) = next_piece(body, deadline).await? else {
        return Ok(WholeBody::Small(Bytes::new()));
    };
    // Nearly every body comes in a single piece, which is not copied.
    if body.is_end_stream() {
        return Ok(WholeBody::Small(first));
    }
    let mut held = shared.budget.body();
    let mut piece = first;
    loop {
        if held.len() + piece.len() > MAX_BODY {
            return Err(RequestError::TooLarge);
        }
        if !held.keep(&piece).await {
            return Err(RequestError::Shed);
        }
        drop(piece);
        let next = tokio::select! {
            biased;
            () = held.shed() => return Err(RequestError::Shed),
            next = next_piece(body, deadline.saturating_sub(started.elapsed())) => next?,
        };
        match next {
            Some(next) => piece = next,
            None if held.len() <= SMALL => return Ok(WholeBody::Small(held.into_whole())),
            None => return Ok(WholeBody::Large(held)),
        }
    }
}

/// The next bytes of a body; none at its end.
async fn next_piece<B>(body: &mut B, within: Duration) -> Result<Option<Bytes>, RequestError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let next = async {
        loop {
            match body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(RequestError::Broken(
                        Excerpt::new(&error.to_string(), 200).to_string(),
                    ));
                }
                Some(Ok(frame)) => {
                    // Trailers mean nothing here.
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    };
    let since = Instant::now();
    tokio::time::timeout(within, next).await.unwrap_or(Err(RequestError::Late(since)))
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type =
        headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// An answer, before there is room for it.
struct Reply {
    status: StatusCode,
    content_type: HeaderValue,
    body: Vec<u8>,
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

fn response(
    status: StatusCode,
    content_type: HeaderValue,
    body: HeldAnswer,
) -> Response<HeldAnswer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn admit(body: &[u8], shared: &Shared) -> (Answer, Reply) {
    let text = |status: StatusCode, text: String| Reply {
        status,
        content_type: TEXT,
        body: text.into_bytes(),
    };
    let admitted = catch_unwind(AssertUnwindSafe(|| {
        #[cfg(test)]
        tests::provoke_a_panic(body);
        Ok(tell(admission::admit(body, &shared.settings.load())?, shared))
    }));
    match admitted {
        Ok(Ok((outcome, body))) => {
            let answer = match outcome {
                Outcome::Ignored(_) => Answer::Ignored,
                Outcome::Unchanged => Answer::Unchanged,
                Outcome::Mutated => Answer::Mutated,
                Outcome::Refused => Answer::Refused,
            };
            (answer, Reply { status: StatusCode::OK, content_type: JSON, body })
        }
        Ok(Err::<_, ReviewError>(error)) => {
            // It may quote the body, which is anybody's.
            let error = error.to_string();
            let reason = Excerpt::new(&error, 200);
            tracing::warn!(%reason, "a body could not be answered");
            (Answer::Malformed, text(StatusCode::BAD_REQUEST, format!("{reason}\n")))
        }
        // Where it happened, the panic hook has already said.
        Err(_) => {
            let reason = "internal error, see the log of spark-webhook\n".to_owned();
            (Answer::Panicked, text(StatusCode::INTERNAL_SERVER_ERROR, reason))
        }
    }
}

/// Counts an admission, logs a line for each pod that was changed or refused, or about which there
/// is something to say, and remembers it; what is left is the answer.
fn tell(mut admission: Admission, shared: &Shared) -> (Outcome, Vec<u8>) {
    let response = std::mem::take(&mut admission.response);
    let Admission { uid, namespace, name, outcome, summary, response: _ } = &admission;
    let outcome = *outcome;
    if let Some(summary) = summary {
        // Into a pod that is not created nothing is mounted.
        for kind in summary.mounted.iter().filter(|_| outcome != Outcome::Refused) {
            shared.metrics.count_mutation(*kind);
        }
        for (kind, count) in summary.problems.counts() {
            shared.metrics.count_problems(kind, count);
        }
        shared.metrics.defaults_overridden.inc_by(summary.defaults_overridden as u64);
        if outcome != Outcome::Unchanged || !summary.problems.is_empty() {
            tracing::info!(
                uid = &**uid,
                namespace = &**namespace,
                pod = &**name,
                role = summary.role.as_str(),
                outcome = outcome.as_str(),
                injected = summary.record.as_deref().unwrap_or_default(),
                "admission"
            );
        }
    }
    shared.decisions.remember(admission);
    (outcome, response)
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    /// In a test build, this body makes the handler panic.
    const PANIC: &[u8] = b"{\"provoke\":\"a panic\"}";

    pub(super) fn provoke_a_panic(body: &[u8]) {
        assert_ne!(body, PANIC, "provoked by a test");
    }

    async fn status_of(body: &'static [u8]) -> StatusCode {
        let shared = Arc::new(Shared::for_tests());
        let request = Request::post("/mutate")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .unwrap();
        let connection = shared.connections.enter();
        handle(request, &connection, &shared).await.status()
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
