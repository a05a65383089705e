//! The tests that need no API server.

mod allocations;
mod binary;
mod docs;
mod golden;
// It reads pods as the typed objects of k8s-openapi, which comes with the feature.
#[cfg(feature = "cluster")]
mod oracle;
mod properties;
mod rules;
