//! The name of a volume that the webhook adds: the initializer's, or one with a hash.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::lookup::{FEW, Lookup};
use super::{Edit, NewValue};
use crate::pod::Volume;
use crate::request::Request;
use crate::request::kind::VolumeName;

/// The most characters of a volume's name, a DNS-1123 label.
pub(super) const MAX_LABEL: usize = 63;

/// The names of a pod's volumes, those that it gets included.
pub(super) struct VolumeNames<'a> {
    theirs: &'a [Volume<'a>],
    /// Where there may be more than [`FEW`], all of them.
    all: Option<Lookup<Cow<'a, str>, ()>>,
}

impl<'a> VolumeNames<'a> {
    pub(super) fn new(theirs: &'a [Volume<'a>], requests: usize) -> Self {
        let names = theirs.iter().map(|volume| (Cow::Borrowed(&*volume.name), ()));
        Self { theirs, all: (theirs.len() + requests > FEW).then(|| Lookup::new(names.collect())) }
    }

    fn is_free(&self, name: &str, ours: &[Edit]) -> bool {
        match &self.all {
            Some(all) => !all.contains(name),
            None => {
                self.theirs.iter().all(|volume| &*volume.name != name)
                    && ours.iter().all(|edit| !is_volume(edit, name))
            }
        }
    }

    /// The initializer's name for the volume of a request if a volume can have it and none has;
    /// otherwise one that holds a hash.
    pub(super) fn add(&mut self, request: &Request<'a>, ours: &[Edit]) -> Cow<'a, str> {
        let name = self.choose(request, ours);
        if let Some(all) = &mut self.all {
            all.insert(name.clone(), ());
        }
        name
    }

    fn choose(&self, request: &Request<'a>, ours: &[Edit]) -> Cow<'a, str> {
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

/// Whether an edit adds the volume of this name.
fn is_volume(edit: &Edit, name: &str) -> bool {
    match edit {
        Edit::Append { item: NewValue::Volume(volume), array: _, exists: _ } => volume.name == name,
        Edit::Append { .. } | Edit::Set { .. } | Edit::Insert { .. } => false,
    }
}

/// What the hash in a volume's name is of: the object, and those options that make its volume
/// another one.
pub(super) fn identity(request: &Request) -> String {
    let options = &request.options;
    let file = request.file().map(|file| format!("file={file}"));
    let merge = options.merge.then(|| "merge".to_owned());
    let mode = options.mode.map(|mode| format!("mode={mode:04o}"));
    let optional = options.optional.then(|| "optional".to_owned());
    let options: Vec<String> = [file, merge, mode, optional].into_iter().flatten().collect();
    format!("{}/{}:{}", request.object_kind().as_str(), request.name, options.join(":"))
}
