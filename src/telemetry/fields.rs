//! How the fields of a log line are written as text: as tracing-subscriber writes them, but faster.
//!
//! Each admission is a line, and its fields are strings. tracing-subscriber writes a string by its
//! `Debug`, character by character, which callgrind over `serve` showed among the first things that
//! a request costs. Here what needs no escape is written in one piece.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use crate::json;

/// `message name="string" name=value`.
pub(super) struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line { writer, is_empty: true, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'w> {
    writer: Writer<'w>,
    is_empty: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn field(&mut self, field: &Field, write_value: impl FnOnce(&mut Writer) -> fmt::Result) {
        let is_first = std::mem::replace(&mut self.is_empty, false);
        let writer = &mut self.writer;
        let write = || {
            if !is_first {
                writer.write_char(' ')?;
            }
            if !is_message(field) {
                writer.write_str(field.name())?;
                writer.write_char('=')?;
            }
            write_value(writer)
        };
        self.result = self.result.and_then(|()| write());
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if is_message(field) {
            return self.record_debug(field, &format_args!("{value}"));
        }
        self.field(field, |writer| write_quoted(writer, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, |writer| {
            if is_message(field) {
                write!(Visible(writer), "{value:?}")
            } else {
                write!(writer, "{value:?}")
            }
        });
    }
}

fn is_message(field: &Field) -> bool {
    field.name() == "message"
}

/// Text without control characters: it is not quoted, and a dependency may have put anything into
/// it.
struct Visible<'a, W>(&'a mut W);

impl<W: Write> Write for Visible<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            let plain = piece.trim_end_matches(char::is_control);
            self.0.write_str(plain)?;
            for control in piece.chars().skip(plain.chars().count()) {
                write!(self.0, "{}", control.escape_default())?;
            }
        }
        Ok(())
    }
}

/// As `Debug` writes a string.
fn write_quoted(out: &mut impl Write, text: &str) -> fmt::Result {
    // Of other characters `Debug` knows which could mislead whoever reads them.
    let (least, greatest) = text
        .bytes()
        .fold((u8::MAX, 0), |(least, greatest), byte| (least.min(byte), greatest.max(byte)));
    if least < b' ' || greatest > b'~' {
        return write!(out, "{text:?}");
    }
    // Such text `Debug` writes as JSON does.
    let mut quoted = Vec::with_capacity(text.len() + text.len() / 4 + 2);
    json::push_string(&mut quoted, &[text]);
    out.write_str(str::from_utf8(&quoted).unwrap_or_default())
}

#[cfg(test)]
pub(super) mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt;

    use super::*;

    #[test]
    fn a_string_is_quoted_as_debug_does() {
        let every: String = (0..0x250).filter_map(char::from_u32).collect();
        for text in [
            "",
            "plain",
            "\"",
            "\\",
            "a\"b\\c\"",
            "\"\"",
            "\u{1b}[2J",
            "\n",
            "\u{202e}",
            "grüße",
            &every,
        ] {
            let mut quoted = String::new();
            write_quoted(&mut quoted, text).unwrap();
            assert_eq!(quoted, format!("{text:?}"));
        }
    }

    /// What is logged.
    #[derive(Clone, Default)]
    pub(crate) struct Logged(Arc<Mutex<Vec<u8>>>);

    impl Logged {
        /// The lines that a function logs.
        pub(crate) fn of(&self, run: impl FnOnce()) -> String {
            let lines = self.clone();
            let logging = fmt().with_writer(move || lines.clone()).finish();
            tracing::subscriber::with_default(logging, run);
            self.take()
        }

        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
        }
    }

    impl io::Write for Logged {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A line of an event that has every kind of field.
    fn line(logging: impl tracing::Subscriber + Send + Sync, lines: &Logged) -> String {
        tracing::subscriber::with_default(logging, || {
            let error = io::Error::other("why");
            tracing::info!(text = "a \"b\"", number = 7, flag = true, %error, debug = ?Some("x"), "what happened, {}", "once");
        });
        lines.take()
    }

    #[test]
    fn a_message_has_no_control_characters() {
        let mut text = String::new();
        Visible(&mut text).write_str("a\u{1b}[2J\n\nb\u{9b}").unwrap();
        assert_eq!(text, r"a\u{1b}[2J\n\nb\u{9b}");
    }

    #[test]
    fn a_line_is_what_tracing_subscriber_writes() {
        let [ours, theirs] = [Logged::default(), Logged::default()];
        let settings = |lines: Logged| {
            fmt().without_time().with_ansi(false).with_writer(move || lines.clone())
        };
        let theirs = line(settings(theirs.clone()).finish(), &theirs);
        assert_eq!(line(settings(ours.clone()).fmt_fields(TextFields).finish(), &ours), theirs);
        assert!(
            theirs.ends_with("what happened, once text=\"a \\\"b\\\"\" number=7 flag=true error=why debug=Some(\"x\")\n"),
            "{theirs}"
        );
    }
}
