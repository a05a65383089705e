//! From text to values, by serde.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::quote_or_backslash;

/// Reads a value; `None` where something is wrong or unusual, which `serde_json` then has to look at.
#[must_use]
pub fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    // Of control characters the API server writes only the last one; without any, there is less to look for in each string.
    let text = text.strip_suffix('\n').unwrap_or(text);
    if text.bytes().fold(u8::MAX, u8::min) < b' ' {
        return None;
    }
    let mut reader = Reader { text, at: 0 };
    let value = T::deserialize(&mut reader).ok()?;
    reader.token().is_none().then_some(value)
}

/// Why is asked of `serde_json`.
#[derive(Debug, thiserror::Error)]
#[error("not read")]
struct Unread;

impl serde::de::Error for Unread {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// The most arrays and objects in one another that are skipped: a bit for each.
const MAX_DEPTH: u32 = u64::BITS;

impl<'a> Reader<'a> {
    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The next byte that is not a blank, which is not consumed.
    fn token(&mut self) -> Option<u8> {
        self.at = skip_blanks(self.bytes(), self.at);
        self.bytes().get(self.at).copied()
    }

    fn consume(&mut self, expected: u8) -> Result<(), Unread> {
        self.at = skip_token(self.bytes(), self.at, expected)?;
        Ok(())
    }

    fn literal(&mut self, literal: &str) -> Result<(), Unread> {
        self.at = skip_literal(self.bytes(), self.at, literal)?;
        Ok(())
    }

    fn visit_string<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Unread> {
        let start = self.at;
        let (end, has_escapes) = skip_string(self.bytes(), start)?;
        self.at = end;
        if has_escapes {
            let quoted = self.text.get(start..end).ok_or(Unread)?;
            return visitor.visit_string(serde_json::from_str(quoted).map_err(|_| Unread)?);
        }
        visitor.visit_borrowed_str(self.text.get(start + 1..end - 1).ok_or(Unread)?)
    }

    fn visit_number<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Unread> {
        let start = self.at;
        let (end, is_integer) = skip_number(self.bytes(), start)?;
        self.at = end;
        if !is_integer {
            return Err(Unread);
        }
        match self.text.get(start..end) {
            // Which is not an integer for serde_json.
            None | Some("-0") => Err(Unread),
            Some(number) => visitor.visit_i64(number.parse().map_err(|_| Unread)?),
        }
    }
}

// What follows takes a place and gives the one after what it has skipped, instead of keeping it in the reader: most of a review
// is skipped, and so the place stays in a register all the while.

#[inline]
fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at) == Some(&b' ') {
        at += 1;
    }
    at
}

#[inline]
fn skip_token(bytes: &[u8], at: usize, expected: u8) -> Result<usize, Unread> {
    let at = skip_blanks(bytes, at);
    if bytes.get(at) == Some(&expected) { Ok(at + 1) } else { Err(Unread) }
}

fn skip_literal(bytes: &[u8], at: usize, literal: &str) -> Result<usize, Unread> {
    let is_there = bytes.get(at..).is_some_and(|rest| rest.starts_with(literal.as_bytes()));
    if is_there { Ok(at + literal.len()) } else { Err(Unread) }
}

/// The end of the string that begins here, and whether there are escapes in it.
#[inline]
fn skip_string(bytes: &[u8], at: usize) -> Result<(usize, bool), Unread> {
    if bytes.get(at) != Some(&b'"') {
        return Err(Unread);
    }
    let end = quote_or_backslash(bytes, at + 1);
    match bytes.get(end) {
        Some(b'"') => Ok((end + 1, false)),
        Some(_) => skip_escapes(bytes, end).map(|end| (end, true)),
        None => Err(Unread),
    }
}

/// The end of the string of which the first escape is at a place.
#[cold]
fn skip_escapes(bytes: &[u8], mut at: usize) -> Result<usize, Unread> {
    let is_hexadecimal = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    loop {
        at += match bytes.get(at..).unwrap_or_default() {
            [b'"', ..] => return Ok(at + 1),
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'\\', b'u', digits @ ..] if digits.get(..4).is_some_and(is_hexadecimal) => 6,
            _ => return Err(Unread),
        };
        at = quote_or_backslash(bytes, at);
    }
}

#[inline]
fn skip_key(bytes: &[u8], at: usize) -> Result<usize, Unread> {
    let (at, _) = skip_string(bytes, skip_blanks(bytes, at))?;
    skip_token(bytes, at, b':')
}

fn skip_digits(bytes: &[u8], at: usize) -> Result<usize, Unread> {
    let count = bytes.iter().skip(at).take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 { Err(Unread) } else { Ok(at + count) }
}

/// The end of a number, and whether it is written as an integer.
fn skip_number(bytes: &[u8], mut at: usize) -> Result<(usize, bool), Unread> {
    if bytes.get(at) == Some(&b'-') {
        at += 1;
    }
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { skip_digits(bytes, at)? };
    let mut is_integer = true;
    if bytes.get(at) == Some(&b'.') {
        is_integer = false;
        at = skip_digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        is_integer = false;
        let has_sign = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        at = skip_digits(bytes, at + 1 + usize::from(has_sign))?;
    }
    Ok((at, is_integer))
}

/// The end of a value, whatever it is, found without recursion: a body may hold a million brackets.
fn skip_value(bytes: &[u8], mut at: usize) -> Result<usize, Unread> {
    // The lowest bit is of the innermost: 1 for an object.
    let mut around: u64 = 0;
    let mut depth = 0;
    loop {
        at = skip_blanks(bytes, at);
        let opened = match bytes.get(at).ok_or(Unread)? {
            b'"' => {
                (at, _) = skip_string(bytes, at)?;
                None
            }
            b'{' => Some((b'}', 1)),
            b'[' => Some((b']', 0)),
            b't' => skip_literal(bytes, at, "true").map(|end| {
                at = end;
                None
            })?,
            b'f' => skip_literal(bytes, at, "false").map(|end| {
                at = end;
                None
            })?,
            b'n' => skip_literal(bytes, at, "null").map(|end| {
                at = end;
                None
            })?,
            _ => {
                (at, _) = skip_number(bytes, at)?;
                None
            }
        };
        if let Some((end, bit)) = opened {
            at = skip_blanks(bytes, at + 1);
            if bytes.get(at) != Some(&end) {
                if depth == MAX_DEPTH {
                    return Err(Unread);
                }
                depth += 1;
                around = around << 1 | bit;
                if bit == 1 {
                    at = skip_key(bytes, at)?;
                }
                continue;
            }
            at += 1;
        }
        // A value has ended, and maybe what it was the last one of.
        loop {
            if depth == 0 {
                return Ok(at);
            }
            let is_in_object = around & 1 == 1;
            at = skip_blanks(bytes, at);
            match bytes.get(at) {
                Some(b',') => {
                    at += 1;
                    if is_in_object {
                        at = skip_key(bytes, at)?;
                    }
                    break;
                }
                Some(b'}') if is_in_object => at += 1,
                Some(b']') if !is_in_object => at += 1,
                _ => return Err(Unread),
            }
            depth -= 1;
            around >>= 1;
        }
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Unread;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        match self.token().ok_or(Unread)? {
            b'"' => self.visit_string(visitor),
            b'{' => {
                self.at += 1;
                let value = visitor.visit_map(Elements { reader: self, is_first: true })?;
                self.consume(b'}').map(|()| value)
            }
            b'[' => {
                self.at += 1;
                let value = visitor.visit_seq(Elements { reader: self, is_first: true })?;
                self.consume(b']').map(|()| value)
            }
            b't' => self.literal("true").and_then(|()| visitor.visit_bool(true)),
            b'f' => self.literal("false").and_then(|()| visitor.visit_bool(false)),
            b'n' => self.literal("null").and_then(|()| visitor.visit_unit()),
            _ => self.visit_number(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        if self.token() == Some(b'n') {
            return self.literal("null").and_then(|()| visitor.visit_none());
        }
        visitor.visit_some(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        self.at = skip_value(self.bytes(), self.at)?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct seq
        tuple tuple_struct map struct enum identifier
    }
}

/// What is left of an array or an object.
struct Elements<'r, 'a> {
    reader: &'r mut Reader<'a>,
    is_first: bool,
}

impl Elements<'_, '_> {
    /// Goes to the next element; whether there is one.
    fn advance(&mut self, end: u8) -> Result<bool, Unread> {
        if self.reader.token() == Some(end) {
            return Ok(false);
        }
        if !self.is_first {
            self.reader.consume(b',')?;
        }
        self.is_first = false;
        Ok(true)
    }
}

impl<'a> SeqAccess<'a> for Elements<'_, 'a> {
    type Error = Unread;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Unread> {
        if self.advance(b']')? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    /// A guess, so that a vector grows once or never: a pod has a handful of whatever it has.
    fn size_hint(&self) -> Option<usize> {
        Some(8)
    }
}

impl<'a> MapAccess<'a> for Elements<'_, 'a> {
    type Error = Unread;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Unread> {
        if !self.advance(b'}')? {
            return Ok(None);
        }
        if self.reader.token() != Some(b'"') {
            return Err(Unread);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Unread> {
        self.reader.consume(b':')?;
        seed.deserialize(&mut *self.reader)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;
    use crate::pod::Pod;

    #[test]
    fn what_is_skipped_must_be_json() {
        for (text, is_json) in [
            ("null", true),
            (" [ ] \n", true),
            ("{ }", true),
            (r#"{"a":[1,{"b":{}}],"c":[[],[]]}"#, true),
            (r#"[true,false,-0.5e+10,0,1E9,"\"\\\/\b\f\n\r\té"]"#, true),
            ("", false),
            ("nul", false),
            ("[1,]", false),
            ("[,1]", false),
            ("[1 2]", false),
            (r#"{"a":1,}"#, false),
            (r#"{"a"}"#, false),
            (r#"{"a":}"#, false),
            (r#"{"a" 1}"#, false),
            ("{1:1}", false),
            ("[}", false),
            ("{]", false),
            ("[", false),
            ("1 1", false),
            ("01", false),
            ("1.", false),
            (".1", false),
            ("-", false),
            ("1e", false),
            ("+1", false),
            (r#""\x""#, false),
            (r#""\u12g4""#, false),
            (r#""\u123"#, false),
            ("\"\u{1}\"", false),
            (r#"""#, false),
        ] {
            assert_eq!(read::<IgnoredAny>(text).is_some(), is_json, "{text}");
            assert_eq!(serde_json::from_str::<IgnoredAny>(text).is_ok(), is_json, "{text}");
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read::<IgnoredAny>(&nested(64)).is_some());
        assert!(read::<IgnoredAny>(&nested(1_000_000)).is_none());
    }

    #[test]
    fn values_are_what_is_written_or_left_to_serde_json() {
        type Values = BTreeMap<String, (Option<i64>, Vec<bool>)>;
        for (text, is_read) in [
            (r#"{"a": [1, [true]], "b\n": [null, []], "": [-9223372036854775808, [false, true]]}"#, true),
            (r#"{"a": [9223372036854775808, []]}"#, false),
            (r#"{"a": [1.0, []]}"#, false),
            (r#"{"a": [-0, []]}"#, false),
            (r#"{"a": [1]}"#, false),
            (r#"{"a": [1, [], 2]}"#, false),
            (r#"{"\ud800": [1, []]}"#, false),
        ] {
            let value = read::<Values>(text);
            assert_eq!(value.is_some(), is_read, "{text}");
            assert!(value.is_none() || value == serde_json::from_str(text).ok(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Reviews with a few of their bytes exchanged for others that mean something in JSON.
        #[test]
        fn whatever_is_read_serde_json_reads_the_same(changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(br#"{}[]",:\ 0-.eutn/"#.to_vec())), 0..4)) {
            for review in ["pyspark-35-driver", "odd-unicode", "tplB-41-exec"] {
                let mut body = std::fs::read(format!("tests/golden/{review}.json")).unwrap();
                for (index, byte) in &changes {
                    let place = index.index(body.len());
                    if body[place].is_ascii() {
                        body[place] = *byte;
                    }
                }
                let text = String::from_utf8(body).unwrap();
                if let Some(value) = read::<Around>(&text) {
                    let expected: Around = serde_json::from_str(&text).unwrap();
                    prop_assert_eq!(format!("{value:?}"), format!("{expected:?}"));
                } else {
                    prop_assert!(!changes.is_empty(), "{} is read", review);
                }
            }
        }
    }

    #[derive(Debug, serde::Deserialize)]
    struct Around<'a> {
        #[serde(borrow)]
        #[expect(dead_code, reason = "compared as text")]
        request: Inner<'a>,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Inner<'a> {
        #[serde(borrow)]
        #[expect(dead_code, reason = "compared as text")]
        object: Pod<'a>,
    }
}
