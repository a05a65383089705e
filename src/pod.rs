//! The part of a Pod that the mutation reads, borrowed from the review, and the rule that finds
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

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::spark::{ROLE_LABEL, Role};
use crate::text::Text;

mod pairs;
mod volume;

pub use pairs::Pairs;
pub use volume::{
    ConfigMapVolumeSource, KeyToPath, ProjectedVolumeSource, Volume, VolumeProjection, VolumeSource,
};

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
        Role::parse(self.metadata.labels.as_ref()?.get(ROLE_LABEL)?)
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
