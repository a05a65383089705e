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

pub(crate) use api::{ConnectError, Connection};
pub(crate) use report::{Report, Verdict};
pub(crate) use scope::Scope;
pub(crate) use spark8t::Account;

use checks::CHECKS;
use snapshot::Snapshot;

/// Runs every check once, in the order in which a person should read the report.
pub(crate) async fn run_checks(client: &Client, scope: &Scope) -> Report {
    let snapshot = Snapshot::take(client, scope).await;
    let mut report = Report::default();
    for check in &CHECKS {
        report.add(check.name, check.run(&snapshot).await);
    }
    report
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;
    use tokio::runtime::Builder;
    use tower::service_fn;

    use super::*;

    /// An API server with the objects of these paths. It allows nothing else.
    fn api_server(objects: &'static [(&'static str, &'static str)]) -> Client {
        let service = service_fn(move |request: Request<Body>| async move {
            let found = objects.iter().find(|(path, _)| request.uri().path().ends_with(path));
            let forbidden = || {
                json!({"kind": "Status", "status": "Failure", "code": 403, "message": "cannot create resource"}).to_string()
            };
            let (status, body) = match found {
                Some((_, object)) if request.method() == "GET" => (200, (*object).to_owned()),
                _ => (403, forbidden()),
            };
            let response = Response::builder().status(status).body(Body::from(body.into_bytes()));
            Ok::<_, Infallible>(response.unwrap())
        });
        Client::new(service, "n")
    }

    #[test]
    fn a_check_is_left_out_where_its_part_of_the_cluster_cannot_be_seen() {
        // Nobody listens at port 1.
        const REGISTRATION: (&str, &str) = (
            "/mutatingwebhookconfigurations/r",
            r#"{"metadata": {"name": "r"}, "webhooks": [{
                "name": "w", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "clientConfig": {"url": "https://127.0.0.1:1/mutate", "caBundle": ""}
            }]}"#,
        );
        const PODS: (&str, &str) = ("/pods", r#"{"metadata": {}, "items": []}"#);
        let account = || Some("n:etl".parse().unwrap());
        for (objects, account, expected) in [
            (&[][..], None, "configuration dry-run order pods rules"),
            (&[], account(), "configuration dry-run order pods rules account"),
            (&[PODS], None, "configuration dry-run order pods objects properties rules"),
            (
                &[REGISTRATION],
                None,
                "configuration selectors condition certificate endpoints versions dry-run order pods rules",
            ),
        ] {
            let scope = Scope {
                namespace: "n".to_owned(),
                pod: None,
                registration: "r".to_owned(),
                rules: None,
                account,
            };
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let report = runtime.block_on(async { run_checks(&api_server(objects), &scope).await });
            let report = report.to_json();
            let rows = report.as_array().into_iter().flatten();
            let checks = rows.filter_map(|row| row["check"].as_str());
            let mut checks: Vec<&str> = checks.collect();
            checks.dedup();
            assert_eq!(checks.join(" "), expected, "{report:#}");
        }
    }
}
