//! Whether drivers were submitted with properties in the plural.
//!
//! Such a property leaves no annotation on the pod. Only the properties of the submission show it.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};

use crate::doctor::api::Reader;
use crate::doctor::finding::{Finding, counted};
use crate::doctor::plural::{is_plural, singular};
use crate::doctor::scope::Scope;
use crate::doctor::snapshot::pods::name;

/// The volume of a driver with the files that Spark generates (Spark 3.0 to 4.1).
const CONF_VOLUME: &str = "spark-conf-volume-driver";

/// The key of the ConfigMap that holds the application's properties.
const PROPERTIES: &str = "spark.properties";

pub(super) async fn check(reader: &Reader, scope: &Scope, pods: &[Pod]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut read = 0;
    for (pod, config_map) in pods.iter().filter_map(|pod| Some((name(pod), conf_map(pod)?))) {
        match reader.get_in::<ConfigMap>(&scope.namespace, &config_map).await {
            Ok(found) => {
                let text =
                    found.and_then(|found| found.data?.remove(PROPERTIES)).unwrap_or_default();
                read += 1;
                for key in plural_keys(&text) {
                    findings.push(Finding::failed(
                        format!("{pod} was submitted with {key}, which Spark does not know"),
                        format!("write it in the singular: {}", singular(&key)),
                    ));
                }
            }
            Err(unreadable) => {
                findings.push(unreadable.finding());
                break;
            }
        }
    }
    if findings.is_empty() {
        let message = if read == 0 {
            "no driver to look into".to_owned()
        } else {
            format!("none in the plural in {}", counted(read, "driver"))
        };
        findings.push(Finding::passed(message));
    }
    findings
}

/// The ConfigMap with the properties of a driver.
fn conf_map(pod: &Pod) -> Option<String> {
    let volumes = pod.spec.as_ref()?.volumes.as_ref()?;
    let volume = volumes.iter().find(|volume| volume.name == CONF_VOLUME)?;
    Some(volume.config_map.as_ref()?.name.clone())
}

/// The keys in the plural with our prefixes, in a file of Java's `Properties.store`.
fn plural_keys(text: &str) -> BTreeSet<String> {
    text.lines().map(key_of).filter(|key| is_plural(key)).collect()
}

/// The key of a line: it ends at the first separator without a backslash before it.
fn key_of(line: &str) -> String {
    let mut key = String::new();
    let mut is_escaped = false;
    for character in line.trim_start().chars() {
        match character {
            '\\' if !is_escaped => is_escaped = true,
            '=' | ':' | ' ' | '\t' if !is_escaped => break,
            other => {
                key.push(other);
                is_escaped = false;
            }
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_keys_in_the_plural_are_found() {
        let text = "#Java properties built from Kubernetes config map\n\
                    spark.kubernetes.driver.annotations.spark-operator.k8s.io/hadoopConfigMap=h\n\
                    spark.kubernetes.executor.annotations.sparkoperator.k8s.io/secret.s=/s\\:optional\n\
                    spark.kubernetes.driver.annotation.spark-operator.k8s.io/secret.s=/s\n\
                    spark.kubernetes.driver.annotations.prometheus.io/scrape=true\n\
                    spark.app.name=spark.kubernetes.driver.annotations.spark-operator.k8s.io/x\n\
                    a\\=spark.kubernetes.driver.annotations.spark-operator.k8s.io/y=1\n";
        let found: Vec<String> = plural_keys(text).into_iter().collect();
        assert_eq!(
            found,
            [
                "spark.kubernetes.driver.annotations.spark-operator.k8s.io/hadoopConfigMap",
                "spark.kubernetes.executor.annotations.sparkoperator.k8s.io/secret.s",
            ]
        );
    }
}
