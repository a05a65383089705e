//! Replaces the certificate before it expires, and when its source has another one.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use tokio_util::sync::CancellationToken;

use super::clients::ClientCas;
use super::source::{ActiveSource, Look, Replacement};
use super::{CertificateHealth, Certificates, Status};
use crate::metrics::{Metrics, Reload};
use crate::watched::{self, WatchedFile};

/// Keeps the certificate valid, and follows `--client-ca`.
pub struct Renewal {
    pub(super) certificates: Arc<Certificates>,
    pub(super) source: ActiveSource,
    pub(super) client_ca: Option<(Arc<ClientCas>, WatchedFile<Vec<u8>>)>,
}

impl Renewal {
    /// Runs until the server stops.
    pub async fn run(self, metrics: Arc<Metrics>, stopping: CancellationToken) {
        let Self { certificates, source, client_ca } = self;
        let follow_client_ca = async {
            if let Some((cas, file)) = client_ca {
                cas.run(file, watched::INTERVAL, &metrics).await;
            }
        };
        let run = async { tokio::join!(renew(&certificates, source, &metrics), follow_client_ca) };
        stopping.run_until_cancelled(run).await;
    }
}

/// Looks at the source again and again: at once where there is no certificate yet.
async fn renew(certificates: &Certificates, mut source: ActiveSource, metrics: &Metrics) {
    if certificates.served.load().is_some() {
        certificates.gauge(metrics);
        tokio::time::sleep(source.interval()).await;
    }
    loop {
        let look = source.look(&certificates.clock).await;
        certificates.take(look, metrics);
        certificates.gauge(metrics);
        tokio::time::sleep(source.interval()).await;
    }
}

impl Certificates {
    /// Serves the new certificate, if there is one. Reports a problem once: a look after it fails
    /// for the same reason.
    fn take(&self, look: Look, metrics: &Metrics) {
        let Look { replacement, problem, is_changed, is_rejected } = look;
        if let Some(Replacement { certificate, reason }) = replacement {
            self.served.store(Some(Arc::new(certificate)));
            metrics.count_certificate_reload(Reload::Done);
            tracing::info!(reason, "a new certificate is served");
        }
        let is_new = is_changed || self.status.load().problem != problem;
        if let Some(problem) = problem.as_ref().filter(|_| is_new) {
            metrics.count_certificate_reload(Reload::Failed);
            tracing::error!(%problem, "the certificate was not replaced; the old one stays in use");
        }
        self.status.store(Arc::new(Status { problem, is_rejected }));
    }

    fn gauge(&self, metrics: &Metrics) {
        if let Some(served) = self.served.load().as_ref() {
            let not_after =
                served.validity.not_after.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            metrics.certificate_expiry.set(not_after.try_into().unwrap_or(i64::MAX));
        }
        let CertificateHealth { not_ready, certificate, client_ca: _ } = self.health();
        metrics.certificate_problem.set((not_ready.is_some() || !certificate.is_empty()).into());
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::source::tests::{HOUR, authority, ephemeral, leaves};
    use super::super::{CertificateSource, Validity};
    use super::*;

    fn metrics() -> Metrics {
        Metrics::new(Box::new(|| 0))
    }

    /// How many certificates were replaced, and how many were not.
    fn reloads(metrics: &Metrics) -> [String; 2] {
        let text = metrics.write().unwrap();
        ["done", "failed"].map(|result| {
            let name = format!("spark_webhook_certificate_reloads_total{{result=\"{result}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().to_owned()
        })
    }

    #[test]
    fn a_problem_counts_once_and_again_when_the_files_have_changed() {
        let (certificates, metrics) = (Certificates::for_tests(), metrics());
        let problem = |problem: &str, is_changed: bool| Look {
            problem: Some(problem.to_owned()),
            is_changed,
            is_rejected: problem == "rejected",
            ..Look::default()
        };
        for (look, [done, failed], is_ready, is_well) in [
            (Look::default(), ["0", "0"], true, true),
            (problem("x", true), ["0", "1"], true, false),
            (problem("x", false), ["0", "1"], true, false),
            (problem("x", true), ["0", "2"], true, false),
            (problem("rejected", false), ["0", "3"], false, false),
            (Look::default(), ["0", "3"], true, true),
        ] {
            certificates.take(look, &metrics);
            assert_eq!(reloads(&metrics), [done, failed]);
            let CertificateHealth { not_ready, certificate, client_ca: _ } = certificates.health();
            assert_eq!((not_ready.is_none(), certificate.is_empty()), (is_ready, is_well));
            certificates.gauge(&metrics);
            assert_eq!(metrics.certificate_problem.get(), i64::from(!is_well));
        }
    }

    #[test]
    fn a_new_certificate_is_served_and_the_metrics_tell_when_it_expires() {
        let (certificates, metrics) = (Certificates::for_tests(), metrics());
        let now = SystemTime::now();
        let leaf = authority(now, HOUR).issue(&[], now, HOUR / 2).unwrap();
        let (key, Validity { not_after, .. }) = (leaf.key.clone(), leaf.validity);
        let replacement = Some(Replacement { certificate: leaf, reason: "test" });
        certificates.take(Look { replacement, ..Look::default() }, &metrics);
        assert!(Arc::ptr_eq(&certificates.served.load_full().unwrap().key, &key));
        assert_eq!(reloads(&metrics), ["1", "0"]);
        certificates.gauge(&metrics);
        let seconds = not_after.duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(u64::try_from(metrics.certificate_expiry.get()), Ok(seconds));
    }

    #[tokio::test]
    async fn the_certificate_is_renewed_until_the_server_stops() {
        let source = CertificateSource::Ephemeral(leaves(Duration::from_millis(100)));
        let (certificates, renewal) = Certificates::start(source, None).unwrap();
        let (metrics, stopping) = (Arc::new(metrics()), CancellationToken::new());
        let running = tokio::spawn(renewal.run(metrics.clone(), stopping.clone()));
        let renewed = async {
            while reloads(&metrics)[0] == "0" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let timeout = Duration::from_secs(30);
        tokio::time::timeout(timeout, renewed).await.unwrap();
        assert_ne!(metrics.certificate_expiry.get(), 0);
        assert_ne!(certificates.ca_bundle(), "");
        stopping.cancel();
        tokio::time::timeout(timeout, running).await.unwrap().unwrap();
    }

    /// The first look comes after the interval: the certificate is new.
    #[tokio::test]
    async fn the_metrics_tell_of_the_first_certificate_at_once() {
        let (certificates, renewal) = Certificates::start(ephemeral(), None).unwrap();
        let metrics = metrics();
        tokio::select! {
            biased;
            () = renew(&certificates, renewal.source, &metrics) => {}
            () = tokio::task::yield_now() => {}
        }
        assert_ne!(metrics.certificate_expiry.get(), 0);
    }
}
