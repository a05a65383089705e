//! Real spark-submits of two versions through a real kube-apiserver and the webhook's own binary,
//! with failurePolicy Fail.
//!
//! What is checked is the pod that the API server stored: driver pods by cluster mode, executor
//! pods by client mode.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use testkit::cluster::{Cluster, SharedCluster};
use testkit::spark::Spark;
use testkit::webhook::{self, Webhook};

static CLUSTER: SharedCluster = SharedCluster::new();

/// All five kinds at once, for a role.
fn properties(role: &str) -> Vec<(String, String)> {
    [
        ("sparkConfigMap", "spark-conf"),
        ("hadoopConfigMap", "hadoop-conf"),
        ("configMap.app.conf", "/etc/app/"),
        ("secret.db-creds", "/mnt/db"),
        ("GCPServiceAccount.gcp-sa", "/mnt/gcp"),
    ]
    .into_iter()
    .map(|(key, value)| {
        (
            format!("spark.kubernetes.{role}.annotation.spark-operator.k8s.io/{key}"),
            value.to_owned(),
        )
    })
    .collect()
}

/// The pod has, after everything that Spark gave it, exactly what the contract says for
/// [`properties`].
fn assert_mutated(pod: &Pod) {
    let pod = serde_json::to_value(pod).unwrap();
    let mine = |array: &Value, key: &str, name: &str| -> Vec<Value> {
        let elements = array.as_array().unwrap();
        elements
            .iter()
            .filter(|element| element[key].as_str().unwrap().starts_with(name))
            .cloned()
            .collect()
    };
    let volumes = &pod["spec"]["volumes"];
    for (name, volume) in [
        (
            "spark-config-map-volume",
            json!({"configMap": {"name": "spark-conf", "defaultMode": 420}}),
        ),
        (
            "hadoop-config-map-volume",
            json!({"configMap": {"name": "hadoop-conf", "defaultMode": 420}}),
        ),
        // The first eight digits of SHA-256 of `ConfigMap/app.conf:`.
        (
            "app-conf-volume-a3496a10",
            json!({"configMap": {"name": "app.conf", "defaultMode": 420}}),
        ),
        ("db-creds-volume", json!({"secret": {"secretName": "db-creds", "defaultMode": 420}})),
        (
            "gcp-service-account-secret-volume",
            json!({"secret": {"secretName": "gcp-sa", "defaultMode": 420}}),
        ),
    ] {
        let mut expected = volume;
        expected["name"] = json!(name);
        assert_eq!(mine(volumes, "name", name), [expected]);
    }
    let containers = pod["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    let mounts = containers[0]["volumeMounts"].as_array().unwrap();
    let ours: Vec<_> = mounts
        .iter()
        .filter(|mount| {
            mount["readOnly"] == true
                && !mount["name"].as_str().unwrap().starts_with("kube-api-access")
        })
        .collect();
    assert_eq!(
        ours,
        [
            &json!({"name": "spark-config-map-volume", "mountPath": "/etc/spark/conf", "readOnly": true}),
            &json!({"name": "hadoop-config-map-volume", "mountPath": "/etc/hadoop/conf", "readOnly": true}),
            &json!({"name": "app-conf-volume-a3496a10", "mountPath": "/etc/app", "readOnly": true}),
            &json!({"name": "db-creds-volume", "mountPath": "/mnt/db", "readOnly": true}),
            &json!({"name": "gcp-service-account-secret-volume", "mountPath": "/mnt/gcp", "readOnly": true}),
        ]
    );
    // Spark's own conf dir is still there: the driver starts with the absolute path of its
    // spark.properties.
    assert_eq!(mounts.iter().filter(|mount| mount["mountPath"] == "/opt/spark/conf").count(), 1);
    let env = &containers[0]["env"];
    for (name, value) in [
        ("SPARK_CONF_DIR", "/etc/spark/conf"),
        ("HADOOP_CONF_DIR", "/etc/hadoop/conf"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/mnt/gcp/key.json"),
    ] {
        assert_eq!(mine(env, "name", name), [json!({"name": name, "value": value})]);
    }
    let injected: Value = serde_json::from_str(
        pod["metadata"]["annotations"]["spark-operator.k8s.io/injected"].as_str().unwrap(),
    )
    .unwrap();
    assert_eq!(
        injected,
        json!({
            "by": concat!("spark-webhook/", env!("CARGO_PKG_VERSION")),
            "mounts": [
                "/etc/spark/conf=configmap/spark-conf",
                "/etc/hadoop/conf=configmap/hadoop-conf",
                "/etc/app=configmap/app.conf",
                "/mnt/db=secret/db-creds",
                "/mnt/gcp=secret/gcp-sa",
            ],
        })
    );
}

async fn set_up(
    namespace: &str,
) -> (std::sync::Arc<Cluster>, Api<Pod>, Webhook, tempfile::TempDir) {
    let cluster = CLUSTER.get().await;
    let client = cluster.namespace(namespace).await;
    let directory = tempfile::tempdir().unwrap();
    let registration = directory.path().join("registration.yaml");
    let webhook = Webhook::start(&["--write-registration", registration.to_str().unwrap()]);
    cluster.register(&registration, namespace).await;
    (cluster, Api::namespaced(client, namespace), webhook, directory)
}

/// The first stored pod of a role, waiting up to five minutes for it: each of two Sparks at once
/// has a core at most.
async fn first(pods: &Api<Pod>, role: &str, log: &std::path::Path) -> Pod {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let list =
            pods.list(&ListParams::default().labels(&format!("spark-role={role}"))).await.unwrap();
        if let Some(pod) = list.items.into_iter().next() {
            return pod;
        }
        assert!(
            Instant::now() < deadline,
            "no {role} appears: {}",
            std::fs::read_to_string(log).unwrap_or_default()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn driver_has_its_mounts(version: &'static str, namespace: &str) {
    let (cluster, pods, _webhook, directory) = set_up(namespace).await;
    let output = Spark::new(version).submit(&cluster, namespace, &properties("driver"));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert_mutated(&first(&pods, "driver", directory.path()).await);
}

async fn executor_has_its_mounts(version: &'static str, namespace: &str) {
    let (cluster, pods, _webhook, directory) = set_up(namespace).await;
    let _application = Spark::new(version).start_client(
        &cluster,
        namespace,
        directory.path(),
        &properties("executor"),
    );
    assert_mutated(&first(&pods, "executor", &directory.path().join("client.log")).await);
}

async fn warning_is_in_the_log_of_spark_submit(version: &'static str, namespace: &str) {
    let (cluster, pods, _webhook, directory) = set_up(namespace).await;
    let mut properties = properties("driver");
    properties.push((
        "spark.kubernetes.driver.annotation.spark-operator.k8s.io/configMap.x".to_owned(),
        "etc/x".to_owned(),
    ));
    let output = Spark::new(version).submit(&cluster, namespace, &properties);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let warning = "configMap.x=etc/x: the path must start with \"/\", write configMap.x=/etc/x";
    // Spark's client escapes nothing, the header it reads from does: `\"`.
    assert!(log.replace("\\\"", "\"").contains(warning), "{log}");
    let pod = serde_json::to_value(first(&pods, "driver", directory.path()).await).unwrap();
    let injected =
        pod["metadata"]["annotations"]["spark-operator.k8s.io/injected"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(injected).unwrap()["problems"], json!([warning]));
    // The requests that are fine were carried out.
    assert_eq!(
        serde_json::from_str::<Value>(injected).unwrap()["mounts"].as_array().unwrap().len(),
        5
    );
}

#[tokio::test]
async fn a_driver_of_spark_3_5_has_its_mounts() {
    driver_has_its_mounts("3.5.9", "driver-35").await;
}

#[tokio::test]
async fn a_driver_of_spark_4_1_has_its_mounts() {
    driver_has_its_mounts("4.1.2", "driver-41").await;
}

#[tokio::test]
async fn an_executor_of_spark_3_5_has_its_mounts() {
    executor_has_its_mounts("3.5.9", "executor-35").await;
}

#[tokio::test]
async fn an_executor_of_spark_4_1_has_its_mounts() {
    executor_has_its_mounts("4.1.2", "executor-41").await;
}

#[tokio::test]
async fn a_warning_is_in_the_log_of_spark_submit_3_5() {
    warning_is_in_the_log_of_spark_submit("3.5.9", "warning-35").await;
}

#[tokio::test]
async fn a_warning_is_in_the_log_of_spark_submit_4_1() {
    warning_is_in_the_log_of_spark_submit("4.1.2", "warning-41").await;
}

/// `spark-submit $(spark-webhook conf … --format args)` and `--properties-file`, as people use
/// them.
#[tokio::test]
async fn what_conf_writes_is_what_the_pod_asks_for() {
    let (cluster, pods, _webhook, directory) = set_up("conf").await;
    let long = "a-name-that-is-much-too-long-for-the-key-of-an-annotation-in-kubernetes";
    let conf = |format: &str| {
        let mut command = webhook::command();
        command.args([
            "conf",
            "--spark-config-map",
            "spark-conf:merge:defaults",
            "--config-map",
            &format!("{long}=/etc/long:optional"),
        ]);
        command.args([
            "--secret",
            "keytab=/mnt/keytab:mode=0440",
            "--gcp-service-account",
            "gcp=/mnt/gcp",
            "--format",
            format,
        ]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let file = directory.path().join("spark.properties");
    std::fs::write(&file, conf("properties")).unwrap();
    for (name, arguments) in [
        ("by-args", conf("args").split_whitespace().map(str::to_owned).collect::<Vec<_>>()),
        ("by-file", vec!["--properties-file".to_owned(), file.to_str().unwrap().to_owned()]),
    ] {
        let mut properties = vec![
            "--master".to_owned(),
            format!("k8s://{}", cluster.url()),
            "--deploy-mode=cluster".to_owned(),
            format!("--name={name}"),
            "--class=org.apache.spark.examples.SparkPi".to_owned(),
            "--conf".to_owned(),
            "spark.kubernetes.container.image=apache/spark:4.1.2".to_owned(),
            "--conf".to_owned(),
            "spark.kubernetes.authenticate.driver.serviceAccountName=spark".to_owned(),
            "--conf".to_owned(),
            format!("spark.kubernetes.driver.pod.name={name}"),
        ];
        properties.extend(arguments);
        properties.push("local:///opt/spark/examples/jars/spark-examples.jar".to_owned());
        let output = Spark::new("4.1.2").submit_arguments(&cluster, "conf", &properties);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let pod = serde_json::to_value(pods.get(name).await.unwrap()).unwrap();
        let injected: Value = serde_json::from_str(
            pod["metadata"]["annotations"]["spark-operator.k8s.io/injected"].as_str().unwrap(),
        )
        .unwrap();
        let long = format!("/etc/long=configmap/{long}");
        assert_eq!(
            injected["mounts"],
            json!([
                "/etc/spark/conf=configmap/spark-conf",
                long,
                "/mnt/keytab=secret/keytab",
                "/mnt/gcp=secret/gcp"
            ])
        );
        assert!(injected["problems"].is_null(), "{injected}");
        // Spark's own files and the user's in one directory, and spark-defaults.conf is read.
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        let merged =
            volumes.iter().find(|volume| volume["name"] == "spark-config-map-volume").unwrap();
        let sources = merged["projected"]["sources"].as_array().unwrap();
        assert!(
            sources[0]["configMap"]["name"].as_str().unwrap().ends_with("-conf-map"),
            "{merged}"
        );
        assert_eq!(sources[0]["configMap"]["items"][0]["key"], "spark.properties");
        assert_eq!(sources[1], json!({"configMap": {"name": "spark-conf"}}));
        let arguments = &pod["spec"]["containers"][0]["args"];
        assert_eq!(
            (&arguments[0], &arguments[1], &arguments[2]),
            (&json!("driver"), &json!("--load-spark-defaults"), &json!("--properties-file"))
        );
    }
}

/// The example in the README, as it stands there but for the address of the API server.
#[tokio::test]
async fn the_readmes_example_works() {
    let (cluster, pods, _webhook, directory) = set_up("readme").await;
    let readme = std::fs::read_to_string("README.md").unwrap();
    let lines = readme.lines().skip_while(|line| line.trim() != "spark-submit \\").skip(1);
    let example = lines
        .take_while(|line| line.starts_with("      "))
        .map(|line| line.trim_end_matches('\\').trim());
    let arguments: Vec<String> = example
        .flat_map(str::split_whitespace)
        .map(|argument| argument.replace("https://127.0.0.1:6443", cluster.url()))
        .collect();
    let output = Spark::new("3.5.9").submit_arguments(&cluster, "readme", &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let pod = serde_json::to_value(first(&pods, "driver", directory.path()).await).unwrap();
    let injected: Value = serde_json::from_str(
        pod["metadata"]["annotations"]["spark-operator.k8s.io/injected"].as_str().unwrap(),
    )
    .unwrap();
    assert_eq!(
        injected["mounts"],
        json!(["/etc/hadoop/conf=configmap/hadoop-conf", "/mnt/keytab=secret/keytab"])
    );
    assert!(injected["problems"].is_null());
}
