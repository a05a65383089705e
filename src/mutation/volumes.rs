//! Which volumes and mounts a pod gets for its requests.
//!
//! Requests are settled among themselves first, then with what the pod mounts already. Each is
//! carried out whole or refused with an error that says why; a refused one leaves nothing behind,
//! not even its variable.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::lookup::{FEW, Lookup};
use super::mounts::{Conflict, MountTable, Placement, are_one_by_link};
use super::{NewMount, NewVolume, Plan, conf_dir, env};
use crate::annotations::Requests;
use crate::pod::{ConfigMapVolumeSource, Container, Pod, Volume};
use crate::request::kind::VolumeName;
use crate::request::{ObjectKind, Origin, ProblemKind, Request};

/// Plans volumes and mounts, and returns the requests that are mounted, by us or already, in their
/// order.
pub(super) fn apply<'a>(
    pod: &'a Pod<'a>,
    container: &'a Container<'a>,
    requests: &'a Requests<'a>,
    plan: &mut Plan<'a>,
) -> Vec<&'a Request<'a>> {
    plan.volumes.array_exists = pod.spec.volumes.is_some();
    plan.mounts.array_exists = container.volume_mounts.is_some();
    let mut table = MountTable::new(pod, container, requests);
    let mut settled: Lookup<&str, Settled> = Lookup::with_capacity(requests.mounts.len());
    let mut names =
        VolumeNames::new(pod.spec.volumes.as_deref().unwrap_or_default(), requests.mounts.len());
    let mut shared: Vec<(SourceForm, Cow<'a, str>)> = Vec::new();
    let mut mounted = Vec::with_capacity(requests.mounts.len());
    for request in &requests.mounts {
        let is_default = request.origin == Origin::Default;
        if is_default && env::makes_default_give_way(container, &mounted, request) {
            plan.defaults_given_way += 1;
            continue;
        }
        let conflict = if let Some(first) = settled.get(request.path.as_str()) {
            let is_same = is_same_source(first.request, request);
            if is_same {
                first.conflict.clone()
            } else {
                Some(Conflict::Taken(first.request).to_string())
            }
        } else {
            let conflict = match table.place(request, conf_dir::merge(&table, &mounted, request)) {
                Err(Conflict::Linked { mounted, instead }) => {
                    // The first one is named, whether it is mounted already, as in a second round,
                    // or not.
                    let first = settled.get(mounted).filter(|first| first.conflict.is_none());
                    let first = first.filter(|_| are_one_by_link(mounted, request.path.as_str()));
                    let conflict = first.map(|first| Conflict::TakenByLink(first.request));
                    Some(conflict.unwrap_or(Conflict::Linked { mounted, instead }).to_string())
                }
                Err(conflict) => Some(conflict.to_string()),
                Ok(Placement::AlreadyThere) => None,
                Ok(Placement::New(base)) => {
                    plan_mount(request, base, &mut names, &mut shared, plan);
                    table.add(request);
                    None
                }
            };
            if !(is_default && conflict.is_some()) {
                settled
                    .insert(request.path.as_str(), Settled { request, conflict: conflict.clone() });
            }
            conflict
        };
        match conflict {
            None => mounted.push(request),
            // It gives way to what is there already, and its author is not the pod's.
            Some(_) if is_default => plan.defaults_given_way += 1,
            Some(conflict) => plan.problems.push(ProblemKind::Place, request.annotation, conflict),
        }
    }
    mounted
}

/// The first request for a path, and why it was refused, if it was.
struct Settled<'a> {
    request: &'a Request<'a>,
    conflict: Option<String>,
}

/// Whether two requests ask for the same files in the same form, so that one mount serves both.
fn is_same_source(a: &Request, b: &Request) -> bool {
    let is_merged = a.options.merge || b.options.merge;
    !is_merged && SourceForm::of(a) == SourceForm::of(b)
}

/// What a volume shows: the object, and its form.
#[derive(PartialEq, Eq)]
struct SourceForm<'a> {
    object: ObjectKind,
    name: &'a str,
    optional: bool,
    mode: u16,
    file: Option<&'a str>,
}

impl<'a> SourceForm<'a> {
    fn of(request: &Request<'a>) -> Self {
        Self {
            object: request.object_kind(),
            name: request.name.as_str(),
            optional: request.options.optional,
            mode: request.default_mode(),
            file: request.options.file.map(|file| file.as_str()),
        }
    }
}

fn plan_mount<'a>(
    request: &'a Request<'a>,
    base: Option<&'a ConfigMapVolumeSource<'a>>,
    names: &mut VolumeNames<'a>,
    shared: &mut Vec<(SourceForm<'a>, Cow<'a, str>)>,
    plan: &mut Plan<'a>,
) {
    let form = SourceForm::of(request);
    let same = shared.iter().filter(|_| request.is_listed).find(|(other, _)| *other == form);
    let name = if let Some((_, name)) = same {
        name.clone()
    } else {
        let name = names.add(request, &plan.volumes.items);
        plan.volumes.items.push(NewVolume::new(name.clone(), request, base));
        if request.is_listed {
            shared.push((form, name.clone()));
        }
        name
    };
    let sub_path = request.options.file.map(|file| file.as_str());
    plan.mounts.items.push(NewMount { name, mount_path: request.path.as_str(), sub_path });
}

/// The most characters of a volume's name, a DNS-1123 label.
const MAX_LABEL: usize = 63;

/// The names of a pod's volumes, those that it gets included.
struct VolumeNames<'a> {
    theirs: &'a [Volume<'a>],
    /// Where there may be more than [`FEW`], all of them.
    all: Option<Lookup<Cow<'a, str>, ()>>,
}

impl<'a> VolumeNames<'a> {
    fn new(theirs: &'a [Volume<'a>], requests: usize) -> Self {
        let names = theirs.iter().map(|volume| (Cow::Borrowed(&*volume.name), ()));
        Self { theirs, all: (theirs.len() + requests > FEW).then(|| Lookup::new(names.collect())) }
    }

    fn is_free(&self, name: &str, ours: &[NewVolume]) -> bool {
        match &self.all {
            Some(all) => !all.contains(name),
            None => {
                self.theirs.iter().all(|volume| &*volume.name != name)
                    && ours.iter().all(|volume| volume.name != name)
            }
        }
    }

    /// The initializer's name for the volume of a request if a volume can have it and none has;
    /// otherwise one that holds a hash.
    fn add(&mut self, request: &Request<'a>, ours: &[NewVolume]) -> Cow<'a, str> {
        let name = self.choose(request, ours);
        if let Some(all) = &mut self.all {
            all.insert(name.clone(), ());
        }
        name
    }

    fn choose(&self, request: &Request<'a>, ours: &[NewVolume]) -> Cow<'a, str> {
        let preferred = match request.kind.spec().volume_name {
            VolumeName::Fixed(name) => Cow::Borrowed(name),
            VolumeName::OfObject => Cow::Owned([request.name.as_str(), "-volume"].concat()),
        };
        // The name is a DNS-1123 subdomain: without dots and not too long it is a label.
        let is_label = preferred.len() <= MAX_LABEL && !preferred.contains('.');
        if is_label && self.is_free(&preferred, ours) {
            return preferred;
        }
        let digest = Sha256::digest(identity(request));
        let first = digest.first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
        let hash = format!("{first:08x}");
        let stem = preferred.replace('.', "-");
        let numbered = |number: usize| {
            let suffix = if number == 1 { hash.clone() } else { format!("{hash}-{number}") };
            let stem = stem.get(..MAX_LABEL - 1 - suffix.len()).unwrap_or(&stem);
            [stem.trim_matches('-'), "-", &suffix].concat()
        };
        let mut number = 1;
        loop {
            let name = numbered(number);
            if self.is_free(&name, ours) {
                return Cow::Owned(name);
            }
            number += 1;
        }
    }
}

/// What the hash in a volume's name is of: the object, and those options that make its volume
/// another one.
fn identity(request: &Request) -> String {
    let options = &request.options;
    let file = options.file.map(|file| format!("file={}", file.as_str()));
    let merge = options.merge.then(|| "merge".to_owned());
    let mode = options.mode.map(|mode| format!("mode={mode:04o}"));
    let optional = options.optional.then(|| "optional".to_owned());
    let options: Vec<String> = [file, merge, mode, optional].into_iter().flatten().collect();
    format!("{}/{}:{}", request.object_kind().as_str(), request.name, options.join(":"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::annotations;
    use crate::pod::VolumeSource;
    use crate::spark::Role;
    use crate::text::Text;

    fn written(write: impl Fn(&mut Vec<u8>)) -> Value {
        let mut bytes = Vec::new();
        write(&mut bytes);
        serde_json::from_slice(&bytes).unwrap()
    }

    /// What a pod with one container gets: `name source object @path` for each, then the problems.
    fn planned(spec: &Value, annotations: &[(&str, &str)]) -> Vec<String> {
        planned_with_defaults(spec, annotations, &[]).0
    }

    /// Also how many requests are mounted, and how many defaults gave way.
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
        let defaults =
            annotations::parse(defaults.iter().map(|(key, value)| (&**key, *value))).mounts;
        requests.mounts.extend(
            defaults.into_iter().map(|default| Request { origin: Origin::Default, ..default }),
        );
        let plan = super::super::plan(&pod, Role::Driver, &requests);
        let mounts = plan.volumes.items.iter().zip(&plan.mounts.items).map(|(volume, mount)| {
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
        (planned, plan.mounted.len(), plan.defaults_given_way)
    }

    fn plain() -> Value {
        json!({"containers": [{"name": "spark"}]})
    }

    fn mounting(volume: &Value, mount: &Value) -> Value {
        json!({"volumes": [volume], "containers": [{"name": "spark", "volumeMounts": [mount]}]})
    }

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
            let end =
                if number == 1 { "-41520756".to_owned() } else { format!("-41520756-{number}") };
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
        for (spec, own, defaults, expected, mounted, given_way) in [
            (&plain(), &[][..], &[a][..], &["a-volume ConfigMap/a @/x"][..], 1, 0),
            (&plain(), &[("secret.s", "/x")], &[a], &["s-volume Secret/s @/x"], 1, 1),
            // To another default too, if that is carried out.
            (&plain(), &[], &[a, b], &["a-volume ConfigMap/a @/x"], 1, 1),
            (&app, &[], &[a, b], &[], 0, 2),
            (&app, &[], &[a, pods], &[], 1, 1),
        ] {
            let (planned, count, counted) = planned_with_defaults(spec, own, defaults);
            assert_eq!(planned, expected, "{own:?} {defaults:?}");
            assert_eq!((count, counted), (mounted, given_way), "{own:?} {defaults:?}");
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
            (
                volume("items", json!([{"key": "a", "path": "a"}])),
                mount("subPath", ""),
                "other items",
            ),
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
            let planned =
                planned(&mounting(&volume, &mount), &[("configMap.app", "/etc/f:file=f")]);
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

    #[test]
    fn options_are_in_the_volume_and_the_mount() {
        let volume = |annotation: (&str, &str)| {
            let key = format!("spark-operator.k8s.io/{}", annotation.0);
            let pod: Pod =
                serde_json::from_str(r#"{"spec": {"containers": [{"name": "spark"}]}}"#).unwrap();
            let requests = annotations::parse([(&*key, annotation.1)].into_iter());
            let plan = super::super::plan(&pod, Role::Driver, &requests);
            assert!(plan.problems.is_empty(), "{:?}", plan.problems);
            (
                written(|bytes| plan.volumes.items[0].write(bytes)),
                written(|bytes| plan.mounts.items[0].write(bytes)),
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
        let plan = super::super::plan(&pod, Role::Driver, &requests);
        let volumes: Vec<_> = plan.volumes.items.iter().map(|volume| &*volume.name).collect();
        let mounts: Vec<_> =
            plan.mounts.items.iter().map(|mount| (mount.mount_path, &*mount.name)).collect();
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
            let requests =
                annotations::parse([("spark-operator.k8s.io/secret.x", value)].into_iter());
            assert_eq!(identity(&requests.mounts[0]), expected);
        }
        let requests = annotations::parse(
            [("spark-operator.k8s.io/sparkConfigMap", "x:optional:merge")].into_iter(),
        );
        assert_eq!(identity(&requests.mounts[0]), "ConfigMap/x:merge:optional");
    }

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
                Some(
                    "a directory cannot be mounted over the file mount /a/b/c, write another path",
                ),
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
                    assert_eq!(
                        planned[0].contains(below),
                        is_refused,
                        "{kind} {source}: {planned:?}"
                    );
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
        let field =
            |path: &str| json!([{"path": path, "fieldRef": {"fieldPath": "metadata.labels"}}]);
        for (source, is_directory) in [
            (json!({"configMap": {"name": "o", "items": item("f/x")}}), true),
            (json!({"secret": {"secretName": "o", "items": item("f/x/y")}}), true),
            (json!({"downwardAPI": {"items": field("f/x")}}), true),
            (
                json!({"projected": {"sources": [{"configMap": {"name": "o"}}, {"secret": {"name": "o", "items": item("f/x")}}]}}),
                true,
            ),
            (
                json!({"projected": {"sources": [{"downwardAPI": {"items": field("./f//x")}}]}}),
                true,
            ),
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
            let spec =
                mounting(&volume, &json!({"name": "v", "mountPath": "/a/b/c", "subPath": "f/"}));
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
            let taken =
                "configMap.app=/etc/ssl/corp: a block device has that path, write another one";
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
            let expected = conflict
                .map_or("app-volume ConfigMap/app @/a/b".to_owned(), |conflict| {
                    format!("configMap.app={path}: {conflict}")
                });
            assert_eq!(
                planned(&spec, &[("configMap.app", path)]),
                [expected],
                "{volume} {mounted}"
            );
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
            (
                &token,
                account,
                "/run/secrets",
                linked("/var/run/secrets/kubern…", "/var/run/secrets"),
            ),
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
            planned(
                &plain(),
                &[("secret.x", "/var/run/secrets/x"), ("secret.y", "/run/secrets/x")]
            ),
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
}
