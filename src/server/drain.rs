//! How a process ends without failing an admission.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How a server is told to stop, in two steps: an API server goes on sending to a process that
/// ends, on the connections that it has, until each of them is closed by a response that says so.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Not ready; serving goes on, and each response closes its connection.
    pub draining: CancellationToken,
    /// Nothing new is accepted, and what runs is finished.
    pub stopping: CancellationToken,
}

/// SIGTERM and Ctrl-C.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The first one ends the server when it has finished what runs, the second at once.
    pub(crate) async fn stop(mut self, stop: Stop, drain_delay: Duration) {
        let is_terminate = self.next().await;
        stop.draining.cancel();
        // Who presses Ctrl-C has no API server that would have to go elsewhere first.
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

    /// Waits for one; whether it is SIGTERM.
    async fn next(&mut self) -> bool {
        tokio::select! { _ = self.terminate.recv() => true, _ = self.interrupt.recv() => false }
    }
}
