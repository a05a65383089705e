//! The files that a volume shows.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::pod::{KeyToPath, ProjectedVolumeSource, Volume, VolumeProjection, VolumeSource};
use crate::request::path::cleaned;

/// The files that the items of each volume make, by the volume's name: sorted, because a pod may
/// have thousands of items, and thousands of mounts that each show a part of them.
#[derive(Default)]
pub(super) struct Files<'a>(BTreeMap<&'a str, Vec<Cow<'a, str>>>);

impl<'a> Files<'a> {
    /// Whether items show that a path in a volume is a directory: a file of theirs is below it.
    pub(super) fn has_directory(&mut self, volume: &'a Volume<'a>, path: &str) -> bool {
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
