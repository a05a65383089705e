//! The scope of a run of the checks.

use super::spark8t::Account;
use crate::config::Rules;

/// The objects that the checks look at.
#[derive(Debug)]
pub(crate) struct Scope {
    /// The namespace of the Spark pods.
    pub(crate) namespace: String,
    /// One pod instead of all pods of the namespace that are not finished.
    pub(crate) pod: Option<String>,
    /// The name of the MutatingWebhookConfiguration.
    pub(crate) registration: String,
    /// The administrator's rules; without them, those that the replicas read.
    pub(crate) rules: Option<Rules>,
    /// A service account of Charmed Spark.
    pub(crate) account: Option<Account>,
}
