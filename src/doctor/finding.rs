//! The result of a check, and words for its message.

/// The status of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// All is well.
    Passed,
    /// Something is wrong.
    Failed,
    /// doctor lacks network access or permissions to check.
    Unknown,
}

impl Status {
    /// One lower-case word.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// One result of a check. A check may have several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) status: Status,
    /// The observation.
    pub(crate) message: String,
    /// The fix; empty if none is needed.
    pub(crate) advice: String,
}

impl Finding {
    pub(super) fn passed(message: impl Into<String>) -> Self {
        Self { status: Status::Passed, message: message.into(), advice: String::new() }
    }

    pub(super) fn failed(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { status: Status::Failed, message: message.into(), advice: advice.into() }
    }

    pub(super) fn unknown(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { status: Status::Unknown, message: message.into(), advice: advice.into() }
    }
}

/// The first names, and how many more there are.
pub(super) fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A number of things, in words: `2 replicas`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
