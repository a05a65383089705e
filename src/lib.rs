//! Gives Spark driver and executor pods on Kubernetes the ConfigMaps, conf dirs and secrets that
//! their annotations ask for.
//!
//! The binary `spark-webhook` is the product; this library is the same code for its tests, benches
//! and for programs that want to know what it would do. It flows one way:
//!
//! ```text
//! bytes → admission::review → annotations (what is asked) → mutation (what must change)
//!       → patch → admission::response → bytes
//! ```
//!
//! Everything between the two is [`admission::admit`], a pure function:
//!
//! ```
//! use spark_webhook::admission::{Policy, admit};
//!
//! let review = std::fs::read("examples/driver-review.json")?;
//! let answer = admit(&review, &Policy::default())?;
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

pub mod admission;
pub mod annotations;
pub mod cli;
#[cfg(feature = "cluster")]
mod doctor;
pub mod json;
pub mod metrics;
pub mod mutation;
pub mod patch;
pub mod pod;
pub mod policy;
pub mod properties;
pub mod registration;
pub mod request;
pub mod rules;
pub mod sample_pod;
pub mod server;
pub mod spark;
pub mod telemetry;
pub mod text;
pub mod tls;
pub mod trial;
mod watched;
pub mod yaml;
