//! References of pods to ConfigMaps, Secrets and keys.
//!
//! If one does not exist, the kubelet waits for it, and says so only in events.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::api::{Reader, Unreadable};
use super::finding::{Finding, counted, some_of};
use super::spark8t;
use crate::request::{ObjectKind, Request};

/// A reference to an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// The key that must be in it, if any.
    pub(super) key: Option<String>,
}

/// The pods with a reference, and whether one of them needs the object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Referrers {
    pub(super) pods: Vec<String>,
    pub(super) is_required: bool,
}

/// Looks for the objects in a namespace.
pub(super) async fn check(
    reader: &Reader,
    namespace: &str,
    named: BTreeMap<Reference, Referrers>,
) -> Vec<Finding> {
    let (mut findings, mut told) = (Vec::new(), String::new());
    let count = named.len();
    for (object, by) in named {
        let Reference { kind, name, key } = &object;
        let lacks = match look_for(reader, namespace, &object).await {
            Ok(None) => continue,
            Ok(Some(lacks)) => lacks,
            Err(unreadable) => {
                let finding = unreadable.finding();
                if !findings.contains(&finding) {
                    findings.push(finding);
                }
                continue;
            }
        };
        if by.is_required {
            let advice = match key {
                _ if name.starts_with(spark8t::HUB) => {
                    "the integration hub makes it, of the CA of its S3 storage: see that it runs, and has one".to_owned()
                }
                Some(key) => format!("create it with the key: kubectl create {} {name} --from-file={key}=…", created_as(kind)),
                None => format!("create it: kubectl create {} {name} --from-file=…", created_as(kind)),
            };
            let message =
                format!("{lacks} in namespace {namespace}; asked for by {}", some_of(&by.pods));
            findings.push(Finding::failed(message, advice));
        } else {
            told = format!("{told}; {lacks}, and is optional");
        }
    }
    if findings.is_empty() {
        let message = if count == 0 {
            "no pod names any".to_owned()
        } else {
            format!(
                "{} asked for{}",
                counted(count, "object"),
                if told.is_empty() { ", all there" } else { &told }
            )
        };
        findings.push(Finding::passed(message));
    }
    findings
}

/// The kind as `kubectl create` takes it.
pub(super) fn created_as(kind: &str) -> &'static str {
    if kind == "Secret" { "secret generic" } else { "configmap" }
}

/// Adds the references of a pod's requests.
pub(super) fn add(named: &mut BTreeMap<Reference, Referrers>, mounts: &[Request], pod: &str) {
    for request in mounts {
        let object = Reference {
            kind: request.object_kind().as_str(),
            name: request.name.to_string(),
            key: request.needed_key().map(str::to_owned),
        };
        let by = named.entry(object).or_default();
        by.is_required |= !request.options.optional;
        if by.pods.last().is_none_or(|last| last != pod) {
            by.pods.push(pod.to_owned());
        }
    }
}

/// The lack, if any. Reads the data of a Secret only to look for a key.
async fn look_for(
    reader: &Reader,
    namespace: &str,
    object: &Reference,
) -> Result<Option<String>, Unreadable> {
    let Reference { kind, name, key } = object;
    let is_secret = *kind == ObjectKind::Secret.as_str();
    let Some(key) = key else {
        let exists = if is_secret {
            reader.exists_in::<Secret>(namespace, name).await?
        } else {
            reader.exists_in::<ConfigMap>(namespace, name).await?
        };
        return Ok((!exists).then(|| format!("{kind} {name} does not exist")));
    };
    let has_key = if is_secret {
        let found = reader.get_in::<Secret>(namespace, name).await?;
        found.map(|found| found.data.is_some_and(|data| data.contains_key(key)))
    } else {
        let found = reader.get_in::<ConfigMap>(namespace, name).await?;
        found.map(|found| {
            found.data.is_some_and(|data| data.contains_key(key))
                || found.binary_data.is_some_and(|data| data.contains_key(key))
        })
    };
    Ok(match has_key {
        Some(true) => None,
        Some(false) => Some(format!("{kind} {name} has no key {key}")),
        None => Some(format!("{kind} {name} does not exist")),
    })
}
