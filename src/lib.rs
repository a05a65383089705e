//! Gives Spark driver and executor pods on Kubernetes the ConfigMaps, conf dirs and secrets that
//! their annotations ask for.
//!
//! The binary `spark-webhook` is the product; this library is the same code for its tests, benches
//! and for programs that want to know what it would do. It flows one way:
//!
//! ```text
//! bytes → admission::review → annotations (what is asked) → resolve (what applies)
//!       → mutation (what must change) → patch → admission::response → bytes
//! ```
//!
//! Everything between the two is [`admission::admit`], a pure function:
//!
//! ```
//! use spark_webhook::admission::{Settings, admit};
//!
//! let review = std::fs::read("examples/driver-review.json")?;
//! let answer = admit(&review, &Settings::default())?;
//! println!("{}", String::from_utf8_lossy(&answer.response));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::todo,
    clippy::unimplemented
)]
// They panic on a write error.
#![deny(clippy::print_stdout, clippy::print_stderr)]

// The request path.
pub mod admission;
pub mod annotations;
pub mod config;
mod json;
mod mutation;
mod patch;
mod pod;
pub mod request;
mod resolve;
mod spark;
mod text;
mod yaml;

// The process.
mod metrics;
mod sample_pod;
pub mod server;
mod telemetry;
mod tls;
mod trial;
mod watched;

// The tools.
mod admission_policy;
pub mod cli;
#[cfg(feature = "cluster")]
mod doctor;
pub mod registration;
mod spark_conf;

/// Parts without a promise, for the tests, benches and fuzz targets of this crate.
#[doc(hidden)]
pub mod internals {
    pub use crate::admission_policy::manifest as policy_manifest;
    pub use crate::json::{Reading, push_string, read as read_json};
    pub use crate::metrics::Metrics;
    pub use crate::mutation::plan;
    pub use crate::patch::write as write_patch;
    pub use crate::pod::Pod;
    pub use crate::resolve::apply as apply_rules;
    pub use crate::trial::load as load_rules;
}
