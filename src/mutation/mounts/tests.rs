//! Where the kubelet and runc can mount something beside the mounts of a pod, case by case:
//! `tests/node/mounts.rs` shows the same on a real node.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::annotations;
use crate::mutation::{self, Plan};
use crate::request::Problem;
use crate::spark::Role;

/// A volume that Spark's container mounts: the volume's source, and the fields of the mount.
type Theirs = (Value, Value);

fn at(path: &str, source: Value) -> Theirs {
    (source, json!({"mountPath": path}))
}

/// The same, read-only.
fn read_only_at(path: &str, source: Value) -> Theirs {
    (source, json!({"mountPath": path, "readOnly": true}))
}

/// The same, but only this part of the volume.
fn part_at(path: &str, part: &str, source: Value) -> Theirs {
    (source, json!({"mountPath": path, "subPath": part}))
}

fn empty_dir() -> Value {
    json!({"emptyDir": {}})
}

fn config_map(name: &str) -> Value {
    json!({"configMap": {"name": name}})
}

/// Calls `check` with the plan for requests in the form `KEY=VALUE`, in a driver whose
/// container has these mounts, of the volumes `volume-0`, `volume-1` and so on.
fn with_plan(theirs: &[Theirs], requests: &[&str], check: impl Fn(&Plan)) {
    let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
    for (number, (source, mount)) in theirs.iter().enumerate() {
        let (mut volume, mut mount) = (source.clone(), mount.clone());
        (volume["name"], mount["name"]) =
            (json!(format!("volume-{number}")), json!(format!("volume-{number}")));
        volumes.push(volume);
        mounts.push(mount);
    }
    let device = json!({"name": "disk", "devicePath": "/dev-disk"});
    let container = json!({"name": "c", "volumeMounts": mounts, "volumeDevices": [device]});
    let pod = json!({"spec": {"volumes": volumes, "containers": [container]}}).to_string();
    let pod: Pod = serde_json::from_str(&pod).unwrap();
    let annotations: Vec<(String, &str)> = requests
        .iter()
        .map(|request| request.split_once('=').unwrap())
        .map(|(key, value)| (format!("spark-operator.k8s.io/{key}"), value))
        .collect();
    let requests = annotations::parse(annotations.iter().map(|(key, value)| (&**key, *value)));
    check(&mutation::plan(&pod, Role::Driver, &requests));
}

/// All requests are mounted, and nothing is said.
fn accepts(theirs: &[Theirs], requests: &[&str]) {
    with_plan(theirs, requests, |plan| {
        assert_eq!(*plan.problems, [], "{theirs:?} {requests:?}");
        assert_eq!(plan.mounts().len(), requests.len(), "{theirs:?} {requests:?}");
    });
}

/// The pod has the mount of the request already.
fn finds(theirs: &[Theirs], request: &str) {
    with_plan(theirs, &[request], |plan| {
        assert_eq!(*plan.problems, [], "{theirs:?} {request}");
        assert_eq!(plan.mounted.len(), 1, "{theirs:?} {request}");
        assert_eq!(plan.mounts().len(), 0, "{theirs:?} {request}");
    });
}

/// The last of the requests is not mounted, for this reason.
fn rejects(theirs: &[Theirs], requests: &[&str], reason: &str) {
    with_plan(theirs, requests, |plan| {
        let problems: Vec<&str> = plan.problems.iter().map(Problem::text).collect();
        let last = requests.last().unwrap();
        assert_eq!(problems, [format!("{last}: {reason}")], "{theirs:?}");
        assert_eq!(plan.mounts().len(), requests.len() - 1, "{theirs:?} {requests:?}");
    });
}

const DIRECTORY: &str = "secret.s=/a/b";
const FILE: &str = "secret.s=/a/b:file=k";

#[test]
fn below_a_mount_that_can_be_written_is_room_for_everything() {
    for request in [DIRECTORY, FILE] {
        accepts(&[], &[request]);
        accepts(&[at("/a", empty_dir())], &[request]);
        accepts(&[at("//a/./", empty_dir())], &[request]);
        accepts(&[part_at("/a", "part", empty_dir())], &[request]);
        accepts(&[at("/a", json!({"hostPath": {"path": "/", "type": ""}}))], &[request]);
        accepts(&[at("a", empty_dir())], &[request]);
        // Not below it.
        accepts(&[read_only_at("/a/c", empty_dir())], &[request]);
        accepts(&[read_only_at("/a/bb", empty_dir())], &[request]);
    }
}

#[test]
fn below_a_read_only_mount_is_room_for_nothing() {
    let reason = "nothing can be mounted below the read-only mount /a, write another path";
    let items = json!([{"key": "k", "path": "part/k"}]);
    for theirs in [
        read_only_at("/a", empty_dir()),
        at("/a", json!({"image": {}})),
        at("/a", json!({"persistentVolumeClaim": {"claimName": "c", "readOnly": true}})),
        // Only its items show that the part is a directory.
        part_at("/a", "part", json!({"configMap": {"name": "m", "items": items}})),
        part_at("/a", "part/", json!({"secret": {"secretName": "m", "items": items}})),
        part_at(
            "/a",
            "./part",
            json!({"projected": {"sources": [{"configMap": {"name": "m", "items": items}}]}}),
        ),
        part_at("/a", "part", json!({"downwardAPI": {"items": [{"path": "part/k"}]}})),
    ] {
        for request in [DIRECTORY, FILE] {
            rejects(std::slice::from_ref(&theirs), &[request], reason);
        }
    }
}

#[test]
fn below_a_volume_that_the_kubelet_writes_is_room_for_directories() {
    for source in [
        config_map("m"),
        json!({"secret": {"secretName": "m"}}),
        json!({"projected": {"sources": []}}),
        json!({"downwardAPI": {}}),
    ] {
        accepts(&[at("/a", source.clone())], &[DIRECTORY]);
        accepts(&[read_only_at("/a", source.clone())], &[DIRECTORY]);
        rejects(
            &[at("/a", source.clone())],
            &[FILE],
            "no file fits below /a, write another path or sparkConfigMap=NAME:merge",
        );
        rejects(
            &[at("a", source)],
            &[DIRECTORY],
            "the path of the mount at /a is relative, write it with a \"/\" or use another path",
        );
    }
}

#[test]
fn a_file_has_nothing_below_it() {
    let files = [
        part_at("/a", "k", config_map("m")),
        (config_map("m"), json!({"mountPath": "/a", "subPathExpr": "$(X)"})),
        at("/a", json!({"hostPath": {"path": "/f", "type": "File"}})),
        at("/a", json!({"hostPath": {"path": "/f", "type": "Socket"}})),
    ];
    for theirs in files {
        for request in [DIRECTORY, FILE] {
            rejects(
                std::slice::from_ref(&theirs),
                &[request],
                "nothing can be mounted below the file mount /a, write another path",
            );
        }
    }
}

#[test]
fn above_a_mount_is_room_for_a_directory_only() {
    for source in [empty_dir(), config_map("m"), json!({"image": {}})] {
        accepts(&[read_only_at("/a/b/c", source.clone())], &[DIRECTORY]);
        rejects(
            &[at("/a/b/c", source.clone())],
            &[FILE],
            "a file cannot be mounted over the mount /a/b/c, write another path",
        );
        rejects(
            &[at("a/b/c", source)],
            &[DIRECTORY],
            "the path of the mount at /a/b/c is relative, write it with a \"/\" or use another path",
        );
    }
    rejects(
        &[part_at("/a/b/c", "k", config_map("m"))],
        &[DIRECTORY],
        "a directory cannot be mounted over the file mount /a/b/c, write another path",
    );
}

#[test]
fn the_mount_that_stands_first_is_named() {
    let theirs = [at("/a", json!({"image": {}})), part_at("/a/b/c", "k", config_map("m"))];
    let reason = "nothing can be mounted below the read-only mount /a, write another path";
    rejects(&theirs, &[DIRECTORY], reason);
}

#[test]
fn run_and_var_run_are_one_directory() {
    let same = json!({"secret": {"secretName": "s"}});
    for (theirs, request, mounted, instead) in [
        (at("/run/x", empty_dir()), "secret.s=/var/run/x", "/run/x", "another path"),
        (at("/run/x", same), "secret.s=/var/run/x", "/run/x", "/run/x"),
        (at("/run/x/y", empty_dir()), "secret.s=/var/run/x", "/run/x/y", "/run/x"),
        (at("/var/run/x", empty_dir()), "secret.s=/run/x/y", "/var/run/x", "/var/run/x/y"),
        (read_only_at("/run/x", empty_dir()), "secret.s=/var/run/x/y", "/run/x", "another path"),
    ] {
        let reason = format!("/run is /var/run, where {mounted} is mounted; write {instead}");
        rejects(&[theirs], &[request], &reason);
    }
    accepts(&[at("/run/x", empty_dir())], &["secret.s=/var/run/y"]);
    accepts(&[at("/run/x", empty_dir())], &["secret.s=/var/runs/x"]);
    accepts(&[at("/running/x", empty_dir())], &["secret.s=/var/run/x"]);
}

#[test]
fn a_block_device_keeps_its_path() {
    rejects(&[], &["secret.s=/dev-disk"], "a block device has that path, write another one");
    accepts(&[], &["secret.s=/dev-disk/below"]);
}

#[test]
fn a_mount_at_the_path_is_found_if_it_shows_the_same() {
    let app = |more: Value| {
        let mut source = json!({"name": "app"});
        source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"configMap": source})
    };
    finds(&[at("/x/", config_map("app"))], "configMap.app=/x");
    finds(&[at("/x", app(json!({"defaultMode": 420})))], "configMap.app=/x");
    finds(&[at("/x", app(json!({"optional": false, "items": []})))], "configMap.app=/x");
    finds(&[at("/x", app(json!({"optional": true})))], "configMap.app=/x:optional");
    finds(&[at("/x", app(json!({"defaultMode": 288})))], "configMap.app=/x:mode=0440");
    finds(&[part_at("/x", "", config_map("app"))], "configMap.app=/x");
    finds(&[part_at("/x", "k", config_map("app"))], "configMap.app=/x:file=k");
    finds(&[at("/x", json!({"secret": {"secretName": "app"}}))], "secret.app=/x");
    let items = json!({"items": [{"key": "k", "path": "k"}]});
    finds(&[part_at("/x", "k", app(items.clone()))], "configMap.app=/x:file=k");
    // The last one is what the container sees.
    finds(&[at("/x", empty_dir()), at("/x", config_map("app"))], "configMap.app=/x");

    let expression = (config_map("app"), json!({"mountPath": "/x", "subPathExpr": "$(X)"}));
    let with_mode = json!({"items": [{"key": "k", "path": "k", "mode": 256}]});
    for (theirs, request, difference) in [
        (at("/x", app(json!({"optional": true}))), "configMap.app=/x", "optional: true"),
        (at("/x", config_map("app")), "configMap.app=/x:optional", "optional: false"),
        (at("/x", app(json!({"defaultMode": 256}))), "configMap.app=/x", "mode 0400"),
        (at("/x", config_map("app")), "configMap.app=/x:mode=0440", "mode 0644"),
        (at("/x", app(items)), "configMap.app=/x", "other items"),
        (part_at("/x", "k", app(with_mode)), "configMap.app=/x:file=k", "other items"),
        (part_at("/x", "k", config_map("app")), "configMap.app=/x", "another subPath"),
        (at("/x", config_map("app")), "configMap.app=/x:file=k", "another subPath"),
        (expression, "configMap.app=/x", "subPathExpr"),
    ] {
        let reason = format!(
            "mounted there already, but with {difference}; remove that mount or this annotation"
        );
        rejects(&[theirs], &[request], &reason);
    }
}

#[test]
fn another_volume_at_the_path_stays() {
    for theirs in [
        at("/x", empty_dir()),
        at("/x", config_map("other")),
        at("/x", json!({"secret": {"secretName": "app"}})),
    ] {
        rejects(
            &[theirs],
            &["configMap.app=/x"],
            "volume volume-0 is mounted there; remove that mount or this annotation",
        );
    }
}

#[test]
fn requests_stand_in_each_others_way_like_mounts_of_the_pod() {
    accepts(&[], &["configMap.a=/x", "secret.b=/x/y"]);
    accepts(&[], &["configMap.a=/x/y", "secret.b=/x"]);
    rejects(
        &[],
        &["configMap.a=/x", "secret.b=/x/y:file=k"],
        "no file fits below /x, write another path or sparkConfigMap=NAME:merge",
    );
    rejects(
        &[],
        &["configMap.a=/x:file=k", "secret.b=/x/y"],
        "nothing can be mounted below the file mount /x, write another path",
    );
    rejects(
        &[],
        &["configMap.a=/x", "secret.b=/x"],
        "configMap.a=/x is asked for there, write another path",
    );
    rejects(
        &[],
        &["configMap.a=/run/x", "secret.b=/var/run/x"],
        "/run is /var/run, where configMap.a=/run/x is mounted; write another path",
    );
}

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
        let mut table = MountTable::new(&pod, &pod.containers()[0], &requests);
        table.by_path = Some(by_path(&table.theirs));
        for request in &requests.mounts {
            table.add(request);
        }
        for (path, is_file) in &asked {
            let target = Target { path, is_file: *is_file, below_run: below_run(path) };
            let searched = table.points().find_map(|point| point.obstacle(target));
            let looked_up = table.first_obstacle(target);
            prop_assert_eq!(looked_up.map(|conflict| format!("{conflict:?}")), searched.map(|conflict| format!("{conflict:?}")));
            let searched = table.theirs.iter().rposition(|mounted| mounted.point.path == **path);
            let looked_up = table.at(path).and_then(|at| table.theirs.iter().position(|mounted| std::ptr::eq(mounted, at)));
            prop_assert_eq!(looked_up, searched);
        }
    }
}
