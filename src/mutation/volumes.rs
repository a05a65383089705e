//! Which volumes and mounts a pod gets for its requests.
//!
//! Requests are settled among themselves first, then with what the pod mounts already. Each is
//! carried out whole or refused with an error that says why; a refused one leaves nothing behind,
//! not even its variable.

use std::borrow::Cow;

use super::lookup::Lookup;
use super::mounts::{Conflict, MountTable, Placement, are_one_by_link};
use super::volume_name::VolumeNames;
use super::{Array, Edit, NewMount, NewValue, NewVolume, Plan, conf_dir, env};
use crate::annotations::Requests;
use crate::pod::{ConfigMapVolumeSource, Container, Pod};
use crate::request::{ObjectKind, Origin, ProblemKind, Request};

/// Plans volumes and mounts, and returns the requests that are mounted, by us or already, in their
/// order.
pub(super) fn apply<'a>(
    pod: &'a Pod<'a>,
    index: usize,
    container: &'a Container<'a>,
    requests: &'a Requests<'a>,
    plan: &mut Plan<'a>,
) -> Vec<&'a Request<'a>> {
    let mut table = MountTable::new(pod, container, requests);
    let mut settled: Lookup<&str, Settled> = Lookup::with_capacity(requests.mounts.len());
    let mut added = Added::new(pod, requests);
    let mut mounted = Vec::with_capacity(requests.mounts.len());
    for request in &requests.mounts {
        let is_default = request.origin == Origin::Default;
        if is_default && env::is_overridden(container, &mounted, request) {
            plan.defaults_overridden += 1;
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
                    added.add(request, base, &mut plan.edits);
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
            // What is there already overrides it, and its author is not the pod's.
            Some(_) if is_default => plan.defaults_overridden += 1,
            Some(conflict) => plan.problems.push(ProblemKind::Place, &request.annotation, conflict),
        }
    }
    let (array, exists) =
        (Array::VolumeMounts { container: index }, container.volume_mounts.is_some());
    plan.edits.extend(added.mounts.into_iter().map(|mount| {
        let item = NewValue::Mount(mount);
        Edit::Append { array, exists, item }
    }));
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
    fn of(request: &'a Request<'a>) -> Self {
        Self {
            object: request.object_kind(),
            name: request.name.as_str(),
            optional: request.options.optional,
            mode: request.default_mode(),
            file: request.file(),
        }
    }
}

/// What is known of the volumes and mounts that are added.
struct Added<'a> {
    names: VolumeNames<'a>,
    /// The names of volumes that entries of lists share.
    shared: Vec<(SourceForm<'a>, Cow<'a, str>)>,
    /// Whether the pod has volumes.
    volumes_exist: bool,
    /// They follow the volumes in the patch.
    mounts: Vec<NewMount<'a>>,
}

impl<'a> Added<'a> {
    fn new(pod: &'a Pod<'a>, requests: &Requests) -> Self {
        let theirs = pod.spec.volumes.as_deref().unwrap_or_default();
        Self {
            names: VolumeNames::new(theirs, requests.mounts.len()),
            shared: Vec::new(),
            volumes_exist: pod.spec.volumes.is_some(),
            mounts: Vec::new(),
        }
    }

    /// Adds the mount of a request, and its volume unless an entry of a list has added it.
    fn add(
        &mut self,
        request: &'a Request<'a>,
        base: Option<&'a ConfigMapVolumeSource<'a>>,
        edits: &mut Vec<Edit<'a>>,
    ) {
        let Self { names, shared, volumes_exist, mounts } = self;
        let form = SourceForm::of(request);
        let same = shared.iter().filter(|_| request.is_listed).find(|(other, _)| *other == form);
        let name = if let Some((_, name)) = same {
            name.clone()
        } else {
            let name = names.add(request, edits);
            edits.push(Edit::Append {
                array: Array::Volumes,
                exists: *volumes_exist,
                item: NewValue::Volume(NewVolume::new(name.clone(), request, base)),
            });
            if request.is_listed {
                shared.push((form, name.clone()));
            }
            name
        };
        let sub_path = request.file();
        mounts.push(NewMount { name, mount_path: request.path.as_str(), sub_path });
    }
}

#[cfg(test)]
mod tests;
