//! How the process stops without failing an admission.
//!
//! An API server keeps sending reviews to a process that stops, on the connections that it has. So
//! the process first drains: it reports not ready, keeps serving, and each response closes its
//! connection. Then it accepts nothing new and finishes the requests in progress.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells a server to stop, in two steps.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// The server reports not ready but keeps serving, and each response closes its connection.
    pub draining: CancellationToken,
    /// The server accepts nothing new, and finishes the requests in progress.
    pub stopping: CancellationToken,
}

/// The signals that stop the process: SIGTERM and Ctrl-C.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on, the process receives the signals instead of being killed by them.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// On the first signal, stops the server. On the second, exits at once with status 130.
    pub(crate) async fn stop(mut self, stop: Stop, drain_delay: Duration) {
        let is_terminate = self.next().await;
        stop.draining.cancel();
        // After Ctrl-C, no API server has to switch to another replica first.
        if is_terminate && !drain_delay.is_zero() {
            tracing::info!(delay = %humantime::format_duration(drain_delay), "stopping: not ready, serving on for a while");
            tokio::select! {
                () = tokio::time::sleep(drain_delay) => {}
                _ = self.next() => std::process::exit(130),
            }
        }
        tracing::info!("stopping: finishing what runs");
        stop.stopping.cancel();
        self.next().await;
        std::process::exit(130);
    }

    /// Waits for a signal. Returns whether it is SIGTERM.
    async fn next(&mut self) -> bool {
        tokio::select! { _ = self.terminate.recv() => true, _ = self.interrupt.recv() => false }
    }
}
