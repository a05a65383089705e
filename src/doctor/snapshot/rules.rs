//! The administrator's rules: those of `--config`, or those that the replicas behind the Service
//! read.

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec};

use super::backend::{Backend, Found, ServiceFound};
use crate::config::Rules;
use crate::doctor::api::{Reader, Unreadable};
use crate::doctor::finding::Finding;
use crate::doctor::scope::Scope;
use crate::trial;

/// The rules in force.
pub(crate) enum KnownRules<'s> {
    /// Those of `--config`.
    Given(&'s Rules),
    /// Those that the replicas read.
    Read(Rules),
    /// The replicas read none.
    Absent,
    /// They cannot be seen; the finding says why.
    Unseen(Finding),
}

impl KnownRules<'_> {
    pub(crate) fn as_rules(&self) -> Option<&Rules> {
        match self {
            Self::Given(rules) => Some(rules),
            Self::Read(rules) => Some(rules),
            Self::Absent | Self::Unseen(_) => None,
        }
    }
}

pub(super) async fn read<'s>(
    reader: &Reader,
    scope: &'s Scope,
    backends: &[Backend],
) -> KnownRules<'s> {
    if let Some(rules) = &scope.rules {
        return KnownRules::Given(rules);
    }
    let service = backends.iter().find_map(|backend| match &backend.found {
        Found::Service(service) if !service.selector.is_empty() => Some(service),
        _ => None,
    });
    let give = "give the file: --config";
    let Some(service) = service else {
        let message = "there is no Service whose pods would tell which rules they read";
        return KnownRules::Unseen(Finding::unknown(message, give));
    };
    KnownRules::Unseen(match read_mounted(reader, service).await {
        Ok(Mounted::None) => return KnownRules::Absent,
        Ok(Mounted::Elsewhere(path)) => Finding::unknown(
            format!("the replicas read their rules from {path}, which is of no ConfigMap"),
            give,
        ),
        Ok(Mounted::NoReplica) => Finding::unknown("there is no replica to tell its rules", give),
        Ok(Mounted::Text { config_map, text }) => match trial::load(&text) {
            Ok(rules) => return KnownRules::Read(rules),
            Err(error) => Finding::failed(
                format!(
                    "ConfigMap {}/{config_map} holds rules that are refused: {error}",
                    service.namespace
                ),
                "correct them; until then the replicas keep older rules, or do not start",
            ),
        },
        Err(unreadable) => {
            let finding = unreadable.finding();
            Finding { advice: format!("{}; or {give}", finding.advice), ..finding }
        }
    })
}

/// The rules that the replicas mount.
enum Mounted {
    None,
    NoReplica,
    Elsewhere(String),
    Text { config_map: String, text: String },
}

async fn read_mounted(reader: &Reader, service: &ServiceFound) -> Result<Mounted, Unreadable> {
    let pods = reader.list_in::<Pod>(&service.namespace, &service.selector).await?;
    // During a roll-out, the newest pod has the rules to come.
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

/// The path in `--config` or its variable.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
}
