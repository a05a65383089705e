//! Whether there can be a mount point.

use serde_json::json;

use super::*;

#[test]
fn a_file_has_mount_points_of_its_own() {
    let config_map = json!({"name": "v", "configMap": {"name": "x"}});
    let empty_dir = json!({"name": "v", "emptyDir": {}});
    let at = |path: &str| json!({"name": "v", "mountPath": path});
    for (volume, mount, conflict) in [
        (&empty_dir, at("/a"), None),
        (&config_map, at("/ab"), None),
        (
            &config_map,
            at("/a"),
            Some("no file fits below /a, write another path or sparkConfigMap=NAME:merge"),
        ),
        (
            &empty_dir,
            at("/a/b/c"),
            Some("a file cannot be mounted over the mount /a/b/c, write another path"),
        ),
    ] {
        let expected = match conflict {
            Some(conflict) => format!("configMap.app=/a/b:file=b: {conflict}"),
            None => "app-volume ConfigMap/app @/a/b subPath b".to_owned(),
        };
        assert_eq!(
            planned(&mounting(volume, &mount), &[("configMap.app", "/a/b:file=b")]),
            [expected],
            "{volume} {mount}"
        );
    }
    // Requests that were accepted before count like mounts of the pod.
    assert_eq!(
        planned(
            &plain(),
            &[("configMap.a", "/a"), ("configMap.b", "/a/b:file=b"), ("configMap.c", "/a/c")]
        ),
        [
            "a-volume ConfigMap/a @/a",
            "c-volume ConfigMap/c @/a/c",
            "configMap.b=/a/b:file=b: no file fits below /a, write another path or sparkConfigMap=NAME:merge",
        ]
    );
}

#[test]
fn a_mount_point_must_be_possible() {
    let config_map = json!({"name": "v", "configMap": {"name": "x"}});
    let empty_dir = json!({"name": "v", "emptyDir": {}});
    let image = json!({"name": "v", "image": {"reference": "r"}});
    let at = |path: &str| json!({"name": "v", "mountPath": path});
    let read_only = |path: &str| json!({"name": "v", "mountPath": path, "readOnly": true});
    let file = |path: &str| json!({"name": "v", "mountPath": path, "subPath": "f"});
    for (volume, mount, conflict) in [
        (&config_map, at("/a"), None),
        (&config_map, read_only("/a"), None),
        (&empty_dir, at("/a"), None),
        (&empty_dir, read_only("/ab"), None),
        (
            &empty_dir,
            read_only("/a"),
            Some("nothing can be mounted below the read-only mount /a, write another path"),
        ),
        (
            &image,
            at("/a"),
            Some("nothing can be mounted below the read-only mount /a, write another path"),
        ),
        (
            &config_map,
            file("/a"),
            Some("nothing can be mounted below the file mount /a, write another path"),
        ),
        (
            &config_map,
            file("/a/b/c"),
            Some("a directory cannot be mounted over the file mount /a/b/c, write another path"),
        ),
        (&empty_dir, file("/a"), None),
        (&empty_dir, read_only("/a/b/c"), None),
    ] {
        let expected = match conflict {
            Some(conflict) => format!("configMap.app=/a/b: {conflict}"),
            None => "app-volume ConfigMap/app @/a/b".to_owned(),
        };
        assert_eq!(
            planned(&mounting(volume, &mount), &[("configMap.app", "/a/b")]),
            [expected],
            "{volume} {mount}"
        );
    }
    let device = json!({"containers": [{"name": "spark", "volumeDevices": [{"name": "d", "devicePath": "/a/b/"}]}]});
    assert_eq!(
        planned(&device, &[("configMap.app", "/a/b")]),
        ["configMap.app=/a/b: a block device has that path, write another one"]
    );
}

#[test]
fn a_volume_that_is_read_only_at_its_source_takes_no_mount_point() {
    let below = "nothing can be mounted below the read-only mount /a, write another path";
    for kind in [
        "persistentVolumeClaim",
        "nfs",
        "csi",
        "azureFile",
        "cephfs",
        "rbd",
        "portworxVolume",
        "storageos",
    ] {
        for (source, is_refused) in [
            (json!({"readOnly": true}), true),
            (json!({"readOnly": false}), false),
            (json!({"readOnly": null}), false),
            (json!({}), false),
            (Value::Null, false),
        ] {
            let spec = mounting(
                &json!({"name": "v", kind: source}),
                &json!({"name": "v", "mountPath": "/a"}),
            );
            for request in [("configMap.app", "/a/b"), ("configMap.app", "/a/b:file=b")] {
                let planned = planned(&spec, &[request]);
                assert_eq!(planned[0].contains(below), is_refused, "{kind} {source}: {planned:?}");
            }
        }
    }
}

#[test]
fn a_file_of_the_node_is_a_file_mount() {
    for (kind, is_file) in [
        (json!("File"), true),
        (json!("FileOrCreate"), true),
        (json!("Socket"), true),
        (json!("CharDevice"), true),
        (json!("BlockDevice"), true),
        (json!("Directory"), false),
        (json!("DirectoryOrCreate"), false),
        (json!(""), false),
        (Value::Null, false),
    ] {
        let volume = json!({"name": "v", "hostPath": {"path": "/x", "type": kind}});
        for (mounted, advice) in [
            ("/a", "nothing can be mounted below the file mount /a, write another path"),
            (
                "/a/b/c",
                "a directory cannot be mounted over the file mount /a/b/c, write another path",
            ),
        ] {
            let spec = mounting(&volume, &json!({"name": "v", "mountPath": mounted}));
            let expected = if is_file {
                format!("configMap.app=/a/b: {advice}")
            } else {
                "app-volume ConfigMap/app @/a/b".to_owned()
            };
            assert_eq!(
                planned(&spec, &[("configMap.app", "/a/b")]),
                [expected],
                "{kind} {mounted}"
            );
        }
    }
}

#[test]
fn items_tell_a_directory_of_a_volume_from_a_file() {
    let item = |path: &str| json!([{"key": "k", "path": path}]);
    let field = |path: &str| json!([{"path": path, "fieldRef": {"fieldPath": "metadata.labels"}}]);
    for (source, is_directory) in [
        (json!({"configMap": {"name": "o", "items": item("f/x")}}), true),
        (json!({"secret": {"secretName": "o", "items": item("f/x/y")}}), true),
        (json!({"downwardAPI": {"items": field("f/x")}}), true),
        (
            json!({"projected": {"sources": [{"configMap": {"name": "o"}}, {"secret": {"name": "o", "items": item("f/x")}}]}}),
            true,
        ),
        (json!({"projected": {"sources": [{"downwardAPI": {"items": field("./f//x")}}]}}), true),
        (
            json!({"projected": {"sources": [{"configMap": {"name": "o", "items": item("f/x")}}]}}),
            true,
        ),
        (json!({"configMap": {"name": "o", "items": item("f")}}), false),
        (json!({"configMap": {"name": "o", "items": item("ff/x")}}), false),
        (json!({"configMap": {"name": "o"}}), false),
        (json!({"secret": {"secretName": "o", "items": []}}), false),
    ] {
        let mut volume = source.clone();
        volume["name"] = json!("v");
        let spec = mounting(&volume, &json!({"name": "v", "mountPath": "/a/b/c", "subPath": "f/"}));
        let planned = planned(&spec, &[("configMap.app", "/a/b")]);
        let is_mounted = planned == ["app-volume ConfigMap/app @/a/b"];
        assert_eq!(is_mounted, is_directory, "{source}: {planned:?}");
    }
}

#[test]
fn the_pods_paths_are_compared_as_the_kubelet_sees_them() {
    let config_map = json!({"name": "v", "configMap": {"name": "app"}});
    let empty_dir = json!({"name": "v", "emptyDir": {}});
    let spellings = [
        "/etc/ssl/corp",
        "etc/ssl/corp",
        "/etc/ssl/./corp",
        "/etc/ssl/x/../corp",
        "/etc//ssl/corp/",
        "./etc/ssl/corp",
    ];
    for path in spellings {
        let mount = json!({"name": "v", "mountPath": path});
        let taken = "configMap.app=/etc/ssl/corp: volume v is mounted there; remove that mount or this annotation";
        assert_eq!(
            planned(&mounting(&empty_dir, &mount), &[("configMap.app", "/etc/ssl/corp")]),
            [taken],
            "{path}"
        );
        assert_eq!(
            planned(&mounting(&config_map, &mount), &[("configMap.app", "/etc/ssl/corp")]),
            [""; 0],
            "{path}"
        );
        let device = json!({"containers": [{"name": "spark", "volumeDevices": [{"name": "d", "devicePath": path}]}]});
        let taken = "configMap.app=/etc/ssl/corp: a block device has that path, write another one";
        assert_eq!(planned(&device, &[("configMap.app", "/etc/ssl/corp")]), [taken], "{path}");
        let file = json!({"name": "v", "mountPath": path, "subPath": "f"});
        let below = "configMap.x=/etc/ssl/corp/x: nothing can be mounted below the file mount /etc/ssl/corp, write another path";
        assert_eq!(
            planned(&mounting(&config_map, &file), &[("configMap.x", "/etc/ssl/corp/x")]),
            [below],
            "{path}"
        );
    }
}

#[test]
fn the_kubelet_makes_no_mount_point_by_a_relative_path() {
    let config_map = json!({"name": "v", "configMap": {"name": "x"}});
    let empty_dir = json!({"name": "v", "emptyDir": {}});
    let relative = |path: &str| {
        Some(format!(
            "the path of the mount at {path} is relative, write it with a \"/\" or use another path"
        ))
    };
    for (volume, mounted, path, conflict) in [
        (&config_map, "a", "/a/b", relative("/a")),
        (&config_map, "/a", "/a/b", None),
        (&empty_dir, "a", "/a/b", None),
        (&empty_dir, "./a/b/c", "/a/b", relative("/a/b/c")),
        (&config_map, "a/b/c", "/a/b", relative("/a/b/c")),
        (&empty_dir, "/a/b/./c", "/a/b", None),
    ] {
        let spec = mounting(volume, &json!({"name": "v", "mountPath": mounted}));
        let expected = conflict.map_or("app-volume ConfigMap/app @/a/b".to_owned(), |conflict| {
            format!("configMap.app={path}: {conflict}")
        });
        assert_eq!(planned(&spec, &[("configMap.app", path)]), [expected], "{volume} {mounted}");
    }
}

#[test]
fn run_and_var_run_are_one_directory() {
    let empty_dir = json!({"name": "v", "emptyDir": {}});
    let secret = json!({"name": "v", "secret": {"secretName": "s"}});
    let token = json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}});
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let deep = format!("/run/{}", "d".repeat(40));
    let linked = |mounted: &str, instead: &str| {
        Some(format!("/run is /var/run, where {mounted} is mounted; write {instead}"))
    };
    for (volume, mounted, path, conflict) in [
        // Above, the same and below.
        (&token, account, "/run/secrets", linked("/var/run/secrets/kubern…", "/var/run/secrets")),
        (
            &token,
            account,
            "/run/secrets/kubernetes.io/serviceaccount",
            linked("/var/run/secrets/kubern…", "another path"),
        ),
        (&empty_dir, "/var/run", "/run/x", linked("/var/run", "/var/run/x")),
        (&empty_dir, "/run", "/var/run/x", linked("/run", "/run/x")),
        (&empty_dir, "run/x/.", "/var/run/x/y", linked("/run/x", "/run/x/y")),
        (&secret, "/var/run/s", "/run/s", linked("/var/run/s", "/var/run/s")),
        (&empty_dir, "/var/run/s", "/run/s", linked("/var/run/s", "another path")),
        (&empty_dir, "/var/run", &deep, linked("/var/run", "/var/run instead of /run")),
        (&secret, "/var/run/x", "/run/x/y:file=y", linked("/var/run/x", "another path")),
        // Neither.
        (&token, account, "/run/x", None),
        (&token, account, "/var/run/secrets", None),
        (&empty_dir, "/var/runs/x", "/run/x", None),
        (&empty_dir, "/var", "/run/x", None),
    ] {
        let spec = mounting(volume, &json!({"name": "v", "mountPath": mounted}));
        let planned = planned(&spec, &[("secret.s", path)]);
        match conflict {
            Some(conflict) => {
                assert!(
                    planned.len() == 1 && planned[0].ends_with(&format!(": {conflict}")),
                    "{path}: {planned:?}"
                );
            }
            None => assert_eq!(planned, [format!("s-volume Secret/s @{path}")], "{path}"),
        }
    }
}

#[test]
fn requests_that_meet_by_a_link_are_settled_in_their_order() {
    assert_eq!(
        planned(&plain(), &[("secret.x", "/var/run/secrets/x"), ("secret.y", "/run/secrets/x")]),
        [
            "x-volume Secret/x @/var/run/secrets/x",
            "secret.y=/run/secrets/x: /run is /var/run, where secret.x=/var/run/secrets/x is mounted; write another path",
        ]
    );
    assert_eq!(
        planned(&plain(), &[("secret.x", "/run/a/b"), ("secret.y", "/var/run/a")]),
        [
            "x-volume Secret/x @/run/a/b",
            "secret.y=/var/run/a: /run is /var/run, where /run/a/b is mounted; write /run/a",
        ]
    );
    // Another request has the spelling that would work.
    assert_eq!(
        planned(
            &plain(),
            &[
                ("configMap.c", "/run/a"),
                ("secret.x", "/run/a/b"),
                ("secret.y", "/var/run/a/b/c"),
                ("secret.z", "/run/a/b/c")
            ]
        ),
        [
            "c-volume ConfigMap/c @/run/a",
            "x-volume Secret/x @/run/a/b",
            "z-volume Secret/z @/run/a/b/c",
            "secret.y=/var/run/a/b/c: /run is /var/run, where /run/a is mounted; write another path",
        ]
    );
    // A mount of a request is an obstacle only where it is the one that is named: another round
    // finds more of them.
    let mounted = json!({"containers": [{"name": "spark", "volumeMounts": [{"name": "v", "mountPath": "/run/a"}]}]});
    assert_eq!(
        planned(&mounted, &[("secret.x", "/run/a/b/f:file=f"), ("secret.y", "/var/run/a/b")]),
        [
            "x-volume Secret/x @/run/a/b/f subPath f",
            "secret.y=/var/run/a/b: /run is /var/run, where /run/a is mounted; write /run/a/b",
        ]
    );
    assert_eq!(
        planned(&plain(), &[("secret.x", "/run/a"), ("secret.y", "/var/run/a/f:file=f")]),
        [
            "x-volume Secret/x @/run/a",
            "secret.y=/var/run/a/f:file=f: /run is /var/run, where /run/a is mounted; write another path",
        ]
    );
    // A path that is too long for the text is described.
    let long = format!("/var/run/a/{}", "b".repeat(40));
    let told = planned(&mounted, &[("secret.y", &long)]).concat();
    assert!(
        told.ends_with(
            ": /run is /var/run, where /run/a is mounted; write /run instead of /var/run"
        ),
        "{told}"
    );
}
