//! The administrator's rules against the namespaces that there are.
//!
//! A default is only as good as the objects that it names and the registration that sends the pods.
//! The rules are those that were given, or those that the replicas behind the Service read.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::MatchCondition;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Namespace, Pod, PodSpec, Secret};

use super::endpoints::{Found, Place, ServiceFound};
use super::registration::Registered;
use crate::doctor::Scope;
use crate::doctor::api::{Reader, Unreadable};
use crate::doctor::finding::{Finding, counted, some_of};
use crate::doctor::matching::selects;
use crate::doctor::references::created_as;
use crate::request::ObjectKind;
use crate::rules::Rules;

const CHECK: &str = "rules";

/// No more objects than this are looked for: a large cluster has thousands of namespaces.
const MAX_LOOKUPS: usize = 1000;

/// Which rules are in force.
pub(crate) enum Known<'q> {
    /// They were given.
    Given(&'q Rules),
    /// The replicas read them.
    Read(Rules),
    /// The replicas read none.
    Absent,
    /// They could not be seen.
    Unseen,
}

impl Known<'_> {
    pub(crate) fn as_rules(&self) -> Option<&Rules> {
        match self {
            Self::Given(rules) => Some(rules),
            Self::Read(rules) => Some(rules),
            Self::Absent | Self::Unseen => None,
        }
    }
}

/// The rules in force, and what is to be said where they cannot be seen.
pub(crate) async fn read<'q>(
    reader: &Reader,
    scope: &'q Scope,
    places: &[Place],
) -> (Known<'q>, Vec<Finding>) {
    if let Some(rules) = &scope.rules {
        return (Known::Given(rules), Vec::new());
    }
    let service = places.iter().find_map(|place| match &place.found {
        Found::Service(service) if !service.selector.is_empty() => Some(service),
        _ => None,
    });
    let give = "give the file: --config";
    let Some(service) = service else {
        return (
            Known::Unseen,
            vec![Finding::unknown(
                CHECK,
                "there is no Service whose pods would tell which rules they read",
                give,
            )],
        );
    };
    match read_mounted(reader, service).await {
        Ok(Mounted::None) => (Known::Absent, Vec::new()),
        Ok(Mounted::Elsewhere(path)) => {
            let message =
                format!("the replicas read their rules from {path}, which is of no ConfigMap");
            (Known::Unseen, vec![Finding::unknown(CHECK, message, give)])
        }
        Ok(Mounted::NoReplica) => (
            Known::Unseen,
            vec![Finding::unknown(CHECK, "there is no replica to tell its rules", give)],
        ),
        Ok(Mounted::Text { config_map, text }) => match Rules::parse(&text) {
            Ok(rules) => (Known::Read(rules), Vec::new()),
            Err(error) => {
                let message = format!(
                    "ConfigMap {}/{config_map} holds rules that are refused: {error}",
                    service.namespace
                );
                let advice =
                    "correct them; until then the replicas keep older rules, or do not start";
                (Known::Unseen, vec![Finding::failed(CHECK, message, advice)])
            }
        },
        Err(unreadable) => {
            let finding = unreadable.finding(CHECK);
            let advice = format!("{}; or {give}", finding.advice);
            (Known::Unseen, vec![Finding { advice, ..finding }])
        }
    }
}

/// What the replicas mount as their rules.
enum Mounted {
    None,
    NoReplica,
    Elsewhere(String),
    Text { config_map: String, text: String },
}

async fn read_mounted(reader: &Reader, service: &ServiceFound) -> Result<Mounted, Unreadable> {
    let pods = reader.list_in::<Pod>(&service.namespace, &service.selector).await?;
    // The newest tells what will be.
    let newest = pods
        .into_iter()
        .max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let Some(spec) = newest.and_then(|pod| pod.spec) else { return Ok(Mounted::NoReplica) };
    let Some((container, path)) =
        spec.containers.iter().find_map(|container| Some((container, config_flag(container)?)))
    else {
        return Ok(Mounted::None);
    };
    let Some((config_map, key)) = config_map_at(&spec, container, &path) else {
        return Ok(Mounted::Elsewhere(path));
    };
    let found = reader.get_in::<ConfigMap>(&service.namespace, &config_map).await?;
    let text = found.and_then(|found| found.data?.remove(&key));
    Ok(text.map_or(Mounted::Elsewhere(path), |text| Mounted::Text { config_map, text }))
}

/// The file that `--config` or its variable names.
fn config_flag(container: &Container) -> Option<String> {
    let words: Vec<&String> =
        container.command.iter().flatten().chain(container.args.iter().flatten()).collect();
    let mut following = words.iter().skip(1);
    for word in &words {
        let next = following.next();
        if let Some(path) = word.strip_prefix("--config=") {
            return Some(path.to_owned());
        }
        if word.as_str() == "--config" {
            return next.map(|path| (*path).clone());
        }
    }
    let variable =
        container.env.iter().flatten().find(|variable| variable.name == "SPARK_WEBHOOK_CONFIG");
    variable.and_then(|variable| variable.value.clone())
}

/// The ConfigMap that is mounted at a file's directory, and the file's key in it.
fn config_map_at(spec: &PodSpec, container: &Container, path: &str) -> Option<(String, String)> {
    let (directory, file) = path.rsplit_once('/')?;
    let mounts = container.volume_mounts.iter().flatten();
    let mount =
        mounts.into_iter().find(|mount| mount.mount_path.trim_end_matches('/') == directory)?;
    let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name)?;
    let source = volume.config_map.as_ref()?;
    let item = source.items.iter().flatten().find(|item| item.path == file);
    Some((source.name.clone(), item.map_or_else(|| file.to_owned(), |item| item.key.clone())))
}

pub(crate) async fn check(
    reader: &Reader,
    registered: Option<&Registered>,
    known: &Known<'_>,
) -> Vec<Finding> {
    let rules = match known {
        Known::Unseen => return Vec::new(),
        Known::Absent => {
            return vec![Finding::passed(
                CHECK,
                "the replicas read no rules, so there are no defaults",
            )];
        }
        Known::Given(rules) => rules,
        Known::Read(rules) => rules,
    };
    if rules.default_namespaces().next().is_none() {
        return vec![Finding::passed(CHECK, "the rules have no defaults")];
    }
    let mut findings = Vec::new();
    let webhooks = registered.map(|registered| registered.webhooks.as_slice()).unwrap_or_default();
    if let Some(lacking) = webhooks
        .iter()
        .find_map(|webhook| lacking(webhook.match_conditions.as_deref().unwrap_or_default(), rules))
    {
        findings.push(Finding::failed(
            CHECK,
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
        Err(unreadable) => findings.push(unreadable.finding(CHECK)),
    }
    findings
}

/// The part of the condition that the defaults need and that is not there.
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

/// An object that defaults name: its kind and name, and whether pods wait for it.
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
                    CHECK,
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
                    let finding = unreadable.finding(CHECK);
                    // What may not be read in one namespace may be in none.
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
            findings.push(Finding::failed(
                CHECK,
                format!("{kind} {name}, which a default requires, does not exist in {}: pods wait for it", some_of(&namespaces)),
                format!("create it there, or write required: false; kubectl create {} {name} …", created_as(kind)),
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::passed(
            CHECK,
            format!("the defaults apply in {}{told}", counted(selected, "namespace")),
        ));
    }
    findings
}

/// What the defaults name in a namespace, each once; required where any requires it.
fn named_in(rules: &Rules, namespace: &str) -> Vec<Named> {
    let mut named: Vec<Named> = Vec::new();
    for request in rules.requests_in(namespace) {
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
    use serde_json::json;

    use super::*;
    use crate::registration::condition;

    fn rules(defaults: &str) -> Rules {
        Rules::parse(&format!("apiVersion: spark-webhook/v1\ndefaults: [{defaults}]\n")).unwrap()
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
    fn the_rules_of_a_replica_are_those_of_its_flag() {
        let spec = |container: serde_json::Value| -> PodSpec {
            let volumes = json!([{"name": "rules", "configMap": {"name": "r"}}, {"name": "other", "emptyDir": {}}]);
            serde_json::from_value(json!({"containers": [container], "volumes": volumes})).unwrap()
        };
        let mounts = json!([{"name": "rules", "mountPath": "/etc/rules/"}, {"name": "other", "mountPath": "/tmp"}]);
        for (container, expected) in [
            (json!({"args": ["serve", "--config=/etc/rules/a.yaml"]}), Some(Some("r a.yaml"))),
            (json!({"args": ["serve", "--config", "/etc/rules/a.yaml"]}), Some(Some("r a.yaml"))),
            (
                json!({"env": [{"name": "SPARK_WEBHOOK_CONFIG", "value": "/etc/rules/b"}]}),
                Some(Some("r b")),
            ),
            (json!({"args": ["serve", "--config=/tmp/a.yaml"]}), Some(None)),
            (json!({"args": ["serve"]}), None),
        ] {
            let mut container = container;
            (container["name"], container["volumeMounts"]) = (json!("c"), mounts.clone());
            let spec = spec(container.clone());
            let found = config_flag(&spec.containers[0]).map(|path| {
                config_map_at(&spec, &spec.containers[0], &path)
                    .map(|(name, key)| format!("{name} {key}"))
            });
            assert_eq!(found.as_ref().map(Option::as_deref), expected, "{container}");
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
