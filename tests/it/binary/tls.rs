//! Certificates that change while the server serves, against the real binary.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use testkit::http::{
    connect, connect_trusting, exchange, get, post, try_connect, try_read_reply, with_certificate,
};
use testkit::wait::wait_until;
use testkit::webhook::{self, Webhook};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

/// What a server may take to follow its files.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(15);

fn review() -> Vec<u8> {
    post(&fs::read("examples/driver-review.json").unwrap())
}

/// The parameters of a CA with a name of its own.
fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("CA {number}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// A CA, and its files in a directory: its certificate in PEM.
fn write_ca(directory: &Path) -> String {
    write_ca_with(directory, ca_params())
}

fn write_ca_with(directory: &Path, params: CertificateParams) -> String {
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(directory.join("ca.key"), ca.key().serialize_pem()).unwrap();
    fs::write(directory.join("ca.crt"), ca.pem()).unwrap();
    ca.pem()
}

fn ca_arguments(directory: &Path) -> Vec<String> {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    vec!["--ca-cert".to_owned(), path("ca.crt"), "--ca-key".to_owned(), path("ca.key")]
}

#[tokio::test]
async fn replicas_with_one_ca_serve_leaves_of_their_own_that_it_verifies() {
    let directory = tempfile::tempdir().unwrap();
    let ca = write_ca(directory.path());
    let arguments = ca_arguments(directory.path());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let replicas = [Webhook::start(&arguments), Webhook::start(&arguments)];
    let mut leaves = Vec::new();
    for replica in &replicas {
        let (mut stream, leaf) = connect_trusting(replica.address(), &ca).await.unwrap();
        assert_eq!(exchange(&mut stream, &review()).await.status, 200);
        leaves.push(leaf);
    }
    assert_ne!(leaves[0], leaves[1]);

    // Another CA in the files is used without a restart; one whose key is another's is not.
    let other = tempfile::tempdir().unwrap();
    write_ca(other.path());
    fs::copy(other.path().join("ca.key"), directory.path().join("ca.key")).unwrap();
    replicas[0].log_line("ca.key does not belong to the certificate in --ca-cert");
    assert!(connect_trusting(replicas[0].address(), &ca).await.is_ok());
    // Neither is one that is not valid now.
    for (from, to, expected) in [
        (2000, 2020, "the CA expired at 2020-01-01T00:00:00Z"),
        (2090, 2100, "the CA is not valid before 2090-01-01T00:00:00Z"),
    ] {
        let mut params = ca_params();
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(to, 1, 1));
        write_ca_with(directory.path(), params);
        replicas[0].log_line(expected);
        assert!(connect_trusting(replicas[0].address(), &ca).await.is_ok());
        let body = get(replicas[0].admin_address(), "/readyz").await.body;
        assert!(
            body.starts_with("ok, but with the old certificate: --ca-cert ")
                && body.contains(expected),
            "{body}"
        );
    }
    let new = write_ca(directory.path());
    wait_until("a leaf of the new CA", FOLLOWS_WITHIN, async || {
        connect_trusting(replicas[0].address(), &new).await.is_ok()
    })
    .await;
    assert!(connect_trusting(replicas[0].address(), &ca).await.is_err());
}

/// With a client whose clock decides, as the API server's does; and with files that broke when the
/// CA had been read.
#[tokio::test]
async fn no_leaf_is_served_after_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let ca = write_ca(directory.path());
    let (lifetime, watched) =
        if std::env::var_os("SOAK").is_some() { ("30s", 300) } else { ("15s", 35) };
    let arguments =
        [ca_arguments(directory.path()), vec!["--leaf-lifetime".to_owned(), lifetime.to_owned()]]
            .concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let webhook = Webhook::start(&arguments);
    fs::write(directory.path().join("ca.key"), "garbage").unwrap();
    let mut leaves = Vec::new();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(watched) {
        let (_, leaf) = connect_trusting(webhook.address(), &ca).await.unwrap();
        if leaves.last() != Some(&leaf) {
            leaves.push(leaf);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(leaves.len() >= 3, "{} leaves in {watched} s", leaves.len());
}

fn certificate(key: &KeyPair, year: i32) -> String {
    certificate_of(
        key,
        rcgen::date_time_ymd(1975, 1, 1).into(),
        rcgen::date_time_ymd(year, 1, 1).into(),
    )
}

fn certificate_of(key: &KeyPair, not_before: SystemTime, not_after: SystemTime) -> String {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (not_before.into(), not_after.into());
    params.self_signed(key).unwrap().pem()
}

fn key(number: usize) -> KeyPair {
    let algorithms =
        [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384];
    KeyPair::generate_for(algorithms[number % algorithms.len()]).unwrap()
}

/// Puts files into a directory as the kubelet does: into one of their own, to which a link is
/// swapped.
fn swap(directory: &Path, number: usize, cert: &str, key: &str) {
    let version = directory.join(format!("..version_{number}"));
    fs::create_dir(&version).unwrap();
    fs::write(version.join("tls.crt"), cert).unwrap();
    fs::write(version.join("tls.key"), key).unwrap();
    let _ = fs::remove_file(directory.join("..data_tmp"));
    std::os::unix::fs::symlink(&version, directory.join("..data_tmp")).unwrap();
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
}

fn start_with_files(directory: &Path) -> Webhook {
    for name in ["tls.crt", "tls.key"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), directory.join(name)).unwrap();
    }
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    Webhook::start(&["--tls-cert", &path("tls.crt"), "--tls-key", &path("tls.key")])
}

async fn served(webhook: &Webhook) -> Vec<u8> {
    let stream = connect(webhook.address()).await;
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn der(pem: &str) -> Vec<u8> {
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    base64_simd::STANDARD.decode_to_vec(base64).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_swapped_under_load_and_nothing_fails() {
    let directory = tempfile::tempdir().unwrap();
    let first = key(0);
    swap(directory.path(), 0, &certificate(&first, 2100), &first.serialize_pem());
    let webhook = start_with_files(directory.path());
    let (address, stop, done) =
        (webhook.address(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = tokio::spawn({
        let (stop, done) = (stop.clone(), done.clone());
        async move {
            let mut kept = connect(address).await;
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(exchange(&mut kept, &review()).await.status, 200);
                assert_eq!(exchange(&mut connect(address).await, &review()).await.status, 200);
                done.fetch_add(2, Ordering::Relaxed);
            }
        }
    });
    let rotations = if std::env::var_os("SOAK").is_some() { 100 } else { 3 };
    for number in 1..=rotations {
        let key = key(number);
        let certificate = certificate(&key, 2100);
        swap(directory.path(), number, &certificate, &key.serialize_pem());
        wait_until("the new certificate is served", FOLLOWS_WITHIN, async || {
            served(&webhook).await == der(&certificate)
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    assert!(done.load(Ordering::Relaxed) > 100);
    println!("{rotations} rotations, {} requests, none lost", done.load(Ordering::Relaxed));
}

#[tokio::test]
async fn files_that_cannot_be_served_change_nothing_but_the_probe_and_a_metric() {
    let directory = tempfile::tempdir().unwrap();
    let (good, other) = (key(0), key(0));
    let certificate_of_good = certificate(&good, 2100);
    swap(directory.path(), 0, &certificate_of_good, &good.serialize_pem());
    let webhook = start_with_files(directory.path());
    let readyz = async || get(webhook.admin_address(), "/readyz").await;
    let metric = async |name: &str| {
        let metrics = get(webhook.admin_address(), "/metrics").await.body;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&format!("spark_webhook_{name} ")))
            .unwrap();
        line.to_owned()
    };
    assert_eq!(readyz().await.body, "ok\n");
    let year = |year: i32| SystemTime::from(rcgen::date_time_ymd(year, 1, 1));
    let bad = [
        (certificate_of_good.clone(), other.serialize_pem(), "does not belong to the certificate"),
        (
            certificate(&other, 2020),
            other.serialize_pem(),
            "the certificate expired at 2020-01-01T00:00:00Z",
        ),
        (
            certificate_of(&other, year(2090), year(2100)),
            other.serialize_pem(),
            "the certificate is not valid before 2090-01-01T00:00:00Z",
        ),
        (
            certificate(&other, 2100) + &certificate(&good, 2020),
            other.serialize_pem(),
            "the certificate number 2 expired at 2020-01-01T00:00:00Z",
        ),
        (
            certificate_of_good.clone() + &certificate(&other, 2100),
            other.serialize_pem(),
            "the certificate of the key is number 2; put it first",
        ),
        ("garbage".to_owned(), "garbage".to_owned(), "expected a PEM certificate, found none"),
        (certificate(&other, 2100), "garbage".to_owned(), "expected a PEM private key"),
    ];
    for (number, (cert, key, reason)) in bad.iter().enumerate() {
        swap(directory.path(), number + 1, cert, key);
        let line = webhook.log_line(reason);
        assert!(line.contains("the old one stays in use"), "{line}");
        let reply = readyz().await;
        assert!(
            reply.status == 200 && reply.body.starts_with("ok, but with the old certificate: "),
            "{reply:?}"
        );
        assert!(reply.body.contains(reason), "{reply:?}");
        assert_eq!(served(&webhook).await, der(&certificate_of_good));
    }
    fs::remove_file(directory.path().join("..data")).unwrap();
    webhook.log_line("No such file or directory");
    assert_eq!(metric("certificate_problem").await, "1");
    assert_eq!(metric("certificate_reloads_total{result=\"failed\"}").await, "8");

    let certificate_of_other = certificate(&other, 2100);
    swap(directory.path(), 9, &certificate_of_other, &other.serialize_pem());
    wait_until("it recovers", FOLLOWS_WITHIN, async || {
        served(&webhook).await == der(&certificate_of_other)
    })
    .await;
    assert_eq!(readyz().await.body, "ok\n");
    wait_until("the metric too", FOLLOWS_WITHIN, async || {
        metric("certificate_problem").await == "0"
    })
    .await;
    assert_eq!(metric("certificate_reloads_total{result=\"done\"}").await, "1");
    let expiry = metric("certificate_expiry_timestamp_seconds").await;
    assert_eq!(expiry, "4102444800");
}

/// A clock that is a few seconds behind must not cost the certificate that was made a moment ago.
#[tokio::test]
async fn a_certificate_that_becomes_valid_is_served_then() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (key(0), key(0));
    swap(directory.path(), 0, &certificate(&first, 2100), &first.serialize_pem());
    let webhook = start_with_files(directory.path());
    let soon = SystemTime::now() + Duration::from_secs(15);
    let certificate = certificate_of(&second, soon, soon + Duration::from_secs(3600));
    swap(directory.path(), 1, &certificate, &second.serialize_pem());
    webhook.log_line("the certificate is not valid before");
    wait_until("it is served", FOLLOWS_WITHIN + Duration::from_secs(15), async || {
        served(&webhook).await == der(&certificate)
    })
    .await;
    assert!(SystemTime::now() >= soon, "the log line came before");
    assert_eq!(get(webhook.admin_address(), "/readyz").await.body, "ok\n");
}

fn openssl(command: &str, directory: &Path) -> Output {
    let output = Command::new("openssl")
        .args(command.split(' '))
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "openssl {command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Keys that ring signs with, as openssl writes them.
const KEYS: [&str; 7] = [
    "genrsa -traditional -out x.key 2048",
    "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out x.key",
    "ecparam -genkey -name prime256v1 -noout -out x.key",
    "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out x.key",
    "ecparam -genkey -name secp384r1 -out x.key",
    "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out x.key",
    "genpkey -algorithm ED25519 -out x.key",
];

#[tokio::test]
async fn keys_in_every_format_serve_and_sign() {
    for command in KEYS {
        let directory = tempfile::tempdir().unwrap();
        openssl(command, directory.path());
        openssl(
            "req -x509 -new -key x.key -subj /CN=localhost -days 1 -out x.crt",
            directory.path(),
        );
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let webhook = Webhook::start(&["--tls-cert", &path("x.crt"), "--tls-key", &path("x.key")]);
        assert_eq!(
            exchange(&mut connect(webhook.address()).await, &review()).await.status,
            200,
            "{command}"
        );
        let certificate = fs::read_to_string(path("x.crt")).unwrap();
        assert_eq!(served(&webhook).await, der(&certificate), "{command}");

        let webhook = Webhook::start(&["--ca-cert", &path("x.crt"), "--ca-key", &path("x.key")]);
        let (mut stream, _) = connect_trusting(webhook.address(), &certificate).await.unwrap();
        assert_eq!(exchange(&mut stream, &review()).await.status, 200, "{command}");
        // And openssl verifies what it has signed.
        let address = webhook.address();
        let verified = openssl(
            &format!(
                "s_client -connect {address} -CAfile x.crt -verify_ip 127.0.0.1 -verify_return_error -brief"
            ),
            directory.path(),
        );
        assert!(
            String::from_utf8_lossy(&verified.stderr).contains("Verification: OK"),
            "{command}"
        );
    }
}

/// What serve writes when it does not start; a test fails where it starts.
fn refusal(arguments: &[&str]) -> String {
    let mut command = webhook::command_of("timeout");
    command
        .args([
            "30",
            webhook::binary(),
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .args(arguments);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_cannot_serve_or_sign_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let certificate_for = "req -x509 -new -key x.key -subj /CN=localhost -days 1 -out x.crt";
    let make = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out new.key";
    let decrypt = format!("openssl pkcs8 -topk8 -nocrypt -in {} -out decrypted.key", path("x.key"));
    for (commands, reason) in [
        (
            vec![
                "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out x.key",
                certificate_for,
            ],
            format!(
                "ring cannot sign with P-521; make a P-256 or P-384 key and a certificate for it: {make}"
            ),
        ),
        (
            vec!["ecparam -genkey -name secp521r1 -noout -out x.key", certificate_for],
            format!(
                "ring cannot sign with P-521; make a P-256 or P-384 key and a certificate for it: {make}"
            ),
        ),
        (
            vec!["genrsa -traditional -aes256 -passout pass:secret -out x.key 2048"],
            format!("the key is encrypted; decrypt it: {decrypt}"),
        ),
        (
            vec!["genpkey -algorithm ED25519 -aes256 -pass pass:secret -out x.key"],
            format!("the key is encrypted; decrypt it: {decrypt}"),
        ),
    ] {
        for command in commands {
            openssl(command, directory.path());
        }
        for kind in ["tls", "ca"] {
            let arguments =
                [format!("--{kind}-cert"), path("x.crt"), format!("--{kind}-key"), path("x.key")];
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let error = refusal(&arguments);
            assert!(
                error.contains(&format!("--{kind}-key {}: {reason}", path("x.key"))),
                "{error}"
            );
        }
    }
    for (from, to, expected) in
        [(2000, 2020, "the CA expired at 2020-"), (2090, 2100, "the CA is not valid before 2090-")]
    {
        let mut params = ca_params();
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(to, 1, 1));
        write_ca_with(directory.path(), params);
        let error = refusal(&["--ca-cert", &path("ca.crt"), "--ca-key", &path("ca.key")]);
        assert!(error.contains(&format!("--ca-cert {}: {expected}", path("ca.crt"))), "{error}");
    }
    let error = refusal(&["--dns-name", "10.0.0.1:8443"]);
    assert!(error.contains("write one like spark-webhook.spark.svc or 10.0.0.1"), "{error}");
}

#[tokio::test]
async fn an_address_among_the_names_is_verified() {
    let directory = tempfile::tempdir().unwrap();
    write_ca(directory.path());
    let arguments = [
        ca_arguments(directory.path()),
        ["--dns-name", "10.0.0.1,fd00::1,hook.example"].map(str::to_owned).to_vec(),
    ];
    let arguments = arguments.concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let webhook = Webhook::start(&arguments);
    for name in ["-verify_ip 10.0.0.1", "-verify_ip fd00::1", "-verify_hostname hook.example"] {
        let command = format!(
            "s_client -connect {} -CAfile ca.crt {name} -verify_return_error -brief",
            webhook.address()
        );
        openssl(&command, directory.path());
    }
}

#[test]
fn a_host_name_to_listen_on_is_resolved_and_its_address_is_printed() {
    let mut process = webhook::command()
        .args(["serve", "--listen", "localhost:0", "--admin-listen", "localhost:0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(process.stderr.take().unwrap());
    let line = stderr.lines().map(Result::unwrap).find(|line| line.starts_with("Listening on "));
    process.kill().unwrap();
    process.wait().unwrap();
    let line = line.unwrap();
    assert!(
        line.starts_with("Listening on https://127.0.0.1:")
            && line.contains("probes on http://127.0.0.1:"),
        "{line}"
    );
}

/// A CA in PEM, valid from yesterday on for this long, and the settings of a client that shows a
/// certificate of it.
fn client_ca(lifetime: Duration) -> (String, Arc<ClientConfig>) {
    let mut params = ca_params();
    let yesterday = SystemTime::now() - DAY;
    (params.not_before, params.not_after) = (yesterday.into(), (yesterday + lifetime).into());
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["client".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    (ca.pem(), with_certificate(vec![leaf.der().clone()], key))
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// In TLS 1.3 a client learns only by its first read what the server thinks of its certificate.
pub(super) async fn is_served(webhook: &Webhook, client: &Arc<ClientConfig>) -> bool {
    let Ok(mut stream) = try_connect(webhook.address(), client).await else { return false };
    if stream.write_all(&review()).await.is_err() || stream.flush().await.is_err() {
        return false;
    }
    try_read_reply(&mut stream).await.is_ok_and(|reply| reply.status == 200)
}

#[tokio::test]
async fn another_client_ca_is_followed_and_no_connection_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client-ca.crt");
    let [(first_ca, first), (second_ca, second), (expired_ca, expired)] =
        [10 * DAY, 10 * DAY, DAY / 2].map(client_ca);
    fs::write(&file, &first_ca).unwrap();
    let webhook = Webhook::start(&["--client-ca", file.to_str().unwrap()]);
    let admin = webhook.admin_address();
    let problem = async || {
        let metrics = get(admin, "/metrics").await.body;
        let [certificate, client_ca] = ["certificate_problem", "client_ca_problem"].map(|name| {
            metrics
                .lines()
                .find_map(|line| line.strip_prefix(&format!("spark_webhook_{name} ")))
                .unwrap()
                .to_owned()
        });
        assert_eq!(certificate, "0", "that is another one");
        let reply = get(admin, "/readyz").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        (client_ca, reply.body)
    };
    assert!(is_served(&webhook, &first).await && !is_served(&webhook, &second).await);
    let mut kept = try_connect(webhook.address(), &first).await.unwrap();
    assert_eq!(exchange(&mut kept, &review()).await.status, 200);
    assert_eq!(problem().await, ("0".to_owned(), "ok\n".to_owned()));

    fs::write(&file, &second_ca).unwrap();
    webhook.log_line("the client CA was read again");
    assert!(is_served(&webhook, &second).await && !is_served(&webhook, &first).await);
    assert_eq!(exchange(&mut kept, &review()).await.status, 200, "it was judged when it began");

    // A handshake that goes on while the file changes ends, too.
    let begun = TcpStream::connect(webhook.address()).await.unwrap();
    fs::write(&file, first_ca.clone() + &second_ca).unwrap();
    webhook.log_line("the client CA was read again");
    let mut stream = TlsConnector::from(first.clone())
        .connect(ServerName::try_from("localhost").unwrap(), begun)
        .await
        .unwrap();
    assert_eq!(exchange(&mut stream, &review()).await.status, 200);

    // What cannot be used changes nothing but what is said of it.
    let path = file.display();
    for (contents, expected) in [
        (
            "garbage".to_owned(),
            format!(
                "the old client CA: expected a PEM certificate, found none (--client-ca {path})"
            ),
        ),
        (expired_ca.clone(), "the old client CA: the certificate expired at ".to_owned()),
    ] {
        fs::write(&file, contents).unwrap();
        let line = webhook.log_line(&expected);
        assert!(line.contains("the client CA is not as its file has it"), "{line}");
        wait_until("probe and metric tell", FOLLOWS_WITHIN, async || {
            let (metric, body) = problem().await;
            metric == "1" && body.starts_with(&format!("ok, but with {expected}"))
        })
        .await;
        assert!(is_served(&webhook, &first).await && is_served(&webhook, &second).await);
    }
    fs::write(&file, first_ca + &expired_ca).unwrap();
    webhook.log_line("a part of the client CAs: the certificate number 2 expired at ");
    assert!(
        is_served(&webhook, &first).await
            && !is_served(&webhook, &second).await
            && !is_served(&webhook, &expired).await
    );

    fs::write(&file, second_ca).unwrap();
    wait_until("all is well", FOLLOWS_WITHIN, async || {
        problem().await == ("0".to_owned(), "ok\n".to_owned())
    })
    .await;
    assert!(is_served(&webhook, &second).await);
    assert_eq!(exchange(&mut kept, &review()).await.status, 200, "it was there all the time");
}

#[test]
fn a_client_ca_that_verifies_nobody_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client-ca.crt");
    let path = file.to_str().unwrap();
    let refused = |expected: &str| {
        let error = refusal(&["--client-ca", path]);
        assert!(error.contains(&format!("--client-ca {path}: {expected}")), "{error}");
    };
    refused("No such file or directory");
    for (contents, expected) in [
        ("garbage".to_owned(), "expected a PEM certificate, found none"),
        (client_ca(DAY / 2).0, "the certificate expired at "),
        (
            certificate_of(&key(0), SystemTime::now() + DAY, SystemTime::now() + 2 * DAY),
            "the certificate is not valid before ",
        ),
    ] {
        fs::write(&file, contents).unwrap();
        refused(expected);
    }
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-521 -nodes -subj /CN=ca -keyout x.key -out client-ca.crt",
        directory.path(),
    );
    refused(
        "the certificate has a key of a kind that ring cannot verify, such as P-521; give a CA with a P-256 or P-384 key",
    );
}

#[tokio::test]
async fn a_failed_handshake_names_the_client() {
    for (format, begin, end) in [
        ("text", " connection{client=", "}: TLS handshake failed error="),
        ("json", r#""span":{"client":""#, r#"","name":"connection"}"#),
    ] {
        let webhook = Webhook::start_in(
            &[("RUST_LOG", "info,spark_webhook=debug")],
            &["--log-format", format],
        );
        let mut client = TcpStream::connect(webhook.address()).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let line = webhook.log_line("TLS handshake failed");
        let address = client.local_addr().unwrap();
        assert!(line.contains(&format!("{begin}{address}{end}")), "{line}");
    }
}
