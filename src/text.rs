//! Text from outside: strings of JSON that borrow the bytes they were read from, and excerpts that
//! are safe to show.
//!
//! serde borrows into a `Cow<str>` field, but not into an `Option<Cow<str>>` or a `Vec<Cow<str>>`:
//! there it copies. This newtype borrows everywhere, and copies only strings that hold escapes. It
//! is most of the difference between the few allocations of a review here and the hundreds of a
//! typed one (`benches/admission.rs`).

use std::borrow::Cow;
use std::fmt::{self, Write};
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
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// Whether nobody can see a character: blanks that are not ASCII, soft hyphens, joiners, and what
/// turns the direction of text.
#[must_use]
pub fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{a0}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

/// The beginning of a text that came from outside, on one line: control characters are escaped,
/// because the API server drops a warning that has any, and invisible ones, because nobody would
/// find them. What is too long ends in `…`.
#[derive(Clone, Copy, Debug)]
pub struct Excerpt<'a> {
    text: &'a str,
    max_chars: usize,
}

impl<'a> Excerpt<'a> {
    /// Shows at most `max_chars` characters of `text`.
    #[must_use]
    pub fn new(text: &'a str, max_chars: usize) -> Self {
        Self { text, max_chars }
    }
}

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nearly all texts are ASCII and have nothing to escape.
        if self.text.bytes().take(self.max_chars).all(|byte| matches!(byte, b' '..=b'~')) {
            return match self.text.get(..self.max_chars.saturating_sub(1)) {
                Some(shown) if self.text.len() > self.max_chars => {
                    f.write_str(shown).and_then(|()| f.write_char('…'))
                }
                _ => f.write_str(self.text),
            };
        }
        // An escape is up to eight characters long, and is shown whole or not at all.
        let mut shown = String::with_capacity(self.max_chars);
        let mut count = 0;
        let mut end = 0;
        for character in self.text.chars() {
            let before = shown.len();
            if character.is_control() || is_invisible(character) {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
            let chars = shown.get(before..).unwrap_or_default().chars().count();
            if count + chars > self.max_chars {
                shown.truncate(end);
                shown.push('…');
                break;
            }
            count += chars;
            if count < self.max_chars {
                end = shown.len();
            }
        }
        f.write_str(&shown)
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

    #[test]
    fn an_excerpt_is_one_line_and_never_longer_than_asked() {
        for (text, max_chars, expected) in [
            ("", 5, ""),
            ("short", 5, "short"),
            ("longer", 5, "long…"),
            ("grüße!", 5, "grüß…"),
            ("a\nb", 5, "a\\nb"),
            ("ab\u{7f}", 5, "ab…"),
            ("\u{85}", 6, "\\u{85}"),
            ("line\u{2028}end", 40, "line\\u{2028}end"),
            ("no\u{a0}break", 40, "no\\u{a0}break"),
            ("join\u{200d}er", 40, "join\\u{200d}er"),
        ] {
            let excerpt = Excerpt::new(text, max_chars).to_string();
            assert_eq!(excerpt, expected, "{text:?}");
            assert!(excerpt.chars().count() <= max_chars);
        }
    }
}
