//! Every task of docs/annotations.md as its reader carries it out: the kubectl lines, then a job
//! with the properties.

use std::fs;
use std::process::Command;

use testkit::documentation as page;

use crate::SPARK_4;
use crate::job::{Job, NODE_CA, Report};

/// Trusted only by who has the node's CA, and readable for everybody.
const URL: &str = "https://10.213.0.1:16443/version";

/// A file as a reader might have it: what is in it matters only where Spark, Hadoop or the JVM
/// reads it.
fn content(name: &str) -> Vec<u8> {
    match name {
        "log4j2.properties" => crate::log4j2("documented").as_str().unwrap().into(),
        "spark-defaults.conf" => b"spark.test.documented yes\n".to_vec(),
        "core-site.xml" => crate::hadoop_file("test.core", "documented").as_str().unwrap().into(),
        name if name.ends_with("-site.xml") => b"<configuration/>".to_vec(),
        "krb5.conf" => b"[libdefaults]\ndefault_realm = EXAMPLE.COM\n".to_vec(),
        "ca.crt" => fs::read(NODE_CA).unwrap(),
        "truststore.p12" => truststore(),
        name => format!("content of {name}\n").into_bytes(),
    }
}

/// With the node's CA, as an administrator makes one.
fn truststore() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("truststore.p12");
    let mut command = Command::new("keytool");
    command.args([
        "-importcert",
        "-noprompt",
        "-alias",
        "ca",
        "-storetype",
        "PKCS12",
        "-storepass",
        "changeit",
    ]);
    let output = command.args(["-file", NODE_CA, "-keystore"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read(path).unwrap()
}

/// Runs the only task whose title has these words, and looks for its files where the annotations
/// want them.
async fn carry_out(namespace: &str, words: &str) -> Report {
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/annotations.md")).unwrap();
    let task = the_task(&text, words);
    let mut job = Job::new(namespace, SPARK_4);
    // The ConfigMap or Secret that has it, the name, and the content of each file.
    let mut files = Vec::new();
    for line in page::kubectl_lines(task) {
        job = job.kubectl(line);
        let mut words = line
            .split_whitespace()
            .skip_while(|word| !["configmap", "generic"].contains(word))
            .skip(1);
        let object = words.next().unwrap();
        let names = words.map(|word| word.strip_prefix("--from-file=").unwrap());
        files.extend(names.map(|name| (object, name, content(name))));
    }
    for (_, name, content) in &files {
        job = job.file(name, content);
    }
    for (key, value) in page::properties(task) {
        // There is nobody to log in to.
        if !key.starts_with("spark.kerberos.") {
            job = job.property(key, value);
        }
    }
    let mut expected = Vec::new();
    for role in ["driver", "executor"] {
        for request in job.requests(role).mounts {
            for (_, name, content) in
                files.iter().filter(|(object, _, _)| *object == request.name.as_str())
            {
                let path = if request.options.file.is_some() {
                    request.path.to_string()
                } else {
                    format!("{}/{name}", request.path)
                };
                expected.push((role, path, shown(content)));
            }
        }
    }
    assert!(!expected.is_empty());
    let paths: Vec<&str> = expected.iter().map(|(_, path, _)| &**path).collect();
    let job = if task.contains("truststore") { job.fetch(URL) } else { job };
    let report = job.look_at(&paths).run().await;
    for (role, path, content) in expected {
        let seen = if role == "driver" { &report.driver } else { &report.executor };
        assert_eq!(seen["files"][&path], content, "{path} in the {role}");
    }
    report
}

/// As job.py shows it.
fn shown(content: &[u8]) -> String {
    let hex = || content.iter().fold("hex:".to_owned(), |hex, byte| format!("{hex}{byte:02x}"));
    std::str::from_utf8(content).map_or_else(|_| hex(), str::to_owned)
}

fn the_task<'a>(text: &'a str, words: &str) -> &'a str {
    let mut tasks = page::tasks(text).into_iter().filter(|(title, _)| title.contains(words));
    let (_, task) = tasks.next().unwrap_or_else(|| panic!("there is no task with {words:?}"));
    assert!(tasks.next().is_none());
    task
}

#[tokio::test]
async fn log4j2_properties() {
    let report = carry_out("docs-log4j2", "log4j2.properties").await;
    crate::assert_log_is_marked(&report.driver_log, "documented ");
    crate::assert_log_is_marked(&report.executor_log, "documented ");
}

#[tokio::test]
async fn spark_defaults() {
    let report = carry_out("docs-defaults", "spark-defaults.conf").await;
    assert_eq!(report.driver["conf"]["spark.test.documented"], "yes");
}

#[tokio::test]
async fn hadoop_conf() {
    let report = carry_out("docs-hadoop", "core-site.xml").await;
    assert_eq!(report.driver["hadoop"]["test.core"], "documented");
}

#[tokio::test]
async fn kerberos() {
    let report = carry_out("docs-kerberos", "Kerberos").await;
    assert_eq!(report.driver["env"]["KRB5_CONFIG"], "/etc/krb5.conf");
}

#[tokio::test]
async fn google_key() {
    let report = carry_out("docs-google", "Google").await;
    assert_eq!(report.driver["env"]["GOOGLE_APPLICATION_CREDENTIALS"], "/mnt/secrets/gcp/key.json");
}

#[tokio::test]
async fn cloud_credentials() {
    let report = carry_out("docs-cloud", "S3 or Azure").await;
    for seen in [&report.driver, &report.executor] {
        assert_eq!(seen["env"]["AWS_SHARED_CREDENTIALS_FILE"], "/mnt/aws/credentials");
        assert_eq!(seen["env"]["AZURE_FEDERATED_TOKEN_FILE"], "/mnt/azure/token");
    }
}

/// With a real TLS connection to a server whose certificate only the node's CA verifies.
#[tokio::test]
async fn corporate_ca() {
    let report = carry_out("docs-ca", "corporate CA").await;
    for seen in [&report.driver, &report.executor] {
        for by in ["python", "jvm"] {
            assert!(
                seen["fetched"][by].as_str().unwrap().contains("gitVersion"),
                "{by}: {}",
                seen["fetched"]
            );
        }
    }
}

#[tokio::test]
async fn one_file_anywhere() {
    carry_out("docs-file", "One file").await;
}

#[test]
fn every_task_has_its_test() {
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/annotations.md")).unwrap();
    let source = include_str!("documentation.rs");
    for (title, _) in page::tasks(&text) {
        let is_carried_out =
            |line: &str| line.split('"').nth(3).is_some_and(|words| title.contains(words));
        assert!(
            source
                .lines()
                .filter(
                    |line| line.contains("= carry_out(") || line.trim().starts_with("carry_out(")
                )
                .any(is_carried_out),
            "{title}"
        );
    }
}
