//! The part of a Pod that the mutation looks at, borrowed from the review, and the rule that finds
//! Spark's container.
//!
//! A Pod has hundreds of fields; this view has the few that decide something here. Everything else
//! is skipped while it is read, and nothing of it can be lost, because the answer is a patch and
//! not a Pod.
//!
//! Neither position nor name tells which container is Spark's: pod templates rename it and put
//! sidecars before it. What Spark always does is set `SPARK_DRIVER_BIND_ADDRESS` on a driver and
//! `SPARK_EXECUTOR_ID` on an executor (2.4 to 4.3, see `tests/golden/INDEX.md`), so that decides
//! first. Names and arguments are there for pods that Spark did not make itself.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::json::MAX_ELEMENTS;
use crate::text::Text;

/// A Pod, as far as it matters here. All text borrows from the review.
#[derive(Debug, Deserialize)]
pub struct Pod<'a> {
    /// `Pod`, or the object is something else.
    #[serde(borrow)]
    pub kind: Option<Text<'a>>,
    /// Name, labels and annotations.
    #[serde(borrow, default)]
    pub metadata: Metadata<'a>,
    /// Containers and volumes.
    #[serde(borrow, default)]
    pub spec: Spec<'a>,
}

/// `metadata` of a Pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// Absent while the API server has still to make it from `generate_name`.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// The prefix of a name that the API server makes.
    #[serde(borrow)]
    pub generate_name: Option<Text<'a>>,
    /// Often absent at admission; the request's namespace is the one that counts.
    #[serde(borrow)]
    pub namespace: Option<Text<'a>>,
    /// Labels, in the order of the review.
    #[serde(borrow)]
    pub labels: Option<Pairs<'a>>,
    /// Annotations, in the order of the review.
    #[serde(borrow)]
    pub annotations: Option<Pairs<'a>>,
}

/// `spec` of a Pod.
#[derive(Debug, Default, Deserialize)]
pub struct Spec<'a> {
    /// Absent in a pod without any.
    #[serde(borrow)]
    pub volumes: Option<Vec<Volume<'a>>>,
    /// Containers, without init and ephemeral ones: those are never touched.
    /// `null` in a pod without any, which the API server refuses only after it has asked us.
    #[serde(borrow)]
    pub containers: Option<Vec<Container<'a>>>,
}

/// A container of a Pod.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container<'a> {
    /// Unique in the pod.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// Arguments of the entrypoint; Spark's begin with the role.
    #[serde(borrow)]
    pub args: Option<Vec<Text<'a>>>,
    /// Environment; a name may occur more than once, and the last entry counts.
    #[serde(borrow)]
    pub env: Option<Vec<EnvVar<'a>>>,
    /// Where volumes appear in the container.
    #[serde(borrow)]
    pub volume_mounts: Option<Vec<VolumeMount<'a>>>,
    /// Where block devices appear in the container.
    #[serde(borrow)]
    pub volume_devices: Option<Vec<VolumeDevice<'a>>>,
}

impl Container<'_> {
    fn has_variable(&self, name: &str) -> bool {
        self.env.iter().flatten().any(|env| &*env.name == name)
    }
}

/// An environment variable of a container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar<'a> {
    /// The variable.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// Absent means empty, unless `value_from` is there.
    #[serde(borrow)]
    pub value: Option<Text<'a>>,
    /// There when the value comes from elsewhere.
    pub value_from: Option<IgnoredAny>,
}

/// A volume mount of a container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount<'a> {
    /// The volume.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// Where it appears, as written: `/x` and `/x/` are one place.
    #[serde(borrow)]
    pub mount_path: Text<'a>,
    /// A single path of the volume instead of all of it.
    #[serde(borrow)]
    pub sub_path: Option<Text<'a>>,
    /// The same, with variables.
    #[serde(borrow)]
    pub sub_path_expr: Option<Text<'a>>,
    /// Absent means false.
    pub read_only: Option<bool>,
}

/// A block device of a container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeDevice<'a> {
    /// Where it appears.
    #[serde(borrow)]
    pub device_path: Text<'a>,
}

/// A volume.
#[derive(Debug)]
pub struct Volume<'a> {
    /// Unique in the pod.
    pub name: Text<'a>,
    /// Where its files come from.
    pub source: VolumeSource<'a>,
}

/// The kinds of volume that decide what can be mounted above and below them.
#[derive(Debug, Default)]
pub enum VolumeSource<'a> {
    /// Files from a ConfigMap.
    ConfigMap(ConfigMapVolumeSource<'a>),
    /// Files from a Secret.
    Secret(SecretVolumeSource<'a>),
    /// Files from several sources.
    Projected(ProjectedVolumeSource<'a>),
    /// Files about the pod.
    DownwardApi(Items<'a>),
    /// A single file, socket or device of the node.
    HostFile,
    /// Nothing can be created in it: an image, or another source with `readOnly: true`.
    ReadOnly,
    /// Any other.
    #[default]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Volume<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Source {
            #[serde(default, rename = "readOnly")]
            read_only: Option<bool>,
        }
        #[derive(Deserialize)]
        struct HostPath<'a> {
            #[serde(borrow, rename = "type")]
            kind: Option<Text<'a>>,
        }
        struct VolumeVisitor;

        impl<'de> Visitor<'de> for VolumeVisitor {
            type Value = Volume<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a volume")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut name = None;
                let mut source = VolumeSource::Other;
                while let Some(key) = map.next_key::<Text>()? {
                    let found = match &*key {
                        "name" => {
                            name = Some(map.next_value()?);
                            None
                        }
                        "configMap" => map.next_value::<Option<_>>()?.map(VolumeSource::ConfigMap),
                        "secret" => map.next_value::<Option<_>>()?.map(VolumeSource::Secret),
                        "projected" => map.next_value::<Option<_>>()?.map(VolumeSource::Projected),
                        "downwardAPI" => {
                            map.next_value::<Option<_>>()?.map(VolumeSource::DownwardApi)
                        }
                        "image" => {
                            map.next_value::<Option<IgnoredAny>>()?.map(|_| VolumeSource::ReadOnly)
                        }
                        "hostPath" => {
                            let kind = map
                                .next_value::<Option<HostPath>>()?
                                .and_then(|host_path| host_path.kind);
                            let is_file = |kind: &Text| {
                                matches!(
                                    &**kind,
                                    "File"
                                        | "FileOrCreate"
                                        | "Socket"
                                        | "CharDevice"
                                        | "BlockDevice"
                                )
                            };
                            kind.filter(is_file).map(|_| VolumeSource::HostFile)
                        }
                        // The sources with a field `readOnly` of their own (core/v1 of Kubernetes
                        // 1.36).
                        "awsElasticBlockStore"
                        | "azureDisk"
                        | "azureFile"
                        | "cephfs"
                        | "cinder"
                        | "csi"
                        | "fc"
                        | "flexVolume"
                        | "gcePersistentDisk"
                        | "glusterfs"
                        | "iscsi"
                        | "nfs"
                        | "persistentVolumeClaim"
                        | "portworxVolume"
                        | "quobyte"
                        | "rbd"
                        | "scaleIO"
                        | "storageos" => {
                            let read_only = map
                                .next_value::<Option<Source>>()?
                                .and_then(|source| source.read_only);
                            (read_only == Some(true)).then_some(VolumeSource::ReadOnly)
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            None
                        }
                    };
                    source = found.unwrap_or(source);
                }
                Ok(Volume { name: name.ok_or_else(|| Error::missing_field("name"))?, source })
            }
        }

        deserializer.deserialize_struct("Volume", &[], VolumeVisitor)
    }
}

/// `configMap` of a volume.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapVolumeSource<'a> {
    /// The ConfigMap.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// Absent means false.
    pub optional: Option<bool>,
    /// Absent means 0644, which the API server fills in.
    pub default_mode: Option<i64>,
    /// Some of the keys instead of all.
    #[serde(borrow)]
    pub items: Option<Vec<KeyToPath<'a>>>,
}

/// `secret` of a volume.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretVolumeSource<'a> {
    /// The Secret.
    #[serde(borrow)]
    pub secret_name: Option<Text<'a>>,
    /// Absent means false.
    pub optional: Option<bool>,
    /// Absent means 0644, which the API server fills in.
    pub default_mode: Option<i64>,
    /// Some of the keys instead of all.
    #[serde(borrow)]
    pub items: Option<Vec<KeyToPath<'a>>>,
}

/// One key of a ConfigMap or Secret, and the file that it becomes.
#[derive(Debug, Deserialize)]
pub struct KeyToPath<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: Text<'a>,
    /// The file, relative to the mount.
    #[serde(borrow)]
    pub path: Text<'a>,
    /// Its permissions; absent means the volume's.
    pub mode: Option<i64>,
}

/// `projected` of a volume.
#[derive(Debug, Deserialize)]
pub struct ProjectedVolumeSource<'a> {
    /// The files of a later source win.
    #[serde(borrow)]
    pub sources: Option<Vec<VolumeProjection<'a>>>,
}

/// A source of a projected volume.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeProjection<'a> {
    /// Files from a ConfigMap.
    #[serde(borrow)]
    pub config_map: Option<ConfigMapVolumeSource<'a>>,
    /// Files from a Secret.
    #[serde(borrow)]
    pub secret: Option<Items<'a>>,
    /// Files about the pod.
    #[serde(borrow, rename = "downwardAPI")]
    pub downward_api: Option<Items<'a>>,
}

/// Of a source of files, those that appear in a directory of the volume.
#[derive(Debug, Default)]
pub struct Items<'a> {
    /// Their paths, relative to the volume.
    pub in_directories: Vec<Text<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Source<'a> {
            #[serde(borrow, default)]
            items: Option<Paths<'a>>,
        }
        struct Paths<'a>(Vec<Text<'a>>);
        #[derive(Deserialize)]
        struct Item<'a> {
            #[serde(borrow)]
            path: Text<'a>,
        }
        struct PathsVisitor;

        impl<'de> Visitor<'de> for PathsVisitor {
            type Value = Paths<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("items of a volume")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                // In nearly every pod there is none.
                let mut paths = Vec::new();
                while let Some(Item { path }) = items.next_element()? {
                    if path.contains('/') {
                        paths.push(path);
                    }
                }
                Ok(Paths(paths))
            }
        }

        impl<'de: 'a, 'a> Deserialize<'de> for Paths<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_seq(PathsVisitor)
            }
        }

        let Source { items } = Source::deserialize(deserializer)?;
        Ok(Self { in_directories: items.map(|Paths(paths)| paths).unwrap_or_default() })
    }
}

/// A map of strings, kept as pairs in the order in which they were written: the first
/// [`MAX_ELEMENTS`], and of the others those that tell whether the pod is ours.
#[derive(Debug, Default)]
pub struct Pairs<'a> {
    kept: Vec<(Text<'a>, Text<'a>)>,
    bytes: usize,
    is_cut: bool,
}

/// What is kept of a map however late it comes: a key, or where it ends with a slash the first key
/// that begins with it. A pod that is too large must not pass for one that is not ours.
const ALWAYS_KEPT: [&str; 5] = [
    "spark-role",
    "kubernetes.io/config.mirror",
    "spark-operator.k8s.io/injected",
    "spark-operator.k8s.io/",
    "sparkoperator.k8s.io/",
];

impl Pairs<'_> {
    /// The pairs that are kept.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.kept.iter().map(|(key, value)| (&**key, &**value))
    }

    /// How many bytes all keys and values are together, also of pairs that are not kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there are pairs that are not kept.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find_map(|(name, value)| (name == key).then_some(value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;

        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // Spark sets four labels, and a pod that asks for something has a few annotations:
                // one allocation for most.
                let mut pairs = Pairs { kept: Vec::with_capacity(8), ..Pairs::default() };
                let mut late = 0;
                while let Some((key, value)) = map.next_entry::<Text, Text>()? {
                    pairs.bytes += key.len() + value.len();
                    if pairs.kept.len() < MAX_ELEMENTS || is_kept_late(&key, &mut late) {
                        pairs.kept.push((key, value));
                    } else {
                        pairs.is_cut = true;
                    }
                }
                Ok(pairs)
            }
        }

        deserializer.deserialize_map(PairsVisitor)
    }
}

/// Whether a key is the first of those that are kept late. Which of them have come is a bit each.
#[cold]
fn is_kept_late(key: &str, come: &mut u8) -> bool {
    let is_it = |kept: &str| key == kept || kept.ends_with('/') && key.starts_with(kept);
    let bits =
        ALWAYS_KEPT.iter().enumerate().filter(|(_, kept)| is_it(kept)).map(|(index, _)| 1 << index);
    let first = bits.into_iter().find(|bit| *come & bit == 0);
    *come |= first.unwrap_or_default();
    first.is_some()
}

/// What Spark runs in a pod, from the label `spark-role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The application itself.
    Driver,
    /// A worker of an application.
    Executor,
}

impl Role {
    /// The label's value, and the first argument that Spark gives its container.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Executor => "executor",
        }
    }

    /// The variable that Spark sets itself, in exactly one container.
    #[must_use]
    pub fn mark(self) -> &'static str {
        match self {
            Self::Driver => "SPARK_DRIVER_BIND_ADDRESS",
            Self::Executor => "SPARK_EXECUTOR_ID",
        }
    }

    /// The names that Spark gives its container where no template does: `executor` up to 2.4, the
    /// long ones since.
    fn container_names(self) -> &'static [&'static str] {
        match self {
            Self::Driver => &["spark-kubernetes-driver"],
            Self::Executor => &["spark-kubernetes-executor", "executor"],
        }
    }
}

/// Why no container is Spark's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoContainer {
    /// The annotation `container` names one that the pod does not have.
    Missing,
    /// Nothing tells which of several it is.
    Ambiguous,
}

impl Pod<'_> {
    /// Driver or executor; `None` for every other pod, such as `connect-server`, `master` or
    /// `worker`.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        match self.metadata.labels.as_ref()?.get("spark-role")? {
            "driver" => Some(Role::Driver),
            "executor" => Some(Role::Executor),
            _ => None,
        }
    }

    /// Whether the kubelet made this pod from a file and only reports it: changing such a pod
    /// changes nothing that runs.
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        self.annotations().any(|(key, _)| key == "kubernetes.io/config.mirror")
    }

    /// All containers.
    #[must_use]
    pub fn containers(&self) -> &[Container<'_>] {
        self.spec.containers.as_deref().unwrap_or_default()
    }

    /// All annotations.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata.annotations.iter().flat_map(Pairs::iter)
    }

    /// Whether more than one container has the variable that Spark sets in one.
    #[must_use]
    pub fn has_several_marks(&self, role: Role) -> bool {
        self.containers()
            .iter()
            .filter(|container| container.has_variable(role.mark()))
            .nth(1)
            .is_some()
    }

    /// The index of the container in which Spark runs. `named` is the value of the annotation
    /// `container`.
    ///
    /// # Errors
    ///
    /// When no rule finds one, or `named` is needed and names none.
    pub fn spark_container(&self, role: Role, named: Option<&str>) -> Result<usize, NoContainer> {
        let containers = self.containers();
        let only = |rule: &dyn Fn(&Container) -> bool| {
            let mut found = containers.iter().enumerate().filter(|(_, container)| rule(container));
            match (found.next(), found.next()) {
                (Some((index, _)), None) => Some(index),
                _ => None,
            }
        };
        let with_name =
            |name: &str| containers.iter().position(|container| &*container.name == name);

        if let Some(index) = only(&|container| container.has_variable(role.mark())) {
            return Ok(index);
        }
        if let Some(index) = role.container_names().iter().find_map(|name| with_name(name)) {
            return Ok(index);
        }
        if let Some(name) = named {
            return with_name(name).ok_or(NoContainer::Missing);
        }
        only(&|container| {
            container.args.iter().flatten().any(|argument| &**argument == role.as_str())
        })
        .or_else(|| only(&|_| true))
        .ok_or(NoContainer::Ambiguous)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn container_of(
        role: Role,
        containers: &Value,
        named: Option<&str>,
    ) -> Result<usize, NoContainer> {
        let pod = json!({"spec": {"containers": containers}}).to_string();
        serde_json::from_str::<Pod>(&pod).unwrap().spark_container(role, named)
    }

    #[test]
    fn the_variable_that_spark_sets_decides_before_any_name() {
        let sidecar = json!({"name": "spark-kubernetes-driver"});
        let driver = json!({"name": "main", "env": [{"name": "SPARK_DRIVER_BIND_ADDRESS"}]});
        let executor =
            json!({"name": "istio-proxy", "env": [{"name": "SPARK_EXECUTOR_ID", "value": "1"}]});
        for (role, containers, expected) in [
            (Role::Driver, json!([sidecar, driver]), 1),
            (Role::Driver, json!([driver, sidecar]), 0),
            (Role::Executor, json!([{"name": "executor"}, executor]), 1),
            // A driver's mark says nothing about an executor.
            (Role::Executor, json!([driver, {"name": "executor"}]), 1),
            // Two of them decide nothing: the name does.
            (Role::Driver, json!([driver, {"name": "x", "env": driver["env"]}, sidecar]), 2),
        ] {
            assert_eq!(
                container_of(role, &containers, Some("nothing")),
                Ok(expected),
                "{containers}"
            );
        }
    }

    #[test]
    fn names_then_annotation_then_arguments_then_the_only_container() {
        let named = |name: &str| json!({"name": name});
        let with_args = |name: &str, args: &[&str]| json!({"name": name, "args": args});
        for (rule, role, containers, annotation, expected) in [
            (
                "name",
                Role::Driver,
                json!([named("a"), named("spark-kubernetes-driver")]),
                Some("a"),
                Ok(1),
            ),
            (
                "name",
                Role::Executor,
                json!([named("executor"), named("spark-kubernetes-executor")]),
                None,
                Ok(1),
            ),
            ("old name", Role::Executor, json!([named("a"), named("executor")]), None, Ok(1)),
            (
                "annotation",
                Role::Driver,
                json!([with_args("a", &["driver"]), named("b")]),
                Some("b"),
                Ok(1),
            ),
            (
                "annotation ends the search",
                Role::Driver,
                json!([named("a")]),
                Some("b"),
                Err(NoContainer::Missing),
            ),
            (
                "arguments",
                Role::Driver,
                json!([named("a"), with_args("b", &["x", "driver"])]),
                None,
                Ok(1),
            ),
            (
                "the other role",
                Role::Driver,
                json!([named("a"), with_args("b", &["executor"])]),
                None,
                Err(NoContainer::Ambiguous),
            ),
            (
                "arguments of two",
                Role::Driver,
                json!([with_args("a", &["driver"]), with_args("b", &["driver"])]),
                None,
                Err(NoContainer::Ambiguous),
            ),
            ("only", Role::Driver, json!([named("a")]), None, Ok(0)),
            (
                "several",
                Role::Driver,
                json!([named("a"), named("b")]),
                None,
                Err(NoContainer::Ambiguous),
            ),
            ("none", Role::Driver, json!([]), None, Err(NoContainer::Ambiguous)),
            ("null", Role::Driver, Value::Null, None, Err(NoContainer::Ambiguous)),
        ] {
            assert_eq!(container_of(role, &containers, annotation), expected, "{rule}");
        }
    }

    #[test]
    fn of_a_map_that_is_too_large_what_tells_whose_the_pod_is_is_kept() {
        let late = [
            "spark-operator.k8s.io/configMap.a",
            "spark-operator.k8s.io/configMap.b",
            "spark-operator.k8s.io/injected",
            "sparkoperator.k8s.io/x",
            "sparkoperator.k8s.io/y",
            "kubernetes.io/config.mirror",
            "spark-role",
            "spark-roles",
        ];
        for (before, kept) in [
            (MAX_ELEMENTS - late.len(), &late[..]),
            (MAX_ELEMENTS, &[late[0], late[2], late[3], late[5], late[6]]),
            (2 * MAX_ELEMENTS, &[late[0], late[2], late[3], late[5], late[6]]),
        ] {
            let keys =
                (0..before).map(|number| format!("a{number:05}")).chain(late.map(str::to_owned));
            let map: serde_json::Map<String, Value> = keys.map(|key| (key, json!("v"))).collect();
            let bytes: usize = map.keys().map(|key| key.len() + 1).sum();
            let text = Value::from(map).to_string();
            let pairs: Pairs = serde_json::from_str(&text).unwrap();
            let found: Vec<&str> =
                pairs.iter().map(|(key, _)| key).skip(before.min(MAX_ELEMENTS)).collect();
            assert_eq!(
                (found, pairs.is_cut(), pairs.bytes()),
                (kept.to_vec(), before + late.len() > MAX_ELEMENTS, bytes)
            );
        }
    }

    #[test]
    fn only_drivers_and_executors_have_a_role() {
        for (label, expected) in [
            ("driver", Some(Role::Driver)),
            ("executor", Some(Role::Executor)),
            ("Driver", None),
            ("connect-server", None),
            ("master", None),
            ("worker", None),
            ("cluster", None),
            ("operator", None),
        ] {
            let pod = json!({"metadata": {"labels": {"spark-role": label}}}).to_string();
            assert_eq!(serde_json::from_str::<Pod>(&pod).unwrap().role(), expected, "{label}");
        }
        assert_eq!(serde_json::from_str::<Pod>("{}").unwrap().role(), None);
    }
}
