//! Whether the API server accepts the certificate of the webhook.
//!
//! The API server verifies it with only the `caBundle` of the registration, for the Service's name
//! or the URL's host. This check does the same, after a handshake that accepts any certificate. So
//! it can describe a wrong certificate too.

mod probe;

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::ParsedCertificate;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::doctor::finding::Finding;
use crate::doctor::snapshot::backend::{Backend, Found, Target};
use crate::doctor::snapshot::registration::Registered;

use probe::served_by;

/// The maximum number of replicas to connect to.
const MAX_PROBES: usize = 8;

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) async fn check(
    registered: &Registered,
    backends: &[Backend],
    is_mutated: Option<bool>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (webhook, backend) in registered.webhooks.iter().zip(backends) {
        let bundle = webhook
            .client_config
            .ca_bundle
            .as_ref()
            .map(|bundle| bundle.0.as_slice())
            .unwrap_or_default();
        findings.push(check_backend(bundle, backend, is_mutated).await);
    }
    findings
}

async fn check_backend(bundle: &[u8], backend: &Backend, is_mutated: Option<bool>) -> Finding {
    let authorities = match authorities(bundle) {
        Ok(authorities) => authorities,
        Err(CertificateFault::Empty) if is_mutated == Some(true) => {
            return Finding::passed(
                "caBundle is empty, and the API server takes the certificate as it does any public one",
            );
        }
        Err(fault) => return fault.finding(""),
    };
    let targets: &[Target] = match &backend.found {
        Found::Url(target, _) => std::slice::from_ref(target),
        Found::Service(service) => &service.ready,
        Found::Gone(_) | Found::Nowhere(_) | Found::Unreadable(_) => &[],
    };
    let (mut seen, mut wrong, mut unreached) = (None, None, None);
    for target in targets.iter().take(MAX_PROBES) {
        match served_by(target, &backend.server_name).await {
            Ok(chain) => match judge(&authorities, &chain, &backend.server_name, SystemTime::now())
            {
                Ok(validity) => seen = Some(validity.finding()),
                Err(fault) => wrong = Some((fault, target)),
            },
            Err(reason) => {
                unreached = Some(format!("{target} cannot be reached from here: {reason}"));
            }
        }
    }
    if let Some((fault, target)) = wrong {
        let finding = fault.finding(&format!(" of {target}"));
        let is_another =
            matches!(fault, CertificateFault::Untrusted { .. } | CertificateFault::Name { .. });
        // Outside the cluster, a pod's address may belong to another machine.
        if is_another && seen.is_none() && is_mutated == Some(true) {
            let message = format!(
                "{}; but the API server takes what it meets: from here that may be another machine",
                finding.message
            );
            return Finding::unknown(message, advice_where_unreached(backend));
        }
        return finding;
    }
    seen.unwrap_or_else(|| {
        let reason =
            unreached.unwrap_or_else(|| "there is nobody to ask for the certificate".to_owned());
        let taken = if is_mutated == Some(true) {
            "the API server takes the certificate, but its end cannot be seen: "
        } else {
            ""
        };
        Finding::unknown(format!("{taken}{reason}"), advice_where_unreached(backend))
    })
}

fn advice_where_unreached(backend: &Backend) -> String {
    match &backend.found {
        Found::Service(service) if !service.ready.is_empty() => format!(
            "run this in the cluster, or look by hand: kubectl --namespace {} port-forward service/{} 8443:443, and openssl s_client \
             -connect 127.0.0.1:8443 -servername {} </dev/null | openssl x509 -noout -dates -ext subjectAltName",
            service.namespace, service.name, backend.server_name
        ),
        Found::Url(target, _) => {
            format!(
                "openssl s_client -connect {target} </dev/null | openssl x509 -noout -dates -ext subjectAltName"
            )
        }
        _ => "see the endpoints below".to_owned(),
    }
}

/// The certificates of a `caBundle`.
fn authorities(bundle: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bundle).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) if bundle.trim_ascii().is_empty() => Err(CertificateFault::Empty),
        Ok(_) | Err(_) => Err(CertificateFault::Garbage),
    }
}

/// A valid certificate.
#[derive(Debug, PartialEq, Eq)]
struct CertificateHealth {
    /// From its beginning to its end.
    lifetime: Duration,
    /// From now to its end.
    left: Duration,
    names: String,
}

/// Why the API server rejects a certificate.
#[derive(Debug, PartialEq, Eq)]
enum CertificateFault {
    /// There is no `caBundle`.
    Empty,
    /// The `caBundle` is not PEM.
    Garbage,
    /// No CA of the `caBundle` has signed it. `ended` is the number of expired CAs.
    Untrusted { issuer: String, ended: usize },
    /// It is for other names.
    Name { wanted: String, names: String },
    /// It expired this long ago.
    Ended(Duration),
    /// It becomes valid in this time.
    NotYet(Duration),
    /// It cannot be read.
    Unreadable(String),
}

/// Verifies as the API server does (Go's `x509.Certificate.Verify`).
fn judge(
    authorities: &[CertificateDer<'static>],
    chain: &[CertificateDer<'static>],
    server_name: &str,
    now: SystemTime,
) -> Result<CertificateHealth, CertificateFault> {
    let unreadable =
        |error: &dyn std::fmt::Display| CertificateFault::Unreadable(error.to_string());
    let (leaf, intermediates) = chain.split_first().ok_or_else(|| unreadable(&"none is served"))?;
    let (_, parsed) =
        x509_parser::parse_x509_certificate(leaf).map_err(|error| unreadable(&error))?;
    let (begin, end) =
        (at(parsed.validity().not_before.timestamp()), at(parsed.validity().not_after.timestamp()));
    let names = names_of(&parsed);
    if end <= now {
        return Err(CertificateFault::Ended(now.duration_since(end).unwrap_or_default()));
    }
    if begin > now {
        return Err(CertificateFault::NotYet(begin.duration_since(now).unwrap_or_default()));
    }
    // Go rejects an expired CA, and accepts a certificate that is itself in the bundle. webpki does
    // the opposite in both cases.
    let ended = authorities
        .iter()
        .filter(|authority| end_of(authority).is_none_or(|end| end <= now))
        .count();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(
        authorities
            .iter()
            .filter(|authority| end_of(authority).is_some_and(|end| end > now))
            .cloned(),
    );
    let certificate = ParsedCertificate::try_from(leaf).map_err(|error| unreadable(&error))?;
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let algorithms = ring::default_provider().signature_verification_algorithms;
    let is_signed = verify_server_cert_signed_by_trust_anchor(
        &certificate,
        &roots,
        intermediates,
        UnixTime::since_unix_epoch(seconds),
        algorithms.all,
    )
    .is_ok();
    if !is_signed && !authorities.contains(leaf) {
        return Err(CertificateFault::Untrusted { issuer: parsed.issuer().to_string(), ended });
    }
    let wanted = ServerName::try_from(server_name).map_err(|error| unreadable(&error))?;
    if verify_server_name(&certificate, &wanted).is_err() {
        return Err(CertificateFault::Name { wanted: server_name.to_owned(), names });
    }
    Ok(CertificateHealth {
        lifetime: end.duration_since(begin).unwrap_or_default(),
        left: end.duration_since(now).unwrap_or_default(),
        names,
    })
}

/// Its subject alternative names, each once. Go ignores the common name.
fn names_of(certificate: &X509Certificate) -> String {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let mut names: Vec<String> = Vec::new();
    for name in
        extension.iter().flat_map(|extension| &extension.value.general_names).filter_map(shown_name)
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn at(timestamp: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(timestamp).unwrap_or_default())
}

fn end_of(certificate: &CertificateDer) -> Option<SystemTime> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(at(parsed.validity().not_after.timestamp()))
}

fn shown_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(bytes) => Some(std::net::Ipv4Addr::from(bytes).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    }
}

impl CertificateHealth {
    fn finding(&self) -> Finding {
        let Self { lifetime, left, names } = self;
        let message =
            format!("caBundle verifies what is served, for {names}; {} left", shown(*left));
        // Renewal is usual at two thirds of the lifetime; in the last tenth, it has failed.
        if *left < (*lifetime / 10).min(DAY * 7) {
            return Finding::failed(
                message,
                "it should have been renewed: read the log of the webhook, or renew your certificate",
            );
        }
        Finding::passed(message)
    }
}

impl CertificateFault {
    fn finding(&self, of: &str) -> Finding {
        let put = "with --ca-secret the replicas write it within a minute: read /readyz and their log; else put your CA there";
        let (message, advice) = match self {
            Self::Empty => ("caBundle is empty".to_owned(), put),
            Self::Garbage => ("caBundle holds no PEM certificates".to_owned(), put),
            Self::Untrusted { issuer, ended } => {
                let mut message = format!(
                    "caBundle does not verify the certificate{of}, which {issuer} has signed"
                );
                if *ended > 0 {
                    // Writing to a String never fails.
                    let _ = write!(message, "; {ended} of its CAs ended");
                }
                (message, put)
            }
            Self::Name { wanted, names } => (
                format!("the certificate{of} is for {names}, and not for {wanted}"),
                "give the webhook that name by --dns-name, or put it into your certificate",
            ),
            Self::Ended(ago) => (
                format!("the certificate{of} expired {} ago", shown(*ago)),
                "read the log of the webhook: spark_webhook_certificate_problem says why it was not renewed; or renew your files",
            ),
            Self::NotYet(later) => (
                format!("the certificate{of} is valid only in {}", shown(*later)),
                "compare the clocks of this machine and of who made the certificate",
            ),
            Self::Unreadable(reason) => (
                format!("the certificate{of} cannot be read: {reason}"),
                "give the webhook another one",
            ),
        };
        Finding::failed(message, advice)
    }
}

/// In days, below two days in hours, below two hours in minutes.
fn shown(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} min"),
        120..2880 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / (24 * 60)),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    fn params(names: &[&str], from: SystemTime, to: SystemTime) -> CertificateParams {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                .unwrap();
        (params.not_before, params.not_after) = (from.into(), to.into());
        params
    }

    #[test]
    fn a_certificate_is_judged_as_the_api_server_does() {
        let now = SystemTime::now();
        let (past, future) = (now - DAY * 10, now + DAY * 10);
        let mut ca_params = params(&[], past, future);
        ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = ca_params.self_signed(&key).unwrap();
        let other_ca = ca_params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        ca_params.not_after = (now - DAY).into();
        let ended_ca = ca_params.self_signed(&key).unwrap();
        let issuer = Issuer::from_ca_cert_der(ca.der(), key).unwrap();
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = |names: &[&str], from, to| {
            params(names, from, to).signed_by(&leaf_key, &issuer).unwrap().der().clone()
        };
        let service = "hook.spark.svc";
        let self_signed = params(&[service], past, future).self_signed(&leaf_key).unwrap();
        let good = || leaf(&[service, "127.0.0.1"], past, future);
        for (bundle, served, name, expected) in [
            (
                ca.pem(),
                good(),
                service,
                "passed: caBundle verifies what is served, for hook.spark.svc, 127.0.0.1; 9 days left",
            ),
            (ca.pem(), good(), "127.0.0.1", "passed: "),
            (format!("{}{}", other_ca.pem(), ca.pem()), good(), service, "passed: "),
            (self_signed.pem(), self_signed.der().clone(), service, "passed: "),
            (
                ca.pem(),
                good(),
                "other.spark.svc",
                "failed: the certificate of it is for hook.spark.svc, 127.0.0.1, and not for other.spark.svc",
            ),
            (
                ca.pem(),
                leaf(&[], past, future),
                service,
                "failed: the certificate of it is for none",
            ),
            (
                other_ca.pem(),
                good(),
                service,
                "failed: caBundle does not verify the certificate of it",
            ),
            (
                ended_ca.pem(),
                good(),
                service,
                "failed: caBundle does not verify the certificate of it, which CN=rcgen self signed cert has signed; 1 of its CAs ended",
            ),
            (
                ca.pem(),
                leaf(&[service], past, now - DAY * 3),
                service,
                "failed: the certificate of it expired 3 days ago",
            ),
            (
                ca.pem(),
                leaf(&[service], now + DAY * 3, future),
                service,
                "failed: the certificate of it is valid only in ",
            ),
            (
                ca.pem(),
                leaf(&[service], past, now + DAY / 2),
                service,
                "failed: caBundle verifies what is served, for hook.spark.svc; 11 h left",
            ),
        ] {
            let finding =
                match judge(&authorities(bundle.as_bytes()).unwrap(), &[served], name, now) {
                    Ok(validity) => validity.finding(),
                    Err(fault) => fault.finding(" of it"),
                };
            let shown = format!("{}: {}", finding.status.as_str(), finding.message);
            assert!(shown.starts_with(expected), "{shown}\n{expected}");
        }
        for (bundle, expected) in [
            ("", CertificateFault::Empty),
            ("\n", CertificateFault::Empty),
            ("x", CertificateFault::Garbage),
        ] {
            assert_eq!(authorities(bundle.as_bytes()), Err(expected), "{bundle:?}");
        }
    }
}
