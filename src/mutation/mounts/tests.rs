use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::annotations;

/// Few elements, so that many paths are nested, some that sort before `/`, and the two
/// directories that a link makes one.
fn path() -> impl Strategy<Value = String> {
    let element = prop::sample::select(vec!["a", "a-b", "b", "b!", "é", "è"]);
    let root = prop::sample::select(vec!["", "", "/run", "/var/run", "/var"]);
    (root, prop::collection::vec(element, 1..4))
        .prop_map(|(root, elements)| format!("{root}/{}", elements.join("/")))
}

fn mount() -> impl Strategy<Value = Value> {
    let volume = prop::sample::select(vec!["empty", "map", "file", "image"]);
    let path = prop_oneof![9 => path(), 1 => Just("/".to_owned()), 1 => path().prop_map(|path| path[1..].to_owned())];
    (volume, path).prop_map(|(volume, path)| json!({"name": volume, "mountPath": path}))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What is looked up is what a search of all mounts finds, however many there are.
    #[test]
    fn the_first_obstacle_is_the_same_looked_up_and_searched_for(
        mounts in prop::collection::vec(mount(), 0..3 * FEW),
        added in prop::collection::vec(path(), 1..20),
        asked in prop::collection::vec((path(), any::<bool>()), 1..20),
    ) {
        let volumes = json!([
            {"name": "empty", "emptyDir": {}},
            {"name": "map", "configMap": {"name": "m"}},
            {"name": "file", "hostPath": {"type": "File"}},
            {"name": "image", "image": {}},
        ]);
        let pod = json!({"spec": {"volumes": volumes, "containers": [{"name": "c", "volumeMounts": mounts}]}}).to_string();
        let pod: Pod = serde_json::from_str(&pod).unwrap();
        let annotations: Vec<(String, String)> = added.iter().enumerate().map(|(number, path)| {
            (format!("spark-operator.k8s.io/secret.s{number}"), path.clone())
        }).collect();
        let requests = annotations::parse(annotations.iter().map(|(key, value)| (&**key, &**value)));
        let mut occupied = Occupied::new(&pod, &pod.containers()[0], &requests);
        occupied.by_path = Some(by_path(&occupied.theirs));
        for request in &requests.mounts {
            occupied.add(request);
        }
        for (path, is_file) in &asked {
            let point = MountPoint { path, is_file: *is_file, below_run: below_run(path) };
            let searched = occupied.occupants().find_map(|occupant| occupant.obstacle(point));
            let looked_up = occupied.first_obstacle(point);
            prop_assert_eq!(looked_up.map(|refusal| format!("{refusal:?}")), searched.map(|refusal| format!("{refusal:?}")));
            let searched = occupied.theirs.iter().rposition(|mounted| mounted.occupant.path == **path);
            let looked_up = occupied.at(path).and_then(|at| occupied.theirs.iter().position(|mounted| std::ptr::eq(mounted, at)));
            prop_assert_eq!(looked_up, searched);
        }
    }
}
