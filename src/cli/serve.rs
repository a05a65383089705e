//! `spark-webhook serve`.
#![expect(clippy::doc_markdown, reason = "the comments on arguments are the text of --help")]

mod certificate;
mod limits;
mod values;

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde_json::Value;
use tokio::runtime::Builder;

use crate::admission::{OnProblem, Settings};
use crate::metrics::Metrics;
use crate::registration::{self, registration};
use crate::server::{Options, Signals, Stop};
use crate::telemetry::{self, Filter, Log, LogFormat};
use crate::tls::{CertificateSource, Certificates};
use certificate::CertificateFlags;
use limits::LimitFlags;
use values::socket_address;

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
#[command(verbatim_doc_comment, after_long_help = limits::memory_help())]
pub(super) struct Serve {
    /// Where admissions are answered, by HTTPS; a host name is resolved once, at start
    #[arg(long, env = "SPARK_WEBHOOK_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8443", value_parser = socket_address)]
    listen: SocketAddr,

    /// Where /livez, /readyz, /metrics and /decisions are answered, by plain HTTP
    #[arg(long, env = "SPARK_WEBHOOK_ADMIN_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080", value_parser = socket_address)]
    admin_listen: SocketAddr,

    /// What becomes of a driver whose annotations have errors: warn its creator, or deny its
    /// creation
    #[arg(long, env = "SPARK_WEBHOOK_ON_PROBLEM", value_name = "WHAT", default_value = "warn")]
    on_problem: OnProblem,

    /// The administrator's rules, in YAML; read again when they change
    #[arg(long, env = "SPARK_WEBHOOK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    certificate: CertificateFlags,

    #[command(flatten)]
    limits: LimitFlags,

    /// How log lines are written, to standard error. RUST_LOG sets their level: error, warn, info,
    /// debug, trace or off
    #[arg(long, env = "SPARK_WEBHOOK_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,

    /// Write the MutatingWebhookConfiguration that makes an API server call this process, for
    /// kubectl apply -f; - is standard output
    #[arg(long, env = "SPARK_WEBHOOK_WRITE_REGISTRATION", value_name = "FILE")]
    write_registration: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let format = self.log_format;
        let filter = Filter::from_env();
        let log = telemetry::init(format, filter.clone().unwrap_or_default());
        let served = filter.map_err(anyhow::Error::new).and_then(|_| {
            // Connections have threads of their own, see `server`.
            Builder::new_current_thread().enable_all().build()?.block_on(self.serve(&log))
        });
        match served {
            Ok(()) => Ok(ExitCode::SUCCESS),
            // Whoever collects the log parses each line.
            Err(error) if format == LogFormat::Json && tracing::enabled!(tracing::Level::ERROR) => {
                tracing::error!(error = format!("{error:#}"), "cannot serve");
                Ok(ExitCode::from(2))
            }
            Err(error) => Err(error),
        }
    }

    async fn serve(self, log: &Log) -> anyhow::Result<()> {
        let Self {
            listen,
            admin_listen,
            on_problem,
            config,
            certificate,
            limits,
            log_format,
            write_registration,
        } = self;
        let source = certificate.source(listen.ip());
        let settings = Settings { on_problem, rules: super::read_rules(config.as_deref())? };
        // Before anybody is told that it runs, and could tell it to end.
        let signals = Signals::new().context("signals cannot be received")?;
        if matches!(source, CertificateSource::Ephemeral(_)) {
            let text = "The certificate is self-signed, made in memory and gone with this process; --tls-cert and --tls-key serve your own.";
            match log_format {
                LogFormat::Text => super::say(text),
                LogFormat::Json => tracing::info!("{text}"),
            }
        }
        let (certificates, renewal) = Certificates::start(source, certificate.client_ca())?;
        let condition = registration::condition(&settings.rules);
        let server = Options {
            listen,
            admin_listen,
            tls: certificates.server_config()?,
            certificates: certificates.clone(),
            renewal,
            settings,
            config,
            limits: limits.limits(),
            metrics: Arc::new(Metrics::new(log.dropped_lines())),
        };
        let server = server.bind()?;
        let url =
            format!("https://{}/mutate", reachable(server.address(), certificate.dns_names()));
        if let Some(file) = write_registration {
            write(&file, &registration(&url, &certificates.ca_bundle(), &condition))?;
        }
        let probes = format!("http://{}", server.admin_address());
        match log_format {
            LogFormat::Text => {
                super::say(format_args!("Listening on {url} (probes on {probes})"));
                super::say(format_args!(
                    "Try it: curl -k --data @examples/driver-review.json -H 'Content-Type: application/json' {url}"
                ));
            }
            LogFormat::Json => tracing::info!(url, probes, "listening"),
        }

        let stop = Stop::default();
        tokio::spawn(signals.stop(stop.clone(), limits.drain_delay()));
        server.serve(stop).await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// The address as a client on this machine, or with one of the certificate's names, can use it.
fn reachable(address: SocketAddr, dns_names: &[String]) -> String {
    let port = address.port();
    match (address.ip(), dns_names.first()) {
        (ip, Some(name)) if ip.is_unspecified() => match name.parse() {
            Ok(ip) => SocketAddr::new(ip, port).to_string(),
            Err(_) => format!("{name}:{port}"),
        },
        (IpAddr::V4(ip), None) if ip.is_unspecified() => format!("127.0.0.1:{port}"),
        (IpAddr::V6(ip), None) if ip.is_unspecified() => format!("[::1]:{port}"),
        _ => address.to_string(),
    }
}

fn write(file: &Path, registration: &Value) -> anyhow::Result<()> {
    let yaml = serde_saphyr::to_string(registration)
        .context("the registration could not be written as YAML")?;
    if file.as_os_str() == "-" {
        super::stdout().write_all(yaml.as_bytes())?;
        // A reader such as `kubectl apply -f -` waits for the end, and this process goes on.
        return rustix::stdio::dup2_stdout(File::create("/dev/null")?)
            .context("standard output cannot be closed");
    }
    std::fs::write(file, yaml).with_context(|| {
        format!(
            "--write-registration {}: cannot write the file; give one in a directory that exists",
            file.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_written_as_one_that_can_be_called() {
        let names = ["hook.example".to_owned()];
        let address = ["fd00::1".to_owned()];
        for (address, names, expected) in [
            ("127.0.0.1:8443", &names[..], "127.0.0.1:8443"),
            ("0.0.0.0:8443", &[], "127.0.0.1:8443"),
            ("0.0.0.0:8443", &names, "hook.example:8443"),
            ("0.0.0.0:8443", &address, "[fd00::1]:8443"),
            ("[::]:8443", &[], "[::1]:8443"),
            ("[::1]:8443", &[], "[::1]:8443"),
        ] {
            assert_eq!(reachable(address.parse().unwrap(), names), expected, "{address}");
        }
    }
}
