//! Why doctor cannot begin.
//!
//! An error is one sentence: the problem and the fix.

use crate::text::Excerpt;

/// Enough for a reason and a path. An HTML page as the answer is cut.
const MAX_CHARS: usize = 400;

/// The part at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The kubeconfig; also if there is none.
    Kubeconfig,
    /// The user's credentials, or the command that provides them.
    Credentials,
    /// The proxy in front of the API server.
    Proxy,
    /// The API server, or the network.
    ApiServer,
}

impl Obstacle {
    /// One lower-case word.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Kubeconfig => "kubeconfig",
            Self::Credentials => "credentials",
            Self::Proxy => "proxy",
            Self::ApiServer => "api-server",
        }
    }
}

/// Why doctor cannot begin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {advice}")]
pub(crate) struct ConnectError {
    /// The part at fault.
    pub(crate) obstacle: Obstacle,
    /// The problem.
    pub(crate) message: String,
    /// The fix.
    pub(crate) advice: String,
    /// Whether it can pass by itself, so that `--wait` repeats the attempt.
    pub(crate) is_temporary: bool,
}

impl ConnectError {
    /// A lasting error. Its texts quote files, commands and servers, so each becomes one line
    /// without control characters.
    pub(super) fn new(
        obstacle: Obstacle,
        message: impl AsRef<str>,
        advice: impl AsRef<str>,
    ) -> Self {
        let [message, advice] = [message.as_ref(), advice.as_ref()].map(|text| {
            let words: Vec<&str> = text.split_whitespace().collect();
            Excerpt::new(&words.join(" "), MAX_CHARS).to_string()
        });
        Self { obstacle, message, advice, is_temporary: false }
    }

    pub(super) fn temporary(
        obstacle: Obstacle,
        message: impl AsRef<str>,
        advice: impl AsRef<str>,
    ) -> Self {
        Self { is_temporary: true, ..Self::new(obstacle, message, advice) }
    }
}
