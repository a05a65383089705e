//! The CRD operator, kubeflow/spark-operator: its controller and its webhook as processes of the
//! test, and its registration as its chart renders it. It runs the real spark-submit itself.
//!
//! Its webhook appends the mounts of a `SparkApplication`'s fields without looking whether they are
//! there, and is called once. So the order decides, and the order is that of names.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, Error};
use serde_json::{Value, json};
use testkit::cluster::{Process, free_ports, installed};
use testkit::spark::{Spark, conf};
use testkit::webhook::command;

use super::recipe::{Place, Recipe, injected};

/// The nearest to the Spark in the operator's own image.
const SPARK: &str = "4.1.2";

/// How long a Spark may take to start, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(300);

/// A namespace with both webhooks, and the operator's controller.
struct Setup {
    /// Ends before the place, in whose directory its files are.
    _operator: [Process; 2],
    place: Place,
}

impl Setup {
    /// With the operator installed as a release of this name.
    async fn new(namespace: &'static str, release: &str) -> Self {
        let place = Place::new(namespace).await;
        define_kinds(&place.client).await;
        let operator = start_operator(&place, release).await;
        Self { place, _operator: operator }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.place.client.clone(), self.place.namespace)
    }

    fn objects(&self, version: &str, kind: &str) -> Api<DynamicObject> {
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk("sparkoperator.k8s.io", version, kind));
        Api::namespaced_with(self.place.client.clone(), self.place.namespace, &resource)
    }

    /// Creates the recipe's application under a name, with more fields in its spec: the driver that
    /// the operator's spark-submit makes of it, or the operator's message why there is none.
    async fn submit(&self, name: &str, fields: &Value) -> Result<Value, String> {
        let mut application = recipe();
        application["metadata"]["name"] = json!(name);
        application["spec"].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let application = serde_json::from_value(application).unwrap();
        self.objects("v1beta2", "SparkApplication")
            .create(&PostParams::default(), &application)
            .await
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(driver) = self.pods().get_opt(&format!("{name}-driver")).await.unwrap() {
                return Ok(serde_json::to_value(driver).unwrap());
            }
            let application = self.objects("v1beta2", "SparkApplication").get(name).await.unwrap();
            let state = &application.data["status"]["applicationState"];
            if state["state"].as_str().is_some_and(|state| state.contains("FAILED")) {
                return Err(state["errorMessage"].as_str().unwrap_or_default().to_owned());
            }
            assert!(Instant::now() < deadline, "no driver of {name}: {state}, {}", self.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.place.directory.path().join("controller.log")).unwrap_or_default()
    }

    /// Spark as the driver's container would run it, with the driver's own properties and template,
    /// but beside the cluster: it asks for its executors, and they are created as the operator's
    /// Spark creates them.
    async fn executor_of(&self, name: &str, driver: &Value) -> Value {
        let directory = self.place.directory.path().join(name);
        fs::create_dir(&directory).unwrap();
        let volumes = driver["spec"]["volumes"].as_array().unwrap();
        let file = |volume: &str, path: &str| {
            let volume = volumes
                .iter()
                .find(|other| other["name"] == volume)
                .unwrap_or_else(|| panic!("{volume}: {volumes:?}"));
            let config = &volume["configMap"];
            let item = config["items"]
                .as_array()
                .unwrap()
                .iter()
                .find(|item| item["path"] == path)
                .unwrap();
            let [name, key] =
                [&config["name"], &item["key"]].map(|text| text.as_str().unwrap().to_owned());
            let configs: Api<ConfigMap> =
                Api::namespaced(self.place.client.clone(), self.place.namespace);
            let path = directory.join(path);
            async move {
                let deadline = Instant::now() + PATIENCE;
                // spark-submit makes them after the pod, which owns them.
                let config = loop {
                    match configs.get_opt(&name).await.unwrap() {
                        Some(config) => break config,
                        None => assert!(Instant::now() < deadline, "no ConfigMap {name}"),
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                };
                fs::write(&path, &config.data.unwrap()[&key]).unwrap();
                path.to_str().unwrap().to_owned()
            }
        };
        let properties = file("spark-conf-volume-driver", "spark.properties").await;
        let template = file("pod-template-volume", "pod-spec-template.yml").await;
        let program = directory.join("job.py");
        fs::write(
            &program,
            "from pyspark import SparkContext\nSparkContext().parallelize(range(2), 2).count()\n",
        )
        .unwrap();
        let log = directory.join("driver.log");
        let mut driver = Spark::new(SPARK).command(&self.place.cluster.kubeconfig());
        driver
            .args(["--properties-file", &properties, "--deploy-mode", "client", "--master"])
            .arg(format!("k8s://{}", self.place.cluster.url()))
            .args(conf("spark.kubernetes.executor.podTemplateFile", &template))
            // What only holds inside the pod: its address and ports, its token, the application's
            // jar.
            .args(conf("spark.driver.host", "127.0.0.1"))
            .args(conf("spark.driver.bindAddress", "127.0.0.1"))
            .args(conf("spark.driver.port", "0"))
            .args(conf("spark.driver.blockManager.port", "0"))
            .args(conf("spark.ui.enabled", "false"))
            .args(conf("spark.kubernetes.submitInDriver", "false"))
            .args(conf("spark.jars", ""))
            .arg(program);
        let _driver = Process::start(&mut driver, log.to_str().unwrap());
        let deadline = Instant::now() + PATIENCE;
        let of_the_application =
            format!("spark-role=executor,sparkoperator.k8s.io/app-name={name}");
        loop {
            let executors =
                self.pods().list(&ListParams::default().labels(&of_the_application)).await.unwrap();
            if let Some(executor) = executors.items.into_iter().next() {
                return serde_json::to_value(executor).unwrap();
            }
            assert!(
                Instant::now() < deadline,
                "no executor: {}",
                fs::read_to_string(&log).unwrap()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Setup {
    /// The operator leaves the pod templates of its submissions behind, in a directory that cannot
    /// be chosen.
    fn drop(&mut self) {
        for rest in self.log().split("/tmp/spark/").skip(1) {
            if let Some((submission, _)) = rest.split_once("/driver-pod-template.yaml") {
                let _ = fs::remove_dir_all(Path::new("/tmp/spark").join(submission));
            }
        }
    }
}

/// The `SparkApplication` of the recipe.
fn recipe() -> Value {
    serde_saphyr::from_str(&Recipe::new("spark-operator").block("kind: SparkApplication")).unwrap()
}

/// The operator's kinds, from its chart; both tests may be the first.
async fn define_kinds(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for entry in fs::read_dir(installed("operator", &[]).join("chart/crds")).unwrap() {
        let definition: CustomResourceDefinition =
            serde_saphyr::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        match definitions.create(&PostParams::default(), &definition).await {
            Ok(_) => {}
            Err(Error::Api(error)) if error.code == 409 => {}
            Err(error) => panic!("{error}"),
        }
        let name = definition.metadata.name.unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let conditions =
                definitions.get(&name).await.unwrap().status.and_then(|status| status.conditions);
            if conditions
                .into_iter()
                .flatten()
                .any(|condition| condition.type_ == "Established" && condition.status == "True")
            {
                break;
            }
            assert!(Instant::now() < deadline, "{name} is not established");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Starts controller and webhook for a namespace, and waits until the webhook has put its CA into
/// its registration.
async fn start_operator(place: &Place, release: &str) -> [Process; 2] {
    let Place { cluster, client, namespace, directory, .. } = place;
    let operator = installed("operator", &[]);
    let rendered = Command::new(installed("helm", &[]).join("helm3"))
        .args(["template", release])
        .arg(operator.join("chart"))
        .args(["--set", &format!("spark.jobNamespaces={{{namespace}}}")])
        .args(["--show-only", "templates/webhook/mutatingwebhookconfiguration.yaml"])
        .output()
        .unwrap();
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    let mut registration: Value =
        serde_saphyr::from_str(std::str::from_utf8(&rendered.stdout).unwrap()).unwrap();
    let [port] = free_ports();
    for webhook in registration["webhooks"].as_array_mut().unwrap() {
        // Its certificate is for localhost too.
        let url = format!(
            "https://localhost:{port}{}",
            webhook["clientConfig"]["service"]["path"].as_str().unwrap()
        );
        webhook["clientConfig"] = json!({"url": url});
    }
    let name = registration["metadata"]["name"].as_str().unwrap().to_owned();
    let registrations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    registrations
        .create(&PostParams::default(), &serde_json::from_value(registration).unwrap())
        .await
        .unwrap();

    let log = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let start = |part: &str, arguments: &[&str]| {
        let mut process = Command::new(operator.join("operator"));
        process
            .args([
                part,
                "start",
                "--leader-election=false",
                "--health-probe-bind-address=0",
                "--namespaces",
                namespace,
            ])
            .args(arguments)
            .env("KUBECONFIG", cluster.kubeconfig())
            .env("SPARK_HOME", installed("spark", &[SPARK]).join("pyspark"))
            .env("SPARK_LOCAL_IP", "127.0.0.1")
            .env_remove("SPARK_CONF_DIR")
            .env_remove("HADOOP_CONF_DIR");
        // In a pod, this is how the controller knows the API server's address for spark-submit.
        let (host, port) = cluster.url().strip_prefix("https://").unwrap().split_once(':').unwrap();
        process.env("KUBERNETES_SERVICE_HOST", host).env("KUBERNETES_SERVICE_PORT", port);
        Process::start(&mut process, &log(&format!("{part}.log")))
    };
    let certificates = directory.path().join("certificates");
    let webhook = start(
        "webhook",
        &[
            &format!("--webhook-port={port}"),
            &format!("--webhook-cert-dir={}", certificates.display()),
            &format!("--webhook-secret-namespace={namespace}"),
            &format!("--mutating-webhook-name={name}"),
        ],
    );
    let controller = start("controller", &["--enable-ui-service=false"]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let webhooks = registrations.get(&name).await.unwrap().webhooks.unwrap();
        if webhooks.iter().all(|webhook| webhook.client_config.ca_bundle.is_some()) {
            break;
        }
        let log = fs::read_to_string(log("webhook.log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "the operator's webhook does not write its CA: {log}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    [webhook, controller]
}

/// What is mounted at a path in Spark's container: the volumes, each as it is in the pod.
fn mounted<'a>(pod: &'a Value, path: &str) -> Vec<&'a Value> {
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let at_path = mounts.iter().filter(|mount| mount["mountPath"] == path);
    at_path
        .map(|mount| volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap())
        .collect()
}

/// The values of a variable in Spark's container, in their order.
fn values<'a>(pod: &'a Value, name: &str) -> Vec<&'a str> {
    let env = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    env.iter()
        .filter(|entry| entry["name"] == name)
        .map(|entry| entry["value"].as_str().unwrap())
        .collect()
}

/// The volume that mounts a ConfigMap under a name.
fn volume(name: &str, config_map: &str) -> Value {
    json!({"name": name, "configMap": {"name": config_map, "defaultMode": 420}})
}

#[tokio::test]
async fn driver_and_executor_get_what_annotations_ask_for_and_what_fields_ask_for_is_mounted_once()
{
    let setup = Setup::new("operator", "spark-operator").await;
    let spark_conf = "/etc/spark/conf=configmap/spark-conf";
    let hadoop_conf = "/etc/hadoop/conf=configmap/hadoop-conf";
    let keytab = "/mnt/keytab=secret/keytab";
    let ours = [
        &volume("spark-config-map-volume", "spark-conf"),
        &volume("hadoop-config-map-volume", "hadoop-conf"),
    ];
    let theirs = [
        &volume("spark-configmap-volume", "spark-conf"),
        &volume("hadoop-configmap-volume", "hadoop-conf"),
    ];
    let confs = json!({"sparkConfigMap": "spark-conf", "hadoopConfigMap": "hadoop-conf"});
    for (name, fields, [spark, hadoop], conf_dirs) in [
        // All by annotations, as the recipe has it; and by the operator's fields too.
        ("pi", json!({}), ours, &["/etc/spark/conf"][..]),
        // Spark's own, and the operator's behind it, which is the one that counts.
        ("both", confs, theirs, &["/opt/spark/conf", "/etc/spark/conf"]),
    ] {
        let driver = setup.submit(name, &fields).await.unwrap();
        // The operator's webhook was there too.
        assert_eq!(driver["metadata"]["ownerReferences"][0]["kind"], "SparkApplication");
        assert_eq!(
            injected(&driver),
            json!({"by": injected(&driver)["by"], "mounts": [spark_conf, hadoop_conf, keytab]})
        );
        assert_eq!(
            mounted(&driver, "/mnt/keytab")[0]["secret"],
            json!({"secretName": "keytab", "defaultMode": 0o440})
        );
        assert_eq!(values(&driver, "SPARK_CONF_DIR"), conf_dirs);
        let executor = setup.executor_of(name, &driver).await;
        let annotation = &executor["metadata"]["annotations"]["spark-operator.k8s.io/injected"];
        // Where all is mounted already, there is nothing to do and nothing to say.
        assert_eq!(annotation.is_string(), name == "pi", "{annotation}");
        for pod in [&driver, &executor] {
            assert_eq!(
                (mounted(pod, "/etc/spark/conf"), mounted(pod, "/etc/hadoop/conf")),
                (vec![spark], vec![hadoop])
            );
            assert_eq!(values(pod, "SPARK_CONF_DIR").last(), Some(&"/etc/spark/conf"));
            assert_eq!(values(pod, "HADOOP_CONF_DIR"), ["/etc/hadoop/conf"]);
        }
    }

    // Bad input: a neighbour has something else at that path. It stays, the annotation is named,
    // and the others are carried out.
    let driver = setup.submit("other", &json!({"sparkConfigMap": "theirs"})).await.unwrap();
    assert_eq!(mounted(&driver, "/etc/spark/conf"), [&volume("spark-configmap-volume", "theirs")]);
    assert_eq!(injected(&driver)["mounts"], json!([hadoop_conf, keytab]));
    let problem = "sparkConfigMap=spark-conf: volume spark-configmap-volume is mounted there; remove that mount or this annotation";
    assert_eq!(injected(&driver)["problems"], json!([problem]));

    // All that is asked for is there already.
    let asks = json!({"spark-operator.k8s.io/sparkConfigMap": "spark-conf:merge", "spark-operator.k8s.io/configMap.app": "/etc/app"});
    let driver = json!({"serviceAccount": "spark", "configMaps": [{"name": "app", "path": "/etc/app"}], "annotations": asks});
    let driver = setup
        .submit("merged", &json!({"sparkConfigMap": "spark-conf", "driver": driver}))
        .await
        .unwrap();
    assert_eq!(mounted(&driver, "/etc/spark/conf"), [theirs[0]]);
    assert_eq!(mounted(&driver, "/etc/app"), [&volume("app-vol", "app")]);
    assert!(driver["metadata"]["annotations"]["spark-operator.k8s.io/injected"].is_null());

    // The operator takes a sidecar for Spark's container, where a template has given that another
    // name; annotations find it.
    let template =
        json!({"spec": {"containers": [{"name": "main"}, {"name": "sidecar", "image": "i"}]}});
    let driver = json!({"serviceAccount": "spark", "template": template, "annotations": asks});
    let driver = setup
        .submit("template", &json!({"sparkConfigMap": "spark-conf", "driver": driver}))
        .await
        .unwrap();
    assert_eq!(driver["spec"]["containers"][0]["name"], "sidecar");
    assert_eq!(mounted(&driver, "/etc/spark/conf"), [theirs[0]]);
    let sparks = driver["spec"]["containers"][1]["volumeMounts"].as_array().unwrap();
    let asked_for = sparks.iter().find(|mount| mount["mountPath"] == "/etc/spark/conf").unwrap();
    assert_eq!(asked_for["name"], "spark-config-map-volume");

    // A Spark Connect server, which the operator makes itself, is no driver.
    let connect = json!({
        "apiVersion": "sparkoperator.k8s.io/v1alpha1",
        "kind": "SparkConnect",
        "metadata": {"name": "connect"},
        "spec": {
            "sparkVersion": SPARK,
            "image": "apache/spark:4.1.2",
            "server": {"template": {
                "metadata": {"annotations": {"spark-operator.k8s.io/hadoopConfigMap": "hadoop-conf"}},
                "spec": {"containers": []},
            }},
            "executor": {"instances": 1},
        },
    });
    let connect = serde_json::from_value(connect).unwrap();
    setup
        .objects("v1alpha1", "SparkConnect")
        .create(&PostParams::default(), &connect)
        .await
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let server = loop {
        let servers = setup
            .pods()
            .list(&ListParams::default().labels("spark-role=connect-server"))
            .await
            .unwrap();
        if let Some(server) = servers.items.into_iter().next() {
            break serde_json::to_value(server).unwrap();
        }
        assert!(Instant::now() < deadline, "no Spark Connect server: {}", setup.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(
        server["metadata"]["annotations"],
        json!({"spark-operator.k8s.io/hadoopConfigMap": "hadoop-conf"})
    );
    assert_eq!(mounted(&server, "/etc/hadoop/conf"), [&Value::Null; 0]);
}

#[tokio::test]
async fn the_other_order_is_refused_by_the_api_server_and_named_by_doctor() {
    let setup = Setup::new("operator-late", "sparkoperator").await;
    let message = setup.submit("both", &json!({"sparkConfigMap": "spark-conf"})).await.unwrap_err();
    // The recipe shows it.
    let page = fs::read_to_string("docs/recipes/spark-operator.md").unwrap();
    let shown =
        page.lines().map(str::trim).find(|line| line.ends_with(": must be unique")).unwrap();
    assert!(message.contains(shown), "{message}");

    let mut doctor = command();
    doctor.args([
        "doctor",
        "--namespace",
        setup.place.namespace,
        "--name",
        "spark-webhook-operator-late",
        "-o",
        "json",
    ]);
    let output = doctor.arg("--kubeconfig").arg(setup.place.cluster.kubeconfig()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let order = found.as_array().unwrap().iter().find(|row| row["check"] == "order").unwrap();
    assert_eq!(order["status"], "failed");
    let message = order["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "sparkoperator-spark-operator-webhook is called after spark-webhook-operator-late"
        ),
        "{message}"
    );

    // What it advises. Where only annotations ask, the order does not matter.
    let driver = setup.submit("pi", &json!({})).await.unwrap();
    assert_eq!(
        mounted(&driver, "/etc/spark/conf"),
        [&volume("spark-config-map-volume", "spark-conf")]
    );
    // And an operator with that value comes first, whatever its release is called.
    assert!(
        order["advice"].as_str().unwrap().contains("fullnameOverride=spark-operator"),
        "{order}"
    );
    let rendered = Command::new(installed("helm", &[]).join("helm3"))
        .args(["template", "sparkoperator", "--set", "fullnameOverride=spark-operator"])
        .arg(installed("operator", &[]).join("chart"))
        .args(["--show-only", "templates/webhook/mutatingwebhookconfiguration.yaml"])
        .output()
        .unwrap();
    assert!(
        String::from_utf8(rendered.stdout).unwrap().contains("\n  name: spark-operator-webhook\n")
    );
}
