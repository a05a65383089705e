//! The second half of the contract: what a pod shows at a path, and what becomes of a request there.

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, ConfigMapVolumeSource, Container, EnvVar, KeyToPath, Pod,
    ProjectedVolumeSource, SecretVolumeSource, Volume, VolumeMount, VolumeProjection,
};
use sha2::{Digest, Sha256};

use super::requests::{Ask, Request, is_below, meets_by_link, seen};

/// What the API server fills in for a volume without a mode.
const DEFAULT_MODE: i32 = 0o644;

/// What a mount of a ConfigMap or Secret shows, as far as two mounts are the same by it.
#[derive(Debug, PartialEq)]
pub(super) struct Form {
    is_secret: bool,
    name: String,
    optional: bool,
    mode: i32,
    items: Vec<KeyToPath>,
    sub_path: Option<String>,
}

impl Form {
    pub(super) fn of(mount: &VolumeMount, volume: &Volume) -> Option<Self> {
        let (is_secret, name, optional, mode, items) = match volume {
            Volume {
                config_map: Some(ConfigMapVolumeSource { name, optional, default_mode, items }),
                ..
            } => (false, name.clone(), optional, default_mode, items),
            Volume {
                secret: Some(SecretVolumeSource { secret_name, optional, default_mode, items }),
                ..
            } => (true, secret_name.clone().unwrap_or_default(), optional, default_mode, items),
            _ => return None,
        };
        mount.sub_path_expr.is_none().then(|| Self {
            is_secret,
            name,
            optional: optional.unwrap_or_default(),
            mode: mode.unwrap_or(DEFAULT_MODE),
            items: items.clone().unwrap_or_default(),
            sub_path: mount.sub_path.clone().filter(|sub_path| !sub_path.is_empty()),
        })
    }
}

impl Form {
    /// A file is the same with and without items for its key.
    pub(super) fn is_shown_by(&self, there: &Self) -> bool {
        let Self { is_secret, name, optional, mode, items, sub_path } = self;
        let has_items = match sub_path {
            Some(_) => {
                there.items.is_empty() || items.iter().all(|item| there.items.contains(item))
            }
            None => there.items == *items,
        };
        has_items
            && (is_secret, name, optional, mode, sub_path)
                == (&there.is_secret, &there.name, &there.optional, &there.mode, &there.sub_path)
    }
}

impl Request {
    pub(super) fn form(&self) -> Form {
        let item = |file: &String| KeyToPath { key: file.clone(), path: file.clone(), mode: None };
        Form {
            is_secret: self.class.is_secret(),
            name: self.name.clone(),
            optional: self.optional,
            mode: self.mode.unwrap_or(DEFAULT_MODE),
            items: self.file.iter().map(item).collect(),
            sub_path: self.file.clone(),
        }
    }

    pub(super) fn is_same_source(&self, other: &Self) -> bool {
        !self.merge && !other.merge && self.form() == other.form()
    }

    /// As the record names it.
    pub(super) fn recorded(&self) -> String {
        let kind = if self.class.is_secret() { "secret" } else { "configmap" };
        let file = self.file.as_ref().map_or_else(String::new, |file| format!("/{file}"));
        format!("{}={kind}/{}{file}", self.path, self.name)
    }

    /// The names, one after the other, of a volume whose name from the table cannot be taken.
    pub(super) fn hashed_volumes(&self) -> impl Iterator<Item = String> {
        let options = [
            self.file.as_ref().map(|file| format!("file={file}")),
            self.merge.then(|| "merge".to_owned()),
            self.mode.map(|mode| format!("mode={mode:04o}")),
            self.optional.then(|| "optional".to_owned()),
        ];
        let kind = if self.class.is_secret() { "Secret" } else { "ConfigMap" };
        let hashed = format!(
            "{kind}/{}:{}",
            self.name,
            options.into_iter().flatten().collect::<Vec<_>>().join(":")
        );
        let digest = Sha256::digest(hashed.as_bytes());
        let name = self.class.volume(&self.name).to_lowercase();
        let name = name.replace(
            |char: char| !(char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-'),
            "-",
        );
        (1..).map(move |number| {
            // Even with a number it is a label.
            let number = if number == 1 { String::new() } else { format!("-{number}") };
            let stem = name[..name.len().min(54 - number.len())].trim_matches('-');
            format!(
                "{stem}-{:02x}{:02x}{:02x}{:02x}{number}",
                digest[0], digest[1], digest[2], digest[3]
            )
        })
    }
}

pub(super) fn volumes(pod: &Pod) -> &[Volume] {
    pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default()
}

pub(super) fn containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().map_or(&[], |spec| &spec.containers)
}

pub(super) fn mounts(container: &Container) -> &[VolumeMount] {
    container.volume_mounts.as_deref().unwrap_or_default()
}

pub(super) fn env(container: &Container) -> &[EnvVar] {
    container.env.as_deref().unwrap_or_default()
}

fn has_sub_path(mount: &VolumeMount) -> bool {
    [&mount.sub_path, &mount.sub_path_expr].into_iter().flatten().any(|path| !path.is_empty())
}

pub(super) fn is_marked(container: &Container, role: &str) -> bool {
    let mark = if role == "driver" { "SPARK_DRIVER_BIND_ADDRESS" } else { "SPARK_EXECUTOR_ID" };
    env(container).iter().any(|env| env.name == mark)
}

/// The one container that is Spark's.
pub(super) fn spark_container(pod: &Pod, role: &str, wanted: Option<&str>) -> Option<usize> {
    let containers = containers(pod);
    let only = |rule: &dyn Fn(&Container) -> bool| {
        let found: Vec<usize> =
            (0..containers.len()).filter(|&index| rule(&containers[index])).collect();
        if let [one] = found[..] { Some(one) } else { None }
    };
    let with_name = |name: &str| containers.iter().position(|container| container.name == name);
    let names: &[&str] = match role {
        "driver" => &["spark-kubernetes-driver"],
        _ => &["spark-kubernetes-executor", "executor"],
    };
    let found = only(&|container| is_marked(container, role))
        .or_else(|| names.iter().find_map(|name| with_name(name)));
    if found.is_some() {
        return found;
    }
    match wanted {
        Some(wanted) => with_name(wanted),
        None => only(&|container| container.args.iter().flatten().any(|argument| argument == role))
            .or_else(|| only(&|_| true)),
    }
}

/// Spark's container in a pod, with the pod's volumes.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) container: &'a Container,
    pub(super) volumes: &'a [Volume],
}

/// The files that `merge` shows beneath the user's.
enum Base<'a> {
    /// There are none, or they are the user's own.
    Plain,
    Of(String, &'a ConfigMapVolumeSource),
    Unclear,
}

/// What a request that is carried out leads to.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Plain,
    /// Merged by an earlier round, or by somebody else.
    FoundMerged,
    /// The user's ConfigMap above this one.
    Merged(ConfigMapProjection),
}

/// What becomes of a request, by the contract.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    CarriedOut(Shape),
    Refused,
    /// The rules leave it open, and both pass.
    Open,
}

impl<'a> View<'a> {
    pub(super) fn of(pod: &'a Pod, container: usize) -> Self {
        Self { container: &containers(pod)[container], volumes: volumes(pod) }
    }

    /// What is seen at a path: the last mount there.
    pub(super) fn at(self, path: &str) -> Option<(&'a VolumeMount, &'a Volume)> {
        let mount = mounts(self.container).iter().rfind(|mount| seen(&mount.mount_path) == path)?;
        Some((mount, self.volumes.iter().find(|volume| volume.name == mount.name)?))
    }

    pub(super) fn variable(self, name: &str) -> Option<&'a EnvVar> {
        env(self.container).iter().rfind(|env| env.name == name)
    }

    fn base(self, request: &Request) -> Base<'a> {
        let (_, variable, _) = request.class.defaults();
        let Some(EnvVar { value, value_from: None, .. }) = self.variable(variable) else {
            return Base::Plain;
        };
        let directory = value.as_deref().unwrap_or_default();
        if directory.contains("$(") {
            return Base::Plain;
        }
        if !directory.starts_with('/') || directory.contains("$$") {
            return if self.at(&seen(directory)).is_some() { Base::Unclear } else { Base::Plain };
        }
        let directory = seen(directory);
        match self.at(&directory) {
            Some((mount, Volume { config_map: Some(base), .. }))
                if !has_sub_path(mount) && base.name != request.name =>
            {
                Base::Of(directory, base)
            }
            _ => Base::Plain,
        }
    }

    /// Whether the last source of what is projected at the path is the user's ConfigMap.
    pub(super) fn shows_merged(self, request: &Request) -> bool {
        let last = self
            .at(&request.path)
            .and_then(|(_, volume)| volume.projected.as_ref()?.sources.as_ref()?.last());
        last.and_then(|last| last.config_map.as_ref()).is_some_and(|last| {
            let ConfigMapProjection { name, optional, items } = last;
            *name == request.name
                && optional.unwrap_or_default() == request.optional
                && items.as_ref().is_none_or(Vec::is_empty)
        })
    }

    pub(super) fn shows_plain(self, request: &Request) -> bool {
        let there = self.at(&request.path).and_then(|(mount, volume)| Form::of(mount, volume));
        there.is_some_and(|there| request.form().is_shown_by(&there))
    }

    pub(super) fn shows(self, request: &Request, shape: &Shape) -> bool {
        match shape {
            Shape::Plain => self.shows_plain(request),
            Shape::FoundMerged => self.shows_merged(request),
            Shape::Merged(base) => {
                let Some((mount, Volume { projected: Some(projected), .. })) =
                    self.at(&request.path)
                else {
                    return false;
                };
                let ProjectedVolumeSource { default_mode, sources } = projected;
                let user = ConfigMapProjection {
                    name: request.name.clone(),
                    optional: Some(request.optional),
                    items: None,
                };
                let expected = [base.clone(), user].map(|source| Some(plain_projection(source)));
                let found = sources.iter().flatten().map(|source| {
                    let VolumeProjection { config_map, .. } = source.clone();
                    let is_all = source
                        == &VolumeProjection {
                            config_map: config_map.clone(),
                            ..Default::default()
                        };
                    config_map.filter(|_| is_all).map(plain_projection)
                });
                !has_sub_path(mount)
                    && found.collect::<Vec<_>>() == expected
                    && default_mode.unwrap_or(DEFAULT_MODE) == request.mode.unwrap_or(DEFAULT_MODE)
            }
        }
    }
}

/// With what is absent and what is written out made one.
fn plain_projection(
    ConfigMapProjection { name, optional, items }: ConfigMapProjection,
) -> ConfigMapProjection {
    ConfigMapProjection {
        name,
        optional: Some(optional.unwrap_or_default()),
        items: Some(items.unwrap_or_default()),
    }
}

/// Whether items of a volume show that a part of it is a directory. Other mounts need a mount point
/// in it, which the kubelet makes only at the volume's top.
fn is_directory_in(volume: &Volume, mount: &VolumeMount) -> bool {
    let Some(part) = mount.sub_path.as_ref().filter(|path| !path.is_empty()) else { return false };
    let written = serde_json::to_value(volume).unwrap();
    let sources = written["projected"]["sources"].as_array().cloned().unwrap_or_default();
    let all =
        sources.iter().chain([&written]).flat_map(|source| source.as_object().unwrap().values());
    let items = all.flat_map(|source| source["items"].as_array().cloned().unwrap_or_default());
    items.into_iter().any(|item| is_below(&seen(item["path"].as_str().unwrap()), &seen(part)))
}

/// Whichever source it is: all that have the field spell it the same.
fn is_read_only_at_source(volume: &Volume) -> bool {
    let written = serde_json::to_value(volume).unwrap();
    written.as_object().unwrap().values().any(|source| source["readOnly"] == true)
}

/// Something mounted, as far as it stands in the way of what is above and below it.
struct Place {
    path: String,
    room: Room,
    /// It is written without the first slash: the kubelet makes no mount point for it, and none in
    /// it.
    is_relative: bool,
    /// Another mount at the same path comes after it.
    is_hidden: bool,
}

/// What can be mounted below something.
#[derive(Clone, Copy, PartialEq)]
enum Room {
    /// Nothing, and no directory above it either: it is a file.
    File,
    /// Directories: the kubelet writes the volume of a ConfigMap, of a Secret, a projected or a
    /// downward-API volume.
    OfKubelet,
    /// Nothing: it is read-only as a mount, at its source, or as an image.
    ReadOnly,
    Writable,
}

impl Place {
    fn forbids(&self, request: &Request) -> bool {
        if is_below(&request.path, &self.path) {
            match self.room {
                Room::File | Room::ReadOnly => true,
                Room::OfKubelet => request.file.is_some() || self.is_relative,
                Room::Writable => false,
            }
        } else if is_below(&self.path, &request.path) {
            request.file.is_some() || self.room == Room::File || self.is_relative
        } else {
            meets_by_link(&request.path, &self.path)
        }
    }
}

/// A request that was carried out.
pub(super) struct CarriedOut<'a> {
    pub(super) ask: &'a Ask,
    pub(super) request: &'a Request,
    /// Mounted by this patch, and not found or shared.
    pub(super) is_new: bool,
}

/// Where the pod stood before, and what was carried out and refused so far.
pub(super) struct Round<'a> {
    pub(super) before: View<'a>,
    pub(super) done: Vec<CarriedOut<'a>>,
    pub(super) refused: Vec<&'a Request>,
}

impl Round<'_> {
    pub(super) fn verdict(&self, request: &Request) -> Verdict {
        if let Some(earlier) = self.done.iter().find(|done| done.request.path == request.path) {
            let is_same = earlier.request.is_same_source(request);
            return if is_same { Verdict::CarriedOut(Shape::Plain) } else { Verdict::Refused };
        }
        let verdict = self.against_pod(request);
        let lost_already = self
            .refused
            .iter()
            .any(|earlier| earlier.path == request.path && !earlier.is_same_source(request));
        if lost_already && matches!(verdict, Verdict::CarriedOut(_)) {
            Verdict::Open
        } else {
            verdict
        }
    }

    fn against_pod(&self, request: &Request) -> Verdict {
        let there = self.before.at(&request.path);
        if request.merge {
            if self.before.shows_merged(request) {
                let is_whole = there.is_some_and(|(mount, _)| !has_sub_path(mount));
                return if is_whole {
                    Verdict::CarriedOut(Shape::FoundMerged)
                } else {
                    Verdict::Open
                };
            }
            match self.before.base(request) {
                Base::Plain => {}
                Base::Unclear => return Verdict::Open,
                Base::Of(directory, _) if directory == request.path || there.is_some() => {
                    return Verdict::Refused;
                }
                Base::Of(_, ConfigMapVolumeSource { name, optional, items, .. }) => {
                    let base = ConfigMapProjection {
                        name: name.clone(),
                        optional: *optional,
                        items: items.clone(),
                    };
                    return self.possible(request, Shape::Merged(base));
                }
            }
        }
        match there {
            Some(_) if self.before.shows_plain(request) => Verdict::CarriedOut(Shape::Plain),
            Some(_) => Verdict::Refused,
            None => self.possible(request, Shape::Plain),
        }
    }

    /// Whether there can be a mount point, by the pod's mounts and those of the requests before.
    fn possible(&self, request: &Request, shape: Shape) -> Verdict {
        let devices = self.before.container.volume_devices.as_deref().unwrap_or_default();
        if devices.iter().any(|device| seen(&device.device_path) == request.path) {
            return Verdict::Refused;
        }
        let places = self.places();
        let above =
            places.iter().filter(|place| !place.is_hidden && is_below(&request.path, &place.path));
        let nearest = above.map(|place| place.path.len()).max();
        let is_certain = |place: &&Place| {
            let is_above = is_below(&request.path, &place.path);
            !place.is_hidden && (!is_above || Some(place.path.len()) == nearest)
        };
        let forbidding: Vec<&Place> =
            places.iter().filter(|place| place.forbids(request)).collect();
        match () {
            () if forbidding.is_empty() => Verdict::CarriedOut(shape),
            () if forbidding.iter().any(is_certain) => Verdict::Refused,
            // What forbids it is behind another mount.
            () => Verdict::Open,
        }
    }

    fn places(&self) -> Vec<Place> {
        let mounts = mounts(self.before.container);
        let paths: Vec<String> = mounts.iter().map(|mount| seen(&mount.mount_path)).collect();
        let own = mounts.iter().enumerate().filter_map(|(index, mount)| {
            let volume = self.before.volumes.iter().find(|volume| volume.name == mount.name)?;
            let Volume { config_map, secret, projected, downward_api, image, host_path, .. } =
                volume;
            let of_kubelet = config_map.is_some()
                || secret.is_some()
                || projected.is_some()
                || downward_api.is_some();
            let is_directory = of_kubelet && is_directory_in(volume, mount);
            let is_host_file = host_path
                .as_ref()
                .and_then(|host_path| host_path.type_.as_deref())
                .is_some_and(|kind| {
                    ["File", "FileOrCreate", "Socket", "CharDevice", "BlockDevice"].contains(&kind)
                });
            let read_only_at_source = image.is_some() || is_read_only_at_source(volume);
            let room = if is_directory {
                Room::ReadOnly
            } else if is_host_file || (of_kubelet && has_sub_path(mount)) {
                Room::File
            } else if of_kubelet {
                Room::OfKubelet
            } else if mount.read_only == Some(true) || read_only_at_source {
                Room::ReadOnly
            } else {
                Room::Writable
            };
            Some(Place {
                path: paths[index].clone(),
                room,
                is_relative: !mount.mount_path.starts_with('/'),
                is_hidden: paths[index + 1..].contains(&paths[index]),
            })
        });
        let ours = self.done.iter().filter(|done| done.is_new).map(|done| Place {
            path: done.request.path.clone(),
            room: if done.request.file.is_some() { Room::File } else { Room::OfKubelet },
            is_relative: false,
            is_hidden: false,
        });
        own.chain(ours).collect()
    }
}
