//! Volumes, their names and their form.

use serde_json::json;

use super::*;
use crate::mutation::lookup::FEW;
use crate::mutation::volume_name::{MAX_LABEL, identity};
use crate::pod::{Volume, VolumeSource};
use crate::text::Text;

#[test]
fn volumes_have_the_initializers_names() {
    assert_eq!(
        planned(
            &plain(),
            &[
                ("sparkConfigMap", "spark-config-map"),
                ("hadoopConfigMap", "hadoop-config-map"),
                ("GCPServiceAccount.gcp-service-account", "/etc/secrets"),
                ("configMap.foo", "/path/to/foo"),
                ("secret.bar", "/path/to/bar"),
            ]
        ),
        [
            "spark-config-map-volume ConfigMap/spark-config-map @/etc/spark/conf",
            "hadoop-config-map-volume ConfigMap/hadoop-config-map @/etc/hadoop/conf",
            "foo-volume ConfigMap/foo @/path/to/foo",
            "bar-volume Secret/bar @/path/to/bar",
            "gcp-service-account-secret-volume Secret/gcp-service-account @/etc/secrets",
        ]
    );
}

/// Bugs 10 and 11 of the initializer: `a.b-volume` is no label, and a ConfigMap and a Secret of
/// one name clashed.
#[test]
fn names_that_are_no_label_or_not_free_hold_a_hash() {
    let long = "generated-config-name-generated-config-name-generated";
    let taken = json!({"volumes": [{"name": "app-volume", "emptyDir": {}}], "containers": [{"name": "spark"}]});
    for (spec, annotations, expected) in [
        (
            plain(),
            vec![("configMap.more.dotted.name", "/m")],
            vec!["more-dotted-name-volume-0741628c ConfigMap/more.dotted.name @/m"],
        ),
        (
            plain(),
            vec![("configMap.dup", "/a"), ("secret.dup", "/b")],
            vec!["dup-volume ConfigMap/dup @/a", "dup-volume-249637ce Secret/dup @/b"],
        ),
        (taken, vec![("configMap.app", "/a")], vec!["app-volume-60f84179 ConfigMap/app @/a"]),
        (
            plain(),
            vec![("GCPServiceAccount.a", "/a"), ("GCPServiceAccount.b", "/b")],
            vec![
                "gcp-service-account-secret-volume Secret/a @/a",
                "gcp-service-account-secret-volume-e308d1b7 Secret/b @/b",
                "GCPServiceAccount.b=/b: mounted, but GOOGLE_APPLICATION_CREDENTIALS is set by GCPServiceAccount.a=/a",
            ],
        ),
        (
            plain(),
            vec![("configMap.generated-config-name-generated-config-name-generated", "/a")],
            vec![
                "generated-config-name-generated-config-name-generated-volume ConfigMap/generated-config-name-generated-config-name-generated @/a",
            ],
        ),
    ] {
        assert_eq!(planned(&spec, &annotations), expected, "{annotations:?}");
    }
    let request = |name: &'static str| {
        let key = format!("spark-operator.k8s.io/configMap.{name}").leak();
        annotations::parse([(&*key, "/a")].into_iter()).mounts.remove(0)
    };
    // However many are taken, the next is counted, and a name stays a label.
    let mut names: Vec<String> = Vec::new();
    for number in 1..=2 * FEW {
        let preferred = format!("{long}-volume");
        let volume = |name: &str| Volume {
            name: Text::from(&*name.to_owned().leak()),
            source: VolumeSource::Other,
        };
        let theirs: Vec<Volume> =
            names.iter().map(String::as_str).chain([&*preferred]).map(volume).collect();
        let name = VolumeNames::new(theirs.leak(), 1).add(&request(long), &[]).into_owned();
        assert!(name.len() <= MAX_LABEL && !name.starts_with('-'), "{name}");
        let end = if number == 1 { "-41520756".to_owned() } else { format!("-41520756-{number}") };
        assert!(name.ends_with(&end), "{name}");
        names.push(name);
    }
}

#[test]
fn each_request_has_a_volume_of_its_own_even_for_one_object() {
    assert_eq!(
        planned(
            &plain(),
            &[("sparkConfigMap", "c"), ("hadoopConfigMap", "c"), ("configMap.c", "/c")]
        ),
        [
            "spark-config-map-volume ConfigMap/c @/etc/spark/conf",
            "hadoop-config-map-volume ConfigMap/c @/etc/hadoop/conf",
            "c-volume ConfigMap/c @/c",
        ]
    );
}

#[test]
fn options_are_in_the_volume_and_the_mount() {
    let volume = |annotation: (&str, &str)| {
        let key = format!("spark-operator.k8s.io/{}", annotation.0);
        let pod: Pod =
            serde_json::from_str(r#"{"spec": {"containers": [{"name": "spark"}]}}"#).unwrap();
        let requests = annotations::parse([(&*key, annotation.1)].into_iter());
        let plan = crate::mutation::plan(&pod, Role::Driver, &requests);
        assert!(plan.problems.is_empty(), "{:?}", plan.problems);
        (
            written(|bytes| plan.volumes()[0].write(bytes)),
            written(|bytes| plan.mounts()[0].write(bytes)),
        )
    };
    assert_eq!(
        volume(("secret.s", "/s:optional:mode=0440")).0,
        json!({"name": "s-volume", "secret": {"secretName": "s", "defaultMode": 0o440, "optional": true}})
    );
    let (file, mount) = volume(("configMap.krb5", "/etc/krb5.conf:file=krb5.conf"));
    assert_eq!(
        file,
        json!({"name": "krb5-volume", "configMap": {"name": "krb5", "items": [{"key": "krb5.conf", "path": "krb5.conf"}]}})
    );
    assert_eq!(
        mount,
        json!({"name": "krb5-volume", "mountPath": "/etc/krb5.conf", "subPath": "krb5.conf", "readOnly": true})
    );
    let (_, mount) = volume(("hadoopConfigMap", "h:path=/opt/hadoop/conf"));
    assert_eq!(mount["mountPath"], "/opt/hadoop/conf");
}

#[test]
fn entries_of_lists_share_the_volume_of_one_source_in_one_form() {
    let annotations = [
        ("spark-operator.k8s.io/configMaps", "c=/a,c=/b,c=/d:mode=0440,c=/e:mode=0644"),
        ("spark-operator.k8s.io/configMap.c", "/f"),
    ];
    let pod: Pod =
        serde_json::from_str(r#"{"spec": {"containers": [{"name": "spark"}]}}"#).unwrap();
    let requests = annotations::parse(annotations.into_iter());
    let plan = crate::mutation::plan(&pod, Role::Driver, &requests);
    let volumes: Vec<_> = plan.volumes().iter().map(|volume| &*volume.name).collect();
    let mounts: Vec<_> =
        plan.mounts().iter().map(|mount| (mount.mount_path, &*mount.name)).collect();
    // The beginnings of SHA-256 of `ConfigMap/c:mode=0440` and of `ConfigMap/c:`.
    assert_eq!(volumes, ["c-volume", "c-volume-7151715d", "c-volume-3fa00ad2"]);
    assert_eq!(
        mounts,
        [
            ("/a", "c-volume"),
            ("/b", "c-volume"),
            ("/d", "c-volume-7151715d"),
            ("/e", "c-volume"),
            ("/f", "c-volume-3fa00ad2")
        ]
    );
}

#[test]
fn the_hash_holds_the_options_that_make_it_another_volume() {
    for (value, expected) in [
        ("/a", "Secret/x:"),
        ("/a:env=V:key=f", "Secret/x:"),
        ("/a:optional:mode=440", "Secret/x:mode=0440:optional"),
        ("/a:mode=0440:file=f", "Secret/x:file=f:mode=0440"),
    ] {
        let requests = annotations::parse([("spark-operator.k8s.io/secret.x", value)].into_iter());
        assert_eq!(identity(&requests.mounts[0]), expected);
    }
    let requests = annotations::parse(
        [("spark-operator.k8s.io/sparkConfigMap", "x:optional:merge")].into_iter(),
    );
    assert_eq!(identity(&requests.mounts[0]), "ConfigMap/x:merge:optional");
}
