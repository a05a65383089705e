//! One mount that the pod has.

use super::conflict::{Conflict, Difference};
use super::files::Files;
use super::{MountPoint, Surface};
use crate::pod::{KeyToPath, Volume, VolumeMount, VolumeSource};
use crate::request::path::cleaned;
use crate::request::{DEFAULT_MODE, ObjectKind, Request};

/// A mount that the pod has.
pub(super) struct Mounted<'a> {
    pub(super) point: MountPoint<'a>,
    pub(super) mount: &'a VolumeMount<'a>,
    pub(super) volume: Option<&'a Volume<'a>>,
}

impl<'a> Mounted<'a> {
    pub(super) fn new(
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
            point: MountPoint { path: cleaned(&mount.mount_path), is_relative, surface },
            mount,
            volume,
        }
    }

    pub(super) fn has_sub_path(&self) -> bool {
        [&self.mount.sub_path, &self.mount.sub_path_expr]
            .into_iter()
            .any(|path| has_text(path.as_deref()).is_some())
    }

    /// Whether it shows what a request without `merge` asks for, and if not, what else.
    pub(super) fn conflict_unless_same(&self, request: &Request) -> Result<(), Conflict<'a>> {
        let something_else = Err(Conflict::SomethingElse(&self.mount.name));
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
        let file = request.file();
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
        Err(Conflict::OtherForm(difference))
    }
}

/// Whether a volume with these items shows what a request asks for: all keys under their names, or
/// in the file that the mount picks the key of the same name.
fn show_the_same(items: &[KeyToPath], file: Option<&str>) -> bool {
    let Some(file) = file else { return items.is_empty() };
    items.is_empty()
        || items.iter().any(|item| &*item.key == file && &*item.path == file && item.mode.is_none())
}

pub(super) fn has_text(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}
