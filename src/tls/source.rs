//! Where certificates come from: one file for each source.

pub(super) mod files;
#[cfg(feature = "cluster")]
pub(super) mod managed;

use std::net::IpAddr;
use std::time::Duration;

use files::Pair;
#[cfg(feature = "cluster")]
use managed::ManagedCa;

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A CA and leaves in memory, for localhost, the address that is listened on, and these names.
    Ephemeral(Leaves),
    /// A CA from files, whose leaves are made in memory.
    Ca(Pair, Leaves),
    /// A chain and its key from files.
    Files(Pair),
    /// A CA in a Secret that all replicas share, whose leaves are made in memory.
    #[cfg(feature = "cluster")]
    Managed(ManagedCa, Leaves),
}

/// What certificates that are made here are like.
#[derive(Clone, Debug)]
pub struct Leaves {
    /// The address that is listened on.
    pub listen: IpAddr,
    /// More names.
    pub dns_names: Vec<String>,
    /// How long each is valid; a third before its end comes the next one.
    pub lifetime: Duration,
}

impl Source {
    /// Where certificates are made here, what they are like.
    pub(super) fn leaves(&self) -> Option<&Leaves> {
        match self {
            Self::Ephemeral(leaves) | Self::Ca(_, leaves) => Some(leaves),
            Self::Files(_) => None,
            #[cfg(feature = "cluster")]
            Self::Managed(_, leaves) => Some(leaves),
        }
    }

    /// The files that are read again.
    pub(super) fn pair(&self) -> Option<&Pair> {
        match self {
            Self::Ca(pair, _) | Self::Files(pair) => Some(pair),
            Self::Ephemeral(_) => None,
            #[cfg(feature = "cluster")]
            Self::Managed(..) => None,
        }
    }
}
