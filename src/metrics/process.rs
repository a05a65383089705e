//! The metrics of the process itself, from the kernel's files.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The metrics that every Prometheus client has, under their usual names but with our prefix, from
/// the kernel's files.
#[derive(Debug)]
pub(super) struct Process {
    started: f64,
}

impl Process {
    pub(super) fn started_now() -> Self {
        let started =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Self { started }
    }
}

/// The kernel gives times in these, on every architecture that Linux runs on today (`getconf
/// CLK_TCK`).
const TICKS_PER_SECOND: f64 = 100.0;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut number = |name: &str, help: &str, value: f64, is_counter: bool| -> fmt::Result {
            if is_counter {
                let metric = ConstCounter::new(value);
                metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
            } else {
                let metric = ConstGauge::new(value);
                metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
            }
        };
        number(
            "process_start_time_seconds",
            "When the process started, since 1970",
            self.started,
            false,
        )?;
        if let Some(seconds) = cpu_seconds() {
            number("process_cpu_seconds", "CPU time that was used", seconds, true)?;
        }
        if let Some(bytes) = resident_bytes() {
            number("process_resident_memory_bytes", "Resident memory", bytes, false)?;
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            let count = u32::try_from(files.count()).unwrap_or(u32::MAX);
            number("process_open_fds", "Open file descriptors", count.into(), false)?;
        }
        Ok(())
    }
}

/// User and system time, the 14th and 15th field; the second is in brackets and may contain blanks.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    Some(kib.parse::<f64>().ok()? * 1024.0)
}
