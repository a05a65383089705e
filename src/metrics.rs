//! What is counted, in the OpenMetrics format.
//!
//! Every handle is resolved once, when the process starts: counting is an addition and not a search
//! by labels, and every series is there from the first scrape on, with 0.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::request::kind::KINDS;
use crate::request::{Kind, ProblemKind};

mod process;

use process::Process;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An admission: not ours.
    Ignored,
    /// An admission: nothing to do.
    Unchanged,
    /// An admission: a patch.
    Mutated,
    /// An admission: a driver with errors, which is not created.
    Refused,
    /// 400: no AdmissionReview.
    Malformed,
    /// 404, 405 or 415: not where or how admissions are sent.
    Misdirected,
    /// 413: larger than two objects can be.
    TooLarge,
    /// 503: the body did not come in the time that the client waits.
    Late,
    /// 503: too many bytes of bodies at once.
    Shed,
    /// No answer: the body broke off.
    Broken,
    /// 500: a bug.
    Panicked,
}

impl Answer {
    const ALL: [Self; 11] = [
        Self::Ignored,
        Self::Unchanged,
        Self::Mutated,
        Self::Refused,
        Self::Malformed,
        Self::Misdirected,
        Self::TooLarge,
        Self::Late,
        Self::Shed,
        Self::Broken,
        Self::Panicked,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::Unchanged => "unchanged",
            Self::Mutated => "mutated",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::Misdirected => "misdirected",
            Self::TooLarge => "too_large",
            Self::Late => "late",
            Self::Shed => "shed",
            Self::Broken => "broken",
            Self::Panicked => "panicked",
        }
    }
}

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// With a connection.
    Done,
    /// The client said something else than TLS, or does not trust the certificate.
    Failed,
    /// Not within its time.
    Late,
}

impl Handshake {
    const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Late];

    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Late => "late",
        }
    }
}

/// How reading something again ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// What was read is in use.
    Done,
    /// It is not; what was in use before still is.
    Failed,
}

impl Reload {
    const ALL: [Self; 2] = [Self::Done, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// All counters of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: [Counter; Answer::ALL.len()],
    mutations: [Counter; KINDS.len()],
    problems: [Counter; ProblemKind::ALL.len()],
    handshakes: [Counter; Handshake::ALL.len()],
    certificate_reloads: [Counter; Reload::ALL.len()],
    config_reloads: [Counter; Reload::ALL.len()],
    /// From the first byte of the body to the answer, in seconds.
    pub duration: Histogram,
    /// Requests whose body is being read, or whose answer is being computed.
    pub in_flight: Gauge,
    /// Bytes of bodies that were read.
    pub request_bytes: Counter,
    /// Defaults that are overridden by what a pod has or asks for.
    pub defaults_overridden: Counter,
    /// Open connections.
    pub connections: Gauge,
    /// Connections that were accepted.
    pub connections_accepted: Counter,
    /// Connections that were closed to make room for others.
    pub connections_evicted: Counter,
    /// Failures to accept a connection.
    pub accept_errors: Counter,
    /// When the certificate that is served ends, in seconds since 1970.
    pub certificate_expiry: Gauge,
    /// 1 while the certificate is not the one that it should be.
    pub certificate_problem: Gauge,
    /// 1 while the client CAs in force are not those of their file, or expired.
    pub client_ca_problem: Gauge,
    /// 1 while the rules are not those of their file.
    pub config_problem: Gauge,
}

impl Metrics {
    /// Registers everything. `dropped_log_lines` tells how many lines of the log were dropped so
    /// far.
    #[must_use]
    pub fn new(dropped_log_lines: Box<dyn Fn() -> u64 + Send + Sync>) -> Self {
        let mut registry = Registry::with_prefix("spark_webhook");
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", build);
        let requests = family(
            &mut registry,
            "requests",
            "Requests by how they ended",
            "outcome",
            Answer::ALL.map(Answer::as_str),
        );
        let mutations = family(
            &mut registry,
            "mutations",
            "Requests of pods that were mounted, by the annotation that asks",
            "annotation",
            KINDS.each_ref().map(|spec| spec.key),
        );
        let problems = family(
            &mut registry,
            "problems",
            "Problems with annotations, by what is wrong",
            "kind",
            ProblemKind::ALL.map(ProblemKind::as_str),
        );
        let handshakes = family(
            &mut registry,
            "tls_handshakes",
            "TLS handshakes",
            "result",
            Handshake::ALL.map(Handshake::as_str),
        );
        let certificate_reloads = family(
            &mut registry,
            "certificate_reloads",
            "Changes of the certificate",
            "result",
            Reload::ALL.map(Reload::as_str),
        );
        let config_reloads = family(
            &mut registry,
            "config_reloads",
            "Changes of the rules' file",
            "result",
            Reload::ALL.map(Reload::as_str),
        );
        // 25 µs, and then four times as long each: an admission takes some 50 µs, and the API
        // server waits for 5 s.
        let duration = Histogram::new([
            25e-6, 50e-6, 100e-6, 200e-6, 400e-6, 1e-3, 4e-3, 16e-3, 64e-3, 0.25, 1.0, 4.0,
        ]);
        registry.register_with_unit(
            "request_duration",
            "Time from the head of a request to its answer",
            Unit::Seconds,
            duration.clone(),
        );
        let in_flight =
            gauge(&mut registry, "requests_in_flight", "Requests that are read or answered now");
        let request_bytes =
            counter(&mut registry, "request_bytes", "Bytes of bodies that were read");
        let defaults_overridden = counter(
            &mut registry,
            "defaults_given_way",
            "Defaults that gave way to what a pod has or asks for",
        );
        let connections = gauge(&mut registry, "connections", "Open connections");
        let connections_accepted =
            counter(&mut registry, "connections_accepted", "Connections that were accepted");
        let connections_evicted = counter(
            &mut registry,
            "connections_evicted",
            "Connections that were closed to make room for others",
        );
        let accept_errors = counter(
            &mut registry,
            "accept_errors",
            "Failures to accept a connection, as without descriptors",
        );
        let certificate_expiry = Gauge::default();
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the certificate that is served ends",
            Unit::Seconds,
            certificate_expiry.clone(),
        );
        let certificate_problem = gauge(
            &mut registry,
            "certificate_problem",
            "1 while the certificate is not the one that it should be",
        );
        let client_ca_problem = gauge(
            &mut registry,
            "client_ca_problem",
            "1 while the client CAs in force are not those of their file, or expired",
        );
        let config_problem =
            gauge(&mut registry, "config_problem", "1 while the rules are not those of their file");
        registry.register_collector(Box::new(DroppedLogLines(dropped_log_lines)));
        registry.register_collector(Box::new(Process::started_now()));
        Self {
            registry,
            requests,
            mutations,
            problems,
            handshakes,
            certificate_reloads,
            config_reloads,
            duration,
            in_flight,
            request_bytes,
            defaults_overridden,
            connections,
            connections_accepted,
            connections_evicted,
            accept_errors,
            certificate_expiry,
            certificate_problem,
            client_ca_problem,
            config_problem,
        }
    }

    /// Counts a request.
    pub fn count_request(&self, answer: Answer) {
        count(&self.requests, answer as usize);
    }

    /// Counts a request of a pod that was mounted.
    pub fn count_mutation(&self, kind: Kind) {
        count(&self.mutations, kind as usize);
    }

    /// Counts problems of a kind.
    pub fn count_problems(&self, kind: ProblemKind, count: usize) {
        if let Some(counter) = self.problems.get(kind as usize) {
            counter.inc_by(count as u64);
        }
    }

    /// Counts a handshake.
    pub fn count_handshake(&self, handshake: Handshake) {
        count(&self.handshakes, handshake as usize);
    }

    /// Counts a change of the certificate.
    pub fn count_certificate_reload(&self, reload: Reload) {
        count(&self.certificate_reloads, reload as usize);
    }

    /// Counts a change of the rules' file.
    pub fn count_config_reload(&self, reload: Reload) {
        count(&self.config_reloads, reload as usize);
    }

    /// All of it as text.
    ///
    /// # Errors
    ///
    /// None that can happen: writing text to memory does not fail.
    pub fn write(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(16 * 1024);
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn count(counters: &[Counter], index: usize) {
    if let Some(counter) = counters.get(index) {
        counter.inc();
    }
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

/// A counter for each value of a label.
fn family<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
    values: [&'static str; N],
) -> [Counter; N] {
    let family = Family::<[(&'static str, &'static str); 1], Counter>::default();
    registry.register(name, help, family.clone());
    values.map(|value| family.get_or_create_owned(&[(label, value)]))
}

struct DroppedLogLines(Box<dyn Fn() -> u64 + Send + Sync>);

impl fmt::Debug for DroppedLogLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DroppedLogLines")
    }
}

impl Collector for DroppedLogLines {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let lines = ConstCounter::new((self.0)());
        let help = "Lines of the log that were dropped because nobody read them fast enough";
        lines.encode(encoder.encode_descriptor(
            "log_lines_dropped",
            help,
            None,
            lines.metric_type(),
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_from_the_first_scrape_on_and_counting_finds_its_own() {
        let metrics = Metrics::new(Box::new(|| 7));
        for answer in Answer::ALL {
            metrics.count_request(answer);
        }
        metrics.count_request(Answer::Mutated);
        metrics.count_mutation(Kind::GcpServiceAccount);
        metrics.count_problems(ProblemKind::FormerKey, 1);
        metrics.count_handshake(Handshake::Late);
        metrics.count_config_reload(Reload::Failed);
        let text = metrics.write().unwrap();
        for line in [
            "spark_webhook_requests_total{outcome=\"mutated\"} 2",
            "spark_webhook_requests_total{outcome=\"panicked\"} 1",
            "spark_webhook_mutations_total{annotation=\"GCPServiceAccount\"} 1",
            "spark_webhook_mutations_total{annotation=\"sparkConfigMap\"} 0",
            "spark_webhook_problems_total{kind=\"former_key\"} 1",
            "spark_webhook_problems_total{kind=\"value\"} 0",
            "spark_webhook_tls_handshakes_total{result=\"late\"} 1",
            "spark_webhook_config_reloads_total{result=\"failed\"} 1",
            "spark_webhook_certificate_reloads_total{result=\"failed\"} 0",
            "spark_webhook_log_lines_dropped_total 7",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in {text}");
        }
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "build_info",
        ] {
            assert!(text.contains(&format!("\nspark_webhook_{name}")), "{name} is not in {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
