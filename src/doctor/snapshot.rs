//! The state of a cluster, as far as more than one check needs it.
//!
//! Everything is read once, before the first check runs. A part that could not be read says why.

pub(crate) mod backend;
pub(crate) mod dry_run;
pub(crate) mod pods;
pub(crate) mod registration;
pub(crate) mod rules;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;

use super::api::Reader;
use super::finding::Finding;
use super::scope::Scope;

use backend::Backend;
use dry_run::DryRun;
use registration::Registration;
use rules::KnownRules;

/// The state of a cluster.
pub(super) struct Snapshot<'s> {
    /// For objects that only one check needs.
    pub(super) reader: Reader,
    pub(super) scope: &'s Scope,
    pub(super) registration: Registration,
    /// The backend of each webhook of the registration, in their order.
    pub(super) backends: Vec<Backend>,
    pub(super) dry_run: DryRun,
    pub(super) rules: KnownRules<'s>,
    /// The pods to look at, or why there are none.
    pub(super) pods: Result<Vec<Pod>, Finding>,
}

impl<'s> Snapshot<'s> {
    /// Reads the state of a cluster.
    pub(super) async fn take(client: &Client, scope: &'s Scope) -> Self {
        let reader = Reader::new(client.clone());
        let registration = registration::read(&reader, scope).await;
        let backends = match registration.found() {
            Some(registered) => backend::find(&reader, registered).await,
            None => Vec::new(),
        };
        let dry_run = dry_run::run(&reader, scope, &registration).await;
        let rules = rules::read(&reader, scope, &backends).await;
        let pods = pods::read(&reader, scope).await;
        Self { reader, scope, registration, backends, dry_run, rules, pods }
    }
}
