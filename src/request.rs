//! What is requested: one ConfigMap or Secret at one path, in one form.
//!
//! A request is valid in itself: it has a name that an object can have and a path that can be
//! mounted. Nothing that gets a request parses or checks any of that again.

use std::borrow::Cow;
use std::cmp::Ordering;

use kind::VariableFrom;

pub mod kind;
pub mod name;
pub mod path;
pub mod problem;

pub use kind::{INJECTED, Kind, OptionName, PREFIXES};
pub use name::{FileName, ObjectName};
pub use path::{MountPath, PathError};
pub use problem::{Annotation, MAX_LISTED, Problem, ProblemKind, Problems, Severity};

/// What a request is about when defaults are compared with it: its kind, and the NAME in its key or
/// list entry.
pub type Claim<'a> = (Kind, &'a str);

/// The options of one request; [`OptionName`] says what each means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options<'a> {
    /// Whether there is `optional`.
    pub optional: bool,
    /// The value of `mode=`, at most 0o777.
    pub mode: Option<u16>,
    /// The value of `file=`.
    pub file: Option<FileName<'a>>,
    /// The value of `env=`.
    pub env: Option<Cow<'a, str>>,
    /// The value of `key=`.
    pub key: Option<FileName<'a>>,
    /// The value of `path=`.
    pub path: Option<MountPath<'a>>,
    /// Whether there is `merge`.
    pub merge: bool,
    /// Whether there is `defaults`.
    pub defaults: bool,
}

impl Options<'_> {
    fn lend(&self) -> Options<'_> {
        let Self { optional, mode, file, env, key, path, merge, defaults } = self;
        Options {
            optional: *optional,
            mode: *mode,
            file: file.as_ref().map(FileName::lend),
            env: env.as_deref().map(Cow::Borrowed),
            key: key.as_ref().map(FileName::lend),
            path: path.as_ref().map(MountPath::lend),
            merge: *merge,
            defaults: *defaults,
        }
    }

    fn into_owned(self) -> Options<'static> {
        let Self { optional, mode, file, env, key, path, merge, defaults } = self;
        Options {
            optional,
            mode,
            file: file.map(FileName::into_owned),
            env: env.map(|env| Cow::Owned(env.into_owned())),
            key: key.map(FileName::into_owned),
            path: path.map(MountPath::into_owned),
            merge,
            defaults,
        }
    }
}

/// A request to mount one ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Its kind.
    pub kind: Kind,
    /// The ConfigMap or Secret.
    pub name: ObjectName<'a>,
    /// The path of the mount: a directory, or with `file=` a file.
    pub path: MountPath<'a>,
    /// Its options.
    pub options: Options<'a>,
    /// Whether it is an entry of a list: only those share volumes.
    pub is_listed: bool,
    /// Its author.
    pub origin: Origin,
    /// The annotation, for problems.
    pub annotation: Annotation<'a>,
}

/// The author of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The pod's own annotations.
    Pod,
    /// The administrator's default, which is skipped silently in favour of the pod's own choice.
    Default,
    /// A default that is never skipped.
    Enforced,
}

/// The kind of object that holds the files of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
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
    pub can_be_overridden: bool,
}

impl Request<'_> {
    /// The order in which the webhook applies requests: by kind, then by name, then by path.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        (self.kind, &self.name, &self.path).cmp(&(other.kind, &other.name, &other.path))
    }

    /// The kind of object that the request names.
    #[must_use]
    pub fn object_kind(&self) -> ObjectKind {
        self.kind.spec().object
    }

    /// What the request is about.
    #[must_use]
    pub fn claim(&self) -> Claim<'_> {
        // There is one request for a conf dir, whatever the name of its ConfigMap.
        let name = if self.kind.spec().is_named_in_key() { self.name.as_str() } else { "" };
        (self.kind, name)
    }

    /// The permissions of the files; without `mode=` those that the API server fills in.
    #[must_use]
    pub fn default_mode(&self) -> u16 {
        self.options.mode.unwrap_or(DEFAULT_MODE)
    }

    /// The variable that the request sets.
    #[must_use]
    pub fn variable(&self) -> Option<Variable<'_>> {
        let name = self.variable_name()?;
        let path = self.path.as_str();
        let value = self
            .variable_file()
            .map_or(Cow::Borrowed(path), |file| Cow::Owned(format!("{path}/{file}")));
        let can_be_overridden =
            self.kind.spec().variable == VariableFrom::Option && self.origin != Origin::Enforced;
        Some(Variable { name, value, can_be_overridden })
    }

    /// The name of the variable that the request sets.
    #[must_use]
    pub fn variable_name(&self) -> Option<&str> {
        match self.kind.spec().variable {
            VariableFrom::Kind(name, _) => Some(name),
            VariableFrom::Option => self.options.env.as_deref(),
        }
    }

    /// The file of the object that the variable names, below the path.
    fn variable_file(&self) -> Option<&str> {
        let of_kind = match self.kind.spec().variable {
            VariableFrom::Kind(_, file) => file,
            VariableFrom::Option => None,
        };
        self.options.key.as_ref().map(FileName::as_str).or(of_kind)
    }

    /// The key that the object must have for the request to be of use.
    #[must_use]
    pub fn needed_key(&self) -> Option<&str> {
        self.file().or_else(|| self.variable_file())
    }

    /// The value of `file=`.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.options.file.as_ref().map(FileName::as_str)
    }

    /// The same request, which borrows its texts from this one.
    #[must_use]
    pub fn lend(&self) -> Request<'_> {
        let Self { kind, name, path, options, is_listed, origin, annotation } = self;
        Request {
            kind: *kind,
            name: name.lend(),
            path: path.lend(),
            options: options.lend(),
            is_listed: *is_listed,
            origin: *origin,
            annotation: annotation.lend(),
        }
    }

    /// The same request with texts of its own, which outlives what it was read from.
    #[must_use]
    pub fn into_owned(self) -> Request<'static> {
        let Self { kind, name, path, options, is_listed, origin, annotation } = self;
        Request {
            kind,
            name: name.into_owned(),
            path: path.into_owned(),
            options: options.into_owned(),
            is_listed,
            origin,
            annotation: annotation.into_owned(),
        }
    }
}

/// The mode that the API server fills in where none is given.
pub const DEFAULT_MODE: u16 = 0o644;

impl ObjectKind {
    /// The kind in Kubernetes' spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}
