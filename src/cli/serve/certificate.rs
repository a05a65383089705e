//! The flags of `serve` that choose its certificate.
#![expect(clippy::doc_markdown, reason = "the comments on arguments are the text of --help")]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::values::duration_between;
#[cfg(feature = "cluster")]
use crate::registration;
#[cfg(feature = "cluster")]
use crate::tls::ManagedCa;
use crate::tls::{CertificateSource, Leaves, PemFiles};

/// Where `--help` shows these flags. A heading of the whole group (`next_help_heading`) would also
/// hold the flags after it.
const HEADING: &str = "Certificate";

#[derive(Debug, Args)]
pub(super) struct CertificateFlags {
    /// Certificate chain to serve, in PEM, read again when it changes; without it one is made in
    /// memory
    #[arg(
        long,
        env = "SPARK_WEBHOOK_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key",
        help_heading = HEADING
    )]
    tls_cert: Option<PathBuf>,

    /// Key of the certificate, in PEM: PKCS#8, PKCS#1 or SEC1; ECDSA P-256 or P-384, Ed25519, or
    /// RSA of 2048 to 4096 bits
    #[arg(
        long,
        env = "SPARK_WEBHOOK_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert",
        help_heading = HEADING
    )]
    tls_key: Option<PathBuf>,

    /// A CA that signs a short-lived certificate in memory of each replica, in PEM; read again when
    /// it changes
    #[arg(
        long,
        env = "SPARK_WEBHOOK_CA_CERT",
        value_name = "FILE",
        requires = "ca_key",
        conflicts_with = "tls_cert",
        help_heading = HEADING
    )]
    ca_cert: Option<PathBuf>,

    /// Key of the CA, in PEM: the same formats and kinds as --tls-key
    #[arg(
        long,
        env = "SPARK_WEBHOOK_CA_KEY",
        value_name = "FILE",
        requires = "ca_cert",
        help_heading = HEADING
    )]
    ca_key: Option<PathBuf>,

    /// A Secret in which all replicas share a CA, made and renewed by them; each signs a
    /// certificate in memory, and the caBundle of the MutatingWebhookConfiguration follows. The
    /// Secret must exist and may be empty
    #[cfg(feature = "cluster")]
    #[arg(
        long,
        env = "SPARK_WEBHOOK_CA_SECRET",
        value_name = "NAMESPACE/NAME",
        value_parser = namespaced_name,
        conflicts_with_all = ["tls_cert", "ca_cert", "write_registration"],
        help_heading = HEADING
    )]
    ca_secret: Option<(String, String)>,

    /// The MutatingWebhookConfiguration whose caBundle is kept up to date with --ca-secret
    #[cfg(feature = "cluster")]
    #[arg(
        long,
        env = "SPARK_WEBHOOK_REGISTRATION_NAME",
        value_name = "NAME",
        default_value = registration::NAME,
        help_heading = HEADING
    )]
    registration_name: String,

    /// How long the CA of --ca-secret is valid, from 1h to 36500d; the next one comes at two thirds
    /// of it
    #[cfg(feature = "cluster")]
    #[arg(
        long,
        env = "SPARK_WEBHOOK_CA_LIFETIME",
        value_name = "DURATION",
        default_value = "730d",
        value_parser = duration_between("1h", "36500d"),
        help_heading = HEADING
    )]
    ca_lifetime: Duration,

    /// How long a certificate that is made in memory is valid, from 10s to 365d; the next one comes
    /// at two thirds of it
    #[arg(
        long,
        env = "SPARK_WEBHOOK_LEAF_LIFETIME",
        value_name = "DURATION",
        default_value = "24h",
        value_parser = duration_between("10s", "365d"),
        help_heading = HEADING
    )]
    leaf_lifetime: Duration,

    /// Serve only clients with a certificate of one of these CAs, in PEM; read again when the file
    /// changes
    #[arg(
        long,
        env = "SPARK_WEBHOOK_CLIENT_CA",
        value_name = "FILE",
        help_heading = HEADING
    )]
    client_ca: Option<PathBuf>,

    /// Another DNS name or IP address for a certificate that is made in memory, beside localhost,
    /// 127.0.0.1, ::1 and the address of --listen; may be repeated
    #[arg(
        long,
        env = "SPARK_WEBHOOK_DNS_NAME",
        value_name = "NAME",
        value_delimiter = ',',
        conflicts_with = "tls_cert",
        help_heading = HEADING
    )]
    dns_name: Vec<String>,
}

impl CertificateFlags {
    /// The source that the flags choose, for a server that listens on this address.
    pub(super) fn source(&self, listen: IpAddr) -> CertificateSource {
        let files = |cert: &Option<PathBuf>, key: &Option<PathBuf>| {
            Some(PemFiles { cert: cert.clone()?, key: key.clone()? })
        };
        let leaves =
            Leaves { listen, dns_names: self.dns_name.clone(), lifetime: self.leaf_lifetime };
        #[cfg(feature = "cluster")]
        if let Some((namespace, secret)) = self.ca_secret.clone() {
            let registration = self.registration_name.clone();
            return CertificateSource::Managed(
                ManagedCa { namespace, secret, registration, lifetime: self.ca_lifetime },
                leaves,
            );
        }
        match (files(&self.tls_cert, &self.tls_key), files(&self.ca_cert, &self.ca_key)) {
            (Some(chain), _) => CertificateSource::Files(chain),
            (None, Some(ca)) => CertificateSource::Ca(ca, leaves),
            (None, None) => CertificateSource::Ephemeral(leaves),
        }
    }

    /// The file of CAs whose clients are served; without it, all clients are.
    pub(super) fn client_ca(&self) -> Option<&Path> {
        self.client_ca.as_deref()
    }

    /// More names of the server.
    pub(super) fn dns_names(&self) -> &[String] {
        &self.dns_name
    }
}

#[cfg(feature = "cluster")]
fn namespaced_name(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("write NAMESPACE/NAME, such as spark-webhook/spark-webhook-ca".to_owned()),
    }
}
