//! The Helm chart: what it renders, with Helm 3 and Helm 4, and what a real kube-apiserver makes of
//! it.

mod api_server;
mod examples;
mod monitoring;
mod rendering;
mod values;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use testkit::cluster;

const CHART: &str = "manifests/chart";

/// The release that is rendered, and its namespace.
const RELEASE: &str = "spark-webhook";

/// Values without which nothing is rendered.
const IMAGE: &str = "image: {repository: registry.example/spark-webhook}\n";

/// A certificate where only its form counts.
const SOME_CA: &str = "certificates: {mode: MODE, existingSecret: mine, caBundle: \"-----BEGIN CERTIFICATE-----\\nMA==\\n-----END CERTIFICATE-----\\n\"}\n";

/// The helms that are released at present.
const HELMS: [&str; 2] = ["helm3", "helm4"];

/// Values for each way to certificates.
fn certificate_modes() -> [(&'static str, String); 6] {
    [
        ("managed", String::new()),
        ("ca, made by Helm", "certificates: {mode: ca}\n".to_owned()),
        ("ca of a Secret", SOME_CA.replace("MODE", "ca")),
        ("cert-manager", "certificates: {mode: certManager}\n".to_owned()),
        (
            "cert-manager with an issuer",
            "certificates: {mode: certManager, certManager: {issuerRef: {name: corp, kind: ClusterIssuer}}}\n".to_owned(),
        ),
        ("Secret", SOME_CA.replace("MODE", "existingSecret")),
    ]
}

/// Values that turn on what is off, and change what is not a name.
const EVERYTHING: &str = r#"
imagePullSecrets: [{name: registry}]
replicas: 3
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: node-role.kubernetes.io/control-plane, operator: Exists, effect: NoSchedule}]
affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: a, operator: Exists}]}}]}}
priorityClassName: system-cluster-critical
commonLabels: {team: data}
commonAnnotations: {owner: data@example.com}
podLabels: {tier: webhook}
podAnnotations: {note: "1"}
listenAddress: "[::]"
ports: {https: 10250, admin: 9090}
drainDelaySeconds: 30
onProblem: deny
log: {format: text, level: debug}
extraArgs: ["--max-connections=8192"]
rules:
  apiVersion: spark-webhook/v1
  defaults: [{namespaces: ["team-*"], annotations: {spark-operator.k8s.io/hadoopConfigMap: hadoop-conf}}]
webhook:
  failurePolicy: Ignore
  timeoutSeconds: 10
  reinvocationPolicy: Never
  namespaceSelector: {matchLabels: {spark: "yes"}, matchExpressions: [{key: environment, operator: In, values: [test, production]}]}
  objectSelector: {matchLabels: {canary: "yes"}, matchExpressions: [{key: legacy, operator: DoesNotExist}]}
clientCA: {configMap: api-server-ca, key: client.pem}
networkPolicy: {enabled: true, from: [{ipBlock: {cidr: 10.0.0.0/8}}], metricsFrom: [{namespaceSelector: {matchLabels: {name: monitoring}}}]}
doctor: {rbac: {create: true, secrets: [spark8t-sa-conf-etl]}, namespace: kube-public}
serviceMonitor: {enabled: true, labels: {release: prometheus}}
prometheusRule: {enabled: true, labels: {release: prometheus}}
grafanaDashboard: {enabled: true}
"#;

/// A helm, which must be installed.
fn helm(version: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(cluster::installed("helm", &[]).join(version));
    command.args(arguments);
    command
}

/// Runs it with values on standard input.
fn run(command: &mut Command, values: &str) -> Result<String, String> {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(values.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = process.wait_with_output().unwrap();
    if status.success() {
        Ok(String::from_utf8(stdout).unwrap())
    } else {
        Err(String::from_utf8(stderr).unwrap())
    }
}

/// What `helm template` writes, or why it does not. Without a cluster Helm 3 takes an old
/// Kubernetes for granted.
fn template(version: &str, release: &str, values: &str) -> Result<String, String> {
    template_with(version, release, &["--skip-tests"], values)
}

/// The objects that are there while `helm test` runs.
fn tests(release: &str, values: &str) -> Vec<Value> {
    let only = ["--show-only", "templates/tests/doctor.yaml"];
    objects(&template_with("helm3", release, &only, &format!("{IMAGE}{values}")).unwrap())
}

fn template_with(
    version: &str,
    release: &str,
    more: &[&str],
    values: &str,
) -> Result<String, String> {
    let arguments = [
        "template",
        release,
        CHART,
        "--namespace",
        release,
        "--kube-version",
        "1.30.0",
        "--values",
        "-",
    ];
    run(helm(version, &arguments).args(more), values)
}

/// The objects of a rendering.
fn objects(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap()
}

/// The objects that an image and these values give.
fn rendered(values: &str) -> Vec<Value> {
    objects(&template("helm3", RELEASE, &format!("{IMAGE}{values}")).unwrap())
}

/// The one object of a kind.
fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let object = found.next().unwrap_or_else(|| panic!("there is no {kind}"));
    assert!(found.next().is_none(), "there are several {kind}");
    object
}

/// The arguments of the container.
fn arguments(objects: &[Value]) -> Vec<&str> {
    let container = &only(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    container["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|argument| argument.as_str().unwrap())
        .collect()
}

/// The value of a flag of the container.
fn flag<'a>(objects: &'a [Value], name: &str) -> Option<&'a str> {
    arguments(objects)
        .into_iter()
        .find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))
}
