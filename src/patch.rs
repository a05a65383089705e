//! A plan as a JSON patch (RFC 6902), which the API server applies strictly: one operation that does not apply fails the
//! user's pod, whatever the failurePolicy.
//!
//! So an array that the pod does not have is made in one operation with all its elements, and where it exists elements are
//! appended and nothing is moved. The operations borrow from the plan and are written straight to bytes; `json_patch`'s own
//! types, which own every name and value, cost a multiple of that in allocations (`benches/admission.rs` shows both), and serve
//! where patches are applied: in `mutate` and in the tests.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use crate::annotations::INJECTED;
use crate::mutation::{Appended, EnvChange, InjectedChange, LOAD_SPARK_DEFAULTS, Plan};

/// Writes the operations of a plan as the bytes of a JSON patch.
///
/// # Errors
///
/// None that can happen: writing text and numbers to memory does not fail.
pub fn write(plan: &Plan) -> serde_json::Result<Vec<u8>> {
    let Plan { container, volumes, mounts, env, loads_spark_defaults, injected, record, .. } = plan;
    // A patch of five requests has about 1,400 bytes.
    let mut bytes = Vec::with_capacity(2048);
    let mut serializer = serde_json::Serializer::new(&mut bytes);
    let mut operations = serializer.serialize_seq(None)?;
    append(&mut operations, format_args!("/spec/volumes"), volumes)?;
    append(&mut operations, format_args!("/spec/containers/{container}/volumeMounts"), mounts)?;
    set_variables(&mut operations, *container, env)?;
    if *loads_spark_defaults {
        let path = Pointer(format_args!("/spec/containers/{container}/args/1"));
        operations.serialize_element(&Operation { op: "add", path, value: &LOAD_SPARK_DEFAULTS })?;
    }
    let annotation = Pointer(format_args!("{INJECTED_POINTER}"));
    match injected.zip(record.as_ref()) {
        None => {}
        Some((InjectedChange::Create, record)) => {
            let value = &BTreeMap::from([(INJECTED, record)]);
            operations.serialize_element(&Operation {
                op: "add",
                path: Pointer(format_args!("/metadata/annotations")),
                value,
            })?;
        }
        Some((change, value)) => {
            let op = if change == InjectedChange::Replace { "replace" } else { "add" };
            operations.serialize_element(&Operation { op, path: annotation, value })?;
        }
    }
    operations.end()?;
    Ok(bytes)
}

/// [`INJECTED`] in the pod, as a JSON pointer: `/` in a name is `~1`.
const INJECTED_POINTER: &str = "/metadata/annotations/spark-operator.k8s.io~1injected";

#[derive(Serialize)]
struct Operation<'a, T> {
    op: &'static str,
    path: Pointer<'a>,
    value: &'a T,
}

/// A JSON pointer, written without being built first.
#[derive(Clone, Copy)]
struct Pointer<'a>(fmt::Arguments<'a>);

impl Serialize for Pointer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

fn append<S: SerializeSeq, T: Serialize>(
    operations: &mut S,
    array: fmt::Arguments,
    appended: &Appended<T>,
) -> Result<(), S::Error> {
    let Appended { array_exists, items } = appended;
    if items.is_empty() {
        return Ok(());
    }
    if !array_exists {
        return operations.serialize_element(&Operation { op: "add", path: Pointer(array), value: items });
    }
    for value in items {
        operations.serialize_element(&Operation { op: "add", path: Pointer(format_args!("{array}/-")), value })?;
    }
    Ok(())
}

fn set_variables<S: SerializeSeq>(operations: &mut S, container: usize, env: &Appended<EnvChange>) -> Result<(), S::Error> {
    let array = format_args!("/spec/containers/{container}/env").to_string();
    if !env.array_exists {
        return append(operations, format_args!("{array}"), env);
    }
    for value in &env.items {
        match value.replaces {
            Some(index) => operations.serialize_element(&Operation {
                op: "replace",
                path: Pointer(format_args!("{array}/{index}")),
                value,
            })?,
            None => operations.serialize_element(&Operation { op: "add", path: Pointer(format_args!("{array}/-")), value })?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::annotations;
    use crate::mutation;
    use crate::pod::{Pod, Role};

    /// The pod after its patch.
    fn patched(pod: &Value) -> Value {
        let bytes = pod.to_string();
        let view: Pod = serde_json::from_str(&bytes).unwrap();
        let requests = annotations::parse(view.annotations());
        let patch = write(&mutation::plan(&view, Role::Driver, &requests)).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        let mut patched = pod.clone();
        json_patch::patch(&mut patched, &patch).unwrap();
        patched
    }

    #[test]
    fn the_pointer_is_the_annotations_key_escaped() {
        let token = json_patch::jsonptr::Token::new(annotations::INJECTED);
        assert_eq!(INJECTED_POINTER, format!("/metadata/annotations/{}", token.encoded()));
    }

    /// Bug 1 of the 2018 webhook: with an empty list and two additions, the second operation replaced what the first had made.
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
            for array in ["/spec/volumes", "/spec/containers/0/volumeMounts", "/spec/containers/0/env"] {
                assert_eq!(pod.pointer(array).unwrap().as_array().unwrap().len(), before + 2, "{what} {array}");
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
