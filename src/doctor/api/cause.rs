//! Why a request got no answer, in words that a person can act on.
//!
//! The errors of kube, hyper, rustls and the system nest. The outer ones are types of the program
//! (`ServiceError: client error (Connect)`), and only an inner one says what happened.

use std::error::Error;
use std::io;

use kube::config::LoadDataError;
use tokio_rustls::rustls::{self, CertificateError, InvalidMessage};

/// What stopped a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Cause {
    #[error("the connection was refused")]
    Refused,
    #[error("there was no answer in time")]
    TimedOut,
    #[error("the connection was closed")]
    Closed,
    #[error("there is no route to the host")]
    NoRoute,
    #[error("the host name cannot be resolved")]
    UnknownHost,
    #[error("the certificate is signed by an unknown CA")]
    UnknownAuthority,
    #[error("the certificate is for another name")]
    OtherName,
    #[error("the certificate has expired or is not valid yet")]
    Expired,
    #[error("the answer was not TLS")]
    NotTls,
    #[error("the TLS handshake failed")]
    Handshake,
    #[error("the answer was not HTTP")]
    NotHttp,
    /// The proxy could not be reached; the reason where the proxy's protocol keeps it.
    #[error("the proxy cannot be reached")]
    ProxyUnreachable(Option<Box<Cause>>),
    #[error("the proxy requires a user name and a password")]
    ProxyLogin,
    /// The proxy answered, but did not connect.
    #[error("the proxy does not connect: {0}")]
    ProxyRefused(String),
    #[error("{0}")]
    Other(String),
}

impl Cause {
    /// The first error of the chain that says what happened; without one the text of the innermost.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut next = Some(error);
        while let Some(error) = next {
            text = error.to_string();
            if let Some(cause) = Self::of_proxy(error, &text).or_else(|| Self::known(error, &text))
            {
                return cause;
            }
            next = inner(error);
        }
        Self::Other(text)
    }

    /// hyper-util 0.1 does not export the types of these errors, so their texts have to do;
    /// `tests/cluster/doctor.rs` meets them all.
    fn of_proxy(error: &(dyn Error + 'static), text: &str) -> Option<Self> {
        let problem =
            text.strip_prefix("tunnel error: ").or_else(|| text.strip_prefix("SOCKS error: "))?;
        Some(match problem {
            "failed to create underlying connection" => {
                Self::ProxyUnreachable(inner(error).map(|error| Box::new(Self::of(error))))
            }
            "proxy authorization required"
            | "credentials not accepted"
            | "server does not support user/pass authentication" => Self::ProxyLogin,
            "unexpected end of file"
            | "io error establishing tunnel"
            | "io error during SOCKS handshake" => {
                Self::ProxyRefused("it closes the connection".to_owned())
            }
            "unsuccessful" => {
                Self::ProxyRefused("it answers with another status than 200".to_owned())
            }
            problem => Self::ProxyRefused(problem.to_owned()),
        })
    }

    fn known(error: &(dyn Error + 'static), text: &str) -> Option<Self> {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            use io::ErrorKind::{
                BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable,
                NetworkUnreachable, TimedOut, UnexpectedEof,
            };
            return match error.kind() {
                ConnectionRefused => Some(Self::Refused),
                TimedOut => Some(Self::TimedOut),
                BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => {
                    Some(Self::Closed)
                }
                HostUnreachable | NetworkUnreachable => Some(Self::NoRoute),
                _ => None,
            };
        }
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(Self::of_tls(error));
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return match error {
                error if error.is_parse() => Some(Self::NotHttp),
                error
                    if error.is_incomplete_message()
                        || error.is_canceled()
                        || error.is_closed() =>
                {
                    Some(Self::Closed)
                }
                _ => None,
            };
        }
        // hyper-util keeps the type of this error to itself, too.
        (text == "dns error").then_some(Self::UnknownHost)
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use CertificateError::{
            Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
            NotValidYetContext,
        };
        match error {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                Self::UnknownAuthority
            }
            rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
                Self::OtherName
            }
            rustls::Error::InvalidCertificate(
                Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
            ) => Self::Expired,
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::NotTls,
            _ => Self::Handshake,
        }
    }
}

/// What an error holds. The source of an `io::Error` is not the error that it holds, but that
/// error's own source.
fn inner<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(held) => Some(held),
        None => error.source(),
    }
}

/// An error of the system without its number.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(reason, _)| reason.to_owned())
}

/// Why a file or data that a kubeconfig refers to cannot be used.
pub(super) fn load_problem(problem: &LoadDataError) -> String {
    match problem {
        LoadDataError::DecodeBase64(_) => "the data is not base64".to_owned(),
        LoadDataError::ReadFile(error, file) => format!("{}: {}", file.display(), reason(error)),
        LoadDataError::NoBase64DataOrFile => "the certificate or its key is missing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use rustls::{AlertDescription, PeerIncompatible};

    use super::*;

    /// An error around another one, as libraries have them.
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Around(&'static str, #[source] Box<dyn Error + Send + Sync>);

    fn around(text: &'static str, error: impl Into<Box<dyn Error + Send + Sync>>) -> Around {
        Around(text, error.into())
    }

    #[test]
    fn the_first_error_that_says_what_happened_counts() {
        use io::ErrorKind::{
            ConnectionRefused, ConnectionReset, HostUnreachable, InvalidData, NotFound,
            PermissionDenied, TimedOut,
        };
        let io = |kind: io::ErrorKind| io::Error::new(kind, "text");
        let refused = || around("tcp connect error", io(ConnectionRefused));
        for (error, expected) in [
            (around("client error (Connect)", refused()), Cause::Refused),
            (around("client error (Connect)", io(TimedOut)), Cause::TimedOut),
            (around("client error (SendRequest)", io(ConnectionReset)), Cause::Closed),
            (around("client error (Connect)", io(HostUnreachable)), Cause::NoRoute),
            (
                around("client error (Connect)", around("dns error", io(NotFound))),
                Cause::UnknownHost,
            ),
            // What an `io::Error` holds is looked at, not passed over.
            (
                around(
                    "client error (Connect)",
                    io::Error::new(InvalidData, rustls::Error::DecryptError),
                ),
                Cause::Handshake,
            ),
            (around("client error (Connect)", io::Error::other(refused())), Cause::Refused),
            (around("a", around("b", io(PermissionDenied))), Cause::Other("text".to_owned())),
            (
                around(
                    "a",
                    around("tunnel error: failed to create underlying connection", refused()),
                ),
                Cause::ProxyUnreachable(Some(Box::new(Cause::Refused))),
            ),
            (
                around("a", around("tunnel error: proxy authorization required", refused())),
                Cause::ProxyLogin,
            ),
            (
                around("a", around("SOCKS error: credentials not accepted", refused())),
                Cause::ProxyLogin,
            ),
            (
                around("a", around("SOCKS error: connection not allowed", refused())),
                Cause::ProxyRefused("connection not allowed".to_owned()),
            ),
        ] {
            assert_eq!(Cause::of(&error), expected, "{error:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_told_apart() {
        let name = ServerName::try_from("api.example").unwrap();
        let now = rustls::pki_types::UnixTime::now();
        let certificate = rustls::Error::InvalidCertificate;
        for (error, expected) in [
            (certificate(CertificateError::UnknownIssuer), Cause::UnknownAuthority),
            (certificate(CertificateError::NotValidForName), Cause::OtherName),
            (
                certificate(CertificateError::NotValidForNameContext {
                    expected: name,
                    presented: Vec::new(),
                }),
                Cause::OtherName,
            ),
            (certificate(CertificateError::Expired), Cause::Expired),
            (
                certificate(CertificateError::ExpiredContext { time: now, not_after: now }),
                Cause::Expired,
            ),
            (certificate(CertificateError::NotValidYet), Cause::Expired),
            (
                certificate(CertificateError::NotValidYetContext { time: now, not_before: now }),
                Cause::Expired,
            ),
            (certificate(CertificateError::BadSignature), Cause::Handshake),
            (rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType), Cause::NotTls),
            (rustls::Error::AlertReceived(AlertDescription::BadCertificate), Cause::Handshake),
            (rustls::Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered), Cause::Handshake),
        ] {
            assert_eq!(
                Cause::of(&io::Error::new(io::ErrorKind::InvalidData, error.clone())),
                expected,
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_reason_has_no_number() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "No such file or directory");
        assert_eq!(reason(&io::Error::other("no number")), "no number");
    }
}
