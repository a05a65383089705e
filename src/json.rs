//! JSON on the request path: borrowed views out of a review, and text into an answer.
//!
//! What this leaves out of `serde_json` is what an admission does not need and pays for in every byte: positions for error
//! messages, streams, numbers with a point, escapes in names that are written in this program. `benches/instructions.txt` has what
//! an admission takes.
//!
//! [`read`] gives up at anything unusual, and then `serde_json` reads and says what is wrong. Whatever it does read, `serde_json`
//! reads the same: a property and the fuzz target `review` hold it to that.

mod reader;

pub use reader::read;

use wide::u8x16;

/// Appends a string, in quotation marks and escaped, that is made of some parts.
pub fn push_string(bytes: &mut Vec<u8>, parts: &[&str]) {
    bytes.push(b'"');
    for part in parts {
        escape(part, bytes);
    }
    bytes.push(b'"');
}

/// Appends, in quotation marks, text that was checked to have nothing that must be escaped.
pub fn push_plain(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(b'"');
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(b'"');
}

fn escape(text: &str, bytes: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at(to_be_escaped(rest));
        bytes.extend_from_slice(plain);
        let Some((special, after)) = special.split_first() else { return };
        match special {
            b'"' => bytes.extend_from_slice(br#"\""#),
            b'\\' => bytes.extend_from_slice(br"\\"),
            other => bytes.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
        }
        rest = after;
    }
}

/// The first quotation mark, backslash or control character, or the end.
fn to_be_escaped(bytes: &[u8]) -> usize {
    let in_block = |block: u8x16| block.simd_lt(u8x16::splat(b' ')) | quotes_and_backslashes(block);
    first_special(bytes, 0, in_block, |byte| matches!(byte, b'"' | b'\\' | ..b' '))
}

/// The first quotation mark or backslash from a place on, or the end.
#[inline]
fn quote_or_backslash(bytes: &[u8], at: usize) -> usize {
    first_special(bytes, at, quotes_and_backslashes, |byte| matches!(byte, b'"' | b'\\'))
}

#[inline]
fn quotes_and_backslashes(block: u8x16) -> u8x16 {
    block.simd_eq(u8x16::splat(b'"')) | block.simd_eq(u8x16::splat(b'\\'))
}

/// The first of certain bytes from a place on, or the end; looked for in sixteen bytes at once.
#[inline]
fn first_special(bytes: &[u8], mut at: usize, in_block: impl Fn(u8x16) -> u8x16, is_special: impl Fn(u8) -> bool) -> usize {
    while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let special = in_block(u8x16::new(*block)).to_bitmask();
        if special != 0 {
            return at + special.trailing_zeros() as usize;
        }
        at += 16;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_byte_is_found_at_every_place() {
        for byte in 0..=u8::MAX {
            let is_special = byte < 0x20 || byte == b'"' || byte == b'\\';
            for place in 0..40 {
                // Bytes beside the special ones, and such as are no ASCII.
                for neighbour in [b'!', b'#', 0x7f, 0x80, 0xff] {
                    let mut bytes = [neighbour; 40];
                    bytes[place] = byte;
                    assert_eq!(to_be_escaped(&bytes), if is_special { place } else { 40 }, "{byte:#x} at {place}");
                }
            }
        }
    }

    #[test]
    fn a_string_is_what_was_written() {
        let every: String = (0..0x250).filter_map(char::from_u32).collect();
        for parts in [&["", ""][..], &["a", "\"", "b\\"], &[&every, "\u{10ffff}"]] {
            let mut bytes = Vec::new();
            push_string(&mut bytes, parts);
            assert_eq!(serde_json::from_slice::<String>(&bytes).unwrap(), parts.concat());
        }
    }
}
