//! JSON on the request path: borrowed views out of a review, and text into an answer.
//!
//! What this leaves out of `serde_json` is what an admission does not need and pays for in every
//! byte: blanks, positions for error messages, streams, numbers with a point, escapes in names that
//! are written in this program. `benches/instructions.txt` has what an admission takes.
//!
//! What [`read`] reads of a text that is JSON, `serde_json` reads the same, and whatever
//! `serde_json` reads, [`read`] does: a property and the fuzz target `review` hold it to that.
//! Where a text is none, but only in a part that nobody looks into, it may be read all the same:
//! whoever sent it has made it of an object.

mod reader;

pub use reader::{MAX_ELEMENTS, MAX_VIEW, ReadError, Reading, TooMany, read};

use wide::u8x16;

/// Appends a string, in quotation marks and escaped, that is made of some parts.
pub fn push_string(bytes: &mut Vec<u8>, parts: &[&str]) {
    bytes.push(b'"');
    let start = bytes.len();
    for part in parts {
        bytes.extend_from_slice(part.as_bytes());
    }
    // In most there is nothing to be escaped.
    let special = to_be_escaped(bytes, start);
    if special < bytes.len() {
        let rest = bytes.split_off(special);
        escape(&rest, bytes);
    }
    bytes.push(b'"');
}

/// Appends, in quotation marks, text that was checked to have nothing that must be escaped.
pub fn push_plain(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(b'"');
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(b'"');
}

fn escape(mut text: &[u8], bytes: &mut Vec<u8>) {
    while !text.is_empty() {
        let plain = if let Some(block) = text.first_chunk() {
            // A copy of fixed length needs no call; what is too much is cut off again.
            bytes.extend_from_slice(block);
            let plain = BLOCK.min(special(*block).trailing_zeros() as usize);
            bytes.truncate(bytes.len() - (BLOCK - plain));
            plain
        } else {
            let plain = text.iter().position(|byte| is_special(*byte)).unwrap_or(text.len());
            bytes.extend_from_slice(text.get(..plain).unwrap_or_default());
            plain
        };
        text = text.get(plain..).unwrap_or_default();
        let Some((byte, after)) = text.split_first().filter(|(byte, _)| is_special(**byte)) else {
            continue;
        };
        push_escape(bytes, *byte);
        text = after;
    }
}

/// Appends the escape of a byte that [`is_special`].
#[inline]
pub fn push_escape(bytes: &mut Vec<u8>, byte: u8) {
    let digit = |digit: u8| if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
    match byte {
        b'"' => bytes.extend_from_slice(br#"\""#),
        b'\\' => bytes.extend_from_slice(br"\\"),
        control => bytes.extend_from_slice(&[
            b'\\',
            b'u',
            b'0',
            b'0',
            digit(control >> 4),
            digit(control & 0xf),
        ]),
    }
}

/// The first quotation mark, backslash or control character from a place on, or the end. Most are
/// in the first block.
#[inline]
fn to_be_escaped(bytes: &[u8], at: usize) -> usize {
    if let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let found = special(*block);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
    }
    to_be_escaped_later(bytes, at)
}

fn to_be_escaped_later(bytes: &[u8], mut at: usize) -> usize {
    while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let found = special(*block);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += BLOCK;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(block) = bytes.last_chunk() else {
        return at + rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len());
    };
    // The block that ends with them, without the bytes before them.
    let found = special(*block) >> (BLOCK - rest.len());
    if found == 0 { bytes.len() } else { at + found.trailing_zeros() as usize }
}

/// So many bytes are looked at at once.
const BLOCK: usize = 16;

/// Which bytes of a block have to be escaped, each a bit, the first one the lowest.
#[inline]
fn special(block: [u8; BLOCK]) -> u32 {
    let block = u8x16::new(block);
    let is_control = block.min(u8x16::splat(0x1f)).simd_eq(block);
    (is_control | block.simd_eq(u8x16::splat(b'"')) | block.simd_eq(u8x16::splat(b'\\')))
        .to_bitmask()
}

/// Whether a string has to escape a byte.
pub fn is_special(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | ..b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_byte_is_found_at_every_place_and_none_before_the_start() {
        for byte in 0..=u8::MAX {
            let is_special = byte < 0x20 || byte == b'"' || byte == b'\\';
            // Bytes beside the special ones, and such as are no ASCII.
            for neighbour in [b'!', b'#', 0x7f, 0x80, 0xff] {
                for (length, start) in
                    (1..40).flat_map(|length| [(length, 0), (length, length / 2)])
                {
                    let mut bytes = vec![b'"'; start];
                    bytes.resize(length, neighbour);
                    for place in start..length {
                        bytes[place] = byte;
                        let expected = if is_special { place } else { length };
                        assert_eq!(
                            to_be_escaped(&bytes, start),
                            expected,
                            "{byte:#x} at {place} of {length} from {start}"
                        );
                        bytes[place] = neighbour;
                    }
                }
            }
        }
    }

    #[test]
    fn a_string_is_what_was_written() {
        let every: String = (0..0x250).filter_map(char::from_u32).collect();
        let quotes: String = (0..60).map(|length| "x".repeat(length) + "\"").collect();
        for parts in [
            &["", ""][..],
            &["a", "\"", "b\\"],
            &[&every, "\u{10ffff}"],
            &["/etc/app", &quotes, &quotes],
            &["\"/"; 40],
        ] {
            let mut bytes = Vec::new();
            push_string(&mut bytes, parts);
            assert_eq!(serde_json::from_slice::<String>(&bytes).unwrap(), parts.concat());
        }
    }
}
