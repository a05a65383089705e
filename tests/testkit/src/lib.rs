//! What the tests and benches share: the webhook as a process, clients for it, a control plane,
//! reviews, and two independent readings of the contract.
//!
//! Cargo tells a test where the binary is, but not a library: so the path is read when a test runs
//! ([`webhook::binary`]).

/// The directory of the repository.
pub const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[cfg(feature = "cluster")]
pub mod cluster;
pub mod contract;
pub mod documentation;
pub mod generate;
pub mod golden;
pub mod hostile;
pub mod http;
#[cfg(feature = "cluster")]
pub mod later;
#[cfg(feature = "cluster")]
pub mod oracle;
pub mod sidecars;
pub mod soak;
pub mod soundness;
#[cfg(feature = "cluster")]
pub mod spark;
pub mod wait;
pub mod webhook;
