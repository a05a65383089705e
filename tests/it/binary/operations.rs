//! What operators see and do, as docs/operations.md says it: metrics, decisions, log lines, client
//! certificates and signals, against the real binary.

use std::fs;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use testkit::http::{
    ANONYMOUS, Reply, connect, exchange, get, get_with, metric, post, try_connect, try_read_reply,
    with_certificate,
};
use testkit::webhook::{self, Webhook};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

fn example() -> Vec<u8> {
    fs::read("examples/driver-review.json").unwrap()
}

/// The example with something else in it.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut review = serde_json::from_slice(&example()).unwrap();
    change(&mut review);
    review.to_string().into_bytes()
}

/// The example with one more annotation.
fn asking(key: &str, value: &str) -> Vec<u8> {
    let key = format!("spark-operator.k8s.io/{key}");
    changed(|review| review["request"]["object"]["metadata"]["annotations"][&key] = json!(value))
}

/// One answer on a connection of its own.
async fn ask(webhook: &Webhook, request: &[u8]) -> Reply {
    try_ask(webhook, &ANONYMOUS, request).await.unwrap()
}

/// The same for a client with settings, or why there is no answer.
async fn try_ask(
    webhook: &Webhook,
    settings: &Arc<ClientConfig>,
    request: &[u8],
) -> io::Result<Reply> {
    let mut stream = try_connect(webhook.address(), settings).await?;
    stream.write_all(request).await?;
    stream.flush().await?;
    try_read_reply(&mut stream).await
}

/// Waits until the admin port counts so many.
async fn wait_for(webhook: &Webhook, series: &str, expected: f64) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let count = metric(webhook.admin_address(), series).await;
        if count.total_cmp(&expected).is_eq() {
            return;
        }
        assert!(Instant::now() < deadline, "{series} is {count} instead of {expected}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn whatever_happens_is_counted_once() {
    let webhook = Webhook::start(&["--on-problem", "deny", "--max-body-bytes", "100000"]);
    let head = |rest: &str| {
        format!(
            "POST /mutate?timeout=0s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{rest}\r\n\r\n"
        )
    };
    let unchanged = changed(|review| {
        review["request"]["object"]["metadata"]["annotations"] =
            json!({"spark-operator.k8s.io/configMap.app": ""});
    });
    let ignored = changed(|review| review["request"]["resource"]["resource"] = json!("services"));
    let whole = [
        ("mutated", 200, example()),
        ("mutated", 200, asking("typo", "x")),
        ("unchanged", 200, unchanged),
        ("ignored", 200, ignored),
        ("refused", 200, asking("configMap.app", "relative")),
        ("malformed", 400, b"{}".to_vec()),
    ];
    let mut bytes = 0;
    for (_, status, body) in &whole {
        assert_eq!(ask(&webhook, &post(body)).await.status, *status);
        bytes += body.len();
    }
    for (request, status) in [
        (
            post(&example())
                .strip_prefix(b"POST /mutate")
                .map(|rest| [b"POST /", rest].concat())
                .unwrap(),
            404,
        ),
        (head("Content-Length: 99999999").into_bytes(), 413),
        // The rest of it never comes.
        (head("Content-Length: 2").into_bytes(), 503),
        (post(&vec![b' '; 200_000]), 503),
    ] {
        let reply = ask(&webhook, &request).await;
        assert_eq!(reply.status, status, "{reply:?}");
        assert_eq!(reply.head.contains("retry-after: 1\r\n"), status == 503, "{reply:?}");
    }
    let mut gone = connect(webhook.address()).await;
    gone.write_all(head("Content-Length: 2").replace("0s", "5s").as_bytes()).await.unwrap();
    gone.flush().await.unwrap();
    wait_for(&webhook, "requests_in_flight", 1.0).await;
    drop(gone);
    let mut no_tls = TcpStream::connect(webhook.address()).await.unwrap();
    no_tls.write_all(&post(&example())).await.unwrap();
    let _ = no_tls.read_to_end(&mut Vec::new()).await;
    let kept_open = connect(webhook.address()).await;

    let asks_for = ["sparkConfigMap", "hadoopConfigMap", "secret", "GCPServiceAccount"];
    let mounted =
        asks_for.map(|annotation| (format!("mutations_total{{annotation=\"{annotation}\"}}"), 2));
    let expected = [
        ("requests_total{outcome=\"mutated\"}", 2),
        ("requests_total{outcome=\"unchanged\"}", 1),
        ("requests_total{outcome=\"ignored\"}", 1),
        ("requests_total{outcome=\"refused\"}", 1),
        ("requests_total{outcome=\"malformed\"}", 1),
        ("requests_total{outcome=\"misdirected\"}", 1),
        ("requests_total{outcome=\"too_large\"}", 1),
        ("requests_total{outcome=\"late\"}", 1),
        ("requests_total{outcome=\"shed\"}", 1),
        ("requests_total{outcome=\"broken\"}", 1),
        ("requests_total{outcome=\"panicked\"}", 0),
        ("request_duration_seconds_count", 11),
        ("request_duration_seconds_bucket{le=\"+Inf\"}", 11),
        ("requests_in_flight", 0),
        ("request_bytes_total", bytes),
        ("mutations_total{annotation=\"configMap\"}", 4),
        ("mutations_total{annotation=\"hadoopDelegationToken\"}", 0),
        ("problems_total{kind=\"value\"}", 1),
        ("problems_total{kind=\"unknown_key\"}", 1),
        ("tls_handshakes_total{result=\"done\"}", 12),
        ("tls_handshakes_total{result=\"failed\"}", 1),
        ("tls_handshakes_total{result=\"late\"}", 0),
        ("connections_accepted_total", 13),
        ("connections_evicted_total", 0),
        ("accept_errors_total", 0),
        // The one that is kept_open.
        ("connections", 1),
        ("log_lines_dropped_total", 0),
    ];
    let expected =
        expected.map(|(series, count)| (series.to_owned(), count)).into_iter().chain(mounted);
    for (series, count) in expected {
        wait_for(&webhook, &series, f64::from(u32::try_from(count).unwrap())).await;
    }
    drop(kept_open);
    wait_for(&webhook, "connections", 0.0).await;
    let reply = get(webhook.admin_address(), "/metrics").await;
    assert!(
        reply.head.contains(
            "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
        ),
        "{}",
        reply.head
    );
    assert!(reply.body.ends_with("# EOF\n"));
    // What is counted is explained.
    let page = fs::read_to_string("docs/operations.md").unwrap();
    for name in reply
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE spark_webhook_")?.split(' ').next())
    {
        assert!(page.contains(&format!("`{name}")), "docs/operations.md says nothing of {name}");
    }
}

#[tokio::test]
async fn decisions_are_shown_as_json_and_as_a_page_in_which_names_are_only_text() {
    let webhook = Webhook::start(&[]);
    let hostile = changed(|review| {
        let metadata = &mut review["request"]["object"]["metadata"];
        metadata["name"] = json!("<script>alert(1)</script>");
        metadata["annotations"]["other.example/secret"] = json!("S3CRET");
        metadata["annotations"]["spark-operator.k8s.io/configMap.app"] = json!("<img src=x>");
    });
    ask(&webhook, &post(&example())).await;
    ask(&webhook, &post(&hostile)).await;

    let reply = get(webhook.admin_address(), "/decisions").await;
    assert!(reply.head.contains("content-type: application/json\r\n"), "{}", reply.head);
    let decisions: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(decisions.as_array().unwrap().len(), 2);
    let [latest, first] = [&decisions[0], &decisions[1]];
    assert_eq!(latest["pod"], "<script>alert(1)</script>");
    assert!(latest["injected"].to_string().contains("<img src=x>"), "{latest}");
    let example: Value = serde_json::from_slice(&example()).unwrap();
    assert_eq!(first["namespace"], "default");
    assert_eq!(first["pod"], example["request"]["object"]["metadata"]["name"]);
    assert_eq!((&first["role"], &first["outcome"]), (&json!("driver"), &json!("mutated")));
    assert_eq!(first["injected"]["mounts"].as_array().unwrap().len(), 6);

    let browser = "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n";
    let page = get_with(webhook.admin_address(), "/decisions", browser).await;
    assert!(page.head.contains("content-type: text/html; charset=utf-8\r\n"), "{}", page.head);
    assert!(page.body.contains("<td>&lt;script&gt;alert(1)&lt;/script&gt;"), "{}", page.body);
    assert!(!page.body.contains("<script") && !page.body.contains("<img"), "{}", page.body);
    assert!(!page.body.contains("S3CRET") && !reply.body.contains("S3CRET"));
}

/// A web page whose name resolves to 127.0.0.1 would otherwise read them by the browser of whoever
/// forwards the port.
#[tokio::test]
async fn decisions_are_not_shown_to_a_web_page_of_another_name_but_probes_are_answered_to_any() {
    let webhook = Webhook::start(&[]);
    for (path, host, status) in [
        ("/decisions", "evil.example:8080", 403),
        ("/decisions", "localhost:8080", 200),
        ("/livez", "10.0.0.7:8080", 200),
        ("/readyz", "10.0.0.7:8080", 200),
        ("/metrics", "10.0.0.7:8080", 200),
    ] {
        let mut stream = TcpStream::connect(webhook.admin_address()).await.unwrap();
        let reply = exchange(
            &mut stream,
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(),
        )
        .await;
        assert_eq!(reply.status, status, "{path} {host}: {reply:?}");
    }
}

#[tokio::test]
async fn the_log_can_be_an_object_a_line() {
    let webhook = Webhook::start(&["--log-format", "json"]);
    ask(&webhook, &post(&example())).await;
    ask(
        &webhook,
        &post(&changed(|review| {
            review["request"]["object"]["metadata"]["name"] = json!("a\n\"b\u{1b}");
        })),
    )
    .await;
    let mut lines = ["ctr1-35", "\\n"].map(|text| webhook.log_line(text)).into_iter().map(|line| {
        let line: Value = serde_json::from_str(&line).unwrap();
        line
    });
    let (line, hostile) = (lines.next().unwrap(), lines.next().unwrap());
    let request = &serde_json::from_slice::<Value>(&example()).unwrap()["request"];
    for (field, expected) in [
        ("level", &json!("INFO")),
        ("message", &json!("admission")),
        ("uid", &request["uid"]),
        ("namespace", &json!("default")),
        ("pod", &request["object"]["metadata"]["name"]),
        ("role", &json!("driver")),
        ("outcome", &json!("mutated")),
    ] {
        assert_eq!(line[field], *expected, "{field} in {line}");
    }
    let injected: Value = serde_json::from_str(line["injected"].as_str().unwrap()).unwrap();
    assert_eq!(injected["mounts"].as_array().unwrap().len(), 6);
    assert_eq!(hostile["pod"], "a\n\"b\u{1b}");
    // Nothing is said of pods that are left alone.
    ask(
        &webhook,
        &post(&changed(|review| review["request"]["resource"]["resource"] = json!("services"))),
    )
    .await;
    webhook.signal("TERM");
    let line: Value = serde_json::from_str(&webhook.log_line("{")).unwrap();
    assert_eq!(line["message"], "stopping: finishing what runs");
}

/// Whoever collects JSON parses each line, those from before it listens and the reason for which it
/// does not start too.
#[test]
fn with_log_format_json_every_line_is_an_object() {
    let messages = |webhook: std::process::Output| {
        let stderr = String::from_utf8(webhook.stderr).unwrap();
        let lines = stderr
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
        lines.map(|line| line["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let serve = |arguments: &[&str]| {
        let mut command = webhook::command();
        command
            .args([
                "serve",
                "--log-format",
                "json",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .args(arguments);
        command.stderr(std::process::Stdio::piped()).env("SPARK_WEBHOOK_DRAIN_DELAY", "0s");
        command
    };
    let directory = tempfile::tempdir().unwrap();
    let registration = directory.path().join("registration.yaml");
    let mut running =
        serve(&["--write-registration", registration.to_str().unwrap()]).spawn().unwrap();
    // It is written when everything is ready to serve.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !registration.exists() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    let status = std::process::Command::new("kill").arg(running.id().to_string()).status().unwrap();
    assert!(status.success() && running.wait().unwrap().success());
    let seen = messages(running.wait_with_output().unwrap());
    assert!(seen[0].starts_with("The certificate is self-signed"), "{seen:?}");
    assert_eq!(seen[1..], ["listening", "stopping: finishing what runs", "stopped"]);

    for (variable, arguments) in
        [("info", &["--config", "missing.yaml"][..]), ("warning", &["--config", "missing.yaml"])]
    {
        let output = serve(arguments).env("RUST_LOG", variable).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(messages(output), ["cannot serve"]);
    }
}

/// A level that does not exist would otherwise silence everything, errors too.
#[test]
fn a_level_that_does_not_exist_is_rejected_with_those_that_do() {
    // It could not serve with any level.
    let output = webhook::command()
        .args(["serve", "--config", "missing.yaml"])
        .env("RUST_LOG", "warning")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let expected = "spark-webhook: RUST_LOG=warning: write error, warn, info, debug, trace or off, or levels for targets such as info,spark_webhook=debug\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
}

/// A CA's certificate in PEM, and the settings of a client that shows a certificate of it.
fn client_of_a_new_ca() -> (String, Arc<ClientConfig>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf =
        CertificateParams::new(["client".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    (ca, with_certificate(vec![leaf.der().clone()], key))
}

#[tokio::test]
async fn with_a_client_ca_only_clients_with_a_certificate_of_it_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.crt");
    let (ca, ours) = client_of_a_new_ca();
    let (_, of_another_ca) = client_of_a_new_ca();
    fs::write(&file, ca).unwrap();
    let webhook = Webhook::start(&["--client-ca", file.to_str().unwrap()]);
    let request = post(&example());
    // In TLS 1.3 a client learns only by its first read what the server thinks of its certificate.
    let error = try_ask(&webhook, &ANONYMOUS, &request).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    let error = try_ask(&webhook, &of_another_ca, &request).await.unwrap_err();
    assert!(error.to_string().contains("received fatal alert"), "{error}");
    assert_eq!(try_ask(&webhook, &ours, &request).await.unwrap().status, 200);
    wait_for(&webhook, "tls_handshakes_total{result=\"failed\"}", 2.0).await;
    wait_for(&webhook, "tls_handshakes_total{result=\"done\"}", 1.0).await;
}

#[tokio::test]
async fn after_sigterm_it_serves_on_for_the_drain_delay_and_closes_each_connection_with_an_answer()
{
    const DELAY: Duration = Duration::from_secs(5);
    let webhook = Webhook::start(&["--drain-delay", "5s"]);
    let request = post(&example());
    let mut kept = connect(webhook.address()).await;
    let reply = exchange(&mut kept, &request).await;
    assert!(reply.status == 200 && !reply.head.contains("connection: close"), "{}", reply.head);
    let mut idle = connect(webhook.address()).await;
    let idle = tokio::spawn(async move {
        assert_eq!(idle.read(&mut [0; 16]).await.unwrap_or(0), 0);
        Instant::now()
    });
    let started = Instant::now();
    webhook.signal("TERM");
    webhook.log_line("stopping: not ready");
    let reply = get(webhook.admin_address(), "/readyz").await;
    assert_eq!((reply.status, &*reply.body), (503, "shutting down\n"));
    assert!(started.elapsed() < DELAY / 2, "at once");
    assert_eq!(get(webhook.admin_address(), "/livez").await.status, 200);

    let reply = exchange(&mut kept, &request).await;
    assert!(reply.status == 200 && reply.head.contains("connection: close\r\n"), "{}", reply.head);
    assert_eq!(kept.read(&mut [0; 16]).await.unwrap(), 0, "it is closed");
    while let Ok(reply) = try_ask(&webhook, &ANONYMOUS, &request).await {
        assert!(
            reply.status == 200 && reply.head.contains("connection: close\r\n"),
            "{}",
            reply.head
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(started.elapsed() >= DELAY, "{:?}", started.elapsed());
    webhook.log_line("stopping: finishing what runs");
    // An idle one is left open for as long as a request may come.
    let open = idle.await.unwrap().duration_since(started);
    assert!(open >= DELAY, "{open:?}");
    // Nothing is left that would be waited for, for 20 s.
    assert_eq!(webhook.wait().code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_an_interrupt_does_not_wait() {
    for second in ["TERM", "INT"] {
        let webhook = Webhook::start(&["--drain-delay", "30s"]);
        webhook.signal("TERM");
        webhook.log_line("stopping: not ready");
        webhook.signal(second);
        assert_eq!(webhook.wait().code(), Some(130), "{second}");
    }
    let webhook = Webhook::start(&["--drain-delay", "30s"]);
    webhook.signal("INT");
    assert_eq!(webhook.wait().code(), Some(0));

    // Also while a request is waited for.
    let webhook = Webhook::start(&[]);
    let mut running = connect(webhook.address()).await;
    let request = post(&example());
    running.write_all(&request[..request.len() / 2]).await.unwrap();
    running.flush().await.unwrap();
    wait_for(&webhook, "requests_in_flight", 1.0).await;
    webhook.signal("TERM");
    webhook.log_line("stopping: finishing what runs");
    webhook.signal("TERM");
    assert_eq!(webhook.wait().code(), Some(130));
}

#[tokio::test]
async fn each_cpu_has_a_thread_with_its_share_of_connections_and_one_alone_has_none_beside_the_first()
 {
    let all = Webhook::cpus();
    let first: String = all.chars().take_while(char::is_ascii_digit).collect();
    let count = thread::available_parallelism().unwrap().get();
    for (cpus, expected) in [(&first, 0), (&all, if count == 1 { 0 } else { count })] {
        let webhook = Webhook::start_on_cpus(cpus, &[]);
        for _ in 0..count {
            let mut connection = connect(webhook.address()).await;
            for _ in 0..100 {
                assert_eq!(exchange(&mut connection, &post(&example())).await.status, 200);
            }
        }
        let threads = webhook.threads("connections");
        assert_eq!(threads.len(), expected, "on {cpus}");
        // One that has served a hundred requests has run for longer, and one that only waits for
        // far less.
        assert!(threads.iter().all(|thread| *thread > Duration::from_millis(1)), "{threads:?}");
    }
}
