//! What a person is told when a pod does not get, or not quite get, what its annotations ask for.
//!
//! A problem is read by somebody who has never heard of this webhook: in the log of `spark-submit`, in `kubectl describe
//! pod`. So it names the annotation, says what is wrong, and says what to write instead. Its text depends on nothing but the
//! pod's own requests and state, so that it is the same when the API server asks a second time.

use std::fmt::{self, Display};

/// The most characters of a problem's text. The API server cuts warnings off once all of a response pass 4,096 characters,
/// so at most 20 of them are sent.
pub const MAX_CHARS: usize = 120;

/// Whether a request was carried out all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It was not. With `--on-problem deny`, a driver with one is refused.
    Error,
    /// It was, or there was nothing to carry out.
    Note,
}

/// What is wrong, as far as it is counted by. The first few are errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// A value, an option or a list entry cannot be read.
    Value,
    /// There are more requests than one pod may have.
    TooMany,
    /// Spark's container cannot be told.
    Container,
    /// What is asked for cannot be mounted there, for what is there already or asked for too.
    Place,
    /// The administrator's rules allow another name only.
    NotAllowed,
    /// The administrator's default is enforced.
    Enforced,
    /// A note: another annotation says otherwise, and wins.
    Precedence,
    /// A note: a variable keeps another value.
    Variable,
    /// A note: `spark-defaults.conf` is mounted, but not read.
    Defaults,
    /// A note: no key of ours, but nearly.
    UnknownKey,
    /// A note: a key of former versions.
    FormerKey,
}

impl ProblemKind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Value,
        Self::TooMany,
        Self::Container,
        Self::Place,
        Self::NotAllowed,
        Self::Enforced,
        Self::Precedence,
        Self::Variable,
        Self::Defaults,
        Self::UnknownKey,
        Self::FormerKey,
    ];

    /// Whether such a request is carried out all the same.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::Value | Self::TooMany | Self::Container | Self::Place | Self::NotAllowed | Self::Enforced => Severity::Error,
            Self::Precedence | Self::Variable | Self::Defaults | Self::UnknownKey | Self::FormerKey => Severity::Note,
        }
    }

    /// One lower-case word, as metrics have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::TooMany => "too_many",
            Self::Container => "container",
            Self::Place => "place",
            Self::NotAllowed => "not_allowed",
            Self::Enforced => "enforced",
            Self::Precedence => "precedence",
            Self::Variable => "variable",
            Self::Defaults => "defaults",
            Self::UnknownKey => "unknown_key",
            Self::FormerKey => "former_key",
        }
    }
}

/// One sentence about one annotation, at most [`MAX_CHARS`] characters, without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    kind: ProblemKind,
    text: String,
}

impl Problem {
    /// A problem with an annotation, and what to do about it.
    #[must_use]
    pub fn new(kind: ProblemKind, annotation: Annotation, message: impl Display) -> Self {
        let message = Excerpt::new(&message.to_string(), MAX_CHARS - MIN_ANNOTATION_CHARS - 2).to_string();
        let room = MAX_CHARS - 2 - message.chars().count();
        let annotation = Excerpt::new(&annotation.to_string(), room).to_string();
        Self { kind, text: format!("{annotation}: {message}") }
    }

    /// What is wrong, for counting.
    #[must_use]
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// Error or note.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }

    /// What a person reads.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// So much of the annotation is shown however long the message is: enough to recognise it by.
const MIN_ANNOTATION_CHARS: usize = 24;

/// An annotation as its author wrote it, without our first prefix, as problems show it: `configMap.app=/etc/app`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotation<'a> {
    /// The key, without `spark-operator.k8s.io/`.
    pub key: &'a str,
    /// The value, trimmed; empty where only the key matters.
    pub value: &'a str,
}

impl Display for Annotation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key)?;
        if self.value.is_empty() { Ok(()) } else { write!(f, "={}", self.value) }
    }
}

/// The beginning of a text that came from outside, on one line: control characters are escaped, because the API server
/// drops a warning that has any, and what is too long ends in `…`.
#[derive(Clone, Copy, Debug)]
pub struct Excerpt<'a> {
    text: &'a str,
    max_chars: usize,
}

impl<'a> Excerpt<'a> {
    /// Shows at most `max_chars` characters of `text`.
    #[must_use]
    pub fn new(text: &'a str, max_chars: usize) -> Self {
        Self { text, max_chars }
    }
}

impl Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An escape is up to eight characters long, and is shown whole or not at all.
        let mut shown = String::with_capacity(self.max_chars);
        let mut count = 0;
        let mut end = 0;
        for character in self.text.chars() {
            let before = shown.len();
            if character.is_control()
                || matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
            let chars = shown.get(before..).unwrap_or_default().chars().count();
            if count + chars > self.max_chars {
                shown.truncate(end);
                shown.push('…');
                break;
            }
            count += chars;
            if count < self.max_chars {
                end = shown.len();
            }
        }
        f.write_str(&shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_line_and_never_longer_than_asked() {
        for (text, max_chars, expected) in [
            ("", 5, ""),
            ("short", 5, "short"),
            ("longer", 5, "long…"),
            ("grüße!", 5, "grüß…"),
            ("a\nb", 5, "a\\nb"),
            ("ab\u{7f}", 5, "ab…"),
            ("\u{85}", 6, "\\u{85}"),
            ("line\u{2028}end", 40, "line\\u{2028}end"),
        ] {
            let excerpt = Excerpt::new(text, max_chars).to_string();
            assert_eq!(excerpt, expected, "{text:?}");
            assert!(excerpt.chars().count() <= max_chars);
        }
    }

    #[test]
    fn a_problem_keeps_the_message_and_cuts_the_annotation() {
        let long = "x".repeat(300);
        let problem = Problem::new(ProblemKind::Value, Annotation { key: "configMap.app", value: &long }, "the path is too long");
        assert_eq!(problem.text().chars().count(), MAX_CHARS);
        assert!(problem.text().starts_with("configMap.app=xxx"), "{}", problem.text());
        assert!(problem.text().ends_with("x…: the path is too long"), "{}", problem.text());

        let problem = Problem::new(ProblemKind::Precedence, Annotation { key: &long, value: "" }, &long);
        assert_eq!(problem.text().chars().count(), MAX_CHARS);
        assert_eq!(problem.text().split(": ").next().unwrap().chars().count(), MIN_ANNOTATION_CHARS);
    }
}
