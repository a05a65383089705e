//! What talks to an API server outside the request path: the checks of `spark-webhook doctor`.
//!
//! "Nothing happened and nothing said why" has a dozen causes, and each lies in another object: the
//! registration, the certificate, the endpoints, the pod itself. Each check looks at one of them
//! and answers with [`Finding`]s. None of them changes anything: the one create is a dry run.
//! Whatever may not be read makes a finding `unknown`, never an error.

mod api;
mod checks;
mod finding;
mod matching;
mod plural;
mod references;
mod spark8t;

use kube::Client;

use crate::rules::Rules;

pub use api::{ConnectError, Connection, Obstacle};
pub use finding::{Finding, Status};

pub use spark8t::Account;

use api::Reader;
use checks::{
    account, certificate, dry_run, endpoints, objects, order, pods, properties, registration,
    rules, versions,
};

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

/// Runs every check once. The findings are in the order in which a person should read them.
pub async fn run_checks(client: &Client, scope: &Scope) -> Vec<Finding> {
    let reader = Reader::new(client.clone());
    let (registration, mut findings) = registration::check(&reader, scope).await;
    let registered = registration.found();
    let places = match registered {
        Some(registered) => endpoints::find(&reader, registered).await,
        None => Vec::new(),
    };
    // Where this process cannot look, what the API server met tells how things are.
    let proof = dry_run::check(&reader, scope, &registration).await;
    let (rules, rules_findings) = rules::read(&reader, scope, &places).await;

    if let Some(registered) = registered {
        findings.push(registration::check_condition(registered, rules.as_rules()));
        findings.extend(certificate::check(registered, &places, proof.is_mutated).await);
        findings.extend(endpoints::check(registered, &places, proof.is_mutated));
        findings.extend(versions::check(&reader, &places).await);
    }
    findings.extend(proof.findings);
    findings.extend(order::check(&reader, scope, registered).await);

    match pods::asked_about(&reader, scope).await {
        Ok(pods) => {
            findings.extend(pods::check(scope, &registration, rules.as_rules(), &pods));
            findings.extend(objects::check(&reader, scope, &pods).await);
            findings.extend(properties::check(&reader, scope, &pods).await);
        }
        Err(finding) => findings.push(finding),
    }
    findings.extend(rules_findings);
    findings.extend(rules::check(&reader, registered, &rules).await);
    if let Some(account) = &scope.account {
        findings.extend(account::check(&reader, account, rules.as_rules()).await);
    }
    findings
}
