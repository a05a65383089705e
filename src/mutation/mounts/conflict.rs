//! Why nothing can be mounted at the path of a request.

use std::borrow::Cow;
use std::fmt;

use crate::request::{Kind, Request};
use crate::text::Excerpt;

/// Why the webhook does not apply a request.
#[derive(Clone, Debug, thiserror::Error)]
pub(in crate::mutation) enum Conflict<'a> {
    #[error("{} is asked for there, write another path", .0.annotation.excerpt(50))]
    Taken(&'a Request<'a>),
    #[error("/run is /var/run, where {} is mounted; write another path", .0.annotation.excerpt(40))]
    TakenByLink(&'a Request<'a>),
    #[error("volume {} is mounted there; remove that mount or this annotation", Excerpt::new(.0, 30))]
    SomethingElse(&'a str),
    #[error("mounted there already, but with {0}; remove that mount or this annotation")]
    OtherForm(Difference),
    #[error("Spark's own files are at that path; write merge:path=OTHER")]
    MergeOntoItself,
    #[error("no file fits below {}, write another path or {}=NAME:merge", Excerpt::new(.0, 22), Kind::SPARK_CONF_DIR.key())]
    FileInVolume(&'a str),
    #[error("nothing can be mounted below the read-only mount {}, write another path", Excerpt::new(.0, 25))]
    BelowReadOnly(&'a str),
    #[error("nothing can be mounted below the file mount {}, write another path", Excerpt::new(.0, 25))]
    BelowFile(&'a str),
    #[error("a directory cannot be mounted over the file mount {}, write another path", Excerpt::new(.0, 22))]
    AboveFile(&'a str),
    #[error("a file cannot be mounted over the mount {}, write another path", Excerpt::new(.0, 25))]
    FileAbove(&'a str),
    #[error("/run is /var/run, where {} is mounted; write {}", Excerpt::new(.mounted, 24), spelled(.instead.as_deref()))]
    Linked { mounted: &'a str, instead: Option<String> },
    #[error("the path of the mount at {} is relative, write it with a \"/\" or use another path", Excerpt::new(.0, 25))]
    Relative(&'a str),
    #[error("a block device has that path, write another one")]
    Device,
}

/// A path that is cut short would be another one.
fn spelled(path: Option<&str>) -> Cow<'_, str> {
    match path {
        Some(path) if path.len() <= 35 => Cow::Borrowed(path),
        Some(path) if path.starts_with("/var") => Cow::Borrowed("/var/run instead of /run"),
        Some(_) => Cow::Borrowed("/run instead of /var/run"),
        None => Cow::Borrowed("another path"),
    }
}

/// In what a mount of the right object is not what was asked for.
#[derive(Clone, Copy, Debug)]
pub(in crate::mutation) enum Difference {
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
