//! Which variables Spark's container gets.
//!
//! Of several entries for one variable the kubelet takes the last, so that is the one that counts
//! here. Spark sets `SPARK_CONF_DIR=/opt/spark/conf` in every pod: the entry is replaced where it
//! stands. A pod template cannot do that, as Spark appends its own entry after the template's (seen
//! with 3.5 and 4.1).

use std::borrow::Cow;

use super::lookup::{FEW, Lookup};
use super::{Array, Edit, NewValue, Place, Plan};
use crate::json::push_string;
use crate::pod::{Container, EnvVar, VolumeMount};
use crate::request::path::cleaned;
use crate::request::{Annotation, Origin, ProblemKind, Request, Variable};
use crate::text::Excerpt;

/// A variable to set in Spark's container.
#[derive(Debug)]
pub struct NewVariable<'a> {
    name: &'a str,
    value: Cow<'a, str>,
}

impl NewVariable<'_> {
    /// As an entry of a container's `env`, in JSON.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        let Self { name, value } = self;
        bytes.extend_from_slice(br#"{"name":"#);
        push_string(bytes, &[name]);
        bytes.extend_from_slice(br#","value":"#);
        push_string(bytes, &[value]);
        bytes.push(b'}');
    }
}

/// Plans the variables of all requests that are mounted.
pub(super) fn apply<'a>(
    index: usize,
    container: &Container,
    mounted: &[&'a Request<'a>],
    plan: &mut Plan<'a>,
) {
    let array = Array::Env { container: index };
    let mut slots = slots(container, mounted);
    for request in mounted {
        let Some(Variable { name, value, can_be_overridden }) = request.variable() else {
            continue;
        };
        let Some(slot) = slots.get_mut(name) else { continue };
        match (&slot.decision, state(slot.last, &value)) {
            (Some((set_to, _)), _) if *set_to == value => {}
            (Some(_), _) if request.origin == Origin::Default => plan.defaults_overridden += 1,
            (Some((.., annotation)), _) => {
                let (name, setter) = (Excerpt::new(name, 30), annotation.excerpt(40));
                let message = format_args!("mounted, but {name} is set by {setter}");
                plan.problems.push(ProblemKind::Variable, &request.annotation, message);
            }
            // Nothing is said of the value: in a second round it may be one that a later request
            // has set.
            (None, State::SetOtherwise(_))
                if can_be_overridden && request.origin == Origin::Default =>
            {
                plan.defaults_overridden += 1;
            }
            (None, State::SetOtherwise(_)) if can_be_overridden => {
                let message = format_args!(
                    "mounted, but {} has another value and keeps it",
                    Excerpt::new(name, 30)
                );
                plan.problems.push(ProblemKind::Variable, &request.annotation, message);
            }
            (None, state) => {
                let variable = || NewValue::Variable(NewVariable { name, value: value.clone() });
                plan.edits.extend(match state {
                    State::Set => None,
                    State::SetOtherwise(index) => {
                        let place = Place::Element(array, index);
                        Some(Edit::Set { place, exists: true, value: variable() })
                    }
                    State::Unset => {
                        let exists = container.env.is_some();
                        Some(Edit::Append { array, exists, item: variable() })
                    }
                });
                slot.decision = Some((value, &request.annotation));
            }
        }
    }
}

/// A variable that requests set.
#[derive(Default)]
struct Slot<'c, 'a> {
    /// The last entry of the container for it, with its index.
    last: Option<(usize, &'c EnvVar<'c>)>,
    /// What the first request set it to.
    decision: Option<(Cow<'a, str>, &'a Annotation<'a>)>,
}

/// The variables that requests set.
fn slots<'c, 'a>(
    container: &'c Container<'c>,
    mounted: &[&'a Request<'a>],
) -> Lookup<&'a str, Slot<'c, 'a>> {
    let mut names = Vec::with_capacity(mounted.len());
    names.extend(
        mounted.iter().filter_map(|request| Some((request.variable_name()?, Slot::default()))),
    );
    let mut slots = Lookup::new(names);
    if mounted.len() <= FEW {
        slots.iter_mut().for_each(|(name, slot)| slot.last = last(container, name));
        return slots;
    }
    for (index, entry) in container.env.iter().flatten().enumerate() {
        if let Some(slot) = slots.get_mut(&entry.name) {
            slot.last = Some((index, entry));
        }
    }
    slots
}

/// The last entry of a container for a variable, with its index.
fn last<'c>(container: &'c Container<'c>, name: &str) -> Option<(usize, &'c EnvVar<'c>)> {
    container
        .env
        .as_deref()
        .unwrap_or_default()
        .iter()
        .enumerate()
        .rfind(|(_, entry)| &*entry.name == name)
}

/// Whether a default that is not enforced is left out because its variable has another value: one
/// that the pod set itself, or a request before it. Not where `env=` names the variable: then the
/// mount is of use without it.
pub(super) fn is_overridden(
    container: &Container,
    mounted: &[&Request],
    request: &Request,
) -> bool {
    let Some(Variable { name, value, can_be_overridden: false }) = request.variable() else {
        return false;
    };
    let is_set_otherwise = |other: &&Request| {
        other.variable().is_some_and(|other| other.name == name && other.value != value)
    };
    if mounted.iter().any(is_set_otherwise) {
        return true;
    }
    let last = last(container, name);
    match (state(last, &value), last) {
        (State::SetOtherwise(_), Some((_, entry))) => !is_sparks_own(container, entry),
        _ => false,
    }
}

/// The volumes with which Spark itself mounts its conf dir in a driver and in an executor (3.1 and
/// later).
const CONF_VOLUMES: [&str; 2] = ["spark-conf-volume-driver", "spark-conf-volume-exec"];

/// Whether Spark itself has set a variable, which is nobody's wish: to `/opt/spark/conf`, or to
/// where it has mounted its conf dir (`/usr/lib/spark/conf` on Amazon EMR).
fn is_sparks_own(container: &Container, entry: &EnvVar) -> bool {
    let Some(directory) = entry.value.as_deref().filter(|_| &*entry.name == "SPARK_CONF_DIR")
    else {
        return false;
    };
    let mut mounts = container.volume_mounts.iter().flatten();
    let shows_conf = |mount: &VolumeMount| {
        CONF_VOLUMES.contains(&&*mount.name) && cleaned(&mount.mount_path) == cleaned(directory)
    };
    directory == "/opt/spark/conf" || mounts.any(shows_conf)
}

/// How a variable stands in the container.
enum State {
    Set,
    /// By the entry at this index.
    SetOtherwise(usize),
    Unset,
}

/// From the last entry for the variable.
fn state(last: Option<(usize, &EnvVar)>, value: &str) -> State {
    match last {
        Some((_, entry)) if entry.value_from.is_none() && entry.value.as_deref() == Some(value) => {
            State::Set
        }
        Some((index, _)) => State::SetOtherwise(index),
        None => State::Unset,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::annotations;
    use crate::pod::Pod;
    use crate::request::{Origin, Request};
    use crate::spark::Role;

    fn planned(env: &Value, annotations: &[(&str, &str)]) -> Vec<String> {
        planned_with_defaults(env, annotations, &[]).0
    }

    /// Also how many defaults are overridden.
    fn planned_with_defaults(
        env: &Value,
        annotations: &[(&str, &str)],
        defaults: &[(&str, &str)],
    ) -> (Vec<String>, usize) {
        planned_in(&json!({"name": "spark", "env": env}), annotations, defaults)
    }

    fn planned_in(
        container: &Value,
        annotations: &[(&str, &str)],
        defaults: &[(&str, &str)],
    ) -> (Vec<String>, usize) {
        let pod = json!({"spec": {"containers": [container]}}).to_string();
        let pod: Pod = serde_json::from_str(&pod).unwrap();
        let [annotations, defaults] = [annotations, defaults].map(|annotations| -> Vec<_> {
            annotations
                .iter()
                .map(|(key, value)| (format!("spark-operator.k8s.io/{key}"), *value))
                .collect()
        });
        let mut requests =
            annotations::parse(annotations.iter().map(|(key, value)| (&**key, *value)));
        let defaults =
            annotations::parse(defaults.iter().map(|(key, value)| (&**key, *value))).mounts;
        requests.mounts.extend(
            defaults.into_iter().map(|default| Request { origin: Origin::Default, ..default }),
        );
        let plan = super::super::plan(&pod, Role::Driver, &requests);
        let env = plan.edits.iter().filter_map(|edit| match edit {
            Edit::Append { item: NewValue::Variable(NewVariable { name, value }), .. } => {
                Some(format!("append {name}={value}"))
            }
            Edit::Set {
                place: Place::Element(_, index), value: NewValue::Variable(new), ..
            } => Some(format!("replace {index} {}={}", new.name, new.value)),
            _ => None,
        });
        let planned =
            env.chain(plan.problems.iter().map(|problem| problem.text().to_owned())).collect();
        (planned, plan.defaults_overridden)
    }

    #[test]
    fn the_last_entry_of_a_variable_is_the_one_that_counts() {
        let entry = |value: &str| json!({"name": "SPARK_CONF_DIR", "value": value});
        let value_from = json!({"name": "SPARK_CONF_DIR", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}});
        let other = json!({"name": "SPARK_CONF", "value": "x"});
        for (what, env, expected) in [
            ("Spark's own", json!([entry("/opt/spark/conf")]), Some("replace 0")),
            ("two", json!([entry("/a"), other, entry("/b")]), Some("replace 2")),
            (
                "the first is right, the last is not",
                json!([entry("/etc/spark/conf"), entry("/b")]),
                Some("replace 1"),
            ),
            ("valueFrom", json!([value_from]), Some("replace 0")),
            ("no value", json!([{"name": "SPARK_CONF_DIR"}]), Some("replace 0")),
            ("no such variable", json!([other]), Some("append")),
            ("empty", json!([]), Some("append")),
            ("absent", Value::Null, Some("append")),
            ("already set", json!([entry("/b"), entry("/etc/spark/conf")]), None),
        ] {
            let expected: Vec<_> = expected
                .iter()
                .map(|how| format!("{how} SPARK_CONF_DIR=/etc/spark/conf"))
                .collect();
            assert_eq!(planned(&env, &[("sparkConfigMap", "c")]), expected, "{what}");
        }
    }

    #[test]
    fn each_kind_sets_its_variable() {
        assert_eq!(
            planned(
                &json!([]),
                &[
                    ("sparkConfigMap", "s"),
                    ("hadoopConfigMap", "h"),
                    ("GCPServiceAccount.g", "/etc/secrets/"),
                    ("configMap.c", "/c"),
                    ("secret.s", "/s"),
                ]
            ),
            [
                "append SPARK_CONF_DIR=/etc/spark/conf",
                "append HADOOP_CONF_DIR=/etc/hadoop/conf",
                "append GOOGLE_APPLICATION_CREDENTIALS=/etc/secrets/key.json",
            ]
        );
    }

    #[test]
    fn env_leaves_alone_what_the_pod_has_set_and_the_first_request_sets_it() {
        let set = |value: &str| json!([{"name": "V", "value": value}]);
        for (env, annotations, expected) in [
            (json!([]), &[("configMap.c", "/c:env=V")][..], &["append V=/c"][..]),
            (set("/c"), &[("configMap.c", "/c:env=V")], &[]),
            (
                set("/x"),
                &[("configMap.c", "/c:env=V")],
                &["configMap.c=/c:env=V: mounted, but V has another value and keeps it"],
            ),
            (
                json!([]),
                &[("configMap.c", "/c:env=V"), ("secret.s", "/s:env=V")],
                &[
                    "append V=/c",
                    "secret.s=/s:env=V: mounted, but V is set by configMap.c=/c:env=V",
                ],
            ),
            // Two that set it to the same value are of one mind.
            (
                json!([]),
                &[
                    ("hadoopConfigMap", "h"),
                    ("configMap.h", "/etc/hadoop/conf:env=HADOOP_CONF_DIR"),
                ],
                &["append HADOOP_CONF_DIR=/etc/hadoop/conf"],
            ),
            // What an annotation's own variable is, env= does not change, nor does a value of the
            // pod's stop it.
            (
                json!([{"name": "HADOOP_CONF_DIR", "value": "/x"}]),
                &[("configMap.c", "/c:env=HADOOP_CONF_DIR"), ("hadoopConfigMap", "h")],
                &[
                    "replace 0 HADOOP_CONF_DIR=/etc/hadoop/conf",
                    "configMap.c=/c:env=HADOOP_CONF_DIR: mounted, but HADOOP_CONF_DIR is set by hadoopConfigMap=h",
                ],
            ),
        ] {
            assert_eq!(planned(&env, annotations), expected);
        }
    }

    #[test]
    fn a_default_leaves_alone_a_variable_that_has_another_value_and_is_only_counted() {
        let set = |value: &str| json!([{"name": "V", "value": value}]);
        for (env, own, expected, overridden) in [
            (json!([]), &[][..], &["append V=/d"][..], 0),
            (json!([]), &[("configMap.c", "/c:env=V")], &["append V=/c"], 1),
            (set("/d"), &[], &[], 0),
            (set("/x"), &[], &[], 1),
        ] {
            let (planned, counted) =
                planned_with_defaults(&env, own, &[("configMap.d", "/d:env=V")]);
            assert_eq!(planned, expected, "{env} {own:?}");
            assert_eq!(counted, overridden, "{env} {own:?}");
        }
    }

    #[test]
    fn a_default_is_overridden_by_a_request_that_sets_its_variable_to_something_else() {
        for (own, default, expected, overridden) in [
            (
                ("GCPServiceAccount.a", "/a"),
                ("GCPServiceAccount.b", "/b"),
                &["append GOOGLE_APPLICATION_CREDENTIALS=/a/key.json"][..],
                1,
            ),
            // To the same value, by a request for the same files.
            (
                ("configMap.h", "/etc/hadoop/conf:env=HADOOP_CONF_DIR"),
                ("hadoopConfigMap", "h"),
                &["append HADOOP_CONF_DIR=/etc/hadoop/conf"],
                0,
            ),
            // Another variable.
            (
                ("sparkConfigMap", "s"),
                ("hadoopConfigMap", "h"),
                &[
                    "append SPARK_CONF_DIR=/etc/spark/conf",
                    "append HADOOP_CONF_DIR=/etc/hadoop/conf",
                ],
                0,
            ),
        ] {
            let (planned, counted) = planned_with_defaults(&json!([]), &[own], &[default]);
            assert_eq!(
                (planned, counted),
                (expected.iter().map(|&text| text.to_owned()).collect(), overridden)
            );
        }
    }

    /// Amazon EMR's images have Spark elsewhere.
    #[test]
    fn what_spark_itself_has_set_gives_way_to_a_default() {
        let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
        for (value, mounts, is_planned) in [
            ("/opt/spark/conf", json!([]), true),
            (
                "/usr/lib/spark/conf",
                json!([mount("spark-conf-volume-driver", "/usr/lib/spark/conf/")]),
                true,
            ),
            (
                "/usr/lib/spark/conf",
                json!([mount("spark-conf-volume-exec", "/usr/lib/spark/conf")]),
                true,
            ),
            ("/usr/lib/spark/conf", json!([mount("mine", "/usr/lib/spark/conf")]), false),
            (
                "/usr/lib/spark/conf",
                json!([mount("spark-conf-volume-driver", "/opt/spark/conf")]),
                false,
            ),
            ("/mine", json!([]), false),
        ] {
            let container = json!({"name": "spark", "env": [{"name": "SPARK_CONF_DIR", "value": value}], "volumeMounts": mounts});
            let (planned, overridden) =
                planned_in(&container, &[], &[("sparkConfigMap", "platform")]);
            let expected =
                if is_planned { vec!["replace 0 SPARK_CONF_DIR=/etc/spark/conf"] } else { vec![] };
            assert_eq!(
                (planned, overridden),
                (expected.into_iter().map(str::to_owned).collect(), usize::from(!is_planned)),
                "{container}"
            );
        }
    }

    /// Bug 8 of the initializer: of two it took a random one, and ignored the other without a word.
    #[test]
    fn of_two_google_accounts_the_first_by_name_is_the_variables() {
        assert_eq!(
            planned(&json!([]), &[("GCPServiceAccount.b", "/b"), ("GCPServiceAccount.a", "/a")]),
            [
                "append GOOGLE_APPLICATION_CREDENTIALS=/a/key.json",
                "GCPServiceAccount.b=/b: mounted, but GOOGLE_APPLICATION_CREDENTIALS is set by GCPServiceAccount.a=/a",
            ]
        );
    }
}
