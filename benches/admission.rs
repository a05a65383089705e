//! One admission, from the bytes of the review to the bytes of its answer: what it costs, beside
//! the ordinary way.
//!
//! `cargo bench --bench admission` prints the time of each, and how often it allocates. "Typed"
//! parses the same bytes into `AdmissionReview<Pod>`, changes a copy of the pod as much as we do,
//! and lets `json_patch` find the difference: what a webhook written with kube does. It is why the
//! review is read by a borrowed view of its own, and why the patch is written without
//! `json_patch`'s types.

use std::fs;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use json_patch::{AddOperation, Patch, PatchOperation, ReplaceOperation, jsonptr::PointerBuf};
use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, EnvVar, Pod, Volume, VolumeMount};
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use serde_json::{Value, json};
use spark_webhook::admission::Role;
use spark_webhook::admission::{Settings, admit};
use spark_webhook::annotations;
use spark_webhook::internals::{self, plan, write_patch};

fn review(case: &str) -> Vec<u8> {
    fs::read(format!("tests/golden/{case}.json")).unwrap()
}

/// Appends a ConfigMap's mount, and sets a variable, as a typed webhook does.
fn typed_mount(pod: &mut Pod, volume: &str, config_map: &str, path: &str, variable: &str) {
    let spec = pod.spec.as_mut().unwrap();
    let source =
        ConfigMapVolumeSource { name: config_map.to_owned(), ..ConfigMapVolumeSource::default() };
    spec.volumes.get_or_insert_default().push(Volume {
        name: volume.to_owned(),
        config_map: Some(source),
        ..Volume::default()
    });
    let container = &mut spec.containers[0];
    container.volume_mounts.get_or_insert_default().push(VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    });
    let env = container.env.get_or_insert_default();
    env.retain(|entry| entry.name != variable);
    env.push(EnvVar {
        name: variable.to_owned(),
        value: Some(path.to_owned()),
        ..EnvVar::default()
    });
}

fn typed(body: &[u8]) -> Vec<u8> {
    let review: AdmissionReview<Pod> = serde_json::from_slice(body).unwrap();
    let request: AdmissionRequest<Pod> = review.try_into().unwrap();
    let mut response = AdmissionResponse::from(&request);
    let before = request.object.unwrap();
    let annotations = before.metadata.annotations.clone().unwrap_or_default();
    let mut after = before.clone();
    if let Some(name) = annotations.get("spark-operator.k8s.io/sparkConfigMap") {
        typed_mount(
            &mut after,
            "spark-config-map-volume",
            name,
            "/etc/spark/conf",
            "SPARK_CONF_DIR",
        );
    }
    if let Some(name) = annotations.get("spark-operator.k8s.io/hadoopConfigMap") {
        typed_mount(
            &mut after,
            "hadoop-config-map-volume",
            name,
            "/etc/hadoop/conf",
            "HADOOP_CONF_DIR",
        );
    }
    let patch = json_patch::diff(
        &serde_json::to_value(&before).unwrap(),
        &serde_json::to_value(&after).unwrap(),
    );
    response = response.with_patch(patch).unwrap();
    serde_json::to_vec(&response.into_review()).unwrap()
}

/// The operations of the plain driver's patch in `json_patch`'s own types.
fn patch_in_json_patch_types() -> Vec<u8> {
    let pointer = |text: &str| PointerBuf::parse(text).unwrap();
    let add =
        |path: &str, value: Value| PatchOperation::Add(AddOperation { path: pointer(path), value });
    let volume = |name: &str, config_map: &str| {
        add("/spec/volumes/-", json!({"name": name, "configMap": {"name": config_map}}))
    };
    let mount = |name: &str, path: &str| {
        add(
            "/spec/containers/0/volumeMounts/-",
            json!({"name": name, "mountPath": path, "readOnly": true}),
        )
    };
    let env = json!({"name": "SPARK_CONF_DIR", "value": "/etc/spark/conf"});
    let patch = Patch(vec![
        volume("spark-config-map-volume", "spark-conf"),
        volume("hadoop-config-map-volume", "hadoop-conf"),
        mount("spark-config-map-volume", "/etc/spark/conf"),
        mount("hadoop-config-map-volume", "/etc/hadoop/conf"),
        PatchOperation::Replace(ReplaceOperation {
            path: pointer("/spec/containers/0/env/4"),
            value: env,
        }),
        add(
            "/spec/containers/0/env/-",
            json!({"name": "HADOOP_CONF_DIR", "value": "/etc/hadoop/conf"}),
        ),
        add(
            "/metadata/annotations/spark-operator.k8s.io~1injected",
            json!("{\"by\":\"spark-webhook/0.1.0\",\"mounts\":[]}"),
        ),
    ]);
    serde_json::to_vec(&patch).unwrap()
}

fn allocations<T>(run: impl FnOnce() -> T) -> u64 {
    allocation_counter::measure(|| {
        black_box(run());
    })
    .count_total
}

/// The same review with more containers, each with variables and mounts: 1,000 of them make 1 MB.
fn with_many_containers(body: &[u8], count: usize) -> Vec<u8> {
    let mut review: Value = serde_json::from_slice(body).unwrap();
    let env: Vec<Value> = (0..14)
        .map(|i| json!({"name": format!("VARIABLE_{i}"), "value": "something of some length"}))
        .collect();
    let mounts: Vec<Value> = (0..2)
        .map(|i| json!({"name": "spark-local-dir-1", "mountPath": format!("/some/where/{i}")}))
        .collect();
    let containers = review["request"]["object"]["spec"]["containers"].as_array_mut().unwrap();
    containers.extend(
        (0..count).map(|i| json!({"name": format!("sidecar-{i}"), "image": "sidecar", "env": env, "volumeMounts": mounts})),
    );
    serde_json::to_vec(&review).unwrap()
}

fn admission(criterion: &mut Criterion) {
    let plain = review("conf-dirs.spark-4.1.driver");
    let ours = |body: &[u8]| admit(body, &Settings::default()).unwrap().response;
    println!(
        "plain driver review ({} bytes), allocations: ours {}, typed {}",
        plain.len(),
        allocations(|| ours(&plain)),
        allocations(|| typed(&plain))
    );
    let mut group = criterion.benchmark_group("plain driver review");
    group.throughput(Throughput::Bytes(plain.len() as u64));
    group.bench_function("ours", |bencher| bencher.iter(|| ours(black_box(&plain))));
    group.bench_function("typed", |bencher| bencher.iter(|| typed(black_box(&plain))));
    group.finish();

    let mut group = criterion.benchmark_group("other reviews, ours");
    for case in [
        "kubeflow-operator.spark-3.5.driver",
        "all-kinds.spark-3.5.driver",
        "no-annotations.spark-3.5.driver",
        "conf-dirs.spark-4.1.executor",
        "template-many-containers.spark-4.1.executor",
        "hundred-mounts.spark-4.1.driver",
        "large-annotations.spark-4.1.driver",
    ] {
        let body = review(case);
        println!("{case} ({} bytes), allocations: {}", body.len(), allocations(|| ours(&body)));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(case, |bencher| bencher.iter(|| ours(black_box(&body))));
    }
    group.finish();

    let mut group = criterion.benchmark_group("size");
    for containers in [5, 1_000] {
        let body = with_many_containers(&plain, containers);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{} kB", body.len() / 1000), |bencher| {
            bencher.iter(|| ours(black_box(&body)));
        });
    }
    group.finish();

    let body: Value = serde_json::from_slice(&plain).unwrap();
    let pod = body["request"]["object"].to_string();
    let pod: internals::Pod = serde_json::from_str(&pod).unwrap();
    let requests = annotations::parse(pod.annotations());
    let planned = plan(&pod, Role::Driver, &requests);
    println!(
        "patch of the plain driver, allocations: ours {}, json_patch's types {}",
        allocations(|| write_patch(&planned)),
        allocations(patch_in_json_patch_types)
    );
    let mut group = criterion.benchmark_group("patch of the plain driver");
    group.bench_function("ours", |bencher| {
        bencher.iter(|| write_patch(black_box(&planned)));
    });
    group.bench_function("json_patch's types", |bencher| {
        bencher.iter(patch_in_json_patch_types);
    });
    group.finish();
}

criterion_group!(benches, admission);
criterion_main!(benches);
