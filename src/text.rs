//! A JSON string that borrows from the bytes it was read from.
//!
//! serde borrows into a `Cow<str>` field, but not into an `Option<Cow<str>>` or a `Vec<Cow<str>>`:
//! there it copies. This newtype borrows everywhere, and copies only strings that hold escapes. It
//! is most of the difference between the few allocations of a review here and the hundreds of a
//! typed one (`benches/admission.rs`).

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A string, borrowed where the JSON text holds it without escapes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borrows_unless_the_string_holds_escapes() {
        for (json, borrowed) in
            [(r#"["plain"]"#, true), (r#"["a\nb"]"#, false), (r#"["grüße"]"#, true)]
        {
            let texts: Vec<Option<Text>> = serde_json::from_str(json).unwrap();
            let text = texts[0].as_ref().unwrap();
            assert_eq!(matches!(text.0, Cow::Borrowed(_)), borrowed, "{json}");
        }
    }
}
