//! JSON on the request path: borrowed views out of a review, and text into an answer.
//!
//! What this leaves out of `serde_json` is what an admission does not need and pays for in every byte: positions for error
//! messages, streams, numbers with a point, escapes in names that are written in this program. Without it an admission takes a
//! quarter to a third fewer instructions (`benches/instructions.rs`).
//!
//! [`read`] gives up at anything unusual, and then `serde_json` reads and says what is wrong. Whatever it does read, `serde_json`
//! reads the same: a property and the fuzz target `review` hold it to that.

mod reader;

pub use reader::read;

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
    let in_word = |word: Word| word.below(b' ') | word.equal(b'"') | word.equal(b'\\');
    first_special(bytes, 0, in_word, |byte| matches!(byte, b'"' | b'\\' | ..b' '))
}

/// The first of certain bytes from a place on, or the end; looked for in eight bytes at once.
fn first_special(bytes: &[u8], mut at: usize, in_word: impl Fn(Word) -> u64, is_special: impl Fn(u8) -> bool) -> usize {
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let special = in_word(Word(u64::from_le_bytes(*word))) & (Word::ONES << 7);
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len())
}

/// Eight bytes. What is asked of each is answered in its highest bit: rightly for the first of which it is true and for those
/// before it. The other bits mean nothing.
#[derive(Clone, Copy)]
struct Word(u64);

impl Word {
    const ONES: u64 = 0x0101_0101_0101_0101;

    /// Which are smaller: a byte borrows from its highest bit when more is subtracted, if that bit was not set before.
    fn below(self, byte: u8) -> u64 {
        self.0.wrapping_sub(Self::ONES * u64::from(byte)) & !self.0
    }

    fn equal(self, byte: u8) -> u64 {
        Self(self.0 ^ (Self::ONES * u64::from(byte))).below(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_byte_is_found_at_every_place() {
        for byte in 0..=u8::MAX {
            let is_special = byte < 0x20 || byte == b'"' || byte == b'\\';
            for place in 0..20 {
                // Neighbours that carries and borrows could come from.
                for neighbour in [b'!', b'#', 0x7f, 0x80, 0xff] {
                    let mut bytes = [neighbour; 20];
                    bytes[place] = byte;
                    assert_eq!(to_be_escaped(&bytes), if is_special { place } else { 20 }, "{byte:#x} at {place}");
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
