//! HTTP/1.1 over TLS by hand: what a well-behaved client library would not send must be sendable
//! here.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WantsClientCert;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// An HTTPS connection that takes any certificate.
pub async fn connect(address: SocketAddr) -> TlsStream<TcpStream> {
    try_connect(address, &ANONYMOUS).await.unwrap()
}

/// An HTTPS connection with a client's settings, if there can be one.
pub async fn try_connect(
    address: SocketAddr,
    settings: &Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    // As the API server does; otherwise the first request waits 40 ms for an acknowledgement of the
    // handshake.
    stream.set_nodelay(true)?;
    try_handshake(stream, settings).await
}

/// TLS on a connection that is there.
pub async fn try_handshake(
    stream: TcpStream,
    settings: &Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(settings.clone())
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
}

/// The settings of a client that takes any certificate and has none.
pub static ANONYMOUS: LazyLock<Arc<ClientConfig>> =
    LazyLock::new(|| Arc::new(with_http(any_certificate().with_no_client_auth())));

/// The settings of a client that takes any certificate and shows this one.
pub fn with_certificate(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Arc<ClientConfig> {
    Arc::new(with_http(any_certificate().with_client_auth_cert(chain, key).unwrap()))
}

fn any_certificate() -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
}

fn with_http(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Asks the admin port with more lines in the head.
pub async fn get_with(address: SocketAddr, path: &str, lines: &str) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    exchange(
        &mut stream,
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{lines}\r\n")
            .as_bytes(),
    )
    .await
}

/// What the admin port counts under a name, with the labels as they stand there:
/// `requests_total{outcome="mutated"}`.
pub async fn metric(address: SocketAddr, series: &str) -> f64 {
    let text = get(address, "/metrics").await.body;
    let line = text.lines().find_map(|line| {
        line.strip_prefix("spark_webhook_")?.strip_prefix(series)?.strip_prefix(' ')
    });
    line.unwrap_or_else(|| panic!("{series} is not in {text}")).parse().unwrap()
}

/// An HTTPS connection that takes only what a CA (PEM) has signed, for 127.0.0.1, and that is valid
/// now; with the end of the chain that was shown.
pub async fn connect_trusting(
    address: SocketAddr,
    ca_pem: &str,
) -> io::Result<(TlsStream<TcpStream>, CertificateDer<'static>)> {
    connect_by_name(address, ca_pem, "127.0.0.1").await
}

/// As [`connect_trusting`], for another name.
pub async fn connect_by_name(
    address: SocketAddr,
    ca_pem: &str,
    name: &str,
) -> io::Result<(TlsStream<TcpStream>, CertificateDer<'static>)> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    Ok((stream, leaf.into_owned()))
}

/// Asks the admin port.
pub async fn get(address: SocketAddr, path: &str) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    exchange(&mut stream, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
        .await
}

/// A POST to /mutate as the API server sends it.
pub fn post(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /mutate?timeout=5s HTTP/1.1\r\nHost: spark-webhook\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Sends bytes and reads one reply.
pub async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &[u8]) -> Reply {
    stream.write_all(request).await.unwrap();
    stream.flush().await.unwrap();
    read_reply(stream).await
}

/// Reads one reply, whose length its head must say.
pub async fn read_reply<S: AsyncRead + Unpin>(stream: &mut S) -> Reply {
    try_read_reply(stream).await.unwrap()
}

/// Reads one reply, or why there is none.
pub async fn try_read_reply<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Reply> {
    let mut bytes = Vec::new();
    let mut head_end = None;
    loop {
        head_end = head_end
            .or_else(|| Some(bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4));
        if let Some(head_end) = head_end {
            let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap()
                .parse()
                .unwrap();
            let body = &bytes[head_end..];
            assert!(body.len() <= length, "nothing follows the body");
            if body.len() == length {
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                return Ok(Reply { status, head, body: String::from_utf8(body.to_vec()).unwrap() });
            }
        }
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await?;
        if count == 0 {
            let so_far = String::from_utf8_lossy(&bytes);
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the connection ended after {so_far:?}"),
            ));
        }
        bytes.extend_from_slice(&piece[..count]);
    }
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
