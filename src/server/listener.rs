//! Accepts connections and serves HTTP/1.1 on each until it ends or the server shuts down.

use std::io;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// hyper counts idle time against the header timeout, and the API server keeps idle connections for 90 s: it must be the one
/// to close, because it does not repeat an admission that met a closed connection.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(120);

/// As long as the API server itself waits for a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Accepting fails when descriptors run out, and would fail again at once; connections that end in this time free some.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

pub(super) async fn serve_tls(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    router: Router,
    connections: &TaskTracker,
    shutdown: &CancellationToken,
) {
    while let Some(stream) = accept(&listener, shutdown).await {
        let (acceptor, router, shutdown) = (acceptor.clone(), router.clone(), shutdown.clone());
        connections.spawn(async move {
            let handshake = tokio::select! {
                handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => handshake,
                () = shutdown.cancelled() => return,
            };
            match handshake {
                Ok(Ok(stream)) => serve_connection(stream, router, shutdown).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            }
        });
    }
}

pub(super) async fn serve_plain(listener: TcpListener, router: Router, connections: &TaskTracker, shutdown: &CancellationToken) {
    while let Some(stream) = accept(&listener, shutdown).await {
        connections.spawn(serve_connection(stream, router.clone(), shutdown.clone()));
    }
}

/// The next connection; `None` when the server shuts down.
async fn accept(listener: &TcpListener, shutdown: &CancellationToken) -> Option<TcpStream> {
    loop {
        let accepted: io::Result<_> = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return None,
        };
        match accepted {
            Ok((stream, _)) => {
                // An answer is one small write: waiting for more to send with it would only delay it.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY");
                }
                return Some(stream);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn serve_connection<S>(stream: S, router: Router, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            // Finishes the request that runs, if one does, and closes.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended early");
    }
}
