//! `spark-webhook serve`.
#![expect(clippy::doc_markdown, reason = "the comments on arguments are the text of --help")]

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::Value;
use tokio::runtime::Builder;

use crate::admission::{OnProblem, Policy};
use crate::metrics::Metrics;
use crate::registration::{self, registration};
use crate::server::{Limits, Options, Signals, Stop, memory};
use crate::telemetry::{self, Filter, Log, LogFormat};
#[cfg(feature = "cluster")]
use crate::tls::ManagedCa;
use crate::tls::{Certificates, Leaves, Pair, Source};

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
#[command(verbatim_doc_comment, after_long_help = memory_help())]
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

    /// Certificate chain to serve, in PEM, read again when it changes; without it one is made in
    /// memory
    #[arg(
        long,
        env = "SPARK_WEBHOOK_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key",
        help_heading = "Certificate"
    )]
    tls_cert: Option<PathBuf>,

    /// Key of the certificate, in PEM: PKCS#8, PKCS#1 or SEC1; ECDSA P-256 or P-384, Ed25519, or
    /// RSA of 2048 to 4096 bits
    #[arg(
        long,
        env = "SPARK_WEBHOOK_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert",
        help_heading = "Certificate"
    )]
    tls_key: Option<PathBuf>,

    /// A CA that signs a short-lived certificate in memory of each replica, in PEM; read again when
    /// it changes
    #[arg(
        long,
        env = "SPARK_WEBHOOK_CA_CERT",
        value_name = "FILE",
        requires = "ca_key",
        conflicts_with = "tls_cert",
        help_heading = "Certificate"
    )]
    ca_cert: Option<PathBuf>,

    /// Key of the CA, in PEM: the same formats and kinds as --tls-key
    #[arg(
        long,
        env = "SPARK_WEBHOOK_CA_KEY",
        value_name = "FILE",
        requires = "ca_cert",
        help_heading = "Certificate"
    )]
    ca_key: Option<PathBuf>,

    /// A Secret in which all replicas share a CA, made and renewed by them; each signs a
    /// certificate in memory, and the caBundle of the MutatingWebhookConfiguration follows. The
    /// Secret must exist and may be empty
    #[cfg(feature = "cluster")]
    #[arg(
        long,
        env = "SPARK_WEBHOOK_CA_SECRET",
        value_name = "NAMESPACE/NAME",
        value_parser = namespaced_name,
        conflicts_with_all = ["tls_cert", "ca_cert", "write_registration"],
        help_heading = "Certificate"
    )]
    ca_secret: Option<(String, String)>,

    /// The MutatingWebhookConfiguration whose caBundle is kept up to date with --ca-secret
    #[cfg(feature = "cluster")]
    #[arg(
        long,
        env = "SPARK_WEBHOOK_REGISTRATION_NAME",
        value_name = "NAME",
        default_value = registration::NAME,
        help_heading = "Certificate"
    )]
    registration_name: String,

    /// How long the CA of --ca-secret is valid, from 1h to 36500d; the next one comes at two thirds
    /// of it
    #[cfg(feature = "cluster")]
    #[arg(
        long,
        env = "SPARK_WEBHOOK_CA_LIFETIME",
        value_name = "DURATION",
        default_value = "730d",
        value_parser = duration_between("1h", "36500d"),
        help_heading = "Certificate"
    )]
    ca_lifetime: Duration,

    /// How long a certificate that is made in memory is valid, from 10s to 365d; the next one comes
    /// at two thirds of it
    #[arg(
        long,
        env = "SPARK_WEBHOOK_LEAF_LIFETIME",
        value_name = "DURATION",
        default_value = "24h",
        value_parser = duration_between("10s", "365d"),
        help_heading = "Certificate"
    )]
    leaf_lifetime: Duration,

    /// Serve only clients with a certificate of one of these CAs, in PEM; read again when the file
    /// changes
    #[arg(
        long,
        env = "SPARK_WEBHOOK_CLIENT_CA",
        value_name = "FILE",
        help_heading = "Certificate"
    )]
    client_ca: Option<PathBuf>,

    /// Another DNS name or IP address for a certificate that is made in memory, beside localhost,
    /// 127.0.0.1, ::1 and the address of --listen; may be repeated
    #[arg(
        long,
        env = "SPARK_WEBHOOK_DNS_NAME",
        value_name = "NAME",
        value_delimiter = ',',
        conflicts_with = "tls_cert",
        help_heading = "Certificate"
    )]
    dns_name: Vec<String>,

    /// Maximum number of open connections, from 32 to 1000000; beyond it, the one that has gone
    /// longest without a request is closed
    ///
    /// Each connection takes memory, see the table below.
    #[arg(
        long,
        env = "SPARK_WEBHOOK_MAX_CONNECTIONS",
        value_name = "COUNT",
        default_value_t = Limits::default().connections,
        // An API server alone keeps 25 idle ones.
        value_parser = count_between(32, 1_000_000),
        help_heading = "Limits"
    )]
    max_connections: usize,

    /// Maximum bytes of requests and answers in transit at once, from 65536 to 68719476736; beyond
    /// it, the largest request is answered with 503, and a client that does not read its answer is
    /// disconnected
    #[arg(
        long,
        env = "SPARK_WEBHOOK_MAX_BODY_BYTES",
        value_name = "BYTES",
        default_value_t = Limits::default().body_bytes,
        // Less than one pod in its review would answer every request with 503.
        value_parser = count_between(65_536, 68_719_476_736),
        help_heading = "Limits"
    )]
    max_body_bytes: usize,

    /// How long to keep serving after SIGTERM, not ready, so that the API server goes elsewhere, up
    /// to 1h; Ctrl-C does not wait
    #[arg(
        long,
        env = "SPARK_WEBHOOK_DRAIN_DELAY",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration_between("0s", "1h"),
        help_heading = "Limits"
    )]
    drain_delay: Duration,

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
        let source = self.certificate_source();
        let Self {
            listen,
            admin_listen,
            on_problem,
            config,
            client_ca,
            dns_name,
            max_connections,
            max_body_bytes,
            drain_delay,
            write_registration,
            log_format,
            ..
        } = self;
        let policy = Policy { on_problem, rules: super::read_rules(config.as_deref())? };
        // Before anybody is told that it runs, and could tell it to end.
        let signals = Signals::new().context("signals cannot be received")?;
        if matches!(source, Source::Ephemeral(_)) {
            let text = "The certificate is self-signed, made in memory and gone with this process; --tls-cert and --tls-key serve your own.";
            match log_format {
                LogFormat::Text => super::say(text),
                LogFormat::Json => tracing::info!("{text}"),
            }
        }
        let certificates = Arc::new(Certificates::new(source, client_ca.as_deref())?);
        let condition = registration::condition(&policy.rules);
        let server = Options {
            listen,
            admin_listen,
            tls: certificates.server_config()?,
            certificates: certificates.clone(),
            policy,
            config,
            limits: Limits { connections: max_connections, body_bytes: max_body_bytes },
            metrics: Arc::new(Metrics::new(log.dropped_lines())),
        };
        let server = server.bind()?;
        let url = format!("https://{}/mutate", reachable(server.address(), &dns_name));
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
        tokio::spawn(signals.stop(stop.clone(), drain_delay));
        server.serve(stop).await;
        tracing::info!("stopped");
        Ok(())
    }

    fn certificate_source(&self) -> Source {
        let pair = |cert: &Option<PathBuf>, key: &Option<PathBuf>| {
            Some(Pair { cert: cert.clone()?, key: key.clone()? })
        };
        let leaves = Leaves {
            listen: self.listen.ip(),
            dns_names: self.dns_name.clone(),
            lifetime: self.leaf_lifetime,
        };
        #[cfg(feature = "cluster")]
        if let Some((namespace, secret)) = self.ca_secret.clone() {
            let registration = self.registration_name.clone();
            return Source::Managed(
                ManagedCa { namespace, secret, registration, lifetime: self.ca_lifetime },
                leaves,
            );
        }
        match (pair(&self.tls_cert, &self.tls_key), pair(&self.ca_cert, &self.ca_key)) {
            (Some(files), _) => Source::Files(files),
            (None, Some(ca)) => Source::Ca(ca, leaves),
            (None, None) => Source::Ephemeral(leaves),
        }
    }
}

fn count_between(least: usize, most: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let count = text.parse().ok().filter(|count| (least..=most).contains(count));
        count.ok_or_else(|| format!("write a number from {least} to {most}"))
    }
}

fn duration_between(
    least: &'static str,
    most: &'static str,
) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    move |text| {
        let parse = |text| {
            humantime::parse_duration(text)
                .map_err(|error| format!("{error}; write one such as {most}"))
        };
        let duration = parse(text)?;
        let is_between = (parse(least)?..=parse(most)?).contains(&duration);
        if is_between {
            Ok(duration)
        } else {
            Err(format!("write a duration from {least} to {most}"))
        }
    }
}

#[cfg(feature = "cluster")]
fn namespaced_name(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("write NAMESPACE/NAME, such as spark-webhook/spark-webhook-ca".to_owned()),
    }
}

/// An address and a port, or a host name that stands for one. Of several addresses it is the first
/// IPv4 address: every machine has 127.0.0.1, and some have no ::1.
fn socket_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let Ok(addresses) = text.to_socket_addrs() else {
        return Err(
            "write ADDRESS:PORT, such as 127.0.0.1:8443 for this machine only or 0.0.0.0:8443 for every interface".to_owned()
        );
    };
    let addresses: Vec<SocketAddr> = addresses.collect();
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    first.copied().ok_or_else(|| {
        "the name has no address; write an IP address, such as 127.0.0.1:8443".to_owned()
    })
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

/// The memory that clients can make the process use, for `--help`.
fn memory_help() -> String {
    let rows = memory::rows();
    let width = rows.iter().map(|(what, _)| what.len()).max().unwrap_or_default();
    let line = |(what, mib): &(String, usize)| {
        format!("\n  {:width$} {mib:>5} MiB", what.replace('`', ""))
    };
    let lines: String = rows.iter().map(line).collect();
    format!("Maximum memory with the default limits, whatever clients send:\n{lines}")
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::super::Cli;
    use super::*;

    fn command() -> Command {
        Cli::command().find_subcommand("serve").unwrap().clone()
    }

    /// The first and the last value that a flag takes, and their neighbours.
    #[test]
    fn limits_and_lifetimes_have_bounds_that_help_names() {
        for (flag, below, least, most, above) in [
            ("max-connections", "31", "32", "1000000", "1000001"),
            ("max-body-bytes", "65535", "65536", "68719476736", "68719476737"),
            ("drain-delay", "-1s", "0s", "1h", "1h 1s"),
            ("leaf-lifetime", "9s", "10s", "365d", "366d"),
            #[cfg(feature = "cluster")]
            ("ca-lifetime", "59m", "1h", "36500d", "36501d"),
        ] {
            let is_accepted = |value: &str| {
                command().try_get_matches_from(["serve", &format!("--{flag}={value}")]).is_ok()
            };
            assert_eq!(
                [below, least, most, above].map(is_accepted),
                [false, true, true, false],
                "{flag}"
            );
            let help = command()
                .get_arguments()
                .find(|argument| argument.get_long() == Some(flag))
                .unwrap()
                .get_help()
                .unwrap()
                .to_string();
            assert!(
                help.contains(most)
                    && (least == "0s" || help.contains(&format!("from {least} to"))),
                "{help}"
            );
        }
        for value in ["", "x", "-1", "1e3", "99999999999999999999"] {
            let error = command()
                .try_get_matches_from(["serve", &format!("--max-connections={value}")])
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("--max-connections")
                    && error.contains("write a number from 32 to 1000000"),
                "{error}"
            );
        }
        for value in ["7", "1000000d", "99999999999999999999d", "", "5 parsecs"] {
            let error = command()
                .try_get_matches_from(["serve", &format!("--drain-delay={value}")])
                .unwrap_err()
                .to_string();
            assert!(error.contains("--drain-delay") && error.contains("write"), "{error}");
        }
    }

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

    #[test]
    fn an_address_may_be_a_host_name() {
        for (text, expected) in [
            ("127.0.0.1:8443", "127.0.0.1:8443"),
            ("[::]:8443", "[::]:8443"),
            ("localhost:8443", "127.0.0.1:8443"),
        ] {
            assert_eq!(socket_address(text).unwrap().to_string(), expected);
        }
        for text in
            ["8443", ":8443", "localhost", "127.0.0.1", "::1:8443:", "https://localhost:8443"]
        {
            let error = socket_address(text).unwrap_err();
            assert!(
                error.starts_with("write ADDRESS:PORT, such as 127.0.0.1:8443"),
                "{text}: {error}"
            );
        }
    }
}
