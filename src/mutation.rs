//! What must change in a pod so that it gets what its annotations ask for.
//!
//! A plan is computed against the pod as it stands: volumes and mounts that are already there are
//! found and not made twice, so that planning for the changed pod changes nothing. The API server
//! relies on that when it asks a second time, and a pod that a template or another webhook has
//! already served is left as it is. One rule, one file.

use std::fmt::Display;

use crate::annotations::Requests;
use crate::pod::{NoContainer, Pod};
use crate::request::{Annotation, Kind, Origin, Problem, ProblemKind, Problems};
use crate::spark::Role;

mod arguments;
mod conf_dir;
mod edit;
mod env;
mod lookup;
mod mounts;
mod new_volume;
mod status;
mod volume_name;
mod volumes;

pub use edit::{Array, Edit, NewValue, Place};
pub use env::NewVariable;
pub use new_volume::{NewMount, NewVolume};

/// The changes to one pod, and what is to be said about them.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    /// The changes, in the order of the patch.
    pub edits: Vec<Edit<'a>>,
    /// What was done, as JSON: the value of the annotation `injected`, also where the pod does not
    /// get it. Absent where there is nothing to say.
    pub record: Option<String>,
    /// Errors first.
    pub problems: Problems,
    /// Of each request that is mounted, by us or already.
    pub mounted: Vec<Kind>,
    /// How many of the administrator's defaults were left out, or left a variable alone, for what
    /// the pod has or asks for.
    pub defaults_overridden: usize,
}

impl Plan<'_> {
    /// Whether the pod stays as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }
}

#[cfg(test)]
impl<'a> Plan<'a> {
    fn volumes(&self) -> Vec<&NewVolume<'a>> {
        let volume = |edit| match edit {
            &Edit::Append { item: NewValue::Volume(ref volume), .. } => Some(volume),
            _ => None,
        };
        self.edits.iter().filter_map(volume).collect()
    }

    fn mounts(&self) -> Vec<&NewMount<'a>> {
        let mount = |edit| match edit {
            &Edit::Append { item: NewValue::Mount(ref mount), .. } => Some(mount),
            _ => None,
        };
        self.edits.iter().filter_map(mount).collect()
    }

    /// Whether there are only edits of the annotation `injected`.
    fn changes_nothing_that_runs(&self) -> bool {
        let is_record = |edit: &Edit| {
            matches!(edit, Edit::Set { place: Place::Annotations | Place::Annotation(_), .. })
        };
        self.edits.iter().all(is_record)
    }
}

/// Plans the changes to a pod.
#[must_use]
pub fn plan<'a>(pod: &'a Pod<'a>, role: Role, requests: &'a Requests<'a>) -> Plan<'a> {
    let mut plan = Plan { problems: requests.problems.clone(), ..Plan::default() };
    let mut mounted = Vec::new();
    let is_enforced = || requests.mounts.iter().any(|request| request.origin == Origin::Enforced);
    if is_enforced() && pod.has_several_marks(role) {
        // A name would decide then, and a name can be chosen so that the default goes elsewhere.
        let message =
            format_args!("several containers set {}, keep it in Spark's alone", role.mark());
        plan.problems.push(
            ProblemKind::Container,
            requests.container.as_ref().unwrap_or(&CONTAINER),
            message,
        );
    } else if !requests.mounts.is_empty() {
        match pod
            .spark_container(role, requests.container.as_ref().map(|annotation| &*annotation.value))
        {
            Ok(index) => {
                if let Some(container) = pod.containers().get(index) {
                    // A volume, a mount and a variable for each, an argument and the annotation.
                    plan.edits.reserve(3 * requests.mounts.len() + 2);
                    mounted = volumes::apply(pod, index, container, requests, &mut plan);
                    env::apply(index, container, &mounted, &mut plan);
                    arguments::apply(pod, role, index, container, &mounted, &mut plan);
                }
            }
            Err(reason) => plan.problems.add(no_container(pod, requests, reason)),
        }
    }
    // Within errors and within notes the order stays that of the requests.
    plan.problems.sort();
    status::apply(pod, &mounted, &mut plan);
    plan.mounted = mounted.iter().map(|request| request.kind).collect();
    plan
}

/// Stands for the annotation where the pod does not have it.
static CONTAINER: Annotation = Annotation::new("container", "");

fn no_container(pod: &Pod, requests: &Requests, reason: NoContainer) -> Problem {
    let annotation = requests.container.as_ref().unwrap_or(&CONTAINER);
    let choice =
        pod.containers().iter().map(|container| &*container.name).collect::<Vec<_>>().join(", ");
    let error = |message: &dyn Display| Problem::new(ProblemKind::Container, annotation, message);
    match reason {
        _ if pod.containers().is_empty() => error(&"the pod has no container, nothing is mounted"),
        NoContainer::Missing => {
            error(&format_args!("the pod has no such container, write one of: {choice}"))
        }
        NoContainer::Ambiguous => error(&format_args!(
            "which container is Spark's? Write container=NAME with one of: {choice}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::annotations;

    fn problems(spec: &Value, annotations: &[(&str, &str)]) -> Vec<String> {
        let pod = json!({"spec": spec}).to_string();
        let pod: Pod = serde_json::from_str(&pod).unwrap();
        let requests = annotations::parse(annotations.iter().copied());
        let plan = plan(&pod, Role::Driver, &requests);
        assert!(plan.changes_nothing_that_runs());
        plan.problems.iter().map(|problem| problem.text().to_owned()).collect()
    }

    #[test]
    fn without_a_container_nothing_is_injected_and_the_annotation_is_named() {
        let two = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let app = ("spark-operator.k8s.io/configMap.app", "/etc/app");
        for (spec, annotations, expected) in [
            (
                &two,
                vec![app],
                "container: which container is Spark's? Write container=NAME with one of: a, b",
            ),
            (
                &two,
                vec![app, ("spark-operator.k8s.io/container", "c")],
                "container=c: the pod has no such container, write one of: a, b",
            ),
            (
                &json!({"containers": null}),
                vec![app],
                "container: the pod has no container, nothing is mounted",
            ),
        ] {
            assert_eq!(problems(spec, &annotations), [expected]);
        }
    }

    #[test]
    fn an_enforced_default_needs_a_container_that_no_name_can_change() {
        let mark = json!([{"name": "SPARK_DRIVER_BIND_ADDRESS", "value": "0"}]);
        let containers = json!([{"name": "spark-kubernetes-driver", "env": mark}, {"name": "sidecar", "env": mark}]);
        let pod = json!({"spec": {"containers": containers}}).to_string();
        let pod: Pod = serde_json::from_str(&pod).unwrap();
        let mut requests =
            annotations::parse([("spark-operator.k8s.io/configMap.app", "/etc/app")].into_iter());
        assert!(!plan(&pod, Role::Driver, &requests).is_empty());
        requests.mounts[0].origin = Origin::Enforced;
        let enforced = plan(&pod, Role::Driver, &requests);
        assert!(enforced.changes_nothing_that_runs() && enforced.problems.has_errors());
        let expected =
            "container: several containers set SPARK_DRIVER_BIND_ADDRESS, keep it in Spark's alone";
        assert_eq!(enforced.problems[0].text(), expected);
        // An executor's mark is another one.
        assert!(
            !plan(&pod, Role::Executor, &requests)
                .problems
                .iter()
                .any(|problem| problem.text() == expected)
        );
    }

    #[test]
    fn who_asks_for_no_mount_hears_nothing_about_containers() {
        assert_eq!(
            problems(&json!({"containers": []}), &[("spark-operator.k8s.io/configMap.app", "")]),
            [""; 0]
        );
    }

    #[test]
    fn a_plan_is_empty_only_where_the_pod_stays_as_it_is() {
        let volume = json!({"name": "c", "configMap": {"name": "c"}});
        let mount = json!({"name": "c", "mountPath": "/etc/spark/conf"});
        let variable = json!({"name": "SPARK_CONF_DIR", "value": "/etc/spark/conf"});
        let args = json!(["driver", "--load-spark-defaults"]);
        let pod = |volumes: &[&Value], mounts: &[&Value], env: &[&Value], args: &Value| {
            let container =
                json!({"name": "spark", "volumeMounts": mounts, "env": env, "args": args});
            let metadata = json!({"labels": {"spark-version": "4.1.2"}});
            json!({"metadata": metadata, "spec": {"volumes": volumes, "containers": [container]}})
                .to_string()
        };
        for (what, pod, is_empty) in [
            ("all is there", pod(&[&volume], &[&mount], &[&variable], &args), true),
            ("the mount is missing", pod(&[&volume], &[], &[&variable], &args), false),
            ("the variable is missing", pod(&[&volume], &[&mount], &[], &args), false),
            (
                "the argument is missing",
                pod(&[&volume], &[&mount], &[&variable], &json!(["driver"])),
                false,
            ),
        ] {
            let pod: Pod = serde_json::from_str(&pod).unwrap();
            let requests = annotations::parse(
                [("spark-operator.k8s.io/sparkConfigMap", "c:defaults")].into_iter(),
            );
            let plan = plan(&pod, Role::Driver, &requests);
            assert_eq!(*plan.problems, [], "{what}");
            let is_recorded = plan.edits.iter().any(|edit| {
                matches!(edit, Edit::Set { place: Place::Annotation(_) | Place::Annotations, .. })
            });
            assert_eq!((plan.is_empty(), is_recorded), (is_empty, !is_empty), "{what}");
        }
    }

    #[test]
    fn errors_come_before_notes() {
        let spec = json!({"containers": [{"name": "a"}]});
        let texts = problems(
            &spec,
            &[("spark-operator.k8s.io/nothing", ""), ("spark-operator.k8s.io/secret.x", "y")],
        );
        assert!(texts[0].starts_with("secret.x=y: "), "{texts:?}");
        assert!(texts[1].starts_with("nothing: "), "{texts:?}");
    }
}
