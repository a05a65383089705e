//! The chart as it is rendered, on the node: the image that `make image` made, two replicas behind
//! a Service, certificates that they manage, the kubelet's probes, Pod Security. Pods that ask are
//! created all the time, and none is refused, whatever becomes of the replicas.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use testkit::cluster::installed;
use testkit::wait::wait_until;
use testkit::webhook;

use crate::SPARK_4;
use crate::job::{
    Job, KUBECONFIG, client, config_map, create, create_namespace, log, phase, secret,
};
use crate::stream::{Part, Stream, heads};

/// The release, its namespace, and so the name of all that is in it.
const RELEASE: &str = "spark-webhook";

/// In which pods are created all the time.
const STREAM: &str = "chart-stream";

/// In which a Spark job runs.
const JOB: &str = "chart-job";

const IMAGE: &str = concat!("localhost/spark-webhook:", env!("CARGO_PKG_VERSION"));

/// No pod of another test is sent to this webhook.
const VALUES: &str = "
image: {repository: localhost/spark-webhook, pullPolicy: Never}
webhook: {namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [chart-stream, chart-job]}]}}
doctor: {rbac: {create: true}, namespace: chart-stream}
";

/// How long anything here may take.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Refusals before the first replica is ready end within this time.
const UNTIL_READY: Duration = Duration::from_secs(60);

/// After a change, until what was to end has ended: the drain delay of 10 s, and some more.
const SETTLED: Duration = Duration::from_secs(13);

/// The release on the node.
struct Release {
    client: Client,
    deployments: Api<Deployment>,
    pods: Api<Pod>,
    directory: tempfile::TempDir,
}

impl Release {
    async fn new() -> Self {
        let client = client().await;
        create_namespace(&client, STREAM, &json!({})).await;
        create_namespace(
            &client,
            RELEASE,
            &json!({"pod-security.kubernetes.io/enforce": "restricted"}),
        )
        .await;
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("values.yaml"), VALUES).unwrap();
        let deployments = Api::namespaced(client.clone(), RELEASE);
        let pods = Api::namespaced(client.clone(), RELEASE);
        Self { client, deployments, pods, directory }
    }

    /// The replicas that there are, those that end too.
    async fn replicas(&self) -> Vec<Pod> {
        let labels =
            format!("app.kubernetes.io/name=spark-webhook,app.kubernetes.io/instance={RELEASE}");
        self.pods.list(&ListParams::default().labels(&labels)).await.unwrap().items
    }

    /// Until all replicas are as they should be, and ready.
    async fn wait_for_roll_out(&self) {
        wait_until("the roll-out", TIMEOUT, async || {
            let deployment = self.deployments.get(RELEASE).await.unwrap();
            let (wanted, status) = (deployment.spec.unwrap().replicas, deployment.status.unwrap());
            status.observed_generation == deployment.metadata.generation
                && [status.replicas, status.updated_replicas, status.available_replicas]
                    == [wanted; 3]
        })
        .await;
    }

    /// And until no other is left.
    async fn wait_until_only(&self, count: usize) {
        self.wait_for_roll_out().await;
        wait_until("no replica is left that ends", TIMEOUT, async || {
            self.replicas().await.len() == count
        })
        .await;
    }

    async fn scale(&self, count: usize) {
        let replicas = json!({"spec": {"replicas": count}});
        self.deployments
            .patch_scale(RELEASE, &PatchParams::default(), &Patch::Merge(replicas))
            .await
            .unwrap();
        self.wait_until_only(count).await;
    }

    async fn ca(&self) -> Vec<u8> {
        let secret = Api::<Secret>::namespaced(self.client.clone(), RELEASE)
            .get("spark-webhook-ca")
            .await
            .unwrap();
        secret.data.unwrap()["ca.crt"].0.clone()
    }

    /// A container of one replica, as containerd knows it, and its pod.
    async fn container(&self) -> (String, String) {
        let pod = self.replicas().await.remove(0);
        let id = pod.status.unwrap().container_statuses.unwrap()[0].container_id.clone().unwrap();
        (id.strip_prefix("containerd://").unwrap().to_owned(), pod.metadata.name.unwrap())
    }
}

fn try_helm(version: &str, arguments: &[&str]) -> Output {
    let mut helm = Command::new(installed("helm", &[]).join(version));
    helm.args(arguments)
        .args(["--namespace", RELEASE, "--kubeconfig", KUBECONFIG, "--timeout", "3m"])
        .output()
        .unwrap()
}

fn helm(arguments: &[&str]) {
    let output = try_helm("helm4", arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
}

/// `helm upgrade` with a few other values.
fn upgrade(values: &str) {
    helm(&["upgrade", RELEASE, "manifests/chart", "--reuse-values", "--set", values, "--wait"]);
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// The node's containerd.
fn ctr(arguments: &[&str]) -> String {
    let socket = "/var/lib/spark-webhook-node/containerd/containerd.sock";
    let output = Command::new("ctr")
        .args(["--address", socket, "--namespace", "k8s.io"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What each check of `doctor` comes to.
fn checks(json: &str) -> Vec<String> {
    let found: Vec<Value> =
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    found
        .iter()
        .map(|finding| format!("{} {}", finding["check"], finding["status"]).replace('"', ""))
        .collect()
}

/// `doctor` in a pod of the image, by the account's token and, which takes the cluster's DNS, by
/// the API server's name; and from outside, by the administrator's kubeconfig. All say the same,
/// and that all is well.
async fn doctor_agrees_inside_and_outside(release: &Release) {
    let subject = json!([{"kind": "ServiceAccount", "name": "doctor", "namespace": RELEASE}]);
    let role = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let by_name = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {
            "server": "https://kubernetes.default.svc.cluster.local",
            "certificate-authority": "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
        }}],
        "users": [{"name": "u", "user": {"tokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token"}}],
    });
    let container = |name: &str, arguments: &[&str]| {
        json!({
            "name": name, "image": IMAGE, "imagePullPolicy": "Never", "args": arguments,
            "volumeMounts": [{"name": "kubeconfig", "mountPath": "/etc/doctor"}],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        })
    };
    let doctor = ["doctor", "--namespace", STREAM, "-o", "json"];
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "doctor"},
        "spec": {
            "serviceAccountName": "doctor", "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [{"name": "kubeconfig", "configMap": {"name": "doctor"}}],
            "containers": [
                container("version", &["--version"]),
                container("by-account", &doctor),
                container("by-name", &[&doctor[..], &["--kubeconfig", "/etc/doctor/kubeconfig"]].concat()),
            ],
        },
    });
    for (namespace, object) in [
        (
            RELEASE,
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "doctor"}}),
        ),
        (RELEASE, config_map("doctor", &json!({"kubeconfig": by_name.to_string()}))),
        (
            STREAM,
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "doctor"},
                "roleRef": role("ClusterRole", "edit"), "subjects": subject,
            }),
        ),
        (
            "",
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "doctor"},
                "roleRef": role("ClusterRole", "spark-webhook-doctor"), "subjects": subject,
            }),
        ),
        (RELEASE, pod),
    ] {
        create(&release.client, namespace, &object).await;
    }
    let ended = async || {
        ["Succeeded", "Failed"].contains(&phase(&release.pods.get("doctor").await.unwrap()))
    };
    wait_until("doctor in a pod", TIMEOUT, ended).await;
    let pod = release.pods.get("doctor").await.unwrap();
    let mut logs = Vec::new();
    for container in ["version", "by-account", "by-name"] {
        logs.push(log(&release.pods, &pod, Some(container)).await);
    }
    assert_eq!(phase(&pod), "Succeeded", "{logs:#?}");
    assert_eq!(logs[0], concat!("spark-webhook ", env!("CARGO_PKG_VERSION"), "\n"));
    let outside = webhook::command().args(doctor).env("KUBECONFIG", KUBECONFIG).output().unwrap();
    let outside = checks(&String::from_utf8(outside.stdout).unwrap());
    assert_eq!(checks(&logs[1]), outside);
    assert_eq!(checks(&logs[2]), outside);
    assert!(
        outside.len() >= 12 && outside.iter().all(|check| check.ends_with(" passed")),
        "{outside:#?}"
    );
}

/// With its mounts, through the Service.
async fn a_spark_job_runs() {
    let job = Job::new(JOB, SPARK_4)
        .object(config_map("of-driver", &json!({"app.conf": "driver's"})))
        .object(secret("of-executor", &json!({"password": "executor's"})))
        .driver("configMap.of-driver", "/mnt/app")
        .executor("secret.of-executor", "/mnt/app")
        .look_at(&["/mnt/app"]);
    let report = job.run_as_the_cluster_is().await;
    assert_eq!(report.driver["files"]["/mnt/app"], json!({"app.conf": "driver's"}));
    assert_eq!(report.executor["files"]["/mnt/app"], json!({"password": "executor's"}));
}

/// `helm test` passes, and fails with what doctor says where a pod waits for what is not there; and
/// it leaves nothing behind.
async fn helm_test_says_what_doctor_says(release: &Release) {
    let test = |version| try_helm(version, &["test", RELEASE]);
    let passed = test("helm3");
    assert!(
        passed.status.success() && said(&passed).contains("12 passed, 0 failed, 0 unknown"),
        "{}",
        said(&passed)
    );
    let waiting = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "waiting", "labels": {"spark-role": "driver"},
            "annotations": {"spark-operator.k8s.io/configMap.missing": "/mnt/missing"},
        },
        "spec": {"containers": [{"name": "c", "image": "localhost/pause:1", "imagePullPolicy": "Never"}], "terminationGracePeriodSeconds": 0},
    });
    create(&release.client, STREAM, &waiting).await;
    let failed = test("helm4");
    assert_eq!(failed.status.code(), Some(1), "{}", said(&failed));
    assert!(
        said(&failed).contains("ConfigMap missing does not exist in namespace chart-stream"),
        "{}",
        said(&failed)
    );
    let pods: Api<Pod> = Api::namespaced(release.client.clone(), STREAM);
    pods.delete("waiting", &DeleteParams::default()).await.unwrap();
    assert_eq!(left("spark-webhook-test"), "");
}

/// What there is with this name, or for a release's name with its label.
fn left(name: &str) -> String {
    let kinds = "deployments,replicasets,pods,services,endpointslices,secrets,configmaps,serviceaccounts,roles,rolebindings,\
                 poddisruptionbudgets,clusterroles,clusterrolebindings,mutatingwebhookconfigurations";
    let mut kubectl = Command::new(installed("node", &[]).join("kubectl"));
    kubectl.args([
        "--kubeconfig",
        KUBECONFIG,
        "get",
        kinds,
        "--all-namespaces",
        "--output",
        "name",
    ]);
    kubectl.args(["--selector", &format!("app.kubernetes.io/instance={RELEASE}")]);
    let output = kubectl.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let names = String::from_utf8(output.stdout).unwrap();
    names.lines().filter(|line| line.contains(name)).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_create_fails_while_replicas_are_replaced() {
    let release = Release::new().await;
    let values = release.directory.path().join("values.yaml");
    let stream = Stream::start(&release.client, STREAM, "before");
    tokio::time::sleep(Duration::from_secs(2)).await;

    stream.part("helm install");
    helm(&["install", RELEASE, "manifests/chart", "--values", values.to_str().unwrap(), "--wait"]);
    stream.part("doctor");
    let (container, _) = release.container().await;
    let tasks = ctr(&["tasks", "ls"]);
    let pid = tasks
        .lines()
        .find(|line| line.starts_with(&container))
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("\nUid:\t65532\t65532\t65532\t65532\n"), "{status}");
    doctor_agrees_inside_and_outside(&release).await;
    stream.part("a Spark job");
    a_spark_job_runs().await;

    stream.part("10 × rollout restart");
    for _ in 0..10 {
        release.deployments.restart(RELEASE).await.unwrap();
        release.wait_for_roll_out().await;
    }
    release.wait_until_only(2).await;

    stream.part("helm upgrade with other flags");
    upgrade("log.level=debug,onProblem=deny,drainDelaySeconds=12");
    release.wait_until_only(2).await;

    // A CA that lives ten times as long is due at once.
    stream.part("a new CA, and helm test");
    let ca = release.ca().await;
    upgrade("certificates.managed.caLifetime=7300d");
    helm_test_says_what_doctor_says(&release).await;
    wait_until("a new CA signs", TIMEOUT, async || release.ca().await != ca).await;
    tokio::time::sleep(SETTLED).await;

    stream.part("SIGKILL of one replica");
    let (container, pod) = release.container().await;
    ctr(&["tasks", "kill", "--signal", "SIGKILL", &container]);
    wait_until("it starts again", TIMEOUT, async || {
        let status = release
            .pods
            .get(&pod)
            .await
            .unwrap()
            .status
            .unwrap()
            .container_statuses
            .unwrap()
            .remove(0);
        status.restart_count == 1 && status.ready
    })
    .await;
    stream.part("after it");
    release.wait_until_only(2).await;
    tokio::time::sleep(Duration::from_secs(2)).await;

    stream.part("scale to 1");
    release.scale(1).await;
    stream.part("scale to 3");
    release.scale(3).await;
    stream.part("helm uninstall");
    helm(&["uninstall", RELEASE, "--wait"]);
    stream.part("after");
    wait_until("all of it is gone", TIMEOUT, async || left("").is_empty()).await;
    let parts = stream.end().await;
    println!("{}", heads());
    for part in &parts {
        println!("{part}");
    }
    for part in &parts {
        assert_part(part);
    }
}

fn assert_part(part: &Part) {
    let Part { what, mounted, without, refused, others, others_refused, .. } = part;
    assert!(others_refused.is_empty(), "{what}: who asks for nothing never depends on the webhook");
    assert!(*others > 0, "{what}");
    match *what {
        "before" | "after" => assert_eq!((*mounted, refused.len()), (0, 0), "{what}"),
        "helm install" => {
            let last = refused.last().map_or(Duration::ZERO, |(at, _)| *at);
            assert!(last <= UNTIL_READY, "the last was refused after {last:?}");
        }
        "helm uninstall" => assert_eq!(refused.len(), 0, "{what}"),
        // It may cost the requests that the replica had, and connections to it until it starts
        // again or is known to be away; but nothing else.
        "SIGKILL of one replica" => {
            let is_cut = |reason: &str| {
                ["EOF", "connection reset", "connection refused"]
                    .iter()
                    .any(|cut| reason.contains(cut))
            };
            assert!(
                *without == 0 && refused.iter().all(|(_, reason)| is_cut(reason)),
                "{refused:#?}"
            );
        }
        _ => {
            assert_eq!((*without, refused.len()), (0, 0), "{what}");
            assert!(*mounted > 20, "{what}");
        }
    }
}
