//! Charmed Spark's client, the real one, and what the integration hub writes for it: the Secrets of
//! app/utils.py in canonical/spark-integration-hub-rock, and the properties of
//! `managers/integration_hub.py` in its charm.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Resource;
use kube::api::{Api, ListParams, PostParams};
use kube::core::NamespaceResourceScope;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testkit::cluster::installed;

use super::recipe::{Place, Recipe, injected, variable, written};

const TRUSTSTORE: &str = "integrator-hub-conf-truststore";

/// Python, where spark8t is.
fn python() -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", installed("spark8t", &[])).env("SPARK_HOME", "/");
    command
}

/// Properties under the keys that a codec of spark8t's makes of their names.
fn encoded(codec: &str, properties: &Value) -> Value {
    let program = "import json, sys; from spark8t import utils; codec = getattr(utils, sys.argv[1])();\
                   print(json.dumps({codec.serialize(key): value for key, value in json.load(sys.stdin).items()}))";
    let mut command = python();
    let mut process = command
        .args(["-c", program, codec])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(properties.to_string().as_bytes()).unwrap();
    serde_json::from_slice(&process.wait_with_output().unwrap().stdout).unwrap()
}

impl Place {
    /// A shell where spark8t's commands come before Spark's, with the configuration that it needs.
    fn charmed(&self, script: &str) -> Command {
        let directory = self.directory.path();
        std::fs::write(
            directory.join("spark-defaults.conf"),
            "spark.kubernetes.container.image=apache/spark:4.1.2\n",
        )
        .unwrap();
        let mut command = self.shell(script);
        let path =
            command.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap().to_owned();
        let path: Vec<PathBuf> = [installed("spark8t", &[]).join("bin")]
            .into_iter()
            .chain(std::env::split_paths(&path))
            .collect();
        command
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("PYTHONPATH", installed("spark8t", &[]));
        for variable in ["SPARK_CONFS", "SPARK_USER_DATA", "HOME"] {
            command.env(variable, directory);
        }
        command
    }

    /// What `doctor` finds about an account.
    fn account(&self, account: &str) -> Vec<String> {
        let script =
            format!("spark-webhook doctor --service-account {account} -o json || [ $? = 1 ]");
        let rows: Vec<Value> = serde_json::from_str(&self.run(&script)).unwrap();
        let rows = rows.iter().filter(|row| row["check"] == "account");
        rows.map(|row| {
            format!("{} {}", row["status"].as_str().unwrap(), row["message"].as_str().unwrap())
        })
        .collect()
    }

    /// As the integration hub writes it for an account.
    async fn hub(&self, name: &str, data: &Value) {
        let labels = json!({"app.kubernetes.io/managed-by": "integration-hub"});
        let metadata = json!({"name": format!("integrator-hub-conf-{name}"), "labels": labels});
        self.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})).await;
    }

    /// Everything that belongs to accounts, to the last field.
    async fn accounts(&self) -> Value {
        json!([
            self.all::<ServiceAccount>().await,
            self.all::<Role>().await,
            self.all::<RoleBinding>().await,
            self.all::<Secret>().await
        ])
    }

    async fn all<K>(&self) -> Value
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Serialize
            + std::fmt::Debug,
    {
        let objects: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        serde_json::to_value(objects.list(&ListParams::default()).await.unwrap().items).unwrap()
    }
}

#[tokio::test]
async fn an_accounts_drivers_have_what_it_and_the_hub_ask_for() {
    let place = Place::new("analytics").await;
    let page = Recipe::new("charmed-spark");
    let stored = written(place.charmed(&page.block("service-account-registry create")));
    assert!(!stored.contains("Traceback"), "{stored}");
    let secrets: Api<Secret> = Api::namespaced(place.client.clone(), place.namespace);
    let data =
        serde_json::to_value(secrets.get("spark8t-sa-conf-etl").await.unwrap()).unwrap()["data"]
            .clone();
    let keys: Vec<&str> = data.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["driver", "executor"].map(|role| {
        ["hadoopConfigMap", "secret.keytab"]
            .map(|key| format!("spark.kubernetes.{role}.annotation.spark-operator.k8s.io_2f{key}"))
    });
    assert_eq!(keys, expected.as_flattened());

    let directory = format!("/etc/spark8t/conf/{TRUSTSTORE}");
    let options = format!(
        "-Djavax.net.ssl.trustStore={directory}/truststore.jks -Djavax.net.ssl.trustStorePassword=pass"
    );
    let properties = json!({
        "spark.driver.extraJavaOptions": options,
        "spark.executor.extraJavaOptions": options,
        "spark.executorEnv.LOKI_URL": "http://loki:3100",
        "spark.hadoop.fs.s3a.secret.key": "access",
        "spark.kubernetes.driver.annotation.spark-operator.k8s.io/configMap.hub": "/mnt/hub",
        // The account's own wins.
        "spark.kubernetes.driver.annotation.spark-operator.k8s.io/hadoopConfigMap": "hadoop-conf-of-the-hub",
        format!("spark.kubernetes.driver.secrets.{TRUSTSTORE}"): directory,
        "spark.kubernetes.driverEnv.LOKI_URL": "http://loki:3100",
        format!("spark.kubernetes.executor.secrets.{TRUSTSTORE}"): directory,
    });
    place.hub("etl", &encoded("K8sSecretKeySerializer", &properties)).await;
    place.hub("truststore", &json!({"truststore.jks": "a truststore"})).await;
    for name in ["hadoop-conf", "hub"] {
        place
            .apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}))
            .await;
    }
    place
        .apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keytab"}}))
        .await;
    let before = place.accounts().await;

    let submit = page.block("spark-submit --username etl");
    written(place.charmed(&submit));
    let pod = place.pod("driver").await;
    let expected = [
        "/etc/hadoop/conf=configmap/hadoop-conf",
        "/mnt/hub=configmap/hub",
        "/mnt/keytab=secret/keytab",
    ];
    let record = injected(&pod);
    assert_eq!((&record["mounts"], &record["problems"]), (&json!(expected), &Value::Null));
    assert_eq!(pod["spec"]["serviceAccountName"], "etl");
    let mounts = |pod: &Value| -> Vec<Value> {
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
        mounts.iter().filter(|mount| mount["mountPath"] == json!(directory)).cloned().collect()
    };
    let by_spark = [json!({"name": format!("{TRUSTSTORE}-volume"), "mountPath": directory})];
    assert_eq!(
        (mounts(&pod).as_slice(), variable(&pod, "LOKI_URL")),
        (&by_spark[..], &json!("http://loki:3100"))
    );

    // A path that the hub uses.
    let clash = format!(
        "--conf spark.kubernetes.driver.annotation.spark-operator.k8s.io/configMap.clash={directory} --class"
    );
    let named = "--conf spark.kubernetes.driver.pod.name=clash";
    written(place.charmed(&submit.replace("--class", &format!("{named} {clash}"))));
    let pods: Api<Pod> = Api::namespaced(place.client.clone(), place.namespace);
    let pod = serde_json::to_value(pods.get("clash").await.unwrap()).unwrap();
    let problem = &injected(&pod)["problems"][0];
    let occupied = "is mounted there; remove that mount or this annotation";
    assert!(
        problem
            .as_str()
            .is_some_and(|text| text.starts_with("configMap.clash=") && text.ends_with(occupied)),
        "{problem}"
    );
    assert_eq!(mounts(&pod), by_spark);
    assert_eq!(injected(&pod)["mounts"], json!(expected));

    let shared = "hadoopConfigMap=hadoop-conf, secret.keytab=/mnt/keytab";
    assert_eq!(
        place.account("analytics:etl"),
        [
            format!(
                "passed drivers of analytics:etl will ask for configMap.hub=/mnt/hub (by the hub), {shared}"
            ),
            format!("passed executors of analytics:etl will ask for {shared}"),
            "passed 4 objects asked for, all there".to_owned(),
        ]
    );
    // The account itself may see as much, but not the Secrets that it names.
    let etl: Api<ServiceAccount> = Api::namespaced(place.client.clone(), place.namespace);
    let request: TokenRequest =
        serde_json::from_value(json!({"metadata": {}, "spec": {"audiences": []}})).unwrap();
    let token = etl
        .create_token_request("etl", &PostParams::default(), &request)
        .await
        .unwrap()
        .status
        .unwrap()
        .token;
    let mut kubeconfig: Value =
        serde_json::from_slice(&std::fs::read(place.cluster.kubeconfig()).unwrap()).unwrap();
    kubeconfig["users"][0]["user"]["token"] = json!(token);
    std::fs::write(place.directory.path().join("etl"), kubeconfig.to_string()).unwrap();
    let by_itself = place.account("analytics:etl --kubeconfig etl");
    assert_eq!(by_itself[..2], place.account("analytics:etl")[..2]);
    assert_eq!(by_itself[2..], ["unknown you may not get secrets --namespace analytics"]);
    // The page's own line, for people.
    let text = place.run(&format!("{} || [ $? = 1 ]", page.block("spark-webhook doctor").trim()));
    assert!(
        text.contains("passed   account        drivers of analytics:etl will ask for"),
        "{text}"
    );
    assert!(place.accounts().await == before, "something of an account has changed");
}

#[tokio::test]
async fn an_account_is_half_written_in_the_ways_that_spark8t_has() {
    let place = Place::new("charmed-traps").await;
    let registry = |command: &str| {
        format!("service-account-registry {command} --username old --namespace charmed-traps")
    };
    assert_eq!(
        place.account("charmed-traps:old"),
        ["failed service account old does not exist in namespace charmed-traps"]
    );
    written(place.charmed(&registry("create")));
    let empty = "unknown Secret spark8t-sa-conf-old is empty: nothing was stored, or an add-config that was refused has wiped it";
    assert_eq!(place.account("charmed-traps:old")[0], empty);

    // Before 1.5 a property with a `/` in its name could not be stored, and the hub wrote the
    // others so too.
    let ours = json!({"spark.kubernetes.driver.annotation.spark-operator.k8s.io/hadoopConfigMap": "hadoop"});
    let old = encoded("PercentEncodingSerializer", &ours);
    assert_eq!(old, ours);
    let old = encoded(
        "PercentEncodingSerializer",
        &json!({"spark.executorEnv.A_B": "c", "spark.hadoop.a$b": "d"}),
    );
    assert_eq!(old, json!({"spark.executorEnv.A__B": "c", "spark.hadoop.a_24b": "d"}));
    place.hub("old", &old).await;
    let annotation = "--conf spark.kubernetes.driver.annotation.spark-operator.k8s.io/secret.db=/mnt/db:optional";
    written(place.charmed(&format!("{} {annotation}", registry("add-config"))));
    let expected = [
        "passed drivers of charmed-traps:old will ask for secret.db=/mnt/db:optional",
        "passed executors of charmed-traps:old will ask for nothing",
        "passed 1 object asked for; Secret db does not exist, and is optional",
    ];
    assert_eq!(place.account("charmed-traps:old"), expected);
    // What spark8t itself makes of both codecs.
    let config = written(place.charmed(&registry("get-config")));
    assert!(
        config.contains("spark.executorEnv.A_B=c") && config.contains("spark.hadoop.a$b=d"),
        "{config}"
    );

    // A key that the API server refuses: everything is gone.
    let refused = format!("{} --conf spark.{}=x", registry("add-config"), "long".repeat(100));
    assert!(!place.charmed(&refused).output().unwrap().status.success());
    assert_eq!(place.account("charmed-traps:old")[0], empty);

    // A value that is no text: spark8t reads nothing of the Secret.
    let key = "spark.kubernetes.driver.annotation.spark-operator.k8s.io_2fsecret.db";
    let data = json!({key: base64_simd::STANDARD.encode_to_string("/mnt/db"), "spark.b": "/w=="});
    place.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "spark8t-sa-conf-old"}, "data": data})).await;
    let config = written(place.charmed(&registry("get-config")));
    assert!(
        !config.contains("secret.db") && config.contains("spark.executorEnv.A_B=c"),
        "{config}"
    );
    let found = place.account("charmed-traps:old");
    let unread = "failed the value of spark.b in Secret spark8t-sa-conf-old is not UTF-8, and spark8t reads the Secret as empty";
    assert_eq!(found[..2], [unread, "passed drivers of charmed-traps:old will ask for nothing"]);
}

/// `--format spark8t` is what spark8t stores and Spark reads, blanks and backslashes included.
#[tokio::test]
async fn what_conf_writes_arrives_unchanged() {
    let place = Place::new("charmed-conf").await;
    let account = "--username etl --namespace charmed-conf";
    written(place.charmed(&format!(
        "service-account-registry create {account}\n\
         spark-webhook conf --config-map 'odd=/mnt/a b\\c$' --secret 'x=/mnt/x:mode=0440' --format spark8t |\n\
         service-account-registry add-config {account} --properties-file /dev/stdin\n\
         spark-submit {account} --class org.apache.spark.examples.SparkPi local:///opt/spark/examples/jars/spark-examples.jar"
    )));
    assert_eq!(
        injected(&place.pod("driver").await)["mounts"],
        json!(["/mnt/a b\\c$=configmap/odd", "/mnt/x=secret/x"])
    );
    let asks = place.account("charmed-conf:etl");
    assert_eq!(
        asks[0],
        r"passed drivers of charmed-conf:etl will ask for configMap.odd=/mnt/a b\c$, secret.x=/mnt/x:mode=0440"
    );
    let refused = place
        .shell("spark-webhook conf --secret 'x=/mnt/$HOME' --format spark8t")
        .output()
        .unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && error.contains("use a path without $"), "{error}");
}
