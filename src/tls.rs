//! The certificate that the server shows, and the TLS settings that fit its only client.
//!
//! The API server checks the certificate against the `caBundle` of the registration, wants a
//! subject alternative name, offers only HTTP/1.1 and never resumes a session. Certificates end,
//! and what shows them must not: so each handshake asks [`Certificates`] for the one of the moment,
//! and a task renews it, or reads it again, while connections go on.

mod authority;
mod certificate;
mod clients;
mod clock;
mod key;
mod source;
mod validity;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use rcgen::SanType;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig, version};
use tokio_util::sync::CancellationToken;

use crate::metrics::{Metrics, Reload};
use authority::Authority;
use clients::ClientCas;
use clock::Clock;
use source::files::Contents;
#[cfg(feature = "cluster")]
use source::managed::Manager;
use validity::Validity;

pub use source::files::Pair;
#[cfg(feature = "cluster")]
pub use source::managed::ManagedCa;
pub use source::{Leaves, Source};

/// Files are compared so often, by content: the kubelet swaps them by a symlink, for which watches
/// fire once or never.
const INTERVAL: Duration = Duration::from_secs(5);

/// A certificate chain with its key, what verifies it, and when it is valid.
#[derive(Debug)]
struct ServingCertificate {
    key: CertifiedKey,
    ca_bundle: String,
    validity: Validity,
}

/// What is served at the moment, and what becomes of it.
pub struct Certificates {
    /// Nothing yet where it has to come from elsewhere: then handshakes fail.
    served: ArcSwapOption<Served>,
    /// The CA that signs the next leaf, where leaves are made here: the last one that could be
    /// used.
    authority: ArcSwapOption<Authority>,
    state: ArcSwap<State>,
    clock: Arc<Clock>,
    /// Without them, every client is served.
    client_cas: Option<Arc<ClientCas>>,
    source: Source,
    names: Vec<SanType>,
    /// Of the files that the first certificate was made from: what is read later is compared with
    /// it.
    contents: Option<Contents>,
}

struct Served {
    key: Arc<CertifiedKey>,
    ca_bundle: String,
    validity: Validity,
    /// When a certificate that is made here is followed by the next.
    renew_at: SystemTime,
}

/// What the last look at the source has shown.
#[derive(Default)]
struct State {
    /// Why there is no newer certificate.
    problem: Option<String>,
    /// API servers are known to reject the certificate.
    is_rejected: bool,
}

/// Whether the certificate is as it should be.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// Why calls would fail.
    pub not_ready: Option<String>,
    /// What is not as it should be with the certificate, each with what is in use instead.
    pub certificate: Vec<String>,
    /// The same of `--client-ca`.
    pub client_ca: Option<String>,
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
        "{key_option} {} does not belong to the certificate in {cert_option} {}; give the key that the certificate was made with",
        key.display(), cert.display()
    )]
    Mismatch {
        /// The flag that named the certificate's file.
        cert_option: &'static str,
        /// The certificate's file.
        cert: PathBuf,
        /// The flag that named the key's file.
        key_option: &'static str,
        /// The key's file.
        key: PathBuf,
    },
    /// A CA that cannot sign.
    #[error("{0}")]
    Authority(String),
    /// A name that no certificate can hold.
    #[error(
        "--dns-name {0:?} is neither a DNS name nor an IP address; write one like spark-webhook.spark.svc or 10.0.0.1"
    )]
    Name(String),
    /// The certificate in memory could not be made.
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// TLS could not be set up with the certificate.
    #[error("cannot serve the certificate: {0}")]
    Rustls(#[from] rustls::Error),
}

impl Certificates {
    /// The first certificate of a source; with the file `client_ca`, for clients that have a
    /// certificate of its CAs.
    ///
    /// # Errors
    ///
    /// When there is none: a name that is none, a file that cannot be read, two that do not belong
    /// together.
    pub fn new(source: Source, client_ca: Option<&Path>) -> Result<Self, TlsError> {
        let now = SystemTime::now();
        let clock = Arc::<Clock>::default();
        let client_cas =
            client_ca.map(|file| ClientCas::new(file, clock.clone())).transpose()?.map(Arc::new);
        let names = source
            .leaves()
            .map(|leaves| authority::names(leaves.listen, &leaves.dns_names))
            .transpose()?;
        let contents = source.pair().map(Contents::read);
        let authority = match (&source, &contents) {
            (Source::Ephemeral(_), _) => Some(Authority::ephemeral(now)?),
            (Source::Ca(pair, _), Some(contents)) => Some(contents.as_authority(pair, now)?),
            _ => None,
        };
        let names = names.unwrap_or_default();
        let first = match (&source, &contents, source.leaves(), &authority) {
            (Source::Files(pair), Some(contents), ..) => Some(contents.as_certificate(pair, now)?),
            (_, _, Some(leaves), Some(authority)) => {
                Some(authority.issue(&names, now, leaves.lifetime)?)
            }
            _ => None,
        };
        Ok(Self {
            served: ArcSwapOption::from_pointee(first.map(|first| Served::new(first, now))),
            authority: ArcSwapOption::from_pointee(authority),
            state: ArcSwap::default(),
            clock,
            client_cas,
            source,
            names,
            contents,
        })
    }

    /// What a registration's `caBundle` must be at the moment, as PEM.
    #[must_use]
    pub fn ca_bundle(&self) -> String {
        self.served.load().as_ref().map(|served| served.ca_bundle.clone()).unwrap_or_default()
    }

    /// Whether all is well with the certificate.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let State { problem, is_rejected } = &**self.state.load();
        let unusable = match self.served.load().as_ref() {
            None => Some("there is no certificate yet".to_owned()),
            Some(served) => served
                .validity
                .check(self.clock.now())
                .err()
                .map(|invalid| format!("the certificate {invalid}")),
        };
        let not_ready = match (unusable, problem) {
            (Some(unusable), Some(problem)) => Some(format!("{unusable}; {problem}")),
            (Some(unusable), None) => Some(unusable),
            (None, problem) => problem.clone().filter(|_| *is_rejected),
        };
        let problem = problem.as_ref().map(|problem| format!("the old certificate: {problem}"));
        let clock = self.clock.problem().map(|problem| format!("a wrong clock: {problem}"));
        let client_ca = self
            .client_cas
            .as_ref()
            .and_then(|cas| cas.problem())
            .map(|problem| problem.to_string());
        Condition { not_ready, certificate: problem.into_iter().chain(clock).collect(), client_ca }
    }

    /// TLS 1.3 and 1.2, HTTP/1.1, without tickets.
    ///
    /// # Errors
    ///
    /// None that can happen: ring has both versions of TLS.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?;
        let builder = match &self.client_cas {
            None => builder.with_no_client_auth(),
            Some(client_cas) => builder.with_client_cert_verifier(client_cas.clone()),
        };
        let mut config = builder.with_cert_resolver(self.clone());
        // The API server offers nothing else to a webhook.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // It never resumes a session either, so a ticket would be work for nothing.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }

    /// Keeps the certificate valid, and follows `--client-ca`, until the server stops.
    pub async fn run(self: Arc<Self>, metrics: Arc<Metrics>, stopping: CancellationToken) {
        let run =
            async { tokio::join!(self.run_certificate(&metrics), self.run_client_cas(&metrics)) };
        stopping.run_until_cancelled(run).await;
    }

    async fn run_certificate(&self, metrics: &Metrics) {
        #[cfg(feature = "cluster")]
        if let Source::Managed(settings, leaves) = &self.source {
            return self.run_managed(settings, leaves, metrics).await;
        }
        self.run_local(metrics).await;
    }

    async fn run_client_cas(&self, metrics: &Metrics) {
        let Some(cas) = &self.client_cas else { return };
        loop {
            metrics.client_ca_problem.set(cas.problem().is_some().into());
            tokio::time::sleep(INTERVAL).await;
            let file = cas.file().to_owned();
            let contents = tokio::task::spawn_blocking(move || clients::read(&file)).await;
            cas.follow(contents.unwrap_or_else(|error| Err(error.to_string())));
        }
    }

    /// Follows files, and renews what is made here.
    async fn run_local(&self, metrics: &Metrics) {
        let mut seen = self.contents.clone();
        loop {
            self.gauge(metrics);
            tokio::time::sleep(self.interval()).await;
            let read = self.read().await;
            let is_changed = read != seen;
            seen = read;
            // What could not be used may be usable later without a change: a certificate that was
            // not valid yet, say.
            let is_open = is_changed || self.state.load().problem.is_some();
            let followed = match seen.as_ref().filter(|_| is_open) {
                Some(contents) => self.follow(contents, metrics),
                None => Ok(()),
            };
            // The CA in force signs on, whatever is wrong with the next one.
            let result = followed.and(self.renew(metrics));
            self.report(result.err().map(|error| error.to_string()), is_changed, false, metrics);
        }
    }

    /// Serves what is in the files now.
    fn follow(&self, contents: &Contents, metrics: &Metrics) -> Result<(), TlsError> {
        let now = self.clock.now();
        match &self.source {
            Source::Files(pair) => {
                self.serve(contents.as_certificate(pair, now)?, metrics, "its files have changed");
                Ok(())
            }
            Source::Ca(pair, leaves) => {
                self.adopt(Arc::new(contents.as_authority(pair, now)?), leaves, metrics)
            }
            Source::Ephemeral(_) => Ok(()),
            #[cfg(feature = "cluster")]
            Source::Managed(..) => Ok(()),
        }
    }

    /// Signs with this CA from now on, if it can.
    fn adopt(
        &self,
        authority: Arc<Authority>,
        leaves: &Leaves,
        metrics: &Metrics,
    ) -> Result<(), TlsError> {
        let is_known = self
            .authority
            .load()
            .as_ref()
            .is_some_and(|known| known.certificate() == authority.certificate());
        if is_known {
            return Ok(());
        }
        let leaf = authority.issue(&self.names, self.clock.now(), leaves.lifetime)?;
        self.authority.store(Some(authority));
        self.serve(leaf, metrics, "there is another CA");
        Ok(())
    }

    /// Follows a certificate that is made here by the next one when it is time, by the clock on the
    /// wall: timers stand still while a machine sleeps. Where that clock was set, the certificate
    /// may be one of the future.
    fn renew(&self, metrics: &Metrics) -> Result<(), TlsError> {
        let now = self.clock.now();
        let is_due =
            |served: &Arc<Served>| served.renew_at <= now || served.validity.check(now).is_err();
        let is_due = self.served.load().as_ref().is_none_or(is_due);
        if let (Some(leaves), Some(authority), true) =
            (self.source.leaves(), self.authority.load().as_ref(), is_due)
        {
            self.serve(authority.issue(&self.names, now, leaves.lifetime)?, metrics, "it is time");
        }
        Ok(())
    }

    fn serve(&self, certificate: ServingCertificate, metrics: &Metrics, reason: &str) {
        self.served.store(Some(Arc::new(Served::new(certificate, self.clock.now()))));
        metrics.count_certificate_reload(Reload::Done);
        tracing::info!(reason, "a new certificate is served");
    }

    /// Says what is wrong, once: what is tried again and again fails for the same reason.
    fn report(
        &self,
        problem: Option<String>,
        is_changed: bool,
        is_rejected: bool,
        metrics: &Metrics,
    ) {
        let is_new = is_changed || self.state.load().problem != problem;
        if let Some(problem) = problem.as_ref().filter(|_| is_new) {
            metrics.count_certificate_reload(Reload::Failed);
            tracing::error!(%problem, "the certificate was not replaced; the old one stays in use");
        }
        self.state.store(Arc::new(State { problem, is_rejected }));
    }

    fn gauge(&self, metrics: &Metrics) {
        if let Some(served) = self.served.load().as_ref() {
            let not_after =
                served.validity.not_after.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            metrics.certificate_expiry.set(not_after.try_into().unwrap_or(i64::MAX));
        }
        let Condition { not_ready, certificate, client_ca: _ } = self.condition();
        metrics.certificate_problem.set((not_ready.is_some() || !certificate.is_empty()).into());
    }

    /// Looks after the shared CA, and serves leaves of it; an API server that is away changes
    /// nothing about those.
    #[cfg(feature = "cluster")]
    async fn run_managed(&self, settings: &ManagedCa, leaves: &Leaves, metrics: &Metrics) {
        let mut manager = Manager::new(settings.clone(), self.clock.clone());
        loop {
            let adopted = match manager.manage().await {
                Ok(current) => {
                    self.adopt(current, leaves, metrics).map_err(|error| error.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            let result = adopted.and(self.renew(metrics).map_err(|error| error.to_string()));
            let is_rejected = self.authority.load().is_none() || manager.is_rejected();
            self.report(result.err(), false, is_rejected, metrics);
            self.gauge(metrics);
            tokio::time::sleep(self.interval()).await;
        }
    }

    fn interval(&self) -> Duration {
        self.source.leaves().map_or(INTERVAL, |leaves| INTERVAL.min(leaves.lifetime / 10))
    }

    /// What is in the source's files, whether that can be used or not.
    async fn read(&self) -> Option<Contents> {
        let pair = self.source.pair()?.clone();
        tokio::task::spawn_blocking(move || Contents::read(&pair)).await.ok()
    }

    /// One that is never renewed.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let source = Source::Ephemeral(Leaves {
            listen: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            dns_names: Vec::new(),
            lifetime: Duration::from_secs(3600),
        });
        Self::new(source, None).unwrap()
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
    fn new(certificate: ServingCertificate, now: SystemTime) -> Self {
        let ServingCertificate { key, ca_bundle, validity } = certificate;
        let left = validity.not_after.duration_since(now).unwrap_or_default();
        // At two thirds of its life, and not at the same moment in every replica.
        let renew_at = now + left.mul_f64(2.0 / 3.0 - jitter() / 10.0);
        Self { key: Arc::new(key), ca_bundle, validity, renew_at }
    }
}

/// From 0 to 1, another one each time. The standard library seeds its hash maps by chance, which is
/// enough for this.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let chance = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(chance >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_that_a_clock_has_left_behind_is_replaced_at_once() {
        let certificates = Certificates::for_tests();
        let metrics = Metrics::new(Box::new(|| 0));
        let authority = certificates.authority.load_full().unwrap();
        let (now, month) = (SystemTime::now(), Duration::from_secs(30 * 24 * 3600));
        for (clock, expected) in [
            (now + month, "the certificate is not valid before "),
            (now - month, "the certificate expired at "),
        ] {
            let leaf = authority.issue(&[], clock, Duration::from_secs(3600)).unwrap();
            certificates.served.store(Some(Arc::new(Served::new(leaf, clock))));
            let not_ready = certificates.condition().not_ready.unwrap();
            assert!(not_ready.starts_with(expected), "{not_ready}");
            certificates.renew(&metrics).unwrap();
            assert_eq!(certificates.condition().not_ready, None);
        }
    }
}
