//! Reviews that cost as much as their size allows: what a hostile client sends, or a tenant through a real API server, which asks
//! webhooks before it validates.
//!
//! One table, for the fault tests, the bench `hostile` and the seeds of the fuzz target `review`.
#![allow(dead_code, reason = "each user has a part of it")]

/// A kind of review that grows to any size.
pub struct Shape {
    pub name: &'static str,
    kind: Kind,
}

enum Kind {
    /// An array or object of a driver with as many of these elements as fit.
    Elements(Place, &'static str),
    /// This text, again and again, in one string.
    Text(Place, &'static str),
    /// This before the review.
    Before(&'static str),
    /// This after the review.
    After(&'static str),
    /// A string in which a list is expected, at the end of as much as fits.
    WrongTypeAtTheEnd,
}

/// Where in the pod it grows.
#[derive(Clone, Copy)]
enum Place {
    Labels,
    Annotations,
    Metadata,
    Spec,
    Volumes,
    /// Of one ConfigMap's volume.
    Items,
    /// Of one Secret's volume.
    SecretItems,
    Sources,
    SourceItems,
    Containers,
    Args,
    Env,
    VolumeMounts,
    VolumeDevices,
    /// An annotation's value.
    List,
    /// The request's uid.
    Uid,
}

const fn elements(name: &'static str, place: Place, element: &'static str) -> Shape {
    Shape { name, kind: Kind::Elements(place, element) }
}

const fn text(name: &'static str, place: Place, text: &'static str) -> Shape {
    Shape { name, kind: Kind::Text(place, text) }
}

/// In an element, `#` is another number each time.
pub const SHAPES: [Shape; 44] = [
    elements("labels", Place::Labels, r#""l#":"""#),
    elements("annotations of others", Place::Annotations, r#""a#":"""#),
    elements("unknown keys", Place::Annotations, r#""spark-operator.k8s.io/#":"""#),
    elements("unknown keys under the second prefix", Place::Annotations, r#""sparkoperator.k8s.io/configMapz.#":"""#),
    elements("requests", Place::Annotations, r#""spark-operator.k8s.io/secret.s#":"/s#""#),
    elements("wrong values", Place::Annotations, r#""spark-operator.k8s.io/secret.s#":"s#""#),
    elements("empty values", Place::Annotations, r#""spark-operator.k8s.io/secret.s#":"""#),
    elements("one request in two spellings", Place::Annotations, r#""spark-operator.k8s.io/configMap.c":"/c#""#),
    elements("unknown fields of metadata", Place::Metadata, r#""":0"#),
    elements("unknown fields of a spec", Place::Spec, r#""":0"#),
    elements("volumes", Place::Volumes, r#"{"name":""}"#),
    elements("volumes of a kind", Place::Volumes, r#"{"name":"a","emptyDir":{}}"#),
    elements("volumes of a ConfigMap each", Place::Volumes, r#"{"name":"v#","configMap":{"items":[]}}"#),
    elements("volumes of sources", Place::Volumes, r#"{"name":"","projected":{"sources":[{}]}}"#),
    elements("items", Place::Items, r#"{"key":"","path":""}"#),
    elements("items of a Secret", Place::SecretItems, r#"{"key":"","path":""}"#),
    elements("sources", Place::Sources, "{}"),
    elements("items of a source", Place::SourceItems, r#"{"key":"","path":""}"#),
    elements("containers", Place::Containers, r#"{"name":""}"#),
    elements(
        "containers with empty arrays",
        Place::Containers,
        r#"{"name":"","env":[],"args":[],"volumeMounts":[],"volumeDevices":[]}"#,
    ),
    elements(
        "containers with arrays of one",
        Place::Containers,
        r#"{"name":"","env":[{"name":""}],"args":[""],"volumeMounts":[{"name":"","mountPath":""}],"volumeDevices":[{"devicePath":""}]}"#,
    ),
    elements("containers with Spark's mark", Place::Containers, r#"{"name":"","env":[{"name":"SPARK_DRIVER_BIND_ADDRESS"}]}"#),
    elements("args", Place::Args, r#""""#),
    elements("env", Place::Env, r#"{"name":""}"#),
    elements("env of one name", Place::Env, r#"{"name":"SPARK_CONF_DIR","value":"/c"}"#),
    elements("mounts", Place::VolumeMounts, r#"{"name":"","mountPath":""}"#),
    elements("mounts beside requests", Place::VolumeMounts, r#"{"name":"m#","mountPath":"/m/#"}"#),
    elements("devices", Place::VolumeDevices, r#"{"devicePath":""}"#),
    text("entries of a list", Place::List, "a=/a,"),
    text("empty entries of a list", Place::List, ","),
    text("entries that opt out", Place::List, "a=,"),
    text("slashes", Place::List, "/"),
    text("escapes in a value", Place::Annotations, r"\n"),
    text("escapes of four digits", Place::Annotations, r"\u0001"),
    text("escapes in a field that is skipped", Place::Spec, r"\\"),
    text("escapes in the uid", Place::Uid, r"\n"),
    elements("escapes in names", Place::Env, r#"{"name":"\n","value":"\n"}"#),
    elements("escapes in keys", Place::Labels, r#""\n#":"\n""#),
    elements("escapes in unknown fields", Place::Spec, r#""\n":0"#),
    elements("arrays in arrays", Place::Spec, r#""x":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"#),
    Shape { name: "leading blanks", kind: Kind::Before(" ") },
    Shape { name: "trailing blanks", kind: Kind::After("\n") },
    elements("blanks between", Place::Env, "{ \"name\" : \"a\" ,\n \"value\" : \"b\" } "),
    Shape { name: "a wrong type at the end", kind: Kind::WrongTypeAtTheEnd },
];

impl Shape {
    /// A review of this shape, and nearly of this size.
    pub fn review(&self, size: usize) -> Vec<u8> {
        match self.kind {
            Kind::Elements(place, element) => place.review(size, |room| repeated(element, ",", room)),
            Kind::Text(place, text) => place.review(size, |room| match place {
                Place::List | Place::Uid => repeated(text, "", room),
                _ => format!(r#""x":"{}""#, repeated(text, "", room.saturating_sub(6))),
            }),
            Kind::Before(text) => {
                let review = Place::Env.review(0, |_| String::new());
                [text.repeat(size.saturating_sub(review.len())).into_bytes(), review].concat()
            }
            Kind::After(text) => {
                let review = Place::Env.review(0, |_| String::new());
                let after = text.repeat(size.saturating_sub(review.len()));
                [review, after.into_bytes()].concat()
            }
            Kind::WrongTypeAtTheEnd => {
                let end = r#","volumes":"none""#;
                Place::Spec.review(size, |room| repeated(r#""x#":{"y":"z"}"#, ",", room.saturating_sub(end.len())) + end)
            }
        }
    }
}

/// As many copies of a text, with another number each for `#`, as there is room for.
fn repeated(text: &str, separator: &str, room: usize) -> String {
    let mut all = String::new();
    for number in 0.. {
        let one = if text.contains('#') { text.replace('#', &number.to_string()) } else { text.to_owned() };
        if all.len() + separator.len() + one.len() > room {
            break;
        }
        if number > 0 {
            all.push_str(separator);
        }
        all.push_str(&one);
    }
    all
}

impl Place {
    /// A driver's review of nearly this size, in which what `fill` makes of the room that is left stands here.
    fn review(self, size: usize, fill: impl Fn(usize) -> String) -> Vec<u8> {
        let template = self.template();
        let (before, after) = template.split_once('@').unwrap();
        let filled = fill(size.saturating_sub(before.len() + after.len()));
        // What fills an object or array that has something already follows it after a comma.
        let comma = if filled.is_empty() { before.strip_suffix(',') } else { None };
        [comma.unwrap_or(before), &filled, after].concat().into_bytes()
    }

    /// A driver that asks for mounts and variables: a review with an `@` where it grows.
    fn template(self) -> String {
        let at = |place: &str, is_here: bool| if is_here { format!("{place}@") } else { place.trim_end_matches(',').to_owned() };
        let labels = at(r#""spark-role":"driver","#, matches!(self, Self::Labels));
        let list = if let Self::List = self { r#","spark-operator.k8s.io/configMaps":"@""# } else { "" };
        let request =
            |number: usize| format!(r#","spark-operator.k8s.io/secret.r{number}":"/m/{number}/{number}:env=V{number}""#);
        let requests = (0..250).map(request).collect::<Vec<_>>().concat();
        // What meets every request of a pod.
        let requests = if let Self::VolumeMounts | Self::Env | Self::VolumeDevices = self { &*requests } else { "" };
        let annotations = format!(r#""spark-operator.k8s.io/sparkConfigMap":"c:merge"{requests}{list},"#);
        let annotations = at(&annotations, matches!(self, Self::Annotations));
        let metadata = at("", matches!(self, Self::Metadata));
        let metadata = if metadata.is_empty() { metadata } else { format!(",{metadata}") };
        let volume = match self {
            Self::Volumes => "@".to_owned(),
            Self::Items => r#"{"name":"v","configMap":{"name":"m","items":[@]}}"#.to_owned(),
            Self::SecretItems => r#"{"name":"v","secret":{"secretName":"m","items":[@]}}"#.to_owned(),
            Self::Sources => r#"{"name":"v","projected":{"sources":[@]}}"#.to_owned(),
            Self::SourceItems => r#"{"name":"v","projected":{"sources":[{"configMap":{"name":"m","items":[@]}}]}}"#.to_owned(),
            _ => String::new(),
        };
        let mark = at(r#"{"name":"SPARK_CONF_DIR","value":"/opt/spark/conf"},"#, matches!(self, Self::Env));
        let mount = at(r#"{"name":"v","mountPath":"/opt/spark/conf"},"#, matches!(self, Self::VolumeMounts));
        let args = at(r#""driver","#, matches!(self, Self::Args));
        let devices = at("", matches!(self, Self::VolumeDevices));
        let container = format!(
            r#"{{"name":"spark-kubernetes-driver","args":[{args}],"env":[{mark}],"volumeMounts":[{mount}],"volumeDevices":[{devices}]}},"#
        );
        let containers = at(&container, matches!(self, Self::Containers));
        let spec = at("", matches!(self, Self::Spec));
        let spec = if spec.is_empty() { spec } else { format!(",{spec}") };
        let uid = if let Self::Uid = self { "@" } else { "705ab4f5-6393-11e8-b7cc-42010a800002" };
        let labels = format!(r#"{{"name":"p","labels":{{{labels}}},"annotations":{{{annotations}}}{metadata}}}"#);
        // Where volumes are wrong, there are none before.
        let volumes = if let Self::Spec = self { String::new() } else { format!(r#","volumes":[{volume}]"#) };
        let pod = format!(r#"{{"kind":"Pod","metadata":{labels},"spec":{{"containers":[{containers}]{volumes}{spec}}}}}"#);
        let resource = r#"{"group":"","version":"v1","resource":"pods"}"#;
        let request = format!(r#"{{"uid":"{uid}","resource":{resource},"namespace":"n","operation":"CREATE","object":{pod}}}"#);
        format!(r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{request}}}"#)
    }
}
