//! A volume to append to a pod, and its mount, and how Kubernetes spells them.
//!
//! Names of objects, of volumes that are made here and of keys hold nothing that JSON has to
//! escape: they were checked.

use std::borrow::Cow;

use crate::json::{push_plain, push_string};
use crate::pod::{ConfigMapVolumeSource, KeyToPath};
use crate::request::{ObjectKind, Request};

/// A volume to append to the pod.
#[derive(Debug)]
pub struct NewVolume<'a> {
    pub(super) name: Cow<'a, str>,
    files: Files<'a>,
}

#[derive(Debug)]
enum Files<'a> {
    /// Of one ConfigMap or Secret: all of them, or the one of this key under the same name.
    Object {
        object: ObjectKind,
        name: &'a str,
        file: Option<&'a str>,
        default_mode: Option<u16>,
        is_optional: bool,
    },
    /// Of a ConfigMap that the pod has mounted already, and over it those of another one.
    Merged {
        base: &'a ConfigMapVolumeSource<'a>,
        name: &'a str,
        default_mode: Option<u16>,
        is_optional: bool,
    },
}

impl<'a> NewVolume<'a> {
    /// The volume for a request, over a base if there is one.
    pub(super) fn new(
        name: Cow<'a, str>,
        request: &'a Request<'a>,
        base: Option<&'a ConfigMapVolumeSource<'a>>,
    ) -> Self {
        let (object, options) = (request.name.as_str(), &request.options);
        let (default_mode, is_optional) = (options.mode, options.optional);
        let files = if let Some(base) = base {
            Files::Merged { base, name: object, default_mode, is_optional }
        } else {
            let file = request.file();
            Files::Object {
                object: request.object_kind(),
                name: object,
                file,
                default_mode,
                is_optional,
            }
        };
        Self { name, files }
    }

    /// As an element of `spec.volumes`, in JSON.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(br#"{"name":"#);
        push_plain(bytes, &self.name);
        match &self.files {
            Files::Object { object, name, file, default_mode, is_optional } => {
                bytes.extend_from_slice(match object {
                    ObjectKind::ConfigMap => br#","configMap":{"name":"#,
                    ObjectKind::Secret => br#","secret":{"secretName":"#.as_slice(),
                });
                push_plain(bytes, name);
                if let Some(file) = file {
                    bytes.extend_from_slice(br#","items":[{"key":"#);
                    push_plain(bytes, file);
                    bytes.extend_from_slice(br#","path":"#);
                    push_plain(bytes, file);
                    bytes.extend_from_slice(b"}]");
                }
                push_default_mode(bytes, *default_mode);
                push_optional(bytes, is_optional.then_some(true));
            }
            Files::Merged { base, name, default_mode, is_optional } => {
                bytes.extend_from_slice(br#","projected":{"sources":[{"configMap":{"name":"#);
                push_string(bytes, &[base.name.as_deref().unwrap_or_default()]);
                if let Some(items) = &base.items {
                    push_items(bytes, items);
                }
                push_optional(bytes, base.optional);
                bytes.extend_from_slice(br#"}},{"configMap":{"name":"#);
                push_plain(bytes, name);
                push_optional(bytes, is_optional.then_some(true));
                bytes.extend_from_slice(b"}}]");
                push_default_mode(bytes, *default_mode);
            }
        }
        bytes.extend_from_slice(b"}}");
    }
}

fn push_default_mode(bytes: &mut Vec<u8>, mode: Option<u16>) {
    if let Some(mode) = mode {
        bytes.extend_from_slice(br#","defaultMode":"#);
        bytes.extend_from_slice(mode.to_string().as_bytes());
    }
}

fn push_optional(bytes: &mut Vec<u8>, is_optional: Option<bool>) {
    match is_optional {
        None => {}
        Some(true) => bytes.extend_from_slice(br#","optional":true"#),
        Some(false) => bytes.extend_from_slice(br#","optional":false"#),
    }
}

fn push_items(bytes: &mut Vec<u8>, items: &[KeyToPath]) {
    bytes.extend_from_slice(br#","items":["#);
    for (index, KeyToPath { key, path, mode }) in items.iter().enumerate() {
        bytes.extend_from_slice(if index == 0 { br#"{"key":"# } else { br#",{"key":"#.as_slice() });
        push_string(bytes, &[key]);
        bytes.extend_from_slice(br#","path":"#);
        push_string(bytes, &[path]);
        if let Some(mode) = mode {
            bytes.extend_from_slice(br#","mode":"#);
            bytes.extend_from_slice(mode.to_string().as_bytes());
        }
        bytes.push(b'}');
    }
    bytes.push(b']');
}

/// A mount to append to Spark's container, always read-only.
#[derive(Debug)]
pub struct NewMount<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) mount_path: &'a str,
    pub(super) sub_path: Option<&'a str>,
}

impl NewMount<'_> {
    /// As an element of a container's `volumeMounts`, in JSON.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        let Self { name, mount_path, sub_path } = self;
        bytes.extend_from_slice(br#"{"name":"#);
        push_plain(bytes, name);
        bytes.extend_from_slice(br#","mountPath":"#);
        push_string(bytes, &[mount_path]);
        if let Some(sub_path) = sub_path {
            bytes.extend_from_slice(br#","subPath":"#);
            push_plain(bytes, sub_path);
        }
        bytes.extend_from_slice(br#","readOnly":true}"#);
    }
}
