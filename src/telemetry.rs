//! Where log lines go: to standard error, at the level that `RUST_LOG` says (`info` without it).
//!
//! tracing-subscriber reads `RUST_LOG=warning` as "everything of the module `warning`, and nothing
//! else", so a misspelt level would silence even errors. [`Filter`] therefore knows levels and
//! `TARGET=LEVEL` only, and rejects everything else.
//!
//! Lines are written by a thread of their own, so that no admission waits for whoever reads them: a
//! line at once where there has been none before it, and otherwise all that have come in some
//! milliseconds: waking a thread and writing for each line was among the first things that a
//! request cost. Where whoever reads is too slow, lines are dropped and counted.

mod fields;

#[cfg(test)]
pub(crate) use fields::tests::Logged;

use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::text::Excerpt;
use fields::TextFields;

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
    lines: Arc<Lines>,
    writer: Option<JoinHandle<()>>,
}

impl Log {
    /// What tells how many lines were dropped.
    #[must_use]
    pub fn dropped_lines(&self) -> Box<dyn Fn() -> u64 + Send + Sync> {
        let lines = self.lines.clone();
        Box::new(move || lines.dropped.load(Ordering::Relaxed))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines.waiting().is_closed = true;
        self.lines.some.notify_one();
        if let Some(writer) = self.writer.take() {
            // It has nothing to say that could still be logged.
            let _ = writer.join();
        }
    }
}

/// The most bytes that wait to be written: some two thousand lines.
const MAX_WAITING: usize = 1024 * 1024;

/// How long lines are collected that come one after another.
const PAUSE: Duration = Duration::from_millis(10);

/// Lines on their way out.
#[derive(Default)]
struct Lines {
    waiting: Mutex<Waiting>,
    some: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    is_closed: bool,
}

impl Lines {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.bytes.len() + line.len() > MAX_WAITING {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes.extend_from_slice(line);
        if waiting.bytes.len() == line.len() {
            self.some.notify_one();
        }
    }

    /// Writes until there is nothing left and nothing to come.
    fn write_to(&self, mut out: impl Write) {
        let mut taken = Vec::new();
        loop {
            let mut waiting = self.waiting();
            while waiting.bytes.is_empty() {
                if waiting.is_closed {
                    return;
                }
                waiting = self.some.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            mem::swap(&mut taken, &mut waiting.bytes);
            drop(waiting);
            // Nobody could be told.
            let _ = out.write_all(&taken);
            taken.clear();
            thread::sleep(PAUSE);
        }
    }
}

/// A whole line at once.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Which lines are written: a level, and levels for some targets. [`Filter::default`] is `info`.
#[derive(Clone, Debug)]
pub struct Filter(Targets);

/// A value of `RUST_LOG` that is neither a level nor a list of `TARGET=LEVEL`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "RUST_LOG={0}: write error, warn, info, debug, trace or off, or levels for targets such as info,spark_webhook=debug"
)]
pub struct FilterError(String);

impl Default for Filter {
    fn default() -> Self {
        Self(Targets::new().with_default(LevelFilter::INFO))
    }
}

impl Filter {
    /// Reads the environment variable `RUST_LOG`.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn from_env() -> Result<Self, FilterError> {
        let value = std::env::var_os("RUST_LOG").unwrap_or_default();
        value.to_str().map_or_else(|| Err(FilterError::new(&value.to_string_lossy())), Self::parse)
    }

    /// Lines of a target that the list does not name have the list's level, or `info` if it has
    /// none.
    fn parse(text: &str) -> Result<Self, FilterError> {
        let Self(mut targets) = Self::default();
        if text.is_empty() {
            return Ok(Self(targets));
        }
        for directive in text.split(',').map(str::trim) {
            let (target, level) = match directive.split_once('=') {
                Some((target, level)) => (Some(target), level),
                None => (None, directive),
            };
            let Some(level) = level_of(level) else { return Err(FilterError::new(text)) };
            targets = match target {
                // Targets are the paths of modules.
                Some(target)
                    if target.is_empty()
                        || !target
                            .chars()
                            .all(|c| c.is_ascii_alphanumeric() || "_:".contains(c)) =>
                {
                    return Err(FilterError::new(text));
                }
                Some(target) => targets.with_target(target, level),
                None => targets.with_default(level),
            };
        }
        Ok(Self(targets))
    }
}

impl FilterError {
    fn new(text: &str) -> Self {
        Self(Excerpt::new(text, 100).to_string())
    }
}

fn level_of(text: &str) -> Option<LevelFilter> {
    Some(match text.to_ascii_lowercase().as_str() {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return None,
    })
}

/// Starts logging, panics included. A second call in one process changes nothing.
#[must_use]
pub fn init(format: LogFormat, filter: Filter) -> Log {
    let lines = Arc::new(Lines::default());
    let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_writer(lines.clone()).with_target(false);
    let layer = match format {
        LogFormat::Text => layer.fmt_fields(TextFields).with_ansi(is_terminal).boxed(),
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
        }
    };
    let Filter(targets) = filter;
    let _ = tracing_subscriber::registry().with(layer.with_filter(targets)).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = match panic.payload().downcast_ref::<String>() {
            Some(message) => message,
            None => panic.payload().downcast_ref::<&str>().copied().unwrap_or("no message"),
        };
        tracing::error!(place, message, "panic: a bug of spark-webhook, please report it");
    }));
    let writer = thread::Builder::new().name("log".to_owned()).spawn({
        let lines = lines.clone();
        move || lines.write_to(io::stderr())
    });
    if let Err(error) = &writer {
        let _ = writeln!(io::stderr(), "cannot start the thread that writes the log: {error}");
    }
    Log { lines, writer: writer.ok() }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Says when it begins to write, and writes nothing until it is released.
    struct Slow {
        begins: Sender<()>,
        released: Receiver<()>,
        lengths: Arc<Mutex<Vec<usize>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.begins.send(());
            let _ = self.released.recv();
            self.lengths.lock().unwrap().push(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_filter_is_a_level_and_levels_for_targets_and_nothing_else() {
        use tracing::Level;

        for (text, ours, hyper) in [
            ("", Some(Level::INFO), Some(Level::INFO)),
            ("warn", Some(Level::WARN), Some(Level::WARN)),
            ("ERROR", Some(Level::ERROR), Some(Level::ERROR)),
            ("off", None, None),
            ("spark_webhook=trace", Some(Level::TRACE), Some(Level::INFO)),
            // A level for one target does not silence the others.
            ("hyper=debug", Some(Level::INFO), Some(Level::DEBUG)),
            ("warn, spark_webhook::server=debug", Some(Level::DEBUG), Some(Level::WARN)),
            ("spark_webhook=off,debug", None, Some(Level::DEBUG)),
        ] {
            let Filter(targets) = Filter::parse(text).unwrap();
            let level = |target: &str| {
                let levels = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR];
                levels.into_iter().find(|level| targets.would_enable(target, level))
            };
            assert_eq!(
                (level("spark_webhook::server"), level("hyper::proto")),
                (ours, hyper),
                "{text:?}"
            );
        }
        for text in [
            "warning",
            "Warning",
            "3",
            "spark_webhook",
            "info,",
            ",",
            "a=b",
            "=info",
            "info,hyper",
            "a=b=info",
            "[span]=info",
        ] {
            let error = Filter::parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("RUST_LOG={text}: write error, warn, info, ")),
                "{error}"
            );
        }
    }

    #[test]
    fn lines_are_written_together_and_whole_and_what_is_too_much_is_counted() {
        let (lines, lengths) = (Arc::new(Lines::default()), Arc::default());
        let ((begins, begun), (release, released)) = (channel(), channel());
        let slow = Slow { begins, released, lengths: Arc::clone(&lengths) };
        let writer = thread::spawn({
            let lines = lines.clone();
            move || lines.write_to(slow)
        });
        lines.push(b"first\n");
        begun.recv().unwrap();
        let line = vec![b'x'; MAX_WAITING / 2];
        for _ in 0..4 {
            lines.push(&line);
        }
        lines.waiting().is_closed = true;
        lines.some.notify_one();
        drop(release);
        writer.join().unwrap();
        assert_eq!(*lengths.lock().unwrap(), [6, MAX_WAITING]);
        assert_eq!(lines.dropped.load(Ordering::Relaxed), 2);
    }
}
