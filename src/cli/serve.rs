//! `spark-webhook serve`.
#![expect(clippy::doc_markdown, reason = "the comments on arguments are the text of --help")]

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::admission::{OnProblem, Policy};
use crate::registration::{self, registration};
use crate::server::Options;
use crate::telemetry;
use crate::tls::ServingCertificate;

/// Answers the API server's admission reviews by HTTPS
///
/// Try it without a cluster:
///
///   spark-webhook serve
///   curl -k --data @examples/driver-review.json -H 'Content-Type: application/json' https://127.0.0.1:8443/mutate
///
/// Let a local cluster call this very process:
///
///   spark-webhook serve --write-registration registration.yaml
///   kubectl apply -f registration.yaml
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Serve {
    /// Where admissions are answered, by HTTPS
    #[arg(long, env = "SPARK_WEBHOOK_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,

    /// Where /livez and /readyz are answered, by plain HTTP
    #[arg(long, env = "SPARK_WEBHOOK_ADMIN_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    admin_listen: SocketAddr,

    /// What becomes of a driver whose annotations have errors: warn its creator, or deny its creation
    #[arg(long, env = "SPARK_WEBHOOK_ON_PROBLEM", value_name = "WHAT", default_value = "warn")]
    on_problem: OnProblem,

    /// The administrator's rules, in YAML; read again when they change
    #[arg(long, env = "SPARK_WEBHOOK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Certificate chain to serve, in PEM; without it a self-signed one is made in memory
    #[arg(long, env = "SPARK_WEBHOOK_TLS_CERT", value_name = "FILE", requires = "tls_key", help_heading = "Certificate")]
    tls_cert: Option<PathBuf>,

    /// Key of the certificate, in PEM: PKCS#8, PKCS#1 or SEC1
    #[arg(long, env = "SPARK_WEBHOOK_TLS_KEY", value_name = "FILE", requires = "tls_cert", help_heading = "Certificate")]
    tls_key: Option<PathBuf>,

    /// Another name for the self-signed certificate beside localhost, 127.0.0.1, ::1 and the address of --listen; may be repeated
    #[arg(
        long,
        env = "SPARK_WEBHOOK_DNS_NAME",
        value_name = "NAME",
        value_delimiter = ',',
        conflicts_with = "tls_cert",
        help_heading = "Certificate"
    )]
    dns_name: Vec<String>,

    /// Write the MutatingWebhookConfiguration that makes an API server call this process, for kubectl apply -f
    #[arg(long, env = "SPARK_WEBHOOK_WRITE_REGISTRATION", value_name = "FILE")]
    write_registration: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        telemetry::init();
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(self.serve())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn serve(self) -> anyhow::Result<()> {
        let Self { listen, admin_listen, on_problem, config, tls_cert, tls_key, dns_name, write_registration } = self;
        let policy = Policy { on_problem, rules: super::read_rules(config.as_deref())? };
        // Before anybody is told that it runs, and could tell it to end.
        let signals = Signals::new().context("signals cannot be received")?;
        let certificate = if let Some((cert, key)) = tls_cert.zip(tls_key) {
            ServingCertificate::from_files(cert, key)?
        } else {
            eprintln!(
                "The certificate is self-signed, made in memory and gone with this process; --tls-cert and --tls-key serve your own."
            );
            ServingCertificate::ephemeral(listen.ip(), &dns_name)?
        };
        let ca_bundle = certificate.ca_bundle().to_owned();
        let condition = registration::condition(&policy.rules);
        let server = Options { listen, admin_listen, tls: certificate.into_server_config()?, policy, config }.bind().await?;
        let url = format!("https://{}/mutate", reachable(server.address(), &dns_name));
        if let Some(file) = write_registration {
            write(&file, &registration(&url, &ca_bundle, &condition))?;
        }
        eprintln!("Listening on {url} (probes on http://{})", server.admin_address());
        eprintln!("Try it: curl -k --data @examples/driver-review.json -H 'Content-Type: application/json' {url}");

        let shutdown = CancellationToken::new();
        tokio::spawn(signals.stop(shutdown.clone()));
        server.serve(shutdown).await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// The address as a client on this machine, or with one of the certificate's names, can use it.
fn reachable(address: SocketAddr, dns_names: &[String]) -> String {
    let port = address.port();
    match (address.ip(), dns_names.first()) {
        (ip, Some(name)) if ip.is_unspecified() => format!("{name}:{port}"),
        (IpAddr::V4(ip), None) if ip.is_unspecified() => format!("127.0.0.1:{port}"),
        (IpAddr::V6(ip), None) if ip.is_unspecified() => format!("[::1]:{port}"),
        _ => address.to_string(),
    }
}

fn write(file: &Path, registration: &Value) -> anyhow::Result<()> {
    let yaml = serde_saphyr::to_string(registration).context("the registration could not be written as YAML")?;
    std::fs::write(file, yaml).with_context(|| {
        format!("--write-registration {}: cannot write the file; give one in a directory that exists", file.display())
    })
}

/// SIGTERM and Ctrl-C.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The first one ends the server when it has finished what runs, the second at once.
    async fn stop(mut self, shutdown: CancellationToken) {
        self.next().await;
        tracing::info!("stopping: finishing what runs");
        shutdown.cancel();
        self.next().await;
        std::process::exit(130);
    }

    async fn next(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_written_as_one_that_can_be_called() {
        let names = ["hook.example".to_owned()];
        for (address, names, expected) in [
            ("127.0.0.1:8443", &names[..], "127.0.0.1:8443"),
            ("0.0.0.0:8443", &[], "127.0.0.1:8443"),
            ("0.0.0.0:8443", &names, "hook.example:8443"),
            ("[::]:8443", &[], "[::1]:8443"),
            ("[::1]:8443", &[], "[::1]:8443"),
        ] {
            assert_eq!(reachable(address.parse().unwrap(), names), expected, "{address}");
        }
    }
}
