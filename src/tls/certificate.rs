//! Certificates in PEM, parsed once.

use base64_simd::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_rustls::rustls::sign::SigningKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

use super::validity::Validity;

/// A certificate, and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) der: CertificateDer<'static>,
    pub(super) validity: Validity,
    /// In DER, as the two names below.
    pub(super) public_key: Vec<u8>,
    pub(super) subject: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) role: Role,
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Signs other certificates.
    Ca,
    /// Says that it is a CA's, but not that it may sign certificates, and so no client trusts what
    /// it signs.
    CaThatMayNotSign,
    /// Signs none.
    Leaf,
}

impl Certificate {
    /// The certificates of a PEM file in their order, one at least. Other sections are skipped.
    pub(super) fn read_all(pem: &[u8]) -> Result<Vec<Self>, String> {
        let certificates = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("expected a PEM certificate: {error:?}"))?;
        if certificates.is_empty() {
            return Err("expected a PEM certificate, found none".to_owned());
        }
        certificates.into_iter().map(Self::parse).collect()
    }

    pub(super) fn parse(der: CertificateDer<'static>) -> Result<Self, String> {
        let (_, parsed) = parse_x509_certificate(&der)
            .map_err(|error| format!("expected an X.509 certificate: {error}"))?;
        let [public_key, subject, issuer] =
            [parsed.public_key().raw, parsed.subject().as_raw(), parsed.issuer().as_raw()]
                .map(<[u8]>::to_vec);
        let (validity, role) = (Validity::of(&parsed), Role::of(&parsed));
        Ok(Self { der, validity, public_key, subject, issuer, role })
    }

    /// Whether it is a root, which everybody who trusts it has.
    pub(super) fn is_root(&self) -> bool {
        self.subject == self.issuer
    }

    pub(super) fn to_pem(&self) -> String {
        let base64 = STANDARD.encode_to_string(&self.der);
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
}

impl Role {
    fn of(certificate: &X509Certificate) -> Self {
        // Without the extension there is no restriction.
        let may_sign = certificate
            .key_usage()
            .is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()));
        match (certificate.is_ca(), may_sign) {
            (true, true) => Self::Ca,
            (true, false) => Self::CaThatMayNotSign,
            (false, _) => Self::Leaf,
        }
    }
}

/// The certificates of a file begin with the key's own.
pub(super) fn begins_with(
    certificates: &[Certificate],
    key: &dyn SigningKey,
) -> Result<(), Mismatch> {
    let public_key = key.public_key();
    let is_of_key = |certificate: &Certificate| {
        public_key.as_ref().is_some_and(|public_key| public_key.as_ref() == certificate.public_key)
    };
    match certificates.iter().position(is_of_key) {
        Some(0) => Ok(()),
        Some(position) => Err(Mismatch::Order(position + 1)),
        None => Err(Mismatch::Key),
    }
}

/// Why a key and the certificates of a file do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// The key's certificate is there, but it is this one, counted from 1.
    Order(usize),
    /// The key's certificate is not there.
    Key,
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};

    use super::super::key;
    use super::*;

    #[test]
    fn pem_is_read_and_written_again() {
        let key = KeyPair::generate().unwrap();
        let pem = CertificateParams::default().self_signed(&key).unwrap().pem();
        let read = Certificate::read_all(
            format!("comment\n{pem}-----BEGIN X-----\nMA==\n-----END X-----\n{pem}").as_bytes(),
        )
        .unwrap();
        assert_eq!(read.len(), 2);
        assert!(read[0].is_root() && read[0] == read[1]);
        assert_eq!(Certificate::read_all(read[0].to_pem().as_bytes()).unwrap(), [read[0].clone()]);
        for (pem, expected) in [
            ("", "expected a PEM certificate, found none"),
            (
                "-----BEGIN CERTIFICATE-----\nMA==\n",
                "expected a PEM certificate: MissingSectionEnd",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n",
                "expected an X.509 certificate: ",
            ),
        ] {
            let error = Certificate::read_all(pem.as_bytes()).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_ca_says_that_it_signs() {
        let ca = IsCa::Ca(BasicConstraints::Unconstrained);
        for (is_ca, usages, expected) in [
            (ca, vec![], Role::Ca),
            (ca, vec![KeyUsagePurpose::KeyCertSign], Role::Ca),
            (ca, vec![KeyUsagePurpose::DigitalSignature], Role::CaThatMayNotSign),
            (IsCa::NoCa, vec![], Role::Leaf),
        ] {
            let mut params = CertificateParams::default();
            (params.is_ca, params.key_usages) = (is_ca, usages);
            let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
            assert_eq!(Certificate::read_all(pem.as_bytes()).unwrap()[0].role, expected);
        }
    }

    #[test]
    fn the_certificate_of_the_key_comes_first() {
        let keys = [(); 3].map(|()| KeyPair::generate().unwrap());
        let certificates = keys.each_ref().map(|key| {
            let pem = CertificateParams::default().self_signed(key).unwrap().pem();
            Certificate::read_all(pem.as_bytes()).unwrap().remove(0)
        });
        let [first, second, other] =
            keys.map(|key| key::read(key.serialize_pem().as_bytes(), "").unwrap());
        let file = &certificates[..2];
        assert_eq!(begins_with(file, &*first), Ok(()));
        assert_eq!(begins_with(file, &*second), Err(Mismatch::Order(2)));
        assert_eq!(begins_with(file, &*other), Err(Mismatch::Key));
    }
}
