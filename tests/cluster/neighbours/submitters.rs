//! Systems that run spark-submit for people, each with the properties of its recipe through the
//! real one.

use serde_json::{Map, Value, json};

use super::recipe::{Place, Recipe, injected, spark_home, variable};

/// What drivers have of the recipes' properties.
async fn assert_mounted(place: &Place) {
    let record = injected(&place.pod("driver").await);
    assert_eq!(
        record["mounts"],
        json!(["/etc/hadoop/conf=configmap/hadoop-conf", "/mnt/keytab=secret/keytab"])
    );
    assert!(record["problems"].is_null(), "{record}");
}

/// A submission of SparkPi with these properties.
fn submit(place: &Place, name: &str, properties: &Map<String, Value>) {
    let properties: Vec<String> = properties
        .iter()
        .map(|(key, value)| format!("--conf '{key}={}'", value.as_str().unwrap()))
        .collect();
    place.run(&format!(
        "spark-submit --master k8s://https://127.0.0.1:6443 --deploy-mode cluster --name {name} {} \
         --conf spark.kubernetes.container.image=apache/spark:4.1.2 \
         --conf spark.kubernetes.authenticate.driver.serviceAccountName=spark \
         --class org.apache.spark.examples.SparkPi local:///opt/spark/examples/jars/spark-examples.jar",
        properties.join(" ")
    ));
}

/// The DAG as it stands there, with an operator that builds its command as Airflow's does.
#[tokio::test]
async fn airflow() {
    let place = Place::new("airflow").await;
    let page = Recipe::new("airflow");
    let code = page.block("import json");
    let (shell, dag) = code.split_once("\n\n").unwrap();
    std::fs::write(place.directory.path().join("dag.py"), dag).unwrap();
    let package = place.directory.path().join("airflow/providers/apache/spark/operators");
    std::fs::create_dir_all(&package).unwrap();
    std::fs::write(package.join("spark_submit.py"), include_str!("airflow.py")).unwrap();
    place.run(&format!("{shell}\nMASTER=k8s://https://127.0.0.1:6443 python3 dag.py"));
    assert_mounted(&place).await;
}

#[tokio::test]
async fn livy() {
    let place = Place::new("livy").await;
    let page = Recipe::new("livy");
    let batch: Value = serde_json::from_str(&page.block("\"className\"")).unwrap();
    assert_eq!(batch["conf"], serde_json::from_str::<Value>(&place.run(page.conf())).unwrap());
    submit(&place, batch["name"].as_str().unwrap(), batch["conf"].as_object().unwrap());
    assert_mounted(&place).await;
}

#[tokio::test]
async fn kyuubi() {
    let place = Place::new("kyuubi").await;
    let page = Recipe::new("kyuubi");
    let defaults = page.block("spark.kubernetes.driver.annotation");
    assert_eq!(defaults, place.run(page.conf()));
    let properties = defaults.lines().map(|line| line.split_once('=').unwrap());
    submit(
        &place,
        "engine",
        &properties.map(|(key, value)| (key.to_owned(), json!(value))).collect(),
    );
    assert_mounted(&place).await;
}

/// The notebook's cell, in a process that is its kernel: only executors are pods.
#[tokio::test]
async fn jupyterhub() {
    let place = Place::new("jupyterhub").await;
    let page = Recipe::new("jupyterhub");
    let values: Value = serde_saphyr::from_str(&page.block("extraEnv:")).unwrap();
    let submit_args = values["singleuser"]["extraEnv"]["PYSPARK_SUBMIT_ARGS"].as_str().unwrap();
    assert_eq!(format!("PYSPARK_SUBMIT_ARGS={submit_args}\n"), place.run(page.conf()));
    let cell = page
        .block("SparkSession.builder")
        .replace("https://kubernetes.default.svc", place.cluster.url());
    std::fs::write(place.directory.path().join("cell.py"), cell).unwrap();
    // PySpark's JVM ends when its Python does.
    let mut kernel = place.shell("exec python3 cell.py");
    kernel
        .env("PYSPARK_SUBMIT_ARGS", submit_args)
        .env("PYTHONPATH", spark_home().parent().unwrap());
    let _kernel = place.start(&mut kernel, "cell.log");
    let pod = place.pod("executor").await;
    assert_eq!(
        injected(&pod)["mounts"],
        json!(["/etc/hadoop/conf=configmap/hadoop-conf", "/mnt/aws=secret/aws"])
    );
    assert_eq!(variable(&pod, "AWS_SHARED_CREDENTIALS_FILE"), "/mnt/aws/credentials");
}

/// The job's script, line by line as a runner does.
#[tokio::test]
async fn gitlab_ci() {
    let place = Place::new("gitlab-ci").await;
    let job: Value = serde_saphyr::from_str(&Recipe::new("gitlab-ci").block("spark-pi:")).unwrap();
    let script: Vec<&str> = job["spark-pi"]["script"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    place.run(&format!("K8S_API=https://127.0.0.1:6443 CI_PIPELINE_ID=7\n{}", script.join("\n")));
    assert_mounted(&place).await;

    // A wrong request ends it before anything is submitted.
    let wrong =
        script.join("\n").replace("keytab=/mnt/keytab", "keytab=mnt/keytab") + "\ntouch submitted";
    let output = place.shell(&wrong).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("the path must start with"), "{error}");
    assert!(
        !error.contains("SparkSubmit") && !place.directory.path().join("submitted").exists(),
        "{error}"
    );
}
