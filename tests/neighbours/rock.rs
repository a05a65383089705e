//! The Charmed Spark rock: the image itself is not run here, but a real spark-submit makes pods of its shape, by the recipe.

use std::fs;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::documentation;
use crate::spark::Spark;
use crate::webhook::Webhook;

/// The container's name in the rock's own pod templates, and where the image has files of its own: canonical/charmed-spark-rock,
/// files/spark/conf/podTemplate.yaml and rockcraft.yaml.
const CONTAINER: &str = "spark";
const OF_THE_IMAGE: [&str; 2] = ["/etc/spark", "/etc/spark8t"];

/// The group of the image's user, `_daemon_`, whose uid is the same.
const GROUP: u32 = 584_792;

#[tokio::test]
async fn what_the_recipe_asks_for_is_in_the_renamed_container_and_hides_nothing_of_the_image() {
    let cluster = Cluster::shared().await;
    let client = cluster.namespace("rock").await;
    let directory = tempfile::tempdir().unwrap();
    let registration = directory.path().join("registration.yaml");
    let _webhook = Webhook::start(&["--write-registration", registration.to_str().unwrap()]);
    cluster.register(&registration, "rock").await;

    let page = fs::read_to_string("docs/recipes/charmed-spark-rock.md").unwrap();
    let template = directory.path().join("podTemplate.yaml");
    let lines = page.lines().skip_while(|line| line.trim() != "apiVersion: v1");
    let yaml: Vec<&str> = lines.map_while(|line| line.strip_prefix("    ")).collect();
    fs::write(&template, yaml.join("\n")).unwrap();
    let properties: Vec<(String, String)> = documentation::properties(&page)
        .map(|(key, value)| (key.to_owned(), value.replace("podTemplate.yaml", template.to_str().unwrap())))
        .collect();
    assert_eq!(properties.len(), 6);

    let spark = Spark::new("3.5.9");
    let output = spark.submit(&cluster, "rock", &properties);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let _application = spark.start_client(&cluster, "rock", directory.path(), &properties);
    let pods: Api<Pod> = Api::namespaced(client, "rock");
    for role in ["driver", "executor"] {
        let pod = first(&pods, role).await;
        let container = &pod["spec"]["containers"][0];
        assert_eq!((&container["name"], pod["spec"]["containers"].as_array().unwrap().len()), (&json!(CONTAINER), 1));
        assert!(container["image"].as_str().unwrap().starts_with("ghcr.io/canonical/charmed-spark:"), "{container}");
        let injected = pod["metadata"]["annotations"]["spark-operator.k8s.io/injected"].as_str().unwrap();
        let injected: Value = serde_json::from_str(injected).unwrap();
        let mut mounts = vec!["/mnt/spark-conf=configmap/spark-conf"];
        mounts.extend((role == "driver").then_some("/mnt/keytab=secret/keytab"));
        assert_eq!((&injected["mounts"], &injected["problems"]), (&json!(mounts), &Value::Null));
        let env = container["env"].as_array().unwrap().iter().rfind(|entry| entry["name"] == "SPARK_CONF_DIR").unwrap();
        assert_eq!(env["value"], "/mnt/spark-conf");
        for mount in container["volumeMounts"].as_array().unwrap() {
            let path = mount["mountPath"].as_str().unwrap();
            assert!(!OF_THE_IMAGE.iter().any(|own| path.starts_with(own)), "{path} hides files of the image");
        }
        // Whoever has this group may read a file with the mode that is asked for.
        assert_eq!(pod["spec"]["securityContext"]["fsGroup"], GROUP);
        for volume in pod["spec"]["volumes"].as_array().unwrap().iter().filter(|volume| volume["name"] == "keytab-volume") {
            assert_eq!(volume["secret"]["defaultMode"], 0o440);
        }
    }
}

async fn first(pods: &Api<Pod>, role: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let list = pods.list(&ListParams::default().labels(&format!("spark-role={role}"))).await.unwrap();
        if let Some(pod) = list.items.into_iter().next() {
            return serde_json::to_value(pod).unwrap();
        }
        assert!(Instant::now() < deadline, "no {role} appears");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
