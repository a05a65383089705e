//! From text to values, by serde.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use wide::u8x16;

use super::{BLOCK, to_be_escaped};

/// Reads a value; `None` where something is wrong or unusual, which `serde_json` then has to look at. What is wrong in an array or
/// object that is skipped is not seen.
#[must_use]
pub fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    // The API server ends a body with it, and writes no other blank.
    let text = text.strip_suffix('\n').unwrap_or(text);
    let mut reader = Reader { text, at: 0 };
    let value = T::deserialize(&mut reader).ok()?;
    reader.peek().is_none().then_some(value)
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

impl<'a> Reader<'a> {
    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The next byte, which is not consumed.
    fn peek(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    fn consume(&mut self, expected: u8) -> Result<(), Unread> {
        if self.peek() != Some(expected) {
            return Err(Unread);
        }
        self.at += 1;
        Ok(())
    }

    fn literal(&mut self, literal: &str) -> Result<(), Unread> {
        let is_there = self.bytes().get(self.at..).is_some_and(|rest| rest.starts_with(literal.as_bytes()));
        if !is_there {
            return Err(Unread);
        }
        self.at += literal.len();
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

    fn skip_value(&mut self) -> Result<(), Unread> {
        let at = self.at;
        match self.peek() {
            Some(b'"') => (self.at, _) = skip_string(self.bytes(), at)?,
            Some(b'{' | b'[') => self.at = skip_nested(self.bytes(), at)?,
            Some(b't') => self.literal("true")?,
            Some(b'f') => self.literal("false")?,
            Some(b'n') => self.literal("null")?,
            _ => (self.at, _) = skip_number(self.bytes(), at)?,
        }
        Ok(())
    }
}

/// The end of the string that begins here, and whether there are escapes in it.
#[inline]
fn skip_string(bytes: &[u8], at: usize) -> Result<(usize, bool), Unread> {
    if bytes.get(at) != Some(&b'"') {
        return Err(Unread);
    }
    let end = to_be_escaped(bytes, at + 1);
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
        at = to_be_escaped(bytes, at);
    }
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

/// As many bytes as there are bits in a mask.
const CHUNK: usize = 64;

/// The end of the array or object that begins here. Much of a review is in such as nobody looks into, so only their brackets are
/// counted, those in strings left out; whether there is JSON between them is left open.
fn skip_nested(bytes: &[u8], mut at: usize) -> Result<usize, Unread> {
    let mut depth = 0;
    let mut strings = Strings::default();
    loop {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty()).ok_or(Unread)?;
        let (opened, closed) = if let Some(chunk) = rest.first_chunk() {
            strings.brackets(chunk)
        } else {
            let mut last = [b' '; CHUNK];
            last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            strings.brackets(&last)
        };
        if closed.count_ones() < depth {
            // It does not end in this chunk.
            depth = depth + opened.count_ones() - closed.count_ones();
        } else {
            let mut brackets = opened | closed;
            while brackets != 0 {
                let place = brackets.trailing_zeros();
                depth = if opened >> place & 1 == 1 { depth + 1 } else { depth - 1 };
                if depth == 0 {
                    return Ok(at + place as usize + 1);
                }
                brackets &= brackets - 1;
            }
        }
        at += CHUNK;
    }
}

/// What is known of strings at the end of a chunk.
#[derive(Default)]
struct Strings {
    /// All bits or none: whether the next chunk begins in a string.
    inside: u64,
    /// The lowest bit: whether the next chunk begins with a character that is escaped.
    escaped: u64,
}

impl Strings {
    /// Where in a chunk brackets open and close, each place a bit, the first one the lowest.
    #[inline]
    fn brackets(&mut self, chunk: &[u8; CHUNK]) -> (u64, u64) {
        let [mut quotes, mut backslashes, mut opened, mut closed] = [0; 4];
        let (blocks, _) = chunk.as_chunks();
        for (index, block) in blocks.iter().enumerate() {
            let block = u8x16::new(*block);
            // With this bit, `[` is `{` and `]` is `}`, and no other byte is one of them.
            let bracket = block | u8x16::splat(0x20);
            let place = |found: u8x16| u64::from(found.to_bitmask()) << (BLOCK * index);
            quotes |= place(block.simd_eq(u8x16::splat(b'"')));
            backslashes |= place(block.simd_eq(u8x16::splat(b'\\')));
            opened |= place(bracket.simd_eq(u8x16::splat(b'{')));
            closed |= place(bracket.simd_eq(u8x16::splat(b'}')));
        }
        let escaped = self.escaped(backslashes);
        let inside = self.inside(quotes & !escaped);
        (opened & !inside, closed & !inside)
    }

    /// The places of what a backslash escapes.
    #[inline]
    fn escaped(&mut self, backslashes: u64) -> u64 {
        let mut escaped = std::mem::take(&mut self.escaped);
        let mut left = backslashes & !escaped;
        while left != 0 {
            let backslash = left & left.wrapping_neg();
            escaped |= backslash << 1;
            self.escaped = backslash >> (u64::BITS - 1);
            left &= !(backslash | backslash << 1);
        }
        escaped
    }

    /// The places in strings, from those of the quotation marks at their ends.
    #[inline]
    fn inside(&mut self, quotes: u64) -> u64 {
        // Of each place, whether the quotation marks up to it are an odd number.
        let mut inside = quotes;
        for distance in [1, 2, 4, 8, 16, 32] {
            inside ^= inside << distance;
        }
        inside ^= self.inside;
        self.inside = 0_u64.wrapping_sub(inside >> (u64::BITS - 1));
        inside
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Unread;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        match self.peek().ok_or(Unread)? {
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
        if self.peek() == Some(b'n') {
            return self.literal("null").and_then(|()| visitor.visit_none());
        }
        visitor.visit_some(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        self.skip_value()?;
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
        if self.reader.peek() == Some(end) {
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
        if self.reader.peek() != Some(b'"') {
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
    use serde_json::Value;

    use super::*;
    use crate::pod::Pod;

    #[test]
    fn what_is_skipped_has_an_end_and_is_looked_at_where_it_is_no_array_or_object() {
        for (text, is_read, is_json) in [
            ("null", true, true),
            ("[]\n", true, true),
            (r#"{"a":[1,{"b":{}}],"c":[[],[]]}"#, true, true),
            (r#"["]","\"]","\\",{"}\\\"":"{"}]"#, true, true),
            (r#""\"\\\/\b\f\n\r\té""#, true, true),
            ("-0.5e+10", true, true),
            ("1E9", true, true),
            // Blanks.
            (" []", false, true),
            ("[] ", false, true),
            ("", false, false),
            ("nul", false, false),
            ("[", false, false),
            ("[[]", false, false),
            (r#"["]"#, false, false),
            (r#"["\"]"#, false, false),
            ("[]]", false, false),
            ("1 1", false, false),
            ("01", false, false),
            ("1.", false, false),
            (".1", false, false),
            ("-", false, false),
            ("1e", false, false),
            ("+1", false, false),
            (r#""\x""#, false, false),
            (r#""\u12g4""#, false, false),
            (r#""\u123"#, false, false),
            ("\"\u{1}\"", false, false),
            (r#"""#, false, false),
            // Nobody looks into it.
            ("[,1 2}", true, false),
        ] {
            assert_eq!(read::<IgnoredAny>(text).is_some(), is_read, "{text}");
            assert_eq!(serde_json::from_str::<IgnoredAny>(text).is_ok(), is_json, "{text}");
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read::<IgnoredAny>(&nested(1_000_000)).is_some());
    }

    #[test]
    fn values_are_what_is_written_or_left_to_serde_json() {
        type Values = BTreeMap<String, (Option<i64>, Vec<bool>)>;
        for (text, is_read) in [
            (r#"{"a":[1,[true]],"b\n":[null,[]],"":[-9223372036854775808,[false,true]]}"#, true),
            (r#"{"a":[9223372036854775808,[]]}"#, false),
            (r#"{"a":[1.0,[]]}"#, false),
            (r#"{"a":[-0,[]]}"#, false),
            (r#"{"a":[1]}"#, false),
            (r#"{"a":[1,[],2]}"#, false),
            (r#"{"a":[1,[]],}"#, false),
            (r#"{,"a":[1,[]]}"#, false),
            (r#"{"a" [1,[]]}"#, false),
            (r#"{"a"}"#, false),
            (r#"{"a":}"#, false),
            (r"{a:[1,[]]}", false),
            (r#"{"a":[1,[true,]]}"#, false),
            (r#"{"a":[1,[,true]]}"#, false),
            (r#"{"a":[1,[true true]]}"#, false),
            (r#"{"a":[1,[true}}"#, false),
            (r#"{"a":[1,[]]]"#, false),
            (r#"{"a":[1,[]]"#, false),
            (r#"{"\ud800":[1,[]]}"#, false),
            ("{\"\u{1}\":[1,[]]}", false),
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
        fn what_is_read_of_json_serde_json_reads_the_same(changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(br#"{}[]",:\ 0-.eutn/"#.to_vec())), 0..4)) {
            for review in ["pyspark-35-driver", "odd-unicode", "tplB-41-exec"] {
                let mut body = std::fs::read(format!("tests/golden/{review}.json")).unwrap();
                for (index, byte) in &changes {
                    let place = index.index(body.len());
                    if body[place].is_ascii() {
                        body[place] = *byte;
                    }
                }
                let text = String::from_utf8(body).unwrap();
                match (read::<Around>(&text), serde_json::from_str::<Around>(&text)) {
                    (Some(value), Ok(expected)) => prop_assert_eq!(format!("{value:?}"), format!("{expected:?}")),
                    _ => prop_assert!(!changes.is_empty(), "{} is read", review),
                }
                // Where all of it is looked at, nothing that is no JSON is read.
                if let Some(value) = read::<Value>(&text) {
                    prop_assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
                }
            }
        }

        /// Any value is skipped to its end and no further, wherever that is.
        #[test]
        fn what_is_skipped_ends_where_serde_json_ends_it(skipped in values(), moved in 0..CHUNK) {
            let skipped = serde_json::to_string(&("x".repeat(moved), skipped)).unwrap();
            let (IgnoredAny, seven) = read::<(IgnoredAny, i64)>(&format!("[{skipped},7]")).unwrap();
            prop_assert_eq!(seven, 7);
            let cut = &skipped[..skipped.len() - 1];
            prop_assert!(read::<IgnoredAny>(cut).is_none() && read::<(IgnoredAny, i64)>(&format!("[{cut},7]")).is_none(), "{}", cut);
        }
    }

    /// Values with brackets, quotation marks and backslashes in their strings.
    fn values() -> impl Strategy<Value = Value> {
        let text = || prop::collection::vec(prop::sample::select(r#"{}[]",:\ aé"#.chars().collect::<Vec<_>>()), 0..90);
        let text = move || text().prop_map(String::from_iter);
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text().prop_map(Value::from)
        ];
        scalar.prop_recursive(6, 60, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((text(), inner), 0..6).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
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
