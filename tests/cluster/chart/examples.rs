//! The examples of Argo CD and Flux: they name the chart and its version, the chart takes their
//! values, and what they keep from being reset is there.

use std::fs;

use serde_json::{Value, json};
use spark_webhook::internals::load_rules;

use super::{CHART, HELMS, IMAGE, RELEASE, objects, only, template};

fn example(file: &str, kind: &str) -> Value {
    let text = fs::read_to_string(format!("examples/{file}")).unwrap();
    only(&objects(&text), kind).clone()
}

fn chart() -> Value {
    let text = fs::read_to_string(format!("{CHART}/Chart.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// Values as the file that Helm reads; the released chart has the image.
fn file(values: &Value) -> String {
    let rows = values.as_object().unwrap().iter();
    rows.fold(IMAGE.to_owned(), |file, (name, value)| format!("{file}{name}: {value}\n"))
}

/// Both Helms render the values. The chart's schema rejects them with one more, which it does not
/// know.
fn accepts(values: &Value) -> Vec<Value> {
    for version in HELMS {
        template(version, RELEASE, &file(values)).unwrap();
    }
    let mut misspelt = values.clone();
    misspelt["replica"] = json!(3);
    let error = template("helm3", RELEASE, &file(&misspelt)).unwrap_err();
    assert!(error.contains("replica"), "{error}");

    let rendered = objects(&template("helm3", RELEASE, &file(values)).unwrap());
    assert_eq!(only(&rendered, "Deployment")["spec"]["replicas"], values["replicas"]);
    let mounted = only(&rendered, "ConfigMap")["data"]["rules.yaml"].as_str().unwrap();
    load_rules(mounted).unwrap();
    rendered
}

/// The two fields that replicas write, and Helm leaves empty.
fn assert_fields_are_the_replicas(rendered: &[Value], secret: &Value) {
    let registration = only(rendered, "MutatingWebhookConfiguration");
    let [webhook] = &registration["webhooks"].as_array().unwrap()[..] else {
        panic!("{registration}");
    };
    assert!(webhook["clientConfig"].is_object() && webhook["clientConfig"]["caBundle"].is_null());
    let ca = only(rendered, "Secret");
    assert_eq!(&ca["metadata"]["name"], secret);
    assert!(ca["data"].is_null());
}

#[test]
fn argo_cd_installs_the_chart_and_leaves_alone_what_the_replicas_write() {
    let application = example("argocd.yaml", "Application");
    assert_eq!(application["apiVersion"], "argoproj.io/v1alpha1");
    let spec = &application["spec"];
    let (source, chart) = (&spec["source"], chart());
    assert_eq!((&source["chart"], &source["targetRevision"]), (&chart["name"], &chart["version"]));
    let registry = source["repoURL"].as_str().unwrap();
    assert!(registry.ends_with("/charts") && !registry.contains("://"), "{registry}");
    assert_eq!(spec["destination"]["namespace"], RELEASE);
    assert_eq!(application["metadata"]["name"], RELEASE, "the release has the Application's name");

    let rendered = accepts(&source["helm"]["valuesObject"]);
    let ignored = &spec["ignoreDifferences"];
    assert_fields_are_the_replicas(&rendered, &ignored[1]["name"]);
    assert_eq!(
        ignored,
        &json!([
            {"group": "admissionregistration.k8s.io", "kind": "MutatingWebhookConfiguration",
             "jqPathExpressions": [".webhooks[]?.clientConfig.caBundle"]},
            {"kind": "Secret", "name": "spark-webhook-ca", "jsonPointers": ["/data"]}
        ])
    );
    let options = json!(["CreateNamespace=true", "RespectIgnoreDifferences=true"]);
    assert_eq!(spec["syncPolicy"]["syncOptions"], options);
}

#[test]
fn flux_installs_the_chart_and_leaves_alone_what_the_replicas_write() {
    let repository = example("flux.yaml", "OCIRepository");
    let release = example("flux.yaml", "HelmRelease");
    assert_eq!(repository["apiVersion"], "source.toolkit.fluxcd.io/v1");
    assert_eq!(release["apiVersion"], "helm.toolkit.fluxcd.io/v2");
    let chart = chart();
    let url = repository["spec"]["url"].as_str().unwrap();
    let suffix = format!("/charts/{}", chart["name"].as_str().unwrap());
    assert!(url.starts_with("oci://") && url.ends_with(&suffix), "{url}");
    assert_eq!(repository["spec"]["ref"], json!({"tag": chart["version"]}));
    // The media type of a chart, as `helm push` writes it.
    assert_eq!(
        repository["spec"]["layerSelector"],
        json!({"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "operation": "copy"})
    );

    let spec = &release["spec"];
    assert_eq!(
        spec["chartRef"],
        json!({"kind": "OCIRepository", "name": repository["metadata"]["name"]})
    );
    assert_eq!(release["metadata"]["namespace"], repository["metadata"]["namespace"]);
    assert_eq!(
        (&spec["releaseName"], &spec["targetNamespace"]),
        (&json!(RELEASE), &json!(RELEASE))
    );
    let rendered = accepts(&spec["values"]);
    let ignored = &spec["driftDetection"]["ignore"];
    assert_fields_are_the_replicas(&rendered, &ignored[1]["target"]["name"]);
    assert_eq!(
        ignored,
        &json!([
            {"target": {"kind": "MutatingWebhookConfiguration"},
             "paths": ["/webhooks/0/clientConfig/caBundle"]},
            {"target": {"kind": "Secret", "name": "spark-webhook-ca"}, "paths": ["/data"]}
        ])
    );
}
