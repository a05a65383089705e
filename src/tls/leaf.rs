//! Leaves that a CA of this process signs, one after another.
//!
//! A leaf lives in memory only and for a short time. The next one comes at about two thirds of its
//! lifetime.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::SanType;

use super::authority::{self, Authority};
use super::source::{Leaves, Replacement};
use super::validity::Validity;
use super::{ServingCertificate, TlsError};

/// What each leaf is like.
#[derive(Clone, Debug)]
pub(super) struct LeafTemplate {
    names: Vec<SanType>,
    pub(super) lifetime: Duration,
}

impl LeafTemplate {
    pub(super) fn new(leaves: &Leaves) -> Result<Self, TlsError> {
        let Leaves { listen, dns_names, lifetime } = leaves;
        Ok(Self { names: authority::names(*listen, dns_names)?, lifetime: *lifetime })
    }
}

/// A CA that signs the leaves, and when the next leaf is due.
pub(super) struct LeafIssuer {
    template: LeafTemplate,
    authority: Arc<Authority>,
    /// Of the last leaf.
    validity: Validity,
    renew_at: SystemTime,
}

impl LeafIssuer {
    /// Signs the first leaf.
    pub(super) fn start(
        template: LeafTemplate,
        authority: Arc<Authority>,
        now: SystemTime,
    ) -> Result<(Self, ServingCertificate), TlsError> {
        let leaf = authority.issue(&template.names, now, template.lifetime)?;
        let validity = leaf.validity;
        Ok((Self { template, authority, validity, renew_at: renew_at(validity, now) }, leaf))
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.template.lifetime
    }

    /// Signs with another CA from now on, if there is one that can sign. Otherwise the CA in force
    /// signs the next leaf when it is due, whatever is wrong with the other one. Returns the new
    /// leaf and the problem, if any.
    pub(super) fn follow(
        &mut self,
        other: Result<Option<Arc<Authority>>, String>,
        now: SystemTime,
    ) -> (Option<Replacement>, Option<String>) {
        let other = other.and_then(|other| match other {
            Some(authority) => self.adopt(authority, now).map_err(|error| error.to_string()),
            None => Ok(None),
        });
        let problem = match other {
            Ok(Some(leaf)) => return (Some(leaf), None),
            Ok(None) => None,
            Err(problem) => Some(problem),
        };
        match self.renew(now) {
            Ok(leaf) => (leaf, problem),
            Err(error) => (None, problem.or_else(|| Some(error.to_string()))),
        }
    }

    /// Signs with this CA from now on, if it is another one.
    fn adopt(
        &mut self,
        authority: Arc<Authority>,
        now: SystemTime,
    ) -> Result<Option<Replacement>, TlsError> {
        if self.authority.certificate() == authority.certificate() {
            return Ok(None);
        }
        self.sign(authority, now, "there is another CA").map(Some)
    }

    /// Signs the next leaf when it is due by the wall clock: timers stand still while a machine
    /// sleeps. A clock that was set back makes the last leaf one of the future, which is replaced
    /// too.
    fn renew(&mut self, now: SystemTime) -> Result<Option<Replacement>, TlsError> {
        let is_due = self.renew_at <= now || self.validity.check(now).is_err();
        if !is_due {
            return Ok(None);
        }
        self.sign(self.authority.clone(), now, "it is time").map(Some)
    }

    fn sign(
        &mut self,
        authority: Arc<Authority>,
        now: SystemTime,
        reason: &'static str,
    ) -> Result<Replacement, TlsError> {
        let (issuer, certificate) = Self::start(self.template.clone(), authority, now)?;
        *self = issuer;
        Ok(Replacement { certificate, reason })
    }
}

/// At about two thirds of the lifetime, and not at the same moment in every replica.
fn renew_at(leaf: Validity, now: SystemTime) -> SystemTime {
    let left = leaf.not_after.duration_since(now).unwrap_or_default();
    now + left.mul_f64(2.0 / 3.0 - jitter() / 10.0)
}

/// From 0 to 1, another one each time. The standard library seeds its hash maps by chance, which is
/// enough for this.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let chance = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(chance >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::{HOUR, authority, leaves};
    use super::*;

    /// An issuer whose leaves are valid for three hours, and its first leaf.
    fn issuer(authority: &Arc<Authority>, now: SystemTime) -> (LeafIssuer, ServingCertificate) {
        let template = LeafTemplate::new(&leaves(3 * HOUR)).unwrap();
        LeafIssuer::start(template, authority.clone(), now).unwrap()
    }

    fn reason(
        followed: (Option<Replacement>, Option<String>),
    ) -> (Option<&'static str>, Option<String>) {
        let (replacement, problem) = followed;
        (replacement.map(|replacement| replacement.reason), problem)
    }

    #[test]
    fn a_leaf_is_followed_by_the_next_at_about_two_thirds_of_its_lifetime() {
        let now = SystemTime::now();
        let (mut issuer, _) = issuer(&authority(now, 24 * HOUR), now);
        for (later, expected) in [
            (HOUR, None),
            (5 * HOUR / 3, None),
            (2 * HOUR, Some("it is time")),
            (3 * HOUR, None),
            (6 * HOUR, Some("it is time")),
        ] {
            assert_eq!(reason(issuer.follow(Ok(None), now + later)), (expected, None), "{later:?}");
        }
    }

    #[test]
    fn the_next_leaf_does_not_come_at_the_same_moment_in_every_replica() {
        let now = SystemTime::now();
        let leaf = Validity { not_before: now, not_after: now + 30 * HOUR };
        let moments = [(); 100].map(|()| renew_at(leaf, now));
        assert!(moments.iter().all(|at| (now + 16 * HOUR..=now + 21 * HOUR).contains(at)));
        let [first, last] = [moments.iter().min(), moments.iter().max()].map(Option::unwrap);
        assert!(last.duration_since(*first).unwrap() > HOUR, "they differ by hours");
    }

    #[test]
    fn a_leaf_that_a_clock_has_left_behind_is_replaced_at_once() {
        let (now, month) = (SystemTime::now(), 30 * 24 * HOUR);
        let authority = Arc::new(Authority::ephemeral(now).unwrap());
        for clock in [now + month, now - month] {
            let (mut issuer, _) = issuer(&authority, clock);
            let (replacement, problem) = issuer.follow(Ok(None), now);
            let Replacement { certificate, reason } = replacement.unwrap();
            assert_eq!((reason, problem), ("it is time", None));
            assert_eq!(certificate.validity.check(now), Ok(()));
        }
    }

    #[test]
    fn another_ca_signs_at_once_and_the_old_one_signs_on_while_the_other_cannot() {
        let now = SystemTime::now();
        let [first, second, expired] = [100, 200, 1].map(|hours| authority(now, hours * HOUR));
        let (mut issuer, leaf) = issuer(&first, now);
        let bundle = |authority: &Authority| authority.certificate().to_pem();
        assert_eq!(leaf.ca_bundle, bundle(&first));

        assert_eq!(reason(issuer.follow(Ok(Some(first.clone())), now)), (None, None));
        let later = now + 2 * HOUR;
        let (leaf, problem) = issuer.follow(Ok(Some(expired)), later);
        assert!(problem.unwrap().starts_with("the CA expired at "));
        assert_eq!(leaf.unwrap().certificate.ca_bundle, bundle(&first));
        assert_eq!(
            reason(issuer.follow(Err("no file".to_owned()), later)),
            (None, Some("no file".to_owned()))
        );

        let (leaf, problem) = issuer.follow(Ok(Some(second.clone())), later);
        let Replacement { certificate, reason } = leaf.unwrap();
        assert_eq!((reason, problem), ("there is another CA", None));
        assert_eq!(certificate.ca_bundle, bundle(&second));
    }

    #[test]
    fn a_ca_that_ends_signs_no_more_and_the_first_problem_counts() {
        let now = SystemTime::now();
        let (mut issuer, _) = issuer(&authority(now, HOUR), now);
        let later = now + 2 * HOUR;
        let (leaf, problem) = issuer.follow(Ok(None), later);
        assert!(leaf.is_none() && problem.unwrap().starts_with("the CA expired at "));
        let no_file = || Err("no file".to_owned());
        assert_eq!(reason(issuer.follow(no_file(), later)), (None, no_file().err()));
    }
}
