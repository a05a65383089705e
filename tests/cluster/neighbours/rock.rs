//! The Charmed Spark rock: the image itself is not run here, but a real spark-submit makes pods of
//! its shape, by the recipe.

use std::fs;

use serde_json::{Value, json};
use testkit::documentation;
use testkit::spark::Spark;

use super::recipe::{Place, Recipe, injected, variable};

/// The container's name in the rock's own pod templates, and where the image has files of its own:
/// canonical/charmed-spark-rock, files/spark/conf/podTemplate.yaml and rockcraft.yaml.
const CONTAINER: &str = "spark";
const OF_THE_IMAGE: [&str; 2] = ["/etc/spark", "/etc/spark8t"];

/// The group of the image's user, `_daemon_`, whose uid is the same.
const GROUP: u32 = 584_792;

#[tokio::test]
async fn what_the_recipe_asks_for_is_in_the_renamed_container_and_hides_nothing_of_the_image() {
    let place = Place::new("rock").await;
    let template = place.directory.path().join("podTemplate.yaml");
    fs::write(&template, Recipe::new("charmed-spark-rock").block("apiVersion: v1")).unwrap();
    let page = fs::read_to_string("docs/recipes/charmed-spark-rock.md").unwrap();
    let properties: Vec<(String, String)> = documentation::properties(&page)
        .map(|(key, value)| {
            (key.to_owned(), value.replace("podTemplate.yaml", template.to_str().unwrap()))
        })
        .collect();
    assert_eq!(properties.len(), 6);

    let spark = Spark::new("3.5.9");
    let output = spark.submit(&place.cluster, "rock", &properties);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let _application =
        spark.start_client(&place.cluster, "rock", place.directory.path(), &properties);
    for role in ["driver", "executor"] {
        let pod = place.pod(role).await;
        let container = &pod["spec"]["containers"][0];
        assert_eq!(
            (&container["name"], pod["spec"]["containers"].as_array().unwrap().len()),
            (&json!(CONTAINER), 1)
        );
        assert!(
            container["image"].as_str().unwrap().starts_with("ghcr.io/canonical/charmed-spark:"),
            "{container}"
        );
        let injected = injected(&pod);
        let mut mounts = vec!["/mnt/spark-conf=configmap/spark-conf"];
        mounts.extend((role == "driver").then_some("/mnt/keytab=secret/keytab"));
        assert_eq!((&injected["mounts"], &injected["problems"]), (&json!(mounts), &Value::Null));
        assert_eq!(variable(&pod, "SPARK_CONF_DIR"), "/mnt/spark-conf");
        for mount in container["volumeMounts"].as_array().unwrap() {
            let path = mount["mountPath"].as_str().unwrap();
            assert!(
                !OF_THE_IMAGE.iter().any(|own| path.starts_with(own)),
                "{path} hides files of the image"
            );
        }
        // Whoever has this group may read a file with the mode that is asked for.
        assert_eq!(pod["spec"]["securityContext"]["fsGroup"], GROUP);
        for volume in pod["spec"]["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|volume| volume["name"] == "keytab-volume")
        {
            assert_eq!(volume["secret"]["defaultMode"], 0o440);
        }
    }
}
