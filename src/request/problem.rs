//! What a person is told when a pod does not get, or not quite get, what its annotations ask for.
//!
//! A problem is read by somebody who has never heard of this webhook: in the log of `spark-submit`,
//! in `kubectl describe pod`. So it names the annotation, says what is wrong, and says what to
//! write instead. Its text depends on nothing but the pod's own requests and state, so that it is
//! the same when the API server asks a second time.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::ops::Deref;

use super::kind::PREFIXES;
use crate::text::Excerpt;

/// The most characters of a problem's text. The API server cuts warnings off once all of a response
/// pass 4,096 characters, so at most 20 of them are sent.
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
    /// There are more requests than one pod may have, or more elements of an array or map than are
    /// read.
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
            Self::Value
            | Self::TooMany
            | Self::Container
            | Self::Place
            | Self::NotAllowed
            | Self::Enforced => Severity::Error,
            Self::Precedence
            | Self::Variable
            | Self::Defaults
            | Self::UnknownKey
            | Self::FormerKey => Severity::Note,
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

/// The maximum number of problems that a person sees at once: as warnings, in the annotation
/// `injected`, in a rejection.
pub const MAX_LISTED: usize = 20;

/// The problems of one pod. Nobody sees more than [`MAX_LISTED`] notes, so the text of further ones
/// is never made: a pod may have thousands of unknown keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    listed: Vec<Problem>,
    notes: usize,
    /// How many have no text, by kind.
    unlisted: [usize; ProblemKind::ALL.len()],
}

impl Deref for Problems {
    type Target = [Problem];

    fn deref(&self) -> &[Problem] {
        &self.listed
    }
}

impl Problems {
    /// Adds a problem with an annotation; the message says what to do about it.
    pub fn push(&mut self, kind: ProblemKind, annotation: &Annotation, message: impl Display) {
        if kind.severity() == Severity::Note && self.room_for_notes() == 0 {
            self.add_unlisted(kind, 1);
        } else {
            self.add(Problem::new(kind, annotation, message));
        }
    }

    /// Adds a problem that has its text already.
    pub fn add(&mut self, problem: Problem) {
        self.notes += usize::from(problem.severity() == Severity::Note);
        self.listed.push(problem);
    }

    /// How many further notes get a text.
    #[must_use]
    pub fn room_for_notes(&self) -> usize {
        MAX_LISTED.saturating_sub(self.notes)
    }

    /// Adds problems that nobody will see, to be counted.
    pub fn add_unlisted(&mut self, kind: ProblemKind, count: usize) {
        if let Some(unlisted) = self.unlisted.get_mut(kind as usize) {
            *unlisted += count;
        }
    }

    /// How many there are, those without a text included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.listed.len() + self.unlisted.iter().sum::<usize>()
    }

    /// How many there are of each kind, those without a text included.
    pub fn counts(&self) -> impl Iterator<Item = (ProblemKind, usize)> {
        ProblemKind::ALL.into_iter().zip(self.unlisted).map(|(kind, unlisted)| {
            let listed = self.listed.iter().filter(|problem| problem.kind == kind).count();
            (kind, listed + unlisted)
        })
    }

    /// Whether a request was not applied.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.listed.iter().any(|problem| problem.severity() == Severity::Error)
    }

    /// Puts errors before notes; within each the order stays.
    pub fn sort(&mut self) {
        self.listed.sort_by_key(Problem::severity);
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
    pub fn new(kind: ProblemKind, annotation: &Annotation, message: impl Display) -> Self {
        let message =
            Excerpt::new(&message.to_string(), MAX_CHARS - MIN_ANNOTATION_CHARS - 2).to_string();
        let room = MAX_CHARS - 2 - message.chars().count();
        Self { kind, text: format!("{}: {message}", annotation.excerpt(room)) }
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

/// An annotation as its author wrote it, without our first prefix, as problems show it:
/// `configMap.app=/etc/app`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation<'a> {
    /// The key, without `spark-operator.k8s.io/`.
    pub key: Cow<'a, str>,
    /// The value, trimmed; empty where only the key matters.
    pub value: Cow<'a, str>,
}

impl<'a> Annotation<'a> {
    /// A key and its value.
    #[must_use]
    pub const fn new(key: &'a str, value: &'a str) -> Self {
        Self { key: Cow::Borrowed(key), value: Cow::Borrowed(value) }
    }

    pub(super) fn lend(&self) -> Annotation<'_> {
        Annotation::new(&self.key, &self.value)
    }

    pub(super) fn into_owned(self) -> Annotation<'static> {
        Annotation {
            key: Cow::Owned(self.key.into_owned()),
            value: Cow::Owned(self.value.into_owned()),
        }
    }

    /// At most `max_chars` characters of it. Where there is no room for all, the second prefix goes
    /// before the name does.
    #[must_use]
    pub fn excerpt(&self, max_chars: usize) -> String {
        let text = self.to_string();
        let [_, second] = PREFIXES;
        match text.strip_prefix(second) {
            Some(rest) if text.chars().nth(max_chars).is_some() => {
                Excerpt::new(&format!("…/{rest}"), max_chars).to_string()
            }
            _ => Excerpt::new(&text, max_chars).to_string(),
        }
    }
}

impl Display for Annotation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if self.value.is_empty() { Ok(()) } else { write!(f, "={}", self.value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_keeps_the_message_and_cuts_the_annotation() {
        let long = "x".repeat(300);
        let problem = Problem::new(
            ProblemKind::Value,
            &Annotation::new("configMap.app", &long),
            "the path is too long",
        );
        assert_eq!(problem.text().chars().count(), MAX_CHARS);
        assert!(problem.text().starts_with("configMap.app=xxx"), "{}", problem.text());
        assert!(problem.text().ends_with("x…: the path is too long"), "{}", problem.text());

        // The second prefix goes first: the name is what tells annotations apart.
        let annotation = |value| Annotation::new("sparkoperator.k8s.io/configMap.app", value);
        let problem = |value| {
            Problem::new(ProblemKind::Value, &annotation(value), "m".repeat(80)).text().to_owned()
        };
        assert!(
            problem("/a").starts_with("sparkoperator.k8s.io/configMap.app=/a: mmm"),
            "{}",
            problem("/a")
        );
        assert!(problem("/a/b").starts_with("…/configMap.app=/a/b: mmm"), "{}", problem("/a/b"));

        let problem = Problem::new(ProblemKind::Precedence, &Annotation::new(&long, ""), &long);
        assert_eq!(problem.text().chars().count(), MAX_CHARS);
        assert_eq!(
            problem.text().split(": ").next().unwrap().chars().count(),
            MIN_ANNOTATION_CHARS
        );
    }

    #[test]
    fn errors_are_all_listed_and_notes_as_far_as_anybody_sees_them() {
        let annotation = Annotation::new("k", "");
        let mut problems = Problems::default();
        for number in 0..25 {
            problems.push(ProblemKind::UnknownKey, &annotation, number);
            problems.push(ProblemKind::Place, &annotation, number);
        }
        problems.add_unlisted(ProblemKind::FormerKey, 3);
        problems.sort();
        assert_eq!((problems.len(), problems.count()), (45, 53));
        assert_eq!(
            (problems[24].text(), problems[25].text(), problems[44].text()),
            ("k: 24", "k: 0", "k: 19")
        );
        let counts: Vec<_> = problems.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(
            counts,
            [(ProblemKind::Place, 25), (ProblemKind::UnknownKey, 25), (ProblemKind::FormerKey, 3)]
        );
    }

    #[test]
    fn errors_take_no_room_from_notes() {
        let annotation = Annotation::new("k", "");
        let mut problems = Problems::default();
        (0..25).for_each(|number| problems.push(ProblemKind::Place, &annotation, number));
        assert_eq!(problems.room_for_notes(), MAX_LISTED);
        problems.push(ProblemKind::UnknownKey, &annotation, "note");
        assert_eq!(problems.room_for_notes(), MAX_LISTED - 1);
    }

    #[test]
    fn kinds_are_counted_in_their_order() {
        for (index, kind) in ProblemKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }
}
