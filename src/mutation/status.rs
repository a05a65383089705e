//! The annotation `injected`: what was done and what was not, where `kubectl describe pod` shows
//! it.
//!
//! It is compact JSON with its keys in alphabetical order and at most 4 KiB, so that it is the same
//! bytes for the same pod and never the reason why a pod's annotations grow too large.

use super::lookup::{FEW, Lookup};
use super::{Edit, NewValue, Place, Plan};
use crate::json::push_string;
use crate::pod::{Pairs, Pod};
use crate::request::{INJECTED, MAX_LISTED, ObjectKind, Problem, Problems, Request};

/// The most bytes of the annotation's value.
const MAX_BYTES: usize = 4096;

/// The most bytes of all annotations' keys and values together (`TotalAnnotationSizeLimitB` of
/// Kubernetes).
const MAX_ANNOTATIONS_BYTES: usize = 256 * 1024;

/// Plans the annotation, after everything else is planned.
pub(super) fn apply(pod: &Pod, mounted: &[&Request], plan: &mut Plan) {
    let existing =
        pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(INJECTED));
    if plan.is_empty() && plan.problems.count() == 0 && existing.is_none() {
        return;
    }
    let record = record(mounted, &plan.problems);
    let all = pod.metadata.annotations.as_ref().map_or(0, Pairs::bytes);
    let others = existing.map_or(all, |existing| all - INJECTED.len() - existing.len());
    let fits = others + INJECTED.len() + record.len() <= MAX_ANNOTATIONS_BYTES;
    let set = |place, exists, value| Some(Edit::Set { place, exists, value });
    let place = Place::Annotation(INJECTED);
    plan.edits.extend(match existing {
        None if fits && pod.metadata.annotations.is_none() => {
            set(Place::Annotations, false, NewValue::RecordUnder(INJECTED))
        }
        None if fits => set(place, false, NewValue::Record),
        // Whoever wrote it.
        Some(existing) if fits && existing != record => set(place, true, NewValue::Record),
        _ => None,
    });
    plan.record = Some(record);
}

/// A mount as `PATH=configmap/NAME` or `PATH=secret/NAME`, with `/KEY` for a single file.
fn push_mount(bytes: &mut Vec<u8>, request: &Request) {
    let kind = match request.object_kind() {
        ObjectKind::ConfigMap => "=configmap/",
        ObjectKind::Secret => "=secret/",
    };
    let (path, name) = (request.path.as_str(), request.name.as_str());
    match request.file() {
        Some(file) => push_string(bytes, &[path, kind, name, "/", file]),
        None => push_string(bytes, &[path, kind, name]),
    }
}

fn push_array<T>(bytes: &mut Vec<u8>, items: &[T], push: impl Fn(&mut Vec<u8>, &T)) {
    bytes.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        push(bytes, item);
    }
    bytes.push(b']');
}

fn record(mounted: &[&Request], problems: &Problems) -> String {
    let mut paths = (mounted.len() > FEW).then(|| Lookup::with_capacity(mounted.len()));
    let mut mounts: Vec<&Request> = Vec::with_capacity(mounted.len());
    for request in mounted {
        // Requests that share a path share a mount.
        let is_new = match &mut paths {
            Some(paths) => paths.insert(request.path.as_str(), ()),
            None => !mounts.iter().any(|other| other.path == request.path),
        };
        if is_new {
            mounts.push(request);
        }
    }
    let listed: Vec<&str> = problems.iter().take(MAX_LISTED).map(Problem::text).collect();
    // With the first so many of all: problems come after mounts, so they are the first to give way.
    let write = |kept: usize| {
        let (kept_mounts, kept_problems) =
            (kept.min(mounts.len()), kept.saturating_sub(mounts.len()));
        let more = mounts.len() + problems.count() - kept;
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(
            concat!(r#"{"by":"spark-webhook/"#, env!("CARGO_PKG_VERSION"), '"').as_bytes(),
        );
        if more > 0 {
            bytes.extend_from_slice(br#","more":"#);
            bytes.extend_from_slice(more.to_string().as_bytes());
        }
        bytes.extend_from_slice(br#","mounts":"#);
        push_array(&mut bytes, mounts.get(..kept_mounts).unwrap_or(&mounts), |bytes, request| {
            push_mount(bytes, request);
        });
        let problems = listed.get(..kept_problems).unwrap_or(&listed);
        if !problems.is_empty() {
            bytes.extend_from_slice(br#","problems":"#);
            push_array(&mut bytes, problems, |bytes, text| push_string(bytes, &[text]));
        }
        bytes.push(b'}');
        // All of it was text.
        String::from_utf8(bytes).unwrap_or_default()
    };
    let all = mounts.len() + listed.len();
    let record = write(all);
    if record.len() <= MAX_BYTES {
        return record;
    }
    // Once there is `more`, the longer the more are kept. Halving, not one by one: a pod may ask
    // for 256 mounts with paths of a kilobyte each.
    let counts: Vec<usize> = (1..all).collect();
    write(counts.partition_point(|kept| write(*kept).len() <= MAX_BYTES))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::annotations;
    use crate::request::{Annotation, ProblemKind};
    use crate::spark::Role;

    fn pod_with(annotations: &Value) -> String {
        json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "spark"}]}}).to_string()
    }

    /// Where the annotation is set, and whether there is a value.
    fn injected(plan: &Plan) -> Option<(Place<'static>, bool)> {
        plan.edits.iter().find_map(|edit| match edit {
            Edit::Set {
                place: Place::Annotations,
                exists,
                value: NewValue::RecordUnder(INJECTED),
            } => Some((Place::Annotations, *exists)),
            Edit::Set { place: Place::Annotation(INJECTED), exists, value: NewValue::Record } => {
                Some((Place::Annotation(INJECTED), *exists))
            }
            _ => None,
        })
    }

    /// How the annotation is set, and the record.
    fn planned(pod: &str) -> (Option<(Place<'static>, bool)>, Option<String>) {
        let pod: Pod = serde_json::from_str(pod).unwrap();
        let requests = annotations::parse(pod.annotations());
        let plan = super::super::plan(&pod, Role::Driver, &requests);
        (injected(&plan), plan.record)
    }

    /// The pod has no annotations at all.
    const CREATE: (Place, bool) = (Place::Annotations, false);
    /// The pod does not have it.
    const ADD: (Place, bool) = (Place::Annotation(INJECTED), false);
    /// The pod has it with another content.
    const REPLACE: (Place, bool) = (Place::Annotation(INJECTED), true);

    const BY: &str = concat!("spark-webhook/", env!("CARGO_PKG_VERSION"));

    #[test]
    fn it_says_what_is_mounted_and_what_is_not() {
        let (change, record) = planned(&pod_with(&json!({
            "spark-operator.k8s.io/sparkConfigMap": "c",
            "spark-operator.k8s.io/secret.s": "/s",
            "spark-operator.k8s.io/configMap.c": "/etc/spark/conf",
            "spark-operator.k8s.io/configMap.x": "rel",
        })));
        assert_eq!(change, Some(ADD));
        let expected = format!(
            r#"{{"by":"{BY}","mounts":["/etc/spark/conf=configmap/c","/s=secret/s"],"problems":["configMap.x=rel: the path must start with \"/\", write configMap.x=/rel"]}}"#
        );
        assert_eq!(record.unwrap(), expected);
    }

    #[test]
    fn it_is_written_when_there_is_something_to_say_and_replaced_when_it_differs() {
        let nothing = format!(r#"{{"by":"{BY}","mounts":[]}}"#);
        for (what, annotations, expected) in [
            ("nothing to say", json!({"spark-operator.k8s.io/secret.s": ""}), None),
            ("a note", json!({"spark-operator.k8s.io/typo": ""}), Some(ADD)),
            ("forged", json!({INJECTED: "all is well"}), Some(REPLACE)),
            ("right", json!({INJECTED: nothing}), None),
            (
                "forged under the other prefix",
                json!({"sparkoperator.k8s.io/injected": "x"}),
                Some(ADD),
            ),
        ] {
            assert_eq!(planned(&pod_with(&annotations)).0, expected, "{what}");
        }
    }

    #[test]
    fn at_most_20_problems_and_4_kib_problems_dropped_first() {
        let many = |count: usize, value: &str| -> Value {
            (0..count)
                .map(|i| {
                    (
                        format!("spark-operator.k8s.io/configMap.c{i:03}"),
                        json!(value.replace('#', &i.to_string())),
                    )
                })
                .collect()
        };
        let long = format!("/{}/#", "d".repeat(100));
        for (what, annotations, mounts, problems, more) in [
            ("20 problems", many(20, "x"), 0, 20, 0),
            ("21 problems", many(21, "x"), 0, 20, 1),
            ("long problems", many(20, &"\u{1}".repeat(200)), 0, 20, 0),
            ("30 mounts", many(30, &long), 30, 0, 0),
            ("40 mounts", many(40, &long), 33, 0, 7),
        ] {
            let (_, record) = planned(&pod_with(&annotations));
            let record = record.unwrap();
            assert!(record.len() <= MAX_BYTES, "{what}: {} bytes", record.len());
            let record: Value = serde_json::from_str(&record).unwrap();
            let count = |key: &str| record[key].as_array().map_or(0, Vec::len);
            assert_eq!(
                (count("mounts"), count("problems"), record["more"].as_u64().unwrap_or(0)),
                (mounts, problems, more),
                "{what}"
            );
        }
    }

    #[test]
    fn as_many_as_fit_to_the_byte_and_problems_give_way_before_mounts() {
        for (mounts, problems) in [(34, 0), (36, 0), (35, 3), (27, 25)] {
            let mut longest = 0;
            // More than the longest element, so that an end of one falls on the limit.
            for padding in 0..120 {
                let long = format!("/{}", "d".repeat(100));
                let annotations: Vec<_> = (0..mounts)
                    .map(|i| (format!("spark-operator.k8s.io/secret.s{i}"), format!("{long}/{i}")))
                    .chain([(
                        "spark-operator.k8s.io/configMap.first".to_owned(),
                        format!("/{}", "d".repeat(1 + padding)),
                    )])
                    .collect();
                let requests =
                    annotations::parse(annotations.iter().map(|(key, value)| (&**key, &**value)));
                let mounted: Vec<_> = requests.mounts.iter().collect();
                // A quotation mark takes two bytes in JSON.
                let problem =
                    Problem::new(ProblemKind::Value, &Annotation::new("key", ""), "\"".repeat(40));
                let mut listed = Problems::default();
                (0..problems).for_each(|_| listed.add(problem.clone()));
                let problems = listed;

                // One after the other is left out.
                let mut kept_mounts: Vec<_> = mounted
                    .iter()
                    .map(|request| {
                        format!(
                            "{}={}/{}",
                            request.path,
                            request.object_kind().as_str().to_lowercase(),
                            request.name
                        )
                    })
                    .collect();
                let mut kept: Vec<_> = problems.iter().take(20).map(Problem::text).collect();
                let expected = loop {
                    let more = match mounted.len() + problems.len() - kept_mounts.len() - kept.len()
                    {
                        0 => String::new(),
                        more => format!(r#""more":{more},"#),
                    };
                    let mounts = serde_json::to_string(&kept_mounts).unwrap();
                    let problems = match &*kept {
                        [] => String::new(),
                        kept => format!(r#","problems":{}"#, serde_json::to_string(kept).unwrap()),
                    };
                    let expected = format!(r#"{{"by":"{BY}",{more}"mounts":{mounts}{problems}}}"#);
                    if expected.len() <= 4096 {
                        break expected;
                    }
                    if kept.pop().is_none() {
                        kept_mounts.pop();
                    }
                };
                assert_eq!(record(&mounted, &problems), expected);
                longest = longest.max(expected.len());
            }
            assert_eq!(longest, 4096, "{mounts} mounts, {problems} problems");
        }
    }

    #[test]
    fn it_is_left_out_where_all_annotations_would_grow_too_large() {
        let record = format!(r#"{{"by":"{BY}","mounts":["/s=secret/s"]}}"#);
        let request = "spark-operator.k8s.io/secret.s/s".len();
        let room = MAX_ANNOTATIONS_BYTES - INJECTED.len() - record.len() - request - 1;
        for (size, expected) in [(room, Some(ADD)), (room + 1, None)] {
            let (change, written) = planned(&pod_with(
                &json!({"x": "y".repeat(size), "spark-operator.k8s.io/secret.s": "/s"}),
            ));
            assert_eq!((change, written), (expected, Some(record.clone())));
        }
    }

    /// What is replaced takes no room.
    #[test]
    fn it_is_replaced_where_it_fits_in_the_place_of_another() {
        let record = format!(r#"{{"by":"{BY}","mounts":["/s=secret/s"]}}"#);
        let forged = "f".repeat(10 * record.len());
        let request = "spark-operator.k8s.io/secret.s/s".len();
        let room = MAX_ANNOTATIONS_BYTES - INJECTED.len() - record.len() - request - 1;
        for (size, expected) in [(room, Some(REPLACE)), (room + 1, None)] {
            let (change, _) = planned(&pod_with(&json!({
                "x": "y".repeat(size), "spark-operator.k8s.io/secret.s": "/s", INJECTED: forged,
            })));
            assert_eq!(change, expected, "{size}");
        }
    }

    #[test]
    fn a_pod_without_annotations_gets_them_with_it() {
        for (annotations, expected) in [(Value::Null, CREATE), (json!({}), ADD)] {
            let pod = pod_with(&annotations);
            let pod: Pod = serde_json::from_str(&pod).unwrap();
            let default = [("spark-operator.k8s.io/secret.s", "/s")];
            let requests = annotations::parse(default.into_iter());
            let plan = super::super::plan(&pod, Role::Driver, &requests);
            assert_eq!(injected(&plan), Some(expected), "{annotations}");
        }
    }
}
