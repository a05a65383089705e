//! A certificate from PEM files, checked to belong together before anything is served.

use std::path::Path;
use std::time::SystemTime;

use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::crypto::ring::sign::any_supported_type;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, InconsistentKeys};

use super::{Pair, ServingCertificate, TlsError, not_after, to_pem};

/// Checks what was read from the files of a pair.
pub(super) fn check(pair: &Pair, cert_pem: &[u8], key_pem: &[u8]) -> Result<ServingCertificate, TlsError> {
    let chain = CertificateDer::pem_slice_iter(cert_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable("--tls-cert", &pair.cert, "a PEM certificate", &error))?;
    // The last one is nearest to the root: the root itself, or an intermediate or leaf that a bundle may hold as well.
    let (Some(leaf), Some(last)) = (chain.first(), chain.last()) else {
        return Err(unusable("--tls-cert", &pair.cert, "a PEM certificate", &Error::NoItemsFound));
    };
    let ca_bundle = to_pem(last);
    let in_cert = |reason: String| TlsError::File { option: "--tls-cert", path: pair.cert.clone(), reason };
    let not_after = not_after(leaf).map_err(|error| in_cert(format!("{error}; expected an X.509 certificate")))?;
    if not_after <= SystemTime::now() {
        let ended = humantime::format_rfc3339_seconds(not_after);
        return Err(in_cert(format!("the certificate has expired at {ended}; give one that is valid")));
    }
    let private_key = PrivateKeyDer::from_pem_slice(key_pem)
        .map_err(|error| unusable("--tls-key", &pair.key, "a PEM private key (PKCS#8, PKCS#1 or SEC1, not encrypted)", &error))?;
    let signer = any_supported_type(&private_key).map_err(|error| TlsError::File {
        option: "--tls-key",
        path: pair.key.clone(),
        reason: format!("{error}; give an ECDSA, Ed25519 or RSA key"),
    })?;
    let certified = CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        Ok(()) => Ok(ServingCertificate { key: certified, ca_bundle, not_after }),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(TlsError::Mismatch { cert: pair.cert.clone(), key: pair.key.clone() })
        }
        Err(error) => Err(in_cert(format!("{error}; expected an X.509 certificate"))),
    }
}

fn unusable(option: &'static str, path: &Path, expected: &str, error: &Error) -> TlsError {
    let reason = match error {
        Error::NoItemsFound => format!("expected {expected}, found none"),
        other => format!("expected {expected}: {other:?}"),
    };
    TlsError::File { option, path: path.to_owned(), reason }
}
