//! A CA whose key is here, and the short-lived leaves that it signs in memory: never written anywhere, and renewed in time.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::crypto::ring::sign::any_supported_type;
use tokio_rustls::rustls::sign::CertifiedKey;

use super::{ServingCertificate, TlsError, not_after};

/// Names under which a process on the same machine is reached.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Clocks of an API server and of this machine may differ by so much.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// A CA that signs here.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    not_after: SystemTime,
}

impl Authority {
    /// Makes a CA that ends with the process.
    pub(super) fn ephemeral() -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let params = ca_params("spark-webhook ephemeral CA");
        let certificate = params.self_signed(&key)?;
        let not_after = SystemTime::from(params.not_after);
        Ok(Self { certificate_pem: certificate.pem(), issuer: Issuer::new(params, key), not_after })
    }

    /// Makes a CA to keep: its certificate and its key, in PEM.
    #[cfg(feature = "cluster")]
    pub(super) fn generate(name: &str, not_after: SystemTime) -> Result<(String, String), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = ca_params(name);
        params.not_before = (SystemTime::now() - CLOCK_SKEW).into();
        params.not_after = not_after.into();
        Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
    }

    /// Its certificate.
    #[cfg(feature = "cluster")]
    pub(super) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its end.
    #[cfg(feature = "cluster")]
    pub(super) fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Reads a CA's certificate and key, in PEM, and checks that they belong together.
    pub(super) fn from_pem(certificate: &str, key: &str) -> Result<Self, String> {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| format!("--ca-cert: expected a PEM certificate: {error:?}"))?;
        let key_pair =
            KeyPair::from_pem(key).map_err(|error| format!("--ca-key: expected a PEM private key (PKCS#8): {error}"))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|error| format!("--ca-cert: {error}"))?;
        if !parsed.is_ca() {
            return Err("--ca-cert: the certificate is not that of a CA; give one with basicConstraints CA:TRUE".to_owned());
        }
        if parsed.public_key().raw != key_pair.subject_public_key_info() {
            return Err("--ca-key does not belong to the certificate in --ca-cert".to_owned());
        }
        let not_after = not_after(&der)?;
        if not_after <= SystemTime::now() {
            return Err("--ca-cert: the CA has expired; give one that is valid".to_owned());
        }
        let issuer = Issuer::from_ca_cert_der(&der, key_pair).map_err(|error| format!("--ca-cert: {error}"))?;
        Ok(Self { issuer, certificate_pem: super::to_pem(&der), not_after })
    }

    /// Signs a new leaf with a new key.
    pub(super) fn issue(&self, names: &[SanType], lifetime: Duration) -> Result<ServingCertificate, TlsError> {
        let now = SystemTime::now();
        let mut leaf = CertificateParams::default();
        leaf.subject_alt_names = names.to_vec();
        leaf.distinguished_name.push(DnType::CommonName, "spark-webhook");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let not_after = self.not_after.min(now + lifetime);
        leaf.not_before = (now - CLOCK_SKEW).into();
        leaf.not_after = not_after.into();
        let key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = CertifiedKey::new(vec![certificate.der().clone()], any_supported_type(&key)?);
        Ok(ServingCertificate { key, ca_bundle: self.certificate_pem.clone(), not_after })
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

/// The subject alternative names of a leaf: this machine, the address that is listened on, and more.
pub(super) fn names(listen: IpAddr, dns_names: &[String]) -> Result<Vec<SanType>, TlsError> {
    let mut names = CertificateParams::new(LOCAL_NAMES.map(str::to_owned))?.subject_alt_names;
    if !listen.is_unspecified() {
        names.push(SanType::IpAddress(listen));
    }
    for name in dns_names {
        let is_dns_name = rustls_pki_types::DnsName::try_from(name.as_str()).is_ok();
        let name =
            Ia5String::try_from(name.as_str()).ok().filter(|_| is_dns_name).ok_or_else(|| TlsError::DnsName(name.clone()))?;
        names.push(SanType::DnsName(name));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_name_that_is_no_dns_name_is_refused() {
        assert!(names(LOCALHOST, &["spark-webhook.spark.svc".to_owned()]).is_ok());
        for name in ["", "a b", "grün", "a..b", "https://x"] {
            let error = names(LOCALHOST, &[name.to_owned()]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--dns-name {name:?} is not a DNS name")), "{error}");
        }
    }

    #[test]
    fn a_leaf_ends_when_it_is_told_to_and_never_after_its_ca() {
        let mut authority = Authority::ephemeral().unwrap();
        let lifetime = Duration::from_secs(3600);
        let left = |leaf: &ServingCertificate| leaf.not_after.duration_since(SystemTime::now()).unwrap();
        let leaf = authority.issue(&[], lifetime).unwrap();
        assert!(left(&leaf) <= lifetime && left(&leaf) > Duration::from_secs(3590));
        // Certificates have whole seconds.
        assert!(not_after(&leaf.key.cert[0]).unwrap() <= leaf.not_after);
        authority.not_after = SystemTime::now() + Duration::from_secs(60);
        assert!(left(&authority.issue(&[], lifetime).unwrap()) <= Duration::from_secs(60));
    }

    #[test]
    fn a_ca_that_cannot_sign_says_why() {
        let key = KeyPair::generate().unwrap();
        let no_ca = CertificateParams::default().self_signed(&key).unwrap().pem();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap().pem();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let expired = params.self_signed(&key).unwrap().pem();
        let other = KeyPair::generate().unwrap().serialize_pem();
        let key = key.serialize_pem();
        for (certificate, key, expected) in [
            ("x", &key, "--ca-cert: expected a PEM certificate"),
            (&ca, &"x".to_owned(), "--ca-key: expected a PEM private key"),
            (&no_ca, &key, "--ca-cert: the certificate is not that of a CA"),
            (&ca, &other, "--ca-key does not belong to the certificate in --ca-cert"),
            (&expired, &key, "--ca-cert: the CA has expired"),
        ] {
            let error = Authority::from_pem(certificate, key).err().unwrap();
            assert!(error.starts_with(expected), "{error}");
        }
        let authority = Authority::from_pem(&ca, &key).unwrap();
        assert_eq!(authority.issue(&[], Duration::from_secs(60)).unwrap().ca_bundle.lines().count(), ca.lines().count());
    }
}
