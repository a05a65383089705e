//! The end of a value, found without a look at what is in it.
#![expect(
    clippy::inline_always,
    reason = "a tenth of the instructions of an admission, see benches/instructions.txt"
)]

use wide::u8x16;

use super::Unread;
use crate::json::{BLOCK, to_be_escaped};

/// The end of the string that begins here.
#[inline]
pub(super) fn skip_string(bytes: &[u8], at: usize) -> Result<usize, Unread> {
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

/// The end of the string whose first escape is at a place.
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

/// The end of the string whose first escape is at a place, even if an escape is invalid.
pub(super) fn skip_escaped(bytes: &[u8], mut at: usize) -> Result<usize, Unread> {
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

fn skip_digits(bytes: &[u8], at: usize) -> Result<usize, Unread> {
    let count = bytes.iter().skip(at).take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 { Err(Unread) } else { Ok(at + count) }
}

/// The end of a number, and whether it is written as an integer.
pub(super) fn skip_number(bytes: &[u8], mut at: usize) -> Result<(usize, bool), Unread> {
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
pub(super) const CHUNK: usize = 64;

/// The end of the array or object that begins here, or in which this is at some depth. Much of a
/// review is in such as nobody looks into, so only their brackets are counted, those in strings
/// left out; whether there is JSON between them is left open.
pub(super) fn skip_nested(bytes: &[u8], mut at: usize, mut depth: u32) -> Result<usize, Unread> {
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
