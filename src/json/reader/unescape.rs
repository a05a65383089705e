//! Strings with escapes.

use crate::json::to_be_escaped;

/// A string without its escapes, and its end. It starts at a place and has its first escape at
/// another. `None` where an escape is wrong, the string has no end, or it has more than so many
/// bytes.
pub(super) fn unescape(
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
