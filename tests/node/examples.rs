//! `examples/kustomization.yaml`, as the node's kubectl builds it.

use std::process::Command;

use serde_json::{Value, json};
use spark_webhook::internals::load_rules;
use spark_webhook::registration::condition;
use testkit::cluster::installed;

#[test]
fn kubectl_builds_the_kustomization_with_its_rules() {
    let output = Command::new(installed("node", &[]).join("kubectl"))
        .args(["kustomize", "examples"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&built).unwrap();
    let only = |kind: &str| {
        let mut found = objects.iter().filter(|object| object["kind"] == kind);
        let object = found.next().unwrap();
        assert!(found.next().is_none(), "{kind}");
        object
    };
    let base = std::fs::read_to_string("manifests/install.yaml").unwrap();
    assert_eq!(objects.len(), base.matches("\nkind: ").count() + 1);

    let rules = only("ConfigMap");
    let text = rules["data"]["rules.yaml"].as_str().unwrap();
    assert_eq!(text, std::fs::read_to_string("examples/rules.yaml").unwrap());
    let deployment = only("Deployment");
    assert_eq!(deployment["spec"]["replicas"], 3);
    let pod = &deployment["spec"]["template"]["spec"];
    let image = concat!("registry.example/spark-webhook:", env!("CARGO_PKG_VERSION"));
    assert_eq!(pod["containers"][0]["image"], image);
    // The name with its hash, so that other rules roll the pods.
    let name = rules["metadata"]["name"].as_str().unwrap();
    assert!(name.len() > "spark-webhook-rules-".len(), "{name}");
    assert_eq!(pod["volumes"], json!([{"name": "rules", "configMap": {"name": name}}]));
    assert_eq!(rules["metadata"]["namespace"], deployment["metadata"]["namespace"]);
    assert_eq!(
        only("MutatingWebhookConfiguration")["webhooks"][0]["matchConditions"][0]["expression"],
        condition(&load_rules(text).unwrap())
    );
}
