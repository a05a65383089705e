//! A certificate from PEM files, checked to belong together before anything is served.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::crypto::ring::sign::any_supported_type;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, InconsistentKeys};

use super::{ServingCertificate, TlsError};

pub(super) fn load(cert: PathBuf, key: PathBuf) -> Result<ServingCertificate, TlsError> {
    let chain = CertificateDer::pem_file_iter(&cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable("--tls-cert", &cert, "a PEM certificate", &error))?;
    // The last one is nearest to the root: the root itself, or an intermediate or leaf that a bundle may hold as well.
    let Some(last) = chain.last() else {
        return Err(unreadable("--tls-cert", &cert, "a PEM certificate", &Error::NoItemsFound));
    };
    let ca_bundle = to_pem(last);
    let private_key = PrivateKeyDer::from_pem_file(&key)
        .map_err(|error| unreadable("--tls-key", &key, "a PEM private key (PKCS#8, PKCS#1 or SEC1, not encrypted)", &error))?;
    let signer = any_supported_type(&private_key).map_err(|error| TlsError::File {
        option: "--tls-key",
        path: key.clone(),
        reason: format!("{error}; give an ECDSA, Ed25519 or RSA key"),
    })?;
    let certified = CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        Ok(()) => Ok(ServingCertificate { key: certified, ca_bundle }),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(TlsError::Mismatch { cert, key }),
        Err(error) => {
            Err(TlsError::File { option: "--tls-cert", path: cert, reason: format!("{error}; expected an X.509 certificate") })
        }
    }
}

fn unreadable(option: &'static str, path: &Path, expected: &str, error: &Error) -> TlsError {
    let reason = match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => format!("expected {expected}, found none"),
        other => format!("expected {expected}: {other:?}"),
    };
    TlsError::File { option, path: path.to_owned(), reason }
}

fn to_pem(certificate: &CertificateDer) -> String {
    let base64 = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, remainder) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = remainder;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
