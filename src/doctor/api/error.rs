//! Why doctor cannot begin.
//!
//! An error is one sentence: the problem and the fix.

use crate::text::Excerpt;

/// Enough for a reason and a path; an answer that is a page of HTML is cut.
const MAX_CHARS: usize = 400;

/// What keeps doctor from beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The kubeconfig, or that there is none.
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
    pub fn as_str(self) -> &'static str {
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
pub struct ConnectError {
    /// Where to look.
    pub obstacle: Obstacle,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub advice: String,
    /// Whether it can pass by itself, so that waiting makes sense.
    pub is_temporary: bool,
}

impl ConnectError {
    /// An error that stays. Its texts quote files, commands and servers: they become one line
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
