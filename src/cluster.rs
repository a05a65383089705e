//! What talks to an API server outside the request path: the checks of `spark-webhook doctor`.
//!
//! "Nothing happened and nothing said why" has a dozen causes, and each lies in another object: the registration, the
//! certificate, the endpoints, the pod itself. Each check looks at one of them and answers with [`Finding`]s. None of them
//! changes anything: the one create is a dry run. Whatever may not be read makes a finding `unknown`, never an error.

mod account;
mod certificate;
mod dry_run;
mod endpoints;
mod finding;
mod objects;
mod order;
mod pods;
mod properties;
mod reading;
mod registration;
mod rules;
mod versions;

use std::path::Path;
use std::time::Duration;

use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use crate::rules::Rules;

pub use account::Account;
pub use finding::{Finding, Status};

use reading::Reader;

/// What is to be looked at.
#[derive(Debug)]
pub struct Question {
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

/// Why nothing could be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A kubeconfig that cannot be used, or a context that is not in it.
    #[error("the kubeconfig cannot be used; give another one by --kubeconfig, or a context that is in it by --context")]
    Kubeconfig(#[from] KubeconfigError),
    /// Neither a kubeconfig nor a service account.
    #[error("no cluster is configured; give --kubeconfig, set KUBECONFIG, or run in a pod with a service account")]
    NoCluster(#[from] InferConfigError),
    /// The client could not be made.
    #[error("the API server's client cannot be made")]
    Client(#[source] Box<kube::Error>),
    /// The API server does not answer, or does not know who asks.
    #[error("the API server at {url} does not answer as it should")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What happened.
        #[source]
        source: Box<kube::Error>,
    },
}

/// A webhook's `timeoutSeconds` is at most 30, and a pod may meet several: a create may take that long.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// An API server that is there answers sooner.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client for the cluster of a kubeconfig and context, by default what `KUBECONFIG` or the service account say; and the
/// namespace that they name.
///
/// # Errors
///
/// When there is no such cluster, or its API server does not answer.
pub async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<(Client, String), ConnectError> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let mut config = match kubeconfig {
        Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?,
        None if context.is_some() => Config::from_kubeconfig(&options).await?,
        None => Config::infer().await?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    let (url, namespace) = (config.cluster_url.to_string(), config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| ConnectError::Client(Box::new(error)))?;
    match client.apiserver_version().await {
        Ok(_) => Ok((client, namespace)),
        // It answers, and knows who asks.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok((client, namespace)),
        Err(source) => Err(ConnectError::Unreachable { url, source: Box::new(source) }),
    }
}

/// Looks at everything once. The findings are in the order in which a person should read them.
pub async fn examine(client: &Client, question: &Question) -> Vec<Finding> {
    let reader = Reader::new(client.clone());
    let (registration, mut findings) = registration::check(&reader, question).await;
    let registered = registration.found();
    let places = match registered {
        Some(registered) => endpoints::find(&reader, registered).await,
        None => Vec::new(),
    };
    // Where this process cannot look, what the API server met tells how things are.
    let proof = dry_run::check(&reader, question, &registration).await;
    let (rules, rules_findings) = rules::read(&reader, question, &places).await;

    if let Some(registered) = registered {
        findings.push(registration::check_condition(registered, rules.as_rules()));
        findings.extend(certificate::check(registered, &places, proof.is_mutated).await);
        findings.extend(endpoints::check(registered, &places, proof.is_mutated));
        findings.extend(versions::check(&reader, &places).await);
    }
    findings.extend(proof.findings);
    findings.extend(order::check(&reader, question, registered).await);

    match pods::asked_about(&reader, question).await {
        Ok(pods) => {
            findings.extend(pods::check(question, &registration, rules.as_rules(), &pods));
            findings.extend(objects::check(&reader, question, &pods).await);
            findings.extend(properties::check(&reader, question, &pods).await);
        }
        Err(finding) => findings.push(finding),
    }
    findings.extend(rules_findings);
    findings.extend(rules::check(&reader, registered, &rules).await);
    if let Some(account) = &question.account {
        findings.extend(account::check(&reader, account, rules.as_rules()).await);
    }
    findings
}

/// The name of the first few, and how many more there are.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// So many of something, in words.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
