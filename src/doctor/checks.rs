//! The checks, as data: one row each, in the order of the report.

mod account;
mod certificate;
mod condition;
mod configuration;
mod dry_run;
mod endpoints;
mod objects;
mod order;
mod pods;
mod properties;
mod rules;
mod selectors;
mod versions;

use std::future::{Future, ready};
use std::pin::Pin;

use k8s_openapi::api::core::v1::Pod;

use super::finding::Finding;
use super::snapshot::Snapshot;
use super::snapshot::registration::Registered;
use super::spark8t::Account;

/// The findings of a check, which may read more of the cluster for them.
type Findings<'a> = Pin<Box<dyn Future<Output = Vec<Finding>> + 'a>>;

/// A check.
pub(super) struct Check {
    /// One word, as the report shows it.
    pub(super) name: &'static str,
    judge: Judge,
}

/// The part of the snapshot that a check judges. Without it, the check is left out: the check that
/// is about the part says why.
enum Judge {
    /// The snapshot, whatever is in it.
    Snapshot(for<'a> fn(&'a Snapshot<'a>) -> Findings<'a>),
    /// The registration, if it can be seen.
    Registration(for<'a> fn(&'a Snapshot<'a>, &'a Registered) -> Findings<'a>),
    /// The pods, if they can be seen.
    Pods(for<'a> fn(&'a Snapshot<'a>, &'a [Pod]) -> Findings<'a>),
    /// The account, if one was named.
    Account(for<'a> fn(&'a Snapshot<'a>, &'a Account) -> Findings<'a>),
}

/// All checks.
pub(super) static CHECKS: [Check; 13] = [
    Check {
        name: "configuration",
        judge: Judge::Snapshot(|all| one(configuration::check(all.scope, &all.registration))),
    },
    Check {
        name: "selectors",
        judge: Judge::Registration(|_, registered| one(selectors::check(registered))),
    },
    Check {
        name: "condition",
        judge: Judge::Registration(|all, registered| {
            one(condition::check(registered.condition(all.rules.as_rules())))
        }),
    },
    Check {
        name: "certificate",
        judge: Judge::Registration(|all, registered| {
            Box::pin(certificate::check(registered, &all.backends, all.dry_run.is_mutated))
        }),
    },
    Check {
        name: "endpoints",
        judge: Judge::Registration(|all, registered| {
            several(endpoints::check(registered, &all.backends, all.dry_run.is_mutated))
        }),
    },
    Check {
        name: "versions",
        judge: Judge::Registration(|all, _| Box::pin(versions::check(&all.reader, &all.backends))),
    },
    Check {
        name: "dry-run",
        judge: Judge::Snapshot(|all| one(dry_run::check(&all.registration, &all.dry_run))),
    },
    Check { name: "order", judge: Judge::Snapshot(|all| Box::pin(order::check(all))) },
    Check { name: "pods", judge: Judge::Snapshot(|all| several(pods::check(all))) },
    Check {
        name: "objects",
        judge: Judge::Pods(|all, pods| Box::pin(objects::check(&all.reader, all.scope, pods))),
    },
    Check {
        name: "properties",
        judge: Judge::Pods(|all, pods| Box::pin(properties::check(&all.reader, all.scope, pods))),
    },
    Check { name: "rules", judge: Judge::Snapshot(|all| Box::pin(rules::check(all))) },
    Check {
        name: "account",
        judge: Judge::Account(|all, account| {
            Box::pin(account::check(&all.reader, account, all.rules.as_rules()))
        }),
    },
];

/// The finding of a check that reads no more of the cluster.
fn one<'a>(finding: Finding) -> Findings<'a> {
    several(vec![finding])
}

/// The findings of a check that reads no more of the cluster.
fn several<'a>(findings: Vec<Finding>) -> Findings<'a> {
    Box::pin(ready(findings))
}

impl Check {
    /// The findings; none if the snapshot lacks the part.
    pub(super) async fn run(&self, snapshot: &Snapshot<'_>) -> Vec<Finding> {
        let findings = match self.judge {
            Judge::Snapshot(judge) => Some(judge(snapshot)),
            Judge::Registration(judge) => {
                snapshot.registration.found().map(|registered| judge(snapshot, registered))
            }
            Judge::Pods(judge) => snapshot.pods.as_ref().ok().map(|pods| judge(snapshot, pods)),
            Judge::Account(judge) => {
                snapshot.scope.account.as_ref().map(|account| judge(snapshot, account))
            }
        };
        match findings {
            Some(findings) => findings.await,
            None => Vec::new(),
        }
    }
}
