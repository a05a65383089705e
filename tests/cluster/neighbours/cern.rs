//! The ConfigMaps that CERN's sparkctl and opsparkctl make: `buildHadoopConfigMap` in
//! sparkctl/cmd/create.go of cerndb/spark-on-k8s-operator puts each file of `HADOOP_CONF_DIR` into
//! `data`, or into `binaryData` where it is no UTF-8;
//! manifest/spark-operator/spark-operator-defaults.yaml at b45fc21 has the cluster's defaults.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::recipe::{Place, Recipe, injected, spark_home, variable, written};

const CORE_SITE: &str = "<configuration><property><name>hadoop.security.authentication</name><value>kerberos</value></property></configuration>";

/// A ConfigMap of files, as sparkctl makes it.
fn config_map(name: &str, files: &[(&str, &[u8])]) -> Value {
    let mut config_map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    for (file, content) in files {
        match std::str::from_utf8(content) {
            Ok(text) => config_map["data"][file] = json!(text),
            Err(_) => {
                config_map["binaryData"][file] =
                    json!(base64_simd::STANDARD.encode_to_string(content));
            }
        }
    }
    config_map
}

#[tokio::test]
async fn hadoop_logs_in_by_the_kerberos_cache_of_sparkctls_config_map() {
    let place = Place::new("cern").await;
    let ticket = kerberos_cache("alice", "CERN.CH");
    let hadoop = config_map(
        "events-select-hadoop-config",
        &[("core-site.xml", CORE_SITE.as_bytes()), ("krb5cc_0", &ticket)],
    );
    assert!(
        hadoop["binaryData"]["krb5cc_0"].is_string() && hadoop["data"]["core-site.xml"].is_string()
    );
    let stored = serde_json::to_value(place.apply(&hadoop).await).unwrap();
    place
        .apply(&config_map(
            "spark-default-config",
            &[("spark-defaults.conf", b"spark.eventLog.enabled true\n")],
        ))
        .await;
    place.run(&Recipe::new("cern").block("spark-submit \\"));
    let pod = place.pod("driver").await;
    let record = injected(&pod);
    let expected = [
        "/etc/spark/conf=configmap/spark-default-config",
        "/etc/hadoop/conf=configmap/events-select-hadoop-config",
    ];
    assert_eq!((&record["mounts"], &record["problems"]), (&json!(expected), &Value::Null));
    assert_eq!(pod["spec"]["containers"][0]["args"][1], "--load-spark-defaults");
    assert_eq!(variable(&pod, "HADOOP_CONF_DIR"), "/etc/hadoop/conf");
    assert_eq!(variable(&pod, "KRB5CCNAME"), "/etc/hadoop/conf/krb5cc_0");

    // The directory as the kubelet would fill it, and Hadoop of Spark's own jars in it.
    let directory = place.directory.path().join("hadoop");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("core-site.xml"), stored["data"]["core-site.xml"].as_str().unwrap())
        .unwrap();
    let binary = base64_simd::STANDARD
        .decode_to_vec(stored["binaryData"]["krb5cc_0"].as_str().unwrap())
        .unwrap();
    fs::write(directory.join("krb5cc_0"), binary).unwrap();
    let mut login = place.shell("spark-class org.apache.hadoop.security.UserGroupInformation");
    for name in ["HADOOP_CONF_DIR", "KRB5CCNAME"] {
        let value = variable(&pod, name).as_str().unwrap();
        login.env(name, value.replace("/etc/hadoop/conf", directory.to_str().unwrap()));
    }
    login.env("SPARK_HOME", spark_home());
    // Stands for a krb5.conf: nobody is asked.
    login.env(
        "JAVA_TOOL_OPTIONS",
        "-Djava.security.krb5.realm=CERN.CH -Djava.security.krb5.kdc=127.0.0.1",
    );
    let said = written(login);
    assert!(said.contains("alice@CERN.CH") && said.contains("KERBEROS"), "{said}");
}

/// A Kerberos cache as `kinit` leaves it, in the file format 4 of MIT Kerberos, with a ticket for a
/// day.
fn kerberos_cache(user: &str, realm: &str) -> Vec<u8> {
    let [user, realm, service] = [user.as_bytes(), realm.as_bytes(), b"krbtgt"];
    let data = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let numbers = |numbers: &[u32]| -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    };
    let principal = |kind: u32, components: &[&[u8]]| {
        let count = u32::try_from(components.len()).unwrap();
        let components: Vec<u8> = components.iter().flat_map(|component| data(component)).collect();
        [numbers(&[kind, count]), data(realm), components].concat()
    };
    let text = |text: &[u8]| der(0x1b, &[text]);
    let name = der(
        0x30,
        &[
            &der(0xa0, &[&der(2, &[&[2]])]),
            &der(0xa1, &[&der(0x30, &[&text(service), &text(realm)])]),
        ],
    );
    // Encrypted for the server, which alone can read it.
    let sealed =
        der(0x30, &[&der(0xa0, &[&der(2, &[&[18]])]), &der(0xa2, &[&der(4, &[&[0; 48]])])]);
    let fields = [
        der(0xa0, &[&der(2, &[&[5]])]),
        der(0xa1, &[&text(realm)]),
        der(0xa2, &[&name]),
        der(0xa3, &[&sealed]),
    ];
    let ticket = der(0x61, &[&der(0x30, &fields.each_ref().map(Vec::as_slice))]);

    let now =
        u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let key: Vec<u8> = [&[0, 18][..], &data(&[7; 32])].concat();
    let times = numbers(&[now, now, now + 86_400, 0]);
    let flags_addresses_authorization = numbers(&[0x40e1_0000, 0, 0]);
    [
        [5, 4, 0, 0].to_vec(),
        principal(1, &[user]),
        principal(1, &[user]),
        principal(2, &[service, realm]),
        key,
        times,
        vec![0],
        flags_addresses_authorization,
        data(&ticket),
        data(&[]),
    ]
    .concat()
}

/// An element of DER.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u8::try_from(content.len()).unwrap();
    let length = if length < 128 { vec![length] } else { vec![0x81, length] };
    [vec![tag], length, content].concat()
}
