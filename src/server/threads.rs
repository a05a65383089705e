//! The threads that serve connections: one for each CPU, each with a runtime of its own.
//!
//! A connection stays on its thread. A runtime of many threads would let any of them take over what another has not begun, and wakes one
//! to look for that at nearly every request, which takes longer than it wins: a request is answered in some microseconds, and
//! API servers have several connections. What accepts them, and all that is not a connection of theirs, runs on a thread that
//! admissions do not wait for.

use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The threads, until this is dropped.
pub(super) struct Threads {
    runtimes: Vec<Handle>,
    next: AtomicUsize,
    _stop: DropGuard,
}

impl Threads {
    /// As many as the cgroup's CPU limit allows; with one CPU none, because it would only be in the caller's way.
    pub(super) fn start() -> Self {
        let stop = CancellationToken::new();
        let mut runtimes = Vec::new();
        let count = count();
        if count > 1 {
            for _ in 0..count {
                match start(stop.clone()) {
                    Ok(runtime) => runtimes.push(runtime),
                    Err(error) => tracing::warn!(%error, "a thread could not be started; the others do its work"),
                }
            }
        }
        Self { runtimes, next: AtomicUsize::new(0), _stop: stop.drop_guard() }
    }

    /// Moves a connection from the caller's runtime to that of a thread, which is given its tasks: each thread in its turn, or the
    /// caller's own where there is none.
    pub(super) fn hand_over(&self, connection: TcpStream) -> io::Result<(TcpStream, Handle)> {
        let connection = connection.into_std()?;
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let thread = self.runtimes.get(turn % self.runtimes.len().max(1)).cloned().unwrap_or_else(Handle::current);
        let entered = thread.enter();
        let connection = TcpStream::from_std(connection)?;
        drop(entered);
        Ok((connection, thread))
    }
}

/// How many CPUs this process may use.
pub(super) fn count() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

fn start(stop: CancellationToken) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("connections".to_owned()).spawn(move || runtime.block_on(stop.cancelled()))?;
    Ok(handle)
}
