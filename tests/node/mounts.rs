//! Whether a container starts with a mount beside those that it has: the kubelet's and the
//! runtime's word, beside the webhook's.
//!
//! Each case is a pod that is created with the mount that its annotation requests, whatever the
//! webhook says, and the verdict of the webhook on the same pod without that mount. Where the
//! webhook mounts, the container must start and see all files; where it refuses, it must not.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use spark_webhook::admission::{Settings, admit, review};
use spark_webhook::annotations;

use crate::job::{client, config_map, create, create_namespace, phase, secret};

/// Dozens of pods start at once, beside whatever else the machine does.
const TIMEOUT: Duration = Duration::from_secs(300);

const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A pod's own volume and mount, and a request for one more.
struct Case {
    what: &'static str,
    /// Beside a `name`.
    volume: Value,
    mount: Value,
    /// A file that the pod's own mount shows, if it shows any.
    file: Option<&'static str>,
    request: (&'static str, &'static str),
    works: bool,
}

fn case(
    what: &'static str,
    volume: Value,
    mount: Value,
    request: (&'static str, &'static str),
    works: bool,
) -> Case {
    Case { what, volume, mount, file: None, request, works }
}

fn at(path: &str) -> Value {
    json!({"mountPath": path})
}

#[expect(clippy::too_many_lines, reason = "it is a table")]
fn cases(directory: &str) -> Vec<Case> {
    let empty_dir = || json!({"emptyDir": {}});
    let other = || json!({"configMap": {"name": "other"}});
    let nested = || json!({"configMap": {"name": "other", "items": [{"key": "other.conf", "path": "part/other.conf"}]}});
    let file_of_node = |name: &str| json!({"hostPath": {"path": format!("{directory}/{name}"), "type": "FileOrCreate"}});
    let read_only = |path: &str| json!({"mountPath": path, "readOnly": true});
    let sub_path = |path: &str, part: &str| json!({"mountPath": path, "subPath": part});
    let claim = |name: &str, read_only: bool| json!({"persistentVolumeClaim": {"claimName": name, "readOnly": read_only}});
    let token = || json!({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}});
    let app = |path: &'static str| ("configMap.app", path);
    vec![
        case("a directory below an emptyDir", empty_dir(), at("/data"), app("/data/x/app"), true),
        case(
            "a file below an emptyDir",
            empty_dir(),
            at("/data"),
            app("/data/x/app.conf:file=app.conf"),
            true,
        ),
        case(
            "below a read-only emptyDir",
            empty_dir(),
            read_only("/data"),
            app("/data/app"),
            false,
        ),
        case("above an emptyDir", empty_dir(), at("/data/x"), app("/data"), true),
        case("a directory below a ConfigMap", other(), at("/data"), app("/data/x/app"), true),
        case(
            "a file below a ConfigMap",
            other(),
            at("/data"),
            app("/data/x/app.conf:file=app.conf"),
            false,
        ),
        case(
            "a file below a ConfigMap, with a dot",
            other(),
            at("/data/./x"),
            app("/data/x/app.conf:file=app.conf"),
            false,
        ),
        case("below a file", other(), sub_path("/data", "other.conf"), app("/data/app"), false),
        case("above a file", other(), sub_path("/data/x", "other.conf"), app("/data"), false),
        case(
            "a file above a mount",
            empty_dir(),
            at("/data/x/y"),
            app("/data/x:file=app.conf"),
            false,
        ),
        case("below a claim", claim("writable", false), at("/data"), app("/data/app"), true),
        case(
            "below a claim that is read-only",
            claim("read-only", true),
            at("/data"),
            app("/data/app"),
            false,
        ),
        case(
            "below a file of the node",
            file_of_node("below"),
            at("/data"),
            app("/data/app"),
            false,
        ),
        case(
            "above a file of the node",
            file_of_node("above"),
            at("/data/x/f"),
            app("/data/x"),
            false,
        ),
        case(
            "below a directory of the node",
            json!({"hostPath": {"path": directory}}),
            at("/data"),
            app("/data/app"),
            true,
        ),
        case(
            "below a directory of a ConfigMap",
            nested(),
            sub_path("/data", "part"),
            app("/data/app"),
            false,
        ),
        case(
            "above a directory of a ConfigMap",
            nested(),
            sub_path("/data/x", "part"),
            app("/data"),
            true,
        ),
        case("below a relative emptyDir", empty_dir(), at("data"), app("/data/app"), true),
        case("below a relative ConfigMap", other(), at("data"), app("/data/app"), false),
        case("above a relative emptyDir", empty_dir(), at("data/x"), app("/data"), false),
        case("below a ConfigMap, with two dots", other(), at("/x/../data"), app("/data/app"), true),
        case("above an emptyDir, with a dot", empty_dir(), at("/data/./x"), app("/data"), true),
        Case {
            file: Some("other.conf"),
            ..case("at a ConfigMap, with two dots", other(), at("/x/../data"), app("/data"), false)
        },
        Case {
            file: Some("other.conf"),
            ..case("at a ConfigMap, relative", other(), at("data"), app("/data"), false)
        },
        Case {
            file: Some("token"),
            ..case(
                "above the token, by the link",
                token(),
                read_only(TOKEN),
                ("secret.s", "/run/secrets"),
                false,
            )
        },
        Case {
            file: Some("token"),
            ..case(
                "above the token",
                token(),
                read_only(TOKEN),
                ("secret.s", "/var/run/secrets"),
                true,
            )
        },
        Case {
            file: Some("token"),
            ..case(
                "at the token, by the link",
                token(),
                read_only(TOKEN),
                ("secret.s", "/run/secrets/kubernetes.io/serviceaccount"),
                false,
            )
        },
        Case {
            file: Some("token"),
            ..case(
                "beside the token, by the link",
                token(),
                read_only(TOKEN),
                ("secret.s", "/run/s"),
                true,
            )
        },
        Case {
            file: Some("other.conf"),
            ..case(
                "below a ConfigMap, by the link",
                other(),
                at("/var/run/x"),
                app("/run/x/app"),
                false,
            )
        },
        Case {
            file: Some("other.conf"),
            ..case(
                "below a ConfigMap in /var/run",
                other(),
                at("/var/run/x"),
                app("/var/run/x/app"),
                true,
            )
        },
    ]
}

impl Case {
    fn annotation(&self) -> (String, &str) {
        let (key, value) = self.request;
        (format!("spark-operator.k8s.io/{key}"), value)
    }

    /// The pod as it comes, with the mount that is requested if it `has_request`.
    fn pod(&self, number: usize, has_request: bool) -> Value {
        let mut volume = self.volume.clone();
        volume["name"] = json!("own");
        let mut mount = self.mount.clone();
        mount["name"] = json!("own");
        let (mut volumes, mut mounts) = (vec![volume], vec![mount]);
        let (key, value) = self.annotation();
        let requests = annotations::parse([(&*key, value)].into_iter());
        let request = &requests.mounts[0];
        let path = request.path.as_str();
        let file = request.file();
        if has_request {
            let mut source = if key.contains("secret") {
                json!({"secret": {"secretName": request.name.as_str()}})
            } else {
                json!({"configMap": {"name": request.name.as_str()}})
            };
            source["name"] = json!("ours");
            let mut mount = json!({"name": "ours", "mountPath": path, "readOnly": true});
            if let Some(file) = file {
                mount["subPath"] = json!(file);
                source["configMap"]["items"] = json!([{"key": file, "path": file}]);
            }
            volumes.push(source);
            mounts.push(mount);
        }
        let shown = if file.is_some() { path.to_owned() } else { format!("{path}/app.conf") };
        let own =
            self.file.map(|file| format!("{}/{file}", self.mount["mountPath"].as_str().unwrap()));
        let command = own
            .iter()
            .chain([&shown])
            .map(|file| format!("test -e {file}"))
            .collect::<Vec<_>>()
            .join(" && ");
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": format!("case-{number}"), "labels": {"spark-role": "driver"}, "annotations": {key: value}},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "volumes": volumes,
                "containers": [{
                    "name": "spark", "image": "localhost/spark:4.1.2", "imagePullPolicy": "Never",
                    "command": ["bash", "-c", command], "volumeMounts": mounts,
                }],
            },
        })
    }

    /// Whether the webhook mounts what is requested.
    fn is_mounted(&self, number: usize) -> bool {
        let review = review::of(&self.pod(number, false), "default").to_string();
        let admission = admit(review.as_bytes(), &Settings::default()).unwrap();
        !admission.summary.unwrap().problems.has_errors()
    }
}

/// Whether a pod has ended well; nothing while that is open.
fn ended(pod: &Pod) -> Option<bool> {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default();
    let waits_for =
        |status: &ContainerStatus| status.state.as_ref()?.waiting.as_ref()?.reason.clone();
    match phase(pod) {
        "Succeeded" => Some(true),
        "Failed" => Some(false),
        _ => statuses
            .iter()
            .filter_map(waits_for)
            .any(|reason| reason.ends_with("Error"))
            .then_some(false),
    }
}

#[tokio::test]
async fn a_container_starts_where_the_webhook_mounts_and_does_not_where_it_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let client = client().await;
    create_namespace(&client, "mounts", &json!({})).await;
    let path = directory.path().to_str().unwrap();
    let storage = json!({"storage": "1Mi"});
    for object in [
        config_map("app", &json!({"app.conf": "x"})),
        config_map("other", &json!({"other.conf": "x"})),
        secret("s", &json!({"app.conf": "x"})),
    ] {
        create(&client, "mounts", &object).await;
    }
    // Each has a directory of its own: a mount point that one pod has left would help the next.
    for name in ["writable", "read-only"] {
        let spec = json!({"accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeName": name, "resources": {"requests": storage}});
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec});
        create(&client, "mounts", &claim).await;
        let source = json!({"path": format!("{path}/{name}"), "type": "DirectoryOrCreate"});
        let spec =
            json!({"accessModes": ["ReadWriteMany"], "capacity": storage, "hostPath": source});
        create(&client, "", &json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}))
            .await;
    }

    let cases = cases(path);
    let pods: Api<Pod> = Api::namespaced(client, "mounts");
    for (number, case) in cases.iter().enumerate() {
        let pod = serde_json::from_value(case.pod(number, true)).unwrap();
        pods.create(&PostParams::default(), &pod).await.unwrap();
    }
    let mut wrong = Vec::new();
    let deadline = Instant::now() + TIMEOUT;
    for (number, case) in cases.iter().enumerate() {
        let (works, pod) = loop {
            let pod = pods.get(&format!("case-{number}")).await.unwrap();
            if let Some(works) = ended(&pod) {
                break (works, pod);
            }
            assert!(Instant::now() < deadline, "{}: {pod:#?}", case.what);
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        println!(
            "{}: {}, the webhook {}",
            case.what,
            if works { "works" } else { "fails" },
            if case.is_mounted(number) { "mounts" } else { "refuses" }
        );
        if works != case.works || case.is_mounted(number) != case.works {
            wrong.push(format!(
                "{}: {:?}",
                case.what,
                pod.status.and_then(|status| status.container_statuses)
            ));
        }
    }
    assert_eq!(wrong, [""; 0]);
}
