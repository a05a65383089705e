//! Whether the administrator's rules fit the cluster.
//!
//! A default needs its objects in each namespace, and a registration that sends the pods.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::MatchCondition;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};

use crate::config::Rules;
use crate::doctor::api::Reader;
use crate::doctor::finding::{Finding, counted, some_of};
use crate::doctor::matching::selects;
use crate::doctor::references::created_as;
use crate::doctor::snapshot::Snapshot;
use crate::doctor::snapshot::rules::KnownRules;
use crate::request::ObjectKind;
use crate::resolve;

/// The maximum number of objects to look for: a large cluster has thousands of namespaces.
const MAX_LOOKUPS: usize = 1000;

pub(super) async fn check(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let Snapshot { reader, registration, rules, .. } = snapshot;
    let registered = registration.found();
    let rules = match rules {
        KnownRules::Unseen(finding) => return vec![finding.clone()],
        KnownRules::Absent => {
            return vec![Finding::passed("the replicas read no rules, so there are no defaults")];
        }
        KnownRules::Given(rules) => rules,
        KnownRules::Read(rules) => rules,
    };
    if rules.default_namespaces().next().is_none() {
        return vec![Finding::passed("the rules have no defaults")];
    }
    let mut findings = Vec::new();
    let webhooks = registered.map(|registered| registered.webhooks.as_slice()).unwrap_or_default();
    if let Some(lacking) = webhooks
        .iter()
        .find_map(|webhook| lacking(webhook.match_conditions.as_deref().unwrap_or_default(), rules))
    {
        findings.push(Finding::failed(
            format!(
                "the matchConditions leave out pods of the rules' defaults: they lack {lacking}"
            ),
            "bring the registration up to date: helm upgrade, or write and apply it again",
        ));
    }
    match reader.list::<Namespace>().await {
        Ok(namespaces) => {
            let sent = |namespace: &&Namespace| {
                let labels = namespace.metadata.labels.clone().unwrap_or_default();
                webhooks.is_empty()
                    || webhooks
                        .iter()
                        .any(|webhook| selects(webhook.namespace_selector.as_ref(), &labels))
            };
            let names: Vec<&str> = namespaces
                .iter()
                .filter(sent)
                .filter_map(|namespace| namespace.metadata.name.as_deref())
                .collect();
            findings.extend(check_namespaces(reader, rules, &names).await);
        }
        Err(unreadable) => findings.push(unreadable.finding()),
    }
    findings
}

/// The part that the defaults need and that the conditions lack.
fn lacking(conditions: &[MatchCondition], rules: &Rules) -> Option<String> {
    if conditions.is_empty() {
        return None;
    }
    let wanted =
        rules.default_namespaces().map(|globs| format!("|| {}", globs.to_cel("request.namespace")));
    let mut lacking = wanted
        .filter(|wanted| !conditions.iter().any(|condition| condition.expression.contains(wanted)));
    lacking.next()
}

/// An object of defaults: its kind and name, and whether it is optional.
type Named = (ObjectKind, String, bool);

async fn check_namespaces(reader: &Reader, rules: &Rules, namespaces: &[&str]) -> Vec<Finding> {
    let mut missing: BTreeMap<(&'static str, String, bool), Vec<String>> = BTreeMap::new();
    let mut findings: Vec<Finding> = Vec::new();
    let (mut lookups, mut selected) = (0, 0);
    for namespace in namespaces {
        let named = named_in(rules, namespace);
        selected += usize::from(!named.is_empty());
        for (source, name, is_optional) in named {
            lookups += 1;
            if lookups > MAX_LOOKUPS {
                findings.push(Finding::unknown(
                    format!("only the first {MAX_LOOKUPS} objects of the defaults were looked for"),
                    "look at one namespace by a --config with its rules alone",
                ));
                return findings;
            }
            let exists = match source {
                ObjectKind::ConfigMap => reader.exists_in::<ConfigMap>(namespace, &name).await,
                ObjectKind::Secret => reader.exists_in::<Secret>(namespace, &name).await,
            };
            match exists {
                Ok(true) => {}
                Ok(false) => missing
                    .entry((source.as_str(), name, is_optional))
                    .or_default()
                    .push((*namespace).to_owned()),
                Err(unreadable) => {
                    let finding = unreadable.finding();
                    // A user without permission in one namespace mostly has none in the others.
                    if !findings.iter().any(|other| other.status == finding.status) {
                        findings.push(finding);
                    }
                }
            }
        }
    }
    let mut told = String::new();
    for ((kind, name, is_optional), namespaces) in missing {
        if is_optional {
            told = format!(
                "{told}; {} without the optional {kind} {name}: {}",
                counted(namespaces.len(), "namespace"),
                some_of(&namespaces)
            );
        } else {
            findings.push(Finding::failed(format!("{kind} {name}, which a default requires, does not exist in {}: pods wait for it", some_of(&namespaces)),
                format!("create it there, or write required: false; kubectl create {} {name} …", created_as(kind)),
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::passed(format!(
            "the defaults apply in {}{told}",
            counted(selected, "namespace")
        )));
    }
    findings
}

/// The objects of the defaults in a namespace, each once. One is optional if it is in all defaults.
fn named_in(rules: &Rules, namespace: &str) -> Vec<Named> {
    let mut named: Vec<Named> = Vec::new();
    for request in resolve::requests_in(rules, namespace) {
        let (source, name, is_optional) =
            (request.object_kind(), request.name.as_str(), request.options.optional);
        match named.iter_mut().find(|other| (other.0, other.1.as_str()) == (source, name)) {
            Some(other) => other.2 &= is_optional,
            None => named.push((source, name.to_owned(), is_optional)),
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::condition;
    use crate::trial;

    fn rules(defaults: &str) -> Rules {
        trial::load(&format!("apiVersion: spark-webhook/v1\ndefaults: [{defaults}]\n")).unwrap()
    }

    #[test]
    fn the_condition_must_have_the_namespaces_of_every_default() {
        let a = "{namespaces: [a], annotations: {spark-operator.k8s.io/secret.s: /s}}";
        let b = "{namespaces: [\"b-*\"], annotations: {spark-operator.k8s.io/secret.s: /s}}";
        let all = "{annotations: {spark-operator.k8s.io/secret.s: /s}}";
        let both = format!("{a}, {b}");
        for (registered, wanted, expected) in [
            ("", a, Some("|| (request.namespace.matches('^a$'))")),
            (a, a, None),
            (a, &both, Some("|| (request.namespace.matches('^b-.*$'))")),
            (&both, b, None),
            (a, all, Some("|| true")),
            (all, all, None),
        ] {
            let condition =
                MatchCondition { name: "c".to_owned(), expression: condition(&rules(registered)) };
            assert_eq!(
                lacking(&[condition], &rules(wanted)).as_deref(),
                expected,
                "{registered} {wanted}"
            );
            assert_eq!(lacking(&[], &rules(wanted)), None);
        }
    }

    #[test]
    fn an_object_is_required_where_any_default_requires_it() {
        let rules = rules(
            "{annotations: {spark-operator.k8s.io/secret.s: /s, spark-operator.k8s.io/hadoopConfigMap: h}}, \
             {namespaces: [a], required: true, roles: [driver], annotations: {spark-operator.k8s.io/secret.s: /t}}",
        );
        let named = |namespace: &str| {
            let named = named_in(&rules, namespace).into_iter();
            named
                .map(|(source, name, is_optional)| {
                    format!("{} {name} {is_optional}", source.as_str())
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(named("a"), ["ConfigMap h true", "Secret s false"]);
        assert_eq!(named("b"), ["ConfigMap h true", "Secret s true"]);
    }
}
