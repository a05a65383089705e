//! The certificate that the server presents, and the TLS settings that fit its only client.
//!
//! The API server checks the certificate against the `caBundle` of the registration, wants a
//! subject alternative name, offers only HTTP/1.1 and never resumes a session. Certificates expire,
//! and the server must never present an expired one. So each handshake takes the current
//! certificate from [`Certificates`], and [`Renewal`] replaces it while connections go on.
//!
//! The certificate comes from a [`CertificateSource`].

mod authority;
mod certificate;
mod clients;
mod clock;
mod key;
mod leaf;
mod pem;
mod renewal;
mod source;
mod validity;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig, version};

use clients::ClientCas;
use clock::Clock;
use source::ActiveSource;
use validity::Validity;

pub use pem::PemFiles;
pub use renewal::Renewal;
#[cfg(feature = "cluster")]
pub use source::managed::ManagedCa;
pub use source::{CertificateSource, Leaves};

/// A certificate chain with its key, what verifies it, and when it is valid.
#[derive(Debug)]
struct ServingCertificate {
    key: Arc<CertifiedKey>,
    ca_bundle: String,
    validity: Validity,
}

/// The certificate of the moment, and its health: shared by all connections.
pub struct Certificates {
    /// `None` until a source that needs the API server has its first certificate. Until then,
    /// handshakes fail.
    served: ArcSwapOption<ServingCertificate>,
    status: ArcSwap<Status>,
    clock: Arc<Clock>,
    /// Without them, every client is served.
    client_cas: Option<Arc<ClientCas>>,
}

/// The result of the last look at the source.
#[derive(Debug, Default)]
struct Status {
    /// Why there is no newer certificate.
    problem: Option<String>,
    /// API servers are known to reject the certificate.
    is_rejected: bool,
}

/// The state of the certificate and of the client CAs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateHealth {
    /// Why calls would fail.
    pub not_ready: Option<String>,
    /// The problems of the certificate, each with what is in use instead.
    pub certificate: Vec<String>,
    /// The problem of `--client-ca`, with what is in use instead.
    pub client_ca: Option<String>,
}

/// Why there is no certificate to serve.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read or holds something else.
    #[error("{option} {}: {reason}", path.display())]
    File {
        /// The flag that named the file.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The two files do not belong together.
    #[error(
        "{key_option} {} does not belong to the certificate in {cert_option} {}; give the key that the certificate was made with",
        key.display(), cert.display()
    )]
    Mismatch {
        /// The flag that named the certificate's file.
        cert_option: &'static str,
        /// The certificate's file.
        cert: PathBuf,
        /// The flag that named the key's file.
        key_option: &'static str,
        /// The key's file.
        key: PathBuf,
    },
    /// A CA that cannot sign.
    #[error("{0}")]
    Authority(String),
    /// A name that no certificate can hold.
    #[error(
        "--dns-name {0:?} is neither a DNS name nor an IP address; write one like spark-webhook.spark.svc or 10.0.0.1"
    )]
    Name(String),
    /// The certificate in memory could not be made.
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// TLS could not be set up with the certificate.
    #[error("cannot serve the certificate: {0}")]
    Rustls(#[from] rustls::Error),
}

impl Certificates {
    /// The first certificate of a source, and what keeps it valid. With the file `client_ca`, only
    /// clients with a certificate of its CAs are served.
    ///
    /// # Errors
    ///
    /// An invalid name, a file that cannot be read, or two that do not belong together.
    pub fn start(
        source: CertificateSource,
        client_ca: Option<&Path>,
    ) -> Result<(Arc<Self>, Renewal), TlsError> {
        let clock = Arc::<Clock>::default();
        let client_ca_file = client_ca.map(|file| clients::read(file.to_owned()));
        let client_cas = match &client_ca_file {
            Some(file) => Some(Arc::new(ClientCas::new(file, clock.clone())?)),
            None => None,
        };
        let (source, first) = ActiveSource::start(source, &clock)?;
        let certificates = Arc::new(Self {
            served: ArcSwapOption::from_pointee(first),
            status: ArcSwap::default(),
            clock,
            client_cas: client_cas.clone(),
        });
        let client_ca = client_cas.zip(client_ca_file);
        Ok((certificates.clone(), Renewal { certificates, source, client_ca }))
    }

    /// The `caBundle` that a registration needs at the moment, as PEM.
    #[must_use]
    pub fn ca_bundle(&self) -> String {
        self.served.load().as_ref().map(|served| served.ca_bundle.clone()).unwrap_or_default()
    }

    /// The state of the certificate and of the client CAs.
    #[must_use]
    pub fn health(&self) -> CertificateHealth {
        let Status { problem, is_rejected } = &**self.status.load();
        let unusable = match self.served.load().as_ref() {
            None => Some("there is no certificate yet".to_owned()),
            Some(served) => served
                .validity
                .check(self.clock.now())
                .err()
                .map(|invalid| format!("the certificate {invalid}")),
        };
        let not_ready = match (unusable, problem) {
            (Some(unusable), Some(problem)) => Some(format!("{unusable}; {problem}")),
            (Some(unusable), None) => Some(unusable),
            (None, problem) => problem.clone().filter(|_| *is_rejected),
        };
        let problem = problem.as_ref().map(|problem| format!("the old certificate: {problem}"));
        let clock = self.clock.problem().map(|problem| format!("a wrong clock: {problem}"));
        let client_ca = self
            .client_cas
            .as_ref()
            .and_then(|cas| cas.problem())
            .map(|problem| problem.to_string());
        CertificateHealth {
            not_ready,
            certificate: problem.into_iter().chain(clock).collect(),
            client_ca,
        }
    }

    /// TLS 1.3 and 1.2, HTTP/1.1, without tickets.
    ///
    /// # Errors
    ///
    /// None that can happen: ring has both versions of TLS.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?;
        let builder = match &self.client_cas {
            None => builder.with_no_client_auth(),
            Some(client_cas) => builder.with_client_cert_verifier(client_cas.clone()),
        };
        let mut config = builder.with_cert_resolver(self.clone());
        // The API server offers nothing else to a webhook.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // It never resumes a session either, so a ticket would be work for nothing.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }

    /// A certificate that is never renewed.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Arc<Self> {
        let (certificates, _) = Self::start(source::tests::ephemeral(), None).unwrap();
        certificates
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("status", &self.status).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.served.load().as_ref().map(|served| served.key.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use rustls::{ClientConfig, RootCertStore};
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Without a certificate, with one that is valid or expired.
    fn certificates(validity: Option<Validity>, status: Status) -> Certificates {
        let (valid, _) = Certificates::start(source::tests::ephemeral(), None).unwrap();
        let served = valid.served.load_full().unwrap();
        let served = validity.map(|validity| ServingCertificate {
            key: served.key.clone(),
            ca_bundle: "PEM".to_owned(),
            validity,
        });
        Certificates {
            served: ArcSwapOption::from_pointee(served),
            status: ArcSwap::from_pointee(status),
            clock: Arc::default(),
            client_cas: None,
        }
    }

    #[test]
    fn health_says_whether_calls_would_fail_and_what_is_in_use_instead() {
        let now = SystemTime::now();
        let valid = Some(Validity { not_before: now - HOUR, not_after: now + HOUR });
        let expired = Some(Validity { not_before: UNIX_EPOCH, not_after: UNIX_EPOCH + HOUR });
        let expired_text = "the certificate expired at 1970-01-01T01:00:00Z; renew it";
        for (validity, problem, is_rejected, not_ready, certificate) in [
            (valid, None, false, None, None),
            // Only where it is known that API servers reject it.
            (valid, Some("x"), false, None, Some("the old certificate: x")),
            (valid, Some("x"), true, Some("x".to_owned()), Some("the old certificate: x")),
            (expired, None, false, Some(expired_text.to_owned()), None),
            (
                expired,
                Some("x"),
                false,
                Some(format!("{expired_text}; x")),
                Some("the old certificate: x"),
            ),
            (None, None, false, Some("there is no certificate yet".to_owned()), None),
        ] {
            let status = Status { problem: problem.map(str::to_owned), is_rejected };
            let certificate = certificate.map(str::to_owned).into_iter().collect();
            assert_eq!(
                certificates(validity, status).health(),
                CertificateHealth { not_ready, certificate, client_ca: None }
            );
        }
    }

    #[tokio::test]
    async fn a_handshake_presents_a_certificate_that_the_ca_bundle_verifies_and_chooses_http_1_1() {
        let (certificates, _) = Certificates::start(source::tests::ephemeral(), None).unwrap();
        let server = TlsAcceptor::from(Arc::new(certificates.server_config().unwrap()));
        let mut roots = RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(certificates.ca_bundle().as_bytes()) {
            roots.add(ca.unwrap()).unwrap();
        }
        let mut client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let (one_end, other_end) = tokio::io::duplex(1024);
        let name = "localhost".try_into().unwrap();
        let (accepted, connected) = tokio::join!(
            server.accept(one_end),
            TlsConnector::from(Arc::new(client)).connect(name, other_end)
        );
        accepted.unwrap();
        let connected = connected.unwrap();
        let (_, session) = connected.get_ref();
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
    }

    #[test]
    fn the_ca_bundle_is_that_of_the_certificate() {
        let now = SystemTime::now();
        let valid = Validity { not_before: now - HOUR, not_after: now + HOUR };
        assert_eq!(certificates(Some(valid), Status::default()).ca_bundle(), "PEM");
        assert_eq!(certificates(None, Status::default()).ca_bundle(), "");
    }
}
