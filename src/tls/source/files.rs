//! A certificate chain and its key from files: `--tls-cert` and `--tls-key`.
//!
//! The files are read again when they change, and checked as a whole before the chain is served. A
//! chain that cannot be served is checked again each time: it may be valid later.

use std::sync::Arc;
use std::time::SystemTime;

use tokio_rustls::rustls::sign::CertifiedKey;

use super::{Look, Replacement};
use crate::tls::certificate::{Certificate, Mismatch, begins_with};
use crate::tls::clock::Clock;
use crate::tls::pem::{PemFiles, PemFlags, WatchedPem};
use crate::tls::{ServingCertificate, TlsError, key};

const FLAGS: PemFlags = PemFlags { cert: "--tls-cert", key: "--tls-key" };

/// The files, as they were last read.
pub(in crate::tls) struct Files {
    pem: WatchedPem,
    has_failed: bool,
}

impl Files {
    pub(super) fn start(
        files: PemFiles,
        now: SystemTime,
    ) -> Result<(Self, ServingCertificate), TlsError> {
        let pem = WatchedPem::read(files, FLAGS);
        let first = certificate(&pem, now)?;
        Ok((Self { pem, has_failed: false }, first))
    }

    pub(super) async fn look(&mut self, clock: &Clock) -> Look {
        let is_changed = self.pem.read_again().await;
        if !is_changed && !self.has_failed {
            return Look::default();
        }
        let (replacement, problem) = match certificate(&self.pem, clock.now()) {
            Ok(certificate) => {
                (Some(Replacement { certificate, reason: "its files have changed" }), None)
            }
            Err(error) => (None, Some(error.to_string())),
        };
        self.has_failed = problem.is_some();
        Look { replacement, problem, is_changed, is_rejected: false }
    }
}

fn certificate(pem: &WatchedPem, now: SystemTime) -> Result<ServingCertificate, TlsError> {
    let (cert, key) = pem.contents()?;
    let chain = Certificate::read_all(cert).map_err(|reason| pem.in_cert(reason))?;
    for (position, certificate) in chain.iter().enumerate() {
        let number =
            if position == 0 { String::new() } else { format!(" number {}", position + 1) };
        certificate
            .validity
            .check(now)
            .map_err(|invalid| pem.in_cert(format!("the certificate{number} {invalid}")))?;
    }
    let key = key::read(key, &pem.key_file()).map_err(|reason| pem.in_key(reason))?;
    begins_with(&chain, &*key).map_err(|mismatch| pem.mismatch(mismatch))?;
    // The last one is nearest to the root: the root itself, or an intermediate or leaf that a
    // bundle may hold as well.
    let (Some(first), Some(last)) = (chain.first(), chain.last()) else {
        return Err(pem.mismatch(Mismatch::Key));
    };
    let validity = chain
        .iter()
        .fold(first.validity, |validity, certificate| validity.and(certificate.validity));
    let ca_bundle = last.to_pem();
    let key =
        CertifiedKey::new(chain.into_iter().map(|certificate| certificate.der).collect(), key);
    Ok(ServingCertificate { key: Arc::new(key), ca_bundle, validity })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::super::tests::{Directory, HOUR};
    use super::*;

    /// A certificate that is valid from some time ago until some time from now.
    fn certificate(key: &KeyPair, now: SystemTime, from: i32, until: i32) -> String {
        let at = |hours: i32| {
            let difference = HOUR * hours.unsigned_abs();
            if hours < 0 { now - difference } else { now + difference }
        };
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (at(from).into(), at(until).into());
        params.self_signed(key).unwrap().pem()
    }

    #[test]
    fn a_chain_is_valid_while_each_part_is_and_its_last_part_is_the_bundle() {
        let now = SystemTime::now();
        let [key, other] = [(); 2].map(|()| KeyPair::generate().unwrap());
        let first = certificate(&key, now, -2, 20);
        let last = certificate(&other, now, -1, 10);
        let directory = Directory::new(&(first.clone() + &last), &key.serialize_pem());
        let (_, served) = Files::start(directory.files(), now).unwrap();
        let ServingCertificate { key, ca_bundle, validity } = served;
        let [first, last] =
            [first, last].map(|pem| Certificate::read_all(pem.as_bytes()).unwrap().remove(0));
        assert_eq!(ca_bundle, last.to_pem());
        assert_eq!(validity, last.validity);
        assert_eq!(key.cert, [first.der, last.der]);
    }

    #[test]
    fn a_chain_that_cannot_be_served_says_why() {
        let now = SystemTime::now();
        let [key, other] = [(); 2].map(|()| KeyPair::generate().unwrap());
        let valid = certificate(&key, now, -1, 1);
        let expired = certificate(&other, now, -2, -1);
        let not_yet = certificate(&key, now, 1, 2);
        let (key, other) = (key.serialize_pem(), other.serialize_pem());
        for (cert, key, flag, expected) in [
            ("x", &*key, "--tls-cert", "expected a PEM certificate, found none"),
            (&expired, &other, "--tls-cert", "the certificate expired at "),
            (
                &(valid.clone() + &expired),
                &key,
                "--tls-cert",
                "the certificate number 2 expired at ",
            ),
            (&not_yet, &key, "--tls-cert", "the certificate is not valid before "),
            (&valid, "x", "--tls-key", "expected a PEM private key"),
            (&valid, &other, "--tls-key", "does not belong to the certificate in --tls-cert"),
        ] {
            let directory = Directory::new(cert, key);
            let Err(error) = Files::start(directory.files(), now) else { panic!("{expected}") };
            let error = error.to_string();
            assert!(error.starts_with(flag) && error.contains(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn files_that_change_are_served_and_bad_ones_are_tried_again() {
        let (now, clock) = (SystemTime::now(), Clock::default());
        let key = KeyPair::generate().unwrap();
        let [first, second] = [1, 2].map(|hours| certificate(&key, now, -1, hours));
        let directory = Directory::new(&first, &key.serialize_pem());
        let (mut files, _) = Files::start(directory.files(), now).unwrap();
        let bad = "expected a PEM certificate, found none";
        for (cert, expected, problem, is_changed) in [
            (&*first, None, None, false),
            (&second, Some(&second), None, true),
            ("bad", None, Some(bad), true),
            ("bad", None, Some(bad), false),
            (&second, Some(&second), None, true),
            (&second, None, None, false),
        ] {
            directory.write_cert(cert);
            let look = files.look(&clock).await;
            let replacement = look.replacement.map(|replacement| {
                assert_eq!(replacement.reason, "its files have changed");
                replacement.certificate.ca_bundle
            });
            let expected =
                expected.map(|pem| Certificate::read_all(pem.as_bytes()).unwrap()[0].to_pem());
            assert_eq!(replacement, expected);
            assert_eq!((look.is_changed, look.is_rejected), (is_changed, false), "{cert}");
            let shown = look.problem.unwrap_or_default();
            assert!(shown.contains(problem.unwrap_or_default()), "{shown}");
            assert_eq!(shown.is_empty(), problem.is_none(), "{shown}");
        }
        // As when a certificate has become valid.
        files.has_failed = true;
        assert!(files.look(&clock).await.replacement.is_some());
        assert!(files.look(&clock).await.replacement.is_none());
    }
}
