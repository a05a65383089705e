//! The server's half of the protocol, against the real binary over real TLS.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::http::{Reply, connect, exchange, metric, post, read_reply};
use testkit::wait::wait_until;
use testkit::webhook::{Webhook, command};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn example() -> Vec<u8> {
    fs::read("examples/driver-review.json").unwrap()
}

fn assert_is_answered(reply: &Reply) {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.head.contains("content-type: application/json\r\n"), "{}", reply.head);
    let answer: Value = serde_json::from_str(&reply.body).unwrap();
    let request: Value = serde_json::from_slice(&example()).unwrap();
    assert_eq!(answer["response"]["uid"], request["request"]["uid"]);
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
}

#[tokio::test]
async fn reviews_are_answered_one_after_another_on_one_connection() {
    let webhook = Webhook::start(&[]);
    let mut stream = connect(webhook.address()).await;
    for _ in 0..3 {
        assert_is_answered(&exchange(&mut stream, &post(&example())).await);
    }
    let line = webhook.log_line("outcome=\"mutated\"");
    for field in [
        "uid=\"a3613695",
        "namespace=\"default\"",
        "pod=\"ctr1-35",
        "role=\"driver\"",
        "/etc/hadoop/conf=configmap/hadoop-conf",
    ] {
        assert!(line.contains(field), "{line}");
    }
}

#[tokio::test]
async fn what_is_no_review_gets_a_status_and_one_line_that_says_why() {
    let webhook = Webhook::start(&[]);
    let review = |change: fn(&mut Value)| {
        let mut review = serde_json::from_slice(&example()).unwrap();
        change(&mut review);
        post(review.to_string().as_bytes())
    };
    let head = |line: &str, content_type: &str| {
        format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: 2\r\n\r\n{{}}").into_bytes()
    };
    for (request, status, reason) in [
        (post(b"not json"), 400, "the body is not an AdmissionReview"),
        (post(b""), 400, "the body is not an AdmissionReview"),
        (post(b"{}"), 400, "the body is of kind"),
        (
            review(|review| review["apiVersion"] = json!("admission.k8s.io/v1beta1")),
            400,
            "the body is of kind",
        ),
        (
            review(|review| review["request"] = Value::Null),
            400,
            "the AdmissionReview has no request",
        ),
        (
            review(|review| review["request"]["uid"] = Value::from("")),
            400,
            "the request has no uid",
        ),
        (
            review(|review| review["request"]["object"]["kind"] = json!("Job")),
            400,
            "the request's object is not a Pod",
        ),
        (head("POST /mutate", "text/plain"), 415, "the Content-Type must be application/json"),
        (head("GET /mutate", "application/json"), 405, "admission reviews are sent by POST"),
        (head("PUT /mutate", "application/json"), 405, "admission reviews are sent by POST"),
        (head("POST /", "application/json"), 404, "admission reviews are sent to /mutate"),
        (head("POST /mutate/", "application/json"), 404, "admission reviews are sent to /mutate"),
    ] {
        let reply = exchange(&mut connect(webhook.address()).await, &request).await;
        assert_eq!(reply.status, status, "{reply:?}");
        assert!(reply.body.starts_with(reason), "{reply:?}");
        assert_eq!(reply.body.trim_end().lines().count(), 1, "{reply:?}");
    }
    // What nobody looks into need not be JSON.
    let unseen =
        String::from_utf8(example()).unwrap().replacen(r#""resources":{"#, r#""resources":{,"#, 1);
    assert!(serde_json::from_str::<Value>(&unseen).is_err());
    assert_is_answered(
        &exchange(&mut connect(webhook.address()).await, &post(unseen.as_bytes())).await,
    );
    // A review of something else is no error.
    let other = review(|review| review["request"]["resource"]["resource"] = json!("services"));
    let reply = exchange(&mut connect(webhook.address()).await, &other).await;
    let answer: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(
        (reply.status, &answer["response"]["allowed"], &answer["response"]["patch"]),
        (200, &json!(true), &Value::Null)
    );
}

#[tokio::test]
async fn a_body_of_7_mib_is_read_and_a_larger_one_refused_so_that_the_client_sees_it() {
    let webhook = Webhook::start(&[]);
    let limit = 7 * 1024 * 1024;
    let padded = |size: usize| {
        let mut body = example();
        body.resize(size, b' ');
        body
    };
    assert_is_answered(
        &exchange(&mut connect(webhook.address()).await, &post(&padded(limit))).await,
    );

    // Both with a length and in chunks, and with the whole body sent before the reply is read: no
    // reset may swallow it.
    let too_large = padded(limit + 1);
    let mut chunked =
        b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in too_large.chunks(100_000) {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    for request in [post(&too_large), post(&padded(3 * limit)), chunked.clone()] {
        let mut stream = connect(webhook.address()).await;
        let reply = exchange(&mut stream, &request).await;
        assert_eq!(
            (reply.status, &*reply.body),
            (413, "the body must not be larger than 7340032 bytes\n")
        );
        assert!(reply.head.contains("connection: close\r\n"), "{}", reply.head);
    }

    // Told to continue, a client may send everything before it reads: that must be read too.
    let head = "POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n";
    let mut stream = connect(webhook.address()).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut told = [0; 25];
    stream.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    let body_at = chunked.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let reply = exchange(&mut stream, &chunked[body_at..]).await;
    assert_eq!(reply.status, 413, "{reply:?}");

    // The reply does not wait for a body that never comes.
    let mut stream = connect(webhook.address()).await;
    let head = "POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n";
    assert_eq!(exchange(&mut stream, head.as_bytes()).await.status, 413);
    // A client that asks first is told to stop instead of being told to go on.
    let mut stream = connect(webhook.address()).await;
    let head = "POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(exchange(&mut stream, head.as_bytes()).await.status, 413);
}

#[tokio::test]
async fn a_request_that_is_running_is_finished_when_the_server_is_told_to_end() {
    let webhook = Webhook::start(&[]);
    let mut idle = connect(webhook.address()).await;
    assert_is_answered(&exchange(&mut idle, &post(&example())).await);
    let mut running = connect(webhook.address()).await;
    let request = post(&example());
    let (first_half, second_half) = request.split_at(request.len() / 2);
    running.write_all(first_half).await.unwrap();
    running.flush().await.unwrap();
    wait_until("it runs", Duration::from_secs(10), async || {
        metric(webhook.admin_address(), "requests_in_flight").await > 0.0
    })
    .await;
    webhook.signal("TERM");
    webhook.log_line("stopping");
    assert_is_answered(&exchange(&mut running, second_half).await);
    assert_eq!(idle.read(&mut [0; 16]).await.unwrap_or(0), 0, "idle connections are closed");
    assert_eq!(webhook.wait().code(), Some(0));
}

#[test]
fn a_signal_ends_it_cleanly_as_soon_as_it_says_that_it_listens() {
    for signal in ["INT", "TERM"].repeat(5) {
        let webhook = Webhook::start(&[]);
        webhook.signal(signal);
        assert_eq!(webhook.wait().code(), Some(0), "{signal}");
    }
}

/// What decides which pods depend on the webhook, and what happens to them while it is away. Accept
/// a change with `INSTA_UPDATE=always`.
#[test]
fn the_registration_that_serve_writes_is_the_golden_one() {
    let directory = tempfile::tempdir().unwrap();
    let [rules, registration] =
        ["rules.yaml", "registration.yaml"].map(|name| directory.path().join(name));
    fs::write(&rules, fs::read("examples/rules.yaml").unwrap()).unwrap();
    let settings = {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../golden");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings
    };
    for (name, config) in
        [("registration", None), ("registration-with-rules", Some(rules.to_str().unwrap()))]
    {
        let mut arguments = vec!["--write-registration", registration.to_str().unwrap()];
        arguments.extend(config.into_iter().flat_map(|config| ["--config", config]));
        let webhook = Webhook::start(&arguments);
        let text = fs::read_to_string(&registration).unwrap();
        let written: Value = serde_saphyr::from_str(&text).unwrap();
        let bundle = written["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap();
        let text =
            text.replace(bundle, "CA-BUNDLE").replace(&webhook.address().to_string(), "ADDRESS");
        settings.bind(|| insta::assert_snapshot!(name, text));
    }
}

/// Names are anybody's until the API server validates them, which is after it has asked us; so are
/// bodies.
#[tokio::test]
async fn what_comes_from_outside_stays_on_one_short_line() {
    let webhook = Webhook::start(&[]);
    let mut review: Value = serde_json::from_slice(&example()).unwrap();
    review["request"]["object"]["metadata"]["name"] = json!("a\nFORGED \u{1b}[31m");
    let reply =
        exchange(&mut connect(webhook.address()).await, &post(review.to_string().as_bytes())).await;
    assert_eq!(reply.status, 200);
    let line = webhook.log_line("FORGED");
    assert!(line.contains("outcome=\"mutated\"") && !line.contains('\u{1b}'), "{line}");

    review["request"]["object"]["spec"]["containers"] = json!("S3CRET".repeat(100_000));
    let reply =
        exchange(&mut connect(webhook.address()).await, &post(review.to_string().as_bytes())).await;
    assert_eq!(reply.status, 400);
    assert!(
        reply.body.chars().count() <= 201 && reply.body.trim_end().lines().count() == 1,
        "{}",
        reply.body
    );
    assert!(webhook.log_line("could not be answered").len() < 500);
}

#[tokio::test]
async fn probes_are_answered_in_plain_http() {
    let webhook = Webhook::start(&[]);
    for path in ["/livez", "/readyz"] {
        let mut stream = TcpStream::connect(webhook.admin_address()).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let reply = read_reply(&mut stream).await;
        assert_eq!((reply.status, &*reply.body), (200, "ok\n"), "{path}");
    }
}

#[tokio::test]
async fn ten_thousand_reviews_leave_less_than_10_mb_that_is_not_the_program() {
    let webhook = Webhook::start(&[]);
    let request = post(&example());
    let mut connections = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (address, request) = (webhook.address(), request.clone());
        connections.spawn(async move {
            let mut stream = connect(address).await;
            for _ in 0..1_000 {
                assert_eq!(exchange(&mut stream, &request).await.status, 200);
            }
        });
    }
    connections.join_all().await;
    let allocated = webhook.anonymous_kib();
    assert!(allocated * 1024 < 10_000_000, "{allocated} KiB");
}

#[test]
fn what_cannot_be_served_is_one_line_that_says_what_to_do_and_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (cert, key) = self_signed();
    let (_, other_key) = self_signed();
    let (cert, key, other_key, garbage) =
        (file("cert", &cert), file("key", &key), file("other", &other_key), file("garbage", "x"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, expected) in [
        (vec!["--listen", &taken], format!("--listen {taken}: Address already in use")),
        (vec!["--admin-listen", &taken], format!("--admin-listen {taken}: Address already in use")),
        (
            vec!["--tls-cert", "missing.pem", "--tls-key", &key],
            "--tls-cert missing.pem: No such file".to_owned(),
        ),
        (
            vec!["--tls-cert", &cert, "--tls-key", "missing.pem"],
            "--tls-key missing.pem: No such file".to_owned(),
        ),
        (
            vec!["--tls-cert", &garbage, "--tls-key", &key],
            format!("--tls-cert {garbage}: expected a PEM certificate, found none"),
        ),
        (
            vec!["--tls-cert", &cert, "--tls-key", &garbage],
            format!("--tls-key {garbage}: expected a PEM private key"),
        ),
        (
            vec!["--tls-cert", &cert, "--tls-key", &other_key],
            format!("--tls-key {other_key} does not belong to the certificate"),
        ),
        (
            vec!["--write-registration", "missing/x.yaml"],
            "--write-registration missing/x.yaml: cannot write".to_owned(),
        ),
        (
            vec!["--dns-name", "a b"],
            "--dns-name \"a b\" is neither a DNS name nor an IP address".to_owned(),
        ),
    ] {
        let mut command = command();
        command.arg("serve").args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        // A flag given twice is refused by clap: those under test replace the free ports.
        let mut command = if arguments.iter().any(|argument| argument.ends_with("listen")) {
            let mut command = self::command();
            let other = if arguments[0] == "--listen" { "--admin-listen" } else { "--listen" };
            command.args(["serve", other, "127.0.0.1:0"]);
            command
        } else {
            command
        };
        let output = command.args(&arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        let errors: Vec<&str> =
            stderr.lines().filter(|line| line.starts_with("spark-webhook: ")).collect();
        assert_eq!(errors.len(), 1, "{stderr}");
        assert!(errors[0].contains(&expected), "{} is not about {expected}", errors[0]);
        assert_eq!(stderr.lines().last(), Some(errors[0]));
    }
}

fn self_signed() -> (String, String) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (certified.cert.pem(), certified.signing_key.serialize_pem())
}

#[tokio::test]
async fn given_certificates_are_served_whatever_the_form_of_their_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let openssl = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl")
            .args(arguments)
            .output()
            .expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    openssl(&[
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
        "-out",
        &path("pkcs8"),
    ]);
    openssl(&["rsa", "-in", &path("pkcs8"), "-traditional", "-out", &path("pkcs1")]);
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-out", &path("sec1")]);
    for key in ["pkcs8", "pkcs1", "sec1"] {
        openssl(&[
            "req",
            "-x509",
            "-key",
            &path(key),
            "-subj",
            "/CN=x",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-out",
            &path("cert"),
        ]);
        let webhook = Webhook::start(&["--tls-cert", &path("cert"), "--tls-key", &path(key)]);
        assert_is_answered(
            &exchange(&mut connect(webhook.address()).await, &post(&example())).await,
        );
    }
}

/// A ConfigMap's file is a link into a directory that the kubelet swaps.
#[tokio::test]
async fn rules_are_read_again_when_their_file_changes_and_a_bad_file_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let swap = |name: &str, rules: &str| {
        fs::create_dir(path(name)).unwrap();
        fs::write(path(name).join("rules.yaml"), rules).unwrap();
        std::os::unix::fs::symlink(name, path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
    };
    let default = |name: &str| {
        format!(
            "apiVersion: spark-webhook/v1\ndefaults: [{{namespaces: [default], annotations: {{spark-operator.k8s.io/secret.{name}: /{name}}}}}]\n"
        )
    };
    swap("..1", &default("one"));
    std::os::unix::fs::symlink("..data/rules.yaml", path("rules.yaml")).unwrap();
    let webhook = Webhook::start(&["--config", path("rules.yaml").to_str().unwrap()]);
    let review = post(&fs::read("tests/golden/no-annotations.spark-3.5.driver.json").unwrap());
    let audit = async || {
        let reply = exchange(&mut connect(webhook.address()).await, &review).await;
        let answer: Value = serde_json::from_str(&reply.body).unwrap();
        answer["response"]["auditAnnotations"]["injected"].as_str().unwrap_or_default().to_owned()
    };
    let readyz = async || {
        let mut stream = TcpStream::connect(webhook.admin_address()).await.unwrap();
        let reply = exchange(&mut stream, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        (reply.status, reply.body)
    };
    assert!(audit().await.contains("/one=secret/one"));

    swap("..2", "apiVersion: spark-webhook/v1\ndefault: []\n");
    let line = webhook.log_line("the old ones stay in force");
    assert!(line.contains("line 2: unknown field \"default\""), "{line}");
    assert!(audit().await.contains("/one=secret/one"));
    let (status, body) = readyz().await;
    assert!(
        status == 200
            && body.starts_with("ok, but with old rules: ")
            && body.contains("unknown field"),
        "{status} {body}"
    );

    swap("..3", &default("two"));
    webhook.log_line("the rules were read again");
    assert!(audit().await.contains("/two=secret/two"));
    assert_eq!(readyz().await, (200, "ok\n".to_owned()));

    // A namespace that the registration does not send is said.
    swap("..4", &default("two").replace("[default]", "[default, other]"));
    webhook.log_line("write and apply it again");
}

/// So that `serve --write-registration - | kubectl apply -f -` works: kubectl reads to the end.
#[test]
fn the_registration_goes_to_standard_output_and_ends_there_while_it_serves() {
    let mut process = command()
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--write-registration",
            "-",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (sender, written) = std::sync::mpsc::channel();
    let stdout = process.stdout.take().unwrap();
    std::thread::spawn(move || sender.send(std::io::read_to_string(stdout)));
    let written = written.recv_timeout(Duration::from_secs(30));
    let is_serving = process.try_wait().unwrap().is_none();
    process.kill().unwrap();
    process.wait().unwrap();
    let registration: Value = serde_saphyr::from_str(&written.expect("it ends").unwrap()).unwrap();
    assert_eq!(registration["kind"], "MutatingWebhookConfiguration");
    assert!(is_serving);
    assert!(!std::path::Path::new("-").exists());
}

/// An allow list whose entries were commented out.
#[tokio::test]
async fn an_allow_list_that_loses_its_entries_opens_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yaml");
    fs::write(&file, "apiVersion: spark-webhook/v1\nallow:\n- configMaps: [conf]\n").unwrap();
    let webhook = Webhook::start(&["--config", file.to_str().unwrap()]);
    let is_allowed = async || {
        let reply = exchange(&mut connect(webhook.address()).await, &post(&example())).await;
        !reply.body.contains("this Secret is not allowed in this namespace")
    };
    assert!(!is_allowed().await);
    fs::write(&file, "apiVersion: spark-webhook/v1\nallow:\n# - configMaps: [conf]\n").unwrap();
    let line = webhook.log_line("the old ones stay in force");
    assert!(
        line.contains("line 2: allow has no value; write allow: [] to permit no name"),
        "{line}"
    );
    assert!(!is_allowed().await);
    let mut stream = TcpStream::connect(webhook.admin_address()).await.unwrap();
    let reply = exchange(&mut stream, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(
        reply.status == 200
            && reply.body.contains("old rules: ")
            && reply.body.contains("line 2: allow has no value"),
        "{reply:?}"
    );
}
