//! Paths of mounts, checked once.
//!
//! The API server checks almost none of this: it accepts relative paths, `..`, colons and `/`
//! itself as mount paths (seen on 1.36). What it lets through fails later, on the node or in Spark,
//! without a word to the person who wrote it.

use std::borrow::Cow;
use std::fmt;

use super::name::{QUOTES, is_quoted};
use crate::text::is_invisible;

/// Where a volume is mounted: absolute, without repeated or trailing slashes, and nothing that
/// hides what a container needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MountPath<'a>(Cow<'a, str>);

/// Why nothing can be mounted at a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with a slash; the path as it could be written, if that is allowed.
    #[error("the path must start with \"/\", write {}", .0.as_deref().map_or("an absolute one", |path| path))]
    Relative(Option<String>),
    /// It is in quotation marks, which a shell or a file was to take away; the path without them,
    /// if that is allowed.
    #[error("the path is in quotes, write {}", .0.as_deref().map_or("it without them", |path| path))]
    Quoted(Option<String>),
    /// It is a path of Windows.
    #[error("this is a Windows path, write a path in the container")]
    Windows,
    /// It ends with a backslash, as a line does that goes on in a shell.
    #[error("the path ends with a backslash, write it without")]
    Backslash,
    /// It has a character that nobody can see.
    #[error("the path contains the invisible character U+{:04X}, write it without", u32::from(*.0))]
    Invisible(char),
    /// It has an element `.` or `..`.
    #[error("the path must not contain \".\" or \"..\", write the path that it leads to")]
    DotElement,
    /// It has characters that cannot be seen.
    #[error("the path contains control characters, write it without them")]
    Control,
    /// It is longer than a file system takes.
    #[error(
        "the path is longer than 1,024 bytes or has an element of more than 255, write a shorter one"
    )]
    TooLong,
    /// A mount there would hide what the container or Spark needs.
    #[error("a mount at {0} hides what the container needs, write a directory below it")]
    Hides(String),
    /// Nothing can be mounted there at all.
    #[error("nothing can be mounted in {0}, write another path")]
    Kernel(&'static str),
    /// The kubelet would replace a part of it in an environment variable, but not in the mount.
    #[error(
        "the path must not contain \"{0}\" because it is also a variable's value, write it without"
    )]
    Substitution(&'static str),
}

/// Directories that a container or Spark cannot do without; what is below them may be mounted.
pub(crate) const PROTECTED_DIRECTORIES: [&str; 23] = [
    "/bin",
    "/boot",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/opt",
    "/opt/spark",
    "/opt/spark/bin",
    "/opt/spark/sbin",
    "/opt/spark/jars",
    "/opt/spark/python",
    "/root",
    "/run",
    "/sbin",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/sbin",
    "/var",
    "/var/run",
];

/// File systems of the kernel: neither they nor anything below them.
pub(crate) const KERNEL_FILESYSTEMS: [&str; 3] = ["/dev", "/proc", "/sys"];

/// The maximum length of a path in bytes: a quarter of what Linux takes, so that there is room for
/// directories around it.
const MAX_PATH: usize = 1024;

impl<'a> MountPath<'a> {
    /// Checks a path, after repeated and trailing slashes are removed.
    ///
    /// # Errors
    ///
    /// When the path could not be mounted, or would break the container.
    pub fn parse(text: &'a str) -> Result<Self, PathError> {
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_');
        if !text.bytes().all(is_plain) {
            refuse_characters(text)?;
        }
        if !text.starts_with('/') {
            // A suggestion that is refused in its turn, or not what was meant, is none.
            let is_worth_a_try = !text.starts_with(['~', '$']) && text.len() < MAX_PATH;
            let instead = is_worth_a_try
                .then(|| format!("/{text}"))
                .filter(|instead| MountPath::parse(instead).is_ok());
            return Err(PathError::Relative(instead));
        }
        let path = normalize(text);
        if path.len() > MAX_PATH
            || (path.len() > 255 && path.split('/').any(|element| element.len() > 255))
        {
            return Err(PathError::TooLong);
        }
        if has_pair(&path, *b"/.") && path.split('/').any(|element| matches!(element, "." | "..")) {
            return Err(PathError::DotElement);
        }
        if path == "/" || PROTECTED_DIRECTORIES.contains(&&*path) {
            return Err(PathError::Hides(path.into_owned()));
        }
        if let Some(kernel) = KERNEL_FILESYSTEMS
            .into_iter()
            .find(|kernel| *path == **kernel || is_below(&path, kernel))
        {
            return Err(PathError::Kernel(kernel));
        }
        Ok(Self(path))
    }

    /// A directory that this webhook itself decides on.
    #[must_use]
    pub(crate) fn fixed(path: &'static str) -> Self {
        Self(Cow::Borrowed(path))
    }

    /// The path, absolute and normalised.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn lend(&self) -> MountPath<'_> {
        MountPath(Cow::Borrowed(&self.0))
    }

    pub(super) fn into_owned(self) -> MountPath<'static> {
        MountPath(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Display for MountPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Refuses a text for characters that do not belong in a path, or not where they stand.
fn refuse_characters(text: &str) -> Result<(), PathError> {
    if let Some(character) = text.chars().find(|character| is_invisible(*character)) {
        Err(PathError::Invisible(character))
    } else if is_quoted(text) {
        let instead = text.trim_matches(QUOTES);
        let is_worth_a_try = instead.len() <= MAX_PATH;
        Err(PathError::Quoted(
            (is_worth_a_try && MountPath::parse(instead).is_ok()).then(|| instead.to_owned()),
        ))
    } else if text.chars().any(char::is_control) {
        Err(PathError::Control)
    } else if !text.starts_with('/') && text.contains('\\') {
        Err(PathError::Windows)
    } else if text.ends_with('\\') {
        Err(PathError::Backslash)
    } else {
        Ok(())
    }
}

/// Whether a value, options included, begins as a path of Windows does: with a drive, or with a
/// backslash.
pub(crate) fn is_windows_path(value: &str) -> bool {
    match value.as_bytes() {
        [drive, b':', b'\\' | b'/', ..] => drive.is_ascii_alphabetic(),
        [b'\\', ..] => true,
        _ => false,
    }
}

/// What the kubelet would replace in the value of a variable: `$(VAR)` by a variable's value, `$$`
/// by `$`.
pub(crate) fn substitution(path: &str) -> Option<&'static str> {
    if !path.as_bytes().contains(&b'$') {
        return None;
    }
    [(*b"$(", "$("), (*b"$$", "$$")]
        .into_iter()
        .find_map(|(pair, shown)| has_pair(path, pair).then_some(shown))
}

/// A path of the pod's own as the kubelet sees it: absolute, without `.`, `..`, repeated and
/// trailing slashes. The API server takes any spelling (seen on 1.36), and kubelet and runtime make
/// one of them.
#[must_use]
pub fn cleaned(path: &str) -> Cow<'_, str> {
    // What begins with a dot or is empty is looked at more closely, though a name may begin with a
    // dot.
    let begins_oddly = |pair: &[u8]| matches!(pair, [b'/', b'/' | b'.']);
    let is_odd = !path.starts_with('/')
        || path.ends_with('/')
        || path.as_bytes().windows(2).any(begins_oddly)
            && path.split('/').skip(1).any(|element| matches!(element, "" | "." | ".."));
    if !is_odd || path == "/" {
        return Cow::Borrowed(path);
    }
    let mut clean = String::with_capacity(path.len() + 1);
    for element in path.split('/') {
        match element {
            "" | "." => {}
            ".." => clean.truncate(clean.rfind('/').unwrap_or_default()),
            element => {
                clean.push('/');
                clean.push_str(element);
            }
        }
    }
    if clean.is_empty() {
        clean.push('/');
    }
    Cow::Owned(clean)
}

/// Removes repeated and trailing slashes of an absolute path: to the kernel `/x//` is `/x`, to the
/// API server they are two paths.
fn normalize(path: &str) -> Cow<'_, str> {
    let is_normal = path == "/" || !(path.ends_with('/') || has_pair(path, *b"//"));
    if is_normal {
        return Cow::Borrowed(path);
    }
    let mut normal = String::with_capacity(path.len().min(MAX_PATH));
    let mut rest = path;
    // Longer ones are errors: nothing is copied of one that has megabytes.
    while normal.len() <= MAX_PATH
        && let Some(from) = rest.bytes().position(|byte| byte != b'/')
    {
        let element = rest.get(from..).unwrap_or_default();
        let (element, after) = element.split_at(element.find('/').unwrap_or(element.len()));
        normal.push('/');
        normal.push_str(element);
        rest = after;
    }
    if normal.is_empty() {
        normal.push('/');
    }
    Cow::Owned(normal)
}

/// Whether two bytes stand side by side. `str::contains` prepares for longer needles and texts, at
/// several times the cost.
#[must_use]
fn has_pair(text: &str, pair: [u8; 2]) -> bool {
    text.as_bytes().windows(2).any(|two| *two == pair)
}

/// Whether a normalised path lies below another: `/a/b` below `/a`, not `/ab`.
#[must_use]
pub fn is_below(path: &str, ancestor: &str) -> bool {
    // One byte tells nearly always, and every two mounts of a pod are asked.
    let is_element =
        ancestor == "/" && path.len() > 1 || path.as_bytes().get(ancestor.len()) == Some(&b'/');
    is_element && path.starts_with(ancestor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lose_repeated_and_trailing_slashes() {
        for (written, path) in [
            ("/etc/app", "/etc/app"),
            ("/etc/app/", "/etc/app"),
            ("//etc///app//", "/etc/app"),
            ("/etc/a b/c,d", "/etc/a b/c,d"),
            ("/etc/grüße", "/etc/grüße"),
            ("/etc/..data", "/etc/..data"),
            ("/mnt/$(X)", "/mnt/$(X)"),
            ("/devices", "/devices"),
            ("/opt/spark/conf", "/opt/spark/conf"),
            ("/opt/spark/jars/mine", "/opt/spark/jars/mine"),
            ("/etc/\"a\"/b", "/etc/\"a\"/b"),
            ("/etc/a\\b", "/etc/a\\b"),
            ("/tmp/x", "/tmp/x"),
        ] {
            assert_eq!(MountPath::parse(written).unwrap().as_str(), path, "{written}");
        }
    }

    #[test]
    fn paths_that_cannot_be_mounted_are_refused() {
        let element = "x".repeat(255);
        assert!(
            MountPath::parse(&format!("/{element}/{element}/{element}/{}", &element[..255]))
                .is_ok(),
            "1,024 bytes"
        );
        let too_long = format!("/{element}/{element}/{element}/{element}/y");
        let long_element = format!("/{element}x");
        for (path, error) in [
            ("etc/app", PathError::Relative(Some("/etc/app".into()))),
            ("", PathError::Relative(None)),
            ("etc", PathError::Relative(None)),
            ("C", PathError::Relative(Some("/C".into()))),
            ("\"/etc/app\"", PathError::Quoted(Some("/etc/app".into()))),
            ("'/etc/app", PathError::Quoted(Some("/etc/app".into()))),
            ("/etc/app\u{201d}", PathError::Quoted(Some("/etc/app".into()))),
            ("\"etc/app\"", PathError::Quoted(None)),
            ("\"\"", PathError::Quoted(None)),
            ("etc\\app", PathError::Windows),
            ("\\\\server\\share", PathError::Windows),
            ("/etc/app\\", PathError::Backslash),
            ("\u{feff}/etc/app", PathError::Invisible('\u{feff}')),
            ("/etc/\u{a0}app", PathError::Invisible('\u{a0}')),
            ("/etc/app\u{200b}", PathError::Invisible('\u{200b}')),
            ("etc/\u{ad}app", PathError::Invisible('\u{ad}')),
            ("./conf", PathError::Relative(None)),
            ("~/conf", PathError::Relative(None)),
            ("/a/./b", PathError::DotElement),
            ("/a/..", PathError::DotElement),
            ("/mnt/../etc//x/", PathError::DotElement),
            ("/a\nb", PathError::Control),
            ("/a\u{85}b", PathError::Control),
            ("/a\u{7f}", PathError::Control),
            (&*too_long, PathError::TooLong),
            (&*long_element, PathError::TooLong),
            ("/", PathError::Hides("/".into())),
            ("///", PathError::Hides("/".into())),
            ("/etc/", PathError::Hides("/etc".into())),
            ("/opt/spark", PathError::Hides("/opt/spark".into())),
            ("/dev", PathError::Kernel("/dev")),
            ("/proc/x", PathError::Kernel("/proc")),
            ("/sys/fs/cgroup", PathError::Kernel("/sys")),
        ] {
            assert_eq!(MountPath::parse(path), Err(error), "{path:?}");
        }
        for path in PROTECTED_DIRECTORIES {
            assert_eq!(MountPath::parse(path), Err(PathError::Hides(path.into())), "{path}");
        }
    }

    #[test]
    fn below_means_a_whole_element_further() {
        for (path, ancestor, expected) in [
            ("/a/b", "/a", true),
            ("/ab", "/a", false),
            ("/a", "/a", false),
            ("/a", "/", true),
            ("/", "/", false),
            ("/a", "/a/b", false),
        ] {
            assert_eq!(is_below(path, ancestor), expected, "{path} {ancestor}");
        }
    }

    #[test]
    fn the_pods_paths_are_what_the_kubelet_makes_of_them() {
        for (written, clean) in [
            ("/etc/ssl/corp", "/etc/ssl/corp"),
            ("/etc/.hidden/..data/...", "/etc/.hidden/..data/..."),
            ("etc/ssl/corp", "/etc/ssl/corp"),
            ("./etc/ssl", "/etc/ssl"),
            ("/etc/ssl/./corp/", "/etc/ssl/corp"),
            ("/etc/ssl/x/../corp", "/etc/ssl/corp"),
            ("/etc/ssl/corp/..", "/etc/ssl"),
            ("/../../etc", "/etc"),
            ("a/../../b", "/b"),
            ("//etc///ssl//", "/etc/ssl"),
            ("/", "/"),
            ("//", "/"),
            ("..", "/"),
            (".", "/"),
            ("", "/"),
        ] {
            assert_eq!(cleaned(written), clean, "{written}");
            let is_copied = matches!(cleaned(written), Cow::Owned(_));
            assert_eq!(is_copied, written != clean, "{written}");
        }
    }

    #[test]
    fn a_windows_path_is_told_by_its_beginning() {
        for (value, expected) in [
            ("C:\\conf", true),
            ("c:/conf", true),
            ("\\\\srv\\x", true),
            ("/c:\\x", false),
            ("c:mode=0440", false),
            ("C:", false),
        ] {
            assert_eq!(is_windows_path(value), expected, "{value}");
        }
    }

    #[test]
    fn a_path_that_is_normal_is_not_copied() {
        for path in ["/", "/etc/app"] {
            assert!(matches!(normalize(path), Cow::Borrowed(_)), "{path}");
        }
    }
}
