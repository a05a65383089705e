//! A CA whose key is here, and the short-lived leaves that it signs in memory: never written
//! anywhere, and renewed in time.
//!
//! Clocks differ. So what is signed here is valid from some time ago, and a leaf is valid only
//! while its CA is.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::crypto::ring::sign::any_supported_type;
use tokio_rustls::rustls::sign::CertifiedKey;

use super::certificate::{Certificate, Mismatch, Role, begins_with};
use super::key::{self, CaKey};
use super::validity::Validity;
use super::{ServingCertificate, TlsError};

/// Names under which a process on the same machine is reached.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A leaf is valid from so long ago: longer than a clock is wrong by whose time zone is.
const LEAF_BACKDATED: Duration = Duration::from_secs(24 * 3600);

/// A CA is valid from so long ago: a leaf fits into it from the first moment on.
#[cfg(any(test, feature = "cluster"))]
const CA_BACKDATED: Duration = Duration::from_secs(7 * 24 * 3600);

/// Longer than any process runs.
const EPHEMERAL_LIFETIME: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A CA that signs here.
#[derive(Debug)]
pub(super) struct Authority {
    issuer: Issuer<'static, CaKey>,
    certificate: Certificate,
    /// What a server shows after a leaf: the certificates from the leaf to below a root.
    intermediates: Vec<Certificate>,
}

/// Why a CA cannot sign: what is wrong with its certificate or its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CaError {
    Certificate(String),
    Key(String),
    Mismatch(Mismatch),
}

impl Authority {
    /// Makes a CA that ends with the process. Whatever becomes of the clock meanwhile, it is valid.
    pub(super) fn ephemeral(now: SystemTime) -> Result<Self, TlsError> {
        let validity =
            Validity { not_before: SystemTime::UNIX_EPOCH, not_after: now + EPHEMERAL_LIFETIME };
        let (certificate, key) = generate("spark-webhook ephemeral CA", validity)?;
        let authority = Self::from_pem(certificate.as_bytes(), key.as_bytes(), "");
        authority.map_err(|error| {
            TlsError::Authority(format!("the CA that was made cannot be used: {error:?}"))
        })
    }

    /// Makes a CA to keep: its certificate and its key, in PEM.
    #[cfg(any(test, feature = "cluster"))]
    pub(super) fn generate(
        name: &str,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<(String, String), rcgen::Error> {
        generate(name, Validity { not_before: now - CA_BACKDATED, not_after: now + lifetime })
    }

    pub(super) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// When its leaves are trusted: while it and what leads to it are valid.
    pub(super) fn validity(&self) -> Validity {
        self.intermediates
            .iter()
            .fold(self.certificate.validity, |validity, other| validity.and(other.validity))
    }

    /// Reads a CA's certificate and key, in PEM, and checks that they belong together, but not
    /// whether the CA is valid now. What leads to a root may follow the certificate. The commands
    /// in an error call the key's file `key_file`.
    pub(super) fn from_pem(
        certificates: &[u8],
        key: &[u8],
        key_file: &str,
    ) -> Result<Self, CaError> {
        let in_certificate = |reason: &str| CaError::Certificate(reason.to_owned());
        let certificates = Certificate::read_all(certificates).map_err(CaError::Certificate)?;
        let key = key::read(key, key_file).map_err(CaError::Key)?;
        begins_with(&certificates, &*key).map_err(CaError::Mismatch)?;
        let intermediates =
            certificates.iter().filter(|certificate| !certificate.is_root()).cloned().collect();
        let Some(certificate) = certificates.into_iter().next() else {
            return Err(CaError::Mismatch(Mismatch::Key));
        };
        match certificate.role {
            Role::Ca => {}
            Role::CaThatMayNotSign => {
                return Err(in_certificate(
                    "the CA may not sign certificates; give one whose keyUsage has keyCertSign",
                ));
            }
            Role::Leaf => {
                return Err(in_certificate(
                    "the certificate is not that of a CA; give one with basicConstraints CA:TRUE",
                ));
            }
        }
        let key = CaKey::new(&*key).map_err(|error| CaError::Key(error.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(&certificate.der, key).map_err(|error| {
            in_certificate(&format!(
                "{error}; give a CA with a simple subject, such as CN=spark-webhook"
            ))
        })?;
        Ok(Self { issuer, certificate, intermediates })
    }

    /// Signs a new leaf with a new key.
    pub(super) fn issue(
        &self,
        names: &[SanType],
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<ServingCertificate, TlsError> {
        self.validity()
            .check(now)
            .map_err(|invalid| TlsError::Authority(format!("the CA {invalid}")))?;
        let validity = Validity { not_before: now - LEAF_BACKDATED, not_after: now + lifetime }
            .and(self.validity());
        let mut leaf = CertificateParams::default();
        leaf.subject_alt_names = names.to_vec();
        leaf.distinguished_name.push(DnType::CommonName, "spark-webhook");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.not_before = validity.not_before.into();
        leaf.not_after = validity.not_after.into();
        let key = KeyPair::generate()?;
        let leaf = Certificate::parse(leaf.signed_by(&key, &self.issuer)?.der().clone())
            .map_err(TlsError::Authority)?;
        // rcgen writes one attribute of each type. Nobody trusts a leaf of an issuer with another
        // name.
        if leaf.issuer != self.certificate.subject {
            return Err(TlsError::Authority(
                "the CA's subject has an attribute twice; give a CA with a simple subject, such as CN=spark-webhook".to_owned(),
            ));
        }
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let intermediates = self.intermediates.iter().map(|certificate| certificate.der.clone());
        let chain = std::iter::once(leaf.der).chain(intermediates).collect();
        let key = CertifiedKey::new(chain, any_supported_type(&key)?);
        Ok(ServingCertificate {
            key: Arc::new(key),
            ca_bundle: self.certificate.to_pem(),
            validity: leaf.validity,
        })
    }
}

fn generate(name: &str, validity: Validity) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.not_before = validity.not_before.into();
    params.not_after = validity.not_after.into();
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// The subject alternative names of a leaf: this machine, the address that is listened on, and
/// more.
pub(super) fn names(listen: IpAddr, more: &[String]) -> Result<Vec<SanType>, TlsError> {
    let mut names = CertificateParams::new(LOCAL_NAMES.map(str::to_owned))?.subject_alt_names;
    if !listen.is_unspecified() {
        names.push(SanType::IpAddress(listen));
    }
    for name in more {
        names.push(subject_alternative_name(name).ok_or_else(|| TlsError::Name(name.clone()))?);
    }
    Ok(names)
}

fn subject_alternative_name(name: &str) -> Option<SanType> {
    if let Ok(address) = name.parse() {
        return Some(SanType::IpAddress(address));
    }
    rustls_pki_types::DnsName::try_from(name).ok()?;
    Ia5String::try_from(name).ok().map(SanType::DnsName)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn names_are_dns_names_or_ip_addresses() {
        let last = |name: &str| {
            names(LOCALHOST, &[name.to_owned()]).map(|names| names.into_iter().next_back())
        };
        let dns_name = |name: &str| Some(SanType::DnsName(Ia5String::try_from(name).unwrap()));
        let address = |address: &str| Some(SanType::IpAddress(address.parse().unwrap()));
        for (name, expected) in [
            ("spark-webhook.spark.svc", dns_name("spark-webhook.spark.svc")),
            ("10.0.0.1", address("10.0.0.1")),
            ("fd00::1", address("fd00::1")),
        ] {
            assert_eq!(last(name).unwrap(), expected, "{name}");
        }
        for name in
            ["", "a b", "grün", "a..b", "https://x", "10.0.0.1:8443", "[fd00::1]", "10.0.0.256"]
        {
            let error = last(name).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!(
                    "--dns-name {name:?} is neither a DNS name nor an IP address"
                )),
                "{error}"
            );
        }
    }

    #[test]
    fn the_address_that_is_listened_on_is_a_name_unless_it_stands_for_all() {
        let address = |address: &str| SanType::IpAddress(address.parse().unwrap());
        for (listen, expected) in
            [("10.0.0.1", true), ("fd00::1", true), ("0.0.0.0", false), ("::", false)]
        {
            let names = names(listen.parse().unwrap(), &[]).unwrap();
            assert_eq!(names.contains(&address(listen)), expected, "{listen}");
            assert!(names.contains(&address("127.0.0.1")), "{listen}");
        }
    }

    #[test]
    fn an_ephemeral_ca_is_valid_whatever_becomes_of_the_clock() {
        let now = SystemTime::now();
        let year = 365 * 24 * HOUR;
        let ca = Authority::ephemeral(now).unwrap().validity();
        assert_eq!(ca.not_before, SystemTime::UNIX_EPOCH);
        assert!(ca.not_after > now + 99 * year && ca.not_after < now + 101 * year, "{ca:?}");
    }

    fn authority(now: SystemTime, lifetime: Duration) -> Authority {
        let (certificate, key) = Authority::generate("test", now, lifetime).unwrap();
        Authority::from_pem(certificate.as_bytes(), key.as_bytes(), "").unwrap()
    }

    #[test]
    fn a_leaf_is_valid_from_yesterday_and_only_while_its_ca_is() {
        let now = SystemTime::now();
        let ca = authority(now, 24 * HOUR);
        // Certificates have whole seconds.
        let is_at = |time: SystemTime, expected: SystemTime| {
            assert!(
                time <= expected && time + Duration::from_secs(1) > expected,
                "{time:?} {expected:?}"
            );
        };
        let leaf = |now: SystemTime| ca.issue(&[], now, HOUR).unwrap().validity;
        is_at(ca.validity().not_before, now - 7 * 24 * HOUR);
        is_at(leaf(now).not_before, now - 24 * HOUR);
        is_at(leaf(now).not_after, now + HOUR);
        is_at(leaf(now + 23 * HOUR + HOUR / 2).not_after, now + 24 * HOUR);
        assert!(
            leaf(now).not_before > ca.validity().not_before,
            "also at the first moment of a CA"
        );
        let early = ca.validity().not_before + HOUR;
        assert_eq!(leaf(early).not_before, ca.validity().not_before);
        for (now, expected) in [
            (now + 25 * HOUR, "the CA expired at "),
            (now - 8 * 24 * HOUR, "the CA is not valid before "),
        ] {
            let error = ca.issue(&[], now, HOUR).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    #[test]
    fn a_ca_that_cannot_sign_says_why() {
        let key = KeyPair::generate().unwrap();
        let ca = params().self_signed(&key).unwrap().pem();
        let no_ca = CertificateParams::default().self_signed(&key).unwrap().pem();
        let mut params = params();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let may_not_sign = params.self_signed(&key).unwrap().pem();
        let other = KeyPair::generate().unwrap();
        let ca_of_other = params.self_signed(&other).unwrap().pem();
        let (key, other) = (key.serialize_pem(), other.serialize_pem());
        let certificate = |reason: &str| CaError::Certificate(reason.to_owned());
        for (certificates, key, expected) in [
            ("x", &*key, certificate("expected a PEM certificate, found none")),
            (
                &ca,
                "x",
                CaError::Key(
                    "expected a PEM private key (PKCS#8, PKCS#1 or SEC1), found none".to_owned(),
                ),
            ),
            (
                &no_ca,
                &key,
                certificate(
                    "the certificate is not that of a CA; give one with basicConstraints CA:TRUE",
                ),
            ),
            (
                &may_not_sign,
                &key,
                certificate(
                    "the CA may not sign certificates; give one whose keyUsage has keyCertSign",
                ),
            ),
            (&ca, &other, CaError::Mismatch(Mismatch::Key)),
            (&(ca.clone() + &ca_of_other), &other, CaError::Mismatch(Mismatch::Order(2))),
        ] {
            assert_eq!(
                Authority::from_pem(certificates.as_bytes(), key.as_bytes(), "").unwrap_err(),
                expected
            );
        }
        let authority = Authority::from_pem(ca.as_bytes(), key.as_bytes(), "").unwrap();
        assert_eq!(
            authority.issue(&[], SystemTime::now(), HOUR).unwrap().ca_bundle.lines().count(),
            ca.lines().count()
        );
    }

    #[test]
    fn what_leads_to_a_root_is_shown_after_the_leaf_and_ends_it() {
        let root_key = KeyPair::generate().unwrap();
        let mut root = params();
        root.distinguished_name.push(DnType::CommonName, "root");
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let root = Issuer::new(root, root_key);
        let now = SystemTime::now();
        let key = KeyPair::generate().unwrap();
        let mut intermediate = params();
        intermediate.distinguished_name.push(DnType::CommonName, "intermediate");
        intermediate.not_after = (now + HOUR / 2).into();
        let intermediate = intermediate.signed_by(&key, &root).unwrap();
        let certificates = intermediate.pem() + &root_pem;
        let ca = Authority::from_pem(certificates.as_bytes(), key.serialize_pem().as_bytes(), "")
            .unwrap();
        let leaf = ca.issue(&[], now, HOUR).unwrap();
        assert_eq!(leaf.key.cert[1..], [intermediate.der().clone()]);
        assert!(leaf.validity.not_after <= now + HOUR / 2);
        assert_eq!(leaf.ca_bundle, ca.certificate.to_pem());
        let self_signed = authority(now, HOUR).issue(&[], now, HOUR).unwrap();
        assert_eq!(self_signed.key.cert.len(), 1);
    }

    /// As Active Directory's certificate services name their CAs.
    #[test]
    fn a_ca_with_a_subject_that_cannot_be_written_signs_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let subject = "/DC=example/DC=corp/CN=Corp CA";
        let arguments = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            subject,
        ];
        let mut openssl = std::process::Command::new("openssl");
        openssl
            .args(arguments)
            .args(["-keyout", "ca.key", "-out", "ca.crt"])
            .current_dir(directory.path());
        assert!(openssl.output().unwrap().status.success());
        let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
        let error = Authority::from_pem(&read("ca.crt"), &read("ca.key"), "")
            .unwrap()
            .issue(&[], SystemTime::now() + HOUR, HOUR)
            .unwrap_err();
        assert!(
            error.to_string().starts_with("the CA's subject has an attribute twice"),
            "{error}"
        );
    }
}
