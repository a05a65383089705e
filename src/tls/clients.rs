//! The CAs whose clients are served, with `--client-ca`.
//!
//! The file is read again while the server serves. A file that cannot be used changes nothing: the
//! CAs in force stay in force, and so do CAs that expire when nothing replaces them, because a
//! refused API server would refuse pods. Both are said. Of several CAs in a file, those count that
//! are valid and that ring can verify; the rest is said too.
//!
//! Each handshake is judged by the CAs of that moment, and no connection is judged twice.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use super::TlsError;
use super::certificate::Certificate;
use super::clock::Clock;
use crate::metrics::Metrics;
use crate::watched::WatchedFile;

/// The CAs of a file, as it was when it could last be used.
#[derive(Debug)]
pub(super) struct ClientCas {
    file: PathBuf,
    clock: Arc<Clock>,
    provider: Arc<CryptoProvider>,
    in_force: ArcSwap<InForce>,
    problem: ArcSwapOption<String>,
}

#[derive(Debug)]
struct InForce {
    cas: Vec<Certificate>,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// What a file holds.
struct Judged {
    usable: Vec<Certificate>,
    /// Why the rest is not.
    left_out: Vec<String>,
}

/// A file of CAs, read for the first time.
pub(super) fn read(file: PathBuf) -> WatchedFile<Vec<u8>> {
    let mut file = WatchedFile::new(file, |path| std::fs::read(path));
    file.read();
    file
}

impl ClientCas {
    /// The CAs of a file. It must have one.
    pub(super) fn new(file: &WatchedFile<Vec<u8>>, clock: Arc<Clock>) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let judged = judge(&provider, file.contents(), clock.now());
        let in_force = judged.and_then(|Judged { usable, left_out }| {
            Ok((InForce::new(&provider, usable)?, left_out))
        });
        let path = file.path().to_owned();
        let (in_force, left_out) = match in_force {
            Ok(in_force) => in_force,
            Err(reason) => return Err(TlsError::File { option: "--client-ca", path, reason }),
        };
        let cas = Self {
            file: path,
            clock,
            provider,
            in_force: ArcSwap::from_pointee(in_force),
            problem: ArcSwapOption::empty(),
        };
        cas.report(left_out_problem(&left_out));
        Ok(cas)
    }

    /// Follows the file, which is read again each `interval`.
    pub(super) async fn run(
        &self,
        mut file: WatchedFile<Vec<u8>>,
        interval: Duration,
        metrics: &Metrics,
    ) {
        loop {
            metrics.client_ca_problem.set(self.problem().is_some().into());
            tokio::time::sleep(interval).await;
            // Unchanged CAs are judged again, too: they may have become valid or expired.
            file.read_again().await;
            self.follow(file.contents());
        }
    }

    /// What is wrong with the CAs in force, with what is in use instead.
    pub(super) fn problem(&self) -> Option<Arc<String>> {
        self.problem.load_full()
    }

    /// Takes what the file holds now.
    fn follow(&self, contents: Result<&Vec<u8>, &str>) {
        let followed = judge(&self.provider, contents, self.clock.now()).and_then(
            |Judged { usable, left_out }| {
                if self.in_force.load().cas != usable {
                    self.in_force.store(Arc::new(InForce::new(&self.provider, usable)?));
                    tracing::info!(file = %self.file.display(), "the client CA was read again");
                }
                Ok(left_out)
            },
        );
        self.report(match followed {
            Ok(left_out) => left_out_problem(&left_out),
            Err(reason) => Some(format!("the old client CA: {reason}")),
        });
    }

    /// Remembers what is wrong, and says it once.
    fn report(&self, problem: Option<String>) {
        let problem = problem
            .map(|problem| Arc::new(format!("{problem} (--client-ca {})", self.file.display())));
        let is_new = self.problem.swap(problem.clone()) != problem;
        if let Some(problem) = problem.filter(|_| is_new) {
            tracing::error!(%problem, "the client CA is not as its file has it");
        }
    }
}

fn left_out_problem(left_out: &[String]) -> Option<String> {
    (!left_out.is_empty()).then(|| format!("a part of the client CAs: {}", left_out.join("; ")))
}

fn judge(
    provider: &CryptoProvider,
    contents: Result<&Vec<u8>, &str>,
    now: SystemTime,
) -> Result<Judged, String> {
    let certificates = Certificate::read_all(contents?)?;
    let is_one = certificates.len() == 1;
    let mut judged = Judged { usable: Vec::new(), left_out: Vec::new() };
    for (position, certificate) in certificates.into_iter().enumerate() {
        let reason = match certificate.validity.check(now) {
            Err(invalid) => invalid.to_string(),
            Ok(()) if !can_verify(provider, &certificate) => {
                "has a key of a kind that ring cannot verify, such as P-521; give a CA with a P-256 or P-384 key".to_owned()
            }
            Ok(()) => {
                judged.usable.push(certificate);
                continue;
            }
        };
        let number = if is_one { String::new() } else { format!(" number {}", position + 1) };
        judged.left_out.push(format!("the certificate{number} {reason}"));
    }
    if judged.usable.is_empty() { Err(judged.left_out.join("; ")) } else { Ok(judged) }
}

/// Whether a signature by this key can be verified. Otherwise each handshake would fail.
fn can_verify(provider: &CryptoProvider, certificate: &Certificate) -> bool {
    // The identifier of the algorithm stands at the beginning of the public key.
    let is_of = |identifier: &[u8]| {
        certificate.public_key.windows(identifier.len()).any(|window| window == identifier)
    };
    provider
        .signature_verification_algorithms
        .all
        .iter()
        .any(|algorithm| is_of(&algorithm.public_key_alg_id()))
}

impl InForce {
    fn new(provider: &Arc<CryptoProvider>, cas: Vec<Certificate>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for ca in &cas {
            roots
                .add(ca.der.clone())
                .map_err(|reason| format!("{reason}; give the certificate of a CA"))?;
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        Ok(Self { cas, verifier: verifier.map_err(|error| error.to_string())? })
    }
}

impl ClientCertVerifier for ClientCas {
    /// None: a client shows the certificate that it has. These could only be borrowed for as long
    /// as no file changes.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // The machine's clock may be wrong where the API server's is known; it is the API server
        // that shows a certificate.
        let now =
            self.clock.now().duration_since(UNIX_EPOCH).map_or(now, UnixTime::since_unix_epoch);
        self.in_force.load().verifier.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;
    use crate::telemetry::Logged;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn ca(not_before: SystemTime, not_after: SystemTime) -> String {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (not_before.into(), not_after.into());
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    fn p_521() -> String {
        let arguments = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-521",
            "-nodes",
            "-subj",
            "/CN=ca",
        ];
        let output = std::process::Command::new("openssl")
            .args(arguments)
            .args(["-keyout", "/dev/null"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn those_that_are_valid_and_can_be_verified_count() {
        let now = SystemTime::now() + DAY;
        let (valid, other) = (ca(now - DAY, now + DAY), ca(now - DAY, now + 2 * DAY));
        let (expired, not_yet) = (ca(now - 2 * DAY, now - DAY), ca(now + DAY, now + 2 * DAY));
        let garbage = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
        let provider = ring::default_provider();
        for (pem, expected) in [
            (valid.clone(), Ok((1, ""))),
            (valid.clone() + &other, Ok((2, ""))),
            (valid.clone() + &expired, Ok((1, "the certificate number 2 expired at "))),
            (
                p_521() + &valid + &not_yet,
                Ok((1, "the certificate number 1 has a key of a kind that ring cannot verify")),
            ),
            (expired.clone(), Err("the certificate expired at ")),
            (not_yet.clone(), Err("the certificate is not valid before ")),
            (
                p_521(),
                Err("the certificate has a key of a kind that ring cannot verify, such as P-521"),
            ),
            (expired + &not_yet, Err("the certificate number 1 expired at ")),
            (String::new(), Err("expected a PEM certificate, found none")),
            (valid + garbage, Err("expected an X.509 certificate")),
        ] {
            let judged = judge(&provider, Ok(&pem.into_bytes()), now);
            let judged =
                judged.map(|Judged { usable, left_out }| (usable.len(), left_out.join("; ")));
            match (judged, expected) {
                (Ok((count, left_out)), Ok((expected, text))) => {
                    assert!(
                        count == expected
                            && left_out.starts_with(text)
                            && left_out.is_empty() == text.is_empty(),
                        "{left_out}"
                    );
                }
                (Err(reason), Err(text)) => assert!(reason.starts_with(text), "{reason}"),
                (judged, expected) => panic!("{judged:?} {expected:?}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_is_logged_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        let now = SystemTime::now();
        std::fs::write(&file, ca(now - DAY, now + DAY)).unwrap();
        let cas = ClientCas::new(&read(file), Arc::default()).unwrap();
        let logged = Logged::default();
        let problems = [Some("first"), Some("first"), Some("second"), None, Some("second")];
        let lines = problems.map(|problem| logged.of(|| cas.report(problem.map(str::to_owned))));
        assert_eq!(lines.map(|lines| lines.lines().count()), [1, 0, 1, 0, 1]);
    }

    #[test]
    fn what_is_in_force_stays_until_there_is_something_better() {
        let now = SystemTime::now();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        let (first, second) = (ca(now - DAY, now + DAY), ca(now - DAY, now + 3 * DAY));
        let expired = ca(now - 2 * DAY, now - DAY);
        std::fs::write(&file, &first).unwrap();
        let cas = ClientCas::new(&read(file.clone()), Arc::default()).unwrap();
        let serves =
            |pem: &str| cas.in_force.load().cas == Certificate::read_all(pem.as_bytes()).unwrap();
        let problem = || cas.problem().map_or_else(String::new, |problem| problem.to_string());
        let follow = |pem: &str| cas.follow(Ok(&pem.as_bytes().to_vec()));
        assert!(serves(&first) && problem().is_empty());

        follow("garbage");
        assert!(serves(&first));
        let named = format!(
            "the old client CA: expected a PEM certificate, found none (--client-ca {})",
            file.display()
        );
        assert_eq!(problem(), named);
        cas.follow(Err("No such file"));
        assert!(
            serves(&first) && problem().starts_with("the old client CA: No such file"),
            "{}",
            problem()
        );
        follow(&expired);
        assert!(
            serves(&first)
                && problem().starts_with("the old client CA: the certificate expired at "),
            "{}",
            problem()
        );
        follow(&(expired.clone() + &second));
        assert!(serves(&second));
        assert!(
            problem().starts_with("a part of the client CAs: the certificate number 1 expired at "),
            "{}",
            problem()
        );
        follow(&(first.clone() + &second));
        assert!(serves(&(first + &second)) && problem().is_empty(), "{}", problem());
    }

    #[tokio::test]
    async fn the_file_is_followed_and_the_metric_tells_of_a_problem() {
        let now = SystemTime::now();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        let [first, second] = [1, 2].map(|days| ca(now - DAY, now + days * DAY));
        std::fs::write(&file, &first).unwrap();
        let watched = read(file.clone());
        let cas = ClientCas::new(&watched, Arc::default()).unwrap();
        let metrics = Metrics::new(Box::new(|| 0));
        let change = async {
            for (contents, in_force, problem) in
                [("garbage", &first, 1), (&*second, &second, 0), (&*first, &first, 0)]
            {
                std::fs::write(&file, contents).unwrap();
                let expected = Certificate::read_all(in_force.as_bytes()).unwrap();
                while cas.in_force.load().cas != expected
                    || metrics.client_ca_problem.get() != problem
                {
                    tokio::task::yield_now().await;
                }
            }
        };
        tokio::select! {
            () = cas.run(watched, Duration::from_millis(1), &metrics) => panic!("it ended"),
            () = change => {}
            () = tokio::time::sleep(Duration::from_secs(30)) => panic!("a change is not followed"),
        }
    }

    /// A replica on a node with a wrong clock must not reject the API server's certificate.
    #[test]
    fn clients_are_judged_by_the_api_servers_clock() {
        let local = SystemTime::now();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) =
            ((local + 9 * DAY).into(), (local + 11 * DAY).into());
        let client = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();

        let clock = Arc::new(Clock::default());
        let cas = ClientCas::new(&read(file), clock.clone()).unwrap();
        let is_served = || cas.verify_client_cert(client.der(), &[], UnixTime::now()).is_ok();
        assert!(!is_served());
        let schemes = ring::default_provider().signature_verification_algorithms;
        assert_eq!(cas.supported_verify_schemes(), schemes.supported_schemes());
        clock.learn(local + 10 * DAY, local);
        assert!(is_served());
        clock.learn(local + 12 * DAY, local);
        assert!(!is_served());
    }
}
