//! A plan as a JSON patch (RFC 6902), which the API server applies strictly: one operation that
//! does not apply fails the user's pod, whatever the failurePolicy.
//!
//! So an array that the pod does not have is made in one operation with all its elements, and where
//! it exists elements are appended and nothing is moved. The operations borrow from the plan and
//! are written straight to bytes; `json_patch`'s own types, which own every name and value, cost a
//! multiple of that in allocations (`benches/admission.rs` shows both), and serve where patches are
//! applied: in `mutate` and in the tests.

use std::ops::Range;

use pointer::{Fields, Pointer};

use crate::json::push_string;
use crate::mutation::{Array, Edit, NewValue, Place, Plan};

mod pointer;

/// Writes the edits of a plan as the bytes of a JSON patch.
#[must_use]
pub fn write(plan: &Plan) -> Vec<u8> {
    let Plan { edits, record, problems: _, mounted: _, defaults_overridden: _ } = plan;
    let record = record.as_deref().unwrap_or_default();
    // A patch of five requests has about 1,400 bytes.
    let mut operations = Operations { bytes: Vec::with_capacity(2048), head: 0..0, array: None };
    for (number, edit) in edits.iter().enumerate() {
        match edit {
            Edit::Set { place, exists, value } => operations.push(
                if *exists { "replace" } else { "add" },
                |pointer| at(pointer, *place),
                |bytes| write_value(value, record, bytes),
            ),
            Edit::Insert { array, index, item } => operations.push(
                "add",
                |pointer| at(pointer, Place::Element(*array, *index)),
                |bytes| write_value(item, record, bytes),
            ),
            Edit::Append { array, exists: true, item } => {
                operations.append(*array, |bytes| write_value(item, record, bytes));
            }
            Edit::Append { array, exists: false, item: _ } => {
                let (before, from_here) = edits.split_at_checked(number).unwrap_or_default();
                // The first one has created the array with all items.
                if appended(before, *array).next_back().is_none() {
                    let items = appended(from_here, *array);
                    operations.push(
                        "add",
                        |pointer| in_array(pointer, *array),
                        |bytes| write_array(items, record, bytes),
                    );
                }
            }
        }
    }
    operations.finish()
}

/// The items that edits append to an array.
fn appended<'p, 'a>(
    edits: &'p [Edit<'a>],
    array: Array,
) -> impl DoubleEndedIterator<Item = &'p NewValue<'a>> {
    edits.iter().filter_map(move |edit| match edit {
        Edit::Append { array: other, exists: _, item } => (*other == array).then_some(item),
        Edit::Set { .. } | Edit::Insert { .. } => None,
    })
}

fn at<'b>(pointer: Pointer<'b>, place: Place) -> Pointer<'b> {
    let annotations =
        |pointer: Pointer<'b>| pointer.fields(const { Fields::new("/metadata/annotations") });
    match place {
        Place::Annotations => annotations(pointer),
        Place::Annotation(key) => annotations(pointer).name(key),
        Place::Element(array, index) => in_array(pointer, array).index(index),
    }
}

fn in_array(pointer: Pointer, array: Array) -> Pointer {
    let (container, fields) = match array {
        Array::Volumes => return pointer.fields(const { Fields::new("/spec/volumes") }),
        Array::VolumeMounts { container } => (container, const { Fields::new("/volumeMounts") }),
        Array::Env { container } => (container, const { Fields::new("/env") }),
        Array::Args { container } => (container, const { Fields::new("/args") }),
    };
    pointer.fields(const { Fields::new("/spec/containers") }).index(container).fields(fields)
}

fn write_array<'p, 'a: 'p>(
    items: impl Iterator<Item = &'p NewValue<'a>>,
    record: &str,
    bytes: &mut Vec<u8>,
) {
    for (index, item) in items.enumerate() {
        bytes.push(if index == 0 { b'[' } else { b',' });
        write_value(item, record, bytes);
    }
    bytes.push(b']');
}

fn write_value(value: &NewValue, record: &str, bytes: &mut Vec<u8>) {
    match value {
        NewValue::Volume(volume) => volume.write(bytes),
        NewValue::Mount(mount) => mount.write(bytes),
        NewValue::Variable(variable) => variable.write(bytes),
        NewValue::Text(text) => push_string(bytes, &[text]),
        NewValue::Record => push_string(bytes, &[record]),
        NewValue::RecordUnder(key) => {
            bytes.push(b'{');
            push_string(bytes, &[key]);
            bytes.push(b':');
            push_string(bytes, &[record]);
            bytes.push(b'}');
        }
    }
}

/// The array of operations, without its end.
struct Operations {
    bytes: Vec<u8>,
    /// Where the last operation is, from its brace to its value.
    head: Range<usize>,
    /// The array that the last operation appends to, if it does.
    array: Option<Array>,
}

impl Operations {
    /// An operation at the place of a pointer.
    fn push(
        &mut self,
        op: &str,
        at: impl FnOnce(Pointer) -> Pointer,
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        let Self { bytes, head, array } = self;
        bytes.push(if bytes.is_empty() { b'[' } else { b',' });
        let start = bytes.len();
        bytes.extend_from_slice(br#"{"op":""#);
        bytes.extend_from_slice(op.as_bytes());
        bytes.extend_from_slice(br#"","path":"#);
        at(Pointer::new(bytes)).finish();
        bytes.extend_from_slice(br#","value":"#);
        (*head, *array) = (start..bytes.len(), None);
        value(bytes);
        bytes.push(b'}');
    }

    /// An operation that appends to an array. After another one for the array, it is a copy but for
    /// its value: a pod gets several volumes, mounts and variables.
    fn append(&mut self, to: Array, value: impl FnOnce(&mut Vec<u8>)) {
        let Self { bytes, head, array } = self;
        if *array == Some(to) {
            bytes.push(b',');
            bytes.extend_from_within(head.clone());
            value(bytes);
            bytes.push(b'}');
        } else {
            self.push("add", |pointer| in_array(pointer, to).end_of_array(), value);
            self.array = Some(to);
        }
    }

    fn finish(self) -> Vec<u8> {
        let Self { mut bytes, head: _, array: _ } = self;
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

    /// Whatever else is between them.
    #[test]
    fn an_absent_array_is_created_once_with_all_its_items() {
        let append =
            |array, exists, item| Edit::Append { array, exists, item: NewValue::Text(item) };
        let [first, second] = [0, 1].map(|container| Array::Args { container });
        let (env, volumes) = (Array::Env { container: 10 }, Array::Volumes);
        let edits = vec![
            append(first, false, "a"),
            append(second, false, "b"),
            append(env, true, "c"),
            append(first, false, "d"),
            append(volumes, false, "e"),
            append(env, true, "f"),
            append(first, false, "g"),
        ];
        let patch = write(&Plan { edits, ..Plan::default() });
        let operation =
            |path: &str, value: Value| json!({"op": "add", "path": path, "value": value});
        assert_eq!(
            serde_json::from_slice::<Value>(&patch).unwrap(),
            json!([
                operation("/spec/containers/0/args", json!(["a", "d", "g"])),
                operation("/spec/containers/1/args", json!(["b"])),
                operation("/spec/containers/10/env/-", json!("c")),
                operation("/spec/volumes", json!(["e"])),
                operation("/spec/containers/10/env/-", json!("f")),
            ])
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
