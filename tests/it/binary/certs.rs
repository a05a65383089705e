//! Certificates made by hand: `certs/openssl.sh`, whose files a real `serve` takes and a TLS client
//! verifies.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use testkit::http::{ANONYMOUS, connect_by_name, exchange, post, with_certificate};
use testkit::webhook::Webhook;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::tls::is_served;

/// Runs the script for a directory.
fn openssl_script(arguments: &[&str], directory: &Path) -> Output {
    Command::new("certs/openssl.sh").args(arguments).arg(directory).output().unwrap()
}

/// What the script prints.
fn accepts(arguments: &[&str], directory: &Path) -> String {
    let output = openssl_script(arguments, directory);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The script exits with status 2 and this error, and changes no file.
fn rejects(arguments: &[&str], directory: &Path, expected: &str) {
    let before = contents(directory);
    let output = openssl_script(arguments, directory);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("openssl.sh: {expected}\n"));
    assert_eq!(contents(directory), before, "{arguments:?}");
}

/// The files of a directory, by name; none if there is no directory.
fn contents(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap());
    let name_and_text = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read_to_string(entry.path()).unwrap())
    };
    entries.map(name_and_text).collect()
}

/// The flags of `serve` that the script prints, one line each.
fn flags(printed: &str) -> Vec<Vec<&str>> {
    let lines = printed.lines().filter_map(|line| line.strip_prefix("  "));
    lines.filter(|line| line.starts_with("--")).map(|line| line.split(' ').collect()).collect()
}

#[tokio::test]
async fn serve_takes_the_files_and_a_client_verifies_the_names_of_the_service() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--service", "hook", "--namespace", "data", "--dns-name", "127.0.0.1"];
    let printed = accepts(&arguments, directory.path());
    let ca = fs::read_to_string(directory.path().join("ca.crt")).unwrap();
    let (_, bundle) =
        printed.split_once("caBundle of the MutatingWebhookConfiguration:\n").unwrap();
    assert_eq!(base64_simd::STANDARD.decode_to_vec(bundle.trim()).unwrap(), ca.as_bytes());

    let flags = flags(&printed);
    assert_eq!(flags.iter().map(|line| line[0]).collect::<Vec<_>>(), ["--tls-cert", "--ca-cert"]);
    let review = post(&fs::read("examples/driver-review.json").unwrap());
    for flags in flags {
        let webhook = Webhook::start(&flags);
        let connect = async |name: &str| connect_by_name(webhook.address(), &ca, name).await;
        for name in
            ["hook.data.svc", "hook", "hook.data", "hook.data.svc.cluster.local", "127.0.0.1"]
        {
            let (mut stream, _) = connect(name).await.unwrap();
            assert_eq!(exchange(&mut stream, &review).await.status, 200, "{flags:?}: {name}");
        }
        for name in ["hook.other.svc", "spark-webhook.data.svc", "127.0.0.2"] {
            let error = connect(name).await.map(drop).expect_err(name).to_string();
            assert!(error.contains("certificate not valid for name"), "{flags:?}: {name}: {error}");
        }
    }
}

#[tokio::test]
async fn serve_takes_the_client_ca_and_serves_its_client_only() {
    let directory = tempfile::tempdir().unwrap();
    let printed = accepts(&["--client-ca"], directory.path());
    let flags = flags(&printed);
    assert_eq!(flags[2][0], "--client-ca");
    let webhook = Webhook::start(&[&flags[0][..], &flags[2][..]].concat());
    let client = |name: &str| {
        let path = |extension: &str| directory.path().join(format!("{name}.{extension}"));
        let certificate = CertificateDer::from_pem_file(path("crt")).unwrap();
        with_certificate(vec![certificate], PrivateKeyDer::from_pem_file(path("key")).unwrap())
    };
    assert!(is_served(&webhook, &client("client")).await);
    // The other certificate is of the CA that the API server trusts, and no client's.
    assert!(!is_served(&webhook, &client("tls")).await);
    assert!(!is_served(&webhook, &ANONYMOUS).await);
}

#[test]
fn nothing_is_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let exists = |name: &str| {
        let file = directory.path().join(name);
        format!("{} exists; remove it or name another directory", file.display())
    };
    fs::write(directory.path().join("client.key"), "mine").unwrap();
    rejects(&["--client-ca"], directory.path(), &exists("client.key"));
    accepts(&[], directory.path());
    rejects(&[], directory.path(), &exists("ca.crt"));
    fs::remove_file(directory.path().join("ca.crt")).unwrap();
    rejects(&[], directory.path(), &exists("ca.key"));
}

#[test]
fn only_the_owner_reads_the_keys() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    accepts(&["--client-ca"], directory.path());
    let keys = contents(directory.path()).into_keys().filter(|name| name.contains(".key"));
    let keys: Vec<String> = keys.collect();
    assert_eq!(keys, ["ca.key", "client-ca.key", "client.key", "tls.key"]);
    for key in keys {
        let mode = fs::metadata(directory.path().join(&key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
}

#[test]
fn wrong_arguments_are_errors_and_help_names_each_option() {
    let directory = tempfile::tempdir().unwrap();
    let none = directory.path().join("none");
    for (arguments, expected) in [
        (&["--dns-name", "a,DNS:b"][..], "a,DNS:b is no DNS name and no IP address"),
        (&["--namespace", "a/b"], "spark-webhook.a/b.svc is no DNS name and no IP address"),
        (&["--days", "soon"], "soon is no number of days from 1 to 99999"),
        (&["--ca-days", "0"], "0 is no number of days from 1 to 99999"),
        (&["--force"], "unknown option --force; see --help"),
    ] {
        rejects(arguments, &none, expected);
    }
    let output = Command::new("certs/openssl.sh").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stderr, b"openssl.sh: the directory is missing; see --help\n");
    let help = Command::new("certs/openssl.sh").arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for option in [
        "--namespace NAME",
        "--service NAME",
        "--dns-name NAME",
        "--days DAYS",
        "--ca-days DAYS",
        "--client-ca",
    ] {
        assert!(help.contains(&format!("\n  {option} ")), "{option}: {help}");
    }
}
