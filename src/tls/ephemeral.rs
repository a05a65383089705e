//! A certificate for a first try: a CA and a leaf made at start and never written anywhere.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::crypto::ring::sign::any_supported_type;
use tokio_rustls::rustls::sign::CertifiedKey;

use super::{ServingCertificate, TlsError};

/// Names under which a process on the same machine is reached.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

pub(super) fn generate(listen: IpAddr, dns_names: &[String]) -> Result<ServingCertificate, TlsError> {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "spark-webhook ephemeral CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;

    let mut leaf = CertificateParams::new(LOCAL_NAMES.map(str::to_owned))?;
    if !listen.is_unspecified() {
        leaf.subject_alt_names.push(SanType::IpAddress(listen));
    }
    for name in dns_names {
        let san = rcgen::string::Ia5String::try_from(name.as_str())
            .ok()
            .filter(|_| is_dns_name(name))
            .ok_or_else(|| TlsError::DnsName(name.clone()))?;
        leaf.subject_alt_names.push(SanType::DnsName(san));
    }
    leaf.distinguished_name.push(DnType::CommonName, "spark-webhook");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf_key = KeyPair::generate()?;
    let leaf = leaf.signed_by(&leaf_key, &ca)?;

    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let key = CertifiedKey::new(vec![leaf.der().clone()], any_supported_type(&key)?);
    Ok(ServingCertificate { key, ca_bundle: ca.pem() })
}

fn is_dns_name(name: &str) -> bool {
    rustls_pki_types::DnsName::try_from(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_name_that_is_no_dns_name_is_refused() {
        assert!(generate(LOCALHOST, &["spark-webhook.spark.svc".to_owned()]).is_ok());
        for name in ["", "a b", "grün", "a..b", "https://x"] {
            let error = generate(LOCALHOST, &[name.to_owned()]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--dns-name {name:?} is not a DNS name")), "{error}");
        }
    }
}
