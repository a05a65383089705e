//! Real Spark jobs on a real node (`make test-node`): what a file in a pod's spec is worth, Spark
//! has to say.
//!
//! Each test is a job that runs to Succeeded, driver and executor, with other ConfigMaps for the
//! one than for the other: a driver ships files of its conf dir to its executors, which must not
//! pass for our work.

mod browser;
mod chart;
mod documentation;
mod examples;
mod image;
mod job;
mod mounts;
mod stream;

use job::{Job, Report, config_map, secret};
use serde_json::{Value, json};

const SPARK_3: &str = "3.5.9";
const SPARK_4: &str = "4.1.2";

/// A log4j2.properties by which every line of the log begins with a marker.
fn log4j2(marker: &str) -> Value {
    json!(format!(
        "rootLogger.level = info\n\
         rootLogger.appenderRef.console.ref = console\n\
         appender.console.type = Console\n\
         appender.console.name = console\n\
         appender.console.target = SYSTEM_ERR\n\
         appender.console.layout.type = PatternLayout\n\
         appender.console.layout.pattern = {marker} %p %c: %m%n\n"
    ))
}

fn hadoop_file(property: &str, value: &str) -> Value {
    json!(format!(
        "<configuration><property><name>{property}</name><value>{value}</value></property></configuration>"
    ))
}

/// All the files that a conf dir may have, marked with a role.
fn conf_dir(role: &str) -> Value {
    json!({
        "log4j2.properties": log4j2(&format!("{role}-LOG")),
        "core-site.xml": hadoop_file("test.core", role),
        "hive-site.xml": hadoop_file("hive.metastore.warehouse.dir", &format!("/tmp/warehouse-of-{role}")),
    })
}

/// Every line of a log that log4j wrote begins with the marker.
fn assert_log_is_marked(log: &str, marker: &str) {
    let lines = log.lines().filter(|line| line.contains(" INFO ")).collect::<Vec<_>>();
    assert!(lines.len() > 10, "{log}");
    assert!(lines.iter().all(|line| line.starts_with(marker)), "{log}");
}

/// `core-site.xml` and `hive-site.xml` are found in a directory: by Hadoop's Configuration, by
/// Spark, by the executor's JVM.
fn assert_hadoop_files_are_found(report: &Report, directory: &str) {
    assert_eq!(report.driver["hadoop"]["test.core"], "driver");
    assert_eq!(report.driver["warehouse"], "file:/tmp/warehouse-of-driver");
    for file in ["core-site.xml", "hive-site.xml"] {
        assert_eq!(report.executor["resources"][file], format!("file:{directory}/{file}"));
        assert!(report.executor["files"][directory][file].as_str().unwrap().contains("executor"));
    }
}

async fn spark_config_map_is_the_conf_dir(name: &'static str, version: &'static str) {
    let job = Job::new(name, version)
        .object(config_map("of-driver", &conf_dir("driver")))
        .object(config_map("of-executor", &conf_dir("executor")))
        .driver("sparkConfigMap", "of-driver")
        .executor("sparkConfigMap", "of-executor")
        .look_at(&["/etc/spark/conf"]);
    let report = job.run().await;
    for (seen, log, role) in [
        (&report.driver, &report.driver_log, "driver"),
        (&report.executor, &report.executor_log, "executor"),
    ] {
        assert_eq!(seen["env"]["SPARK_CONF_DIR"], "/etc/spark/conf");
        assert_eq!(seen["files"]["/etc/spark/conf"], conf_dir(role));
        assert_log_is_marked(log, &format!("{role}-LOG "));
    }
    assert_hadoop_files_are_found(&report, "/etc/spark/conf");
    // What was submitted is there, from Spark's own directory.
    assert_eq!(report.driver["conf"]["spark.test.submitted"], "yes");
}

#[tokio::test]
async fn spark_config_map_on_spark_3() {
    spark_config_map_is_the_conf_dir("spark-config-map-3", SPARK_3).await;
}

#[tokio::test]
async fn spark_config_map_on_spark_4() {
    spark_config_map_is_the_conf_dir("spark-config-map-4", SPARK_4).await;
}

async fn hadoop_config_map_is_found(
    name: &'static str,
    version: &'static str,
    option: &str,
    directory: &str,
) {
    let job = Job::new(name, version)
        .object(config_map("of-driver", &conf_dir("driver")))
        .object(config_map("of-executor", &conf_dir("executor")))
        .driver("hadoopConfigMap", &format!("of-driver{option}"))
        .executor("hadoopConfigMap", &format!("of-executor{option}"))
        .look_at(&[directory]);
    let report = job.run().await;
    for seen in [&report.driver, &report.executor] {
        assert_eq!(seen["env"]["HADOOP_CONF_DIR"], directory);
    }
    assert_hadoop_files_are_found(&report, directory);
}

#[tokio::test]
async fn hadoop_config_map_on_spark_3() {
    hadoop_config_map_is_found("hadoop-config-map-3", SPARK_3, "", "/etc/hadoop/conf").await;
}

#[tokio::test]
async fn hadoop_config_map_at_another_path_on_spark_4() {
    hadoop_config_map_is_found("path-4", SPARK_4, ":path=/opt/hadoop-3/conf", "/opt/hadoop-3/conf")
        .await;
}

async fn merge_shows_both_sets_of_files(name: &'static str, version: &'static str) {
    let job = Job::new(name, version)
        .submitted_conf_dir(&[
            ("fairscheduler.xml", "<allocations/>"),
            ("log4j2.properties", log4j2("submitted-LOG").as_str().unwrap()),
        ])
        .object(config_map(
            "of-driver",
            &json!({"log4j2.properties": log4j2("driver-LOG"), "driver.conf": "d"}),
        ))
        .object(config_map(
            "of-executor",
            &json!({"log4j2.properties": log4j2("executor-LOG"), "executor.conf": "e"}),
        ))
        .driver("sparkConfigMap", "of-driver:merge")
        .executor("sparkConfigMap", "of-executor:merge")
        .look_at(&["/etc/spark/conf", "/opt/spark/conf"]);
    let report = job.run().await;
    for (seen, log, role) in [
        (&report.driver, &report.driver_log, "driver"),
        (&report.executor, &report.executor_log, "executor"),
    ] {
        let files = &seen["files"]["/etc/spark/conf"];
        assert_eq!(
            files["fairscheduler.xml"], "<allocations/>",
            "what was shipped is there: {files}"
        );
        assert_eq!(
            files[format!("{role}.conf")],
            role[..1],
            "what the ConfigMap adds is there: {files}"
        );
        assert_eq!(
            files["log4j2.properties"],
            log4j2(&format!("{role}-LOG")),
            "of two the ConfigMap's wins"
        );
        assert_log_is_marked(log, &format!("{role}-LOG "));
    }
    let files = &report.driver["files"];
    assert!(
        files["/etc/spark/conf"]["spark.properties"]
            .as_str()
            .unwrap()
            .contains("spark.test.submitted=yes")
    );
    assert_eq!(
        files["/etc/spark/conf"]["spark.properties"],
        files["/opt/spark/conf"]["spark.properties"]
    );
    assert_eq!(report.driver["conf"]["spark.test.submitted"], "yes");
}

#[tokio::test]
async fn merge_on_spark_3() {
    merge_shows_both_sets_of_files("merge-3", SPARK_3).await;
}

#[tokio::test]
async fn merge_on_spark_4() {
    merge_shows_both_sets_of_files("merge-4", SPARK_4).await;
}

fn job_with_defaults(name: &'static str, version: &'static str) -> Job {
    let defaults = "spark.test.added from-the-config-map\nspark.test.submitted lost\n";
    Job::new(name, version)
        .object(config_map("of-driver", &json!({"spark-defaults.conf": defaults})))
        .driver("sparkConfigMap", "of-driver:merge:defaults")
}

#[tokio::test]
async fn defaults_on_spark_4_are_read_and_what_was_submitted_wins() {
    let report = job_with_defaults("defaults-4", SPARK_4).run().await;
    assert_eq!(report.driver["conf"]["spark.test.added"], "from-the-config-map");
    assert_eq!(report.driver["conf"]["spark.test.submitted"], "yes");
}

#[tokio::test]
async fn defaults_on_spark_3_are_not_read_and_the_pod_says_so() {
    let report =
        job_with_defaults("defaults-3", SPARK_3).expect_problem("spark-defaults.conf").run().await;
    assert!(report.driver["conf"]["spark.test.added"].is_null());
}

/// Not UTF-8, as a keystore is.
const BINARY: [u8; 6] = [0xfe, 0xed, 0x00, 0xff, 0x80, 0x0a];

#[tokio::test]
async fn config_map_with_binary_data() {
    let binary = |name: &str| {
        let mut object = config_map(name, &json!({"who": name}));
        object["binaryData"] =
            json!({"truststore.jks": base64_simd::STANDARD.encode_to_string(BINARY)});
        object
    };
    let job = Job::new("binary", SPARK_4)
        .object(binary("of-driver"))
        .object(binary("of.executor"))
        .driver("configMap.of-driver", "/etc/app")
        .executor("configMap.of.executor", "/etc/app")
        .look_at(&["/etc/app"]);
    let report = job.run().await;
    let hex = "hex:feed00ff800a";
    assert_eq!(
        report.driver["files"]["/etc/app"],
        json!({"truststore.jks": hex, "who": "of-driver"})
    );
    assert_eq!(
        report.executor["files"]["/etc/app"],
        json!({"truststore.jks": hex, "who": "of.executor"})
    );
}

#[tokio::test]
async fn secret_with_env_and_key() {
    let job = Job::new("secret", SPARK_3)
        .object(secret("of-driver", &json!({"credentials": "driver's"})))
        .object(secret("of-executor", &json!({"credentials": "executor's"})))
        .driver("secret.of-driver", "/mnt/aws:env=AWS_SHARED_CREDENTIALS_FILE:key=credentials")
        .executor("secret.of-executor", "/mnt/aws:env=AWS_SHARED_CREDENTIALS_FILE:key=credentials")
        .look_at(&["/mnt/aws/credentials"]);
    let report = job.run().await;
    for (seen, content) in [(&report.driver, "driver's"), (&report.executor, "executor's")] {
        assert_eq!(seen["env"]["AWS_SHARED_CREDENTIALS_FILE"], "/mnt/aws/credentials");
        assert_eq!(seen["files"]["/mnt/aws/credentials"], content);
    }
}

/// Who can read a Google key and what `mode=` does: root owns the files, and their group is root's
/// where no fsGroup is set.
async fn gcp_key_is_readable(name: &'static str, image: &str, ids: &str, with_0440: &str) {
    let job = Job::new(name, SPARK_4)
        .image(image)
        .object(secret("of-driver", &json!({"key.json": "driver's"})))
        .object(secret("of-executor", &json!({"key.json": "executor's"})))
        .driver("GCPServiceAccount.of-driver", "/mnt/secrets/gcp")
        .executor("GCPServiceAccount.of-executor", "/mnt/secrets/gcp")
        .driver("secrets", "of-driver=/mnt/0440:mode=0440,of-driver=/mnt/0444:mode=0444")
        .executor("secrets", "of-executor=/mnt/0440:mode=0440,of-executor=/mnt/0444:mode=0444")
        .look_at(&["/mnt/secrets/gcp/key.json", "/mnt/0440/key.json", "/mnt/0444/key.json"]);
    let report = job.run().await;
    for (seen, content) in [(&report.driver, "driver's"), (&report.executor, "executor's")] {
        assert_eq!(seen["ids"], ids);
        assert_eq!(seen["env"]["GOOGLE_APPLICATION_CREDENTIALS"], "/mnt/secrets/gcp/key.json");
        let modes = json!({"/mnt/secrets/gcp/key.json": "0644", "/mnt/0440/key.json": "0440", "/mnt/0444/key.json": "0444"});
        assert_eq!(seen["modes"], modes);
        let read = if with_0440.is_empty() { content } else { with_0440 };
        let files = json!({"/mnt/secrets/gcp/key.json": content, "/mnt/0440/key.json": read, "/mnt/0444/key.json": content});
        assert_eq!(seen["files"], files);
    }
}

#[tokio::test]
async fn gcp_key_as_user_185_in_group_185() {
    gcp_key_is_readable(
        "gcp-gid185",
        "localhost/spark:4.1.2",
        "185:185",
        "PermissionError: Permission denied",
    )
    .await;
}

#[tokio::test]
async fn gcp_key_as_user_185_in_group_0() {
    gcp_key_is_readable("gcp-gid0", "localhost/spark:4.1.2-gid0", "185:0", "").await;
}

/// A pod with the container, the user and the group of docs/recipes/charmed-spark-rock.md; without
/// the group nobody but root reads it.
#[tokio::test]
async fn keytab_with_mode_0440_as_the_user_of_the_rock() {
    const USER: u32 = 584_792;
    for (name, group, expected) in [
        ("rock", json!({"fsGroup": USER}), "584792:584792 the keys"),
        ("rock-alone", json!({}), "584792:584792 Permission denied"),
    ] {
        let mut context = json!({"runAsUser": USER, "runAsGroup": USER});
        context.as_object_mut().unwrap().extend(group.as_object().unwrap().clone());
        let container = json!({
            "name": "spark", "image": "localhost/spark:3.5.9", "imagePullPolicy": "Never",
            "command": ["bash", "-c", "echo $(id -u):$(id -g) $(cat /mnt/keytab/user.keytab 2>&1 | sed 's/.*: //')"],
        });
        let log = Job::new(name, SPARK_3)
            .object(secret("keytab", &json!({"user.keytab": "the keys"})))
            .driver("secret.keytab", "/mnt/keytab:mode=0440")
            .run_pod(&json!({"securityContext": context, "containers": [container], "restartPolicy": "Never"}), &["spark"])
            .await;
        assert_eq!(log[0].lines().last(), Some(expected), "{name}: {}", log[0]);
    }
}

#[tokio::test]
async fn hadoop_delegation_token() {
    // Hadoop reads the file at start: its magic, version 0, and no token and no key.
    let token = json!({"hadoop.token": "HDTS\u{0}\u{0}\u{0}"});
    let job = Job::new("token", SPARK_3)
        .object(secret("of-driver", &token))
        .object(secret("of-executor", &token))
        .driver("hadoopDelegationToken.of-driver", "/mnt/token-of-driver")
        .executor("hadoopDelegationToken.of-executor", "/mnt/token-of-executor")
        .look_at(&["/mnt/token-of-driver", "/mnt/token-of-executor"]);
    let report = job.run().await;
    for (seen, role) in [(&report.driver, "driver"), (&report.executor, "executor")] {
        let directory = format!("/mnt/token-of-{role}");
        assert_eq!(seen["env"]["HADOOP_TOKEN_FILE_LOCATION"], format!("{directory}/hadoop.token"));
        assert_eq!(seen["files"][directory], token);
    }
}

#[tokio::test]
async fn config_maps_by_a_list() {
    let value = |name: &str| {
        format!(
            "{name}=/etc/a, {name}=/opt/app/one.conf:file=one.conf:env=ONE, {name}=/opt/app/two.conf:file=two.conf"
        )
    };
    let content =
        |role: &str| json!({"one.conf": format!("{role} 1"), "two.conf": format!("{role} 2")});
    let job = Job::new("config-maps", SPARK_4)
        .object(config_map("of-driver", &content("driver")))
        .object(config_map("of-executor", &content("executor")))
        .driver("configMaps", &value("of-driver"))
        .executor("configMaps", &value("of-executor"))
        .look_at(&["/etc/a", "/opt/app"]);
    let report = job.run().await;
    for (seen, role) in [(&report.driver, "driver"), (&report.executor, "executor")] {
        assert_eq!(seen["files"], json!({"/etc/a": content(role), "/opt/app": content(role)}));
        assert_eq!(seen["env"]["ONE"], "/opt/app/one.conf");
    }
}

#[tokio::test]
async fn secrets_by_a_list_and_missing_ones_that_are_optional() {
    let job = Job::new("secrets", SPARK_3)
        .object(secret("of-driver", &json!({"password": "driver's"})))
        .object(secret("of-executor", &json!({"password": "executor's"})))
        .driver("secrets", "of-driver=/mnt/a,nobodys=/mnt/b:optional")
        .executor("secrets", "of-executor=/mnt/a,nobodys=/mnt/b:optional")
        .driver("sparkConfigMap", "nobodys:optional:merge")
        .look_at(&["/mnt/a", "/mnt/b"]);
    let report = job.run().await;
    for (seen, content) in [(&report.driver, "driver's"), (&report.executor, "executor's")] {
        assert_eq!(seen["files"], json!({"/mnt/a": {"password": content}, "/mnt/b": {}}));
    }
}

#[tokio::test]
async fn file_in_a_directory_of_the_image_works_and_in_a_config_map_it_is_refused() {
    let job = Job::new("file", SPARK_3)
        .object(config_map("of-driver", &json!({"app.conf": "driver's", "other": ""})))
        .object(config_map("of-executor", &json!({"app.conf": "executor's", "other": ""})))
        .driver("configMap.of-driver", "/opt/spark/work-dir/app.conf:file=app.conf")
        .executor("configMap.of-executor", "/opt/spark/work-dir/app.conf:file=app.conf")
        // The container could not start.
        .driver("configMaps", "of-driver=/opt/spark/conf/app.conf:file=app.conf")
        .expect_problem("no file fits below /opt/spark/conf")
        .look_at(&["/opt/spark/work-dir"]);
    let report = job.run().await;
    for (seen, content) in [(&report.driver, "driver's"), (&report.executor, "executor's")] {
        // And what is around it is still there.
        assert_eq!(
            seen["files"]["/opt/spark/work-dir"],
            json!({"app.conf": content, "image.txt": "of the image\n"})
        );
    }
}

#[tokio::test]
async fn an_administrators_default_reaches_a_job_that_asked_for_nothing() {
    let rules = "apiVersion: spark-webhook/v1\n\
         defaults:\n\
         - roles: [driver]\n  annotations: {spark-operator.k8s.io/hadoopConfigMap: of-driver}\n\
         - roles: [executor]\n  annotations: {spark-operator.k8s.io/hadoopConfigMap: of-executor}\n\
         - annotations: {spark-operator.k8s.io/configMap.nobodys: /etc/nobodys}\n";
    let job = Job::new("administrated", SPARK_4)
        .rules(rules)
        .object(config_map("of-driver", &conf_dir("driver")))
        .object(config_map("of-executor", &conf_dir("executor")))
        .look_at(&["/etc/hadoop/conf", "/etc/nobodys"]);
    let report = job.run().await;
    assert_hadoop_files_are_found(&report, "/etc/hadoop/conf");
    // Who does not have an object runs all the same.
    assert_eq!(report.driver["files"]["/etc/nobodys"], json!({}));
}

/// The key `container` is for pods that Spark did not make.
#[tokio::test]
async fn a_pod_made_by_hand_names_its_container() {
    let container = |name: &str| {
        json!({
            "name": name, "image": "localhost/spark:3.5.9", "imagePullPolicy": "Never",
            "command": ["bash", "-c", "cat /etc/app/app.conf 2>/dev/null || echo nothing"],
        })
    };
    let log = Job::new("container", SPARK_3)
        .object(config_map("app", &json!({"app.conf": "for main\n"})))
        .driver("container", "main")
        .driver("configMap.app", "/etc/app")
        .run_pod(
            &json!({"containers": [container("sidecar"), container("main")], "restartPolicy": "Never"}),
            &["sidecar", "main"],
        )
        .await;
    assert_eq!(log[0], "nothing\n");
    assert_eq!(log[1], "for main\n");
}
