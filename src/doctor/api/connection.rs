//! The connection to an API server.
//!
//! Every step has a time limit. A proxy or an API server may accept a connection and never answer,
//! and a login command may never end.

use std::path::Path;
use std::time::Duration;

use kube::{Client, Config};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::cause::Cause;
use super::error::{ConnectError, Obstacle};
use super::kubeconfig;
use super::route::Route;

/// A webhook's `timeoutSeconds` is at most 30, and the API server may call several for one pod.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// For DNS, the proxy, TCP and TLS together. A server that is up takes less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For the first answer, including the connection. It costs the API server nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A login command may wait until the user has logged in in a browser.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(120);

/// A client of an API server, and the route to it.
pub(crate) struct Connection {
    client: Client,
    namespace: String,
    route: Route,
}

impl Connection {
    /// Prepares the connection that a kubeconfig and a context describe; without them, the
    /// environment or the pod does. Sends no request yet, but runs the kubeconfig's login command.
    ///
    /// # Errors
    ///
    /// When no cluster is configured, or the configuration or the login does not work.
    pub(crate) async fn open(
        kubeconfig: Option<&Path>,
        context: Option<&str>,
    ) -> Result<Self, ConnectError> {
        let (mut config, route) = kubeconfig::load(kubeconfig, context)?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        // An idle connection must not count as one that does not answer.
        config.reset_reader_on_write = true;
        // kube would retry for as long as the API server's Retry-After says, without a limit.
        config.default_retry = false;
        let namespace = config.default_namespace.clone();
        let client = client(config, &route, LOGIN_TIMEOUT).await?;
        Ok(Self { client, namespace, route })
    }

    /// The client, for the checks.
    #[must_use]
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The namespace of the context or of the pod.
    #[must_use]
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Asks the API server for its version.
    ///
    /// # Errors
    ///
    /// When it does not answer, or does not accept the credentials.
    pub(crate) async fn probe(&self) -> Result<(), ConnectError> {
        match timeout(ANSWER_TIMEOUT, self.client.apiserver_version()).await {
            Ok(Ok(_)) => Ok(()),
            // The API server knows the user, who lacks this one permission.
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use kube::config::{AuthInfo, ExecConfig};
    use tokio::runtime::Builder;

    use super::super::user::User;
    use super::*;

    fn route() -> Route {
        Route {
            server: "https://api.example".to_owned(),
            host: "api.example".to_owned(),
            proxy: None,
            has_authority: true,
            user: User {
                name: Some("u".to_owned()),
                command: Some("sleep".to_owned()),
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
        let error =
            runtime.block_on(client(config, &route(), Duration::from_secs(1))).err().unwrap();
        runtime.shutdown_background();
        let expected = "the command sleep, which logs in user u of the kubeconfig, did not end within 1 s; \
                        run it by itself to see what it waits for";
        assert_eq!(error.to_string(), expected);
        assert!(!error.is_temporary);
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    }
}
