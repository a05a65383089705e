//! The MutatingWebhookConfiguration with which an API server calls this process.
//!
//! Only pods that could concern us are sent: Spark's own label selects them, and a match condition
//! lets through those that carry a key under one of our prefixes, or are in a namespace of the
//! administrator's defaults. Nobody else depends on this process; and they never start without it.

use base64_simd::STANDARD;
use serde_json::{Value, json};

use crate::config::Rules;
use crate::request::PREFIXES;

/// The name of the configuration; the webhook in it is called the same with `.k8s.io` after it.
pub const NAME: &str = "spark-webhook";

/// The configuration for a webhook at a URL, whose certificate the bundle (PEM) verifies, for the
/// pods of a [`condition`].
#[must_use]
pub fn registration(url: &str, ca_bundle: &str, condition: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [{
            "name": format!("{NAME}.k8s.io"),
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": url, "caBundle": STANDARD.encode_to_string(ca_bundle)},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "Namespaced"}],
            "objectSelector": {"matchExpressions": [{"key": "spark-role", "operator": "In", "values": ["driver", "executor"]}]},
            "matchConditions": [{"name": "concerns-spark-webhook", "expression": condition}],
            "sideEffects": "None",
            "timeoutSeconds": 5,
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
        }],
    })
}

/// A CEL expression that is true for the pods that are sent: those with a key under one of our
/// prefixes, and those in the namespaces of the administrator's defaults.
#[must_use]
pub fn condition(rules: &Rules) -> String {
    let mut conditions = vec![has_our_annotation()];
    conditions.extend(rules.default_namespaces().map(|globs| globs.to_cel("request.namespace")));
    conditions.dedup();
    conditions.join(" || ")
}

fn has_our_annotation() -> String {
    let any_prefix = PREFIXES.map(|prefix| format!("key.startsWith('{prefix}')")).join(" || ");
    format!(
        "has(object.metadata.annotations) && object.metadata.annotations.exists(key, {any_prefix})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial;

    #[test]
    fn the_namespaces_of_defaults_are_sent_too() {
        let rules = "apiVersion: spark-webhook/v1\ndefaults: [{namespaces: [\"team-*\"], annotations: {spark-operator.k8s.io/hadoopConfigMap: h}}]\n";
        let condition = condition(&trial::load(rules).unwrap());
        assert_eq!(
            condition,
            format!("{} || (request.namespace.matches('^team-.*$'))", has_our_annotation())
        );
        assert_eq!(super::condition(&Rules::default()), has_our_annotation());
    }

    /// The golden file is of what `serve` writes; here it is read without a server, so that a
    /// change is seen at once.
    #[test]
    fn the_registration_is_the_golden_one() {
        let golden = std::fs::read_to_string("tests/golden/registration.snap").unwrap();
        let golden = golden.splitn(3, "---\n").nth(2).unwrap();
        let golden: Value =
            serde_saphyr::from_str(&golden.replace("CA-BUNDLE", &STANDARD.encode_to_string("pem")))
                .unwrap();
        assert_eq!(registration("https://ADDRESS/mutate", "pem", &has_our_annotation()), golden);
    }

    #[test]
    fn the_condition_names_both_prefixes() {
        assert_eq!(
            has_our_annotation(),
            "has(object.metadata.annotations) && object.metadata.annotations.exists(key, \
             key.startsWith('spark-operator.k8s.io/') || key.startsWith('sparkoperator.k8s.io/'))"
        );
    }
}
