//! The HTTPS server that the API server calls, and the plain HTTP one for probes.
//!
//! [`Options`] are bound to addresses, which can fail, and then served, which cannot: connection by connection, until the
//! token is cancelled. Then nothing new is accepted, what runs is finished, and [`Bound::serve`] returns.

mod admin;
mod listener;
mod mutate;
mod reload;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Policy;
use reload::Reload;

/// What a server is made of.
#[derive(Debug)]
pub struct Options {
    /// Where admissions are answered, by HTTPS. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where probes are answered, by HTTP. Port 0 takes any free one.
    pub admin_listen: SocketAddr,
    /// Certificate and TLS settings.
    pub tls: ServerConfig,
    /// How reviews are answered.
    pub policy: Policy,
    /// The file that the policy's rules were read from, to be read again when it changes.
    pub config: Option<PathBuf>,
}

/// A server that has its ports and does not answer yet.
pub struct Bound {
    admissions: TcpListener,
    admin: TcpListener,
    address: SocketAddr,
    admin_address: SocketAddr,
    acceptor: TlsAcceptor,
    policy: Policy,
    config: Option<PathBuf>,
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

/// Answers in progress at the end have this long to be finished; the API server waits for at most 30 s, by default 10.
const FINISH_TIMEOUT: Duration = Duration::from_secs(20);

impl Options {
    /// Takes both ports.
    ///
    /// # Errors
    ///
    /// When one of them cannot be had.
    pub async fn bind(self) -> Result<Bound, BindError> {
        let Self { listen, admin_listen, tls, policy, config } = self;
        let (admissions, address) = bind("--listen", listen).await?;
        let (admin, admin_address) = bind("--admin-listen", admin_listen).await?;
        Ok(Bound { admissions, admin, address, admin_address, acceptor: TlsAcceptor::from(Arc::new(tls)), policy, config })
    }
}

async fn bind(option: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let error = |source: std::io::Error| {
        let advice = match source.kind() {
            std::io::ErrorKind::AddrInUse => "end the process that has the port, or give another one (0 takes any free one)",
            std::io::ErrorKind::PermissionDenied => "give a port above 1023",
            _ => "give an address of this machine, such as 127.0.0.1:8443 or 0.0.0.0:8443",
        };
        BindError { option, address, source, advice }
    };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    Ok((listener, address))
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

    /// Serves until the token is cancelled and everything that runs is finished, 20 s at most.
    pub async fn serve(self, shutdown: CancellationToken) {
        let Self { admissions, admin, acceptor, policy, config, address: _, admin_address: _ } = self;
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        let reload = Arc::new(Reload::new(config, policy.clone()));
        tokio::spawn(reload.clone().run(shutdown.clone()));
        let connections = TaskTracker::new();
        tokio::join!(
            listener::serve_tls(admissions, acceptor, mutate::router(policy), &connections, &shutdown),
            listener::serve_plain(admin, admin::router(shutdown.clone(), reload), &connections, &shutdown),
        );
        connections.close();
        if tokio::time::timeout(FINISH_TIMEOUT, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "connections did not finish in time and are cut");
        }
    }
}
