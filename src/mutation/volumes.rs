//! Which volumes and mounts a pod gets for its requests.
//!
//! Requests are settled among themselves first, then with what the pod mounts already. Each is carried out whole or refused
//! with an error that says why; a refused one leaves nothing behind, not even its variable.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use sha2::{Digest, Sha256};

use super::Plan;
use crate::annotations::problem::Excerpt;
use crate::annotations::value::{is_below, normalize};
use crate::annotations::{Kind, Problem, Request, Requests, Source};
use crate::pod::{Container, Pod, Volume, VolumeMount};

/// A volume to append to the pod.
#[derive(Debug)]
pub struct NewVolume<'a> {
    name: Cow<'a, str>,
    source: Source,
    object: &'a str,
}

/// A mount to append to Spark's container, always read-only.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewMount<'a> {
    name: Cow<'a, str>,
    mount_path: &'a str,
    read_only: bool,
}

impl Serialize for NewVolume<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        enum Object<'a> {
            Name(&'a str),
            SecretName(&'a str),
        }
        let (source, object) = match self.source {
            Source::ConfigMap => ("configMap", Object::Name(self.object)),
            Source::Secret => ("secret", Object::SecretName(self.object)),
        };
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry(source, &object)?;
        map.end()
    }
}

/// Plans volumes and mounts, and returns the requests that are mounted, by us or already, in their order.
pub(super) fn apply<'a>(
    pod: &'a Pod<'a>,
    container: &'a Container<'a>,
    requests: &'a Requests<'a>,
    plan: &mut Plan<'a>,
) -> Vec<&'a Request<'a>> {
    plan.volumes.array_exists = pod.spec.volumes.is_some();
    plan.mounts.array_exists = container.volume_mounts.is_some();
    let occupied = Occupied::new(pod, container);
    let mut settled: Vec<Settled> = Vec::with_capacity(requests.mounts.len());
    let mut mounted = Vec::with_capacity(requests.mounts.len());
    for request in &requests.mounts {
        let refusal = match settled.iter().find(|settled| settled.request.path == request.path) {
            Some(first) if !is_same_source(first.request, request) => Some(Refusal::Taken(first.request)),
            Some(first) => first.refusal,
            None => {
                let refusal = match occupied.judge(request) {
                    Verdict::AlreadyThere => None,
                    Verdict::Free => {
                        plan_mount(pod, request, plan);
                        None
                    }
                    Verdict::Refused(refusal) => Some(refusal),
                };
                settled.push(Settled { request, refusal });
                refusal
            }
        };
        match refusal {
            None => mounted.push(request),
            Some(refusal) => plan.problems.push(Problem::error(request.annotation, refusal)),
        }
    }
    mounted
}

/// The first request for a path, and what became of it.
struct Settled<'a> {
    request: &'a Request<'a>,
    refusal: Option<Refusal<'a>>,
}

/// Why a request is not carried out.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Refusal<'a> {
    #[error("{} is asked for there, write another path", Excerpt::new(&.0.annotation.to_string(), 50))]
    Taken(&'a Request<'a>),
    #[error("volume {} is mounted there; remove that mount or this annotation", Excerpt::new(.0, 30))]
    SomethingElse(&'a str),
    #[error("mounted there already, but with {0}; remove that mount or this annotation")]
    OtherForm(&'static str),
    #[error("nothing can be mounted below the read-only mount {}, write another path", Excerpt::new(.0, 25))]
    BelowReadOnly(&'a str),
    #[error("nothing can be mounted below the file mount {}, write another path", Excerpt::new(.0, 25))]
    BelowFile(&'a str),
    #[error("a directory cannot be mounted over the file mount {}, write another path", Excerpt::new(.0, 22))]
    AboveFile(&'a str),
    #[error("a block device has that path, write another one")]
    Device,
}

enum Verdict<'a> {
    AlreadyThere,
    Free,
    Refused(Refusal<'a>),
}

fn is_same_source(a: &Request, b: &Request) -> bool {
    a.source() == b.source() && a.name == b.name
}

/// What Spark's container has mounted before anything of ours.
struct Occupied<'a> {
    container: &'a Container<'a>,
    mounts: Vec<Occupant<'a>>,
}

/// A mount, with its path normalised and its volume.
struct Occupant<'a> {
    path: Cow<'a, str>,
    mount: &'a VolumeMount<'a>,
    volume: Option<&'a Volume<'a>>,
}

impl<'a> Occupied<'a> {
    fn new(pod: &'a Pod<'a>, container: &'a Container<'a>) -> Self {
        // Looked up once: a pod may have thousands of both, and the API server sends it before it has looked at it.
        let volumes: HashMap<&str, &Volume> = pod.spec.volumes.iter().flatten().map(|volume| (&*volume.name, volume)).collect();
        let occupant = |mount: &'a VolumeMount<'a>| Occupant {
            path: normalize(&mount.mount_path),
            mount,
            volume: volumes.get(&*mount.name).copied(),
        };
        Self { container, mounts: container.volume_mounts.iter().flatten().map(occupant).collect() }
    }

    fn judge(&self, request: &Request) -> Verdict<'a> {
        let path = request.path.as_str();
        // The kernel shows the mount that was made last.
        if let Some(occupant) = self.mounts.iter().rfind(|occupant| occupant.path == path) {
            return match occupant.compare(request) {
                Comparison::Same => Verdict::AlreadyThere,
                Comparison::OtherForm(difference) => Verdict::Refused(Refusal::OtherForm(difference)),
                Comparison::SomethingElse => Verdict::Refused(Refusal::SomethingElse(&occupant.mount.name)),
            };
        }
        if self.container.volume_devices.iter().flatten().any(|device| normalize(&device.device_path) == path) {
            return Verdict::Refused(Refusal::Device);
        }
        // Mount by mount, and not rule by rule: what we append comes after what the pod had, so a second round finds the
        // same reason first, and says the same.
        self.mounts.iter().find_map(|occupant| occupant.obstacle(path)).map_or(Verdict::Free, Verdict::Refused)
    }
}

impl<'a> Occupant<'a> {
    /// Why the container could not start with a directory mounted at `path`, if this mount is the reason. Seen with runc: it
    /// cannot make the mount point in a read-only file system, nor below or instead of a file. In a ConfigMap, secret,
    /// projected or downward-API volume the kubelet makes the directory itself.
    fn obstacle(&self, path: &str) -> Option<Refusal<'a>> {
        let Self { path: mount_path, mount, volume } = self;
        let is_below_it = is_below(path, mount_path);
        let is_above_it = is_below(mount_path, path);
        if !(is_below_it || is_above_it) {
            return None;
        }
        let is_made_by_kubelet = volume.is_some_and(|volume| {
            volume.config_map.is_some() || volume.secret.is_some() || volume.projected.is_some() || volume.downward_api.is_some()
        });
        let has_sub_path = has_text(mount.sub_path.as_deref()) || has_text(mount.sub_path_expr.as_deref());
        let is_file = is_made_by_kubelet && has_sub_path;
        let is_read_only =
            !is_made_by_kubelet && (mount.read_only == Some(true) || volume.is_some_and(|volume| volume.image.is_some()));
        match (is_below_it, is_above_it) {
            (true, _) if is_file => Some(Refusal::BelowFile(&mount.mount_path)),
            (true, _) if is_read_only => Some(Refusal::BelowReadOnly(&mount.mount_path)),
            (_, true) if is_file => Some(Refusal::AboveFile(&mount.mount_path)),
            _ => None,
        }
    }

    /// Whether it shows what a request asks for.
    fn compare(&self, request: &Request) -> Comparison {
        let Self { mount, volume: Some(volume), path: _ } = self else { return Comparison::SomethingElse };
        let (name, optional, default_mode, items) = match (&volume.config_map, &volume.secret) {
            (Some(source), _) if request.source() == Source::ConfigMap => {
                (&source.name, source.optional, source.default_mode, &source.items)
            }
            (_, Some(source)) if request.source() == Source::Secret => {
                (&source.secret_name, source.optional, source.default_mode, &source.items)
            }
            _ => return Comparison::SomethingElse,
        };
        if name.as_deref() != Some(request.name.as_str()) {
            Comparison::SomethingElse
        } else if has_text(mount.sub_path_expr.as_deref()) {
            Comparison::OtherForm("subPathExpr")
        } else if has_text(mount.sub_path.as_deref()) {
            Comparison::OtherForm("subPath")
        } else if items.as_ref().is_some_and(|items| !items.is_empty()) {
            Comparison::OtherForm("items")
        } else if optional == Some(true) {
            Comparison::OtherForm("optional: true")
        } else if default_mode.is_some_and(|mode| mode != DEFAULT_MODE) {
            Comparison::OtherForm("another defaultMode")
        } else {
            Comparison::Same
        }
    }
}

/// The mode that the API server fills in where none is given.
const DEFAULT_MODE: i64 = 0o644;

enum Comparison {
    Same,
    /// The same object, with something that the request does not have.
    OtherForm(&'static str),
    SomethingElse,
}

fn has_text(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

fn plan_mount<'a>(pod: &Pod, request: &'a Request<'a>, plan: &mut Plan<'a>) {
    let theirs = pod.spec.volumes.iter().flatten().map(|volume| &*volume.name);
    let ours = plan.volumes.items.iter().map(|volume| &*volume.name);
    let name = volume_name(request, theirs.chain(ours));
    plan.volumes.items.push(NewVolume { name: name.clone(), source: request.source(), object: request.name.as_str() });
    plan.mounts.items.push(NewMount { name, mount_path: request.path.as_str(), read_only: true });
}

/// The most characters of a volume's name, a DNS-1123 label.
const MAX_LABEL: usize = 63;

/// The initializer's name for the volume if a volume can have it and none has; otherwise one that holds a hash.
fn volume_name<'a, 'n>(request: &Request<'a>, taken: impl Iterator<Item = &'n str> + Clone) -> Cow<'a, str> {
    let preferred = match request.kind {
        Kind::SparkConfigMap => Cow::Borrowed("spark-config-map-volume"),
        Kind::HadoopConfigMap => Cow::Borrowed("hadoop-config-map-volume"),
        Kind::GcpServiceAccount => Cow::Borrowed("gcp-service-account-secret-volume"),
        Kind::ConfigMap | Kind::Secret | Kind::HadoopDelegationToken => Cow::Owned(format!("{}-volume", request.name)),
    };
    // The name is a DNS-1123 subdomain: without dots and not too long it is a label.
    let is_label = preferred.len() <= MAX_LABEL && !preferred.contains('.');
    if is_label && taken.clone().all(|name| name != preferred) {
        return preferred;
    }
    let digest = Sha256::digest(format!("{}/{}:", request.source().kind(), request.name));
    let mut hash = String::with_capacity(8);
    for byte in digest.iter().take(4) {
        // Writing to a String cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    // A pod may have thousands of volumes named so that many numbers are taken: look each up, do not search for it.
    let taken: HashSet<&str> = taken.filter(|name| name.contains(&hash)).collect();
    let stem = preferred.replace('.', "-");
    let mut number = 1;
    loop {
        let suffix = if number == 1 { hash.clone() } else { format!("{hash}-{number}") };
        let stem = stem.get(..MAX_LABEL - 1 - suffix.len()).unwrap_or(&stem);
        let name = format!("{}-{suffix}", stem.trim_matches('-'));
        if !taken.contains(&*name) {
            return Cow::Owned(name);
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::annotations;
    use crate::pod::Role;

    /// What a pod with one container gets: `name source object @path` for each, then the problems.
    fn planned(spec: &Value, annotations: &[(&str, &str)]) -> Vec<String> {
        let pod = json!({"spec": spec}).to_string();
        let pod: Pod = serde_json::from_str(&pod).unwrap();
        let annotations: Vec<_> =
            annotations.iter().map(|(key, value)| (format!("spark-operator.k8s.io/{key}"), *value)).collect();
        let requests = annotations::parse(annotations.iter().map(|(key, value)| (&**key, *value)));
        let plan = super::super::plan(&pod, Role::Driver, &requests);
        let mounts = plan.volumes.items.iter().zip(&plan.mounts.items).map(|(volume, mount)| {
            assert_eq!(volume.name, mount.name);
            assert!(mount.read_only);
            format!("{} {}/{} @{}", volume.name, volume.source.kind(), volume.object, mount.mount_path)
        });
        mounts.chain(plan.problems.iter().map(|problem| problem.text().to_owned())).collect()
    }

    fn plain() -> Value {
        json!({"containers": [{"name": "spark"}]})
    }

    fn mounting(volume: &Value, mount: &Value) -> Value {
        json!({"volumes": [volume], "containers": [{"name": "spark", "volumeMounts": [mount]}]})
    }

    #[test]
    fn volumes_have_the_initializers_names() {
        assert_eq!(
            planned(
                &plain(),
                &[
                    ("sparkConfigMap", "spark-config-map"),
                    ("hadoopConfigMap", "hadoop-config-map"),
                    ("GCPServiceAccount.gcp-service-account", "/etc/secrets"),
                    ("configMap.foo", "/path/to/foo"),
                    ("secret.bar", "/path/to/bar"),
                ]
            ),
            [
                "spark-config-map-volume ConfigMap/spark-config-map @/etc/spark/conf",
                "hadoop-config-map-volume ConfigMap/hadoop-config-map @/etc/hadoop/conf",
                "foo-volume ConfigMap/foo @/path/to/foo",
                "bar-volume Secret/bar @/path/to/bar",
                "gcp-service-account-secret-volume Secret/gcp-service-account @/etc/secrets",
            ]
        );
    }

    /// Bugs 10 and 11 of the initializer: `a.b-volume` is no label, and a ConfigMap and a Secret of one name clashed.
    #[test]
    fn names_that_are_no_label_or_not_free_hold_a_hash() {
        let long = "generated-config-name-generated-config-name-generated";
        let taken = json!({"volumes": [{"name": "app-volume", "emptyDir": {}}], "containers": [{"name": "spark"}]});
        for (spec, annotations, expected) in [
            (
                plain(),
                vec![("configMap.more.dotted.name", "/m")],
                vec!["more-dotted-name-volume-0741628c ConfigMap/more.dotted.name @/m"],
            ),
            (
                plain(),
                vec![("configMap.dup", "/a"), ("secret.dup", "/b")],
                vec!["dup-volume ConfigMap/dup @/a", "dup-volume-249637ce Secret/dup @/b"],
            ),
            (taken, vec![("configMap.app", "/a")], vec!["app-volume-60f84179 ConfigMap/app @/a"]),
            (
                plain(),
                vec![("GCPServiceAccount.a", "/a"), ("GCPServiceAccount.b", "/b")],
                vec![
                    "gcp-service-account-secret-volume Secret/a @/a",
                    "gcp-service-account-secret-volume-e308d1b7 Secret/b @/b",
                    "GCPServiceAccount.b=/b: mounted, but GOOGLE_APPLICATION_CREDENTIALS is set by GCPServiceAccount.a=/a",
                ],
            ),
            (
                plain(),
                vec![("configMap.generated-config-name-generated-config-name-generated", "/a")],
                vec![
                    "generated-config-name-generated-config-name-generated-volume ConfigMap/generated-config-name-generated-config-name-generated @/a",
                ],
            ),
        ] {
            assert_eq!(planned(&spec, &annotations), expected, "{annotations:?}");
        }
        let request = |name: &'static str| {
            let key = format!("spark-operator.k8s.io/configMap.{name}").leak();
            annotations::parse([(&*key, "/a")].into_iter()).mounts.remove(0)
        };
        // However many are taken, a name stays a label.
        let mut names: Vec<String> = Vec::new();
        for _ in 0..12 {
            let preferred = format!("{long}-volume");
            let name = volume_name(&request(long), names.iter().map(String::as_str).chain([&*preferred])).into_owned();
            assert!(name.len() <= MAX_LABEL && !name.starts_with('-'), "{name}");
            names.push(name);
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 12);
    }

    #[test]
    fn each_request_has_a_volume_of_its_own_even_for_one_object() {
        assert_eq!(
            planned(&plain(), &[("sparkConfigMap", "c"), ("hadoopConfigMap", "c"), ("configMap.c", "/c")]),
            [
                "spark-config-map-volume ConfigMap/c @/etc/spark/conf",
                "hadoop-config-map-volume ConfigMap/c @/etc/hadoop/conf",
                "c-volume ConfigMap/c @/c",
            ]
        );
    }

    #[test]
    fn one_path_is_mounted_once() {
        for (annotations, expected) in [
            // The same source: one mount serves both.
            (
                vec![("sparkConfigMap", "c"), ("configMap.c", "/etc/spark/conf/")],
                vec!["spark-config-map-volume ConfigMap/c @/etc/spark/conf"],
            ),
            // Another source: the first in order wins.
            (
                vec![("configMap.dup", "/same"), ("secret.dup", "/same/")],
                vec![
                    "dup-volume ConfigMap/dup @/same",
                    "secret.dup=/same/: configMap.dup=/same is asked for there, write another path",
                ],
            ),
        ] {
            assert_eq!(planned(&plain(), &annotations), expected);
        }
    }

    #[test]
    fn what_the_pod_mounts_already_is_not_mounted_again() {
        let app = [("configMap.app", "/etc/app")];
        let mount = json!({"name": "v", "mountPath": "/etc/app/"});
        for (what, volume) in [
            ("plain", json!({"name": "v", "configMap": {"name": "app"}})),
            ("defaulted", json!({"name": "v", "configMap": {"name": "app", "defaultMode": 420, "optional": false, "items": []}})),
        ] {
            assert!(planned(&mounting(&volume, &mount), &app).is_empty(), "{what}");
        }
        let secret = json!({"name": "v", "secret": {"secretName": "s", "defaultMode": 420}});
        assert!(planned(&mounting(&secret, &mount), &[("secret.s", "/etc/app")]).is_empty());
    }

    #[test]
    fn the_same_object_in_another_form_is_an_error_that_names_the_difference() {
        let volume = |extra: &str, value: Value| json!({"name": "v", "configMap": {"name": "app", extra: value}});
        let mount = |extra: &str, value: &str| json!({"name": "v", "mountPath": "/etc/app", extra: value});
        for (volume, mount, difference) in [
            (volume("optional", json!(true)), mount("subPath", ""), "optional: true"),
            (volume("defaultMode", json!(256)), mount("subPath", ""), "another defaultMode"),
            (volume("items", json!([{"key": "a", "path": "a"}])), mount("subPath", ""), "items"),
            (volume("optional", json!(false)), mount("subPath", "a"), "subPath"),
            (volume("optional", json!(false)), mount("subPathExpr", "$(A)"), "subPathExpr"),
        ] {
            let expected = format!(
                "configMap.app=/etc/app: mounted there already, but with {difference}; remove that mount or this annotation"
            );
            assert_eq!(planned(&mounting(&volume, &mount), &[("configMap.app", "/etc/app")]), [expected]);
        }
    }

    #[test]
    fn a_path_that_holds_something_else_refuses_the_whole_request() {
        let mount = json!({"name": "v", "mountPath": "/etc/hadoop/conf"});
        for volume in [
            json!({"name": "v", "configMap": {"name": "other"}}),
            json!({"name": "v", "secret": {"secretName": "hadoop-conf"}}),
            json!({"name": "v", "nfs": {"server": "s", "path": "/"}}),
            json!({"name": "another", "configMap": {"name": "hadoop-conf"}}),
        ] {
            assert_eq!(
                planned(&mounting(&volume, &mount), &[("hadoopConfigMap", "hadoop-conf")]),
                ["hadoopConfigMap=hadoop-conf: volume v is mounted there; remove that mount or this annotation"],
                "{volume}"
            );
        }
    }

    #[test]
    fn the_last_of_several_mounts_at_a_path_counts() {
        let spec = json!({
            "volumes": [{"name": "a", "configMap": {"name": "app"}}, {"name": "b", "emptyDir": {}}],
            "containers": [{"name": "spark", "volumeMounts": [{"name": "a", "mountPath": "/x"}, {"name": "b", "mountPath": "/x/"}]}],
        });
        assert_eq!(
            planned(&spec, &[("configMap.app", "/x")]),
            ["configMap.app=/x: volume b is mounted there; remove that mount or this annotation"]
        );
    }

    #[test]
    fn a_refused_path_refuses_every_request_for_it() {
        let spec = mounting(&json!({"name": "v", "emptyDir": {}}), &json!({"name": "v", "mountPath": "/etc/spark/conf"}));
        let expected = "volume v is mounted there; remove that mount or this annotation";
        assert_eq!(
            planned(&spec, &[("sparkConfigMap", "c"), ("configMap.c", "/etc/spark/conf")]),
            [format!("sparkConfigMap=c: {expected}"), format!("configMap.c=/etc/spark/conf: {expected}")]
        );
    }

    #[test]
    fn a_mount_point_must_be_possible() {
        let config_map = json!({"name": "v", "configMap": {"name": "x"}});
        let empty_dir = json!({"name": "v", "emptyDir": {}});
        let image = json!({"name": "v", "image": {"reference": "r"}});
        let at = |path: &str| json!({"name": "v", "mountPath": path});
        let read_only = |path: &str| json!({"name": "v", "mountPath": path, "readOnly": true});
        let file = |path: &str| json!({"name": "v", "mountPath": path, "subPath": "f"});
        for (volume, mount, refusal) in [
            (&config_map, at("/a"), None),
            (&config_map, read_only("/a"), None),
            (&empty_dir, at("/a"), None),
            (&empty_dir, read_only("/ab"), None),
            (&empty_dir, read_only("/a"), Some("nothing can be mounted below the read-only mount /a, write another path")),
            (&image, at("/a"), Some("nothing can be mounted below the read-only mount /a, write another path")),
            (&config_map, file("/a"), Some("nothing can be mounted below the file mount /a, write another path")),
            (&config_map, file("/a/b/c"), Some("a directory cannot be mounted over the file mount /a/b/c, write another path")),
            (&empty_dir, file("/a"), None),
            (&empty_dir, read_only("/a/b/c"), None),
        ] {
            let expected = match refusal {
                Some(refusal) => format!("configMap.app=/a/b: {refusal}"),
                None => "app-volume ConfigMap/app @/a/b".to_owned(),
            };
            assert_eq!(planned(&mounting(volume, &mount), &[("configMap.app", "/a/b")]), [expected], "{volume} {mount}");
        }
        let device = json!({"containers": [{"name": "spark", "volumeDevices": [{"name": "d", "devicePath": "/a/b/"}]}]});
        assert_eq!(
            planned(&device, &[("configMap.app", "/a/b")]),
            ["configMap.app=/a/b: a block device has that path, write another one"]
        );
    }
}
