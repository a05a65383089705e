//! What files hold, and whether it can be served.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tokio_rustls::rustls::sign::CertifiedKey;

use crate::tls::authority::{Authority, CaError};
use crate::tls::certificate::{Certificate, Mismatch, begins_with};
use crate::tls::{ServingCertificate, TlsError, key};

/// A certificate and its key, in PEM files.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate, or a chain that begins with it.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What the files of a pair hold, or why they cannot be read.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::tls) struct Contents {
    cert: Result<Vec<u8>, String>,
    key: Result<Vec<u8>, String>,
}

impl Contents {
    pub(in crate::tls) fn read(pair: &Pair) -> Self {
        let read = |path: &Path| std::fs::read(path).map_err(|error| error.to_string());
        Self { cert: read(&pair.cert), key: read(&pair.key) }
    }

    /// A chain and its key, for `--tls-cert`. It is checked as a whole before it is served.
    pub(in crate::tls) fn as_certificate(
        &self,
        pair: &Pair,
        now: SystemTime,
    ) -> Result<ServingCertificate, TlsError> {
        let files = Files { pair, cert_option: "--tls-cert", key_option: "--tls-key" };
        let (cert, key) = files.contents(self)?;
        let chain = Certificate::read_all(cert).map_err(|reason| files.in_cert(reason))?;
        for (position, certificate) in chain.iter().enumerate() {
            let number =
                if position == 0 { String::new() } else { format!(" number {}", position + 1) };
            certificate
                .validity
                .check(now)
                .map_err(|invalid| files.in_cert(format!("the certificate{number} {invalid}")))?;
        }
        let key =
            key::read(key, &pair.key.to_string_lossy()).map_err(|reason| files.in_key(reason))?;
        begins_with(&chain, &*key).map_err(|mismatch| files.mismatch(mismatch))?;
        // The last one is nearest to the root: the root itself, or an intermediate or leaf that a
        // bundle may hold as well.
        let (Some(first), Some(last)) = (chain.first(), chain.last()) else {
            return Err(files.mismatch(Mismatch::Key));
        };
        let validity = chain
            .iter()
            .fold(first.validity, |validity, certificate| validity.and(certificate.validity));
        let ca_bundle = last.to_pem();
        let key =
            CertifiedKey::new(chain.into_iter().map(|certificate| certificate.der).collect(), key);
        Ok(ServingCertificate { key, ca_bundle, validity })
    }

    /// A CA and its key, for `--ca-cert`.
    pub(in crate::tls) fn as_authority(
        &self,
        pair: &Pair,
        now: SystemTime,
    ) -> Result<Authority, TlsError> {
        let files = Files { pair, cert_option: "--ca-cert", key_option: "--ca-key" };
        let (cert, key) = files.contents(self)?;
        let authority = Authority::from_pem(cert, key, &pair.key.to_string_lossy()).map_err(
            |error| match error {
                CaError::Certificate(reason) => files.in_cert(reason),
                CaError::Key(reason) => files.in_key(reason),
                CaError::Mismatch(mismatch) => files.mismatch(mismatch),
            },
        )?;
        authority
            .validity()
            .check(now)
            .map_err(|invalid| files.in_cert(format!("the CA {invalid}")))?;
        Ok(authority)
    }
}

/// A pair with the flags that named its files, for errors.
struct Files<'a> {
    pair: &'a Pair,
    cert_option: &'static str,
    key_option: &'static str,
}

impl Files<'_> {
    fn contents<'a>(&self, contents: &'a Contents) -> Result<(&'a [u8], &'a [u8]), TlsError> {
        let cert = contents.cert.as_deref().map_err(|reason| self.in_cert(reason.clone()))?;
        let key = contents.key.as_deref().map_err(|reason| self.in_key(reason.clone()))?;
        Ok((cert, key))
    }

    fn in_cert(&self, reason: String) -> TlsError {
        TlsError::File { option: self.cert_option, path: self.pair.cert.clone(), reason }
    }

    fn in_key(&self, reason: String) -> TlsError {
        TlsError::File { option: self.key_option, path: self.pair.key.clone(), reason }
    }

    fn mismatch(&self, mismatch: Mismatch) -> TlsError {
        match mismatch {
            Mismatch::Order(position) => self
                .in_cert(format!("the certificate of the key is number {position}; put it first")),
            Mismatch::Key => {
                let Self { pair: Pair { cert, key }, cert_option, key_option } = self;
                TlsError::Mismatch { cert_option, cert: cert.clone(), key_option, key: key.clone() }
            }
        }
    }
}
