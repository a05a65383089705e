//! What Spark's container has mounted, and whether something more can be mounted at a path.
//!
//! Where it cannot, the container would not start, and nobody but the kubelet would say why: runc cannot make a mount point
//! in a read-only file system, nor below or instead of a file (seen with containerd 1.6). In a ConfigMap, secret, projected or
//! downward-API volume the kubelet makes directories itself, but no files.

use std::borrow::Cow;
use std::fmt;

use crate::annotations::problem::Excerpt;
use crate::annotations::value::{is_below, normalize};
use crate::annotations::{DEFAULT_MODE, Request, Source};
use crate::pod::{ConfigMapVolumeSource, Container, KeyToPath, Pod, Volume, VolumeMount};

/// The mounts of Spark's container: first those that the pod has, then those that are added.
pub(super) struct Occupied<'a> {
    container: &'a Container<'a>,
    theirs: Vec<Mounted<'a>>,
    ours: Vec<Occupant<'a>>,
}

/// A mount that the pod has.
struct Mounted<'a> {
    occupant: Occupant<'a>,
    mount: &'a VolumeMount<'a>,
    volume: Option<&'a Volume<'a>>,
}

/// What matters of a mount to others above and below it.
struct Occupant<'a> {
    path: Cow<'a, str>,
    /// The kubelet makes directories in it, also where the container sees it as read-only.
    is_made_by_kubelet: bool,
    is_file: bool,
    is_read_only: bool,
}

/// What a request is mounted on top of, with `merge`.
pub(super) enum Merge<'a> {
    /// Its path shows a projected volume that ends with the user's ConfigMap: ours, from the first round.
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
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Refusal<'a> {
    #[error("{} is asked for there, write another path", Excerpt::new(&.0.annotation.to_string(), 50))]
    Taken(&'a Request<'a>),
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
    #[error("a block device has that path, write another one")]
    Device,
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
    pub(super) fn new(pod: &'a Pod<'a>, container: &'a Container<'a>) -> Self {
        // In order, because a pod may have thousands of both: the API server sends it before it has looked at it.
        let mut volumes: Vec<&Volume> = pod.spec.volumes.iter().flatten().collect();
        volumes.sort_by_key(|volume| &*volume.name);
        let volume_of = |mount: &VolumeMount| {
            let index = volumes.binary_search_by_key(&&*mount.name, |volume| &*volume.name).ok()?;
            volumes.get(index).copied()
        };
        let mounted = |mount: &'a VolumeMount<'a>| Mounted::new(mount, volume_of(mount));
        let theirs = container.volume_mounts.iter().flatten().map(mounted).collect();
        Self { container, theirs, ours: Vec::new() }
    }

    /// What is to be done for a request whose path no other request has, or why it cannot be carried out.
    pub(super) fn place(&self, request: &Request<'a>, merge: Merge<'a>) -> Result<Placement<'a>, Refusal<'_>> {
        let path = request.path.as_str();
        let at_path = self.at(path);
        let base = match (merge, at_path) {
            (Merge::AlreadyThere, _) => return Ok(Placement::AlreadyThere),
            (Merge::OntoItself, _) => return Err(Refusal::MergeOntoItself),
            (Merge::Plain, Some(mounted)) => return mounted.refuse_unless_same(request).map(|()| Placement::AlreadyThere),
            // A plain mount of the ConfigMap included: it does not show Spark's files.
            (Merge::Onto(_), Some(mounted)) => {
                mounted.refuse_unless_same(request)?;
                return Err(Refusal::SomethingElse(&mounted.mount.name));
            }
            (Merge::Onto(base), None) => Some(base),
            (Merge::Plain, None) => None,
        };
        if self.container.volume_devices.iter().flatten().any(|device| normalize(&device.device_path) == path) {
            return Err(Refusal::Device);
        }
        // Mount by mount, and not rule by rule: what is added comes after what the pod had, so a second round finds the same
        // reason first, and says the same.
        let theirs = self.theirs.iter().map(|mounted| &mounted.occupant);
        match theirs.chain(&self.ours).find_map(|occupant| occupant.obstacle(path, request.options.file.is_some())) {
            Some(refusal) => Err(refusal),
            None => Ok(Placement::New(base)),
        }
    }

    /// Remembers the mount of a request that is carried out.
    pub(super) fn add(&mut self, request: &'a Request<'a>) {
        self.ours.push(Occupant {
            path: Cow::Borrowed(request.path.as_str()),
            is_made_by_kubelet: true,
            is_file: request.options.file.is_some(),
            is_read_only: false,
        });
    }

    /// The last of the mounts at a path: the kernel shows the one that was made last.
    fn at(&self, path: &str) -> Option<&Mounted<'a>> {
        self.theirs.iter().rfind(|mounted| mounted.occupant.path == path)
    }

    /// The volume that is mounted, whole, at a path that may not be normalised.
    pub(super) fn volume_at(&self, path: &str) -> Option<&'a Volume<'a>> {
        let mounted = self.at(&normalize(path))?;
        if mounted.has_sub_path() { None } else { mounted.volume }
    }

    /// The container whose mounts these are.
    pub(super) fn container(&self) -> &'a Container<'a> {
        self.container
    }
}

impl<'a> Mounted<'a> {
    fn new(mount: &'a VolumeMount<'a>, volume: Option<&'a Volume<'a>>) -> Self {
        let is_made_by_kubelet = volume.is_some_and(|volume| {
            volume.config_map.is_some() || volume.secret.is_some() || volume.projected.is_some() || volume.downward_api.is_some()
        });
        let is_image = volume.is_some_and(|volume| volume.image.is_some());
        let mut mounted = Self {
            occupant: Occupant {
                path: normalize(&mount.mount_path),
                is_made_by_kubelet,
                is_file: false,
                is_read_only: !is_made_by_kubelet && (mount.read_only == Some(true) || is_image),
            },
            mount,
            volume,
        };
        mounted.occupant.is_file = is_made_by_kubelet && mounted.has_sub_path();
        mounted
    }

    fn has_sub_path(&self) -> bool {
        has_text(self.mount.sub_path.as_deref()) || has_text(self.mount.sub_path_expr.as_deref())
    }

    /// Whether it shows what a request without `merge` asks for, and if not, what else.
    fn refuse_unless_same(&self, request: &Request) -> Result<(), Refusal<'a>> {
        let something_else = Err(Refusal::SomethingElse(&self.mount.name));
        let Some(volume) = self.volume else { return something_else };
        let (name, optional, default_mode, items) = match (&volume.config_map, &volume.secret) {
            (Some(source), _) if request.source() == Source::ConfigMap => {
                (&source.name, source.optional, source.default_mode, &source.items)
            }
            (_, Some(source)) if request.source() == Source::Secret => {
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
        let sub_path = self.mount.sub_path.as_deref().filter(|sub_path| !sub_path.is_empty());
        let difference = if has_text(self.mount.sub_path_expr.as_deref()) {
            Difference::SubPathExpr
        } else if sub_path != file {
            Difference::SubPath
        } else if !are_items_of(items.as_deref().unwrap_or_default(), file) {
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

fn are_items_of(items: &[KeyToPath], file: Option<&str>) -> bool {
    match (items, file) {
        ([], None) => true,
        ([item], Some(file)) => &*item.key == file && &*item.path == file && item.mode.is_none(),
        _ => false,
    }
}

impl Occupant<'_> {
    fn obstacle(&self, path: &str, is_file: bool) -> Option<Refusal<'_>> {
        if is_below(path, &self.path) {
            if self.is_file {
                return Some(Refusal::BelowFile(&self.path));
            }
            if self.is_read_only {
                return Some(Refusal::BelowReadOnly(&self.path));
            }
            return (is_file && self.is_made_by_kubelet).then_some(Refusal::FileInVolume(&self.path));
        }
        if !is_below(&self.path, path) {
            None
        } else if is_file {
            Some(Refusal::FileAbove(&self.path))
        } else {
            self.is_file.then_some(Refusal::AboveFile(&self.path))
        }
    }
}

fn has_text(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}
