//! The webhook and a real kube-apiserver, over real TLS, with failurePolicy Fail.

use std::fs;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, PostParams};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use testkit::cluster::{Cluster, SharedCluster};
use testkit::generate;
use testkit::golden::cases;
use testkit::later::LaterWebhook;
use testkit::webhook::Webhook;

static CLUSTER: SharedCluster = SharedCluster::new();

/// A webhook that is registered for a namespace of its own.
struct Setup {
    cluster: std::sync::Arc<Cluster>,
    pods: Api<Pod>,
    client: Client,
    webhook: Webhook,
    _directory: tempfile::TempDir,
}

async fn set_up(namespace: &str, arguments: &[&str]) -> Setup {
    let cluster = CLUSTER.get().await;
    let client = cluster.namespace(namespace).await;
    let directory = tempfile::tempdir().unwrap();
    let registration = directory.path().join("registration.yaml");
    let webhook = Webhook::start(
        &[&["--write-registration", registration.to_str().unwrap()], arguments].concat(),
    );
    cluster.register(&registration, namespace).await;
    Setup {
        pods: Api::namespaced(client.clone(), namespace),
        cluster,
        client,
        webhook,
        _directory: directory,
    }
}

fn pod(name: &str, role: &str, annotations: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"spark-role": role}, "annotations": annotations},
        "spec": {"containers": [{"name": "spark", "image": "i", "env": [{"name": "SPARK_CONF_DIR", "value": "/opt/spark/conf"}]}]},
    }))
    .unwrap()
}

fn as_json(pod: &Pod) -> Value {
    serde_json::to_value(pod).unwrap()
}

fn mount_paths(pod: &Pod) -> Vec<String> {
    let mounts = as_json(pod)["spec"]["containers"][0]["volumeMounts"].clone();
    let paths = mounts
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["mountPath"].as_str().unwrap().to_owned());
    paths.filter(|path| !path.starts_with("/var/run/secrets/kubernetes.io")).collect()
}

#[tokio::test]
async fn a_pod_that_asks_gets_its_mounts_and_one_that_does_not_is_never_sent() {
    let setup = set_up("mounts", &[]).await;
    let annotations = json!({"spark-operator.k8s.io/sparkConfigMap": "spark-conf", "sparkoperator.k8s.io/configmap.app": "/etc/app/"});
    for role in ["driver", "executor"] {
        let stored = setup
            .pods
            .create(&PostParams::default(), &pod(role, role, &annotations))
            .await
            .unwrap();
        assert_eq!(mount_paths(&stored), ["/etc/spark/conf", "/etc/app"]);
        let spec = &as_json(&stored)["spec"];
        assert_eq!(
            spec["containers"][0]["env"],
            json!([{"name": "SPARK_CONF_DIR", "value": "/etc/spark/conf"}])
        );
        let line = setup.webhook.log_line(&format!("pod=\"{role}\" role=\"{role}\""));
        assert!(line.contains("outcome=\"mutated\""), "{line}");
    }
    // Without a webhook that answers, a pod that asks is refused, and one that does not ask is not.
    let Setup { webhook, pods, cluster, .. } = setup;
    webhook.signal("TERM");
    assert_eq!(webhook.wait().code(), Some(0));
    let error = pods
        .create(&PostParams::default(), &pod("asks", "driver", &annotations))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("failed calling webhook \"spark-webhook.k8s.io\""),
        "{error}"
    );
    pods.create(
        &PostParams::default(),
        &pod("silent", "driver", &json!({"prometheus.io/scrape": "true"})),
    )
    .await
    .unwrap();
    pods.create(&PostParams::default(), &pod("worker", "worker", &annotations)).await.unwrap();
    drop(cluster);
}

/// Each annotation with each option, alone, and then many together.
fn requests() -> Vec<Value> {
    let conf_dirs = ["sparkConfigMap", "hadoopConfigMap"].into_iter().flat_map(|key| {
        let options = [
            "",
            ":optional",
            ":mode=0440",
            ":path=/opt/mine/conf",
            ":merge",
            ":merge:path=/opt/mine/conf:mode=0400:optional",
        ];
        options.map(|options| (key, format!("conf{options}")))
    });
    let objects = ["configMap.app", "secret.app"].into_iter().flat_map(|key| {
        let options = [
            "",
            ":optional",
            ":mode=0440",
            ":file=app.conf",
            ":file=app.conf:mode=400",
            ":env=APP",
            ":env=APP:key=f",
        ];
        options.map(|options| (key, format!("/etc/app{options}")))
    });
    let credentials =
        ["GCPServiceAccount.app", "hadoopDelegationToken.app"].into_iter().flat_map(|key| {
            let options = ["", ":optional", ":mode=0440", ":key=f"];
            options.map(|options| (key, format!("/mnt/app{options}")))
        });
    let others = [
        ("sparkConfigMap", "conf:defaults"),
        ("sparkConfigMap", "conf:merge:defaults"),
        ("configMaps", "a=/etc/a,a=/etc/b,a=/etc/c.conf:file=c.conf,a=/etc/d:mode=0400:env=D"),
        ("secrets", "a=/etc/a,b=/etc/b:optional,b=/etc/c"),
        // Errors and notes, which must be the same ones.
        ("configMap.app", "relative"),
        ("configMap.app", "/opt/spark/conf"),
        ("configMap.app", "/opt/spark/conf/x:file=x"),
        ("sparkConfigMap", "conf:merge:path=/opt/spark/conf"),
        ("secret.app", "/etc/app:env=SPARK_CONF_DIR"),
        ("typo", "x"),
    ];
    let alone = conf_dirs
        .chain(objects)
        .chain(credentials)
        .chain(others.map(|(key, value)| (key, value.to_owned())));
    let mut requests: Vec<Value> =
        alone.map(|(key, value)| json!({format!("spark-operator.k8s.io/{key}"): value})).collect();
    requests.push(json!({
        "spark-operator.k8s.io/sparkConfigMap": "spark-conf:merge:defaults:optional",
        "spark-operator.k8s.io/hadoopConfigMap": "hadoop-conf:path=/opt/mine/conf:merge",
        "spark-operator.k8s.io/configMap.app": "/etc/app:optional:mode=0440:env=APP",
        "spark-operator.k8s.io/configMap.krb5": "/etc/krb5.conf:file=krb5.conf:mode=0444:env=KRB5_CONFIG",
        "spark-operator.k8s.io/configMaps": "more=/etc/more,more=/etc/again,more=/etc/mode:mode=0400",
        "spark-operator.k8s.io/secret.db": "/mnt/db:env=DB:key=pass",
        "spark-operator.k8s.io/GCPServiceAccount.gcp": "/mnt/gcp:key=sa.json",
        "spark-operator.k8s.io/hadoopDelegationToken.token": "/mnt/token:optional",
        "spark-operator.k8s.io/configMap.wrong": "relative",
    }));
    requests
}

/// A webhook that runs after ours and adds what a mesh adds makes the API server call ours again.
/// For every option the pod that is stored is then the one of a single pass, with what the later
/// webhook has added.
#[tokio::test]
async fn the_real_second_round_changes_nothing() {
    let setup = set_up("reinvocation", &[]).await;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let mut drivers = Vec::new();
    for annotations in requests() {
        let mut driver = pod("driver", "driver", &annotations);
        // Recognised whatever stands beside it.
        driver.spec.as_mut().unwrap().containers[0].name = "spark-kubernetes-driver".to_owned();
        give_sparks_own_conf_dir(&mut driver);
        // Its volume has a name by chance.
        driver.spec.as_mut().unwrap().automount_service_account_token = Some(false);
        let once = without_chance(&setup.pods.create(&dry_run, &driver).await.unwrap());
        assert!(once["metadata"]["annotations"]["spark-operator.k8s.io/injected"].is_string());
        drivers.push((driver, once));
    }

    let later = LaterWebhook::start().await;
    // Webhooks are called in the order of their configurations' names.
    let configuration: MutatingWebhookConfiguration = serde_json::from_value(json!({
        "metadata": {"name": "zz-later"},
        "webhooks": [{
            "name": "later.example.com",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": later.url, "caBundle": later.ca_bundle},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "reinvocation"}},
            "sideEffects": "None",
            "failurePolicy": "Fail",
        }],
    }))
    .unwrap();
    Api::all(setup.client.clone()).create(&PostParams::default(), &configuration).await.unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while setup.pods.create(&dry_run, &drivers[0].0).await.unwrap().spec.unwrap().containers.len()
        == 1
    {
        assert!(std::time::Instant::now() < deadline, "the later webhook is not called");
    }

    for (driver, once) in &drivers {
        let mut twice = without_chance(&setup.pods.create(&dry_run, driver).await.unwrap());
        let spec = &mut twice["spec"];
        assert_eq!(spec["containers"].as_array_mut().unwrap().remove(0)["name"], "late-sidecar");
        assert_eq!(spec["volumes"].as_array_mut().unwrap().remove(0)["name"], "late");
        let late = spec["containers"][0]["env"].as_array_mut().unwrap().pop().unwrap();
        assert_eq!(late, json!({"name": "LATE", "value": "1"}));
        assert_eq!(twice, *once);
    }
    // Two calls for the last of them: the first one changed the pod, and the second one found
    // nothing to do.
    setup.webhook.log_line("outcome=\"unchanged\"");
    drop(setup.cluster);
}

/// Without what the API server makes anew for each pod.
fn without_chance(pod: &Pod) -> Value {
    let mut pod = as_json(pod);
    let metadata = pod["metadata"].as_object_mut().unwrap();
    for field in ["uid", "creationTimestamp", "managedFields"] {
        metadata.remove(field);
    }
    pod
}

#[tokio::test]
async fn with_deny_a_driver_with_errors_is_refused_with_422_and_an_executor_is_not() {
    let setup = set_up("deny", &["--on-problem", "deny"]).await;
    let annotations = json!({"spark-operator.k8s.io/configMap.app": "etc/app", "spark-operator.k8s.io/secret.db": "/mnt/db"});
    let error = setup
        .pods
        .create(&PostParams::default(), &pod("driver", "driver", &annotations))
        .await
        .unwrap_err();
    let kube::Error::Api(status) = error else { panic!("{error}") };
    assert_eq!(status.code, 422);
    assert_eq!(
        status.message,
        "admission webhook \"spark-webhook.k8s.io\" denied the request: \
         configMap.app=etc/app: the path must start with \"/\", write configMap.app=/etc/app"
    );
    let stored = setup
        .pods
        .create(&PostParams::default(), &pod("executor", "executor", &annotations))
        .await
        .unwrap();
    assert_eq!(mount_paths(&stored), ["/mnt/db"]);
    drop(setup.cluster);
}

/// What Spark itself gives a driver: a ConfigMap at each conf dir, and arguments.
fn give_sparks_own_conf_dir(pod: &mut Pod) {
    let mut json = as_json(pod);
    json["metadata"]["labels"]["spark-version"] = json!("4.1.2");
    json["spec"]["volumes"] = json!([
        {"name": "spark-conf-volume-driver", "configMap": {"name": "drv", "items": [{"key": "spark.properties", "path": "spark.properties"}]}},
        {"name": "hadoop-properties", "configMap": {"name": "drv-hadoop"}},
    ]);
    let container = &mut json["spec"]["containers"][0];
    container["volumeMounts"] = json!([
        {"name": "spark-conf-volume-driver", "mountPath": "/opt/spark/conf"},
        {"name": "hadoop-properties", "mountPath": "/opt/hadoop/conf"},
    ]);
    container["env"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "HADOOP_CONF_DIR", "value": "/opt/hadoop/conf"}));
    container["args"] = json!(["driver", "--properties-file", "x"]);
    *pod = serde_json::from_value(json).unwrap();
}

/// With rules, the registration sends the pods of their namespaces too, and only those.
#[tokio::test]
async fn a_default_reaches_a_pod_that_asks_for_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("rules.yaml");
    let rules = "apiVersion: spark-webhook/v1\ndefaults: [{namespaces: [\"team-*\"], annotations: {spark-operator.k8s.io/hadoopConfigMap: h}}]\n";
    fs::write(&config, rules).unwrap();
    let silent = pod("silent", "driver", &json!({}));
    for (namespace, expected) in [("team-a", &["/etc/hadoop/conf"][..]), ("other-team-a", &[])] {
        let setup = set_up(namespace, &["--config", config.to_str().unwrap()]).await;
        let stored = setup.pods.create(&PostParams::default(), &silent).await.unwrap();
        assert_eq!(mount_paths(&stored), expected, "{namespace}");
        // Whoever is not sent does not depend on the webhook; whoever is, does.
        setup.webhook.signal("TERM");
        setup.webhook.log_line("stopped");
        let again =
            setup.pods.create(&PostParams::default(), &pod("again", "driver", &json!({}))).await;
        assert_eq!(again.is_ok(), expected.is_empty(), "{namespace}");
        drop(setup.cluster);
    }
}

/// Every pod of the golden reviews, created for real: the API server applies each patch, and takes
/// the pod that comes out wherever it takes the one that went in.
#[tokio::test]
async fn every_golden_pod_is_accepted_with_its_patch_where_it_is_without() {
    let setup = set_up("golden", &[]).await;
    let plain = setup.cluster.namespace("golden-plain").await;
    let plain: Api<Pod> = Api::namespaced(plain, "golden-plain");
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let (mut accepted, mut changed) = (0, 0);
    for case in cases() {
        let review = case.review();
        let request = &review["request"];
        if request["operation"] != "CREATE" || !request["subResource"].is_null() {
            continue;
        }
        let mut pod = request["object"].clone();
        let metadata = pod["metadata"].as_object_mut().unwrap();
        metadata.remove("namespace");
        metadata.remove("managedFields");
        metadata.remove("ownerReferences");
        metadata.entry("name").or_insert(json!("p"));
        // What the ServiceAccount plugin had added would be there twice.
        pod["spec"]["serviceAccountName"] = json!("default");
        pod["spec"].as_object_mut().unwrap().remove("serviceAccount");
        pod["spec"].as_object_mut().unwrap().remove("priorityClassName");
        pod["spec"].as_object_mut().unwrap().remove("priority");
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let without = plain.create(&dry_run, &pod).await;
        let with = setup.pods.create(&dry_run, &pod).await;
        match (without, with) {
            (Ok(_), Ok(stored)) => {
                accepted += 1;
                changed += usize::from(
                    !as_json(&stored)["metadata"]["annotations"]["spark-operator.k8s.io/injected"]
                        .is_null(),
                );
            }
            (Err(_), Err(_)) => {}
            (Ok(_), Err(error)) => {
                panic!("{}: rejected only with the webhook: {error}", case.name)
            }
            (Err(error), Ok(_)) => {
                panic!("{}: rejected only without the webhook: {error}", case.name)
            }
        }
    }
    assert!(accepted >= 50 && changed >= 40, "{accepted} accepted, {changed} changed");
    drop(setup.cluster);
}

/// The judge of what a valid pod is: of 2,000 generated pods that it takes as they are, it takes
/// each with what we add.
#[tokio::test]
async fn no_generated_pod_is_refused_for_what_the_webhook_adds() {
    let setup = set_up("generated", &[]).await;
    let plain: Api<Pod> =
        Api::namespaced(setup.cluster.namespace("generated-plain").await, "generated-plain");
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    // Its seed is fixed: the same pods each time.
    let mut runner = TestRunner::deterministic();
    let reviews = generate::review();
    let (mut accepted, mut changed) = (0, 0);
    while accepted < 2000 {
        let review = reviews.new_tree(&mut runner).unwrap().current();
        let pod = generate::acceptable(review["request"]["object"].clone());
        let Some(pod) = pod.and_then(|pod| serde_json::from_value(pod).ok()) else { continue };
        if plain.create(&dry_run, &pod).await.is_err() {
            continue;
        }
        accepted += 1;
        match setup.pods.create(&dry_run, &pod).await {
            Ok(stored) => {
                let annotations = stored.metadata.annotations.unwrap_or_default();
                changed += usize::from(annotations.contains_key("spark-operator.k8s.io/injected"));
            }
            Err(error) => panic!("{error}: {}", as_json(&pod)),
        }
    }
    assert!(changed > 1000, "{changed} of {accepted} were changed");
    drop(setup.cluster);
}
