//! The least that a webhook can do: read the body, and answer always the same.

use std::convert::Infallible;
use std::hint::black_box;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use spark_webhook::admission::{Settings, admit};

use crate::https;

/// Answers with what is right for one review, whatever comes.
pub fn serve(review: &[u8]) {
    let answer = Bytes::from(admit(review, &Settings::default()).unwrap().response);
    https::serve(&service_fn(move |request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            black_box(request.into_body().collect().await.unwrap().to_bytes());
            let mut response = Response::new(Full::new(answer));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok::<_, Infallible>(response)
        }
    }));
}
