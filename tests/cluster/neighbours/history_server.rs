//! Spark's own history server, on what an application logs whose driver reads the ConfigMap by
//! `defaults`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::recipe::{Place, Recipe, injected, spark_home};

/// Where the recipe has event logs.
const EVENTS: &str = "/mnt/spark-events";

#[tokio::test]
async fn an_application_is_in_its_list_and_on_its_page() {
    let place = Place::new("history").await;
    let page = Recipe::new("history-server");
    let config_map: Value = serde_saphyr::from_str(&page.block("kind: ConfigMap")).unwrap();
    place.apply(&config_map).await;
    let server: Vec<Value> = serde_saphyr::from_multiple(&page.block("kind: Deployment")).unwrap();
    for object in &server {
        place.apply(object).await;
    }

    place.run(&page.block("spark-submit"));
    let pod = place.pod("driver").await;
    assert_eq!(injected(&pod)["mounts"], json!(["/etc/spark/conf=configmap/spark-conf"]));
    assert!(injected(&pod)["problems"].is_null());
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    assert!(
        volumes.iter().any(|volume| volume["persistentVolumeClaim"]["claimName"] == "spark-events"),
        "{volumes:#?}"
    );

    // What the driver would find in its conf dir, with a directory of this machine.
    let (conf, events) =
        (place.directory.path().join("conf"), place.directory.path().join("events"));
    std::fs::create_dir(&conf).unwrap();
    std::fs::create_dir(&events).unwrap();
    for (name, content) in config_map["data"].as_object().unwrap() {
        std::fs::write(
            conf.join(name),
            content.as_str().unwrap().replace(EVENTS, events.to_str().unwrap()),
        )
        .unwrap();
    }
    std::fs::write(place.directory.path().join("spark.properties"), "spark.app.name=pi\n").unwrap();
    let arguments: Vec<&str> = pod["spec"]["containers"][0]["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|argument| argument.as_str().unwrap())
        .collect();
    let before_class: Vec<&str> =
        arguments[1..].iter().copied().take_while(|argument| *argument != "--class").collect();
    assert_eq!(
        before_class,
        ["--load-spark-defaults", "--properties-file", "/opt/spark/conf/spark.properties"]
    );
    let submit = format!(
        "SPARK_CONF_DIR={} spark-submit {} --master 'local[1]' --conf spark.ui.enabled=false \
         \"$SPARK_HOME/examples/src/main/python/pi.py\" 1",
        conf.display(),
        before_class.join(" ").replace("/opt/spark/conf/", "")
    );
    place.run(&submit);

    let container = &server[0]["spec"]["template"]["spec"]["containers"][0];
    let command =
        container["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    let command: Vec<String> =
        command.map(|word| word.replace("/opt/spark", spark_home().to_str().unwrap())).collect();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut start = place.shell(&format!("exec {}", command.join(" ")));
    assert_eq!(
        container["env"],
        json!([{"name": "SPARK_CONF_DIR", "value": container["volumeMounts"][0]["mountPath"]}])
    );
    start
        .env("SPARK_CONF_DIR", &conf)
        .env("SPARK_HISTORY_OPTS", format!("-Dspark.history.ui.port={port}"));
    let _server = place.start(start.env_remove("SPARK_SUBMIT_OPTS"), "history.log");
    let probe = container["readinessProbe"]["httpGet"]["path"].as_str().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let log =
        || std::fs::read_to_string(place.directory.path().join("history.log")).unwrap_or_default();
    let applications = loop {
        assert!(Instant::now() < deadline, "it shows no application: {}", log());
        // It answers before it has read the logs.
        if get(port, probe).is_some()
            && let Some(body) = get(port, "/api/v1/applications")
            && let Ok(Value::Array(applications)) = serde_json::from_str(&body)
            && !applications.is_empty()
        {
            break applications;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(applications.len(), 1, "{applications:#?}");
    let (id, name) =
        (applications[0]["id"].as_str().unwrap(), applications[0]["name"].as_str().unwrap());
    assert_eq!((name, &applications[0]["attempts"][0]["completed"]), ("PythonPi", &json!(true)));

    let list = browse(place.directory.path(), &format!("http://127.0.0.1:{port}/"));
    assert!(list.contains(&format!("href=\"/history/{id}/jobs/\"")), "{list}");
    let jobs =
        browse(place.directory.path(), &format!("http://127.0.0.1:{port}/history/{id}/jobs/"));
    assert!(
        jobs.contains("<title>PythonPi - Spark Jobs</title>") && jobs.contains("pi.py"),
        "{jobs}"
    );
}

/// The body of an answer with status 200.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200 ").then(|| body.to_owned())
}

/// A page as a browser has it after its scripts have run.
fn browse(directory: &Path, url: &str) -> String {
    let mut chromium = Command::new("chromium");
    chromium.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=5000",
        "--dump-dom",
    ]);
    let profile = directory.join("browser");
    let output = chromium
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}
