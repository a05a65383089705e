//! When a certificate is valid.
//!
//! A certificate is judged by both ends of its validity. A node whose clock is ahead makes
//! certificates that are not valid yet, and an API server rejects them as it rejects expired ones.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::certificate::X509Certificate;

/// The first and the last moment of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

/// Why a certificate is not valid. The text stays the same while time passes, so that it is logged
/// once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Invalid {
    #[error(
        "is not valid before {}; wait until then, or correct the clock of this machine",
        humantime::format_rfc3339_seconds(*.0)
    )]
    NotYet(SystemTime),
    #[error("expired at {}; renew it", humantime::format_rfc3339_seconds(*.0))]
    Expired(SystemTime),
}

impl Validity {
    pub(super) fn of(certificate: &X509Certificate) -> Self {
        let time = |seconds: i64| {
            UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
        };
        let validity = certificate.validity();
        Self {
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
        }
    }

    /// When both are valid, as a chain needs it.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }

    pub(super) fn check(self, now: SystemTime) -> Result<(), Invalid> {
        if now < self.not_before {
            return Err(Invalid::NotYet(self.not_before));
        }
        if self.not_after <= now {
            return Err(Invalid::Expired(self.not_after));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_valid_between_its_ends() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        let validity = Validity { not_before: at(100), not_after: at(200) };
        for (now, expected) in [
            (99, Err(Invalid::NotYet(at(100)))),
            (100, Ok(())),
            (199, Ok(())),
            (200, Err(Invalid::Expired(at(200)))),
            (1_000, Err(Invalid::Expired(at(200)))),
        ] {
            assert_eq!(validity.check(at(now)), expected, "{now}");
        }
        let text = |invalid: Invalid| invalid.to_string();
        assert_eq!(
            text(Invalid::NotYet(at(100))),
            "is not valid before 1970-01-01T00:01:40Z; wait until then, or correct the clock of this machine"
        );
        assert_eq!(text(Invalid::Expired(at(200))), "expired at 1970-01-01T00:03:20Z; renew it");
    }

    #[test]
    fn a_chain_is_valid_while_each_part_is() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        let [one, other] = [(100, 300), (200, 250)].map(|(not_before, not_after)| Validity {
            not_before: at(not_before),
            not_after: at(not_after),
        });
        assert_eq!(one.and(other), other);
        assert_eq!(
            other.and(Validity { not_before: at(240), not_after: at(900) }),
            Validity { not_before: at(240), ..other }
        );
    }
}
