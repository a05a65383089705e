//! From text to values, by serde.
//!
//! What is read is bounded, so that no text can make values that are many times its size: at most
//! [`MAX_ELEMENTS`] of any array or map, and [`MAX_VIEW`] bytes in all. What is more is left out,
//! and [`Reading`] says so.
#![expect(
    clippy::inline_always,
    reason = "a tenth of the instructions of an admission, see benches/instructions.txt"
)]

use std::fmt;
use std::marker::PhantomData;
use std::mem;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use wide::u8x16;

use super::{BLOCK, to_be_escaped};

/// The maximum number of elements of an array or map that is read.
pub const MAX_ELEMENTS: usize = 4096;

/// The maximum bytes of all vectors, and of all text with escapes, that one reading makes.
pub const MAX_VIEW: usize = 2 * 1024 * 1024;

/// A value that was read.
#[derive(Debug)]
pub struct Reading<'a, T> {
    /// Without what was too much.
    pub value: T,
    /// The first field that is not complete.
    pub too_many: Option<TooMany<'a>>,
}

/// That a field has more than is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany<'a> {
    /// The key of the array, map or text, as it was written.
    pub field: &'a str,
}

/// Why a text cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{problem}{field} at byte {at}")]
pub struct ReadError {
    problem: Problem,
    /// ` in ` and the key that was read last, where there is one.
    field: String,
    at: usize,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("expected {0}")]
    Expected(&'static str),
    #[error("a value is wrong or missing")]
    Value,
}

/// A string without its escapes is forgotten where it has more room than this: it would count
/// twice.
const MAX_KEPT: usize = 1024;

/// The most characters of a key in an error.
const MAX_SHOWN: usize = 64;

/// Reads a value. What is wrong in an array or object that is skipped is not seen.
///
/// # Errors
///
/// Where the text is not JSON, or not of the value's shape.
pub fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<Reading<'a, T>, ReadError> {
    let mut reader = Reader {
        text,
        at: 0,
        key: 0,
        room: MAX_VIEW,
        too_many: None,
        expected: None,
        unescaped: String::new(),
    };
    let value = T::deserialize(&mut reader).and_then(|value| match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.expected("nothing more")),
    });
    value.map(|value| Reading { value, too_many: reader.too_many }).map_err(|Unread| {
        let key: String = reader.text_of(reader.key).chars().take(MAX_SHOWN).collect();
        ReadError {
            problem: reader.expected.map_or(Problem::Value, Problem::Expected),
            field: if key.is_empty() { key } else { format!(" in {key}") },
            at: reader.at,
        }
    })
}

/// That something is wrong. A result with it is made for everything that is read, so it is nothing
/// in itself, and what was expected is left in the reader.
#[derive(Debug, thiserror::Error)]
#[error("not read")]
struct Unread;

impl serde::de::Error for Unread {
    #[cold]
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Where the key begins that was read last.
    key: usize,
    /// How many bytes of [`MAX_VIEW`] are left.
    room: usize,
    too_many: Option<TooMany<'a>>,
    /// What should have been there, where the text is not JSON.
    expected: Option<&'static str>,
    /// The last string that had escapes. It keeps its room, because most such strings are short and
    /// many are only compared.
    unescaped: String,
}

impl<'a> Reader<'a> {
    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The next byte, which is not consumed.
    #[inline(always)]
    fn next(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    /// The next byte that is no blank. The API server writes none but at the end, so everything
    /// else is tried before.
    #[cold]
    fn peek(&mut self) -> Option<u8> {
        let rest = self.bytes().get(self.at..).unwrap_or_default();
        let blanks =
            rest.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
        self.at += blanks;
        rest.get(blanks).copied()
    }

    #[cold]
    fn expected(&mut self, what: &'static str) -> Unread {
        self.expected = Some(what);
        Unread
    }

    #[inline(always)]
    fn consume(&mut self, byte: u8, what: &'static str) -> Result<(), Unread> {
        if self.next() != Some(byte) && self.peek() != Some(byte) {
            return Err(self.expected(what));
        }
        self.at += 1;
        Ok(())
    }

    /// Goes to the next element of an array or the next key of an object; `false` at its end.
    #[inline(always)]
    fn advance(&mut self, end: u8, is_first: bool, what: &'static str) -> Result<bool, Unread> {
        match self.next() {
            Some(b',') if !is_first => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == end => Ok(false),
            Some(byte) if is_first && byte > b' ' => Ok(true),
            _ => self.advance_past_blanks(end, is_first, what),
        }
    }

    #[cold]
    fn advance_past_blanks(
        &mut self,
        end: u8,
        is_first: bool,
        what: &'static str,
    ) -> Result<bool, Unread> {
        match self.peek() {
            Some(byte) if byte == end => Ok(false),
            Some(b',') if !is_first => {
                self.at += 1;
                Ok(true)
            }
            _ if is_first => Ok(true),
            _ => Err(self.expected(what)),
        }
    }

    fn literal(&mut self, literal: &'static str) -> Result<(), Unread> {
        let is_there =
            self.bytes().get(self.at..).is_some_and(|rest| rest.starts_with(literal.as_bytes()));
        if !is_there {
            return Err(self.expected(literal));
        }
        self.at += literal.len();
        Ok(())
    }

    /// Whatever comes, after blanks too. What a visitor wants most often is tried before it comes
    /// to this.
    #[inline(never)]
    fn visit_any<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Unread> {
        if self.next().is_none_or(|byte| byte <= b' ') {
            self.peek();
        }
        match self.next() {
            Some(b'"') => self.visit_string(visitor),
            Some(b'{') => self.visit_object(visitor),
            Some(b'[') => self.visit_array(visitor),
            Some(b't') => self.literal("true").and_then(|()| visitor.visit_bool(true)),
            Some(b'f') => self.literal("false").and_then(|()| visitor.visit_bool(false)),
            Some(b'n') => self.literal("null").and_then(|()| visitor.visit_unit()),
            Some(_) => self.visit_number(visitor),
            None => Err(self.expected("a value")),
        }
    }

    /// A string that begins here.
    #[inline(always)]
    fn visit_string<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Unread> {
        let start = self.at + 1;
        let end = to_be_escaped(self.bytes(), start);
        match self.bytes().get(end) {
            Some(b'"') => {
                self.at = end + 1;
                visitor.visit_borrowed_str(self.text.get(start..end).ok_or(Unread)?)
            }
            Some(b'\\') => self.visit_escaped(end, visitor),
            _ => Err(self.expected("the end of a string")),
        }
    }

    #[cold]
    fn visit_escaped<V: Visitor<'a>>(
        &mut self,
        escape: usize,
        visitor: V,
    ) -> Result<V::Value, Unread> {
        let unescaped = unescape(self.text, self.at + 1, escape, self.room, &mut self.unescaped);
        let end = unescaped.map_or_else(|| skip_escaped(self.bytes(), escape), Ok)?;
        let Some(room) = self.room.checked_sub(end - self.at) else {
            self.at = end;
            self.unescaped = String::new();
            self.leave_out(self.key);
            return visitor.visit_borrowed_str("");
        };
        self.room = room;
        if unescaped.is_none() {
            return Err(self.expected("a string with right escapes"));
        }
        self.at = end;
        let value = visitor.visit_str(&self.unescaped);
        if self.unescaped.capacity() > MAX_KEPT {
            self.unescaped = String::new();
        }
        value
    }

    fn visit_number<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Unread> {
        let start = self.at;
        let (end, is_integer) = skip_number(self.bytes(), start)?;
        // `-0` is no integer for serde_json either.
        let number = self.text.get(start..end).filter(|number| is_integer && *number != "-0");
        let number = number
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| self.expected("an integer"))?;
        self.at = end;
        visitor.visit_i64(number)
    }

    /// An object of a struct. Its end is consumed by who reads the last key, so that the value is
    /// not moved once more.
    #[inline(always)]
    fn visit_object<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Unread> {
        self.at += 1;
        visitor.visit_map(Fields { reader: self, is_first: true })
    }

    fn visit_map<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Unread> {
        self.at += 1;
        let key = self.key;
        visitor.visit_map(Entries {
            fields: Fields { reader: self, is_first: true },
            key,
            count: 0,
        })
    }

    #[inline(always)]
    fn visit_array<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Unread> {
        self.at += 1;
        if self.next().is_some_and(|byte| byte <= b' ') {
            // Before anybody is told how many elements there may be.
            self.peek();
        }
        let key = self.key;
        let value = visitor.visit_seq(Elements { reader: self, key, count: 0, capacity: 0 })?;
        self.consume(b']', "`,` or `]`").map(|()| value)
    }

    fn skip_value(&mut self) -> Result<(), Unread> {
        let at = self.at;
        match self.next() {
            Some(b'"') => self.at = skip_string(self.bytes(), at)?,
            Some(b'{' | b'[') => self.at = skip_nested(self.bytes(), at, 0)?,
            Some(b't') => self.literal("true")?,
            Some(b'f') => self.literal("false")?,
            Some(b'n') => self.literal("null")?,
            Some(b' ' | b'\n' | b'\r' | b'\t') => {
                self.peek();
                self.skip_value()?;
            }
            _ => (self.at, _) = skip_number(self.bytes(), at)?,
        }
        Ok(())
    }

    /// Remembers that the field whose key begins at a place is not whole.
    #[cold]
    fn leave_out(&mut self, key: usize) {
        let field = self.text_of(key);
        self.too_many.get_or_insert(TooMany { field });
    }

    /// The text between the quotation marks of a string that was read before, escapes included.
    fn text_of(&self, string: usize) -> &'a str {
        skip_string(self.bytes(), string)
            .ok()
            .and_then(|end| self.text.get(string + 1..end - 1))
            .unwrap_or_default()
    }
}

/// The end of the string that begins here.
#[inline]
fn skip_string(bytes: &[u8], at: usize) -> Result<usize, Unread> {
    if bytes.get(at) != Some(&b'"') {
        return Err(Unread);
    }
    let end = to_be_escaped(bytes, at + 1);
    match bytes.get(end) {
        Some(b'"') => Ok(end + 1),
        Some(_) => skip_escapes(bytes, end),
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

/// The same, whatever the escapes are.
fn skip_escaped(bytes: &[u8], mut at: usize) -> Result<usize, Unread> {
    let mut strings = Strings::default();
    loop {
        let Places { quotes, backslashes, .. } = Places::from(bytes, at).ok_or(Unread)?;
        let ends = quotes & !strings.escaped(backslashes);
        if ends != 0 {
            return Ok(at + ends.trailing_zeros() as usize + 1);
        }
        at += CHUNK;
    }
}

/// A string without its escapes, and its end. It starts at a place and has its first escape at
/// another. `None` where an escape is wrong, the string has no end, or it has more than so many
/// bytes.
fn unescape(
    text: &str,
    start: usize,
    mut escape: usize,
    most: usize,
    unescaped: &mut String,
) -> Option<usize> {
    let bytes = text.as_bytes();
    unescaped.clear();
    if start < escape {
        unescaped.push_str(text.get(start..escape)?);
    }
    loop {
        let (character, after) = match bytes.get(escape..)? {
            [b'"', ..] => return Some(escape + 1),
            [b'\\', b'u', ..] => unicode_escape(bytes, escape)?,
            [b'\\', escaped, ..] => (simple_escape(*escaped)?, escape + 2),
            _ => return None,
        };
        unescaped.push(character);
        escape = after;
        // Where somebody writes one escape, there is often another one, or nothing else.
        if !matches!(bytes.get(after), Some(b'\\' | b'"')) {
            escape = to_be_escaped(bytes, after);
            unescaped.push_str(text.get(after..escape)?);
        }
        if escape - start > most {
            return None;
        }
    }
}

fn simple_escape(escaped: u8) -> Option<char> {
    Some(match escaped {
        b'"' | b'\\' | b'/' => escaped.into(),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        _ => return None,
    })
}

/// The character of the escape `\u` that begins here, and the end of it. Two of them make one
/// character where it needs more than four digits.
fn unicode_escape(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = bytes.get(at..)?.strip_prefix(br"\u")?.get(..4)?;
        digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
    };
    let first = unit(at)?;
    if let 0xd800..0xdc00 = first {
        let second = unit(at + 6).filter(|second| matches!(second, 0xdc00..0xe000))?;
        let character = char::from_u32(0x1_0000 + ((first - 0xd800) << 10 | (second - 0xdc00)))?;
        return Some((character, at + 12));
    }
    Some((char::from_u32(first)?, at + 6))
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

/// The end of the array or object that begins here, or in which this is at some depth. Much of a
/// review is in such as nobody looks into, so only their brackets are counted, those in strings
/// left out; whether there is JSON between them is left open.
fn skip_nested(bytes: &[u8], mut at: usize, mut depth: u32) -> Result<usize, Unread> {
    let mut strings = Strings::default();
    loop {
        let (opened, closed) = strings.brackets(Places::from(bytes, at).ok_or(Unread)?);
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

/// Where in a chunk something is, each place a bit, the first one the lowest.
#[derive(Clone, Copy)]
struct Places {
    quotes: u64,
    backslashes: u64,
    opened: u64,
    closed: u64,
}

impl Places {
    /// Of the bytes from a place on; `None` where there is none.
    #[inline(always)]
    fn from(bytes: &[u8], at: usize) -> Option<Self> {
        let rest = bytes.get(at..)?;
        if let Some(chunk) = rest.first_chunk() {
            Some(Self::of(chunk))
        } else {
            Self::of_last(rest)
        }
    }

    #[cold]
    fn of_last(rest: &[u8]) -> Option<Self> {
        let mut last = [b' '; CHUNK];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        (!rest.is_empty()).then(|| Self::of(&last))
    }

    #[inline(always)]
    fn of(chunk: &[u8; CHUNK]) -> Self {
        let mut places = Self { quotes: 0, backslashes: 0, opened: 0, closed: 0 };
        let (blocks, _) = chunk.as_chunks();
        for (index, block) in blocks.iter().enumerate() {
            let block = u8x16::new(*block);
            // With this bit, `[` is `{` and `]` is `}`, and no other byte is one of them.
            let bracket = block | u8x16::splat(0x20);
            let place = |found: u8x16| u64::from(found.to_bitmask()) << (BLOCK * index);
            places.quotes |= place(block.simd_eq(u8x16::splat(b'"')));
            places.backslashes |= place(block.simd_eq(u8x16::splat(b'\\')));
            places.opened |= place(bracket.simd_eq(u8x16::splat(b'{')));
            places.closed |= place(bracket.simd_eq(u8x16::splat(b'}')));
        }
        places
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
    /// Where in a chunk brackets open and close.
    #[inline]
    fn brackets(&mut self, places: Places) -> (u64, u64) {
        let Places { quotes, backslashes, opened, closed } = places;
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
        self.visit_any(visitor)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        if self.next() == Some(b'"') { self.visit_string(visitor) } else { self.visit_any(visitor) }
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        match self.next() {
            Some(b't') => self.literal("true").and_then(|()| visitor.visit_bool(true)),
            Some(b'f') => self.literal("false").and_then(|()| visitor.visit_bool(false)),
            _ => self.visit_any(visitor),
        }
    }

    #[inline]
    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        if self.next().is_some_and(|byte| byte.is_ascii_digit()) {
            self.visit_number(visitor)
        } else {
            self.visit_any(visitor)
        }
    }

    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unread> {
        if self.next() == Some(b'{') { self.visit_object(visitor) } else { self.visit_any(visitor) }
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        if self.next() == Some(b'[') { self.visit_array(visitor) } else { self.visit_any(visitor) }
    }

    /// An object whose keys are anybody's, unlike that of a struct.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        if self.next().is_some_and(|byte| byte <= b' ') {
            self.peek();
        }
        if self.next() == Some(b'{') { self.visit_map(visitor) } else { self.visit_any(visitor) }
    }

    #[inline(always)]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        let next =
            if self.next().is_some_and(|byte| byte <= b' ') { self.peek() } else { self.next() };
        if next == Some(b'n') {
            return self.literal("null").and_then(|()| visitor.visit_none());
        }
        visitor.visit_some(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        self.skip_value()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char string bytes byte_buf unit unit_struct newtype_struct tuple
        tuple_struct enum
    }
}

/// What is left of an array.
struct Elements<'r, 'a> {
    reader: &'r mut Reader<'a>,
    /// Where the key begins under which it stands.
    key: usize,
    count: usize,
    /// For how many elements a vector has room.
    capacity: usize,
}

/// A guess, so that a vector grows once or never: a pod has a handful of whatever it has.
const FEW: usize = 8;

impl Elements<'_, '_> {
    /// Whether a vector may have more room than it has: it doubles it.
    #[cold]
    fn grow(&mut self, size: usize) -> bool {
        let more = self.capacity.max(FEW);
        match self.reader.room.checked_sub(more * size) {
            Some(room) if self.count < MAX_ELEMENTS => {
                self.reader.room = room;
                self.capacity += more;
                true
            }
            _ => false,
        }
    }

    /// Goes to the end, which is left to the caller.
    #[cold]
    fn leave_out_rest(&mut self) -> Result<(), Unread> {
        self.reader.leave_out(self.key);
        self.reader.at = skip_nested(self.reader.bytes(), self.reader.at, 1)? - 1;
        Ok(())
    }
}

impl<'a> SeqAccess<'a> for Elements<'_, 'a> {
    type Error = Unread;

    #[inline(always)]
    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Unread> {
        if !self.reader.advance(b']', self.count == 0, "`,` or `]`")? {
            return Ok(None);
        }
        if self.count == self.capacity && !self.grow(mem::size_of::<T::Value>()) {
            return self.leave_out_rest().map(|()| None);
        }
        self.count += 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    #[inline(always)]
    fn next_element<T: Deserialize<'a>>(&mut self) -> Result<Option<T>, Unread> {
        self.next_element_seed(PhantomData)
    }

    fn size_hint(&self) -> Option<usize> {
        // An empty array gets no capacity: a review can have many of them.
        let is_empty = self.reader.bytes().get(self.reader.at) == Some(&b']');
        Some(if is_empty { 0 } else { FEW })
    }
}

/// What is left of an object.
struct Fields<'r, 'a> {
    reader: &'r mut Reader<'a>,
    is_first: bool,
}

impl<'a> MapAccess<'a> for Fields<'_, 'a> {
    type Error = Unread;

    #[inline(always)]
    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Unread> {
        if !self.reader.advance(b'}', self.is_first, "`,` or `}`")? {
            self.reader.at += 1;
            return Ok(None);
        }
        self.is_first = false;
        self.reader.key = self.reader.at;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    #[inline(always)]
    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Unread> {
        self.reader.consume(b':', "`:`")?;
        seed.deserialize(&mut *self.reader)
    }

    #[inline(always)]
    fn next_value<V: Deserialize<'a>>(&mut self) -> Result<V, Unread> {
        self.next_value_seed(PhantomData)
    }
}

/// What is left of an object whose keys are anybody's. All of it is read, because what matters may
/// come late; what is kept is left to the visitor.
struct Entries<'r, 'a> {
    fields: Fields<'r, 'a>,
    /// Where the key begins under which it stands.
    key: usize,
    count: usize,
}

impl<'a> MapAccess<'a> for Entries<'_, 'a> {
    type Error = Unread;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Unread> {
        let key = self.fields.next_key_seed(seed)?;
        if self.count == MAX_ELEMENTS && key.is_some() {
            self.fields.reader.leave_out(self.key);
        }
        self.count += 1;
        Ok(key)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Unread> {
        self.fields.next_value_seed(seed)
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

    fn value<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
        read(text).ok().map(|reading| reading.value)
    }

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
            (" []", true, true),
            ("\t\r\n [ ] \n", true, true),
            ("", false, false),
            (" ", false, false),
            ("\u{b}[]", false, false),
            ("\u{a0}[]", false, false),
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
            assert_eq!(read::<IgnoredAny>(text).is_ok(), is_read, "{text}");
            assert_eq!(serde_json::from_str::<IgnoredAny>(text).is_ok(), is_json, "{text}");
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read::<IgnoredAny>(&nested(1_000_000)).is_ok());
    }

    #[test]
    fn values_are_what_is_written_or_an_error_that_says_where() {
        type Values = BTreeMap<String, (Option<i64>, Vec<bool>)>;
        for (text, error) in [
            (r#"{"a":[1,[true]],"b\n":[null,[]],"":[-9223372036854775808,[false,true]]}"#, ""),
            ("\n{ \"a\" : [ 1 ,\t[ true , false ] ] ,\r\n \"b\":[null,[ ]] } ", ""),
            (r#"{"\ud83d\ude00\u0041":[1,[]]}"#, ""),
            (r#"{"a":[9223372036854775808,[]]}"#, "expected an integer in a at byte 6"),
            (r#"{"a":[1.0,[]]}"#, "expected an integer in a at byte 6"),
            (r#"{"a":[-0,[]]}"#, "expected an integer in a at byte 6"),
            (r#"{"a":["1",[]]}"#, "a value is wrong or missing in a at byte 9"),
            (r#"{"a":[1]}"#, "a value is wrong or missing in a at byte 7"),
            (r#"{"a":[1,[],2]}"#, "expected `,` or `]` in a at byte 10"),
            (r#"{"a":[1,[]],}"#, "a value is wrong or missing at byte 12"),
            (r#"{,"a":[1,[]]}"#, "a value is wrong or missing at byte 1"),
            (r#"{"a" [1,[]]}"#, "expected `:` in a at byte 5"),
            (r#"{"a"}"#, "expected `:` in a at byte 4"),
            (r#"{"a":}"#, "a value is wrong or missing in a at byte 5"),
            (r"{a:[1,[]]}", "a value is wrong or missing at byte 1"),
            (r#"{"a":[1,[true,]]}"#, "a value is wrong or missing in a at byte 14"),
            (r#"{"a":[1,[,true]]}"#, "a value is wrong or missing in a at byte 9"),
            (r#"{"a":[1,[true true]]}"#, "expected `,` or `]` in a at byte 14"),
            (r#"{"a":[1,[true}}"#, "expected `,` or `]` in a at byte 13"),
            (r#"{"a":[1,[]]]"#, "expected `,` or `}` in a at byte 11"),
            (r#"{"a":[1,[]]"#, "expected `,` or `}` in a at byte 11"),
            (r#"{"a":[1,[]]} x"#, "expected nothing more in a at byte 13"),
            (r#"{"\ud800":[1,[]]}"#, r"expected a string with right escapes in \ud800 at byte 1"),
            (r#"{"\x":[1,[]]}"#, "expected a string with right escapes at byte 1"),
            (r#"{"\"#, "a value is wrong or missing at byte 1"),
            ("{\"\u{1}\":[1,[]]}", "expected the end of a string at byte 1"),
            ("", "expected a value at byte 0"),
            ("7", "a value is wrong or missing at byte 1"),
        ] {
            let expected: Option<Values> = serde_json::from_str(text).ok();
            assert_eq!(expected.is_some(), error.is_empty(), "{text}");
            match read::<Values>(text) {
                Ok(Reading { value, too_many: None }) => {
                    assert_eq!(Some(value), expected, "{text}");
                }
                Ok(reading) => panic!("{reading:?}"),
                Err(found) => assert_eq!(found.to_string(), error, "{text}"),
            }
        }
    }

    #[test]
    fn of_an_array_or_map_so_many_elements_are_read_and_no_more_in_all_than_there_is_room_for() {
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(default)]
        struct Fields {
            one: Vec<i64>,
            many: Vec<Vec<i64>>,
            map: BTreeMap<String, i64>,
            text: String,
        }
        let array = |element: &str, count: usize| format!("[{}]", vec![element; count].join(","));
        let map = |count: usize| {
            let pairs: Vec<String> =
                (0..count).map(|number| format!(r#""{number:04}":1"#)).collect();
            format!("{{{}}}", pairs.join(","))
        };
        let escaped = |length: usize| format!(r#""\n{}""#, "x".repeat(length - 1));
        let all = MAX_ELEMENTS;
        // In all, a vector of 64 for each of them is too much: it is not those of the last.
        let most = MAX_VIEW / (64 * size_of::<i64>());
        for (text, one, many, entries, length, too_many) in [
            (format!(r#"{{"one":{}}}"#, array("1", all)), all, 0, 0, 0, None),
            (
                format!(r#"{{"one":{},"many":[[1]]}}"#, array("1", all + 1)),
                all,
                1,
                0,
                0,
                Some("one"),
            ),
            (
                format!(r#"{{"one":{},"many":{}}}"#, array(" 1 ", 5 * all), array("[]", 5 * all)),
                all,
                all,
                0,
                0,
                Some("one"),
            ),
            (format!(r#"{{"many":{},"one":[1]}}"#, array(&array("1", 9), all)), 1, all, 0, 0, None),
            (format!(r#"{{"map":{}}}"#, map(all)), 0, 0, all, 0, None),
            // All of them, because which of them matter is not known here.
            (format!(r#"{{"map":{},"one":[1]}}"#, map(all + 1)), 1, 0, all + 1, 0, Some("map")),
            (format!(r#"{{"text":{}}}"#, escaped(MAX_VIEW - 10)), 0, 0, 0, MAX_VIEW - 10, None),
            (format!(r#"{{"text":{},"one":[1]}}"#, escaped(MAX_VIEW)), 1, 0, 0, 0, Some("text")),
        ] {
            let Reading { value, too_many: found } = read::<Fields>(&text).unwrap();
            let lengths = (value.one.len(), value.many.len(), value.map.len(), value.text.len());
            assert_eq!(
                (lengths, found.map(|found| found.field)),
                ((one, many, entries, length), too_many)
            );
        }
        let text = format!(r#"{{"many":{}}}"#, array(&array("1", 64), all));
        let Reading { value, too_many } = read::<Fields>(&text).unwrap();
        let found: usize = value.many.iter().map(Vec::len).sum();
        assert!(
            too_many.is_some() && found > most * 48 && found <= most * 64,
            "{found} of {too_many:?}"
        );
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
                    (Ok(reading), Ok(expected)) => prop_assert_eq!(format!("{:?}", reading.value), format!("{expected:?}")),
                    (Err(error), Ok(_)) => prop_assert!(false, "{} is read: {}", review, error),
                    (_, Err(_)) => prop_assert!(!changes.is_empty(), "{} is read", review),
                }
                // Where all of it is looked at, nothing that is no JSON is read.
                if let Some(value) = value::<Value>(&text) {
                    prop_assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
                }
            }
        }

        /// Any value is skipped to its end and no further, wherever that is.
        #[test]
        fn what_is_skipped_ends_where_serde_json_ends_it(skipped in values(), moved in 0..CHUNK) {
            let skipped = serde_json::to_string(&("x".repeat(moved), skipped)).unwrap();
            let (IgnoredAny, seven) = value::<(IgnoredAny, i64)>(&format!("[{skipped},7]")).unwrap();
            prop_assert_eq!(seven, 7);
            let cut = &skipped[..skipped.len() - 1];
            prop_assert!(read::<IgnoredAny>(cut).is_err() && read::<(IgnoredAny, i64)>(&format!("[{cut},7]")).is_err(), "{}", cut);
        }
    }

    /// Values with brackets, quotation marks and backslashes in their strings.
    fn values() -> impl Strategy<Value = Value> {
        let text = || {
            prop::collection::vec(
                prop::sample::select(r#"{}[]",:\ aé"#.chars().collect::<Vec<_>>()),
                0..90,
            )
        };
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
                prop::collection::vec((text(), inner), 0..6)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
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
