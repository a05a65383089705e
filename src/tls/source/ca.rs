//! A CA from files, whose leaves are made in memory: `--ca-cert` and `--ca-key`.
//!
//! The files are read again when they change. The CA in force signs the next leaf, whatever is
//! wrong with the files.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Look;
use crate::tls::authority::{Authority, CaError};
use crate::tls::clock::Clock;
use crate::tls::leaf::{LeafIssuer, LeafTemplate};
use crate::tls::pem::{PemFiles, PemFlags, WatchedPem};
use crate::tls::{ServingCertificate, TlsError};

const FLAGS: PemFlags = PemFlags { cert: "--ca-cert", key: "--ca-key" };

/// The files, as they were last read, and the CA in force.
pub(in crate::tls) struct Ca {
    pem: WatchedPem,
    leaves: LeafIssuer,
    has_failed: bool,
}

impl Ca {
    pub(super) fn start(
        files: PemFiles,
        template: LeafTemplate,
        now: SystemTime,
    ) -> Result<(Self, ServingCertificate), TlsError> {
        let pem = WatchedPem::read(files, FLAGS);
        let (leaves, first) = LeafIssuer::start(template, Arc::new(authority(&pem, now)?), now)?;
        Ok((Self { pem, leaves, has_failed: false }, first))
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.leaves.lifetime()
    }

    pub(super) async fn look(&mut self, clock: &Clock) -> Look {
        let is_changed = self.pem.read_again().await;
        let now = clock.now();
        // A CA that could not be used may be usable now: it may have become valid.
        let next = if is_changed || self.has_failed {
            authority(&self.pem, now)
                .map(|authority| Some(Arc::new(authority)))
                .map_err(|error| error.to_string())
        } else {
            Ok(None)
        };
        let (replacement, problem) = self.leaves.follow(next, now);
        self.has_failed = problem.is_some();
        Look { replacement, problem, is_changed, is_rejected: false }
    }
}

fn authority(pem: &WatchedPem, now: SystemTime) -> Result<Authority, TlsError> {
    let (cert, key) = pem.contents()?;
    let authority =
        Authority::from_pem(cert, key, &pem.key_file()).map_err(|error| match error {
            CaError::Certificate(reason) => pem.in_cert(reason),
            CaError::Key(reason) => pem.in_key(reason),
            CaError::Mismatch(mismatch) => pem.mismatch(mismatch),
        })?;
    authority.validity().check(now).map_err(|invalid| pem.in_cert(format!("the CA {invalid}")))?;
    Ok(authority)
}

#[cfg(test)]
mod tests {
    use super::super::Replacement;
    use super::super::tests::{Directory, HOUR, leaves};
    use super::*;

    fn start(directory: &Directory, now: SystemTime) -> Result<(Ca, ServingCertificate), TlsError> {
        Ca::start(directory.files(), LeafTemplate::new(&leaves(HOUR)).unwrap(), now)
    }

    /// A CA and its key, in PEM.
    fn ca(now: SystemTime, lifetime: Duration) -> (String, String) {
        Authority::generate("test", now, lifetime).unwrap()
    }

    #[test]
    fn a_ca_that_cannot_sign_says_why() {
        let now = SystemTime::now();
        let (valid, key) = ca(now, HOUR);
        let (expired, its_key) = ca(now - 2 * HOUR, HOUR);
        for (cert, key, flag, expected) in [
            ("x", &*key, "--ca-cert", "expected a PEM certificate, found none"),
            (&valid, "x", "--ca-key", "expected a PEM private key"),
            (&valid, &its_key, "--ca-key", "does not belong to the certificate in --ca-cert"),
            (&expired, &its_key, "--ca-cert", "the CA expired at "),
        ] {
            let directory = Directory::new(cert, key);
            let Err(error) = start(&directory, now) else { panic!("{expected}") };
            let error = error.to_string();
            assert!(error.starts_with(flag) && error.contains(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn another_ca_signs_at_once_and_the_old_one_signs_on_while_the_files_are_bad() {
        let (now, clock) = (SystemTime::now(), Clock::default());
        let [(first, first_key), (second, second_key)] =
            [10, 20].map(|hours| ca(now, hours * HOUR));
        let directory = Directory::new(&first, &first_key);
        let (mut source, leaf) = start(&directory, now).unwrap();
        assert_eq!(source.lifetime(), HOUR);
        assert_eq!(leaf.ca_bundle.lines().count(), first.lines().count());

        let look = source.look(&clock).await;
        assert!(look.replacement.is_none() && look.problem.is_none() && !look.is_changed);

        // The leaf is due by now, and the files are bad.
        (source, _) = start(&directory, now - HOUR).unwrap();
        directory.write_key("bad");
        let look = source.look(&clock).await;
        assert_eq!(look.replacement.unwrap().certificate.ca_bundle, leaf.ca_bundle);
        assert!(look.problem.unwrap().contains("expected a PEM private key") && look.is_changed);
        let look = source.look(&clock).await;
        assert!(look.problem.unwrap().contains("expected a PEM private key") && !look.is_changed);

        directory.write_cert(&second);
        directory.write_key(&second_key);
        let look = source.look(&clock).await;
        let Replacement { certificate, reason } = look.replacement.unwrap();
        assert_eq!((reason, look.problem, look.is_rejected), ("there is another CA", None, false));
        assert_ne!(certificate.ca_bundle, leaf.ca_bundle);
    }

    /// As when a CA has become valid that was not valid yet.
    #[tokio::test]
    async fn a_ca_that_could_not_be_used_is_tried_again() {
        let (now, clock) = (SystemTime::now(), Clock::default());
        let (first, first_key) = ca(now, 10 * HOUR);
        let (second, second_key) = ca(now, 20 * HOUR);
        let directory = Directory::new(&first, &first_key);
        let (mut source, _) = start(&directory, now).unwrap();
        directory.write_cert(&second);
        directory.write_key(&second_key);
        source.pem.read_again().await;
        assert!(source.look(&clock).await.replacement.is_none());
        source.has_failed = true;
        assert!(source.look(&clock).await.replacement.is_some());
        assert!(!source.has_failed);
    }
}
