//! What may follow a name or a path after `:`, such as `:mode=0440:optional`.
//!
//! Nothing is guessed: an option that is unknown, that does not belong to the annotation, that
//! stands there twice or lacks its value is an error of the whole request.

use std::borrow::Cow;
use std::fmt;

use crate::request::path::is_windows_path;
use crate::request::{FileName, Kind, MountPath, OptionName, Options, PathError};
use crate::text::Excerpt;

/// Why options could not be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError<'a> {
    /// Not an option of any annotation.
    #[error("unknown option {}, write one of: {allowed}", Excerpt::new(.option, 16))]
    Unknown {
        /// What was written.
        option: &'a str,
        /// The options of the annotation.
        allowed: Usages,
    },
    /// An option of other annotations.
    #[error("{0} does not belong here, write one of: {1}")]
    Misplaced(&'static str, Usages),
    /// The same option again.
    #[error("{0} is there twice, write it once")]
    Twice(&'static str),
    /// A value where none may be.
    #[error("{0} takes no value, write :{0}")]
    TakesNoValue(&'static str),
    /// No value where one must be.
    #[error("{0} needs a value, write :{0}={1}")]
    NeedsValue(&'static str, &'static str),
    /// A blank.
    #[error("an option must not contain blanks, write it without")]
    Blank,
    /// Not a mode.
    #[error("the mode must be 3 or 4 octal digits up to 0777, write :mode=0440")]
    Mode,
    /// Not the name of a key or file.
    #[error("{0} must be letters, digits, \"-\", \"_\" and \".\", write :{0}={1}")]
    FileName(&'static str, &'static str),
    /// Not the name of a variable.
    #[error("env must be a name of letters, digits and \"_\", write :env=SSL_CERT_FILE")]
    Variable,
    /// A variable that the container needs as it is.
    #[error("env must not set {0}, which the container needs; write another variable")]
    Reserved(&'a str),
    /// Not a directory that can be mounted.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The kubelet cannot leave out a single key.
    #[error("optional does not go with file=, leave one of them out")]
    OptionalFile,
    /// There is no directory whose file a variable could name.
    #[error("key= does not go with file=, leave one of them out")]
    KeyOfFile,
    /// There is no variable that could name the file.
    #[error("key= needs env=, write :env=VAR:key=FILE")]
    KeyWithoutEnv,
}

/// The options that an annotation takes, as its errors list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usages(&'static [OptionName]);

impl fmt::Display for Usages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, option) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let value = if option.takes_value() { "=" } else { "" };
            write!(f, "{separator}{}{value}", option.as_str())?;
        }
        Ok(())
    }
}

impl<'a> Options<'a> {
    /// Reads what follows the first `:` of a value; `None` where there was none.
    ///
    /// # Errors
    ///
    /// When any of it is not an option of the kind of request.
    pub fn parse(kind: Kind, text: Option<&'a str>) -> Result<Self, OptionError<'a>> {
        let mut options = Self::default();
        // Its drive looks like an option.
        let text_with_drive = text.filter(|text| text.as_bytes().contains(&b':'));
        if text_with_drive
            .and_then(|text| text.split_once("path="))
            .is_some_and(|(_, path)| is_windows_path(path))
        {
            return Err(PathError::Windows.into());
        }
        for option in text.into_iter().flat_map(|text| text.split(':')) {
            if option.contains(super::BLANKS) {
                return Err(OptionError::Blank);
            }
            options.read(kind, option)?;
        }
        if options.file.is_some() && options.optional {
            return Err(OptionError::OptionalFile);
        }
        if options.file.is_some() && options.key.is_some() {
            return Err(OptionError::KeyOfFile);
        }
        if kind.spec().takes(OptionName::Env) && options.key.is_some() && options.env.is_none() {
            return Err(OptionError::KeyWithoutEnv);
        }
        Ok(options)
    }

    fn read(&mut self, kind: Kind, option: &'a str) -> Result<(), OptionError<'a>> {
        let (name, value) =
            option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        let allowed = Usages(kind.spec().options);
        let Some(known) = OptionName::parse(name) else {
            return Err(OptionError::Unknown { option, allowed });
        };
        let name = known.as_str();
        if !kind.spec().takes(known) {
            return Err(OptionError::Misplaced(name, allowed));
        }
        let flag = |is_set: &mut bool| match value {
            Some(_) => Err(OptionError::TakesNoValue(name)),
            None if *is_set => Err(OptionError::Twice(name)),
            None => {
                *is_set = true;
                Ok(())
            }
        };
        match known {
            OptionName::Optional => flag(&mut self.optional),
            OptionName::Merge => flag(&mut self.merge),
            OptionName::Defaults => flag(&mut self.defaults),
            OptionName::Mode => set(&mut self.mode, name, value, "0440", |value| {
                parse_mode(value).ok_or(OptionError::Mode)
            }),
            OptionName::File => set(&mut self.file, name, value, "krb5.conf", |value| {
                file_name(name, value, "krb5.conf")
            }),
            OptionName::Key => set(&mut self.key, name, value, "key.json", |value| {
                file_name(name, value, "key.json")
            }),
            OptionName::Env => {
                set(&mut self.env, name, value, "SSL_CERT_FILE", |value| match value {
                    _ if !is_variable(value) => Err(OptionError::Variable),
                    "PATH" | "LD_PRELOAD" | "LD_LIBRARY_PATH" => Err(OptionError::Reserved(value)),
                    _ => Ok(Cow::Borrowed(value)),
                })
            }
            OptionName::Path => {
                set(&mut self.path, name, value, "/etc/conf", |value| Ok(MountPath::parse(value)?))
            }
        }
    }
}

fn set<'a, T>(
    target: &mut Option<T>,
    name: &'static str,
    value: Option<&'a str>,
    example: &'static str,
    parse: impl FnOnce(&'a str) -> Result<T, OptionError<'a>>,
) -> Result<(), OptionError<'a>> {
    if target.is_some() {
        return Err(OptionError::Twice(name));
    }
    let value =
        value.filter(|value| !value.is_empty()).ok_or(OptionError::NeedsValue(name, example))?;
    *target = Some(parse(value)?);
    Ok(())
}

fn parse_mode(text: &str) -> Option<u16> {
    let is_octal =
        matches!(text.len(), 3 | 4) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    u16::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777)
}

fn file_name<'a>(
    name: &'static str,
    text: &'a str,
    example: &'static str,
) -> Result<FileName<'a>, OptionError<'a>> {
    FileName::parse(text).ok_or(OptionError::FileName(name, example))
}

fn is_variable(text: &str) -> bool {
    text.bytes().enumerate().all(|(index, byte)| {
        byte.is_ascii_alphabetic() || byte == b'_' || (index > 0 && byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Kind, text: &str) -> Result<Options<'_>, String> {
        Options::parse(kind, Some(text)).map_err(|error| error.to_string())
    }

    #[test]
    fn each_option_in_any_order() {
        let options = read(Kind::ConfigMap, "env=KRB5_CONFIG:mode=440:file=krb5.conf").unwrap();
        assert_eq!(
            (options.env.as_deref(), options.mode, options.file.as_ref().map(FileName::as_str)),
            (Some("KRB5_CONFIG"), Some(0o440), Some("krb5.conf"))
        );
        let options = read(Kind::SparkConfigMap, "defaults:path=/etc//my/:merge:optional").unwrap();
        assert!(options.defaults && options.merge && options.optional);
        assert_eq!(options.path.unwrap().as_str(), "/etc/my");
        let options = read(Kind::Secret, "key=ca.pem:env=SSL_CERT_FILE").unwrap();
        assert_eq!(options.key.unwrap().as_str(), "ca.pem");
        assert_eq!(Options::parse(Kind::Secret, None), Ok(Options::default()));
    }

    #[test]
    fn options_belong_to_annotations() {
        for (kind, allowed) in [
            (Kind::SparkConfigMap, &["optional", "mode=0440", "path=/x", "merge", "defaults"][..]),
            (Kind::HadoopConfigMap, &["optional", "mode=0440", "path=/x", "merge"]),
            (Kind::ConfigMap, &["optional", "mode=0440", "file=f", "env=V", "env=V:key=f"]),
            (Kind::Secret, &["optional", "mode=0440", "file=f", "env=V", "env=V:key=f"]),
            (Kind::GcpServiceAccount, &["optional", "mode=0440", "key=f"]),
            (Kind::HadoopDelegationToken, &["optional", "mode=0440", "key=f"]),
        ] {
            for option in [
                "optional",
                "mode=0440",
                "file=f",
                "env=V",
                "env=V:key=f",
                "key=f",
                "path=/x",
                "merge",
                "defaults",
            ] {
                assert_eq!(
                    read(kind, option).is_ok(),
                    allowed.contains(&option),
                    "{kind:?} {option}: {:?}",
                    read(kind, option)
                );
            }
        }
    }

    #[test]
    fn what_is_no_option_says_what_to_write_instead() {
        for (kind, text, expected) in [
            (Kind::Secret, "", "unknown option , write one of: optional, mode=, file=, env=, key="),
            (
                Kind::Secret,
                "Optional",
                "unknown option Optional, write one of: optional, mode=, file=, env=, key=",
            ),
            (
                Kind::Secret,
                "optional:",
                "unknown option , write one of: optional, mode=, file=, env=, key=",
            ),
            (
                Kind::Secret,
                "merge",
                "merge does not belong here, write one of: optional, mode=, file=, env=, key=",
            ),
            (Kind::Secret, "optional:optional", "optional is there twice, write it once"),
            (Kind::Secret, "mode=0440:mode=0440", "mode is there twice, write it once"),
            (Kind::Secret, "optional=true", "optional takes no value, write :optional"),
            (Kind::Secret, "mode", "mode needs a value, write :mode=0440"),
            (Kind::Secret, "mode=", "mode needs a value, write :mode=0440"),
            (Kind::Secret, "file=", "file needs a value, write :file=krb5.conf"),
            (Kind::Secret, " optional", "an option must not contain blanks, write it without"),
            (
                Kind::SparkConfigMap,
                "path=/a b",
                "an option must not contain blanks, write it without",
            ),
            (
                Kind::Secret,
                "mode=44",
                "the mode must be 3 or 4 octal digits up to 0777, write :mode=0440",
            ),
            (
                Kind::Secret,
                "mode=00440",
                "the mode must be 3 or 4 octal digits up to 0777, write :mode=0440",
            ),
            (
                Kind::Secret,
                "mode=1777",
                "the mode must be 3 or 4 octal digits up to 0777, write :mode=0440",
            ),
            (
                Kind::Secret,
                "mode=0448",
                "the mode must be 3 or 4 octal digits up to 0777, write :mode=0440",
            ),
            (
                Kind::Secret,
                "mode=+440",
                "the mode must be 3 or 4 octal digits up to 0777, write :mode=0440",
            ),
            (
                Kind::Secret,
                "file=a/b",
                "file must be letters, digits, \"-\", \"_\" and \".\", write :file=krb5.conf",
            ),
            (
                Kind::Secret,
                "file=..",
                "file must be letters, digits, \"-\", \"_\" and \".\", write :file=krb5.conf",
            ),
            (
                Kind::Secret,
                "env=1A",
                "env must be a name of letters, digits and \"_\", write :env=SSL_CERT_FILE",
            ),
            (
                Kind::Secret,
                "env=A-B",
                "env must be a name of letters, digits and \"_\", write :env=SSL_CERT_FILE",
            ),
            (
                Kind::Secret,
                "env=PATH",
                "env must not set PATH, which the container needs; write another variable",
            ),
            (
                Kind::Secret,
                "env=LD_PRELOAD",
                "env must not set LD_PRELOAD, which the container needs; write another variable",
            ),
            (
                Kind::Secret,
                "env=LD_LIBRARY_PATH",
                "env must not set LD_LIBRARY_PATH, which the container needs; write another variable",
            ),
            (
                Kind::HadoopConfigMap,
                "optional:path=C:\\conf",
                "this is a Windows path, write a path in the container",
            ),
            (Kind::HadoopConfigMap, "path=\"/etc/app\"", "the path is in quotes, write /etc/app"),
            (
                Kind::Secret,
                "optional:file=f",
                "optional does not go with file=, leave one of them out",
            ),
            (
                Kind::Secret,
                "env=A:key=f:file=f",
                "key= does not go with file=, leave one of them out",
            ),
            (Kind::Secret, "key=f", "key= needs env=, write :env=VAR:key=FILE"),
            (
                Kind::HadoopConfigMap,
                "path=/etc",
                "a mount at /etc hides what the container needs, write a directory below it",
            ),
        ] {
            assert_eq!(read(kind, text), Err(expected.to_owned()), "{text}");
        }
    }
}
