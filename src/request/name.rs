//! Names of objects and of the files in them, checked once.

use std::borrow::Cow;
use std::fmt;

/// The name of a ConfigMap or Secret: a DNS-1123 subdomain of at most 253 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName<'a>(Cow<'a, str>);

/// Why a text is not the name of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is none.
    #[error("the name is missing, write NAME as the ConfigMap or Secret is called")]
    Missing,
    /// It is longer than any object's.
    #[error("the name is longer than 253 characters, no such object can exist")]
    TooLong,
    /// It is in quotation marks, which a shell or a file was to take away.
    #[error("the name is in quotes, write it without them")]
    Quoted,
    /// It has characters that no object's has.
    #[error(
        "no object can have this name: write lower case letters, digits, \"-\" and \".\" between them"
    )]
    NotSubdomain,
}

impl<'a> ObjectName<'a> {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// When no object can have this name, so that the pod would wait for ever.
    pub fn parse(text: &'a str) -> Result<Self, NameError> {
        let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_label = |label: &str| {
            let bytes = label.as_bytes();
            bytes.iter().all(|byte| is_alphanumeric(*byte) || *byte == b'-')
                && bytes.first().is_some_and(|byte| is_alphanumeric(*byte))
                && bytes.last().is_some_and(|byte| is_alphanumeric(*byte))
        };
        match text {
            "" => Err(NameError::Missing),
            _ if text.len() > 253 => Err(NameError::TooLong),
            _ if text.split('.').all(is_label) => Ok(Self(Cow::Borrowed(text))),
            _ if is_quoted(text) => Err(NameError::Quoted),
            _ => Err(NameError::NotSubdomain),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn lend(&self) -> ObjectName<'_> {
        ObjectName(Cow::Borrowed(&self.0))
    }

    pub(super) fn into_owned(self) -> ObjectName<'static> {
        ObjectName(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Display for ObjectName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a key of a ConfigMap or Secret, which is also that of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName<'a>(Cow<'a, str>);

impl<'a> FileName<'a> {
    /// Checks a name as the API server checks keys; `None` where no key can have it.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let is_key = matches!(text.len(), 1..=253)
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
            && text != "."
            && !text.starts_with("..");
        is_key.then_some(Self(Cow::Borrowed(text)))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn lend(&self) -> FileName<'_> {
        FileName(Cow::Borrowed(&self.0))
    }

    pub(super) fn into_owned(self) -> FileName<'static> {
        FileName(Cow::Owned(self.0.into_owned()))
    }
}

/// Quotation marks, those of a word processor included.
pub(super) const QUOTES: [char; 6] = ['"', '\'', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}'];

pub(super) fn is_quoted(text: &str) -> bool {
    text.starts_with(QUOTES) || text.ends_with(QUOTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_1123_subdomains() {
        let longest = "a".repeat(253);
        let too_long = "a".repeat(254);
        for name in ["a", "0", "spark-conf", "more.dotted.name", "a--b", &longest] {
            let parsed = ObjectName::parse(name).unwrap();
            assert_eq!(parsed.as_str(), name);
        }
        for (name, error) in [
            ("", NameError::Missing),
            (&*too_long, NameError::TooLong),
            ("App_Conf", NameError::NotSubdomain),
            ("A", NameError::NotSubdomain),
            ("-a", NameError::NotSubdomain),
            ("a-", NameError::NotSubdomain),
            ("a..b", NameError::NotSubdomain),
            (".a", NameError::NotSubdomain),
            ("a.", NameError::NotSubdomain),
            ("a.-b", NameError::NotSubdomain),
            ("a/b", NameError::NotSubdomain),
            ("a b", NameError::NotSubdomain),
            ("grün", NameError::NotSubdomain),
            ("\"a\"", NameError::Quoted),
            ("'a", NameError::Quoted),
        ] {
            assert_eq!(ObjectName::parse(name), Err(error), "{name}");
        }
    }

    #[test]
    fn file_names_are_keys_of_config_maps() {
        let longest = "a".repeat(253);
        for name in ["core-site.xml", "a", "A_b-c.0", ".hidden", &longest] {
            assert_eq!(FileName::parse(name).unwrap().as_str(), name);
        }
        for name in ["", ".", "..", "..data", "a/b", "a b", "grün", &"a".repeat(254)] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}
