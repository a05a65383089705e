//! What is requested: one ConfigMap or Secret at one path, in one form.
//!
//! A request is valid in itself: it has a name that an object can have and a path that can be
//! mounted. Nothing that gets a request parses or checks any of that again.

use std::borrow::Cow;
use std::cmp::Ordering;

pub mod kind;
pub mod name;
pub mod path;
pub mod problem;

pub use kind::{INJECTED, Kind, PREFIXES};
pub use name::{FileName, ObjectName};
pub use path::{MountPath, PathError};
pub use problem::{Annotation, MAX_LISTED, Problem, ProblemKind, Problems, Severity};

/// What a request is about when defaults are compared with it: its kind, and the NAME in its key or
/// list entry.
pub type Claim<'a> = (Kind, &'a str);

/// The options of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options<'a> {
    /// `optional`: the pod runs without the ConfigMap or Secret.
    pub optional: bool,
    /// `mode=0440`: the permissions of the files, at most 0o777.
    pub mode: Option<u16>,
    /// `file=KEY`: only this key, as the file that the path names.
    pub file: Option<FileName<'a>>,
    /// `env=VAR`: a variable that is set to the path.
    pub env: Option<&'a str>,
    /// `key=FILE`: the file of the directory that the variable is to name.
    pub key: Option<FileName<'a>>,
    /// `path=DIR`: another directory than the default.
    pub path: Option<MountPath<'a>>,
    /// `merge`: the directory shows Spark's own files too.
    pub merge: bool,
    /// `defaults`: a driver reads `spark-defaults.conf`.
    pub defaults: bool,
}

/// A request to mount one ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What is asked for.
    pub kind: Kind,
    /// The ConfigMap or Secret.
    pub name: ObjectName<'a>,
    /// Where it is to appear: a directory, or with `file=` a file.
    pub path: MountPath<'a>,
    /// In which form.
    pub options: Options<'a>,
    /// Whether it is an entry of a list: only those share volumes.
    pub is_listed: bool,
    /// Who asks.
    pub origin: Origin,
    /// The annotation, for problems.
    pub annotation: Annotation<'a>,
}

/// Who asks for a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The pod's own annotations.
    Pod,
    /// A default of the administrator's, which gives way without a word.
    Default,
    /// A default that does not give way.
    Enforced,
}

/// What kind of object a volume takes its files from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// A variable that a request sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value: the path, or a file in it.
    pub value: Cow<'a, str>,
    /// Whether a value that the pod has already is left alone, as `env=` does.
    pub gives_way: bool,
}

impl<'a> Request<'a> {
    /// The order in which requests are carried out: by kind, then by name, then by path.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        (self.kind, self.name, &self.path).cmp(&(other.kind, other.name, &other.path))
    }

    /// The kind of object that the request names.
    #[must_use]
    pub fn source(&self) -> Source {
        match self.kind {
            Kind::SparkConfigMap | Kind::HadoopConfigMap | Kind::ConfigMap => Source::ConfigMap,
            Kind::Secret | Kind::GcpServiceAccount | Kind::HadoopDelegationToken => Source::Secret,
        }
    }

    /// What the request is about.
    #[must_use]
    pub fn claim(&self) -> Claim<'a> {
        match self.kind {
            Kind::SparkConfigMap | Kind::HadoopConfigMap => (self.kind, ""),
            _ => (self.kind, self.name.as_str()),
        }
    }

    /// The permissions of the files; without `mode=` those that the API server fills in.
    #[must_use]
    pub fn default_mode(&self) -> u16 {
        self.options.mode.unwrap_or(DEFAULT_MODE)
    }

    /// The variable that the request sets.
    #[must_use]
    pub fn variable(&'a self) -> Option<Variable<'a>> {
        let name = self.variable_name()?;
        let file = match self.kind {
            Kind::GcpServiceAccount => Some("key.json"),
            Kind::HadoopDelegationToken => Some("hadoop.token"),
            Kind::SparkConfigMap | Kind::HadoopConfigMap | Kind::ConfigMap | Kind::Secret => None,
        };
        let file = self.options.key.map(|key| key.as_str()).or(file);
        let path = self.path.as_str();
        let value = file.map_or(Cow::Borrowed(path), |file| Cow::Owned(format!("{path}/{file}")));
        let gives_way =
            matches!(self.kind, Kind::ConfigMap | Kind::Secret) && self.origin != Origin::Enforced;
        Some(Variable { name, value, gives_way })
    }

    /// The name of the variable that the request sets.
    #[must_use]
    pub fn variable_name(&self) -> Option<&'a str> {
        match self.kind {
            Kind::SparkConfigMap => Some("SPARK_CONF_DIR"),
            Kind::HadoopConfigMap => Some("HADOOP_CONF_DIR"),
            Kind::GcpServiceAccount => Some("GOOGLE_APPLICATION_CREDENTIALS"),
            Kind::HadoopDelegationToken => Some("HADOOP_TOKEN_FILE_LOCATION"),
            Kind::ConfigMap | Kind::Secret => self.options.env,
        }
    }
}

/// The mode that the API server fills in where none is given.
pub const DEFAULT_MODE: u16 = 0o644;

impl Source {
    /// As Kubernetes spells the kind.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}
