//! Alerts and dashboard: they ask for what `/metrics` has.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};
use spark_webhook::internals::Metrics;
use testkit::cluster::installed;

use super::{certificate_modes, only, rendered, run};

const MONITORING: &str = "serviceMonitor: {enabled: true}\nprometheusRule: {enabled: true}\ngrafanaDashboard: {enabled: true}\n";

/// Not ours: of kube-state-metrics, as it stands beside the Prometheus operator.
const FOREIGN: [&str; 1] = ["kube_deployment_status_replicas_available"];

/// The selectors in an expression, as name and matchers.
fn selectors(expression: &str) -> Vec<(&str, &str)> {
    let is_name =
        |character: char| character.is_ascii_alphanumeric() || character == '_' || character == ':';
    let starts = expression.match_indices('{').map(|(at, _)| at);
    let selectors = starts.map(|at| {
        let (before, rest) = expression.split_at(at);
        let name =
            before.rfind(|character| !is_name(character)).map_or(before, |end| &before[end + 1..]);
        (name, rest[1..].split('}').next().unwrap())
    });
    selectors.collect()
}

/// Fails where a series, or the value of one of its labels, does not exist.
fn assert_known(expression: &str) {
    let metrics = Metrics::new(Box::new(|| 0)).write().unwrap();
    let series: BTreeSet<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();
    let mentioned = expression
        .split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    for name in mentioned.filter(|word| word.starts_with("spark_webhook_")) {
        assert!(series.contains(name), "{name} in {expression}");
    }
    for (name, matchers) in selectors(expression) {
        assert!(series.contains(name) || FOREIGN.contains(&name), "{name:?} in {expression}");
        for matcher in matchers.split(", ") {
            let (label, values) = matcher.split_once(['=', '!']).unwrap();
            // The labels that Prometheus gives to what it scrapes.
            if ["namespace", "service", "deployment"].contains(&label) {
                continue;
            }
            for value in values.trim_matches(['=', '~', '"']).split('|') {
                let is_known = metrics
                    .lines()
                    .any(|line| line.starts_with(&format!("{name}{{{label}=\"{value}\"")));
                assert!(is_known, "{label}={value:?} in {expression}");
            }
        }
    }
}

/// Fails where Prometheus itself would not read the groups of rules.
fn assert_read_by_prometheus(groups: &Value) {
    let prometheus = installed("prometheus", &[]).join("prometheus");
    run(&mut Command::new(prometheus), &json!({"groups": groups}).to_string()).unwrap();
}

#[test]
fn every_alert_asks_for_series_that_exist() {
    let mut alerts = BTreeSet::new();
    for (_, certificates) in certificate_modes() {
        let objects = rendered(&format!("{MONITORING}{certificates}"));
        let groups = &only(&objects, "PrometheusRule")["spec"]["groups"];
        assert_read_by_prometheus(groups);
        for rule in groups[0]["rules"].as_array().unwrap() {
            let expression = rule["expr"].as_str().unwrap();
            assert_known(expression);
            assert!(
                expression.contains("namespace=\"spark-webhook\""),
                "only this release: {expression}"
            );
            alerts.insert(rule["alert"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(alerts.len(), 7, "{alerts:?}");
}

/// A certificate that is signed for a day always has less than seven.
#[test]
fn the_alert_before_a_certificate_ends_fits_its_life() {
    for (mode, certificates) in certificate_modes() {
        let objects = rendered(&format!("{MONITORING}{certificates}"));
        let rules =
            only(&objects, "PrometheusRule")["spec"]["groups"][0]["rules"].as_array().unwrap();
        let alert =
            rules.iter().find(|rule| rule["alert"] == "SparkWebhookCertificateExpires").unwrap();
        let signs = mode == "managed" || mode.starts_with("ca");
        let expected = if signs { "- time() < 3600" } else { "- time() < 7 * 86400" };
        assert!(alert["expr"].as_str().unwrap().ends_with(expected), "{mode}");
    }
}

#[test]
fn every_panel_asks_for_series_that_exist() {
    let objects = rendered(MONITORING);
    let dashboard = objects.iter().find(|object| {
        object["kind"] == "ConfigMap" && object["metadata"]["labels"]["grafana_dashboard"] == "1"
    });
    let text = dashboard.unwrap()["data"]["spark-webhook.json"].as_str().unwrap();
    let dashboard: Value = serde_json::from_str(text).unwrap();
    let mut rules = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            assert_known(expression);
            // Grafana puts a duration there.
            rules.push(json!({"record": "panel", "labels": {"number": rules.len().to_string()}, "expr": expression.replace("$__rate_interval", "5m")}));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let query = variable["query"].as_str().unwrap();
        assert!(query == "prometheus" || query.contains("(spark_webhook_build_info"), "{query}");
    }
    assert!(rules.len() > 10);
    assert_read_by_prometheus(&json!([{"name": "dashboard", "rules": rules}]));
}

/// The monitor finds the Service, and the Service has its port.
#[test]
fn the_monitor_selects_the_service() {
    let objects = rendered(MONITORING);
    let (monitor, service) = (&only(&objects, "ServiceMonitor")["spec"], only(&objects, "Service"));
    for (label, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(service["metadata"]["labels"][label], *value);
    }
    let port = &monitor["endpoints"][0]["port"];
    assert!(
        service["spec"]["ports"]
            .as_array()
            .unwrap()
            .iter()
            .any(|candidate| candidate["name"] == *port)
    );
}
