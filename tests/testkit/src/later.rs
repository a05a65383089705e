//! Webhooks that the tests serve themselves: above all one as a service mesh has it, which adds a
//! sidecar before Spark's container, a volume, and a variable.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use base64_simd::STANDARD;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A webhook that serves in the test's runtime, and ends with it.
pub struct LaterWebhook {
    /// For `clientConfig.url`.
    pub url: String,
    /// For `clientConfig.caBundle`.
    pub ca_bundle: String,
}

impl LaterWebhook {
    /// Starts one that adds what a mesh adds, on a free port.
    pub async fn start() -> Self {
        Self::serve(add_what_a_mesh_adds).await
    }

    /// Starts one that makes the body of the answer from that of the review.
    pub async fn serve(answer: impl Fn(&[u8]) -> Vec<u8> + Clone + Send + Sync + 'static) -> Self {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key =
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let answer = move |body: Bytes| {
                std::future::ready(([(CONTENT_TYPE, "application/json")], answer(&body)))
            };
            let router = Router::new().route("/", post(answer));
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let (acceptor, router) = (acceptor.clone(), router.clone());
                tokio::spawn(async move {
                    let stream = acceptor.accept(stream).await.unwrap();
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
                        .await;
                });
            }
        });
        Self { url, ca_bundle: STANDARD.encode_to_string(certified.cert.pem()) }
    }
}

fn add_what_a_mesh_adds(body: &[u8]) -> Vec<u8> {
    let review: Value = serde_json::from_slice(body).unwrap();
    let pod = &review["request"]["object"];
    let env = json!({"name": "LATE", "value": "1"});
    let patch = json!([
        {"op": "add", "path": "/spec/containers/0/env/-", "value": env},
        {"op": "add", "path": "/spec/containers/0", "value": {"name": "late-sidecar", "image": "i", "env": [env]}},
        {"op": "add", "path": "/spec/volumes/0", "value": {"name": "late", "emptyDir": {}}},
    ]);
    assert!(pod["spec"]["volumes"].is_array());
    let response = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode_to_string(patch.to_string())},
    });
    response.to_string().into_bytes()
}
