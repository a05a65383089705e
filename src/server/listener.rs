//! Accepts connections and serves HTTP/1.1 on each until it ends, gives way to another, or the
//! server stops.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Extension;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use super::limits::{Connections, OpenConnection};
use super::stream::ClientStream;
use super::threads::Threads;
use super::{Shared, admin, mutate};
use crate::metrics::Handshake;

/// hyper counts idle time against the header timeout, and the API server keeps idle connections for
/// 90 s: it must be the one to close, because it does not repeat an admission that met a closed
/// connection.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(120);

/// A TLS record's worth of a body, and more than the head of any request: hyper would take up to
/// 400 KiB for each connection.
const READ_BUFFER: usize = 16 * 1024;

/// As long as the API server itself waits for a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that is refused before it has sent everything may read the answer only after that, and
/// closing the connection earlier would take it away. So what it still sends is dropped: for as
/// long as anybody waits for an answer, up to several times what is ever taken, and while it comes.
/// Whoever has stopped sending has seen the answer, or never will.
const LINGER_TIMEOUT: Duration = Duration::from_secs(30);
const LINGER_PAUSE: Duration = Duration::from_secs(5);
const MOST_DROPPED: usize = 64 * 1024 * 1024;

/// Who asks the admin port asks once, so of more than these the one that was opened first goes.
pub(super) const ADMIN_CONNECTIONS: usize = 32;

/// Accepting fails when descriptors run out, and would fail again at once; connections that end in
/// this time free some.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

pub(super) async fn serve_tls(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    shared: &Arc<Shared>,
    threads: &Threads,
    tasks: &TaskTracker,
    stopping: &CancellationToken,
) {
    let connections = &shared.connections;
    while let Some((stream, peer)) = accept(&listener, shared, stopping).await {
        let (stream, thread) = match threads.hand_over(stream) {
            Ok(handed_over) => handed_over,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be handed over");
                continue;
            }
        };
        let connection = connections.enter();
        connections.make_room().await;
        shared.metrics.connections_accepted.inc();
        let (acceptor, shared, stopping) = (acceptor.clone(), shared.clone(), stopping.clone());
        let serve = async move {
            shared.metrics.connections.inc();
            tokio::select! {
                () = serve_connection(stream, &acceptor, &connection, &shared, &stopping) => {}
                () = connection.evicted() => {
                    shared.metrics.connections_evicted.inc();
                    tracing::debug!("a connection gave way to another");
                }
            }
            shared.metrics.connections.dec();
        };
        tasks.spawn_on(serve.instrument(span(peer)), &thread);
    }
}

async fn serve_connection(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    connection: &OpenConnection,
    shared: &Arc<Shared>,
    stopping: &CancellationToken,
) {
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, ClientStream::accept(acceptor, stream)) => handshake,
        () = stopping.cancelled() => return,
    };
    match handshake {
        Ok(Ok(stream)) => {
            shared.metrics.count_handshake(Handshake::Done);
            serve_admissions(stream, connection, shared, stopping).await;
        }
        Ok(Err(error)) => {
            shared.metrics.count_handshake(Handshake::Failed);
            tracing::debug!(%error, "TLS handshake failed");
        }
        Err(_) => {
            shared.metrics.count_handshake(Handshake::Late);
            tracing::debug!("TLS handshake took too long");
        }
    }
}

async fn serve_admissions(
    stream: ClientStream,
    connection: &OpenConnection,
    shared: &Arc<Shared>,
    stopping: &CancellationToken,
) {
    let service = service_fn(|request| {
        Box::pin(async { Ok::<_, hyper::Error>(mutate::handle(request, connection, shared).await) })
    });
    let mut served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let result = tokio::select! {
        result = poll_fn(|context| served.poll_without_shutdown(context)) => result,
        () = stopping.cancelled() => {
            // Finishes the request that runs, if one does, and closes.
            Pin::new(&mut served).graceful_shutdown();
            poll_fn(|context| served.poll_without_shutdown(context)).await
        }
    };
    let malformed = result.as_ref().is_err_and(hyper::Error::is_parse).then(Instant::now);
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended early");
    }
    // From here on, its buffers are free.
    let stream = served.into_parts().io.into_inner();
    let close = close(stream, connection.unread().or(malformed));
    if tokio::time::timeout(LINGER_TIMEOUT, close).await.is_err() {
        tracing::debug!("a client did not let go of its connection");
    }
}

/// Ends a connection; where a request was not read to its end, only after what still comes of it.
async fn close(mut stream: ClientStream, unread: Option<Instant>) -> io::Result<()> {
    stream.shutdown().await?;
    let Some(mut silent_since) = unread else { return Ok(()) };
    // Nobody needs to know what it says.
    let stream = stream.into_tcp();
    let mut dropped = 0;
    while dropped < MOST_DROPPED {
        tokio::time::timeout(
            LINGER_PAUSE.saturating_sub(silent_since.elapsed()),
            stream.readable(),
        )
        .await??;
        match stream.try_read(&mut [0; 16 * 1024]) {
            Ok(0) => break,
            Ok(count) => dropped += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        silent_since = Instant::now();
    }
    Ok(())
}

pub(super) async fn serve_plain(
    listener: TcpListener,
    shared: &Arc<Shared>,
    tasks: &TaskTracker,
    stopping: &CancellationToken,
) {
    let router = admin::router(shared.clone());
    let connections = Arc::new(Connections::new(ADMIN_CONNECTIONS, 0));
    while let Some((stream, peer)) = accept(&listener, shared, stopping).await {
        let connection = connections.enter();
        connections.make_room().await;
        let serve = serve_admin(stream, peer, router.clone(), stopping.clone());
        let serve = async move {
            tokio::select! {
                () = serve => {}
                () = connection.evicted() => tracing::debug!("a connection to the admin port gave way to another"),
            }
        };
        tasks.spawn(serve.instrument(span(peer)));
    }
}

async fn serve_admin(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    stopping: CancellationToken,
) {
    let router = router.layer(Extension(admin::Peer(peer.ip())));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stopping.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection to the admin port ended early");
    }
}

/// Names the client in each log line of its connection, such as that of a failed handshake. At
/// other levels than `debug` and `trace` there is no span, so an admission costs nothing more.
fn span(peer: SocketAddr) -> Span {
    tracing::debug_span!("connection", client = %peer)
}

/// The next connection; `None` when the server stops.
async fn accept(
    listener: &TcpListener,
    shared: &Shared,
    stopping: &CancellationToken,
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted: io::Result<_> = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => return None,
        };
        match accepted {
            Ok((stream, peer)) => {
                // An answer is one small write: waiting for more to send with it would only delay
                // it.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY");
                }
                return Some((stream, peer));
            }
            Err(error) => {
                shared.metrics.accept_errors.inc();
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}
