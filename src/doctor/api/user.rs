//! The user that doctor connects as, and every error of a login.

use std::io;

use kube::client::AuthError;

use super::cause::reason;
use super::error::{ConnectError, Obstacle};

/// For errors that cannot happen.
const REPORT: &str = "report this as a bug of spark-webhook";

/// The user of a kubeconfig, or a pod's service account.
pub(super) struct User {
    /// `None` for the service account.
    pub(super) name: Option<String>,
    /// The command that provides the credentials, if any.
    pub(super) command: Option<String>,
    /// How to install the command, in the words of the kubeconfig.
    pub(super) install_hint: Option<String>,
}

impl User {
    pub(super) fn described(&self) -> String {
        self.name.as_ref().map_or_else(
            || "the pod's service account".to_owned(),
            |name| format!("user {name} of the kubeconfig"),
        )
    }

    /// The login command as the subject of a sentence.
    pub(super) fn login(&self) -> String {
        format!(
            "the command {}, which logs in {},",
            self.command.as_deref().unwrap_or_default(),
            self.described()
        )
    }

    pub(super) fn renewal(&self) -> String {
        match (&self.name, &self.command) {
            (None, _) => "recreate the pod to get a new token".to_owned(),
            (_, Some(command)) => {
                format!("log in again, and check what the command {command} prints")
            }
            (_, None) => "log in again, or renew the token or client certificate in the kubeconfig"
                .to_owned(),
        }
    }

    pub(super) fn invalid_token(&self) -> ConnectError {
        let message = format!(
            "{} prints a token with a line break or another character that no token has",
            self.login()
        );
        ConnectError::new(
            Obstacle::Credentials,
            message,
            "run the command by itself, and correct what it prints",
        )
    }

    pub(super) fn cannot_log_in(&self, error: &AuthError) -> ConnectError {
        let error_of = |message: String, advice: &str| {
            ConnectError::new(Obstacle::Credentials, message, advice)
        };
        match error {
            AuthError::AuthExecStart(error) if error.kind() == io::ErrorKind::NotFound => {
                let hint = self
                    .install_hint
                    .as_deref()
                    .unwrap_or("install it, or correct the command in the kubeconfig");
                let command = self.command.as_deref().unwrap_or_default();
                error_of(
                    format!(
                        "{} logs in with the command {command}, which is not installed",
                        self.described()
                    ),
                    hint,
                )
            }
            AuthError::AuthExecStart(error) => error_of(
                format!("{} cannot be started: {}", self.login(), reason(error)),
                "correct the command in the kubeconfig",
            ),
            AuthError::AuthExecRun { cmd: _, out } => {
                let stderr = String::from_utf8_lossy(&out.stderr);
                let last = stderr.lines().map(str::trim).rfind(|line| !line.is_empty());
                let last = last.map_or_else(String::new, |line| format!(": {line}"));
                let message = format!("{} fails ({}){last}", self.login(), out.status);
                error_of(message, "run the command by itself, and log in again if it says so")
            }
            AuthError::AuthExecParse(_)
            | AuthError::ExecPluginFailed
            | AuthError::MalformedTokenExpirationDate(_)
            | AuthError::ParseTokenKey(_)
            | AuthError::UnrefreshableTokenResponse => {
                let advice = "run the command by itself: it must print an ExecCredential in JSON";
                error_of(format!("{} prints no valid credentials", self.login()), advice)
            }
            AuthError::MissingCommand => error_of(
                format!("{} has exec without a command", self.described()),
                "write the command in the kubeconfig",
            ),
            // The token of the service account: doctor has read a kubeconfig's before.
            AuthError::ReadTokenFile(error, path) => error_of(
                format!(
                    "the token of {} cannot be read from {}: {}",
                    self.described(),
                    path.display(),
                    reason(error)
                ),
                "set automountServiceAccountToken: true for the pod, or use --kubeconfig FILE",
            ),
            AuthError::InvalidBasicAuth(_) | AuthError::InvalidBearerToken(_) => {
                self.invalid_token()
            }
            AuthError::AuthExec(_) | AuthError::NoValidNativeRootCA(_) => {
                let message =
                    format!("{} uses auth-provider, which does not work here", self.described());
                error_of(message, "use exec, a token or a client certificate in the kubeconfig")
            }
            AuthError::AuthExecSerialize(_) | AuthError::ExecMissingClusterInfo => {
                error_of(format!("{} cannot be called", self.login()), REPORT)
            }
        }
    }
}
