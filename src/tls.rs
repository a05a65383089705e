//! The certificate that the server shows, and the TLS settings that fit its only client.
//!
//! The API server checks the certificate against the `caBundle` of the registration, wants a subject alternative name, offers
//! only HTTP/1.1 and never resumes a session. So a certificate here always travels with the bundle that verifies it.

mod ephemeral;
mod files;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{self, ServerConfig, version};

/// A certificate chain with its key, and what verifies it.
#[derive(Debug)]
pub struct ServingCertificate {
    key: CertifiedKey,
    ca_bundle: String,
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
        "--tls-key {} does not belong to the certificate in --tls-cert {}; give the key that the certificate was made with",
        key.display(), cert.display()
    )]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A name that no certificate can hold.
    #[error("--dns-name {0:?} is not a DNS name; write one like spark-webhook.spark.svc")]
    DnsName(String),
    /// The certificate in memory could not be made.
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// TLS could not be set up with the certificate.
    #[error("cannot serve the certificate: {0}")]
    Rustls(#[from] rustls::Error),
}

impl ServingCertificate {
    /// Makes a CA and a leaf for localhost, the address that is listened on and the given names, in memory: they end with the
    /// process.
    ///
    /// # Errors
    ///
    /// When a name is none.
    pub fn ephemeral(listen: IpAddr, dns_names: &[String]) -> Result<Self, TlsError> {
        ephemeral::generate(listen, dns_names)
    }

    /// Reads a chain and its key from PEM files.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or the two do not belong together.
    pub fn from_files(cert: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        files::load(cert, key)
    }

    /// What a registration's `caBundle` must be, as PEM.
    #[must_use]
    pub fn ca_bundle(&self) -> &str {
        &self.ca_bundle
    }

    /// TLS 1.3 and 1.2, HTTP/1.1, without tickets.
    ///
    /// # Errors
    ///
    /// None that can happen with the certificates made here.
    pub fn into_server_config(self) -> Result<ServerConfig, TlsError> {
        let resolver = SingleCertAndKey::from(self.key);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        // The API server offers nothing else to a webhook.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // It never resumes a session either, so a ticket would be work for nothing.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }
}
