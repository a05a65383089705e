//! What a run of the checks is about.

use super::spark8t::Account;
use crate::rules::Rules;

/// The objects that the checks are about.
#[derive(Debug)]
pub struct Scope {
    /// The namespace of the Spark pods.
    pub namespace: String,
    /// One pod instead of all pods of the namespace that are not finished.
    pub pod: Option<String>,
    /// The name of the MutatingWebhookConfiguration.
    pub registration: String,
    /// The administrator's rules; without them those that the replicas read are looked for.
    pub rules: Option<Rules>,
    /// A service account of Charmed Spark, with what its pods will ask for.
    pub account: Option<Account>,
}
