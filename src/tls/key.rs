//! Private keys, in the formats that tools write.
//!
//! openssl, cert-manager, Helm and Go write keys as PKCS#8, PKCS#1, or SEC1, and rustls reads all
//! three. ring cannot sign with every kind of key, and nobody can sign with an encrypted one. The
//! error then names the reason and the command that helps.

use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData,
    SignatureAlgorithm,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::{Error, PemObject};
use std::sync::Arc;
use tokio_rustls::rustls::SignatureScheme;
use tokio_rustls::rustls::crypto::ring::sign::any_supported_type;
use tokio_rustls::rustls::sign::{Signer, SigningKey};

const EXPECTED: &str = "expected a PEM private key (PKCS#8, PKCS#1 or SEC1)";

/// Object identifiers in DER, which stand in a key of any format, and what ring lacks for it.
const UNSUPPORTED: [(&[u8], &str); 6] = [
    (b"\x06\x05\x2b\x81\x04\x00\x23", "P-521"),
    (b"\x06\x05\x2b\x81\x04\x00\x0a", "secp256k1"),
    (b"\x06\x03\x2b\x65\x71", "Ed448"),
    (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a", "an RSA-PSS key"),
    (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", RSA_SIZE),
    (b"\x06\x07\x2a\x86\x48\xce\x38\x04\x01", "DSA"),
];
const RSA_SIZE: &str = "an RSA key below 2048 or above 4096 bits";

/// Reads the first key of a PEM file; `file` is its name in the commands of an error.
pub(super) fn read(pem: &[u8], file: &str) -> Result<Arc<dyn SigningKey>, String> {
    let text = String::from_utf8_lossy(pem);
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text.contains("Proc-Type: 4,ENCRYPTED")
    {
        return Err(format!(
            "the key is encrypted; decrypt it: openssl pkcs8 -topk8 -nocrypt -in {file} -out decrypted.key"
        ));
    }
    let key =
        PrivateKeyDer::from_pem_slice(pem).map_err(|error| match (error, first_label(&text)) {
            (Error::NoItemsFound, Some(label)) => format!("{EXPECTED}, found {label:?}"),
            (Error::NoItemsFound, None) => format!("{EXPECTED}, found none"),
            (error, _) => format!("{EXPECTED}: {error:?}"),
        })?;
    any_supported_type(&key).map_err(|_| {
        let kind = unsupported(&key);
        format!(
            "ring cannot sign with {kind}; make a P-256 or P-384 key and a certificate for it: \
             openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out new.key"
        )
    })
}

fn first_label(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    rest.split_once("-----").map(|(label, _)| label)
}

fn unsupported(key: &PrivateKeyDer) -> &'static str {
    if matches!(key, PrivateKeyDer::Pkcs1(_)) {
        return RSA_SIZE;
    }
    let der = key.secret_der();
    let known = UNSUPPORTED
        .iter()
        .find(|(identifier, _)| der.windows(identifier.len()).any(|window| window == *identifier));
    known.map_or("this kind of key", |(_, kind)| kind)
}

/// A key that signs certificates.
#[derive(Debug)]
pub(super) struct CaKey {
    signer: Box<dyn Signer>,
    algorithm: &'static SignatureAlgorithm,
    public_key: rcgen::SubjectPublicKeyInfo,
}

impl CaKey {
    pub(super) fn new(key: &dyn SigningKey) -> Result<Self, rcgen::Error> {
        let schemes = [
            (SignatureScheme::ECDSA_NISTP256_SHA256, &PKCS_ECDSA_P256_SHA256),
            (SignatureScheme::ECDSA_NISTP384_SHA384, &PKCS_ECDSA_P384_SHA384),
            (SignatureScheme::ED25519, &PKCS_ED25519),
            (SignatureScheme::RSA_PKCS1_SHA256, &PKCS_RSA_SHA256),
        ];
        let signers = schemes
            .iter()
            .find_map(|(scheme, algorithm)| Some((key.choose_scheme(&[*scheme])?, *algorithm)));
        let (signer, algorithm) = signers.ok_or(rcgen::Error::UnsupportedSignatureAlgorithm)?;
        let public_key = key.public_key().ok_or(rcgen::Error::CouldNotParseKeyPair)?;
        Ok(Self {
            signer,
            algorithm,
            public_key: rcgen::SubjectPublicKeyInfo::from_der(&public_key)?,
        })
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        self.public_key.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl rcgen::SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signer.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What openssl writes to standard output.
    fn openssl(command: &str, directory: &std::path::Path) -> Vec<u8> {
        let output = Command::new("openssl")
            .args(command.split(' '))
            .current_dir(directory)
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    #[test]
    fn keys_of_openssl_are_read_or_the_error_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let openssl = |command: &str| openssl(command, directory.path());
        let accepts = |command: &str| {
            let key = read(&openssl(command), "ca.key")
                .unwrap_or_else(|error| panic!("{command}: {error}"));
            CaKey::new(&*key).unwrap();
        };
        let rejects =
            |pem: &[u8], expected: &str| assert_eq!(read(pem, "ca.key").unwrap_err(), expected);

        accepts("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256");
        accepts("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384");
        accepts("genpkey -algorithm ED25519");
        accepts("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048");
        accepts("genrsa -traditional 2048");
        accepts("ecparam -genkey -name prime256v1");
        accepts("ecparam -genkey -name secp384r1 -noout");

        let unsupported = |kind: &str| {
            format!(
                "ring cannot sign with {kind}; make a P-256 or P-384 key and a certificate for it: \
                 openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out new.key"
            )
        };
        for (command, kind) in [
            ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521", "P-521"),
            ("ecparam -genkey -name secp521r1 -noout", "P-521"),
            ("ecparam -genkey -name secp256k1", "secp256k1"),
            ("genpkey -algorithm ED448", "Ed448"),
            ("genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048", "an RSA-PSS key"),
            ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024", RSA_SIZE),
            ("genrsa -traditional 1024", RSA_SIZE),
            ("genpkey -algorithm X25519", "this kind of key"),
        ] {
            rejects(&openssl(command), &unsupported(kind));
        }

        let encrypted =
            "the key is encrypted; decrypt it: openssl pkcs8 -topk8 -nocrypt -in ca.key -out decrypted.key".to_owned();
        for command in [
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:secret",
            "genrsa -traditional -aes256 -passout pass:secret 2048",
        ] {
            let pem = openssl(command);
            rejects(&pem, &encrypted);
            // And the command does what it says.
            std::fs::write(directory.path().join("ca.key"), &pem).unwrap();
            openssl("pkcs8 -topk8 -nocrypt -in ca.key -passin pass:secret -out decrypted.key");
            read(&std::fs::read(directory.path().join("decrypted.key")).unwrap(), "decrypted.key")
                .unwrap();
        }
        // What unsupported keys are told to make can be read.
        openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out new.key");
        read(&std::fs::read(directory.path().join("new.key")).unwrap(), "new.key").unwrap();
    }

    /// Identifiers of keys are hashes of these bytes.
    #[test]
    fn the_public_key_is_that_of_the_private_one() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let key = CaKey::new(&*read(pair.serialize_pem().as_bytes(), "ca.key").unwrap()).unwrap();
        assert_eq!(key.der_bytes(), pair.der_bytes());
        assert_eq!(key.algorithm(), &PKCS_ECDSA_P256_SHA256);
    }

    #[test]
    fn what_is_no_key_is_named() {
        for (pem, expected) in [
            ("", "expected a PEM private key (PKCS#8, PKCS#1 or SEC1), found none"),
            ("garbage", "expected a PEM private key (PKCS#8, PKCS#1 or SEC1), found none"),
            (
                "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n",
                "expected a PEM private key (PKCS#8, PKCS#1 or SEC1), found \"CERTIFICATE\"",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nMA==\n",
                "expected a PEM private key (PKCS#8, PKCS#1 or SEC1): MissingSectionEnd",
            ),
        ] {
            let error = read(pem.as_bytes(), "ca.key").unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
