//! A CA in memory that ends with the process, for a first try.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Look;
use crate::tls::authority::Authority;
use crate::tls::clock::Clock;
use crate::tls::leaf::{LeafIssuer, LeafTemplate};
use crate::tls::{ServingCertificate, TlsError};

/// The CA and its leaves.
pub(in crate::tls) struct Ephemeral(LeafIssuer);

impl Ephemeral {
    pub(super) fn start(
        template: LeafTemplate,
        now: SystemTime,
    ) -> Result<(Self, ServingCertificate), TlsError> {
        let authority = Arc::new(Authority::ephemeral(now)?);
        let (leaves, first) = LeafIssuer::start(template, authority, now)?;
        Ok((Self(leaves), first))
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.0.lifetime()
    }

    pub(super) fn look(&mut self, clock: &Clock) -> Look {
        let (replacement, problem) = self.0.follow(Ok(None), clock.now());
        Look { replacement, problem, is_changed: false, is_rejected: false }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HOUR, leaves};
    use super::*;

    #[test]
    fn the_next_leaf_is_of_the_same_ca_and_comes_only_when_it_is_due() {
        let template = |lifetime: Duration| LeafTemplate::new(&leaves(lifetime)).unwrap();
        let now = SystemTime::now();
        let (mut source, _) = Ephemeral::start(template(HOUR), now).unwrap();
        let Look { replacement, problem, is_changed, is_rejected } = source.look(&Clock::default());
        assert!(replacement.is_none() && problem.is_none() && !is_changed && !is_rejected);
        assert_eq!(source.lifetime(), HOUR);

        let (mut source, first) = Ephemeral::start(template(HOUR), now - HOUR).unwrap();
        let next = source.look(&Clock::default()).replacement.unwrap().certificate;
        assert_eq!(next.ca_bundle, first.ca_bundle);
        assert!(first.validity.not_after < next.validity.not_after);
    }
}
