//! A plan as a JSON patch (RFC 6902), which the API server applies strictly: one operation that
//! does not apply fails the user's pod, whatever the failurePolicy.
//!
//! So an array that the pod does not have is made in one operation with all its elements, and where
//! it exists elements are appended and nothing is moved. The operations borrow from the plan and
//! are written straight to bytes; `json_patch`'s own types, which own every name and value, cost a
//! multiple of that in allocations (`benches/admission.rs` shows both), and serve where patches are
//! applied: in `mutate` and in the tests.

use std::ops::Range;

use pointer::Pointer;

use crate::json::push_string;
use crate::mutation::{Appended, InjectedChange, LOAD_SPARK_DEFAULTS, Plan};
use crate::request::INJECTED;

mod pointer;

/// Writes the operations of a plan as the bytes of a JSON patch.
#[must_use]
pub fn write(plan: &Plan) -> Vec<u8> {
    let Plan { container, volumes, mounts, env, loads_spark_defaults, injected, record, .. } = plan;
    // A patch of five requests has about 1,400 bytes.
    let mut operations = Operations { bytes: Vec::with_capacity(2048), last: 0..0 };
    operations.append(
        |pointer| pointer.name("spec").name("volumes"),
        volumes,
        |bytes, volume| volume.write(bytes),
    );
    operations.append(
        |pointer| in_container(pointer, *container).name("volumeMounts"),
        mounts,
        |bytes, mount| mount.write(bytes),
    );
    if env.array_exists {
        for change in &env.items {
            let value = |bytes: &mut Vec<u8>| change.write(bytes);
            match change.replaces {
                Some(index) => {
                    operations.add(
                        "replace",
                        |pointer| at_env(pointer, *container).index(index),
                        value,
                    );
                }
                None => operations.add(
                    "add",
                    |pointer| at_env(pointer, *container).end_of_array(),
                    value,
                ),
            }
        }
    } else {
        operations.append(
            |pointer| at_env(pointer, *container),
            env,
            |bytes, change| change.write(bytes),
        );
    }
    if *loads_spark_defaults {
        operations.add(
            "add",
            |pointer| in_container(pointer, *container).name("args").index(1),
            |bytes| push_string(bytes, &[LOAD_SPARK_DEFAULTS]),
        );
    }
    if let Some((change, record)) = injected.zip(record.as_ref()) {
        let value = |bytes: &mut Vec<u8>| push_string(bytes, &[record]);
        match change {
            InjectedChange::Create => operations.add("add", at_annotations, |bytes| {
                bytes.push(b'{');
                push_string(bytes, &[INJECTED]);
                bytes.push(b':');
                value(bytes);
                bytes.push(b'}');
            }),
            InjectedChange::Add => operations.add("add", at_injected, value),
            InjectedChange::Replace => operations.add("replace", at_injected, value),
        }
    }
    operations.finish()
}

#[inline]
fn in_container(pointer: Pointer, container: usize) -> Pointer {
    pointer.name("spec").name("containers").index(container)
}

#[inline]
fn at_env(pointer: Pointer, container: usize) -> Pointer {
    in_container(pointer, container).name("env")
}

fn at_annotations(pointer: Pointer) -> Pointer {
    pointer.name("metadata").name("annotations")
}

fn at_injected(pointer: Pointer) -> Pointer {
    at_annotations(pointer).name(INJECTED)
}

/// The array of operations, without its end.
struct Operations {
    bytes: Vec<u8>,
    /// Where the last operation is, from its first brace to its value.
    last: Range<usize>,
}

impl Operations {
    /// An operation on what a JSON pointer points at.
    fn add(
        &mut self,
        op: &str,
        at: impl FnOnce(Pointer) -> Pointer,
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        let Self { bytes, last } = self;
        bytes.push(if bytes.is_empty() { b'[' } else { b',' });
        let start = bytes.len();
        bytes.extend_from_slice(br#"{"op":""#);
        bytes.extend_from_slice(op.as_bytes());
        bytes.extend_from_slice(br#"","path":"#);
        at(Pointer::new(bytes)).finish();
        bytes.extend_from_slice(br#","value":"#);
        *last = start..bytes.len();
        value(bytes);
        bytes.push(b'}');
    }

    /// The last operation once more, with another value: its pointer need not be written again.
    fn repeat(&mut self, value: impl FnOnce(&mut Vec<u8>)) {
        let Self { bytes, last } = self;
        bytes.push(b',');
        let start = bytes.len();
        bytes.extend_from_within(last.clone());
        *last = start..bytes.len();
        value(bytes);
        bytes.push(b'}');
    }

    /// Operations that append to an array, or the one that makes it.
    fn append<T>(
        &mut self,
        at: impl Fn(Pointer) -> Pointer,
        appended: &Appended<T>,
        write: impl Fn(&mut Vec<u8>, &T),
    ) {
        let Appended { array_exists, items } = appended;
        if *array_exists {
            let mut items = items.iter();
            if let Some(item) = items.next() {
                self.add("add", |pointer| at(pointer).end_of_array(), |bytes| write(bytes, item));
            }
            for item in items {
                self.repeat(|bytes| write(bytes, item));
            }
        } else if !items.is_empty() {
            self.add("add", at, |bytes| {
                for (index, item) in items.iter().enumerate() {
                    bytes.push(if index == 0 { b'[' } else { b',' });
                    write(bytes, item);
                }
                bytes.push(b']');
            });
        }
    }

    fn finish(self) -> Vec<u8> {
        let Self { mut bytes, last: _ } = self;
        bytes.extend_from_slice(if bytes.is_empty() { b"[]" } else { b"]" });
        bytes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::annotations;
    use crate::mutation;
    use crate::pod::Pod;
    use crate::spark::Role;

    /// The pod after its patch.
    fn patched(pod: &Value) -> Value {
        let bytes = pod.to_string();
        let view: Pod = serde_json::from_str(&bytes).unwrap();
        let requests = annotations::parse(view.annotations());
        let patch = write(&mutation::plan(&view, Role::Driver, &requests));
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        let mut patched = pod.clone();
        json_patch::patch(&mut patched, &patch).unwrap();
        patched
    }

    /// Bug 1 of the 2018 webhook: with an empty list and two additions, the second operation
    /// replaced what the first had made.
    #[test]
    fn two_additions_to_an_array_that_is_absent_or_empty_or_there_both_arrive() {
        let annotations = json!({"spark-operator.k8s.io/sparkConfigMap": "s", "spark-operator.k8s.io/hadoopConfigMap": "h"});
        for (what, container, volumes) in [
            ("absent", json!({"name": "spark"}), Value::Null),
            ("empty", json!({"name": "spark", "volumeMounts": [], "env": []}), json!([])),
            (
                "there",
                json!({"name": "spark", "volumeMounts": [{"name": "x", "mountPath": "/x"}], "env": [{"name": "X", "value": "x"}]}),
                json!([{"name": "x", "emptyDir": {}}]),
            ),
        ] {
            let pod = patched(
                &json!({"metadata": {"annotations": annotations}, "spec": {"containers": [container], "volumes": volumes}}),
            );
            let before = usize::from(what == "there");
            for array in
                ["/spec/volumes", "/spec/containers/0/volumeMounts", "/spec/containers/0/env"]
            {
                assert_eq!(
                    pod.pointer(array).unwrap().as_array().unwrap().len(),
                    before + 2,
                    "{what} {array}"
                );
            }
        }
    }

    /// Bug 13 of the initializer: the variable was appended a second time.
    #[test]
    fn a_variable_that_is_there_is_replaced_in_place() {
        let pod = patched(&json!({
            "metadata": {"annotations": {"spark-operator.k8s.io/sparkConfigMap": "s"}},
            "spec": {"containers": [{"name": "spark", "env": [
                {"name": "A", "value": "1"},
                {"name": "SPARK_CONF_DIR", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
                {"name": "B", "value": "2"},
            ]}]},
        }));
        assert_eq!(
            pod["spec"]["containers"][0]["env"],
            json!([{"name": "A", "value": "1"}, {"name": "SPARK_CONF_DIR", "value": "/etc/spark/conf"}, {"name": "B", "value": "2"}])
        );
    }

    #[test]
    fn volumes_and_mounts_have_kubernetes_shape() {
        let pod = patched(&json!({
            "metadata": {"annotations": {"spark-operator.k8s.io/configMap.c": "/c", "spark-operator.k8s.io/secret.s": "/s"}},
            "spec": {"containers": [{"name": "spark"}]},
        }));
        assert_eq!(
            pod["spec"]["volumes"],
            json!([{"name": "c-volume", "configMap": {"name": "c"}}, {"name": "s-volume", "secret": {"secretName": "s"}}])
        );
        assert_eq!(
            pod["spec"]["containers"][0]["volumeMounts"],
            json!([{"name": "c-volume", "mountPath": "/c", "readOnly": true}, {"name": "s-volume", "mountPath": "/s", "readOnly": true}])
        );
    }
}
