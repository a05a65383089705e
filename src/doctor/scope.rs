//! The scope of a run of the checks.

use super::spark8t::Account;
use crate::rules::Rules;

/// The objects that the checks look at.
#[derive(Debug)]
pub struct Scope {
    /// The namespace of the Spark pods.
    pub namespace: String,
    /// One pod instead of all pods of the namespace that are not finished.
    pub pod: Option<String>,
    /// The name of the MutatingWebhookConfiguration.
    pub registration: String,
    /// The administrator's rules; without them, those that the replicas read.
    pub rules: Option<Rules>,
    /// A service account of Charmed Spark.
    pub account: Option<Account>,
}
