//! The webhook as it is ordinarily written in Rust: axum around kube's types, and a patch that is
//! found by comparison.
//!
//! It mounts what ours mounts, and does nothing else that ours does: it checks nothing, records
//! nothing and logs nothing.

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::{Router, routing::post};
use hyper_util::service::TowerToHyperService;
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EnvVar, Pod, SecretVolumeSource, Volume, VolumeMount,
};
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};

use crate::https;

/// Serves `/mutate`.
pub fn serve() {
    https::serve(&TowerToHyperService::new(Router::new().route("/mutate", post(mutate))));
}

async fn mutate(body: Bytes) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], answer(&body))
}

fn answer(body: &[u8]) -> Vec<u8> {
    let review: AdmissionReview<Pod> = serde_json::from_slice(body).unwrap();
    let request: AdmissionRequest<Pod> = review.try_into().unwrap();
    let mut response = AdmissionResponse::from(&request);
    let before = request.object.unwrap();
    let mut after = before.clone();
    for (key, value) in before.metadata.annotations.iter().flatten() {
        let Some(asked) = key.strip_prefix("spark-operator.k8s.io/") else { continue };
        match asked.split_once('.').unwrap_or((asked, "")) {
            ("sparkConfigMap", _) => {
                mount(&mut after, config_map(value), "/etc/spark/conf");
                set(&mut after, "SPARK_CONF_DIR", "/etc/spark/conf");
            }
            ("hadoopConfigMap", _) => {
                mount(&mut after, config_map(value), "/etc/hadoop/conf");
                set(&mut after, "HADOOP_CONF_DIR", "/etc/hadoop/conf");
            }
            ("configMap", name) => mount(&mut after, config_map(name), value),
            ("secret", name) => mount(&mut after, secret(name), value),
            ("GCPServiceAccount", name) => {
                mount(&mut after, secret(name), value);
                set(&mut after, "GOOGLE_APPLICATION_CREDENTIALS", &format!("{value}/key.json"));
            }
            _ => {}
        }
    }
    let patch = json_patch::diff(
        &serde_json::to_value(&before).unwrap(),
        &serde_json::to_value(&after).unwrap(),
    );
    response = response.with_patch(patch).unwrap();
    serde_json::to_vec(&response.into_review()).unwrap()
}

fn config_map(name: &str) -> Volume {
    let source =
        ConfigMapVolumeSource { name: name.to_owned(), ..ConfigMapVolumeSource::default() };
    Volume { name: volume_name(name), config_map: Some(source), ..Volume::default() }
}

fn secret(name: &str) -> Volume {
    let source =
        SecretVolumeSource { secret_name: Some(name.to_owned()), ..SecretVolumeSource::default() };
    Volume { name: volume_name(name), secret: Some(source), ..Volume::default() }
}

fn volume_name(name: &str) -> String {
    format!("{}-volume", name.replace('.', "-"))
}

fn mount(pod: &mut Pod, volume: Volume, path: &str) {
    let spec = pod.spec.as_mut().unwrap();
    spec.containers[0].volume_mounts.get_or_insert_default().push(VolumeMount {
        name: volume.name.clone(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    });
    spec.volumes.get_or_insert_default().push(volume);
}

fn set(pod: &mut Pod, variable: &str, value: &str) {
    let env = pod.spec.as_mut().unwrap().containers[0].env.get_or_insert_default();
    env.retain(|entry| entry.name != variable);
    env.push(EnvVar {
        name: variable.to_owned(),
        value: Some(value.to_owned()),
        ..EnvVar::default()
    });
}
