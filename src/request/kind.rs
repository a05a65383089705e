//! The kinds of request: one row of [`KINDS`] is the whole definition of one.
//!
//! The parser of annotations, the variables and volumes of a pod, `conf` and `doctor` look up here
//! what depends on the kind. A new kind of request is a new variant and a new row.

use super::ObjectKind;

/// The prefixes of all keys that this webhook reads; documentation uses the first.
pub const PREFIXES: [&str; 2] = ["spark-operator.k8s.io/", "sparkoperator.k8s.io/"];

/// The annotation that says what was done; the webhook writes it itself.
pub const INJECTED: &str = "spark-operator.k8s.io/injected";

/// The kinds of request, in the order in which the webhook carries them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Spark's conf dir from a ConfigMap.
    SparkConfigMap,
    /// Hadoop's conf dir from a ConfigMap.
    HadoopConfigMap,
    /// A ConfigMap at a path.
    ConfigMap,
    /// A Secret at a path.
    Secret,
    /// A Secret with a Google service account's key, at a path.
    GcpServiceAccount,
    /// A Secret with Hadoop delegation tokens, at a path.
    HadoopDelegationToken,
}

/// The definition of a kind of request.
#[derive(Debug)]
pub struct KindSpec {
    /// The kind.
    pub kind: Kind,
    /// Its key in documentation, without prefix and NAME.
    pub key: &'static str,
    /// The second spelling of the key, from the webhook of 2018.
    pub alias: Option<&'static str>,
    /// The keys of the list that holds several requests of this kind.
    pub list: Option<ListKeys>,
    /// The kind of object that a request names.
    pub object: ObjectKind,
    /// Where the path of the mount comes from.
    pub path: PathFrom,
    /// The variable that a request sets in Spark's container.
    pub variable: VariableFrom,
    /// The name of the volume.
    pub volume_name: VolumeName,
    /// The options that a request takes, in the order in which errors list them.
    pub options: &'static [OptionName],
    /// The flag of `spark-webhook conf`.
    pub flag: Flag,
}

/// A flag of the command line for a kind of request.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// The name, without dashes.
    pub name: &'static str,
    /// The text of `--help`.
    pub help: &'static str,
}

/// The keys of a list.
#[derive(Clone, Copy, Debug)]
pub struct ListKeys {
    /// The key in documentation.
    pub key: &'static str,
    /// Its second spelling.
    pub alias: Option<&'static str>,
}

/// Where the path of a mount comes from, which also decides where the name of the object stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFrom {
    /// This directory, unless the option `path=` names another. The value is the object's name.
    Default(&'static str),
    /// The value. The name of the object follows the key after a dot.
    Value,
}

/// The variable that a request sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariableFrom {
    /// This one. Its value is the path, or this file below it unless `key=` names another.
    Kind(&'static str, Option<&'static str>),
    /// The one that the option `env=` names, if there is the option.
    Option,
}

/// The name of a volume that the webhook adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeName {
    /// This one, as the initializer of 2017 named it.
    Fixed(&'static str),
    /// The object's name with `-volume` after it.
    OfObject,
}

/// An option of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionName {
    /// `optional`: the pod runs without the ConfigMap or Secret.
    Optional,
    /// `mode=0440`: the permissions of the files.
    Mode,
    /// `file=KEY`: only this key, as the file that the path names.
    File,
    /// `env=VAR`: a variable that is set to the path.
    Env,
    /// `key=FILE`: the file of the directory that the variable names.
    Key,
    /// `path=DIR`: another directory than the default.
    Path,
    /// `merge`: the directory shows Spark's own files too.
    Merge,
    /// `defaults`: a driver reads `spark-defaults.conf`.
    Defaults,
}

/// Every kind of request, each at the place of its variant.
pub static KINDS: [KindSpec; 6] = [
    KindSpec {
        kind: Kind::SparkConfigMap,
        key: "sparkConfigMap",
        alias: Some("spark-configmap"),
        list: None,
        object: ObjectKind::ConfigMap,
        path: PathFrom::Default("/etc/spark/conf"),
        variable: VariableFrom::Kind("SPARK_CONF_DIR", None),
        volume_name: VolumeName::Fixed("spark-config-map-volume"),
        options: &[
            OptionName::Optional,
            OptionName::Mode,
            OptionName::Path,
            OptionName::Merge,
            OptionName::Defaults,
        ],
        flag: Flag { name: "spark-config-map", help: "ConfigMap for Spark's conf dir" },
    },
    KindSpec {
        kind: Kind::HadoopConfigMap,
        key: "hadoopConfigMap",
        alias: Some("hadoop-configmap"),
        list: None,
        object: ObjectKind::ConfigMap,
        path: PathFrom::Default("/etc/hadoop/conf"),
        variable: VariableFrom::Kind("HADOOP_CONF_DIR", None),
        volume_name: VolumeName::Fixed("hadoop-config-map-volume"),
        options: &[OptionName::Optional, OptionName::Mode, OptionName::Path, OptionName::Merge],
        flag: Flag { name: "hadoop-config-map", help: "ConfigMap for Hadoop's conf dir" },
    },
    KindSpec {
        kind: Kind::ConfigMap,
        key: "configMap",
        alias: Some("configmap"),
        list: Some(ListKeys { key: "configMaps", alias: Some("configmaps") }),
        object: ObjectKind::ConfigMap,
        path: PathFrom::Value,
        variable: VariableFrom::Option,
        volume_name: VolumeName::OfObject,
        options: &OF_FILES,
        flag: Flag { name: "config-map", help: "ConfigMap to mount at a path; may be repeated" },
    },
    KindSpec {
        kind: Kind::Secret,
        key: "secret",
        alias: None,
        list: Some(ListKeys { key: "secrets", alias: None }),
        object: ObjectKind::Secret,
        path: PathFrom::Value,
        variable: VariableFrom::Option,
        volume_name: VolumeName::OfObject,
        options: &OF_FILES,
        flag: Flag { name: "secret", help: "Secret to mount at a path; may be repeated" },
    },
    KindSpec {
        kind: Kind::GcpServiceAccount,
        key: "GCPServiceAccount",
        alias: Some("gcp-service-account"),
        list: None,
        object: ObjectKind::Secret,
        path: PathFrom::Value,
        variable: VariableFrom::Kind("GOOGLE_APPLICATION_CREDENTIALS", Some("key.json")),
        volume_name: VolumeName::Fixed("gcp-service-account-secret-volume"),
        options: &OF_CREDENTIALS,
        flag: Flag {
            name: "gcp-service-account",
            help: "Secret with a Google service account's key.json, for GOOGLE_APPLICATION_CREDENTIALS; may be repeated",
        },
    },
    KindSpec {
        kind: Kind::HadoopDelegationToken,
        key: "hadoopDelegationToken",
        alias: Some("hadoop-delegation-token"),
        list: None,
        object: ObjectKind::Secret,
        path: PathFrom::Value,
        variable: VariableFrom::Kind("HADOOP_TOKEN_FILE_LOCATION", Some("hadoop.token")),
        volume_name: VolumeName::OfObject,
        options: &OF_CREDENTIALS,
        flag: Flag {
            name: "hadoop-delegation-token",
            help: "Secret with a hadoop.token, for HADOOP_TOKEN_FILE_LOCATION; may be repeated",
        },
    },
];

const OF_FILES: [OptionName; 5] =
    [OptionName::Optional, OptionName::Mode, OptionName::File, OptionName::Env, OptionName::Key];

const OF_CREDENTIALS: [OptionName; 3] = [OptionName::Optional, OptionName::Mode, OptionName::Key];

impl Kind {
    /// The kind for Spark's own conf dir.
    pub const SPARK_CONF_DIR: Self = Self::SparkConfigMap;

    /// Its definition.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "a test holds that each kind has its row")]
    pub fn spec(self) -> &'static KindSpec {
        &KINDS[self as usize]
    }

    /// Its key in documentation, without prefix and NAME.
    #[must_use]
    pub fn key(self) -> &'static str {
        self.spec().key
    }
}

impl KindSpec {
    /// Whether the name of the object stands in the key, after a dot.
    #[must_use]
    pub fn is_named_in_key(&self) -> bool {
        self.path == PathFrom::Value
    }

    /// Whether a request takes an option.
    #[must_use]
    pub fn takes(&self, option: OptionName) -> bool {
        self.options.contains(&option)
    }
}

impl OptionName {
    /// Every option.
    pub const ALL: [Self; 8] = [
        Self::Optional,
        Self::Mode,
        Self::File,
        Self::Env,
        Self::Key,
        Self::Path,
        Self::Merge,
        Self::Defaults,
    ];

    /// The option without its value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Mode => "mode",
            Self::File => "file",
            Self::Env => "env",
            Self::Key => "key",
            Self::Path => "path",
            Self::Merge => "merge",
            Self::Defaults => "defaults",
        }
    }

    /// The option of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|option| option.as_str() == text)
    }

    /// Whether the option has a value after `=`.
    #[must_use]
    pub fn takes_value(self) -> bool {
        match self {
            Self::Mode | Self::File | Self::Env | Self::Key | Self::Path => true,
            Self::Optional | Self::Merge | Self::Defaults => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_finds_its_own_row() {
        for (index, spec) in KINDS.iter().enumerate() {
            assert_eq!(spec.kind as usize, index);
            assert_eq!(spec.kind.spec().key, spec.key);
        }
        // A variant without a row would be the last.
        assert_eq!(Kind::HadoopDelegationToken as usize + 1, KINDS.len());
    }

    #[test]
    fn no_two_kinds_share_a_key_a_list_or_a_fixed_volume_name() {
        let keys = KINDS.iter().flat_map(|spec| {
            let list = spec.list.map(|list| [Some(list.key), list.alias]).unwrap_or_default();
            let volume = match spec.volume_name {
                VolumeName::Fixed(name) => Some(name),
                VolumeName::OfObject => None,
            };
            [Some(spec.key), spec.alias, volume].into_iter().chain(list).flatten()
        });
        let mut keys: Vec<&str> = keys.collect();
        keys.sort_unstable();
        let count = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn options_and_paths_of_a_kind_fit_together() {
        for spec in &KINDS {
            assert_eq!(spec.takes(OptionName::Path), !spec.is_named_in_key(), "{}", spec.key);
            assert_eq!(
                spec.takes(OptionName::Env),
                spec.variable == VariableFrom::Option,
                "{}",
                spec.key
            );
            assert!(spec.list.is_none() || spec.is_named_in_key(), "{}", spec.key);
        }
    }

    #[test]
    fn an_option_is_found_by_its_name() {
        for option in OptionName::ALL {
            assert_eq!(OptionName::parse(option.as_str()), Some(option));
        }
        assert_eq!(OptionName::parse("Optional"), None);
    }
}
