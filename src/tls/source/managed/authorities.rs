//! The CAs in the Secret, and what the Secret should hold instead.
//!
//! A pure decision: of what the Secret holds, what this replica remembers, and the time. Replicas
//! that see the same decide the same, but for a CA that has to be made; whose is written first
//! counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;

use crate::tls::authority::{Authority, CaError};
use crate::tls::certificate::{Certificate, Mismatch, Role};
use crate::tls::validity::Invalid;

type Data = BTreeMap<String, ByteString>;

/// The entries of the Secret; others are somebody else's and stay.
const ENTRIES: [&str; 5] = ["ca.crt", "ca.key", "next.crt", "next.key", "previous.crt"];

/// A CA as the Secret holds it, in PEM, and what it signs with.
#[derive(Clone, Debug)]
pub(super) struct Ca {
    certificate: String,
    key: String,
    pub(super) authority: Arc<Authority>,
}

impl PartialEq for Ca {
    fn eq(&self, other: &Self) -> bool {
        let Self { certificate, key, authority: _ } = self;
        (certificate, key) == (&other.certificate, &other.key)
    }
}

/// The CAs that replicas share.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Authorities {
    /// Signs.
    pub(super) current: Ca,
    /// Will sign when every API server knows it.
    pub(super) next: Option<Ca>,
    /// Signs nothing any more. Leaves of it may still be served.
    pub(super) previous: Option<Certificate>,
}

/// What the Secret holds that can be used now.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Stored {
    pub(super) current: Option<Ca>,
    pub(super) next: Option<Ca>,
    pub(super) previous: Option<Certificate>,
    /// Why the rest cannot.
    pub(super) unusable: Vec<String>,
}

impl Ca {
    fn generate(now: SystemTime, lifetime: Duration) -> Result<Self, rcgen::Error> {
        let (certificate, key) = Authority::generate("spark-webhook CA", now, lifetime)?;
        Self::read(certificate, key).map_err(|_| rcgen::Error::CouldNotParseCertificate)
    }

    fn read(certificate: String, key: String) -> Result<Self, CaError> {
        let authority =
            Arc::new(Authority::from_pem(certificate.as_bytes(), key.as_bytes(), "ca.key")?);
        Ok(Self { certificate, key, authority })
    }

    pub(super) fn check(&self, now: SystemTime) -> Result<(), Invalid> {
        self.authority.validity().check(now)
    }
}

impl Stored {
    pub(super) fn read(data: Option<&Data>, now: SystemTime) -> Self {
        let mut unusable = Vec::new();
        let text = |entry: &str| {
            let bytes =
                data?.get(entry).map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned());
            bytes.filter(|text| !text.trim().is_empty())
        };
        let mut usable = |[certificate, key]: [&str; 2]| {
            let ca = match (text(certificate), text(key)) {
                (None, None) => return None,
                (None, Some(_)) => Err(format!("{certificate} is missing")),
                (Some(_), None) => Err(format!("{key} is missing")),
                (Some(certificate_pem), Some(key_pem)) => {
                    let ca = Ca::read(certificate_pem, key_pem).map_err(|error| match error {
                        CaError::Certificate(reason) => format!("{certificate}: {reason}"),
                        CaError::Key(reason) => format!("{key}: {reason}"),
                        CaError::Mismatch(Mismatch::Key) => {
                            format!("{key} does not belong to {certificate}")
                        }
                        CaError::Mismatch(Mismatch::Order(position)) => {
                            format!(
                                "{certificate}: the certificate of the key is number {position}"
                            )
                        }
                    });
                    ca.and_then(|ca| {
                        ca.check(now)
                            .map(|()| ca)
                            .map_err(|invalid| format!("{certificate} {invalid}"))
                    })
                }
            };
            ca.map_err(|reason| unusable.push(reason)).ok()
        };
        let (current, next) = (usable(["ca.crt", "ca.key"]), usable(["next.crt", "next.key"]));
        let previous = text("previous.crt").and_then(|pem| {
            let certificate = Certificate::read_all(pem.as_bytes()).and_then(|certificates| {
                let first = certificates
                    .into_iter()
                    .next()
                    .filter(|certificate| certificate.role == Role::Ca);
                first.ok_or_else(|| "the certificate is not that of a CA".to_owned())
            });
            let certificate = certificate.and_then(|certificate| {
                certificate
                    .validity
                    .check(now)
                    .map(|()| certificate)
                    .map_err(|invalid| invalid.to_string())
            });
            certificate.map_err(|reason| unusable.push(format!("previous.crt: {reason}"))).ok()
        });
        Self { current, next, previous, unusable }
    }

    /// Whether there is nothing to change.
    pub(super) fn is(&self, wanted: &Authorities) -> bool {
        let Self { current, next, previous, unusable } = self;
        let Authorities { current: wanted, next: wanted_next, previous: wanted_previous } = wanted;
        current.as_ref() == Some(wanted)
            && next == wanted_next
            && previous == wanted_previous
            && unusable.is_empty()
    }
}

impl Authorities {
    /// What the Secret should hold, given what it holds and what was there when this replica last
    /// looked.
    pub(super) fn wanted(
        stored: &Stored,
        known: Option<&Self>,
        has_spread: impl Fn(&Ca) -> bool,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Self, rcgen::Error> {
        let is_valid = |ca: &&Ca| ca.check(now).is_ok();
        let known_next = known.and_then(|known| known.next.as_ref()).filter(is_valid);
        let known_previous = known.and_then(|known| known.previous.as_ref());
        let known_previous =
            known_previous.filter(|certificate| certificate.validity.check(now).is_ok());
        let previous = stored.previous.as_ref();
        let mut wanted = match (&stored.current, known.map(|known| &known.current).filter(is_valid))
        {
            (Some(current), _) => Self {
                current: current.clone(),
                next: stored.next.clone(),
                previous: previous.cloned(),
            },
            // Another hand has broken it: as it was.
            (None, Some(current)) => {
                let next = stored.next.as_ref().or(known_next).filter(|next| *next != current);
                Self {
                    current: current.clone(),
                    next: next.cloned(),
                    previous: previous.or(known_previous).cloned(),
                }
            }
            // No API server accepts a leaf of any replica, so there is nothing to wait for.
            (None, None) => {
                let next = stored.next.as_ref().or(known_next).cloned();
                let current = next.map_or_else(|| Ca::generate(now, lifetime), Ok)?;
                return Ok(Self { current, next: None, previous: previous.cloned() });
            }
        };
        let is_due = wanted.current.authority.validity().not_after < now + lifetime / 3;
        match &wanted.next {
            None if is_due => wanted.next = Some(Ca::generate(now, lifetime)?),
            Some(next) if has_spread(next) => {
                let previous = Some(wanted.current.authority.certificate().clone());
                wanted = Self { previous, current: next.clone(), next: None };
            }
            _ => {}
        }
        Ok(wanted)
    }

    /// Puts them into the data of a Secret.
    pub(super) fn write(&self, data: &mut Data) {
        let Self { current, next, previous } = self;
        let next = next.as_ref();
        let texts = [
            Some(current.certificate.clone()),
            Some(current.key.clone()),
            next.map(|next| next.certificate.clone()),
            next.map(|next| next.key.clone()),
            previous.as_ref().map(Certificate::to_pem),
        ];
        for (entry, text) in ENTRIES.into_iter().zip(texts) {
            match text {
                Some(text) => data.insert(entry.to_owned(), ByteString(text.into_bytes())),
                None => data.remove(entry),
            };
        }
    }

    /// What verifies the leaves of every replica: three certificates at most.
    pub(super) fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        let next = self.next.as_ref().map(|next| next.authority.certificate());
        [Some(self.current.authority.certificate()), next, self.previous.as_ref()]
            .into_iter()
            .flatten()
    }

    /// The `caBundle`.
    pub(super) fn bundle(&self) -> String {
        self.certificates().map(Certificate::to_pem).collect()
    }

    /// Whether a `caBundle` has all that it must. More may be there: a replica has put it there
    /// that knows more.
    pub(super) fn are_in(&self, bundle: &[u8]) -> bool {
        let live = Certificate::read_all(bundle).unwrap_or_default();
        self.certificates().all(|certificate| live.contains(certificate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn now() -> SystemTime {
        SystemTime::now()
    }

    /// A CA that ends in this time.
    fn ca(lifetime: Duration) -> Ca {
        Ca::generate(now(), lifetime).unwrap()
    }

    fn expired() -> Ca {
        Ca::generate(now() - 2 * DAY, DAY).unwrap()
    }

    /// As a node makes it whose clock is a month ahead.
    fn not_yet_valid() -> Ca {
        Ca::generate(now() + 30 * DAY, YEAR).unwrap()
    }

    fn certificate(ca: &Ca) -> Certificate {
        ca.authority.certificate().clone()
    }

    fn only(current: Ca) -> Authorities {
        Authorities { current, next: None, previous: None }
    }

    fn data(authorities: &Authorities) -> Data {
        let mut data = Data::new();
        authorities.write(&mut data);
        data
    }

    fn wanted(stored: &Data, known: Option<&Authorities>) -> Authorities {
        Authorities::wanted(&Stored::read(Some(stored), now()), known, |_| false, now(), YEAR)
            .unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        for authorities in [
            only(ca(YEAR)),
            Authorities {
                current: ca(YEAR),
                next: Some(ca(YEAR)),
                previous: Some(certificate(&ca(YEAR))),
            },
        ] {
            let mut data = data(&authorities);
            assert!(Stored::read(Some(&data), now()).is(&authorities));
            // Shorter ones leave nothing behind, and what is not ours stays.
            data.insert("notes.txt".to_owned(), ByteString(b"mine".to_vec()));
            let shorter = only(authorities.current.clone());
            shorter.write(&mut data);
            assert_eq!(data.keys().collect::<Vec<_>>(), ["ca.crt", "ca.key", "notes.txt"]);
            assert!(Stored::read(Some(&data), now()).is(&shorter));
        }
        assert_eq!(Stored::read(None, now()), Stored::default());
        assert_eq!(Stored::read(Some(&Data::new()), now()), Stored::default());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let good = Authorities {
            current: ca(YEAR),
            next: Some(ca(YEAR)),
            previous: Some(certificate(&ca(YEAR))),
        };
        let other = ca(YEAR);
        let leaf = {
            let key = rcgen::KeyPair::generate().unwrap();
            rcgen::CertificateParams::default().self_signed(&key).unwrap().pem()
        };
        let (expired, not_yet) = (expired().certificate, not_yet_valid().certificate);
        for (entry, text, expected) in [
            ("ca.crt", "", "ca.crt is missing"),
            ("ca.key", "", "ca.key is missing"),
            ("ca.crt", "x", "ca.crt: expected a PEM certificate, found none"),
            ("ca.crt", &other.certificate, "ca.key does not belong to ca.crt"),
            (
                "ca.key",
                "x",
                "ca.key: expected a PEM private key (PKCS#8, PKCS#1 or SEC1), found none",
            ),
            ("next.key", &other.key, "next.key does not belong to next.crt"),
            ("next.crt", "\0", "next.crt: expected a PEM certificate, found none"),
            ("previous.crt", "x", "previous.crt: expected a PEM certificate, found none"),
            ("previous.crt", &leaf, "previous.crt: the certificate is not that of a CA"),
            ("previous.crt", &expired, "previous.crt: expired at "),
            ("previous.crt", &not_yet, "previous.crt: is not valid before "),
        ] {
            let mut data = data(&good);
            data.insert(entry.to_owned(), ByteString(text.as_bytes().to_vec()));
            let stored = Stored::read(Some(&data), now());
            assert!(
                stored.unusable.len() == 1 && stored.unusable[0].starts_with(expected),
                "{entry}: {:?}",
                stored.unusable
            );
            let wanted = wanted(&data, Some(&good));
            assert_eq!(wanted.current, good.current, "{entry}");
            // It is put right: nothing of it stays in the Secret, and nothing of it comes into the
            // bundle.
            assert!(!stored.is(&wanted), "{entry}");
            assert!(wanted.are_in(good.bundle().as_bytes()), "{entry}");
        }
        for (current, expected) in [
            (super::tests::expired(), "ca.crt expired at "),
            (not_yet_valid(), "ca.crt is not valid before "),
        ] {
            let stored = Stored::read(Some(&data(&only(current))), now());
            assert!(
                stored.current.is_none() && stored.unusable[0].starts_with(expected),
                "{:?}",
                stored.unusable
            );
        }
    }

    #[test]
    fn an_empty_secret_gets_a_ca_and_a_good_one_is_not_changed() {
        let first = wanted(&Data::new(), None);
        assert_eq!((&first.next, &first.previous), (&None, &None));
        assert_eq!(wanted(&data(&first), None), first);
        // What another replica has written counts more than what is remembered.
        assert_eq!(wanted(&data(&first), Some(&only(ca(YEAR)))), first);
    }

    /// The one thing that must not happen is that each of two replicas puts its own in the place of
    /// the other's.
    #[test]
    fn what_is_not_valid_gives_way_to_the_best_that_is_valid_and_then_stays() {
        let (valid, next, other) = (ca(YEAR), ca(YEAR), ca(YEAR));
        let staged =
            |current: Ca, next: Ca| Authorities { current, next: Some(next), previous: None };
        for bad in [expired, not_yet_valid] {
            for (stored, known, expected) in [
                // What is remembered, if it is valid.
                (only(bad()), Some(only(valid.clone())), Some(only(valid.clone()))),
                (
                    only(bad()),
                    Some(staged(valid.clone(), next.clone())),
                    Some(staged(valid.clone(), next.clone())),
                ),
                (
                    staged(bad(), next.clone()),
                    Some(only(valid.clone())),
                    Some(staged(valid.clone(), next.clone())),
                ),
                (
                    staged(bad(), valid.clone()),
                    Some(only(valid.clone())),
                    Some(only(valid.clone())),
                ),
                // Else the next one at once: there is nothing that it could break.
                (staged(bad(), next.clone()), None, Some(only(next.clone()))),
                (staged(bad(), next.clone()), Some(only(bad())), Some(only(next.clone()))),
                (staged(bad(), bad()), Some(staged(bad(), next.clone())), Some(only(next.clone()))),
                // Else a new one.
                (only(bad()), None, None),
                (only(bad()), Some(only(bad())), None),
                (staged(bad(), bad()), Some(staged(bad(), bad())), None),
                // A bad next one alone is dropped.
                (staged(valid.clone(), bad()), None, Some(only(valid.clone()))),
            ] {
                let first = wanted(&data(&stored), known.as_ref());
                if let Some(expected) = expected {
                    assert_eq!(first, expected);
                }
                assert!(
                    first.current.check(now()).is_ok()
                        && first.next.as_ref().is_none_or(|next| next.check(now()).is_ok())
                );
                // Whatever another replica remembers, it takes what was written, and writes
                // nothing.
                for known in [None, Some(&stored), Some(&only(other.clone())), Some(&only(bad()))] {
                    assert_eq!(wanted(&data(&first), known), first);
                    assert!(Stored::read(Some(&data(&first)), now()).is(&first));
                }
            }
        }
    }

    #[test]
    fn an_emptied_secret_gets_back_all_that_is_remembered() {
        let known = Authorities {
            current: ca(YEAR),
            next: Some(ca(YEAR)),
            previous: Some(certificate(&ca(YEAR))),
        };
        assert_eq!(wanted(&Data::new(), Some(&known)), known);
        let stale = Authorities {
            previous: Some(certificate(&expired())),
            next: Some(expired()),
            ..known.clone()
        };
        assert_eq!(wanted(&Data::new(), Some(&stale)), only(known.current));
    }

    #[test]
    fn the_next_ca_is_staged_at_two_thirds_and_signs_when_it_has_spread() {
        let old = only(ca(YEAR / 4));
        let staged = wanted(&data(&old), None);
        let next = staged.next.clone().unwrap();
        assert_eq!((&staged.current, &staged.previous), (&old.current, &None));
        assert!(
            staged.are_in(staged.bundle().as_bytes()) && !staged.are_in(old.bundle().as_bytes())
        );
        assert_eq!(wanted(&data(&staged), None), staged, "it has not spread");
        let stored = Stored::read(Some(&data(&staged)), now());
        let promoted = Authorities::wanted(&stored, None, |ca| *ca == next, now(), YEAR).unwrap();
        assert_eq!(
            promoted,
            Authorities { current: next, next: None, previous: Some(certificate(&old.current)) }
        );
        // Two thirds of its life are a long time.
        assert_eq!(wanted(&data(&promoted), None), promoted);
    }

    #[test]
    fn a_bundle_is_compared_by_its_certificates() {
        let (ours, other) = (only(ca(YEAR)), only(ca(YEAR)));
        let bundle = |parts: [&Authorities; 2]| parts.map(Authorities::bundle).concat();
        assert!(ours.are_in(bundle([&other, &ours]).as_bytes()));
        assert!(
            ours.are_in(ours.bundle().replace('\n', "\r\n").as_bytes()),
            "as some editors write it"
        );
        assert!(!ours.are_in(other.bundle().as_bytes()));
        assert!(!ours.are_in(b""));
        // The API server takes no bundle with this in it, and so not what would be merged into it.
        let garbage = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
        assert!(!ours.are_in((ours.bundle() + garbage).as_bytes()));
    }
}
