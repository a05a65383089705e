//! The flags of `serve` that bound its clients, and the memory that follows from them.

use std::time::Duration;

use clap::Args;

use super::values::{count_between, duration_between};
use crate::server::{Limits, memory};

/// Where `--help` shows these flags. A heading of the whole group (`next_help_heading`) would also
/// hold the flags after it.
const HEADING: &str = "Limits";

#[derive(Debug, Args)]
pub(super) struct LimitFlags {
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
        help_heading = HEADING
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
        help_heading = HEADING
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
        help_heading = HEADING
    )]
    drain_delay: Duration,
}

impl LimitFlags {
    pub(super) fn limits(&self) -> Limits {
        Limits { connections: self.max_connections, body_bytes: self.max_body_bytes }
    }

    pub(super) fn drain_delay(&self) -> Duration {
        self.drain_delay
    }
}

/// The memory that clients can make the process use, for `--help`.
pub(super) fn memory_help() -> String {
    let rows = memory::rows();
    let width = rows.iter().map(|(what, _)| what.len()).max().unwrap_or_default();
    let line = |(what, mib): &(String, usize)| {
        format!("\n  {:width$} {mib:>5} MiB", what.replace('`', ""))
    };
    let lines: String = rows.iter().map(line).collect();
    format!("Maximum memory with the default limits, whatever clients send:\n{lines}")
}
