//! Reviews that cost as much as their size allows: what a hostile client sends, or a tenant through
//! a real API server, which asks webhooks before it validates.
//!
//! One table, for the fault tests, the bench `hostile` and the seeds of the fuzz target `review`.

/// A kind of review that grows to any size.
pub struct Shape {
    pub name: &'static str,
    kind: Kind,
}

enum Kind {
    /// An array or object of a driver with as many of these elements as fit.
    Elements(Place, &'static str),
    /// The same of a driver with nearly as many requests as a pod may have, below this path.
    BesideRequests(Place, &'static str, &'static str),
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
    /// The mounts, with a volume of a thousand items.
    Parts,
    VolumeDevices,
    /// The value of an annotation for several objects.
    List,
    /// The value of an annotation for one object.
    Path,
    /// The request's uid.
    Uid,
}

const fn elements(name: &'static str, place: Place, element: &'static str) -> Shape {
    Shape { name, kind: Kind::Elements(place, element) }
}

const fn beside_requests(
    name: &'static str,
    place: Place,
    path: &'static str,
    element: &'static str,
) -> Shape {
    Shape { name, kind: Kind::BesideRequests(place, path, element) }
}

const fn text(name: &'static str, place: Place, text: &'static str) -> Shape {
    Shape { name, kind: Kind::Text(place, text) }
}

/// In an element, `#` is another number each time.
pub const SHAPES: [Shape; 51] = [
    elements("labels", Place::Labels, r#""l#":"""#),
    elements("annotations of others", Place::Annotations, r#""a#":"""#),
    elements("unknown keys", Place::Annotations, r#""spark-operator.k8s.io/#":"""#),
    elements(
        "unknown keys under the second prefix",
        Place::Annotations,
        r#""sparkoperator.k8s.io/configMapz.#":"""#,
    ),
    elements("requests", Place::Annotations, r#""spark-operator.k8s.io/secret.s#":"/s#""#),
    elements("wrong values", Place::Annotations, r#""spark-operator.k8s.io/secret.s#":"s#""#),
    elements("empty values", Place::Annotations, r#""spark-operator.k8s.io/secret.s#":"""#),
    elements(
        "one request in two spellings",
        Place::Annotations,
        r#""spark-operator.k8s.io/configMap.c":"/c#""#,
    ),
    elements("unknown fields of metadata", Place::Metadata, r#""":0"#),
    elements("unknown fields of a spec", Place::Spec, r#""":0"#),
    elements("volumes", Place::Volumes, r#"{"name":""}"#),
    elements("volumes of a kind", Place::Volumes, r#"{"name":"a","emptyDir":{}}"#),
    elements(
        "volumes of a ConfigMap each",
        Place::Volumes,
        r#"{"name":"v#","configMap":{"items":[]}}"#,
    ),
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
    elements(
        "containers with Spark's mark",
        Place::Containers,
        r#"{"name":"","env":[{"name":"SPARK_DRIVER_BIND_ADDRESS"}]}"#,
    ),
    elements("args", Place::Args, r#""""#),
    elements("env", Place::Env, r#"{"name":""}"#),
    elements("env of one name", Place::Env, r#"{"name":"SPARK_CONF_DIR","value":"/c"}"#),
    elements("mounts", Place::VolumeMounts, r#"{"name":"","mountPath":""}"#),
    elements("mounts at odd paths", Place::VolumeMounts, r#"{"name":"m#","mountPath":"//m/./#/"}"#),
    elements(
        "mounts of parts of a volume",
        Place::Parts,
        r#"{"name":"v","mountPath":"/m/#","subPath":"d#"}"#,
    ),
    elements("devices", Place::VolumeDevices, r#"{"devicePath":""}"#),
    beside_requests("env beside requests", Place::Env, "/m", r#"{"name":"V#","value":"v"}"#),
    beside_requests(
        "mounts beside requests",
        Place::VolumeMounts,
        "/m",
        r#"{"name":"m#","mountPath":"/m/#"}"#,
    ),
    beside_requests(
        "mounts that meet requests by a link",
        Place::VolumeMounts,
        "/var/run/m",
        r#"{"name":"m#","mountPath":"/run/m/#"}"#,
    ),
    beside_requests(
        "devices beside requests",
        Place::VolumeDevices,
        "/m",
        r#"{"devicePath":"/m/#"}"#,
    ),
    beside_requests(
        "volumes named like requests'",
        Place::Volumes,
        "/m",
        r#"{"name":"r#-volume"}"#,
    ),
    text("entries of a list", Place::List, "a=/a,"),
    text("empty entries of a list", Place::List, ","),
    text("entries that opt out", Place::List, "a=,"),
    text("slashes", Place::Path, "/"),
    text("a relative path", Place::Path, "a/"),
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
    /// Whether its pod has nearly as many requests as a pod may have; a review of no size has
    /// nothing else.
    pub fn has_requests(&self) -> bool {
        matches!(self.kind, Kind::BesideRequests(..))
    }

    /// A review of this shape, and nearly of this size.
    pub fn review(&self, size: usize) -> Vec<u8> {
        match self.kind {
            Kind::Elements(place, element) => {
                place.review(size, None, |room| repeated(element, ",", room))
            }
            Kind::BesideRequests(place, path, element) => {
                place.review(size, Some(path), |room| repeated(element, ",", room))
            }
            Kind::Text(place, text) => place.review(size, None, |room| match place {
                Place::List | Place::Path | Place::Uid => repeated(text, "", room),
                _ => format!(r#""x":"{}""#, repeated(text, "", room.saturating_sub(6))),
            }),
            Kind::Before(text) => {
                let review = Place::Env.review(0, None, |_| String::new());
                [text.repeat(size.saturating_sub(review.len())).into_bytes(), review].concat()
            }
            Kind::After(text) => {
                let review = Place::Env.review(0, None, |_| String::new());
                let after = text.repeat(size.saturating_sub(review.len()));
                [review, after.into_bytes()].concat()
            }
            Kind::WrongTypeAtTheEnd => {
                let end = r#","volumes":"none""#;
                Place::Spec.review(size, None, |room| {
                    repeated(r#""x#":{"y":"z"}"#, ",", room.saturating_sub(end.len())) + end
                })
            }
        }
    }
}

/// As many copies of a text, with another number each for `#`, as there is room for.
fn repeated(text: &str, separator: &str, room: usize) -> String {
    let mut all = String::new();
    for number in 0.. {
        let one = if text.contains('#') {
            text.replace('#', &number.to_string())
        } else {
            text.to_owned()
        };
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
    /// A driver's review of nearly this size, in which what `fill` makes of the room that is left
    /// stands here; with requests below a path, where there is one.
    fn review(
        self,
        size: usize,
        requests: Option<&str>,
        fill: impl Fn(usize) -> String,
    ) -> Vec<u8> {
        let template = self.template(requests);
        let (before, after) = template.split_once('@').unwrap();
        let filled = fill(size.saturating_sub(before.len() + after.len()));
        // What fills an object or array that has something already follows it after a comma.
        let comma = if filled.is_empty() { before.strip_suffix(',') } else { None };
        [comma.unwrap_or(before), &filled, after].concat().into_bytes()
    }

    /// A driver that asks for mounts and variables: a review with an `@` where it grows.
    fn template(self, requests: Option<&str>) -> String {
        let at = |place: &str, is_here: bool| {
            if is_here { format!("{place}@") } else { place.trim_end_matches(',').to_owned() }
        };
        let labels = at(r#""spark-role":"driver","#, matches!(self, Self::Labels));
        let text = match self {
            Self::List => r#","spark-operator.k8s.io/configMaps":"@""#,
            Self::Path => r#","spark-operator.k8s.io/configMap.c":"@""#,
            _ => "",
        };
        let request = |path: &str, number: usize| {
            format!(
                r#","spark-operator.k8s.io/secret.r{number}":"{path}/{number}/{number}:env=V{number}""#
            )
        };
        let requests = requests
            .map(|path| (0..250).map(|number| request(path, number)).collect::<Vec<_>>().concat());
        let requests = requests.unwrap_or_default();
        let annotations =
            format!(r#""spark-operator.k8s.io/sparkConfigMap":"c:merge"{requests}{text},"#);
        let annotations = at(&annotations, matches!(self, Self::Annotations));
        let metadata = at("", matches!(self, Self::Metadata));
        let metadata = if metadata.is_empty() { metadata } else { format!(",{metadata}") };
        let volume = match self {
            Self::Volumes => "@".to_owned(),
            Self::Items => r#"{"name":"v","configMap":{"name":"m","items":[@]}}"#.to_owned(),
            Self::SecretItems => {
                r#"{"name":"v","secret":{"secretName":"m","items":[@]}}"#.to_owned()
            }
            Self::Sources => r#"{"name":"v","projected":{"sources":[@]}}"#.to_owned(),
            Self::SourceItems => {
                r#"{"name":"v","projected":{"sources":[{"configMap":{"name":"m","items":[@]}}]}}"#
                    .to_owned()
            }
            Self::Parts => {
                let items: Vec<String> = (0..1000)
                    .map(|number| format!(r#"{{"key":"k","path":"d{number}/f"}}"#))
                    .collect();
                format!(
                    r#"{{"name":"v","configMap":{{"name":"m","items":[{}]}}}}"#,
                    items.join(",")
                )
            }
            _ => String::new(),
        };
        let mark = at(
            r#"{"name":"SPARK_CONF_DIR","value":"/opt/spark/conf"},"#,
            matches!(self, Self::Env),
        );
        let mount = at(
            r#"{"name":"v","mountPath":"/opt/spark/conf"},"#,
            matches!(self, Self::VolumeMounts | Self::Parts),
        );
        let args = at(r#""driver","#, matches!(self, Self::Args));
        let devices = at("", matches!(self, Self::VolumeDevices));
        let container = format!(
            r#"{{"name":"spark-kubernetes-driver","args":[{args}],"env":[{mark}],"volumeMounts":[{mount}],"volumeDevices":[{devices}]}},"#
        );
        let containers = at(&container, matches!(self, Self::Containers));
        let spec = at("", matches!(self, Self::Spec));
        let spec = if spec.is_empty() { spec } else { format!(",{spec}") };
        let uid = if let Self::Uid = self { "@" } else { "705ab4f5-6393-11e8-b7cc-42010a800002" };
        let labels = format!(
            r#"{{"name":"p","labels":{{{labels}}},"annotations":{{{annotations}}}{metadata}}}"#
        );
        // Where volumes are wrong, there are none before.
        let volumes =
            if let Self::Spec = self { String::new() } else { format!(r#","volumes":[{volume}]"#) };
        let pod = format!(
            r#"{{"kind":"Pod","metadata":{labels},"spec":{{"containers":[{containers}]{volumes}{spec}}}}}"#
        );
        let resource = r#"{"group":"","version":"v1","resource":"pods"}"#;
        let request = format!(
            r#"{{"uid":"{uid}","resource":{resource},"namespace":"n","operation":"CREATE","object":{pod}}}"#
        );
        format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{request}}}"#
        )
    }
}
