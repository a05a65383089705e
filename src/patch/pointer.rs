//! A JSON pointer (RFC 6901), written as a JSON string.
//!
//! A name may be any text: an annotation's key has a slash, and nothing keeps a name from having a
//! quotation mark. So it is escaped twice while it is copied, once for the pointer and once for the
//! string. The names of a pod's fields need none of that, and the compiler checks it. A part is
//! borrowed and nothing is allocated, because an admission writes a dozen pointers.

use crate::json::{is_special, push_escape};

/// Names of fields, with a slash before each: `/spec/volumes`.
#[derive(Clone, Copy, Debug)]
pub struct Fields(&'static str);

impl Fields {
    /// In a constant, anything but letters and slashes does not compile.
    pub const fn new(fields: &'static str) -> Self {
        assert!(matches!(fields.as_bytes(), [b'/', ..]), "a slash comes first");
        let mut rest = fields.as_bytes();
        while let [byte, after @ ..] = rest {
            assert!(byte.is_ascii_alphabetic() || *byte == b'/', "only letters and slashes");
            rest = after;
        }
        Self(fields)
    }
}

/// A pointer without its end.
#[must_use = "finish() ends the string"]
pub struct Pointer<'b>(&'b mut Vec<u8>);

impl<'b> Pointer<'b> {
    /// A pointer at the whole document.
    #[inline]
    pub fn new(bytes: &'b mut Vec<u8>) -> Self {
        bytes.push(b'"');
        Self(bytes)
    }

    /// Steps to a field of a field.
    #[inline]
    pub fn fields(self, fields: Fields) -> Self {
        let Self(bytes) = self;
        bytes.extend_from_slice(fields.0.as_bytes());
        Self(bytes)
    }

    /// Steps to what an object has under a name.
    pub fn name(self, name: &str) -> Self {
        let Self(bytes) = self;
        bytes.push(b'/');
        let mut rest = name.as_bytes();
        while let Some(place) = rest.iter().position(|byte| is_escaped(*byte)) {
            let (plain, escaped) = rest.split_at(place);
            bytes.extend_from_slice(plain);
            let Some((byte, after)) = escaped.split_first() else { break };
            match byte {
                b'~' => bytes.extend_from_slice(b"~0"),
                b'/' => bytes.extend_from_slice(b"~1"),
                other => push_escape(bytes, *other),
            }
            rest = after;
        }
        bytes.extend_from_slice(rest);
        Self(bytes)
    }

    /// Steps to an element of an array.
    #[inline]
    pub fn index(self, index: usize) -> Self {
        let Self(bytes) = self;
        bytes.push(b'/');
        let start = bytes.len();
        let mut rest = index;
        loop {
            // A digit is less than 256.
            bytes.push(b'0' + u8::try_from(rest % 10).unwrap_or_default());
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        // Nearly always there is one digit.
        if index > 9 {
            bytes.get_mut(start..).unwrap_or_default().reverse();
        }
        Self(bytes)
    }

    /// Steps to the element after an array's last.
    #[inline]
    pub fn end_of_array(self) -> Self {
        let Self(bytes) = self;
        bytes.extend_from_slice(b"/-");
        Self(bytes)
    }

    /// Ends the string.
    #[inline]
    pub fn finish(self) {
        let Self(bytes) = self;
        bytes.push(b'"');
    }
}

/// Whether a byte is written as an escape of the pointer or of the string.
fn is_escaped(byte: u8) -> bool {
    matches!(byte, b'~' | b'/') || is_special(byte)
}

#[cfg(test)]
mod tests {
    use json_patch::jsonptr::{PointerBuf, Token};
    use proptest::prelude::*;

    use super::*;

    /// One step of a pointer.
    #[derive(Clone, Debug)]
    enum Step {
        Fields(Fields),
        Name(String),
        Index(usize),
        End,
    }

    fn written(steps: &[Step]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(steps, &mut bytes);
        bytes
    }

    fn write(steps: &[Step], bytes: &mut Vec<u8>) {
        let pointer = steps.iter().fold(Pointer::new(bytes), |pointer, step| match step {
            Step::Fields(fields) => pointer.fields(*fields),
            Step::Name(name) => pointer.name(name),
            Step::Index(index) => pointer.index(*index),
            Step::End => pointer.end_of_array(),
        });
        pointer.finish();
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            Just(Step::Fields(Fields::new("/spec/volumes"))),
            any::<String>().prop_map(Step::Name),
            r#"[~/01"\\\u{0}-\u{20}a]{0,8}"#.prop_map(Step::Name),
            any::<usize>().prop_map(Step::Index),
            Just(Step::End),
        ];
        prop::collection::vec(step, 0..6)
    }

    proptest! {
        #[test]
        fn a_pointer_is_what_jsonptr_writes(steps in steps()) {
            let tokens = steps.iter().flat_map(|step| match step {
                Step::Fields(_) => vec![Token::new("spec"), Token::new("volumes")],
                Step::Name(name) => vec![Token::new(name)],
                Step::Index(index) => vec![Token::from(*index)],
                Step::End => vec![Token::new("-")],
            });
            let text: String = serde_json::from_slice(&written(&steps)).unwrap();
            prop_assert_eq!(text, PointerBuf::from_tokens(tokens).to_string());
        }
    }

    #[test]
    fn each_step_has_its_text() {
        let name = |name: &str| Step::Name(name.to_owned());
        for (steps, expected) in [
            (vec![], r#""""#),
            (vec![Step::Fields(Fields::new("/spec/volumes")), Step::End], r#""/spec/volumes/-""#),
            (vec![name("env"), Step::Index(0)], r#""/env/0""#),
            (vec![Step::Index(10), Step::Index(4096)], r#""/10/4096""#),
            (vec![name("")], r#""/""#),
            (vec![name("example.com/a~1")], r#""/example.com~1a~01""#),
            (vec![name("\"\\\n\u{1f}é")], r#""/\"\\\u000a\u001fé""#),
        ] {
            assert_eq!(String::from_utf8(written(&steps)).unwrap(), expected, "{steps:?}");
        }
        let most = written(&[Step::Index(usize::MAX)]);
        assert_eq!(String::from_utf8(most).unwrap(), format!("\"/{}\"", usize::MAX));
    }

    #[test]
    fn fields_have_nothing_to_escape() {
        for fields in ["", "spec", "/a~b", "/a\"", "/a/0", "/é", "/a b"] {
            assert!(std::panic::catch_unwind(|| Fields::new(fields)).is_err(), "{fields:?}");
        }
    }

    #[test]
    fn nothing_is_allocated() {
        let steps = [Step::Name("a/\"\u{1}~".repeat(10)), Step::Index(usize::MAX), Step::End];
        let mut bytes = Vec::with_capacity(1024);
        let counted = allocation_counter::measure(|| write(&steps, &mut bytes));
        assert_eq!(counted.count_total, 0);
    }
}
