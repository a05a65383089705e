//! Before the checks: the kubeconfig, the login, the proxy and the API server, with everything that
//! can be wrong on the way.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::cluster::ADMIN_TOKEN;
use testkit::webhook::command;

use super::servers::{Proxy, answering, closing, refusing, relay, silent};
use super::{CLUSTER, own_address, read};

/// `doctor` for a namespace, with nothing of this process's environment that leads to a cluster or
/// around one.
fn doctor(home: &Path, arguments: &[&str]) -> Command {
    let mut doctor = command();
    for name in [
        "KUBECONFIG",
        "KUBERNETES_SERVICE_HOST",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
    ] {
        doctor.env_remove(name).env_remove(name.to_lowercase());
    }
    // Other tests register webhooks with the default name.
    doctor
        .env("HOME", home)
        .args(["doctor", "--namespace", "default", "--name", "nothing-is-registered"])
        .args(arguments);
    doctor
}

/// A kubeconfig in a directory, for one context.
fn kubeconfig(directory: &Path, name: &str, cluster: &Value, user: &Value) -> PathBuf {
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "k", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}, {"name": "lost", "context": {"cluster": "gone"}}],
    });
    let file = directory.join(name);
    fs::write(&file, kubeconfig.to_string()).unwrap();
    file
}

/// With a kubeconfig of this cluster and user.
fn run(directory: &Path, cluster: &Value, user: &Value) -> Output {
    let file = kubeconfig(directory, "kubeconfig", cluster, user);
    doctor(directory, &["-o", "json", "--kubeconfig", file.to_str().unwrap()]).output().unwrap()
}

/// That doctor could not begin, for one reason, which people and scripts are told alike.
#[track_caller]
fn assert_error(output: &Output, [check, message, advice]: [&str; 3]) {
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    let rows: Value =
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    let row = json!({"check": check, "status": "error", "message": message, "advice": advice});
    assert_eq!(rows, json!([row]), "{stderr}");
    let page = fs::read_to_string("docs/operations.md").unwrap();
    assert!(page.contains(&format!("| `{check}` |")), "{check} is not documented");
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr, format!("spark-webhook: {message}; {advice}\n"));
    for part_of_the_program in ["os error", "Error", "Kind", "::", "Some(", "Os {", "(\""] {
        assert!(!stderr.contains(part_of_the_program), "{stderr}");
    }
}

const ANOTHER: &str = "correct it, or name another one by --kubeconfig";
const AUTHORITY: &str =
    "correct certificate-authority or certificate-authority-data of the cluster in the kubeconfig";
const ADDRESS: &str = "check that it is running, and that its address is right";

#[test]
fn files_that_are_no_kubeconfig_or_have_no_such_context() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    kubeconfig(directory.path(), "good", &json!({"server": "https://127.0.0.1:1"}), &json!({}));
    let without_current =
        fs::read_to_string(path("good")).unwrap().replace("\"current-context\":\"c\",", "");
    for (name, text) in [
        ("yaml", "apiVersion: v1\nclusters: [*]\n"),
        ("list", "apiVersion: v1\nclusters:\n  k: {}\n"),
        ("escape", "apiVersion: v1\nclusters: {\"\\e[2J\": 1}\n"),
        ("no-current", &without_current),
        ("empty", ""),
        ("other-kind", "kind: Other\n"),
    ] {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let choose = "choose one by --context: c, lost";
    let add = "add the cluster, or choose another context by --context";
    for (list, arguments, message, advice) in [
        (
            "",
            &["--kubeconfig", &path("gone")][..],
            format!("the kubeconfig {} does not exist", path("gone")),
            "correct --kubeconfig",
        ),
        (
            "",
            &[],
            format!(
                "no cluster is configured: {} does not exist, and doctor does not run in a pod",
                path(".kube/config")
            ),
            "use --kubeconfig FILE, or set KUBECONFIG",
        ),
        (
            "gone:gone-too:",
            &[],
            format!("no file in KUBECONFIG exists: {}, {}", path("gone"), path("gone-too")),
            "correct KUBECONFIG, or use --kubeconfig FILE",
        ),
        // What follows is the YAML library's.
        ("yaml", &[], format!("{}, line 2 is not valid in a kubeconfig: …", path("yaml")), ANOTHER),
        (
            "gone:list",
            &[],
            format!("{}, line 3 is not valid in a kubeconfig: …", path("list")),
            ANOTHER,
        ),
        (
            "escape",
            &[],
            format!("{}, line 2 is not valid in a kubeconfig: …", path("escape")),
            ANOTHER,
        ),
        (".", &[], format!("the kubeconfig {} cannot be read: Is a directory", path(".")), ANOTHER),
        (
            "good:other-kind",
            &[],
            format!(
                "{} has another kind or apiVersion than the file before it in KUBECONFIG",
                path("other-kind")
            ),
            ANOTHER,
        ),
        ("no-current", &[], "the kubeconfig has no current-context".to_owned(), choose),
        (
            "gone:good",
            &["--context", "other"],
            "the kubeconfig has no context other".to_owned(),
            choose,
        ),
        (
            "",
            &["--kubeconfig", &path("empty")],
            "the kubeconfig has no contexts".to_owned(),
            ANOTHER,
        ),
        ("empty", &[], "the kubeconfig has no contexts".to_owned(), ANOTHER),
        ("empty", &["--context", "c"], "the kubeconfig has no contexts".to_owned(), ANOTHER),
        (
            "good",
            &["--context", "lost"],
            "the kubeconfig has no cluster gone, which its context lost names".to_owned(),
            add,
        ),
    ] {
        let list: Vec<String> = list
            .split(':')
            .map(|name| if name.is_empty() { String::new() } else { path(name) })
            .collect();
        let output = doctor(directory.path(), arguments)
            .env("KUBECONFIG", list.join(":"))
            .args(["-o", "json"])
            .output()
            .unwrap();
        let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
        let printed = rows[0]["message"].as_str().unwrap();
        let beginning =
            message.strip_suffix('…').filter(|beginning| printed.starts_with(beginning));
        let message = if beginning.is_some() { printed } else { &message };
        assert_error(&output, ["kubeconfig", message, advice]);
    }
}

#[test]
fn a_cluster_with_a_mistake_in_the_kubeconfig() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = |key: &str, value: &str| json!({"server": "https://127.0.0.1:1", key: value});
    let server = "write https://HOST:PORT as server of the cluster in the kubeconfig";
    let unreadable = "the CA certificate in the kubeconfig cannot be read";
    let missing = directory.path().join("ca.crt");
    for (cluster, check, message, advice) in [
        (
            json!({}),
            "kubeconfig",
            "the address of the API server is \"\", which is not a URL".to_owned(),
            server,
        ),
        (
            json!({"server": "127.0.0.1:6443"}),
            "kubeconfig",
            "the address of the API server is \"127.0.0.1:6443\", which is not a URL".to_owned(),
            server,
        ),
        (
            cluster("certificate-authority", "ca.crt"),
            "kubeconfig",
            format!("{unreadable}: {}: No such file or directory", missing.display()),
            AUTHORITY,
        ),
        (
            cluster("certificate-authority-data", "%%%"),
            "kubeconfig",
            format!("{unreadable}: the data is not base64"),
            AUTHORITY,
        ),
        (
            cluster("certificate-authority-data", "YQ=="),
            "kubeconfig",
            format!("{unreadable}: it is not a certificate in PEM"),
            AUTHORITY,
        ),
        (
            cluster("tls-server-name", "a b"),
            "kubeconfig",
            "tls-server-name in the kubeconfig is not a host name".to_owned(),
            "correct it",
        ),
        (
            cluster("proxy-url", "ftp://user:secret@proxy.example"),
            "proxy",
            "proxy-url in the kubeconfig has a scheme that doctor does not support".to_owned(),
            "write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT",
        ),
    ] {
        assert_error(&run(directory.path(), &cluster, &json!({})), [check, &message, advice]);
    }

    // Neither has this machine a CA, as in the image.
    let file = kubeconfig(
        directory.path(),
        "kubeconfig",
        &json!({"server": "https://127.0.0.1:1"}),
        &json!({}),
    );
    let mut without =
        doctor(directory.path(), &["-o", "json", "--kubeconfig", file.to_str().unwrap()]);
    let output = without.env("SSL_CERT_FILE", "/dev/null").output().unwrap();
    assert_error(
        &output,
        [
            "kubeconfig",
            "the kubeconfig has no CA certificate, and neither has this machine",
            AUTHORITY,
        ],
    );
}

#[test]
fn a_rules_file_that_cannot_be_used_comes_before_the_cluster() {
    let directory = tempfile::tempdir().unwrap();
    let rules = directory.path().join("rules.yaml");
    fs::write(&rules, "apiVersion: other\n").unwrap();
    let output = doctor(directory.path(), &["-o", "json", "--config", rules.to_str().unwrap()])
        .output()
        .unwrap();
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = [&rows[0]["check"], &rows[0]["status"]];
    assert_eq!(
        (output.status.code(), row),
        (Some(2), [&json!("config"), &json!("error")]),
        "{rows}"
    );
    assert!(rows[0]["message"].as_str().unwrap().starts_with(rules.to_str().unwrap()), "{rows}");
}

#[test]
fn a_login_that_does_not_work() {
    let directory = tempfile::tempdir().unwrap();
    let exec = |command: &str, arguments: &[&str]| {
        let version = "client.authentication.k8s.io/v1";
        json!({"exec": {"apiVersion": version, "command": command, "args": arguments, "interactiveMode": "Never"}})
    };
    let mut hinted = exec("aws-not-there", &["eks", "get-token"]);
    hinted["exec"]["installHint"] = json!("install it:\n  see\thttps://example.com");
    let token_file = directory.path().join("token").display().to_string();
    let who = "user u of the kubeconfig";
    let by_itself = "run the command by itself, and log in again if it says so";
    let print = "run the command by itself: it must print an ExecCredential in JSON";
    let correct = "correct it in the kubeconfig, or log in again";
    for (user, message, advice) in [
        (
            hinted,
            format!("{who} logs in with the command aws-not-there, which is not installed"),
            "install it: see https://example.com",
        ),
        (
            exec("aws-not-there", &[]),
            format!("{who} logs in with the command aws-not-there, which is not installed"),
            "install it, or correct the command in the kubeconfig",
        ),
        (
            exec("/", &[]),
            format!("the command /, which logs in {who}, cannot be started: Permission denied"),
            "correct the command in the kubeconfig",
        ),
        (
            exec(
                "sh",
                &[
                    "-c",
                    "echo first >&2; echo secret; printf 'token has expired\\033[2J\\n\\n' >&2; exit 3",
                ],
            ),
            format!(
                "the command sh, which logs in {who}, fails (exit status: 3): token has expired\\u{{1b}}[2J"
            ),
            by_itself,
        ),
        (
            exec("false", &[]),
            format!("the command false, which logs in {who}, fails (exit status: 1)"),
            by_itself,
        ),
        (
            exec("echo", &["secret"]),
            format!("the command echo, which logs in {who}, prints no valid credentials"),
            print,
        ),
        (
            exec(
                "printf",
                &[
                    r#"{"status": {"token": "a\\nb", "expirationTimestamp": "2999-01-01T00:00:00Z"}}"#,
                ],
            ),
            format!(
                "the command printf, which logs in {who}, prints a token with a line break or another character that no token has"
            ),
            "run the command by itself, and correct what it prints",
        ),
        (
            exec("echo", &["{}"]),
            format!("the command echo, which logs in {who}, prints no valid credentials"),
            print,
        ),
        (
            json!({"exec": {"apiVersion": "v1"}}),
            format!("{who} has exec without a command"),
            "write the command in the kubeconfig",
        ),
        (
            json!({"tokenFile": "token"}),
            format!(
                "the token of {who} cannot be read from {token_file}: No such file or directory"
            ),
            "correct tokenFile in the kubeconfig, or log in again",
        ),
        (
            json!({"token": "sec\nret"}),
            format!("the token of {who} contains a line break or another control character"),
            "write it without that character, or log in again",
        ),
        (
            json!({"auth-provider": {"name": "azure"}}),
            format!("{who} uses auth-provider, which does not work here"),
            "use exec, a token or a client certificate in the kubeconfig",
        ),
        (
            json!({"client-certificate-data": "YQ==", "client-key": "/gone.key"}),
            format!(
                "the client certificate of {who} cannot be read: /gone.key: No such file or directory"
            ),
            correct,
        ),
        (
            json!({"client-certificate-data": "YQ==", "client-key-data": "YQ=="}),
            format!("the client certificate of {who} is not valid, or not that of its key"),
            correct,
        ),
    ] {
        let cluster = json!({"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": true});
        assert_error(&run(directory.path(), &cluster, &user), ["credentials", &message, advice]);
    }
}

/// A host name that no resolver looks for, as a part of it is too long.
fn unknown_name() -> String {
    format!("{}.example", "a".repeat(64))
}

/// A whole answer, in HTTP.
fn http(code: u16, body: &str) -> String {
    format!("HTTP/1.1 {code} Status\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn an_api_server_that_does_not_do_its_part() {
    let directory = tempfile::tempdir().unwrap();
    let (_socket, nobody) = refusing();
    let name = unknown_name();
    let user = json!({"token": "t"});
    let unavailable = http(
        503,
        r#"{"kind": "Status", "status": "Failure", "message": "not\nready", "code": 503}"#,
    );
    let [closed, page, away, other] = [
        closing(),
        answering(http(200, "<html>")),
        answering(unavailable),
        answering("SSH-2.0-OpenSSH"),
    ];
    let is_other = "does not answer as a Kubernetes API server does";
    for (server, problem, advice) in [
        (format!("https://{nobody}"), "refuses the connection", ADDRESS),
        (format!("http://{closed}"), "closes the connection", ADDRESS),
        (
            format!("https://{page}"),
            "does not use TLS",
            "correct the scheme and port of its address",
        ),
        (format!("http://{page}"), is_other, "correct its address"),
        (format!("http://{other}"), is_other, "correct its address"),
        (
            format!("http://{away}"),
            "answers with status 503: not ready",
            "look at its log, and check that its address is right",
        ),
    ] {
        let cluster = json!({"server": server, "insecure-skip-tls-verify": true});
        let message = format!("the API server {server} {problem}");
        assert_error(&run(directory.path(), &cluster, &user), ["api-server", &message, advice]);
    }
    let cluster = json!({"server": format!("http://{name}:80/path")});
    let message = format!("the host name of the API server http://{name}:80 cannot be resolved");
    assert_error(
        &run(directory.path(), &cluster, &user),
        ["api-server", &message, "correct its address, or check DNS"],
    );

    // A user without permissions is known, and learns from the checks what is missing.
    let denied = answering(http(403, "no"));
    let output = run(directory.path(), &json!({"server": format!("http://{denied}")}), &user);
    assert_eq!(output.status.code(), Some(3));
    assert!(read(&output).iter().all(|found| found.status == "unknown"));
}

#[test]
fn a_proxy_that_does_not_do_its_part() {
    let directory = tempfile::tempdir().unwrap();
    let (_socket, nobody) = refusing();
    let name = unknown_name();
    let [needs_login, forbids, hangs_up] =
        [answering(http(407, "")), answering(http(403, "")), closing()];
    let (plain, no_method) = (answering(http(200, "")), answering([5, 0xff]));
    let start = "start the proxy, or correct proxy-url";
    let allows = "check that the API server runs, and that the proxy allows connections to it";
    let no_connection = "does not connect to https://api.example:6443";
    let login = "write them in proxy-url in the kubeconfig: http://USER:PASSWORD@HOST:PORT";
    for (scheme, login_in_url, proxy, problem, advice) in [
        (
            "http",
            "",
            nobody.to_string(),
            "cannot be reached: the connection was refused".to_owned(),
            start,
        ),
        (
            "http",
            "",
            format!("{name}:1"),
            "cannot be reached: the host name cannot be resolved".to_owned(),
            start,
        ),
        (
            "https",
            "",
            plain.to_string(),
            "cannot be reached: the answer was not TLS".to_owned(),
            start,
        ),
        ("socks5", "", nobody.to_string(), "cannot be reached".to_owned(), start),
        (
            "http",
            "user:wrong@",
            needs_login.to_string(),
            "requires a valid user name and password".to_owned(),
            login,
        ),
        (
            "http",
            "",
            forbids.to_string(),
            format!("{no_connection}: it answers with another status than 200"),
            allows,
        ),
        (
            "http",
            "",
            hangs_up.to_string(),
            format!("{no_connection}: it closes the connection"),
            allows,
        ),
        (
            "socks5",
            "",
            hangs_up.to_string(),
            format!("{no_connection}: it closes the connection"),
            allows,
        ),
        (
            "socks5",
            "",
            no_method.to_string(),
            "requires a login, but doctor cannot log in to a SOCKS5 proxy".to_owned(),
            "use a SOCKS5 proxy without a login, or an HTTP proxy",
        ),
    ] {
        let url = format!("{scheme}://{login_in_url}{proxy}");
        let cluster = json!({"server": "https://api.example:6443", "proxy-url": url, "insecure-skip-tls-verify": true});
        let message =
            format!("the proxy {scheme}://{proxy} (proxy-url in the kubeconfig) {problem}");
        assert_error(
            &run(directory.path(), &cluster, &json!({"token": "t"})),
            ["proxy", &message, advice],
        );
    }
}

/// What a real API server does not accept, and what is wrong with it.
#[tokio::test]
async fn an_api_server_that_is_not_trusted_or_does_not_accept_the_user() {
    let cluster = CLUSTER.get().await;
    let directory = tempfile::tempdir().unwrap();
    let (url, authority) = (cluster.url(), cluster.authority());
    let trusted = json!({"server": url, "certificate-authority": authority});
    let other =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem();
    let other = base64_simd::STANDARD.encode_to_string(other);
    let exec = r#"printf '{"kind": "ExecCredential", "status": {"token": "wrong"}}'"#;
    let exec = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", exec]}});
    let wrong = json!({"token": "expired"});
    let refused = format!(
        "the API server {url} does not accept the credentials of user u of the kubeconfig (status 401)"
    );
    for (cluster, user, check, message, advice) in [
        (
            &trusted,
            &wrong,
            "credentials",
            refused.clone(),
            "log in again, or renew the token or client certificate in the kubeconfig",
        ),
        (
            &trusted,
            &exec,
            "credentials",
            refused,
            "log in again, and check what the command sh prints",
        ),
        (
            &json!({"server": url, "certificate-authority-data": other}),
            &wrong,
            "api-server",
            format!(
                "the API server {url} has a certificate from a CA that the kubeconfig does not have"
            ),
            AUTHORITY,
        ),
        (
            &json!({"server": url, "certificate-authority": authority, "tls-server-name": "other.example"}),
            &wrong,
            "api-server",
            format!("the API server {url} has a certificate for another name"),
            "correct its address, or write a name of the certificate as tls-server-name in the kubeconfig",
        ),
        (
            &json!({"server": url.replace("https", "http")}),
            &wrong,
            "api-server",
            format!(
                "the API server {} answers with status 400: Client sent an HTTP request to an HTTPS server.",
                url.replace("https", "http")
            ),
            "look at its log, and check that its address is right",
        ),
    ] {
        let file = kubeconfig(directory.path(), "kubeconfig", cluster, user);
        // Nothing of this passes by itself, so there is nothing to wait for.
        let arguments = ["-o", "json", "--wait", "10m", "--kubeconfig", file.to_str().unwrap()];
        assert_error(
            &doctor(directory.path(), &arguments).output().unwrap(),
            [check, &message, advice],
        );
    }
}

/// Whoever accepts a connection and never answers: each time, doctor gives up by itself.
#[test]
fn nobody_who_is_silent_keeps_doctor_waiting() {
    let address = silent();
    let silent = |server: &str, proxy: Option<&str>| {
        let server = format!(
            "{server}://{}",
            if proxy.is_some() { "api.example:6443".to_owned() } else { address.to_string() }
        );
        let url = proxy.map(|scheme| format!("{scheme}://{address}")).unwrap_or_default();
        let through = proxy
            .map(|_| format!(" through the proxy {url} (proxy-url in the kubeconfig)"))
            .unwrap_or_default();
        let cluster = json!({"server": server, "proxy-url": url, "insecure-skip-tls-verify": true});
        (cluster, format!("the API server {server}{through} does not answer"))
    };
    let cases = [
        silent("https", None),
        silent("http", None),
        silent("https", Some("http")),
        silent("https", Some("https")),
        silent("https", Some("socks5")),
    ];
    let started = Instant::now();
    let cases = cases.map(|(cluster, message)| {
        thread::spawn(move || {
            let directory = tempfile::tempdir().unwrap();
            let advice = "check that it is running, that its address is right, and that no firewall is in between";
            assert_error(&run(directory.path(), &cluster, &json!({"token": "t"})), ["api-server", &message, advice]);
        })
    });
    for case in cases {
        case.join().unwrap();
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

/// The real API server behind both kinds of proxies, by the kubeconfig and by the environment's
/// variables.
#[tokio::test]
async fn a_proxy_in_front_of_the_api_server() {
    let cluster = CLUSTER.get().await;
    let directory = tempfile::tempdir().unwrap();
    let api_server: SocketAddr = cluster.url().strip_prefix("https://").unwrap().parse().unwrap();
    // As an editor leaves it.
    fs::write(directory.path().join("token"), format!("{ADMIN_TOKEN}\n")).unwrap();
    let user = json!({"tokenFile": "token"});
    // Only the proxies know how to get to this name.
    let hidden = json!({"server": "https://api.example:6443", "certificate-authority": cluster.authority(), "tls-server-name": "kubernetes.default.svc"});
    let run = |cluster: &Value, proxy_url: &str, variables: &[(&str, &str)]| {
        let mut cluster = cluster.clone();
        cluster["proxy-url"] = json!(proxy_url);
        let file = kubeconfig(directory.path(), "kubeconfig", &cluster, &user);
        let mut doctor =
            doctor(directory.path(), &["-o", "json", "--kubeconfig", file.to_str().unwrap()]);
        doctor.envs(variables.iter().copied()).output().unwrap()
    };
    let assert_reached = |output: &Output, proxy: &Proxy, hosts: &str| {
        // There is no webhook, and that is what the API server says.
        let found = read(output);
        assert!(
            found.iter().any(|found| found.check == "configuration" && found.status == "failed"),
            "{found:#?}"
        );
        let seen = proxy.take_hosts();
        assert!(!seen.is_empty() && seen.iter().all(|seen| seen == hosts), "{seen:?}");
    };
    // base64 of user:p@ss
    let http = Proxy::http(api_server, None);
    let with_login = Proxy::http(api_server, Some("Basic dXNlcjpwQHNz"));
    let socks5 = Proxy::socks5(api_server);
    let (connect, host) = ("CONNECT api.example:6443 HTTP/1.1", "api.example:6443");
    for (proxy, url, seen) in [
        (&http, format!("http://{}", http.address), connect),
        (&with_login, format!("http://user:p%40ss@{}", with_login.address), connect),
        (&socks5, format!("socks5://{}", socks5.address), host),
        (&socks5, format!("socks5h://{}", socks5.address), host),
    ] {
        assert_reached(&run(&hidden, &url, &[("NO_PROXY", "*")]), proxy, seen);
        assert_reached(
            &run(&hidden, "", &[("HTTPS_PROXY", &url), ("https_proxy", "http://127.0.0.1:1")]),
            proxy,
            seen,
        );
        assert_reached(
            &run(&hidden, "", &[("https_proxy", &url), ("NO_PROXY", "other.example,")]),
            proxy,
            seen,
        );
    }
    assert_reached(
        &run(&hidden, "", &[("HTTPS_PROXY", &http.address.to_string())]),
        &http,
        connect,
    );

    // Around a proxy that is down, to an address that is not the loopback one, which goes without a
    // proxy by itself.
    let (_socket, nobody) = refusing();
    let dead = format!("http://{nobody}");
    let address = own_address().await;
    let port = relay(TcpListener::bind((address, 0)).unwrap(), api_server).port();
    let near = json!({
        "server": format!("https://{address}:{port}"), "certificate-authority": cluster.authority(), "tls-server-name": "kubernetes.default.svc",
    });
    let down =
        format!("the proxy {dead} (HTTPS_PROXY) cannot be reached: the connection was refused");
    let advice = format!("start the proxy, correct HTTPS_PROXY, or add {address} to NO_PROXY");
    let with_port = format!("{address}:{port}");
    for (name, no_proxy, is_around) in [
        ("NO_PROXY", "*", true),
        ("NO_PROXY", &*address.to_string(), true),
        ("no_proxy", &*format!("localhost, ,{address},"), true),
        ("NO_PROXY", &*with_port, true),
        ("NO_PROXY", &*format!("{address}/31"), true),
        ("NO_PROXY", &*format!("{address}:1"), false),
        ("NO_PROXY", "198.51.100.0/24,.example", false),
        // kube would compare this one.
        ("NO_PROXY", "127.0.0.1", false),
    ] {
        let output = run(&near, "", &[("HTTPS_PROXY", &dead), (name, no_proxy)]);
        if is_around {
            assert!(
                read(&output)
                    .iter()
                    .any(|found| found.check == "configuration" && found.status == "failed"),
                "{no_proxy}"
            );
        } else {
            assert_error(&output, ["proxy", &down, &advice]);
        }
    }
    // The loopback address as well.
    let loopback = json!({"server": cluster.url(), "certificate-authority": cluster.authority()});
    assert_eq!(run(&loopback, "", &[("HTTPS_PROXY", &dead)]).status.code(), Some(1));

    // The real proxy, an API server that is down.
    let output = run(&hidden, &format!("http://{}", Proxy::http(nobody, None).address), &[]);
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &rows[0]["check"]),
        (Some(2), &json!("api-server")),
        "{rows}"
    );
}

#[tokio::test]
async fn files_in_kubeconfig_that_do_not_exist_are_skipped() {
    let cluster = CLUSTER.get().await;
    let home = tempfile::tempdir().unwrap();
    let file = cluster.kubeconfig();
    for list in
        [format!("/nonexistent:{}", file.display()), format!("{}:/nonexistent:", file.display())]
    {
        let output =
            doctor(home.path(), &["-o", "json"]).env("KUBECONFIG", &list).output().unwrap();
        assert!(read(&output).iter().any(|found| found.check == "configuration"), "{list}");
    }
    // Without KUBECONFIG, kubectl's own file.
    fs::create_dir(home.path().join(".kube")).unwrap();
    fs::copy(&file, home.path().join(".kube/config")).unwrap();
    let output = doctor(home.path(), &["-o", "json"]).output().unwrap();
    assert!(read(&output).iter().any(|found| found.check == "configuration"));
}

/// `--wait` waits for an API server that is not up yet, and says so.
#[tokio::test]
async fn a_wait_for_an_api_server_that_is_down() {
    let cluster = CLUSTER.get().await;
    let api_server: SocketAddr = cluster.url().strip_prefix("https://").unwrap().parse().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (socket, address) = refusing();
    let entry = json!({"server": format!("https://{address}"), "certificate-authority": cluster.authority()});
    let file = kubeconfig(directory.path(), "kubeconfig", &entry, &json!({"token": ADMIN_TOKEN}));
    let down = format!("the API server https://{address} refuses the connection");
    let waits = format!("waiting for the cluster: {down}\n");

    // In vain.
    let output = doctor(
        directory.path(),
        &["--wait", "3s", "--kubeconfig", file.to_str().unwrap(), "-o", "json"],
    )
    .output()
    .unwrap();
    assert!(output.stderr.starts_with(waits.as_bytes()), "{output:?}");
    let output = Output { stderr: output.stderr[waits.len()..].to_vec(), ..output };
    assert_error(&output, ["api-server", &down, ADDRESS]);

    let mut waiting =
        doctor(directory.path(), &["--wait", "2m", "--kubeconfig", file.to_str().unwrap()]);
    let mut waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert_eq!(line, waits);
    drop(socket);
    relay(TcpListener::bind(address).unwrap(), api_server);
    // It is up, and waits for the webhook now.
    line.clear();
    stderr.read_line(&mut line).unwrap();
    assert!(line.starts_with("waiting for configuration"), "{line}");
    waiting.kill().unwrap();
    waiting.wait().unwrap();
}
