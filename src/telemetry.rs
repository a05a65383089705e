//! Where log lines go: to standard error, at the level that `RUST_LOG` says (`info` without it).
//!
//! Lines are written by a thread of their own, so that no admission waits for whoever reads them: a line at once where there
//! has been none before it, and otherwise all that have come in some milliseconds: waking a thread and writing for each line was
//! among the first things that a request cost. Where whoever reads is too slow, lines are dropped and counted.

mod fields;

use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

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

/// Starts logging, panics included. A second call in one process changes nothing.
#[must_use]
pub fn init(format: LogFormat) -> Log {
    let lines = Arc::new(Lines::default());
    let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_writer(lines.clone()).with_target(false);
    let layer = match format {
        LogFormat::Text => layer.fmt_fields(TextFields).with_ansi(is_terminal).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    let said = std::env::var("RUST_LOG").unwrap_or_default();
    let (filter, wrong) = match said.parse() {
        _ if said.is_empty() => (Targets::new().with_default(LevelFilter::INFO), None),
        Ok(filter) => (filter, None),
        Err(error) => (Targets::new().with_default(LevelFilter::INFO), Some(error)),
    };
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    if let Some(error) = wrong {
        tracing::warn!(%error, "RUST_LOG is not used, write a level such as debug, or target=level,…");
    }
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
