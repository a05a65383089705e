//! `spark-webhook doctor`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::doctor::{Account, ConnectError, Connection, Report, Scope, Verdict, run_checks};
use crate::registration;

/// Looks at a cluster and says why Spark pods are not mutated
///
/// Reads the registration, the certificate, the endpoints and the pods of a namespace. It also
/// creates an annotated driver and executor there in a dry run, which stores and starts nothing.
/// A check without permission to read something is unknown, and names the permission.
///
///   spark-webhook doctor --namespace spark
///   spark-webhook doctor --namespace spark --pod pi-driver
///   spark-webhook doctor --service-account spark:etl
///   helm upgrade … && spark-webhook doctor --namespace spark --wait 2m
///
/// Connects as kubectl does, also through a proxy: that of the kubeconfig or of the environment.
///
/// Exit status:
///   0  a check passed, and none failed
///   1  a check failed; with --strict also if a check is unknown
///   2  doctor could not run: no cluster, no answer, or a wrong argument
///   3  nothing passed and nothing failed: every check is unknown
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Doctor {
    /// Namespace of the Spark pods; without it that of --service-account, of the context, or of the
    /// pod's service account
    #[arg(short, long, env = "SPARK_WEBHOOK_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,

    /// A pod to look at, finished or not; without it all pods of the namespace that are not
    /// finished
    #[arg(long, env = "SPARK_WEBHOOK_POD", value_name = "NAME")]
    pod: Option<String>,

    /// An account of Charmed Spark's spark8t: what its pods will ask for, and what of that does not
    /// exist or is not allowed
    #[arg(long, env = "SPARK_WEBHOOK_SERVICE_ACCOUNT", value_name = "NAMESPACE:NAME")]
    service_account: Option<Account>,

    /// Kubeconfig to use; without it the existing files in KUBECONFIG, ~/.kube/config or the pod's
    /// service account
    #[arg(long, env = "SPARK_WEBHOOK_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig; without it the current one
    #[arg(long, env = "SPARK_WEBHOOK_CONTEXT", value_name = "NAME")]
    context: Option<String>,

    /// The MutatingWebhookConfiguration
    #[arg(long, env = "SPARK_WEBHOOK_NAME", value_name = "NAME", default_value = registration::NAME)]
    name: String,

    /// The administrator's rules, in YAML; without it those that the replicas behind the Service
    /// read
    #[arg(long, env = "SPARK_WEBHOOK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Exit with status 1 also if a check is unknown
    #[arg(long, env = "SPARK_WEBHOOK_STRICT")]
    strict: bool,

    /// Repeat the checks until the exit status is 0, for at most this long, and wait for the API
    /// server if it is down; the last repetition runs to its end
    #[arg(long, env = "SPARK_WEBHOOK_WAIT", value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,

    /// How to print what was found: for people, or as a JSON array of {check, status, message,
    /// advice}, with status passed, failed or unknown; if doctor cannot run, one row with status
    /// error
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Between two repetitions. An API server learns of changes within about a second.
const INTERVAL: Duration = Duration::from_secs(2);

impl Doctor {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (strict, output) = (self.strict, self.output);
        let report = block_on(self.wait_for_report())?;
        let mut out = super::stdout();
        let report = match report {
            Ok(report) => report,
            Err(error) => {
                if matches!(output, Output::Json) {
                    writeln!(out, "{:#}", json!([error_as_json(&error)]))?;
                }
                return Err(error);
            }
        };
        match output {
            Output::Text => report.write_text(&mut out)?,
            Output::Json => writeln!(out, "{:#}", report.to_json())?,
        }
        Ok(ExitCode::from(report.verdict(strict) as u8))
    }

    /// Runs the checks, and again until they pass or the time is up.
    async fn wait_for_report(self) -> anyhow::Result<Report> {
        let Self {
            namespace,
            pod,
            service_account: account,
            kubeconfig,
            context,
            name,
            config,
            strict,
            wait,
            output: _,
        } = self;
        let rules = config.as_deref().map(|file| super::read_rules(Some(file))).transpose()?;
        let connection = Connection::open(kubeconfig.as_deref(), context.as_deref()).await?;
        let namespace =
            namespace.or_else(|| account.as_ref().map(|account| account.namespace.clone()));
        let namespace = namespace.unwrap_or_else(|| connection.namespace().to_owned());
        let scope = Scope { namespace, pod, registration: name, rules, account };
        let (started, wait) = (Instant::now(), wait.unwrap_or_default());
        let mut said = String::new();
        loop {
            let outcome = match connection.probe().await {
                Ok(()) => Ok(run_checks(connection.client(), &scope).await),
                Err(error) => Err(error),
            };
            let awaited = match &outcome {
                Ok(report) if report.verdict(strict) == Verdict::Passed => None,
                Ok(report) => Some(report.awaited(strict)),
                Err(error) => error.is_temporary.then(|| format!("the cluster: {}", error.message)),
            };
            let Some(awaited) = awaited.filter(|_| started.elapsed() < wait) else {
                return Ok(outcome?);
            };
            // A line for each change.
            if awaited != said {
                super::say(format_args!("waiting for {awaited}"));
                said = awaited;
            }
            tokio::time::sleep(INTERVAL.min(wait.saturating_sub(started.elapsed()))).await;
        }
    }
}

/// Runs a future to its end. Does not wait for threads that it leaves behind: a login command or
/// the resolution of a name may never end.
fn block_on<F: Future>(future: F) -> io::Result<F::Output> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(output)
}

/// The row of an error. Its status is not `failed`: no check has run.
fn error_as_json(error: &anyhow::Error) -> Value {
    let (check, message, advice) = match error.downcast_ref::<ConnectError>() {
        Some(ConnectError { obstacle, message, advice, is_temporary: _ }) => {
            (obstacle.as_str(), message.clone(), advice.as_str())
        }
        None => (
            "config",
            format!("{error:#}"),
            "correct the file; spark-webhook check-config FILE checks it",
        ),
    };
    json!({"check": check, "status": "error", "message": message, "advice": advice})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_does_not_end_is_left_behind() {
        let started = Instant::now();
        block_on(async {
            let (running, is_running) = std::sync::mpsc::channel();
            tokio::task::spawn_blocking(move || {
                running.send(()).unwrap();
                std::thread::sleep(Duration::from_secs(30));
            });
            is_running.recv().unwrap();
        })
        .unwrap();
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }
}
