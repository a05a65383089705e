use serde_json::{Value, json};

use super::*;
use crate::annotations;
use crate::spark::Role;

mod mount_points;
mod names;
mod places;

fn written(write: impl Fn(&mut Vec<u8>)) -> Value {
    let mut bytes = Vec::new();
    write(&mut bytes);
    serde_json::from_slice(&bytes).unwrap()
}

/// What a pod with one container gets: `name source object @path` for each, then the problems.
fn planned(spec: &Value, annotations: &[(&str, &str)]) -> Vec<String> {
    planned_with_defaults(spec, annotations, &[]).0
}

/// Also how many requests are mounted, and how many defaults are overridden.
fn planned_with_defaults(
    spec: &Value,
    own: &[(&str, &str)],
    defaults: &[(&str, &str)],
) -> (Vec<String>, usize, usize) {
    let pod = json!({"spec": spec}).to_string();
    let pod: Pod = serde_json::from_str(&pod).unwrap();
    let [own, defaults] = [own, defaults].map(|annotations| -> Vec<_> {
        annotations
            .iter()
            .map(|(key, value)| (format!("spark-operator.k8s.io/{key}"), *value))
            .collect()
    });
    let mut requests = annotations::parse(own.iter().map(|(key, value)| (&**key, *value)));
    let defaults = annotations::parse(defaults.iter().map(|(key, value)| (&**key, *value))).mounts;
    requests
        .mounts
        .extend(defaults.into_iter().map(|default| Request { origin: Origin::Default, ..default }));
    let plan = crate::mutation::plan(&pod, Role::Driver, &requests);
    let mounts = plan.volumes().into_iter().zip(plan.mounts()).map(|(volume, mount)| {
        assert_eq!(volume.name, mount.name);
        let json = written(|bytes| volume.write(bytes));
        let (kind, object) = match (&json["configMap"]["name"], &json["secret"]["secretName"]) {
            (Value::String(name), _) => ("ConfigMap", name.clone()),
            (_, Value::String(name)) => ("Secret", name.clone()),
            _ => ("projected", json["projected"]["sources"].to_string()),
        };
        let sub_path =
            mount.sub_path.map_or(String::new(), |sub_path| format!(" subPath {sub_path}"));
        format!("{} {kind}/{object} @{}{sub_path}", volume.name, mount.mount_path)
    });
    let planned =
        mounts.chain(plan.problems.iter().map(|problem| problem.text().to_owned())).collect();
    (planned, plan.mounted.len(), plan.defaults_overridden)
}

fn plain() -> Value {
    json!({"containers": [{"name": "spark"}]})
}

fn mounting(volume: &Value, mount: &Value) -> Value {
    json!({"volumes": [volume], "containers": [{"name": "spark", "volumeMounts": [mount]}]})
}
