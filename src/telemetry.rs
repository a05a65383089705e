//! Where log lines go: to standard error, at the level that `RUST_LOG` says (`info` without it).
//!
//! Lines are written by a thread of their own, so that no admission waits for whoever reads them. Where that one is too slow,
//! lines are dropped and counted.

use clap::ValueEnum;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line.
    Json,
}

/// The log of this process, which is written out when it is dropped.
pub struct Log {
    _guard: WorkerGuard,
    dropped: ErrorCounter,
}

impl Log {
    /// What tells how many lines were dropped.
    #[must_use]
    pub fn dropped_lines(&self) -> Box<dyn Fn() -> u64 + Send + Sync> {
        let dropped = self.dropped.clone();
        Box::new(move || dropped.dropped_lines() as u64)
    }
}

/// Starts logging, panics included. A second call in one process changes nothing.
#[must_use]
pub fn init(format: LogFormat) -> Log {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // A line is some 500 bytes: at most a megabyte or two waits.
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(2048).lossy(true).finish(std::io::stderr());
    let dropped = writer.error_counter();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    let _ = match format {
        LogFormat::Text => subscriber.with_ansi(is_terminal).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = match panic.payload().downcast_ref::<String>() {
            Some(message) => message,
            None => panic.payload().downcast_ref::<&str>().copied().unwrap_or("no message"),
        };
        tracing::error!(place, message, "panic: a bug of spark-webhook, please report it");
    }));
    Log { _guard: guard, dropped }
}
