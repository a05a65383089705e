//! What a path holds already.

use serde_json::json;

use super::*;

#[test]
fn one_path_is_mounted_once() {
    for (annotations, expected) in [
        // The same source: one mount serves both.
        (
            vec![("sparkConfigMap", "c"), ("configMap.c", "/etc/spark/conf/")],
            vec!["spark-config-map-volume ConfigMap/c @/etc/spark/conf"],
        ),
        // Another source: the first in order wins.
        (
            vec![("configMap.dup", "/same"), ("secret.dup", "/same/")],
            vec![
                "dup-volume ConfigMap/dup @/same",
                "secret.dup=/same/: configMap.dup=/same is asked for there, write another path",
            ],
        ),
        // With `merge` it is another source, though there is nothing to merge with.
        (
            vec![("sparkConfigMap", "c:merge"), ("configMap.c", "/etc/spark/conf")],
            vec![
                "spark-config-map-volume ConfigMap/c @/etc/spark/conf",
                "configMap.c=/etc/spark/conf: sparkConfigMap=c:merge is asked for there, write another path",
            ],
        ),
    ] {
        assert_eq!(planned(&plain(), &annotations), expected);
    }
}

#[test]
fn a_default_gives_way_to_what_is_at_its_path_and_is_only_counted() {
    let app = mounting(
        &json!({"name": "v", "configMap": {"name": "app"}}),
        &json!({"name": "v", "mountPath": "/x"}),
    );
    let (a, b, pods) = (("configMap.a", "/x"), ("configMap.b", "/x"), ("configMap.app", "/x"));
    for (spec, own, defaults, expected, mounted, overridden) in [
        (&plain(), &[][..], &[a][..], &["a-volume ConfigMap/a @/x"][..], 1, 0),
        (&plain(), &[("secret.s", "/x")], &[a], &["s-volume Secret/s @/x"], 1, 1),
        // To another default too, if that is carried out.
        (&plain(), &[], &[a, b], &["a-volume ConfigMap/a @/x"], 1, 1),
        (&app, &[], &[a, b], &[], 0, 2),
        (&app, &[], &[a, pods], &[], 1, 1),
    ] {
        let (planned, count, counted) = planned_with_defaults(spec, own, defaults);
        assert_eq!(planned, expected, "{own:?} {defaults:?}");
        assert_eq!((count, counted), (mounted, overridden), "{own:?} {defaults:?}");
    }
}

#[test]
fn what_the_pod_mounts_already_is_not_mounted_again() {
    let app = [("configMap.app", "/etc/app")];
    let mount = json!({"name": "v", "mountPath": "/etc/app/"});
    for (what, volume) in [
        ("plain", json!({"name": "v", "configMap": {"name": "app"}})),
        (
            "defaulted",
            json!({"name": "v", "configMap": {"name": "app", "defaultMode": 420, "optional": false, "items": []}}),
        ),
    ] {
        assert!(planned(&mounting(&volume, &mount), &app).is_empty(), "{what}");
    }
    let secret = json!({"name": "v", "secret": {"secretName": "s", "defaultMode": 420}});
    assert!(planned(&mounting(&secret, &mount), &[("secret.s", "/etc/app")]).is_empty());
}

#[test]
fn the_same_object_in_another_form_is_an_error_that_names_the_difference() {
    let volume = |extra: &str, value: Value| json!({"name": "v", "configMap": {"name": "app", extra: value}});
    let mount =
        |extra: &str, value: &str| json!({"name": "v", "mountPath": "/etc/app", extra: value});
    for (volume, mount, difference) in [
        (volume("optional", json!(true)), mount("subPath", ""), "optional: true"),
        (volume("defaultMode", json!(256)), mount("subPath", ""), "mode 0400"),
        (volume("items", json!([{"key": "a", "path": "a"}])), mount("subPath", ""), "other items"),
        (volume("optional", json!(false)), mount("subPath", "a"), "another subPath"),
        (volume("optional", json!(false)), mount("subPathExpr", "$(A)"), "subPathExpr"),
    ] {
        let expected = format!(
            "configMap.app=/etc/app: mounted there already, but with {difference}; remove that mount or this annotation"
        );
        assert_eq!(
            planned(&mounting(&volume, &mount), &[("configMap.app", "/etc/app")]),
            [expected]
        );
    }
}

#[test]
fn a_file_is_already_there_where_its_key_appears_under_its_name() {
    let mount = json!({"name": "v", "mountPath": "/etc/f", "subPath": "f"});
    let item = json!({"key": "f", "path": "f"});
    for (items, is_there) in [
        (json!([item]), true),
        (json!([{"key": "f", "path": "f", "mode": 420}]), false),
        (json!([{"key": "x", "path": "f"}]), false),
        (json!([{"key": "f", "path": "x"}]), false),
        (json!([item, {"key": "x", "path": "x"}]), true),
        // A template without items shows the same file.
        (json!([]), true),
        (Value::Null, true),
    ] {
        let volume = json!({"name": "v", "configMap": {"name": "app", "items": items}});
        let expected = (!is_there).then_some(
            "configMap.app=/etc/f:file=f: mounted there already, but with other items; remove that mount or this annotation",
        );
        let planned = planned(&mounting(&volume, &mount), &[("configMap.app", "/etc/f:file=f")]);
        assert_eq!(planned, expected.as_slice(), "{items}");
    }
}

#[test]
fn a_path_that_holds_something_else_refuses_the_whole_request() {
    let mount = json!({"name": "v", "mountPath": "/etc/hadoop/conf"});
    for volume in [
        json!({"name": "v", "configMap": {"name": "other"}}),
        json!({"name": "v", "secret": {"secretName": "hadoop-conf"}}),
        json!({"name": "v", "nfs": {"server": "s", "path": "/"}}),
        json!({"name": "another", "configMap": {"name": "hadoop-conf"}}),
    ] {
        assert_eq!(
            planned(&mounting(&volume, &mount), &[("hadoopConfigMap", "hadoop-conf")]),
            [
                "hadoopConfigMap=hadoop-conf: volume v is mounted there; remove that mount or this annotation"
            ],
            "{volume}"
        );
    }
    // A ConfigMap is no secret, though they have one name.
    let config_map = json!({"name": "v", "configMap": {"name": "s"}});
    assert_eq!(
        planned(&mounting(&config_map, &mount), &[("secret.s", "/etc/hadoop/conf")]),
        [
            "secret.s=/etc/hadoop/conf: volume v is mounted there; remove that mount or this annotation"
        ]
    );
}

#[test]
fn the_last_of_several_mounts_at_a_path_counts() {
    let spec = json!({
        "volumes": [{"name": "a", "configMap": {"name": "app"}}, {"name": "b", "emptyDir": {}}],
        "containers": [{"name": "spark", "volumeMounts": [{"name": "a", "mountPath": "/x"}, {"name": "b", "mountPath": "/x/"}]}],
    });
    assert_eq!(
        planned(&spec, &[("configMap.app", "/x")]),
        ["configMap.app=/x: volume b is mounted there; remove that mount or this annotation"]
    );
}

#[test]
fn a_refused_path_refuses_every_request_for_it() {
    let spec = mounting(
        &json!({"name": "v", "emptyDir": {}}),
        &json!({"name": "v", "mountPath": "/etc/spark/conf"}),
    );
    let expected = "volume v is mounted there; remove that mount or this annotation";
    assert_eq!(
        planned(&spec, &[("sparkConfigMap", "c"), ("configMap.c", "/etc/spark/conf")]),
        [
            format!("sparkConfigMap=c: {expected}"),
            format!("configMap.c=/etc/spark/conf: {expected}")
        ]
    );
}
