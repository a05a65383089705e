//! The request half of an `admission.k8s.io/v1` AdmissionReview, as far as it is needed, borrowed
//! from the bytes.

use std::str::Utf8Error;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::json::{self, ReadError, Reading, TooMany};
use crate::pod::Pod;
use crate::text::Text;

/// Why a body is answered with HTTP 400: it is no review that could be answered, so there is no uid
/// to answer it with.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// JSON is UTF-8.
    #[error("the body is not an AdmissionReview: {0}")]
    NotUtf8(#[source] Utf8Error),
    /// Not JSON, or not of the shape of a review.
    #[error("the body is not an AdmissionReview: {0}")]
    Malformed(#[source] ReadError),
    /// JSON, but something else.
    #[error(
        "the body is of kind {kind:?} and apiVersion {api_version:?}, expected AdmissionReview of admission.k8s.io/v1"
    )]
    NotAReview {
        /// What `kind` says.
        kind: String,
        /// What `apiVersion` says.
        api_version: String,
    },
    /// A review without anything to review, such as a response.
    #[error("the AdmissionReview has no request")]
    NoRequest,
    /// A request that could not be answered.
    #[error("the request has no uid")]
    NoUid,
    /// The answer must repeat the uid, and would be as long.
    #[error("the request's uid is longer than {MAX_UID} bytes; send a UUID")]
    LongUid,
    /// The request says that it creates a Pod, but does not hold one.
    #[error("the request's object is not a Pod: {0}")]
    NotAPod(String),
}

/// API servers send a UUID, 36 characters.
const MAX_UID: usize = 256;

/// The review that an API server would send for the creation of a pod in a namespace.
#[must_use]
pub fn of(pod: &Value, namespace: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "00000000-0000-0000-0000-000000000000",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace,
            "operation": "CREATE",
            "object": pod,
        },
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a, O> {
    #[serde(borrow, default)]
    uid: Text<'a>,
    /// What is changed; with `matchPolicy: Equivalent` already converted to what the webhook asked
    /// to see.
    #[serde(borrow, default)]
    resource: GroupVersionResource<'a>,
    /// Such as `binding` or `ephemeralcontainers`; absent for the resource itself.
    #[serde(borrow)]
    sub_resource: Option<Text<'a>>,
    #[serde(borrow)]
    namespace: Option<Text<'a>>,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    #[serde(borrow, default)]
    operation: Text<'a>,
    /// Absent for `DELETE`.
    object: Option<O>,
}

#[derive(Default, Deserialize)]
struct GroupVersionResource<'a> {
    #[serde(borrow, default)]
    group: Text<'a>,
    #[serde(borrow, default)]
    version: Text<'a>,
    #[serde(borrow, default)]
    resource: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound = "O: Deserialize<'de>")]
struct Envelope<'a, O> {
    #[serde(borrow, default)]
    api_version: Text<'a>,
    #[serde(borrow, default)]
    kind: Text<'a>,
    #[serde(borrow)]
    request: Option<Request<'a, O>>,
}

impl<'a, O> Envelope<'a, O> {
    fn into_request(self) -> Result<Request<'a, O>, ReviewError> {
        if &*self.kind != "AdmissionReview" || &*self.api_version != "admission.k8s.io/v1" {
            return Err(ReviewError::NotAReview {
                kind: self.kind.to_string(),
                api_version: self.api_version.to_string(),
            });
        }
        let request = self.request.ok_or(ReviewError::NoRequest)?;
        match request.uid.len() {
            0 => Err(ReviewError::NoUid),
            1..=MAX_UID => Ok(request),
            _ => Err(ReviewError::LongUid),
        }
    }
}

impl<O> Request<'_, O> {
    /// Whether a core/v1 Pod itself is created.
    fn creates_a_pod(&self) -> bool {
        let GroupVersionResource { group, version, resource } = &self.resource;
        group.is_empty()
            && &**version == "v1"
            && &**resource == "pods"
            && self.sub_resource.as_ref().is_none_or(|name| name.is_empty())
            && &*self.operation == "CREATE"
    }
}

/// A review that can be answered.
#[derive(Debug)]
pub struct Review<'a> {
    /// Identifies this call; the response must carry the same.
    pub uid: Text<'a>,
    /// The namespace of the object, also where the object does not say it.
    pub namespace: Option<Text<'a>>,
    /// The pod that is created; absent where anything else is reviewed.
    pub pod: Option<Pod<'a>>,
    /// The first field of the pod that is not whole, because it has too many elements.
    pub too_many: Option<TooMany<'a>>,
}

/// Reads a review.
///
/// # Errors
///
/// When the body is not a review that can be answered; see [`ReviewError`].
pub fn parse(body: &[u8]) -> Result<Review<'_>, ReviewError> {
    // At once, which costs less than string by string.
    // The standard library's check is slower, but says where a body is wrong.
    let body = simdutf8::basic::from_utf8(body)
        .or_else(|_| str::from_utf8(body).map_err(ReviewError::NotUtf8))?;
    // Nearly every body creates a pod, so it is read as that at once; only where that fails a
    // second look finds out why.
    let as_pod_error = match json::read::<Envelope<Pod>>(body) {
        Ok(Reading { value, too_many }) => {
            let mut request = value.into_request()?;
            let pod = match request.object.take() {
                _ if !request.creates_a_pod() => None,
                Some(pod) if pod.kind.as_deref() == Some("Pod") => Some(pod),
                Some(pod) => {
                    return Err(ReviewError::NotAPod(format!(
                        "its kind is {:?}",
                        pod.kind.as_deref().unwrap_or_default()
                    )));
                }
                None => return Err(ReviewError::NotAPod("there is none".to_owned())),
            };
            return Ok(Review { uid: request.uid, namespace: request.namespace, pod, too_many });
        }
        Err(error) => error,
    };
    let Reading { value, .. } =
        json::read::<Envelope<IgnoredAny>>(body).map_err(ReviewError::Malformed)?;
    let request = value.into_request()?;
    if request.creates_a_pod() {
        return Err(ReviewError::NotAPod(as_pod_error.to_string()));
    }
    Ok(Review { uid: request.uid, namespace: request.namespace, pod: None, too_many: None })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn review(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "u",
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "operation": "CREATE",
                "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": []}},
            },
        });
        change(&mut review);
        review.to_string().into_bytes()
    }

    #[test]
    fn a_body_that_cannot_be_answered_says_why() {
        for (body, reason) in [
            (b"".to_vec(), "the body is not an AdmissionReview: expected a value at byte 0"),
            (b"{".to_vec(), "the body is not an AdmissionReview: expected a value at byte 1"),
            (
                b"7".to_vec(),
                "the body is not an AdmissionReview: a value is wrong or missing at byte 1",
            ),
            (
                b"\"\xff\"".to_vec(),
                "the body is not an AdmissionReview: invalid utf-8 sequence of 1 bytes from index 1",
            ),
            (
                b"{}".to_vec(),
                "the body is of kind \"\" and apiVersion \"\", expected AdmissionReview of admission.k8s.io/v1",
            ),
            (
                review(|r| r["apiVersion"] = json!("admission.k8s.io/v1beta1")),
                "the body is of kind \"AdmissionReview\" and apiVersion \"admission.k8s.io/v1beta1\"",
            ),
            (review(|r| r["kind"] = json!("Pod")), "the body is of kind \"Pod\""),
            (review(|r| r["request"] = Value::Null), "the AdmissionReview has no request"),
            (review(|r| r["request"]["uid"] = json!("")), "the request has no uid"),
            (
                review(|r| r["request"]["uid"] = json!("u".repeat(257))),
                "the request's uid is longer than 256 bytes; send a UUID",
            ),
            (
                review(|r| r["request"]["object"] = Value::Null),
                "the request's object is not a Pod: there is none",
            ),
            (
                review(|r| r["request"]["object"]["kind"] = json!("Job")),
                "the request's object is not a Pod: its kind is \"Job\"",
            ),
            (
                review(|r| r["request"]["object"]["spec"] = json!("x")),
                "the request's object is not a Pod: a value is wrong or missing in spec at byte ",
            ),
        ] {
            let error = parse(&body).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error} for {}", String::from_utf8_lossy(&body));
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn everything_but_the_creation_of_a_pod_is_left_alone() {
        for change in [
            |r: &mut Value| r["request"]["operation"] = json!("UPDATE"),
            |r: &mut Value| r["request"]["operation"] = json!("CONNECT"),
            |r: &mut Value| r["request"]["subResource"] = json!("binding"),
            |r: &mut Value| r["request"]["resource"]["resource"] = json!("services"),
            |r: &mut Value| r["request"]["resource"]["group"] = json!("apps"),
            |r: &mut Value| r["request"]["resource"]["version"] = json!("v2"),
            // Another kind need not look like a pod.
            |r: &mut Value| {
                r["request"]["resource"]["resource"] = json!("widgets");
                r["request"]["object"]["spec"] = json!(["x"]);
            },
            |r: &mut Value| {
                r["request"]["operation"] = json!("DELETE");
                r["request"]["object"] = Value::Null;
            },
        ] {
            let body = review(change);
            let review = parse(&body).unwrap();
            assert_eq!(
                (&*review.uid, review.pod.is_none()),
                ("u", true),
                "{}",
                String::from_utf8_lossy(&body)
            );
        }
        assert!(parse(&review(|_| ())).unwrap().pod.is_some());
    }
}
