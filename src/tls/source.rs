//! Where certificates come from: one file for each source.
//!
//! A source gives the first certificate when it starts. After that, [`Renewal`](super::Renewal)
//! looks at it again and again: a look gives the next certificate, or why there is none.

mod ca;
mod ephemeral;
mod files;
#[cfg(feature = "cluster")]
pub(super) mod managed;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::leaf::LeafTemplate;
use super::pem::PemFiles;
use super::{ServingCertificate, TlsError};
use crate::watched;
use ca::Ca;
use ephemeral::Ephemeral;
use files::Files;
#[cfg(feature = "cluster")]
use managed::{Managed, ManagedCa};

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// A CA in memory, whose leaves are made in memory.
    Ephemeral(Leaves),
    /// A CA from files, whose leaves are made in memory.
    Ca(PemFiles, Leaves),
    /// A chain and its key from files.
    Files(PemFiles),
    /// A CA in a Secret that all replicas share, whose leaves are made in memory.
    #[cfg(feature = "cluster")]
    Managed(ManagedCa, Leaves),
}

/// What certificates that are made here are like. Their names are localhost, the address that is
/// listened on, and more.
#[derive(Clone, Debug)]
pub struct Leaves {
    /// The address that is listened on.
    pub listen: IpAddr,
    /// More names.
    pub dns_names: Vec<String>,
    /// How long each is valid; a third before its end comes the next one.
    pub lifetime: Duration,
}

/// A source at work.
pub(super) enum ActiveSource {
    Ephemeral(Ephemeral),
    Ca(Ca),
    Files(Files),
    #[cfg(feature = "cluster")]
    Managed(Box<Managed>),
}

/// The result of a look at a source.
#[derive(Default)]
pub(super) struct Look {
    /// The next certificate, if there is a new one.
    pub(super) replacement: Option<Replacement>,
    /// Why there is no newer certificate.
    pub(super) problem: Option<String>,
    /// The files have changed, so a problem is a new one, even if its text is the same.
    pub(super) is_changed: bool,
    /// API servers are known to reject the certificate in use.
    pub(super) is_rejected: bool,
}

/// A certificate to present from now on.
pub(super) struct Replacement {
    pub(super) certificate: ServingCertificate,
    /// Why it replaces the last one, for the log.
    pub(super) reason: &'static str,
}

impl ActiveSource {
    /// The first certificate. A source that needs the API server has none yet.
    pub(super) fn start(
        source: CertificateSource,
        clock: &Arc<Clock>,
    ) -> Result<(Self, Option<ServingCertificate>), TlsError> {
        let now = clock.now();
        let (source, first) = match source {
            CertificateSource::Ephemeral(leaves) => {
                let (source, first) = Ephemeral::start(LeafTemplate::new(&leaves)?, now)?;
                (Self::Ephemeral(source), first)
            }
            CertificateSource::Ca(files, leaves) => {
                let (source, first) = Ca::start(files, LeafTemplate::new(&leaves)?, now)?;
                (Self::Ca(source), first)
            }
            CertificateSource::Files(files) => {
                let (source, first) = Files::start(files, now)?;
                (Self::Files(source), first)
            }
            #[cfg(feature = "cluster")]
            CertificateSource::Managed(settings, leaves) => {
                let template = LeafTemplate::new(&leaves)?;
                let source = Box::new(Managed::new(settings, template, clock.clone()));
                return Ok((Self::Managed(source), None));
            }
        };
        Ok((source, Some(first)))
    }

    /// How long to wait between two looks: short, compared with the lifetime of a leaf.
    pub(super) fn interval(&self) -> Duration {
        let lifetime = match self {
            Self::Ephemeral(source) => source.lifetime(),
            Self::Ca(source) => source.lifetime(),
            Self::Files(_) => return watched::INTERVAL,
            #[cfg(feature = "cluster")]
            Self::Managed(source) => source.lifetime(),
        };
        watched::INTERVAL.min(lifetime / 10)
    }

    /// Looks whether there is a new certificate.
    pub(super) async fn look(&mut self, clock: &Clock) -> Look {
        match self {
            Self::Ephemeral(source) => source.look(clock),
            Self::Ca(source) => source.look(clock).await,
            Self::Files(source) => source.look(clock).await,
            #[cfg(feature = "cluster")]
            Self::Managed(source) => source.look(clock).await,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;
    use std::time::SystemTime;

    use super::super::authority::Authority;
    use super::*;

    pub(in crate::tls) const HOUR: Duration = Duration::from_secs(3600);

    pub(in crate::tls) fn leaves(lifetime: Duration) -> Leaves {
        Leaves { listen: IpAddr::V4(Ipv4Addr::LOCALHOST), dns_names: Vec::new(), lifetime }
    }

    pub(in crate::tls) fn ephemeral() -> CertificateSource {
        CertificateSource::Ephemeral(leaves(HOUR))
    }

    /// A CA that is valid for some time from now on.
    pub(in crate::tls) fn authority(now: SystemTime, lifetime: Duration) -> Arc<Authority> {
        let (certificate, key) = Authority::generate("test", now, lifetime).unwrap();
        Arc::new(Authority::from_pem(certificate.as_bytes(), key.as_bytes(), "").unwrap())
    }

    /// A directory with a certificate and a key.
    pub(in crate::tls) struct Directory(tempfile::TempDir);

    impl Directory {
        pub(in crate::tls) fn new(cert: &str, key: &str) -> Self {
            let directory = Self(tempfile::tempdir().unwrap());
            directory.write_cert(cert);
            directory.write_key(key);
            directory
        }

        pub(in crate::tls) fn files(&self) -> PemFiles {
            let [cert, key] = ["cert", "key"].map(|name| self.0.path().join(name));
            PemFiles { cert, key }
        }

        pub(in crate::tls) fn write_cert(&self, pem: &str) {
            std::fs::write(self.files().cert, pem).unwrap();
        }

        pub(in crate::tls) fn write_key(&self, pem: &str) {
            std::fs::write(self.files().key, pem).unwrap();
        }
    }

    #[test]
    fn looks_are_a_tenth_of_a_leafs_lifetime_apart_and_5_s_at_most() {
        for (lifetime, expected) in
            [(HOUR, 5_000), (10 * HOUR / 3600, 1_000), (HOUR / 60, 5_000), (HOUR / 90, 4_000)]
        {
            let source = CertificateSource::Ephemeral(leaves(lifetime));
            let (source, _) = ActiveSource::start(source, &Arc::default()).unwrap();
            assert_eq!(source.interval(), Duration::from_millis(expected), "{lifetime:?}");
        }
    }
}
