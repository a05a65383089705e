//! Whether pods get what their annotations ask for, by a second reading of the contract
//! (`testkit::oracle`), tried on pods that nobody would write by hand.
//!
//! `PROPTEST_CASES=1000000 cargo test --release --test it oracle::` runs longer.
#![expect(clippy::format_collect, reason = "it makes annotations for a test")]

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};
use spark_webhook::admission::{Settings, review};
use spark_webhook::internals::load_rules;
use testkit::generate::{self, config, rules_file};
use testkit::oracle::{
    assert_carried_out, assert_enforced, assert_mounted_or_named, assert_too_many, assert_valid_pod,
};
use testkit::soundness::{self, answer, defaulted};

/// An annotation in which little is wrong, so that requests meet in the pod and not only in the
/// parser.
fn annotation() -> impl Strategy<Value = (String, String)> {
    let prefix = select(
        &[
            "spark-operator.k8s.io/",
            "spark-operator.k8s.io/",
            "spark-operator.k8s.io/",
            "sparkoperator.k8s.io/",
        ][..],
    );
    let form = || {
        select(
            &[
                "",
                ":merge",
                ":merge",
                ":path=/etc/app",
                ":path=/etc/app:merge",
                ":path=/opt/spark/conf:merge",
            ][..],
        )
    };
    let spark_options = options(&["optional", "mode=0440", "defaults"]);
    let spark = (select(&["sparkConfigMap", "spark-configmap"][..]), name(), form(), spark_options);
    let hadoop_options = options(&["optional", "mode=0440"]);
    let hadoop =
        (select(&["hadoopConfigMap", "hadoop-configmap"][..]), name(), form(), hadoop_options);
    let conf = prop_oneof![2 => spark, 1 => hadoop]
        .prop_map(|(key, name, form, options)| (key.to_owned(), format!("{name}{form}{options}")));
    let named = (
        select(&["configMap.", "configMap.", "configmap.", "secret.", "secret."][..]),
        name(),
        path(),
        source_options(),
    )
        .prop_map(|(key, name, path, options)| {
            (format!("{key}{name}"), format!("{path}{options}"))
        });
    let secret = (
        select(
            &[
                "GCPServiceAccount.",
                "gcp-service-account.",
                "hadoopDelegationToken.",
                "hadoop-delegation-token.",
            ][..],
        ),
        name(),
        path(),
        options(&["optional", "mode=444", "key=k"]),
    )
        .prop_map(|(key, name, path, options)| {
            (format!("{key}{name}"), format!("{path}{options}"))
        });
    let entry = (name(), path(), source_options())
        .prop_map(|(name, path, options)| format!("{name}={path}{options}"));
    let comma = select(&[",", ",", ",", " , ", ";", " "][..]);
    let list = (
        select(&["configMaps", "configmaps", "secrets"][..]),
        proptest::collection::vec(entry, 1..5),
        comma,
    )
        .prop_map(|(key, entries, comma)| (key.to_owned(), entries.join(comma)));
    let container = select(&["sidecar", "spark", "spark-1"][..])
        .prop_map(|name| ("container".to_owned(), name.to_owned()));
    let request = prop_oneof![5 => conf, 5 => named, 3 => secret, 3 => list, 1 => container, 4 => at_a_limit()];
    (prefix, request).prop_map(|(prefix, (key, value))| (format!("{prefix}{key}"), value))
}

/// What is just right and just wrong, between bars.
const NAMES: &str = "0|a-|-a|a.-b|a..b|.a|A|a_b|";
const PATHS: &str = "\"/mnt/x\"|'/mnt/x'|/mnt/\"x\"/y|/mnt/x\\|/mnt/x\\y|C:/mnt|c:\\mnt|\\\\mnt|/mnt/\u{ad}|/mnt/\u{200b}|\u{feff}/mnt|\
    /mnt/\u{2027}|/mnt/\u{202f}|/mnt/\u{2070}|/mnt/$$|/mnt/$|/opt/spark/jars|/opt/spark/jars/x|/opt/spark/python/|/opt/spark/bin|\
    /opt/spark/sbin|/|/etc|/etc/|/opt/spark|/opt/spark/|/opt/sparks|/usr/lib64|/usr/lib64/x|/var/run|/var/run/x|/run|/tmp|\
    /tmp/x|/dev|/dev/x|/develop|/proc/1|/sys|/sys/x|mnt/x|/mnt/./x|/mnt/..|/mnt/...|/mnt/.x|/mnt/$(|/mnt/$x|/mnt/\u{7f}|\
    /mnt/\u{9f}|/mnt/\u{a0}|/mnt/ü|//|/etc /x";
const OPTIONS: &str = "mode|mode=|mode=77|mode=777|mode=0777|mode=0778|mode=1000|mode=00777|mode=+44|mode=0x1|optional|\
    optional=true|optional:optional|optional:file=k|merge|merge=|defaults|path=/mnt/p|path=/etc|path=/mnt/p:path=/mnt/p|\
    path=/mnt/p q|path=mnt|path=/mnt/$(|file=k|file=.|file=.k|file=..|file=..k|file=k..|file=a/b|file=a b|file=|\
    file=k:key=k:env=V|env=V|env=_|env=v1|env=1v|env=V-1|env=PATH|env=LD_PRELOAD|env=LD_LIBRARY_PATH|env=LD_PRELOAD_|env=|key=k|key=k:env=V|key=..:env=V|key=a/b|env=V:env=W|Optional||\
    optional ";

/// A key with a value that is just right or just wrong.
fn at_a_limit() -> impl Strategy<Value = (String, String)> {
    let long = |size: usize| "a".repeat(size);
    let with = |all: &str, more: Vec<String>| {
        select(all.split('|').map(str::to_owned).chain(more).collect::<Vec<_>>())
    };
    let names = with(NAMES, vec![long(253), long(254)]);
    let deep = |end: &str| format!("/{}{end}", format!("{}/", long(254)).repeat(4));
    let paths = with(
        PATHS,
        vec![format!("/{}", long(255)), format!("/{}", long(256)), deep("aaa"), deep("aaaa")],
    );
    let options = with(OPTIONS, vec![format!("file={}", long(253)), format!("file={}", long(254))]);

    let all = [
        "sparkConfigMap",
        "hadoopConfigMap",
        "configMap.app",
        "secret.app",
        "GCPServiceAccount.app",
    ];
    let with_option = (select(all.to_vec()), options).prop_map(|(key, option)| {
        (key, format!("{}:{option}", if key.contains('.') { "/mnt/limit" } else { "app" }))
    });
    let with_path = (
        select(&["configMap.app", "secret.app", "hadoopDelegationToken.app"][..]),
        paths,
        select(&["", ":env=V"][..]),
    )
        .prop_map(|(key, path, option)| (key, format!("{path}{option}")));
    let with_name = (select(&["sparkConfigMap", "configMaps", "secrets"][..]), names).prop_map(
        |(key, name)| (key, if key.ends_with('s') { format!("{name}=/mnt/limit") } else { name }),
    );
    let blank = || select(&["", "", " ", "\t\r\n", "\u{a0}"][..]);
    let with_blanks = (
        select(&["hadoopConfigMap", "configMaps", "configMaps", "container"][..]),
        [blank(), blank(), blank(), blank()],
    )
        .prop_map(|(key, [a, b, c, d])| {
            let value = match key {
                "configMaps" => format!("{a}app{b}={c}/mnt/limit{d}:optional{a},{b}conf={c}"),
                "container" => format!("{a}spark{b}"),
                _ => format!("{a}app{b}:optional{c}"),
            };
            (key, value)
        });
    let empty = (
        select(&["sparkConfigMap", "configMap.app", "secret.Bad", "configMaps", "container"][..]),
        with("| |,|app=|=|app|app=/mnt/limit,,|:", vec![]),
    );
    let unknown = "sparkconfigmap|configMap|Secret.app|secrets.app|ownerReference|ownerreference|tolerations.x|volumemounts.x";
    let unknown = with(unknown, vec![]).prop_map(|key| (key, "x".to_owned()));
    let known =
        prop_oneof![4 => with_option, 3 => with_path, 2 => with_name, 1 => with_blanks, 1 => empty];
    prop_oneof![10 => known.prop_map(|(key, value)| (key.to_owned(), value)), 1 => unknown]
}

fn name() -> impl Strategy<Value = &'static str> {
    let long = "more.dotted.name.that.is.longer.than.a.label.may.be.so.it.is.cut";
    select(vec!["app", "app", "conf", "base", "a.b", "x-1", long])
}

fn path() -> impl Strategy<Value = &'static str> {
    select(
        &[
            "/etc/app",
            "/etc/app/",
            "/etc/app/below",
            "/etc/app/below/deep",
            "/etc/application",
            "/etc/spark/conf",
            "/etc/hadoop/conf/x",
            "/opt/spark/conf/x",
            "/mnt/a b",
            "/mnt/c",
            "/mnt/$(X)",
            "/mnt/a$$b",
            "/opt/mine",
            "/run/secrets",
            "/run/secrets/app",
            "/var/run/secrets",
            "/var/run/secrets/app",
        ][..],
    )
}

/// Most often none, and never the same one twice.
fn options(all: &'static [&'static str]) -> impl Strategy<Value = String> {
    let some = subsequence(all, 0..=all.len()).prop_shuffle();
    prop_oneof![
        Just(String::new()),
        some.prop_map(|options| options.iter().map(|option| format!(":{option}")).collect())
    ]
}

/// Those of ConfigMaps and Secrets, of which not all go together.
fn source_options() -> impl Strategy<Value = String> {
    let file = (
        select(&[":file=k", ":file=core-site.xml"][..]),
        options(&["mode=0440", "env=SPARK_CONF_DIR"]),
    );
    prop_oneof![
        4 => options(&["optional", "mode=0440", "env=VAR"]),
        2 => options(&["mode=0644", "env=VAR", "key=f"]),
        3 => file.prop_map(|(file, options)| format!("{file}{options}")),
        1 => Just(":env=GOOGLE_APPLICATION_CREDENTIALS".to_owned()),
    ]
}

/// What Spark and others put into a pod before we see it.
fn of_others() -> impl Strategy<Value = Value> {
    let base = select(vec![
        json!({"name": "base"}),
        json!({"name": "app", "items": [{"key": "a", "path": "b/a", "mode": 288}]}),
        json!({"name": "base", "optional": true, "items": []}),
    ]);
    let directories = [
        "/opt/spark/conf",
        "/opt/spark/conf/",
        "/opt/./spark/conf",
        "/etc/hadoop/conf",
        "/opt/mine",
        "$(X)/conf",
        "/a$$b",
    ];
    let directory = select(directories.to_vec());
    let variable = select(&["SPARK_CONF_DIR", "SPARK_CONF_DIR", "HADOOP_CONF_DIR"][..]);
    let conf = (base, directory, variable).prop_map(|(base, directory, variable)| {
        json!({
            "volume": {"name": "spark-conf-volume", "configMap": base},
            "mount": {"name": "spark-conf-volume", "mountPath": directory},
            "env": {"name": variable, "value": directory},
        })
    });
    let device = path().prop_map(|path| {
        json!({
            "volume": {"name": "block", "persistentVolumeClaim": {"claimName": "block"}},
            "device": {"name": "block", "devicePath": path},
        })
    });
    let info = (path(), any::<bool>()).prop_map(|(path, is_file)| {
        let mut mount = json!({"name": "info", "mountPath": path});
        if is_file {
            mount["subPathExpr"] = json!("$(X)");
        }
        let items = json!([{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]);
        json!({"volume": {"name": "info", "downwardAPI": {"items": items}}, "mount": mount})
    });
    let token = Just(json!({
        "volume": {"name": "kube-api-access", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        "mount": {"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
    }));
    // As an earlier round or another tool leaves it, or nearly.
    let last = (
        select(&["app", "conf"][..]),
        select(vec![Value::Null, json!([]), json!([{"key": "k", "path": "k"}])]),
        any::<bool>(),
    );
    let merged = (last, select(&["/etc/spark/conf", "/etc/app"][..])).prop_map(|((name, items, is_optional), path)| {
        let mut last = json!({"name": name});
        if !items.is_null() {
            last["items"] = items;
        }
        if is_optional {
            last["optional"] = json!(true);
        }
        json!({
            "volume": {"name": "merged", "projected": {"sources": [{"configMap": {"name": "base"}}, {"configMap": last}]}},
            "mount": {"name": "merged", "mountPath": path},
        })
    });
    // What the kubelet reads as an absolute path, and makes no mount points for.
    let relative = (select(&["etc/app", "etc/app/below/deep", "./mnt"][..]), any::<bool>())
        .prop_map(|(path, is_config_map)| {
            let source = if is_config_map {
                json!({"configMap": {"name": "base"}})
            } else {
                json!({"emptyDir": {}})
            };
            let mut volume = source;
            volume["name"] = json!("relative");
            json!({"volume": volume, "mount": {"name": "relative", "mountPath": path}})
        });
    prop_oneof![4 => conf, 1 => device, 1 => info, 2 => token, 2 => merged, 1 => relative, 1 => Just(json!({}))]
}

/// Shown as JSON where a property fails, to be given to `spark-webhook mutate` as it stands.
struct Review(Value);

impl std::fmt::Debug for Review {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A review of a generated pod, most often with annotations that have a chance, and with what the
/// API server requires.
fn review() -> impl Strategy<Value = Review> {
    let annotations =
        proptest::option::weighted(0.7, proptest::collection::vec(annotation(), 1..10));
    (generate::review(), annotations, proptest::collection::vec(of_others(), 0..3), any::<bool>())
        .prop_map(|(mut review, annotations, others, is_alone)| {
            let pod = &mut review["request"]["object"];
            if let Some(annotations) = annotations {
                let annotations: Map<_, _> =
                    annotations.into_iter().map(|(key, value)| (key, json!(value))).collect();
                pod["metadata"]["annotations"] = annotations.into();
            }
            let spec = pod["spec"].as_object_mut().unwrap();
            if is_alone && let Some(containers) = spec["containers"].as_array_mut() {
                containers.truncate(1);
            }
            for other in others {
                for container in spec["containers"].as_array_mut().into_iter().flatten() {
                    let container = container.as_object_mut().unwrap();
                    push(container, "volumeMounts", &other["mount"]);
                    push(container, "env", &other["env"]);
                    push(container, "volumeDevices", &other["device"]);
                }
                push(spec, "volumes", &other["volume"]);
            }
            complete(spec);
            Review(review)
        })
}

/// Adds an element, if there is one, to an array that may be absent.
fn push(object: &mut Map<String, Value>, field: &str, element: &Value) {
    if !element.is_null() {
        object.entry(field).or_insert(json!([])).as_array_mut().unwrap().push(element.clone());
    }
}

/// Fills in required fields and takes away what may not be there twice.
fn complete(spec: &mut Map<String, Value>) {
    let mut names = HashSet::new();
    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        volumes.retain(|volume| names.insert(volume["name"].clone()));
    }
    spec.get_mut("volumes")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .for_each(generate::complete);
    names.clear();
    for (index, container) in spec["containers"].as_array_mut().into_iter().flatten().enumerate() {
        if !names.insert(container["name"].clone()) {
            container["name"] = json!(format!("{}-{index}", container["name"].as_str().unwrap()));
        }
        container["image"] = json!("spark");
        let mut paths = HashSet::from([json!("")]);
        if let Some(mounts) = container.get_mut("volumeMounts").and_then(Value::as_array_mut) {
            mounts.retain(|mount| paths.insert(mount["mountPath"].clone()));
        }
    }
}

/// A pod of one container, with these annotations under the first prefix.
fn pod_with(annotations: impl IntoIterator<Item = (String, String)>) -> Value {
    let annotations: Map<_, _> = annotations
        .into_iter()
        .map(|(key, value)| (format!("spark-operator.k8s.io/{key}"), json!(value)))
        .collect();
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"labels": {"spark-role": "driver", "spark-version": "4.1.2"}, "annotations": annotations},
        "spec": {
            "volumes": [{"name": "own", "configMap": {"name": "base"}}],
            "containers": [{
                "name": "spark",
                "args": ["driver"],
                "env": [{"name": "SPARK_CONF_DIR", "value": "/opt/spark/conf"}],
                "volumeMounts": [{"name": "own", "mountPath": "/opt/spark/conf"}],
            }],
        },
    });
    review::of(&pod, "default")
}

#[test]
fn of_more_than_256_requests_none_is_carried_out() {
    for count in [256, 257] {
        let review = pod_with(
            (0..count).map(|number| (format!("configMap.x{number}"), format!("/x/{number}"))),
        );
        let answer = answer(&review, &Settings::default());
        match count {
            257 => assert_too_many(&review, &answer),
            _ => assert_carried_out(&review, &answer),
        }
    }
}

/// Of two entries of a list the wrong one is named by the key alone, because there is no room for
/// more; so whether the other was carried out cannot be told, nor whether that is a reason for what
/// is refused after it.
#[test]
fn a_text_that_is_cut_short_leaves_it_open_which_entry_is_named() {
    let asks = [("configMap.app", ""), ("configMap.conf", "/etc/app:file=k")];
    let mut review = pod_with(asks.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let annotations = &mut review["request"]["object"]["metadata"]["annotations"];
    annotations["sparkoperator.k8s.io/configMaps"] =
        json!("app=/etc/app/below,app=/mnt/$(X):env=VAR");
    assert_carried_out(&review, &answer(&review, &Settings::default()));
}

/// A judge who finds nothing wrong is worth something only if he would find it.
#[test]
fn a_pod_that_lacks_something_or_has_too_much_is_found_wrong() {
    let annotations = [
        ("sparkConfigMap", "conf:merge:defaults"),
        ("configMap.app", "/etc/app:optional:mode=0440:env=APP"),
        ("configMap.other", "/etc/app"),
        ("secret.key", "/etc/key:file=key"),
        ("GCPServiceAccount.a", "/mnt/a"),
        ("GCPServiceAccount.b", "/mnt/b"),
        ("secret.wrong", "mnt/wrong"),
    ];
    let review = pod_with(annotations.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let right = || answer(&review, &Settings::default());
    assert_carried_out(&review, &right());

    let (container, volumes) = ("/spec/containers/0", "/spec/volumes");
    for (part, value) in [
        (format!("{volumes}/1/projected/sources/0/configMap/name"), json!("other")),
        (format!("{volumes}/1/projected/sources/1/configMap/optional"), json!(true)),
        (format!("{volumes}/1/projected/defaultMode"), json!(0o440)),
        (format!("{volumes}/2/configMap/name"), json!("other")),
        (format!("{volumes}/2/configMap/optional"), json!(false)),
        (format!("{volumes}/2/configMap/defaultMode"), json!(0o400)),
        (format!("{volumes}/2/name"), json!("app")),
        (format!("{volumes}/3/secret/items"), json!([])),
        (format!("{volumes}/3/secret/items/0/path"), json!("other")),
        (format!("{volumes}/6"), json!({"name": "more", "emptyDir": {}})),
        (format!("{container}/volumeMounts/0/readOnly"), json!(true)),
        (format!("{container}/volumeMounts/1/readOnly"), json!(false)),
        (format!("{container}/volumeMounts/1/name"), json!("app-volume")),
        (format!("{container}/volumeMounts/1/mountPath"), json!("/etc/spark")),
        (format!("{container}/volumeMounts/3/subPath"), Value::Null),
        (
            format!("{container}/volumeMounts/6"),
            json!({"name": "app-volume", "mountPath": "/etc/more", "readOnly": true}),
        ),
        (
            format!("{container}/volumeMounts/6"),
            json!({"name": "own", "mountPath": "/etc/app", "readOnly": true}),
        ),
        (format!("{container}/env/0/value"), json!("/opt/spark/conf")),
        (format!("{container}/env/1/value"), json!("/etc/app/x")),
        (format!("{container}/env/2/value"), json!("/mnt/b/key.json")),
        (format!("{container}/env/3"), json!({"name": "SPARK_CONF_DIR", "value": "/etc/other"})),
        (format!("{container}/args"), json!(["driver"])),
        (format!("{container}/args"), json!(["--load-spark-defaults", "driver"])),
        (format!("{container}/command"), json!(["sh"])),
        ("/metadata/labels/more".to_owned(), json!("label")),
        (
            "/metadata/annotations/spark-operator.k8s.io~1injected".to_owned(),
            json!("{\"mounts\":[]}"),
        ),
    ] {
        let mut answer = right();
        let (parent, field) = part.rsplit_once('/').unwrap();
        match answer.pod.pointer_mut(parent).unwrap() {
            Value::Array(elements) if field == elements.len().to_string() => {
                elements.push(value.clone());
            }
            Value::Array(elements) => elements[field.parse::<usize>().unwrap()] = value.clone(),
            parent => parent[field.replace("~1", "/")] = value.clone(),
        }
        let judged =
            std::panic::catch_unwind(AssertUnwindSafe(|| assert_carried_out(&review, &answer)));
        assert!(judged.is_err(), "{part} = {value} goes unnoticed");
    }
}

proptest! {
    #![proptest_config(config())]

    /// Every request is carried out as the contract says, or a problem names it, for a reason; and
    /// so again in the second round, where everything is there already. What comes out is a pod as
    /// the API server takes it.
    #[test]
    fn every_request_is_carried_out_or_named_for_a_reason(Review(review) in review()) {
        let answer = answer(&review, &Settings::default());
        assert_valid_pod(&review, &answer);
        assert_carried_out(&review, &answer);

        let mut second = review;
        second["request"]["object"] = defaulted(answer.pod);
        assert_carried_out(&second, &soundness::answer(&second, &Settings::default()));
    }

    /// An administrator's defaults never spoil a pod, and what the pod itself asks for is still
    /// mounted, or named. What is enforced is there, or an error says that it is not.
    #[test]
    fn rules_leave_a_valid_pod_and_no_request_unanswered(Review(review) in review(), file in rules_file()) {
        let settings = Settings { rules: load_rules(&file.to_string()).unwrap(), ..Settings::default() };
        let answer = answer(&review, &settings);
        assert_valid_pod(&review, &answer);
        assert_mounted_or_named(&review, &answer, &settings);
        assert_enforced(&review, &answer, &settings, &file);
    }
}
