//! The HTTPS server that the API server calls, and the plain HTTP one for probes.
//!
//! [`Options`] are bound to addresses, which can fail, and then served, which cannot: connection by
//! connection, until [`Stop`] says so. Then nothing new is accepted, what runs is finished, and
//! [`Bound::serve`] returns.

mod admin;
mod budget;
mod decisions;
mod drain;
mod limits;
mod listener;
pub mod memory;
mod mutate;
mod readers;
mod rules_watcher;
mod stream;
mod threads;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Settings;
use crate::metrics::Metrics;
use crate::tls::{Certificates, Renewal};
use budget::Budget;
use decisions::Decisions;
use limits::{Connections, MAX_LEAVING};
use readers::Readers;
use rules_watcher::RulesWatcher;
use threads::Threads;

pub(crate) use drain::Signals;
pub use drain::Stop;
pub use limits::Limits;

/// What a server is made of.
pub struct Options {
    /// Where admissions are answered, by HTTPS. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where probes are answered, by HTTP. Port 0 takes any free one.
    pub admin_listen: SocketAddr,
    /// The certificate, and its health.
    pub certificates: Arc<Certificates>,
    /// Keeps the certificate valid.
    pub renewal: Renewal,
    /// TLS settings, with these certificates.
    pub tls: ServerConfig,
    /// How reviews are answered.
    pub settings: Settings,
    /// The file that the rules of the settings were read from, to be read again when it changes.
    pub config: Option<PathBuf>,
    /// Bounds for all clients together.
    pub limits: Limits,
    /// Where is counted what happens.
    pub metrics: Arc<Metrics>,
}

/// A server that has its ports and does not answer yet.
pub struct Bound {
    admissions: TcpListener,
    admin: TcpListener,
    address: SocketAddr,
    admin_address: SocketAddr,
    acceptor: TlsAcceptor,
    renewal: Renewal,
    shared: Shared,
}

/// What all connections have in common.
struct Shared {
    settings: Arc<ArcSwap<Settings>>,
    rules_watcher: Arc<RulesWatcher>,
    certificates: Arc<Certificates>,
    connections: Arc<Connections>,
    budget: Arc<Budget>,
    readers: Arc<Readers>,
    decisions: Decisions,
    metrics: Arc<Metrics>,
    /// Cancelled when clients should go elsewhere: the probe says so, and each response closes its
    /// connection.
    draining: CancellationToken,
}

/// Why a server did not get a port.
#[derive(Debug, thiserror::Error)]
#[error("{option} {address}: {source}; {advice}")]
pub struct BindError {
    option: &'static str,
    address: SocketAddr,
    source: std::io::Error,
    advice: &'static str,
}

/// Answers in progress at the end have this long to be finished; the API server waits for at most
/// 30 s, by default 10.
const FINISH_TIMEOUT: Duration = Duration::from_secs(20);

impl Options {
    /// Takes both ports, in a runtime.
    ///
    /// # Errors
    ///
    /// When one of them cannot be had.
    pub fn bind(self) -> Result<Bound, BindError> {
        let Self {
            listen,
            admin_listen,
            certificates,
            renewal,
            tls,
            settings,
            config,
            limits,
            metrics,
        } = self;
        let (admissions, address) = bind("--listen", listen)?;
        let (admin, admin_address) = bind("--admin-listen", admin_listen)?;
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        // One accepts connections.
        let threads = threads::count() + memory::READERS + 1;
        let connections = limits.within_open_files(threads).connections;
        let shared = Shared {
            rules_watcher: Arc::new(RulesWatcher::new(config, settings.clone(), metrics.clone())),
            settings,
            certificates,
            connections: Arc::new(Connections::new(connections, MAX_LEAVING)),
            budget: Arc::new(Budget::new(limits.body_bytes)),
            readers: Arc::new(Readers::start()),
            decisions: Decisions::default(),
            metrics,
            draining: CancellationToken::new(),
        };
        Ok(Bound {
            admissions,
            admin,
            address,
            admin_address,
            acceptor: TlsAcceptor::from(Arc::new(tls)),
            renewal,
            shared,
        })
    }
}

fn bind(option: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let error = |source: std::io::Error| {
        let advice = match source.kind() {
            std::io::ErrorKind::AddrInUse => {
                "end the process that has the port, or give another one (0 takes any free one)"
            }
            std::io::ErrorKind::PermissionDenied => "give a port above 1023",
            _ => "give an address of this machine, such as 127.0.0.1:8443 or 0.0.0.0:8443",
        };
        BindError { option, address, source, advice }
    };
    let listener = listen(address).map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    Ok((listener, address))
}

/// What a client does not take waits in the kernel first, up to twice this for each connection.
/// Without a bound it is up to 4 MiB, which counts against the container's memory like the
/// process's own.
const SEND_BUFFER: u32 = 64 * 1024;

/// As [`TcpListener::bind`] does it, but that connections have this buffer.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    const BACKLOG: u32 = 1024;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Bound {
    /// Where admissions will be answered, with the port that was taken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where probes will be answered, with the port that was taken.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Serves until it is told to stop and everything that runs is finished, 20 s at most.
    pub async fn serve(self, stop: Stop) {
        let Self { admissions, admin, acceptor, renewal, shared, address: _, admin_address: _ } =
            self;
        let shared = Arc::new(Shared { draining: stop.draining.clone(), ..shared });
        let Stop { draining: _, stopping } = stop;
        tokio::spawn(threads::give_back());
        tokio::spawn(shared.rules_watcher.clone().run(stopping.clone()));
        tokio::spawn(renewal.run(shared.metrics.clone(), stopping.clone()));
        let tasks = TaskTracker::new();
        let threads = Threads::start();
        tokio::join!(
            listener::serve_tls(admissions, acceptor, &shared, &threads, &tasks, &stopping),
            listener::serve_plain(admin, &shared, &tasks, &stopping),
        );
        tasks.close();
        if tokio::time::timeout(FINISH_TIMEOUT, tasks.wait()).await.is_err() {
            tracing::warn!(
                connections = tasks.len(),
                "connections did not finish in time and are cut"
            );
        }
    }
}

#[cfg(test)]
impl Shared {
    /// With nothing around it.
    fn for_tests() -> Self {
        let settings = Arc::new(ArcSwap::default());
        let metrics = Arc::new(Metrics::new(Box::new(|| 0)));
        Self {
            rules_watcher: Arc::new(RulesWatcher::new(None, settings.clone(), metrics.clone())),
            settings,
            certificates: Certificates::for_tests(),
            connections: Arc::new(Connections::new(16, MAX_LEAVING)),
            budget: Arc::new(Budget::new(1 << 20)),
            readers: Arc::new(Readers::start()),
            decisions: Decisions::default(),
            metrics,
            draining: CancellationToken::new(),
        }
    }
}
