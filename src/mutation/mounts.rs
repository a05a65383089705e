//! What Spark's container has mounted, and whether something more can be mounted at a path.
//!
//! Where it cannot, the container would not start, and nobody but the kubelet would say why: runc
//! cannot make a mount point in a read-only file system, nor below or instead of a file (seen with
//! containerd 1.6). In a ConfigMap, secret, projected or downward-API volume the kubelet makes
//! directories itself, but no files.
//!
//! That is what `tests/node/mounts.rs` shows on a real node, case by case.
//!
//! The pod's own paths may be written in any way that the API server takes, so they are compared as
//! the kubelet sees them. And in most images `/var/run` is a link to `/run`: a mount below one of
//! them is in the other's place too.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use super::lookup::{FEW, Lookup};
use crate::annotations::Requests;
use crate::pod::{
    ConfigMapVolumeSource, Container, KeyToPath, Pod, ProjectedVolumeSource, Volume, VolumeMount,
    VolumeProjection, VolumeSource,
};
use crate::request::path::{MountPath, cleaned, is_below};
use crate::request::{DEFAULT_MODE, ObjectKind, Request};
use crate::text::Excerpt;

/// The mounts of Spark's container: first those that the pod has, then those that are added.
pub(super) struct Occupied<'a> {
    container: &'a Container<'a>,
    requests: &'a Requests<'a>,
    theirs: Vec<Mounted<'a>>,
    ours: Vec<Occupant<'a>>,
    /// Where there may be more than [`FEW`], and more than [`FEW_REQUESTS`], indices of both,
    /// `ours` after `theirs`, in the order of their paths. Of several mounts that are the same to
    /// others, it has the first and the last.
    by_path: Option<Vec<usize>>,
    devices: Lookup<Cow<'a, str>, ()>,
}

/// To sort thousands of mounts costs as much as to search them for so many requests.
const FEW_REQUESTS: usize = 16;

/// A mount that the pod has.
struct Mounted<'a> {
    occupant: Occupant<'a>,
    mount: &'a VolumeMount<'a>,
    volume: Option<&'a Volume<'a>>,
}

/// What matters of a mount to others above and below it.
struct Occupant<'a> {
    path: Cow<'a, str>,
    /// As it is written. The kubelet mounts it in the same place, but makes mount points only for
    /// paths that are written as absolute ones.
    is_relative: bool,
    surface: Surface,
}

/// What can be mounted below a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Surface {
    /// Nothing: it is a file.
    File,
    /// Nothing: no mount point can be made in it.
    ReadOnly,
    /// Directories, which the kubelet makes, also where the container sees it as read-only.
    MadeByKubelet,
    /// Everything.
    Writable,
}

/// What a request is mounted on top of, with `merge`.
pub(super) enum Merge<'a> {
    /// Its path shows a projected volume that ends with the user's ConfigMap: ours, from the first
    /// round.
    AlreadyThere,
    /// There is nothing to merge with.
    Plain,
    /// The user's ConfigMap is projected over this one.
    Onto(&'a ConfigMapVolumeSource<'a>),
    /// The directory to merge with is the one to mount at.
    OntoItself,
}

/// What is to be done for a request.
pub(super) enum Placement<'a> {
    /// Nothing: the pod mounts it there already.
    AlreadyThere,
    /// Its mount is added; with `merge` on top of a ConfigMap of the pod's.
    New(Option<&'a ConfigMapVolumeSource<'a>>),
}

/// Why a request is not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Refusal<'a> {
    #[error("{} is asked for there, write another path", .0.annotation.excerpt(50))]
    Taken(&'a Request<'a>),
    #[error("/run is /var/run, where {} is mounted; write another path", .0.annotation.excerpt(40))]
    TakenByLink(&'a Request<'a>),
    #[error("volume {} is mounted there; remove that mount or this annotation", Excerpt::new(.0, 30))]
    SomethingElse(&'a str),
    #[error("mounted there already, but with {0}; remove that mount or this annotation")]
    OtherForm(Difference),
    #[error("Spark's own files are at that path; write merge:path=OTHER")]
    MergeOntoItself,
    #[error("no file fits below {}, write another path or sparkConfigMap=NAME:merge", Excerpt::new(.0, 22))]
    FileInVolume(&'a str),
    #[error("nothing can be mounted below the read-only mount {}, write another path", Excerpt::new(.0, 25))]
    BelowReadOnly(&'a str),
    #[error("nothing can be mounted below the file mount {}, write another path", Excerpt::new(.0, 25))]
    BelowFile(&'a str),
    #[error("a directory cannot be mounted over the file mount {}, write another path", Excerpt::new(.0, 22))]
    AboveFile(&'a str),
    #[error("a file cannot be mounted over the mount {}, write another path", Excerpt::new(.0, 25))]
    FileAbove(&'a str),
    #[error("/run is /var/run, where {} is mounted; write {}", Excerpt::new(.mounted, 24), spelled(.instead.as_deref()))]
    Linked { mounted: &'a str, instead: Option<String> },
    #[error("the path of the mount at {} is relative, write it with a \"/\" or use another path", Excerpt::new(.0, 25))]
    Relative(&'a str),
    #[error("a block device has that path, write another one")]
    Device,
}

/// A path that is cut short would be another one.
fn spelled(path: Option<&str>) -> Cow<'_, str> {
    match path {
        Some(path) if path.len() <= 35 => Cow::Borrowed(path),
        Some(path) if path.starts_with("/var") => Cow::Borrowed("/var/run instead of /run"),
        Some(_) => Cow::Borrowed("/run instead of /var/run"),
        None => Cow::Borrowed("another path"),
    }
}

/// In what a mount of the right object is not what was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Difference {
    Optional(bool),
    DefaultMode(i64),
    Items,
    SubPath,
    SubPathExpr,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Optional(value) => write!(f, "optional: {value}"),
            Self::DefaultMode(mode) => write!(f, "mode {mode:04o}"),
            Self::Items => f.write_str("other items"),
            Self::SubPath => f.write_str("another subPath"),
            Self::SubPathExpr => f.write_str("subPathExpr"),
        }
    }
}

impl<'a> Occupied<'a> {
    pub(super) fn new(
        pod: &'a Pod<'a>,
        container: &'a Container<'a>,
        requests: &'a Requests<'a>,
    ) -> Self {
        // In order, because a pod may have thousands of both: the API server sends it before it has
        // looked at it.
        let mut volumes: Vec<&Volume> = pod.spec.volumes.iter().flatten().collect();
        volumes.sort_by_key(|volume| &*volume.name);
        let volume_of = |mount: &VolumeMount| {
            let index = volumes.binary_search_by_key(&&*mount.name, |volume| &*volume.name).ok()?;
            volumes.get(index).copied()
        };
        let mut files = Files::default();
        let mounted =
            |mount: &'a VolumeMount<'a>| Mounted::new(mount, volume_of(mount), &mut files);
        let theirs: Vec<Mounted> = container.volume_mounts.iter().flatten().map(mounted).collect();
        let is_worth_sorting =
            requests.mounts.len() > FEW_REQUESTS && theirs.len() + requests.mounts.len() > FEW;
        let by_path = is_worth_sorting.then(|| by_path(&theirs));
        let devices = container
            .volume_devices
            .iter()
            .flatten()
            .map(|device| (cleaned(&device.device_path), ()));
        let devices = Lookup::new(devices.collect());
        Self { container, requests, theirs, ours: Vec::new(), by_path, devices }
    }

    /// What is to be done for a request whose path no other request has, or why it cannot be
    /// carried out.
    pub(super) fn place(
        &self,
        request: &Request<'a>,
        merge: Merge<'a>,
    ) -> Result<Placement<'a>, Refusal<'_>> {
        let path = request.path.as_str();
        let at_path = self.at(path);
        let base = match (merge, at_path) {
            (Merge::AlreadyThere, _) => return Ok(Placement::AlreadyThere),
            (Merge::OntoItself, _) => return Err(Refusal::MergeOntoItself),
            (Merge::Plain, Some(mounted)) => {
                return mounted.refuse_unless_same(request).map(|()| Placement::AlreadyThere);
            }
            // A plain mount of the ConfigMap included: it does not show Spark's files.
            (Merge::Onto(_), Some(mounted)) => {
                mounted.refuse_unless_same(request)?;
                return Err(Refusal::SomethingElse(&mounted.mount.name));
            }
            (Merge::Onto(base), None) => Some(base),
            (Merge::Plain, None) => None,
        };
        if self.devices.contains(path) {
            return Err(Refusal::Device);
        }
        // Mount by mount, and not rule by rule: what is added comes after what the pod had, so a
        // second round finds the same reason first, and says the same.
        let point = MountPoint::of(path, request);
        match self.first_obstacle(point) {
            Some(Refusal::Linked { mounted, .. }) => Err(Refusal::Linked {
                mounted,
                instead: self.other_spelling_that_works(request, mounted),
            }),
            Some(refusal) => Err(refusal),
            None => Ok(Placement::New(base)),
        }
    }

    fn occupants(&self) -> impl Iterator<Item = &Occupant<'a>> {
        self.theirs.iter().map(|mounted| &mounted.occupant).chain(&self.ours)
    }

    fn occupant(&self, index: usize) -> Option<&Occupant<'a>> {
        match self.theirs.get(index) {
            Some(mounted) => Some(&mounted.occupant),
            None => self.ours.get(index - self.theirs.len()),
        }
    }

    fn path(&self, index: usize) -> &str {
        self.occupant(index).map_or("", |occupant| &occupant.path)
    }

    /// The obstacle that comes first in the order of the mounts.
    fn first_obstacle(&self, point: MountPoint) -> Option<Refusal<'_>> {
        match &self.by_path {
            None => self.occupants().find_map(|occupant| occupant.obstacle(point)),
            Some(by_path) => {
                self.near(point.path, by_path).find_map(|occupant| occupant.obstacle(point))
            }
        }
    }

    /// In their order, the mounts that may be obstacles at a path: at it, above it and below it, or
    /// where a link leads from there.
    fn near(&self, path: &str, by_path: &[usize]) -> impl Iterator<Item = &Occupant<'a>> {
        let mut near = Vec::new();
        self.push_near(path, by_path, &mut near);
        if let Some(other) = other_spelling(path) {
            self.push_near(&other, by_path, &mut near);
        }
        near.sort_unstable();
        near.into_iter().filter_map(|index| self.occupant(index))
    }

    /// Looked up and not searched for: a pod may have thousands of mounts, and hundreds of
    /// requests.
    fn push_near(&self, path: &str, by_path: &[usize], near: &mut Vec<usize>) {
        let below = by_path.partition_point(|index| cmp_below(self.path(*index), path).is_lt());
        let below = by_path.get(below..).unwrap_or_default().iter();
        near.extend(below.take_while(|index| is_below(self.path(**index), path)));
        // A path that sorts between a mount above it and itself begins with that mount's path, too.
        // So the last one before it tells how far up the next can be.
        let mut rest = path;
        let mut before = by_path;
        while !rest.is_empty() {
            before = before
                .get(..before.partition_point(|index| self.path(*index) <= rest))
                .unwrap_or_default();
            let Some(last) = before.last().map(|last| self.path(*last)) else { break };
            if last == rest || is_below(rest, last) {
                let same = before.iter().rev().take_while(|index| self.path(**index) == last);
                near.extend(same);
                rest = ancestor(last, last.len());
            } else {
                rest = ancestor(
                    rest,
                    rest.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count(),
                );
            }
        }
    }

    /// The path with `/run` for `/var/run`, or the other way round, where that can be mounted
    /// beside the mount at `blocking`.
    ///
    /// A second round has to say the same, but finds more mounts: those of requests. So these are
    /// left out, in every round.
    fn other_spelling_that_works(&self, request: &Request<'a>, blocking: &str) -> Option<String> {
        let other = other_spelling(request.path.as_str())?;
        let is_requested =
            |path: &str| self.requests.mounts.iter().any(|request| request.path.as_str() == path);
        if is_requested(&other) || MountPath::parse(&other).is_err() {
            return None;
        }
        if let Some(mounted) = self.at(&other) {
            return mounted.refuse_unless_same(request).is_ok().then_some(other);
        }
        let point = MountPoint::of(&other, request);
        let is_none_of_the_pods = |occupant: &Occupant| {
            occupant.obstacle(point).is_none()
                || occupant.path != blocking && is_requested(&occupant.path)
        };
        let works = match &self.by_path {
            None => self.occupants().all(is_none_of_the_pods),
            Some(by_path) => self.near(&other, by_path).all(is_none_of_the_pods),
        };
        works.then_some(other)
    }

    /// Remembers the mount of a request that is carried out.
    pub(super) fn add(&mut self, request: &'a Request<'a>) {
        let surface =
            if request.options.file.is_some() { Surface::File } else { Surface::MadeByKubelet };
        let path = request.path.as_str();
        if let Some(mut by_path) = self.by_path.take() {
            let place = by_path.partition_point(|index| self.path(*index) <= path);
            by_path.insert(place, self.theirs.len() + self.ours.len());
            self.by_path = Some(by_path);
        }
        self.ours.push(Occupant { path: Cow::Borrowed(path), is_relative: false, surface });
    }

    /// The last of the mounts at a path: the kernel shows the one that was made last.
    fn at(&self, path: &str) -> Option<&Mounted<'a>> {
        let Some(by_path) = &self.by_path else {
            return self.theirs.iter().rfind(|mounted| mounted.occupant.path == path);
        };
        let after = by_path.partition_point(|index| self.path(*index) <= path);
        let same =
            by_path.get(..after)?.iter().rev().take_while(|index| self.path(**index) == path);
        same.filter(|index| **index < self.theirs.len())
            .max()
            .and_then(|index| self.theirs.get(*index))
    }

    /// The volume that is mounted, whole, at a path, and that path as the kubelet sees it; none
    /// where it depends on the directory in which a process runs.
    pub(super) fn volume_at<'p>(&self, path: &'p str) -> Option<(Cow<'p, str>, &'a Volume<'a>)> {
        let path = path.starts_with('/').then(|| cleaned(path))?;
        let mounted = self.at(&path)?;
        if mounted.has_sub_path() { None } else { Some((path, mounted.volume?)) }
    }

    /// The container whose mounts these are.
    pub(super) fn container(&self) -> &'a Container<'a> {
        self.container
    }
}

/// The indices of mounts in the order of their paths, without those between the first and the last
/// of the same path and surface.
fn by_path(mounts: &[Mounted]) -> Vec<usize> {
    let mut kinds: Vec<(&str, Surface, bool, usize)> = mounts
        .iter()
        .enumerate()
        .map(|(index, Mounted { occupant: Occupant { path, is_relative, surface }, .. })| {
            (&**path, *surface, *is_relative, index)
        })
        .collect();
    kinds.sort_unstable();
    let runs = kinds.chunk_by(
        |(path, surface, is_relative, _), (other, other_surface, other_is_relative, _)| {
            path == other && surface == other_surface && is_relative == other_is_relative
        },
    );
    runs.flat_map(|run| run.first().into_iter().chain(run.get(1..).and_then(<[_]>::last)))
        .map(|(.., index)| *index)
        .collect()
}

impl<'a> Mounted<'a> {
    fn new(
        mount: &'a VolumeMount<'a>,
        volume: Option<&'a Volume<'a>>,
        files: &mut Files<'a>,
    ) -> Self {
        let sub_path =
            has_text(mount.sub_path.as_deref()).or(has_text(mount.sub_path_expr.as_deref()));
        let surface = match volume.map(|volume| (volume, &volume.source)) {
            Some((
                volume,
                VolumeSource::ConfigMap(_)
                | VolumeSource::Secret(_)
                | VolumeSource::Projected(_)
                | VolumeSource::DownwardApi(_),
            )) => match sub_path {
                None => Surface::MadeByKubelet,
                // The kubelet makes directories in the volume, and not in a part of it.
                Some(sub_path) if files.has_directory(volume, sub_path) => Surface::ReadOnly,
                Some(_) => Surface::File,
            },
            Some((_, VolumeSource::HostFile)) => Surface::File,
            Some((_, VolumeSource::ReadOnly)) => Surface::ReadOnly,
            Some((_, VolumeSource::Other)) | None if mount.read_only == Some(true) => {
                Surface::ReadOnly
            }
            Some((_, VolumeSource::Other)) | None => Surface::Writable,
        };
        let is_relative = !mount.mount_path.starts_with('/');
        Self {
            occupant: Occupant { path: cleaned(&mount.mount_path), is_relative, surface },
            mount,
            volume,
        }
    }

    fn has_sub_path(&self) -> bool {
        [&self.mount.sub_path, &self.mount.sub_path_expr]
            .into_iter()
            .any(|path| has_text(path.as_deref()).is_some())
    }

    /// Whether it shows what a request without `merge` asks for, and if not, what else.
    fn refuse_unless_same(&self, request: &Request) -> Result<(), Refusal<'a>> {
        let something_else = Err(Refusal::SomethingElse(&self.mount.name));
        let (name, optional, default_mode, items) = match self.volume.map(|volume| &volume.source) {
            Some(VolumeSource::ConfigMap(source))
                if request.object_kind() == ObjectKind::ConfigMap =>
            {
                (&source.name, source.optional, source.default_mode, &source.items)
            }
            Some(VolumeSource::Secret(source)) if request.object_kind() == ObjectKind::Secret => {
                (&source.secret_name, source.optional, source.default_mode, &source.items)
            }
            _ => return something_else,
        };
        if name.as_deref() != Some(request.name.as_str()) {
            return something_else;
        }
        let file = request.options.file.map(|file| file.as_str());
        let optional = optional.unwrap_or(false);
        let default_mode = default_mode.unwrap_or(DEFAULT_MODE.into());
        let difference = if has_text(self.mount.sub_path_expr.as_deref()).is_some() {
            Difference::SubPathExpr
        } else if has_text(self.mount.sub_path.as_deref()) != file {
            Difference::SubPath
        } else if !show_the_same(items.as_deref().unwrap_or_default(), file) {
            Difference::Items
        } else if optional != request.options.optional {
            Difference::Optional(optional)
        } else if default_mode != i64::from(request.default_mode()) {
            Difference::DefaultMode(default_mode)
        } else {
            return Ok(());
        };
        Err(Refusal::OtherForm(difference))
    }
}

/// Whether a volume with these items shows what a request asks for: all keys under their names, or
/// in the file that the mount picks the key of the same name.
fn show_the_same(items: &[KeyToPath], file: Option<&str>) -> bool {
    let Some(file) = file else { return items.is_empty() };
    items.is_empty()
        || items.iter().any(|item| &*item.key == file && &*item.path == file && item.mode.is_none())
}

/// The files that the items of each volume make, by the volume's name: sorted, because a pod may
/// have thousands of items, and thousands of mounts that each show a part of them.
#[derive(Default)]
struct Files<'a>(BTreeMap<&'a str, Vec<Cow<'a, str>>>);

impl<'a> Files<'a> {
    /// Whether items show that a path in a volume is a directory: a file of theirs is below it.
    fn has_directory(&mut self, volume: &'a Volume<'a>, path: &str) -> bool {
        let files = self.0.entry(&volume.name).or_insert_with(|| {
            let mut files: Vec<Cow<str>> =
                item_paths(&volume.source).into_iter().map(cleaned).collect();
            files.sort_unstable();
            files
        });
        let directory = cleaned(path);
        let start = if directory == "/" { directory } else { directory + "/" };
        let first = files.partition_point(|file| *file <= start);
        files.get(first).is_some_and(|file| file.starts_with(&*start))
    }
}

/// The paths of a volume's items.
fn item_paths<'a>(source: &'a VolumeSource<'a>) -> Vec<&'a str> {
    fn of_items<'a>(items: Option<&'a Vec<KeyToPath<'a>>>) -> impl Iterator<Item = &'a str> {
        items.into_iter().flatten().map(|item| &*item.path)
    }
    match source {
        VolumeSource::ConfigMap(source) => of_items(source.items.as_ref()).collect(),
        VolumeSource::Secret(source) => of_items(source.items.as_ref()).collect(),
        VolumeSource::DownwardApi(source) => {
            source.in_directories.iter().map(|path| &**path).collect()
        }
        VolumeSource::Projected(ProjectedVolumeSource { sources }) => {
            let of_source = |source: &'a VolumeProjection<'a>| {
                let VolumeProjection { config_map, secret, downward_api } = source;
                let others = [secret, downward_api]
                    .into_iter()
                    .flatten()
                    .flat_map(|source| &source.in_directories);
                let config_map =
                    config_map.iter().flat_map(|source| of_items(source.items.as_ref()));
                config_map.chain(others.map(|path| &**path))
            };
            sources.iter().flatten().flat_map(of_source).collect()
        }
        VolumeSource::HostFile | VolumeSource::ReadOnly | VolumeSource::Other => Vec::new(),
    }
}

/// Where something is to be mounted.
#[derive(Clone, Copy)]
struct MountPoint<'p> {
    path: &'p str,
    is_file: bool,
    /// As [`below_run`] has it.
    below_run: Option<(&'static str, &'p str)>,
}

impl<'p> MountPoint<'p> {
    fn of(path: &'p str, request: &Request) -> Self {
        Self { path, is_file: request.options.file.is_some(), below_run: below_run(path) }
    }
}

impl Occupant<'_> {
    fn obstacle(&self, point: MountPoint) -> Option<Refusal<'_>> {
        let MountPoint { path, is_file, below_run } = point;
        if is_below(path, &self.path) {
            return match self.surface {
                Surface::File => Some(Refusal::BelowFile(&self.path)),
                Surface::ReadOnly => Some(Refusal::BelowReadOnly(&self.path)),
                Surface::MadeByKubelet if is_file => Some(Refusal::FileInVolume(&self.path)),
                Surface::MadeByKubelet if self.is_relative => Some(Refusal::Relative(&self.path)),
                Surface::MadeByKubelet | Surface::Writable => None,
            };
        }
        if is_below(&self.path, path) {
            return match self.surface {
                _ if is_file => Some(Refusal::FileAbove(&self.path)),
                Surface::File => Some(Refusal::AboveFile(&self.path)),
                _ if self.is_relative => Some(Refusal::Relative(&self.path)),
                Surface::ReadOnly | Surface::MadeByKubelet | Surface::Writable => None,
            };
        }
        meets_by_link(below_run?, &self.path)
            .then(|| Refusal::Linked { mounted: &self.path, instead: None })
    }
}

/// Whether two paths are one, or one is below the other, only because `/var/run` is a link to
/// `/run`. The kubelet prepares nested mount points by the written path, so the container would not
/// start, or one mount would hide the other.
fn meets_by_link((run, rest): (&'static str, &str), other: &str) -> bool {
    let Some((other_run, other_rest)) = below_run(other) else { return false };
    run != other_run && (is_at_or_below(rest, other_rest) || is_at_or_below(other_rest, rest))
}

/// Whether two paths are one only because `/var/run` is a link to `/run`.
pub(super) fn are_one_by_link(a: &str, b: &str) -> bool {
    let (Some((a_run, a_rest)), Some((b_run, b_rest))) = (below_run(a), below_run(b)) else {
        return false;
    };
    a_run != b_run && a_rest == b_rest
}

fn is_at_or_below(rest: &str, ancestor: &str) -> bool {
    rest.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// As which of the two a path begins, and what follows.
fn below_run(path: &str) -> Option<(&'static str, &str)> {
    ["/run", "/var/run"].into_iter().find_map(|run| {
        let rest = path.strip_prefix(run)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((run, rest))
    })
}

/// Where a path stands among those below another one.
fn cmp_below(path: &str, ancestor: &str) -> Ordering {
    match path.as_bytes().split_at_checked(ancestor.len()) {
        Some((head, rest)) => {
            head.cmp(ancestor.as_bytes()).then_with(|| rest.first().cmp(&Some(&b'/')))
        }
        None if ancestor.starts_with(path) => Ordering::Less,
        None => path.cmp(ancestor),
    }
}

/// The lowest directory above a path that ends at a place or before; nothing where there is none.
fn ancestor(path: &str, place: usize) -> &str {
    match path.bytes().take(place + 1).rposition(|byte| byte == b'/') {
        Some(0) if path.len() > 1 => "/",
        Some(end) => path.get(..end).unwrap_or_default(),
        None => "",
    }
}

fn other_spelling(path: &str) -> Option<String> {
    let (run, rest) = below_run(path)?;
    Some([if run == "/run" { "/var/run" } else { "/run" }, rest].concat())
}

fn has_text(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
