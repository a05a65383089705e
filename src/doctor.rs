//! The checks of `spark-webhook doctor`.
//!
//! "Nothing happened and nothing said why" has a dozen causes, and each lies in another object: the
//! registration, the certificate, the endpoints, the pod itself. [`run_checks`] reads the cluster
//! once into a snapshot and lets each check judge its part. No check changes anything: the one
//! create is a dry run. Whatever may not be read makes a finding `unknown`, never an error.

mod api;
mod checks;
mod finding;
mod matching;
mod plural;
mod references;
mod report;
mod scope;
mod snapshot;
mod spark8t;

use kube::Client;

pub use api::{ConnectError, Connection};
pub use report::{Report, Verdict};
pub use scope::Scope;
pub use spark8t::Account;

use checks::CHECKS;
use snapshot::Snapshot;

/// Runs every check once, in the order in which a person should read the report.
pub async fn run_checks(client: &Client, scope: &Scope) -> Report {
    let snapshot = Snapshot::take(client, scope).await;
    let mut report = Report::default();
    for check in &CHECKS {
        report.add(check.name, check.run(&snapshot).await);
    }
    report
}
