//! The threads that serve connections: one for each CPU, but no more than [`MOST`], each with a
//! runtime of its own.
//!
//! A connection stays on its thread. A runtime of many threads would let any of them take over what
//! another has not begun, and wakes one to look for that at nearly every request, which takes
//! longer than it wins: a request is answered in some microseconds, and API servers have several
//! connections. What accepts them, and all that is not a connection of theirs, runs on a thread
//! that admissions do not wait for.

use std::hint::black_box;
use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The maximum number of threads for connections. Each can read a review, so each takes memory from
/// the budget.
pub(super) const MOST: usize = 4;

/// The threads, until this is dropped.
pub(super) struct Threads {
    runtimes: Vec<Handle>,
    next: AtomicUsize,
    _stop: DropGuard,
}

impl Threads {
    /// As many as the cgroup's CPU limit allows; with one CPU none, because it would only be in the
    /// caller's way.
    pub(super) fn start() -> Self {
        let stop = CancellationToken::new();
        let mut runtimes = Vec::new();
        let count = count();
        if count > 1 {
            for _ in 0..count {
                match start("connections", || (), stop.clone()) {
                    Ok(runtime) => runtimes.push(runtime),
                    Err(error) => {
                        tracing::warn!(%error, "a thread could not be started; the others do its work");
                    }
                }
            }
        }
        Self { runtimes, next: AtomicUsize::new(0), _stop: stop.drop_guard() }
    }

    /// Moves a connection from the caller's runtime to that of a thread, which is given its tasks:
    /// each thread in its turn, or the caller's own where there is none.
    pub(super) fn hand_over(&self, connection: TcpStream) -> io::Result<(TcpStream, Handle)> {
        let connection = connection.into_std()?;
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let thread = self
            .runtimes
            .get(turn % self.runtimes.len().max(1))
            .cloned()
            .unwrap_or_else(Handle::current);
        let entered = thread.enter();
        let connection = TcpStream::from_std(connection)?;
        drop(entered);
        Ok((connection, thread))
    }
}

/// One for each CPU that this process may use, up to [`MOST`].
pub(super) fn count() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(MOST)
}

/// Starts a thread with a runtime, which does something first and runs until it is told to stop.
pub(super) fn start(name: &str, first: fn(), stop: CancellationToken) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let handle = runtime.handle().clone();
    let run = async move {
        tokio::select! { () = stop.cancelled() => {}, () = give_back() => {} }
    };
    let thread = move || {
        first();
        runtime.block_on(run);
    };
    thread::Builder::new().name(name.to_owned()).spawn(thread)?;
    Ok(handle)
}

/// Lowers this thread's priority, so that the threads of connections run first if there are too few
/// CPUs for all.
pub(super) fn give_way() {
    /// A tenth of the CPU time of a connection's thread, if both want all of it.
    const NICE: i32 = 10;
    // On Linux this sets the priority of the calling thread alone.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the priority of a thread cannot be lowered");
    }
}

/// Makes the allocator return this thread's freed memory to the system, again and again. Without
/// this, an idle process keeps tens of megabytes after a flood.
///
/// mimalloc collects at every 1,000th allocation of a thread that is not tiny, and thoroughly at
/// every 10,000th, but never in an idle thread. Its function for that needs unsafe code, so this
/// allocates instead.
pub(super) async fn give_back() {
    /// Once around in ten seconds.
    const PAUSE: Duration = Duration::from_secs(1);
    const ALLOCATIONS: usize = 1000;
    /// The smallest that counts, and no more than a fraction of a millisecond for all of them.
    const SIZE: usize = 2048;
    loop {
        tokio::time::sleep(PAUSE).await;
        for _ in 0..ALLOCATIONS {
            drop(black_box(Vec::<u8>::with_capacity(SIZE)));
        }
    }
}
