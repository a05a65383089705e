//! The route to the API server: where it goes, and every error that a person can meet on it.

use kube::client::{AuthError, RustlsTlsError};
use kube::config::KubeconfigError;

use super::cause::{Cause, load_problem};
use super::error::{ConnectError, Obstacle};
use super::proxy::{Origin, Proxy};
use super::user::User;

/// The route from this process to the API server.
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
    pub(super) fn no_client(&self, error: &kube::Error) -> ConnectError {
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

    /// Why a request failed.
    pub(super) fn no_answer(&self, error: &kube::Error) -> ConnectError {
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

    /// Why no answer came.
    pub(super) fn unreachable(&self, cause: &Cause) -> ConnectError {
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
pub(super) const AUTHORITY: &str =
    "correct certificate-authority or certificate-authority-data of the cluster in the kubeconfig";

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> Route {
        Route {
            server: "https://api.example".to_owned(),
            host: "api.example".to_owned(),
            proxy: None,
            has_authority: true,
            user: User { name: Some("u".to_owned()), command: None, install_hint: None },
        }
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
            let error = route().unreachable(&cause);
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
            let error = route().no_answer(&kube::Error::Api(Box::new(
                Status::failure("no", "Reason").with_code(code),
            )));
            assert_eq!((error.obstacle, error.is_temporary), (obstacle, is_temporary), "{code}");
        }
    }
}
