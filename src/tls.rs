//! The certificate that the server shows, and the TLS settings that fit its only client.
//!
//! The API server checks the certificate against the `caBundle` of the registration, wants a subject alternative name, offers
//! only HTTP/1.1 and never resumes a session. Certificates end, and what shows them must not: so each handshake asks
//! [`Certificates`] for the one of the moment, and a task renews it, or reads it again, while connections go on.

mod authority;
mod files;
#[cfg(feature = "cluster")]
mod managed;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};

use base64_simd::STANDARD;
use rcgen::SanType;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig, version};
use tokio_util::sync::CancellationToken;

use crate::metrics::{Metrics, Reload};
use authority::Authority;

#[cfg(feature = "cluster")]
pub use managed::ManagedCa;

/// Files are compared so often, by content: the kubelet swaps them by a symlink, for which watches fire once or never.
const INTERVAL: Duration = Duration::from_secs(5);

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A CA and leaves in memory, for localhost, the address that is listened on, and these names.
    Ephemeral(Leaves),
    /// A CA from files, whose leaves are made in memory.
    Ca(Pair, Leaves),
    /// A chain and its key from files.
    Files(Pair),
    /// A CA in a Secret that all replicas share, whose leaves are made in memory.
    #[cfg(feature = "cluster")]
    Managed(ManagedCa, Leaves),
}

/// A certificate and its key, in PEM files.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate, or a chain that begins with it.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What certificates that are made here are like.
#[derive(Clone, Debug)]
pub struct Leaves {
    /// The address that is listened on.
    pub listen: IpAddr,
    /// More names.
    pub dns_names: Vec<String>,
    /// How long each is valid; a third before its end comes the next one.
    pub lifetime: Duration,
}

/// A certificate chain with its key, what verifies it, and its end.
#[derive(Debug)]
struct ServingCertificate {
    key: CertifiedKey,
    ca_bundle: String,
    not_after: SystemTime,
}

/// What is served at the moment, and what becomes of it.
pub struct Certificates {
    /// Nothing yet where it has to come from elsewhere: then handshakes fail.
    served: ArcSwapOption<Served>,
    condition: ArcSwap<Condition>,
    source: Source,
    names: Vec<SanType>,
    /// Of the ephemeral source: the CA that the registration was written with.
    ephemeral: Option<Authority>,
    /// Of the files that the first certificate was made from: what is read later is compared with it.
    contents: Option<Contents>,
}

struct Served {
    key: Arc<CertifiedKey>,
    ca_bundle: String,
    not_after: SystemTime,
    /// When a certificate that is made here is followed by the next.
    renew_at: SystemTime,
}

/// Whether the certificate is as it should be.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// Why calls would fail.
    pub not_ready: Option<String>,
    /// Why an older certificate is served than there could be.
    pub problem: Option<String>,
}

/// Why there is no certificate to serve.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read or holds something else.
    #[error("{option} {}: {reason}", path.display())]
    File {
        /// The flag that named the file.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The two files do not belong together.
    #[error(
        "--tls-key {} does not belong to the certificate in --tls-cert {}; give the key that the certificate was made with",
        key.display(), cert.display()
    )]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A CA that cannot sign.
    #[error("{0}")]
    Authority(String),
    /// A name that no certificate can hold.
    #[error("--dns-name {0:?} is not a DNS name; write one like spark-webhook.spark.svc")]
    DnsName(String),
    /// The certificate in memory could not be made.
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// TLS could not be set up with the certificate.
    #[error("cannot serve the certificate: {0}")]
    Rustls(#[from] rustls::Error),
}

impl Certificates {
    /// The first certificate of a source.
    ///
    /// # Errors
    ///
    /// When there is none: a name that is none, a file that cannot be read, two that do not belong together.
    pub fn new(source: Source) -> Result<Self, TlsError> {
        let names = match &source {
            Source::Ephemeral(leaves) | Source::Ca(_, leaves) => authority::names(leaves.listen, &leaves.dns_names)?,
            Source::Files(_) => Vec::new(),
            #[cfg(feature = "cluster")]
            Source::Managed(_, leaves) => authority::names(leaves.listen, &leaves.dns_names)?,
        };
        let contents = match &source {
            Source::Ca(pair, _) | Source::Files(pair) => Some(Contents::read(pair)),
            Source::Ephemeral(_) => None,
            #[cfg(feature = "cluster")]
            Source::Managed(..) => None,
        };
        let ephemeral = matches!(source, Source::Ephemeral(_)).then(Authority::ephemeral).transpose()?;
        let first = match &source {
            Source::Ephemeral(leaves) => {
                ephemeral.as_ref().map(|authority| authority.issue(&names, leaves.lifetime)).transpose()?
            }
            Source::Ca(pair, leaves) => {
                let authority = contents.as_ref().map(|contents| contents.as_authority(pair)).transpose()?;
                authority.map(|authority| authority.issue(&names, leaves.lifetime)).transpose()?
            }
            Source::Files(pair) => contents.as_ref().map(|contents| contents.as_certificate(pair)).transpose()?,
            #[cfg(feature = "cluster")]
            Source::Managed(..) => None,
        };
        let served = ArcSwapOption::from_pointee(first.map(Served::new));
        Ok(Self { served, condition: ArcSwap::default(), source, names, ephemeral, contents })
    }

    /// What a registration's `caBundle` must be at the moment, as PEM.
    #[must_use]
    pub fn ca_bundle(&self) -> String {
        self.served.load().as_ref().map(|served| served.ca_bundle.clone()).unwrap_or_default()
    }

    /// Whether all is well with the certificate.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let mut condition = Condition::clone(&self.condition.load());
        match self.served.load().as_ref() {
            None => {
                condition.not_ready.get_or_insert("there is no certificate yet".to_owned());
            }
            Some(served) if served.not_after <= SystemTime::now() => {
                let ended = humantime::format_rfc3339_seconds(served.not_after);
                condition.not_ready.get_or_insert(format!("the certificate has expired at {ended}"));
            }
            Some(_) => {}
        }
        condition
    }

    /// TLS 1.3 and 1.2, HTTP/1.1, without tickets; with `client_ca` only for clients that have a certificate of it.
    ///
    /// # Errors
    ///
    /// When the file of `client_ca` holds no CA.
    pub fn server_config(self: &Arc<Self>, client_ca: Option<&Path>) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&version::TLS13, &version::TLS12])?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(read_roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build().map_err(|error| {
                    TlsError::File { option: "--client-ca", path: path.to_owned(), reason: error.to_string() }
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(self.clone());
        // The API server offers nothing else to a webhook.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // It never resumes a session either, so a ticket would be work for nothing.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }

    /// Keeps the certificate valid until the server stops.
    pub async fn run(self: Arc<Self>, metrics: Arc<Metrics>, stopping: CancellationToken) {
        #[cfg(feature = "cluster")]
        if let Source::Managed(settings, leaves) = &self.source {
            stopping.run_until_cancelled(self.run_managed(settings, leaves, &metrics)).await;
            return;
        }
        let mut seen = self.contents.clone();
        loop {
            self.gauge(&metrics);
            if stopping.run_until_cancelled(tokio::time::sleep(self.interval())).await.is_none() {
                return;
            }
            let now_seen = self.read().await;
            let is_changed = now_seen != seen;
            seen = now_seen;
            // By the clock on the wall: timers stand still while a machine sleeps.
            if !is_changed && !self.is_due() {
                continue;
            }
            match self.next(seen.as_ref()) {
                Ok(None) => {}
                Ok(Some(next)) => {
                    self.condition.store(Arc::default());
                    self.serve(next, &metrics, if is_changed { "its files have changed" } else { "it is time" });
                }
                Err(error) => {
                    let problem = error.to_string();
                    // Where it is tried again and again, once is enough.
                    let is_new = is_changed || self.condition.load().problem.as_ref() != Some(&problem);
                    self.condition.store(Arc::new(Condition { not_ready: None, problem: Some(problem) }));
                    if is_new {
                        metrics.count_certificate_reload(Reload::Failed);
                        tracing::error!(%error, "the certificate is not replaced, the old one is served on");
                    }
                }
            }
        }
    }

    /// Whether the certificate should be followed by the next.
    fn is_due(&self) -> bool {
        self.served.load().as_ref().is_none_or(|served| served.renew_at <= SystemTime::now())
    }

    fn serve(&self, certificate: ServingCertificate, metrics: &Metrics, reason: &str) {
        self.served.store(Some(Arc::new(Served::new(certificate))));
        metrics.count_certificate_reload(Reload::Done);
        tracing::info!(reason, "a new certificate is served");
    }

    fn gauge(&self, metrics: &Metrics) {
        if let Some(served) = self.served.load().as_ref() {
            let not_after = served.not_after.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            metrics.certificate_expiry.set(not_after.try_into().unwrap_or(i64::MAX));
        }
        let Condition { not_ready, problem } = self.condition();
        metrics.certificate_problem.set((not_ready.is_some() || problem.is_some()).into());
    }

    /// Looks after the shared CA, and serves leaves of it; an API server that is away changes nothing about those.
    #[cfg(feature = "cluster")]
    async fn run_managed(&self, settings: &ManagedCa, leaves: &Leaves, metrics: &Metrics) {
        let mut manager = managed::Manager::new(settings.clone());
        let mut authority: Option<Authority> = None;
        loop {
            let problem = match manager.manage().await {
                Ok(current) => {
                    let is_new =
                        authority.as_ref().is_none_or(|authority| authority.certificate_pem() != current.certificate_pem());
                    authority = Some(current);
                    self.issue_if(is_new || self.is_due(), authority.as_ref(), leaves, metrics)
                }
                Err(error) => {
                    let problem = error.to_string();
                    self.issue_if(self.is_due(), authority.as_ref(), leaves, metrics).or(Some(problem))
                }
            };
            if let Some(problem) = problem.as_ref().filter(|problem| self.condition.load().problem.as_ref() != Some(*problem)) {
                metrics.count_certificate_reload(Reload::Failed);
                tracing::error!(%problem, "the shared CA is not as it should be");
            }
            let is_refused = authority.is_none() || manager.is_refused();
            let not_ready = problem.clone().filter(|_| is_refused);
            self.condition.store(Arc::new(Condition { not_ready, problem }));
            self.gauge(metrics);
            tokio::time::sleep(self.interval()).await;
        }
    }

    /// Serves a new leaf where one is wanted; what kept it from that.
    #[cfg(feature = "cluster")]
    fn issue_if(&self, wanted: bool, authority: Option<&Authority>, leaves: &Leaves, metrics: &Metrics) -> Option<String> {
        let authority = authority.filter(|_| wanted)?;
        match authority.issue(&self.names, leaves.lifetime) {
            Ok(leaf) => {
                self.serve(leaf, metrics, "signed by the shared CA");
                None
            }
            Err(error) => Some(error.to_string()),
        }
    }

    fn interval(&self) -> Duration {
        match &self.source {
            Source::Ephemeral(leaves) | Source::Ca(_, leaves) => INTERVAL.min(leaves.lifetime / 10),
            Source::Files(_) => INTERVAL,
            #[cfg(feature = "cluster")]
            Source::Managed(_, leaves) => INTERVAL.min(leaves.lifetime / 10),
        }
    }

    /// What is in the source's files, whether that can be used or not.
    async fn read(&self) -> Option<Contents> {
        let (Source::Ca(pair, _) | Source::Files(pair)) = &self.source else { return None };
        let pair = pair.clone();
        tokio::task::spawn_blocking(move || Contents::read(&pair)).await.ok()
    }

    /// The certificate to serve next, if there is another one than now.
    fn next(&self, contents: Option<&Contents>) -> Result<Option<ServingCertificate>, TlsError> {
        match (&self.source, contents) {
            // A new CA as well: nobody can have been told of the old one, but by the registration that was written.
            (Source::Files(pair), Some(contents)) => contents.as_certificate(pair).map(Some),
            (Source::Ca(pair, leaves), Some(contents)) => {
                contents.as_authority(pair)?.issue(&self.names, leaves.lifetime).map(Some)
            }
            (Source::Ephemeral(leaves), _) => {
                self.ephemeral.as_ref().map(|authority| authority.issue(&self.names, leaves.lifetime)).transpose()
            }
            _ => Ok(None),
        }
    }

    /// One that is never renewed.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self::new(Source::Ephemeral(Leaves {
            listen: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            dns_names: Vec::new(),
            lifetime: Duration::from_secs(3600),
        }))
        .unwrap()
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("source", &self.source).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.served.load().as_ref().map(|served| served.key.clone())
    }
}

impl Served {
    fn new(certificate: ServingCertificate) -> Self {
        let ServingCertificate { key, ca_bundle, not_after } = certificate;
        let left = not_after.duration_since(SystemTime::now()).unwrap_or_default();
        // At two thirds of its life, and not at the same moment in every replica.
        let renew_at = SystemTime::now() + left.mul_f64(2.0 / 3.0 - jitter() / 10.0);
        Self { key: Arc::new(key), ca_bundle, not_after, renew_at }
    }
}

/// From 0 to 1, another one each time. The standard library seeds its hash maps by chance, which is enough for this.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let chance = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(chance >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

/// What two files hold, or why they cannot be read.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    cert: Result<Vec<u8>, String>,
    key: Result<Vec<u8>, String>,
}

impl Contents {
    fn read(pair: &Pair) -> Self {
        let read = |path: &Path| std::fs::read(path).map_err(|error| error.to_string());
        Self { cert: read(&pair.cert), key: read(&pair.key) }
    }

    fn of(&self, pair: &Pair, options: [&'static str; 2]) -> Result<(&[u8], &[u8]), TlsError> {
        let [cert, key] =
            [(&self.cert, &pair.cert, options[0]), (&self.key, &pair.key, options[1])].map(|(content, path, option)| {
                content.as_deref().map_err(|reason| TlsError::File { option, path: path.clone(), reason: reason.clone() })
            });
        Ok((cert?, key?))
    }

    fn as_certificate(&self, pair: &Pair) -> Result<ServingCertificate, TlsError> {
        let (cert, key) = self.of(pair, ["--tls-cert", "--tls-key"])?;
        files::check(pair, cert, key)
    }

    fn as_authority(&self, pair: &Pair) -> Result<Authority, TlsError> {
        let (cert, key) = self.of(pair, ["--ca-cert", "--ca-key"])?;
        Authority::from_pem(&String::from_utf8_lossy(cert), &String::from_utf8_lossy(key)).map_err(TlsError::Authority)
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let error = |reason: String| TlsError::File { option: "--client-ca", path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|reason| error(reason.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|reason| error(format!("expected a PEM certificate: {reason:?}")))?;
        roots.add(certificate).map_err(|reason| error(format!("{reason}; expected the certificate of a CA")))?;
    }
    if roots.is_empty() { Err(error("expected a PEM certificate, found none".to_owned())) } else { Ok(roots) }
}

/// The end of a certificate.
fn not_after(certificate: &CertificateDer) -> Result<SystemTime, String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
    Ok(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn to_pem(certificate: &CertificateDer) -> String {
    let base64 = STANDARD.encode_to_string(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, remainder) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = remainder;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
