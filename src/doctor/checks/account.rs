//! A service account of Charmed Spark: the requests of its pods, and what is wrong with them.
//!
//! The account's Secrets hold access keys too. Of their values, the report shows only annotations
//! of ours and paths of truststores.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{Secret, ServiceAccount};

use crate::annotations::{self, Requests};
use crate::config::{PodAttributes, Rules};
use crate::doctor::api::Reader;
use crate::doctor::finding::Finding;
use crate::doctor::plural::{is_plural, singular};
use crate::doctor::references::{self, Reference, Referrers};
use crate::doctor::spark8t::{Account, Keeper, Properties, Stored, annotations, read, truststore};
use crate::request::{
    FileName, ObjectKind, ObjectName, Origin, PREFIXES, Problem, ProblemKind, Request, Severity,
};
use crate::resolve;
use crate::spark::{ROLE_LABEL, Role};
use crate::text::Excerpt;

/// The roles of pods, with their plurals.
const ROLES: [(Role, &str); 2] = [(Role::Driver, "drivers"), (Role::Executor, "executors")];

pub(super) async fn check(
    reader: &Reader,
    account: &Account,
    rules: Option<&Rules>,
) -> Vec<Finding> {
    let Account { namespace, name } = account;
    let mut findings = Vec::new();
    match reader.exists_in::<ServiceAccount>(namespace, name).await {
        Ok(true) => {}
        Ok(false) => {
            let message = format!("service account {name} does not exist in namespace {namespace}");
            let advice = format!(
                "create it: service-account-registry create --username {name} --namespace {namespace}"
            );
            return vec![Finding::failed(message, advice)];
        }
        Err(unreadable) => findings.push(unreadable.finding()),
    }
    let (mut properties, mut is_complete) = (Properties::new(), true);
    for keeper in Keeper::ALL {
        match reader.get_in::<Secret>(namespace, &keeper.secret(name)).await {
            Ok(found) => findings.extend(read(account, keeper, found, &mut properties)),
            Err(unreadable) => {
                is_complete = false;
                let finding = unreadable.finding();
                findings.push(Finding {
                    message: format!("Secret {}: {}", keeper.secret(name), finding.message),
                    ..finding
                });
            }
        }
    }
    findings.extend(check_requests(account, &properties, rules, is_complete));
    let (named, unmounted) = name_objects(account, &properties, rules);
    findings.extend(unmounted);
    if !named.is_empty() {
        findings.extend(references::check(reader, namespace, named).await);
    }
    findings
}

/// The requests of the pods of each role, as far as the account's Secrets could be read, and their
/// problems.
fn check_requests(
    account: &Account,
    properties: &Properties,
    rules: Option<&Rules>,
    is_complete: bool,
) -> Vec<Finding> {
    let Account { namespace, name } = account;
    let mut findings = Vec::new();
    for property in properties.keys().filter(|property| is_plural(property)) {
        let advice = format!("write it in the singular: {}", singular(property));
        findings.push(Finding::failed(
            format!("{name} stores {property}, which Spark does not know"),
            advice,
        ));
    }
    let mut problems: BTreeMap<String, (Problem, Vec<&str>)> = BTreeMap::new();
    for (role, pods) in ROLES {
        for problem in requests(account, properties, rules, role).problems.iter() {
            problems
                .entry(problem.text().to_owned())
                .or_insert((problem.clone(), Vec::new()))
                .1
                .push(pods);
        }
        let shown: Vec<String> = annotations(properties, role)
            .into_iter()
            .map(|(key, stored)| shown(key, stored))
            .collect();
        let asks = if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") };
        let message = format!("{pods} of {namespace}:{name} will ask for {asks}");
        findings.push(if is_complete {
            Finding::passed(message)
        } else {
            let advice = "get permission to read the Secrets named above, and run doctor again";
            Finding::unknown(format!("{message}, as far as may be read"), advice)
        });
    }
    for (text, (problem, pods)) in problems {
        let message = format!("{}: {text}", pods.join(" and "));
        let of_account = format!("--username {name} --namespace {namespace} --conf …");
        let advice = match problem.kind() {
            ProblemKind::NotAllowed => {
                "have it allowed in the webhook's rules, or ask for another".to_owned()
            }
            ProblemKind::Enforced => {
                format!(
                    "service-account-registry remove-config {of_account}; where it is the hub's, remove it there"
                )
            }
            _ => format!(
                "do what it says, and store that: service-account-registry add-config {of_account}"
            ),
        };
        findings.push(match problem.severity() {
            Severity::Error => Finding::failed(message, advice),
            Severity::Note => Finding::passed(message),
        });
    }
    findings
}

/// The requests and the defaults of pods of a role that the rules allow.
fn requests<'p>(
    account: &Account,
    properties: &'p Properties,
    rules: Option<&'p Rules>,
    role: Role,
) -> Requests<'p> {
    let annotations = annotations(properties, role);
    let requests = annotations::parse(
        annotations.into_iter().map(|(key, stored)| (key, stored.value.as_str())),
    );
    let Some(rules) = rules else { return requests };
    // Only stored labels are known, not those that Spark or a submission adds.
    let label = |key: &str| match key {
        ROLE_LABEL => Some(role.as_str()),
        key => properties
            .get(&format!("spark.kubernetes.{role}.label.{key}"))
            .map(|stored| stored.value.as_str()),
    };
    resolve::apply(
        rules,
        &PodAttributes { namespace: &account.namespace, role, label: &label },
        requests,
    )
}

fn shown(key: &str, Stored { value, by }: &Stored) -> String {
    const SHOWN: usize = 100;
    let annotation = format!("{}={value}", key.strip_prefix(PREFIXES[0]).unwrap_or(key));
    let by = if *by == Keeper::Hub { " (by the hub)" } else { "" };
    format!("{}{by}", Excerpt::new(&annotation, SHOWN))
}

/// The objects that pods request and the Secrets that Spark itself mounts, with the file of a
/// truststore as the key. Returns a finding for each truststore without a mount.
fn name_objects(
    account: &Account,
    properties: &Properties,
    rules: Option<&Rules>,
) -> (BTreeMap<Reference, Referrers>, Vec<Finding>) {
    let (mut named, mut findings) = (BTreeMap::new(), Vec::new());
    for (role, pods) in ROLES {
        let mounts = requests(account, properties, rules, role).mounts;
        let own: Vec<Request> =
            mounts.iter().filter(|request| request.origin == Origin::Pod).cloned().collect();
        references::add(&mut named, &own, pods);
        let start = format!("spark.kubernetes.{role}.secrets.");
        let mounted = |property: &'_ str| property.strip_prefix(&start).map(str::to_owned);
        let mut secrets: Vec<(String, &str, Option<String>)> = properties
            .iter()
            .filter_map(|(property, stored)| {
                Some((mounted(property)?, stored.value.trim_end_matches('/'), None))
            })
            .collect();
        if let Some(truststore) = truststore(properties, role) {
            let file = |directory: &str| {
                Some(truststore.strip_prefix(directory)?.strip_prefix('/')?.to_owned())
            };
            let holder =
                secrets.iter_mut().find_map(|(_, directory, key)| Some((key, file(directory)?)));
            if let Some((key, file)) = holder {
                *key = Some(file);
            } else if !mounts
                .iter()
                .any(|request| Path::new(truststore).starts_with(request.path.as_str()))
            {
                let message = format!(
                    "{pods} read the truststore {truststore}, which no property mounts: it must be in the image"
                );
                let advice = format!(
                    "mount its Secret, unless the image has it: spark.kubernetes.{role}.secrets.NAME=DIRECTORY"
                );
                findings.push(Finding::unknown(message, advice));
            }
        }
        for (name, _, key) in secrets {
            // Anybody may have written the properties, and users paste advice into a shell.
            if ObjectName::parse(&name).is_err()
                || key.as_ref().is_some_and(|key| FileName::parse(key).is_none())
            {
                let object = match key {
                    Some(key) => format!("Secret {name} with the key {key}"),
                    None => format!("Secret {name}"),
                };
                let message = format!(
                    "{pods} are to mount {}, and none can have that name",
                    Excerpt::new(&object, 200)
                );
                let advice =
                    format!("write another one: spark.kubernetes.{role}.secrets.NAME=DIRECTORY");
                findings.push(Finding::failed(message, advice));
                continue;
            }
            let by = named
                .entry(Reference { kind: ObjectKind::Secret.as_str(), name, key })
                .or_default();
            by.is_required = true;
            by.pods.push(pods.to_owned());
        }
    }
    (named, findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial;

    fn account() -> Account {
        "n:etl".parse().unwrap()
    }

    fn stored(properties: &[(&str, &str)]) -> Properties {
        let stored = |value: &str| Stored { value: value.to_owned(), by: Keeper::Spark8t };
        properties.iter().map(|(property, value)| ((*property).to_owned(), stored(value))).collect()
    }

    fn lines(findings: &[Finding]) -> Vec<String> {
        findings
            .iter()
            .map(|Finding { status, message, .. }| format!("{} {message}", status.as_str()))
            .collect()
    }

    #[test]
    fn what_pods_will_ask_for_is_told_and_nothing_else_of_the_secrets() {
        let properties = stored(&[
            ("spark.hadoop.fs.s3a.secret.key", "password"),
            ("spark.kubernetes.driver.annotation.prometheus.io/scrape", "true"),
            ("spark.kubernetes.driver.annotation.spark-operator.k8s.io/hadoopConfigMap", "hadoop"),
            ("spark.kubernetes.driver.annotation.spark-operator.k8s.io/secret.db", "db"),
            ("spark.kubernetes.driver.annotations.spark-operator.k8s.io/secret.x", "/x"),
            ("spark.kubernetes.executor.annotation.spark-operator.k8s.io/secret.db", "db"),
            ("spark.kubernetes.executor.annotation.sparkoperator.k8s.io/secretx", ""),
        ]);
        assert_eq!(
            lines(&check_requests(&account(), &properties, None, true)),
            [
                "failed etl stores spark.kubernetes.driver.annotations.spark-operator.k8s.io/secret.x, which Spark does not know",
                "passed drivers of n:etl will ask for hadoopConfigMap=hadoop, secret.db=db",
                "passed executors of n:etl will ask for secret.db=db, sparkoperator.k8s.io/secretx=",
                "failed drivers and executors: secret.db=db: the path must start with \"/\", write secret.db=/db",
                "passed executors: sparkoperator.k8s.io/secretx: unknown key, ignored; the nearest is secrets",
            ]
        );
        assert_eq!(
            lines(&check_requests(&account(), &stored(&[]), None, false))[0],
            "unknown drivers of n:etl will ask for nothing, as far as may be read"
        );
        let hub = Stored { value: "hadoop".to_owned(), by: Keeper::Hub };
        assert_eq!(
            shown("spark-operator.k8s.io/hadoopConfigMap", &hub),
            "hadoopConfigMap=hadoop (by the hub)"
        );
    }

    #[test]
    fn a_truststore_needs_its_secret_with_the_file_in_it() {
        let option =
            ("spark.driver.extraJavaOptions", "-Djavax.net.ssl.trustStore=/etc/conf/hub/t.jks");
        let secrets = ("spark.kubernetes.driver.secrets.hub", "/etc/conf/hub/");
        let asked = (
            "spark.kubernetes.driver.annotation.spark-operator.k8s.io/secret.own",
            "/etc/conf/hub",
        );
        for (properties, expected, unmounted) in [
            (&[option, secrets][..], "hub#t.jks", 0),
            (&[secrets], "hub#", 0),
            (&[option, asked], "own#", 0),
            (&[option], "", 1),
        ] {
            let (named, findings) = name_objects(&account(), &stored(properties), None);
            let shown: Vec<String> = named
                .keys()
                .map(|named| format!("{}#{}", named.name, named.key.as_deref().unwrap_or_default()))
                .collect();
            assert_eq!((shown.join(","), findings.len()), (expected.to_owned(), unmounted));
        }
    }

    #[test]
    fn the_rules_take_from_an_account_and_give_to_it_as_they_do_to_its_pods() {
        const ASKED: (&str, &str) =
            ("spark.kubernetes.driver.annotation.spark-operator.k8s.io/secret.db", "/db");
        const TIER: (&str, &str) = ("spark.kubernetes.driver.label.tier", "batch");
        const STORE: (&str, &str) =
            ("spark.driver.extraJavaOptions", "-Djavax.net.ssl.trustStore=/db/t.jks");
        let default = |selection: &str| {
            format!(
                "defaults: [{{enforce: true, {selection}, annotations: {{spark-operator.k8s.io/secret.db: /other}}}}]"
            )
        };
        let of_driver = default("selector: {matchLabels: {tier: batch}}");
        let of_executor = default("roles: [executor]");
        let (not_allowed, enforced) =
            ("this Secret is not allowed", "default for it is enforced, remove this annotation");
        let unmounted = "drivers read the truststore /db/t.jks, which no property mounts";
        for (rules, properties, problem, advice, named, truststore) in [
            (
                "allow: [{secrets: [\"!db\"]}]",
                &[ASKED, STORE][..],
                not_allowed,
                "have it allowed",
                "",
                unmounted,
            ),
            ("allow: [{secrets: [\"d*\"]}]", &[ASKED, STORE], "", "", "db", ""),
            (
                &of_driver,
                &[ASKED, TIER],
                enforced,
                "service-account-registry remove-config",
                "",
                "",
            ),
            (&of_driver, &[ASKED], "", "", "db", ""),
            (&of_executor, &[ASKED], "", "", "db", ""),
            (
                "defaults: [{annotations: {spark-operator.k8s.io/secret.ts: /db}}]",
                &[STORE],
                "",
                "",
                "",
                "",
            ),
        ] {
            let rules = trial::load(&format!("apiVersion: spark-webhook/v1\n{rules}\n")).unwrap();
            let properties = stored(properties);
            let failed = check_requests(&account(), &properties, Some(&rules), true)
                .into_iter()
                .filter(|finding| !finding.advice.is_empty());
            let failed: Vec<Finding> = failed.collect();
            assert_eq!(failed.len(), usize::from(!problem.is_empty()), "{failed:?}");
            assert!(
                failed
                    .iter()
                    .all(|found| found.message.contains(problem) && found.advice.contains(advice)),
                "{failed:?}"
            );
            let (objects, findings) = name_objects(&account(), &properties, Some(&rules));
            assert_eq!(
                objects.keys().map(|named| &*named.name).collect::<Vec<_>>().join(","),
                named
            );
            assert_eq!(findings.len(), usize::from(!truststore.is_empty()), "{findings:?}");
            assert!(
                findings.iter().all(|found| found.message.starts_with(truststore)),
                "{findings:?}"
            );
        }
    }

    #[test]
    fn what_no_secret_can_be_called_is_never_part_of_advice() {
        let option = ("spark.driver.extraJavaOptions", "-Djavax.net.ssl.trustStore=/etc/hub/$(id)");
        for properties in [
            &[option, ("spark.kubernetes.driver.secrets.hub", "/etc/hub")][..],
            &[("spark.kubernetes.driver.secrets.$(id)", "/x")],
        ] {
            let (named, findings) = name_objects(&account(), &stored(properties), None);
            assert!(named.is_empty());
            assert!(
                findings[0].message.contains("$(id)") && !findings[0].advice.contains("$(id)"),
                "{findings:?}"
            );
        }
    }
}
