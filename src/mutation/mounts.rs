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

use super::lookup::{FEW, Lookup};
use crate::annotations::Requests;
use crate::pod::{ConfigMapVolumeSource, Container, Pod, Volume, VolumeMount};
use crate::request::Request;
use crate::request::path::{MountPath, cleaned, is_below};

mod conflict;
mod files;
mod mounted;
mod paths;

pub(super) use conflict::Conflict;
pub(super) use paths::are_one_by_link;

use files::Files;
use mounted::Mounted;
use paths::{ancestor, below_run, cmp_below, meets_by_link, other_spelling};

/// The mounts of Spark's container: first those that the pod has, then those that are added.
pub(super) struct MountTable<'a> {
    container: &'a Container<'a>,
    requests: &'a Requests<'a>,
    theirs: Vec<Mounted<'a>>,
    ours: Vec<MountPoint<'a>>,
    /// Where there may be more than [`FEW`], and more than [`FEW_REQUESTS`], indices of both,
    /// `ours` after `theirs`, in the order of their paths. Of several mounts that are the same to
    /// others, it has the first and the last.
    by_path: Option<Vec<usize>>,
    devices: Lookup<Cow<'a, str>, ()>,
}

/// To sort thousands of mounts costs as much as to search them for so many requests.
const FEW_REQUESTS: usize = 16;

/// What matters of a mount to others above and below it.
struct MountPoint<'a> {
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

impl<'a> MountTable<'a> {
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
    ) -> Result<Placement<'a>, Conflict<'_>> {
        let path = request.path.as_str();
        let at_path = self.at(path);
        let base = match (merge, at_path) {
            (Merge::AlreadyThere, _) => return Ok(Placement::AlreadyThere),
            (Merge::OntoItself, _) => return Err(Conflict::MergeOntoItself),
            (Merge::Plain, Some(mounted)) => {
                return mounted.conflict_unless_same(request).map(|()| Placement::AlreadyThere);
            }
            // A plain mount of the ConfigMap included: it does not show Spark's files.
            (Merge::Onto(_), Some(mounted)) => {
                mounted.conflict_unless_same(request)?;
                return Err(Conflict::SomethingElse(&mounted.mount.name));
            }
            (Merge::Onto(base), None) => Some(base),
            (Merge::Plain, None) => None,
        };
        if self.devices.contains(path) {
            return Err(Conflict::Device);
        }
        // Mount by mount, and not rule by rule: what is added comes after what the pod had, so a
        // second round finds the same reason first, and says the same.
        let target = Target::of(path, request);
        match self.first_obstacle(target) {
            Some(Conflict::Linked { mounted, .. }) => Err(Conflict::Linked {
                mounted,
                instead: self.other_spelling_that_works(request, mounted),
            }),
            Some(conflict) => Err(conflict),
            None => Ok(Placement::New(base)),
        }
    }

    fn points(&self) -> impl Iterator<Item = &MountPoint<'a>> {
        self.theirs.iter().map(|mounted| &mounted.point).chain(&self.ours)
    }

    fn point(&self, index: usize) -> Option<&MountPoint<'a>> {
        match self.theirs.get(index) {
            Some(mounted) => Some(&mounted.point),
            None => self.ours.get(index - self.theirs.len()),
        }
    }

    fn path(&self, index: usize) -> &str {
        self.point(index).map_or("", |point| &point.path)
    }

    /// The obstacle that comes first in the order of the mounts.
    fn first_obstacle(&self, target: Target) -> Option<Conflict<'_>> {
        match &self.by_path {
            None => self.points().find_map(|point| point.obstacle(target)),
            Some(by_path) => {
                self.near(target.path, by_path).find_map(|point| point.obstacle(target))
            }
        }
    }

    /// In their order, the mounts that may be obstacles at a path: at it, above it and below it, or
    /// where a link leads from there.
    fn near(&self, path: &str, by_path: &[usize]) -> impl Iterator<Item = &MountPoint<'a>> {
        let mut near = Vec::new();
        self.push_near(path, by_path, &mut near);
        if let Some(other) = other_spelling(path) {
            self.push_near(&other, by_path, &mut near);
        }
        near.sort_unstable();
        near.into_iter().filter_map(|index| self.point(index))
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
            return mounted.conflict_unless_same(request).is_ok().then_some(other);
        }
        let target = Target::of(&other, request);
        let is_none_of_the_pods = |point: &MountPoint| {
            point.obstacle(target).is_none() || point.path != blocking && is_requested(&point.path)
        };
        let works = match &self.by_path {
            None => self.points().all(is_none_of_the_pods),
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
        self.ours.push(MountPoint { path: Cow::Borrowed(path), is_relative: false, surface });
    }

    /// The last of the mounts at a path: the kernel shows the one that was made last.
    fn at(&self, path: &str) -> Option<&Mounted<'a>> {
        let Some(by_path) = &self.by_path else {
            return self.theirs.iter().rfind(|mounted| mounted.point.path == path);
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
        .map(|(index, Mounted { point: MountPoint { path, is_relative, surface }, .. })| {
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

/// Where something is to be mounted.
#[derive(Clone, Copy)]
struct Target<'p> {
    path: &'p str,
    is_file: bool,
    /// As [`below_run`] has it.
    below_run: Option<(&'static str, &'p str)>,
}

impl<'p> Target<'p> {
    fn of(path: &'p str, request: &Request) -> Self {
        Self { path, is_file: request.options.file.is_some(), below_run: below_run(path) }
    }
}

impl MountPoint<'_> {
    fn obstacle(&self, target: Target) -> Option<Conflict<'_>> {
        let Target { path, is_file, below_run } = target;
        if is_below(path, &self.path) {
            return match self.surface {
                Surface::File => Some(Conflict::BelowFile(&self.path)),
                Surface::ReadOnly => Some(Conflict::BelowReadOnly(&self.path)),
                Surface::MadeByKubelet if is_file => Some(Conflict::FileInVolume(&self.path)),
                Surface::MadeByKubelet if self.is_relative => Some(Conflict::Relative(&self.path)),
                Surface::MadeByKubelet | Surface::Writable => None,
            };
        }
        if is_below(&self.path, path) {
            return match self.surface {
                _ if is_file => Some(Conflict::FileAbove(&self.path)),
                Surface::File => Some(Conflict::AboveFile(&self.path)),
                _ if self.is_relative => Some(Conflict::Relative(&self.path)),
                Surface::ReadOnly | Surface::MadeByKubelet | Surface::Writable => None,
            };
        }
        meets_by_link(below_run?, &self.path)
            .then(|| Conflict::Linked { mounted: &self.path, instead: None })
    }
}

#[cfg(test)]
mod tests;
