//! The way to an API server, and every error that a person can meet on it.
//!
//! An error is one sentence: what is wrong, and what to do. All of it takes a bounded time, also
//! with a proxy or an API server that accepts a connection and never answers, and with a login
//! command that never ends.

use std::io;
use std::path::Path;
use std::time::Duration;

use kube::client::{AuthError, RustlsTlsError};
use kube::config::KubeconfigError;
use kube::{Client, Config};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::cause::{Cause, reason};
use super::kubeconfig::{self, load_problem};
use super::proxy::{Origin, Proxy};
use crate::text::Excerpt;

/// A webhook's `timeoutSeconds` is at most 30, and a pod may meet several: a create may take that
/// long.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// For the name, the proxy, the API server and TLS together: one that is there takes less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For the first answer, connecting included. It costs the API server nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A login command may wait until a person has logged in in a browser.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(120);

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

    fn temporary(obstacle: Obstacle, message: impl AsRef<str>, advice: impl AsRef<str>) -> Self {
        Self { is_temporary: true, ..Self::new(obstacle, message, advice) }
    }
}

/// An API server and the way to it.
pub struct Connection {
    client: Client,
    namespace: String,
    route: Route,
}

impl Connection {
    /// Prepares the connection that a kubeconfig and a context describe; without them, the
    /// environment or the pod does. Asks the API server for nothing yet, but runs the kubeconfig's
    /// login command.
    ///
    /// # Errors
    ///
    /// When no cluster is configured, or the configuration or the login does not work.
    pub async fn open(
        kubeconfig: Option<&Path>,
        context: Option<&str>,
    ) -> Result<Self, ConnectError> {
        let (mut config, route) = kubeconfig::load(kubeconfig, context)?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        // A connection that was idle for a while must not count as one that does not answer.
        config.reset_reader_on_write = true;
        // kube would repeat a request for as long as the API server's Retry-After says, without a
        // limit.
        config.default_retry = false;
        let namespace = config.default_namespace.clone();
        let client = client(config, &route, LOGIN_TIMEOUT).await?;
        Ok(Self { client, namespace, route })
    }

    /// The client, for the checks.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The namespace of the context or of the pod.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Asks the API server for its version.
    ///
    /// # Errors
    ///
    /// When it does not answer, or does not accept the credentials.
    pub async fn probe(&self) -> Result<(), ConnectError> {
        match timeout(ANSWER_TIMEOUT, self.client.apiserver_version()).await {
            Ok(Ok(_)) => Ok(()),
            // It answers, and knows the user.
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => Ok(()),
            Ok(Err(error)) => Err(self.route.no_answer(&error)),
            Err(_) => Err(self.route.unreachable(&Cause::TimedOut)),
        }
    }
}

async fn client(
    config: Config,
    route: &Route,
    login_timeout: Duration,
) -> Result<Client, ConnectError> {
    // kube runs the login command on this thread and waits for its end.
    let made = spawn_blocking(move || Client::try_from(config));
    match timeout(login_timeout, made).await {
        Ok(Ok(Ok(client))) => Ok(client),
        Ok(Ok(Err(error))) => Err(route.no_client(&error)),
        // kube panics on a token that cannot be sent, such as one with a line break.
        Ok(Err(_)) => Err(route.user.invalid_token()),
        Err(_) => {
            let message =
                format!("{} did not end within {} s", route.user.login(), login_timeout.as_secs());
            Err(ConnectError::new(
                Obstacle::Credentials,
                message,
                "run it by itself to see what it waits for",
            ))
        }
    }
}

/// For what cannot happen.
const REPORT: &str = "report this as a bug of spark-webhook";

/// The user of a kubeconfig, or a pod's service account.
pub(super) struct User {
    /// `None` for the service account.
    pub(super) name: Option<String>,
    /// The command that provides the credentials, where there is one.
    pub(super) command: Option<String>,
    /// How to install the command, in the words of the kubeconfig.
    pub(super) install_hint: Option<String>,
}

/// The way from here to the API server.
pub(super) struct Route {
    /// Scheme, host and port.
    pub(super) server: String,
    pub(super) host: String,
    pub(super) proxy: Option<Proxy>,
    pub(super) has_authority: bool,
    pub(super) user: User,
}

impl Route {
    /// Why no client could be made: the login failed, or the kubeconfig's certificates do not work.
    fn no_client(&self, error: &kube::Error) -> ConnectError {
        use RustlsTlsError::{
            AddRootCertificate, InvalidIdentityPem, InvalidPrivateKey, InvalidServerName,
            MissingCertificate, MissingPrivateKey, NoValidNativeRootCA, UnknownPrivateKeyFormat,
        };
        let kubeconfig =
            |message: &str, advice: &str| ConnectError::new(Obstacle::Kubeconfig, message, advice);
        match error {
            kube::Error::Auth(error) => self.user.cannot_log_in(error),
            kube::Error::InferKubeconfig(
                KubeconfigError::LoadClientCertificate(problem)
                | KubeconfigError::LoadClientKey(problem),
            ) => {
                let message = format!(
                    "the client certificate of {} cannot be read: {}",
                    self.user.described(),
                    load_problem(problem)
                );
                ConnectError::new(
                    Obstacle::Credentials,
                    message,
                    "correct it in the kubeconfig, or log in again",
                )
            }
            kube::Error::RustlsTls(problem) => match problem {
                AddRootCertificate(_) | NoValidNativeRootCA(_) if self.has_authority => {
                    kubeconfig("the kubeconfig has a CA certificate that is not valid", AUTHORITY)
                }
                AddRootCertificate(_) | NoValidNativeRootCA(_) => kubeconfig(
                    "the kubeconfig has no CA certificate, and neither has this machine",
                    AUTHORITY,
                ),
                InvalidServerName(_) => {
                    kubeconfig("tls-server-name in the kubeconfig is not a host name", "correct it")
                }
                InvalidIdentityPem(_)
                | MissingPrivateKey
                | MissingCertificate
                | InvalidPrivateKey(_)
                | UnknownPrivateKeyFormat => {
                    let message = format!(
                        "the client certificate of {} is not valid, or not that of its key",
                        self.user.described()
                    );
                    ConnectError::new(
                        Obstacle::Credentials,
                        message,
                        "correct it in the kubeconfig, or log in again",
                    )
                }
            },
            error => kubeconfig(
                &format!("the kubeconfig does not work: {}", Cause::of(error)),
                "correct it, or use another one",
            ),
        }
    }

    /// Why a request was not answered as it should.
    fn no_answer(&self, error: &kube::Error) -> ConnectError {
        let Self { server, user, .. } = self;
        match error {
            kube::Error::Api(status) if status.code == 401 => {
                let message = format!(
                    "the API server {server} does not accept the credentials of {} (status 401)",
                    user.described()
                );
                ConnectError::new(Obstacle::Credentials, message, user.renewal())
            }
            kube::Error::Api(status) => {
                let message = format!(
                    "the API server {server} answers with status {}: {}",
                    status.code, status.message
                );
                let advice = "look at its log, and check that its address is right";
                if status.code == 429 || status.code >= 500 {
                    ConnectError::temporary(Obstacle::ApiServer, message, advice)
                } else {
                    ConnectError::new(Obstacle::ApiServer, message, advice)
                }
            }
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
                self.unreachable(&Cause::NotHttp)
            }
            // The login command ran again, because its token was about to expire.
            kube::Error::Service(error) => match error.downcast_ref::<AuthError>() {
                Some(error) => user.cannot_log_in(error),
                None => self.unreachable(&Cause::of(error.as_ref())),
            },
            error => self.unreachable(&Cause::of(error)),
        }
    }

    /// Why there was no answer.
    fn unreachable(&self, cause: &Cause) -> ConnectError {
        let Self { server, host, .. } = self;
        let through =
            self.proxy.as_ref().map_or_else(String::new, |proxy| format!(" through {proxy}"));
        let server = format!("the API server {server}{through}");
        let lasting =
            |message: String, advice: &str| ConnectError::new(Obstacle::ApiServer, message, advice);
        let passing = |message: String, advice: &str| {
            ConnectError::temporary(Obstacle::ApiServer, message, advice)
        };
        match (cause, &self.proxy) {
            (Cause::ProxyUnreachable(reason), Some(proxy)) => {
                let reason =
                    reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
                let advice = match proxy.origin {
                    Origin::Kubeconfig => "start the proxy, or correct proxy-url".to_owned(),
                    Origin::Variable(name) => {
                        format!("start the proxy, correct {name}, or add {host} to NO_PROXY")
                    }
                };
                ConnectError::temporary(
                    Obstacle::Proxy,
                    format!("{proxy} cannot be reached{reason}"),
                    advice,
                )
            }
            (Cause::ProxyLogin, Some(proxy)) if proxy.url.scheme_str() == Some("socks5") => {
                let message =
                    format!("{proxy} requires a login, but doctor cannot log in to a SOCKS5 proxy");
                ConnectError::new(
                    Obstacle::Proxy,
                    message,
                    "use a SOCKS5 proxy without a login, or an HTTP proxy",
                )
            }
            (Cause::ProxyLogin, Some(proxy)) => {
                let advice =
                    format!("write them in {}: http://USER:PASSWORD@HOST:PORT", proxy.origin);
                ConnectError::new(
                    Obstacle::Proxy,
                    format!("{proxy} requires a valid user name and password"),
                    advice,
                )
            }
            (Cause::ProxyRefused(reason), Some(proxy)) => {
                let message = format!("{proxy} does not connect to {}: {reason}", self.server);
                let advice =
                    "check that the API server runs, and that the proxy allows connections to it";
                ConnectError::temporary(Obstacle::Proxy, message, advice)
            }
            (Cause::Refused, _) => passing(format!("{server} refuses the connection"), IS_RUNNING),
            (Cause::TimedOut, _) => {
                let advice = "check that it is running, that its address is right, and that no firewall is in between";
                passing(format!("{server} does not answer"), advice)
            }
            (Cause::Closed, _) => passing(format!("{server} closes the connection"), IS_RUNNING),
            (Cause::NoRoute, _) => passing(format!("there is no route to {server}"), IS_RUNNING),
            (Cause::UnknownHost, _) => passing(
                format!("the host name of {server} cannot be resolved"),
                "correct its address, or check DNS",
            ),
            (Cause::UnknownAuthority, _) => lasting(
                format!("{server} has a certificate from a CA that the kubeconfig does not have"),
                AUTHORITY,
            ),
            (Cause::OtherName, _) => {
                let advice = "correct its address, or write a name of the certificate as tls-server-name in the kubeconfig";
                lasting(format!("{server} has a certificate for another name"), advice)
            }
            (Cause::Expired, _) => {
                let message =
                    format!("{server} has a certificate that has expired or is not valid yet");
                lasting(message, "renew it, or correct the clock of this machine")
            }
            (Cause::NotTls, _) => lasting(
                format!("{server} does not use TLS"),
                "correct the scheme and port of its address",
            ),
            (Cause::Handshake, _) => lasting(
                format!("{server} does not complete the TLS handshake"),
                "check that its address and port are right",
            ),
            (Cause::NotHttp, _) => lasting(
                format!("{server} does not answer as a Kubernetes API server does"),
                "correct its address",
            ),
            (
                cause @ (Cause::ProxyUnreachable(_)
                | Cause::ProxyLogin
                | Cause::ProxyRefused(_)
                | Cause::Other(_)),
                _,
            ) => passing(format!("{server} cannot be reached: {cause}"), IS_RUNNING),
        }
    }
}

const IS_RUNNING: &str = "check that it is running, and that its address is right";
const AUTHORITY: &str =
    "correct certificate-authority or certificate-authority-data of the cluster in the kubeconfig";

impl User {
    fn described(&self) -> String {
        self.name.as_ref().map_or_else(
            || "the pod's service account".to_owned(),
            |name| format!("user {name} of the kubeconfig"),
        )
    }

    /// The login command as the subject of a sentence.
    fn login(&self) -> String {
        format!(
            "the command {}, which logs in {},",
            self.command.as_deref().unwrap_or_default(),
            self.described()
        )
    }

    fn renewal(&self) -> String {
        match (&self.name, &self.command) {
            (None, _) => "recreate the pod to get a new token".to_owned(),
            (_, Some(command)) => {
                format!("log in again, and check what the command {command} prints")
            }
            (_, None) => "log in again, or renew the token or client certificate in the kubeconfig"
                .to_owned(),
        }
    }

    fn invalid_token(&self) -> ConnectError {
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

    fn cannot_log_in(&self, error: &AuthError) -> ConnectError {
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
            // That of the service account: a kubeconfig's has been read before.
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use kube::config::{AuthInfo, ExecConfig};
    use tokio::runtime::Builder;

    use super::*;

    fn route(command: Option<&str>) -> Route {
        Route {
            server: "https://api.example".to_owned(),
            host: "api.example".to_owned(),
            proxy: None,
            has_authority: true,
            user: User {
                name: Some("u".to_owned()),
                command: command.map(str::to_owned),
                install_hint: None,
            },
        }
    }

    #[test]
    fn a_login_command_that_does_not_end_is_left_behind() {
        let mut config = Config::new(hyper::Uri::from_static("https://api.example"));
        let command = Some("sleep".to_owned());
        let exec = ExecConfig {
            command,
            args: Some(vec!["20".to_owned()]),
            ..serde_json::from_str("{}").unwrap()
        };
        config.auth_info = AuthInfo { exec: Some(exec), ..AuthInfo::default() };
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let started = Instant::now();
        let error = runtime
            .block_on(client(config, &route(Some("sleep")), Duration::from_secs(1)))
            .err()
            .unwrap();
        runtime.shutdown_background();
        let expected = "the command sleep, which logs in user u of the kubeconfig, did not end within 1 s; \
                        run it by itself to see what it waits for";
        assert_eq!(error.to_string(), expected);
        assert!(!error.is_temporary);
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    }

    #[test]
    fn only_what_can_pass_by_itself_is_waited_for() {
        for (cause, message, is_temporary) in [
            (Cause::Refused, "the API server https://api.example refuses the connection", true),
            (Cause::TimedOut, "the API server https://api.example does not answer", true),
            (Cause::Closed, "the API server https://api.example closes the connection", true),
            (Cause::NoRoute, "there is no route to the API server https://api.example", true),
            (
                Cause::UnknownHost,
                "the host name of the API server https://api.example cannot be resolved",
                true,
            ),
            (
                Cause::UnknownAuthority,
                "the API server https://api.example has a certificate from a CA that the kubeconfig does not have",
                false,
            ),
            (
                Cause::OtherName,
                "the API server https://api.example has a certificate for another name",
                false,
            ),
            (
                Cause::Expired,
                "the API server https://api.example has a certificate that has expired or is not valid yet",
                false,
            ),
            (Cause::NotTls, "the API server https://api.example does not use TLS", false),
            (
                Cause::Handshake,
                "the API server https://api.example does not complete the TLS handshake",
                false,
            ),
            (
                Cause::NotHttp,
                "the API server https://api.example does not answer as a Kubernetes API server does",
                false,
            ),
            (
                Cause::Other("why".to_owned()),
                "the API server https://api.example cannot be reached: why",
                true,
            ),
        ] {
            let error = route(None).unreachable(&cause);
            assert_eq!((&*error.message, error.is_temporary), (message, is_temporary), "{cause:?}");
        }
    }

    #[test]
    fn statuses_that_say_later_are_waited_for() {
        use kube::core::Status;
        for (code, obstacle, is_temporary) in [
            (400, Obstacle::ApiServer, false),
            (401, Obstacle::Credentials, false),
            (404, Obstacle::ApiServer, false),
            (429, Obstacle::ApiServer, true),
            (500, Obstacle::ApiServer, true),
            (503, Obstacle::ApiServer, true),
        ] {
            let error = route(None).no_answer(&kube::Error::Api(Box::new(
                Status::failure("no", "Reason").with_code(code),
            )));
            assert_eq!((error.obstacle, error.is_temporary), (obstacle, is_temporary), "{code}");
        }
    }
}
