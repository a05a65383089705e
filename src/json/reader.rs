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

use super::to_be_escaped;
use access::{Elements, Entries, Fields};
use serde::de::{Deserialize, Visitor};
use skip::{skip_escaped, skip_nested, skip_number, skip_string};
use unescape::unescape;

mod access;
mod deserializer;
mod skip;
mod unescape;

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

#[cfg(test)]
mod tests;
