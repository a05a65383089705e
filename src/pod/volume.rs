//! Volumes, as far as their kind and files decide what can be mounted beside them.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::text::Text;

/// A volume.
#[derive(Debug)]
pub struct Volume<'a> {
    /// Unique in the pod.
    pub name: Text<'a>,
    /// Where its files come from.
    pub source: VolumeSource<'a>,
}

/// The kinds of volume that decide what can be mounted above and below them.
#[derive(Debug, Default)]
pub enum VolumeSource<'a> {
    /// Files from a ConfigMap.
    ConfigMap(ConfigMapVolumeSource<'a>),
    /// Files from a Secret.
    Secret(SecretVolumeSource<'a>),
    /// Files from several sources.
    Projected(ProjectedVolumeSource<'a>),
    /// Files about the pod.
    DownwardApi(Items<'a>),
    /// A single file, socket or device of the node.
    HostFile,
    /// Nothing can be created in it: an image, or another source with `readOnly: true`.
    ReadOnly,
    /// Any other.
    #[default]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Volume<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Source {
            #[serde(default, rename = "readOnly")]
            read_only: Option<bool>,
        }
        #[derive(Deserialize)]
        struct HostPath<'a> {
            #[serde(borrow, rename = "type")]
            kind: Option<Text<'a>>,
        }
        struct VolumeVisitor;

        impl<'de> Visitor<'de> for VolumeVisitor {
            type Value = Volume<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a volume")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut name = None;
                let mut source = VolumeSource::Other;
                while let Some(key) = map.next_key::<Text>()? {
                    let found = match &*key {
                        "name" => {
                            name = Some(map.next_value()?);
                            None
                        }
                        "configMap" => map.next_value::<Option<_>>()?.map(VolumeSource::ConfigMap),
                        "secret" => map.next_value::<Option<_>>()?.map(VolumeSource::Secret),
                        "projected" => map.next_value::<Option<_>>()?.map(VolumeSource::Projected),
                        "downwardAPI" => {
                            map.next_value::<Option<_>>()?.map(VolumeSource::DownwardApi)
                        }
                        "image" => {
                            map.next_value::<Option<IgnoredAny>>()?.map(|_| VolumeSource::ReadOnly)
                        }
                        "hostPath" => {
                            let kind = map
                                .next_value::<Option<HostPath>>()?
                                .and_then(|host_path| host_path.kind);
                            let is_file = |kind: &Text| {
                                matches!(
                                    &**kind,
                                    "File"
                                        | "FileOrCreate"
                                        | "Socket"
                                        | "CharDevice"
                                        | "BlockDevice"
                                )
                            };
                            kind.filter(is_file).map(|_| VolumeSource::HostFile)
                        }
                        // The sources with a field `readOnly` of their own (core/v1 of Kubernetes
                        // 1.36).
                        "awsElasticBlockStore"
                        | "azureDisk"
                        | "azureFile"
                        | "cephfs"
                        | "cinder"
                        | "csi"
                        | "fc"
                        | "flexVolume"
                        | "gcePersistentDisk"
                        | "glusterfs"
                        | "iscsi"
                        | "nfs"
                        | "persistentVolumeClaim"
                        | "portworxVolume"
                        | "quobyte"
                        | "rbd"
                        | "scaleIO"
                        | "storageos" => {
                            let read_only = map
                                .next_value::<Option<Source>>()?
                                .and_then(|source| source.read_only);
                            (read_only == Some(true)).then_some(VolumeSource::ReadOnly)
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            None
                        }
                    };
                    source = found.unwrap_or(source);
                }
                Ok(Volume { name: name.ok_or_else(|| Error::missing_field("name"))?, source })
            }
        }

        deserializer.deserialize_struct("Volume", &[], VolumeVisitor)
    }
}

/// `configMap` of a volume.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapVolumeSource<'a> {
    /// The ConfigMap.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// Absent means false.
    pub optional: Option<bool>,
    /// Absent means 0644, which the API server fills in.
    pub default_mode: Option<i64>,
    /// Some of the keys instead of all.
    #[serde(borrow)]
    pub items: Option<Vec<KeyToPath<'a>>>,
}

/// `secret` of a volume.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretVolumeSource<'a> {
    /// The Secret.
    #[serde(borrow)]
    pub secret_name: Option<Text<'a>>,
    /// Absent means false.
    pub optional: Option<bool>,
    /// Absent means 0644, which the API server fills in.
    pub default_mode: Option<i64>,
    /// Some of the keys instead of all.
    #[serde(borrow)]
    pub items: Option<Vec<KeyToPath<'a>>>,
}

/// One key of a ConfigMap or Secret, and the file that it becomes.
#[derive(Debug, Deserialize)]
pub struct KeyToPath<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: Text<'a>,
    /// The file, relative to the mount.
    #[serde(borrow)]
    pub path: Text<'a>,
    /// Its permissions; absent means the volume's.
    pub mode: Option<i64>,
}

/// `projected` of a volume.
#[derive(Debug, Deserialize)]
pub struct ProjectedVolumeSource<'a> {
    /// The files of a later source win.
    #[serde(borrow)]
    pub sources: Option<Vec<VolumeProjection<'a>>>,
}

/// A source of a projected volume.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeProjection<'a> {
    /// Files from a ConfigMap.
    #[serde(borrow)]
    pub config_map: Option<ConfigMapVolumeSource<'a>>,
    /// Files from a Secret.
    #[serde(borrow)]
    pub secret: Option<Items<'a>>,
    /// Files about the pod.
    #[serde(borrow, rename = "downwardAPI")]
    pub downward_api: Option<Items<'a>>,
}

/// Of a source of files, those that appear in a directory of the volume.
#[derive(Debug, Default)]
pub struct Items<'a> {
    /// Their paths, relative to the volume.
    pub in_directories: Vec<Text<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Source<'a> {
            #[serde(borrow, default)]
            items: Option<Paths<'a>>,
        }
        struct Paths<'a>(Vec<Text<'a>>);
        #[derive(Deserialize)]
        struct Item<'a> {
            #[serde(borrow)]
            path: Text<'a>,
        }
        struct PathsVisitor;

        impl<'de> Visitor<'de> for PathsVisitor {
            type Value = Paths<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("items of a volume")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                // In nearly every pod there is none.
                let mut paths = Vec::new();
                while let Some(Item { path }) = items.next_element()? {
                    if path.contains('/') {
                        paths.push(path);
                    }
                }
                Ok(Paths(paths))
            }
        }

        impl<'de: 'a, 'a> Deserialize<'de> for Paths<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_seq(PathsVisitor)
            }
        }

        let Source { items } = Source::deserialize(deserializer)?;
        Ok(Self { in_directories: items.map(|Paths(paths)| paths).unwrap_or_default() })
    }
}
