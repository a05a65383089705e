//! Accounts of Charmed Spark, and the properties that are stored for them.
//!
//! spark8t and the integration hub keep an account's properties in a Secret each, and spark8t puts
//! them into every submission. The submitter sees neither, and spark8t silently reads a Secret that
//! it cannot decode as an empty one.

mod secret_key;

use std::collections::BTreeMap;
use std::str::FromStr;

use k8s_openapi::api::core::v1::Secret;

use super::finding::Finding;
use crate::annotations::key::PrefixedKey;
use crate::spark::Role;

/// The prefix of the names of the integration hub's Secrets.
pub(super) const HUB: &str = "integrator-hub-conf";

/// An account, written `NAMESPACE:NAME` as spark8t does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its namespace, in which its pods run.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
}

impl FromStr for Account {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("write NAMESPACE:NAME"),
        }
    }
}

/// A program that keeps properties of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    Hub,
    Spark8t,
}

impl Keeper {
    /// In order of precedence, the last wins, as in spark8t.
    pub(super) const ALL: [Self; 2] = [Self::Hub, Self::Spark8t];

    pub(super) fn secret(self, account: &str) -> String {
        match self {
            Self::Hub => format!("{HUB}-{account}"),
            Self::Spark8t => format!("spark8t-sa-conf-{account}"),
        }
    }
}

/// The value of a property.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) value: String,
    pub(super) by: Keeper,
}

pub(super) type Properties = BTreeMap<String, Stored>;

/// Adds the properties of a Secret. Returns its problems.
pub(super) fn read(
    account: &Account,
    keeper: Keeper,
    secret: Option<Secret>,
    properties: &mut Properties,
) -> Vec<Finding> {
    let Account { namespace, name } = account;
    let secret_name = keeper.secret(name);
    let store =
        format!("service-account-registry add-config --username {name} --namespace {namespace}");
    let Some(secret) = secret else {
        if keeper == Keeper::Hub {
            return Vec::new();
        }
        let message = format!(
            "Secret {secret_name} does not exist, so {name} has no properties, and add-config fails"
        );
        let advice = format!(
            "kubectl --namespace {namespace} create secret generic {secret_name}; then {store} --conf …"
        );
        return vec![Finding::failed(message, advice)];
    };
    let data = secret.data.unwrap_or_default();
    if data.is_empty() && keeper == Keeper::Spark8t {
        let message = format!(
            "Secret {secret_name} is empty: nothing was stored, or an add-config that was refused has wiped it"
        );
        return vec![Finding::unknown(
            message,
            format!("store what it is to hold: {store} --conf …"),
        )];
    }
    let (mut findings, mut stored, mut is_readable) = (Vec::new(), Properties::new(), true);
    for (key, value) in data {
        let remove = format!(
            r#"kubectl --namespace {namespace} patch secret {secret_name} --type json --patch '[{{"op":"remove","path":"/data/{key}"}}]'"#
        );
        let again = match keeper {
            Keeper::Hub => "the integration hub writes it again",
            Keeper::Spark8t => "then store it again by service-account-registry add-config",
        };
        let property = secret_key::property(&key);
        if property.is_none() {
            let message = format!(
                "key {key} of Secret {secret_name} is none that spark8t writes, and its property is lost"
            );
            findings.push(Finding::failed(message, format!("{remove}; {again}")));
        }
        match (property, String::from_utf8(value.0)) {
            (Some(property), Ok(value)) => {
                stored.insert(property, Stored { value: as_spark_reads(&value), by: keeper });
            }
            (None, Ok(_)) => {}
            (_, Err(_)) => {
                is_readable = false;
                let message = format!(
                    "the value of {key} in Secret {secret_name} is not UTF-8, and spark8t reads the Secret as empty"
                );
                findings.push(Finding::failed(message, format!("{remove}; {again}")));
            }
        }
    }
    if is_readable {
        for (property, mut stored) in stored {
            // spark8t joins Java options, and only those. For each `-D`, the last wins.
            if property.ends_with("JavaOptions")
                && let Some(earlier) = properties.get(&property)
            {
                stored.value = format!("{} {}", earlier.value, stored.value);
            }
            properties.insert(property, stored);
        }
    }
    findings
}

/// A value as Spark reads it from the properties file that spark8t writes: a backslash escapes.
fn as_spark_reads(value: &str) -> String {
    let (mut read, mut rest) = (String::with_capacity(value.len()), value.trim().chars());
    while let Some(character) = rest.next() {
        let escaped = if character == '\\' { rest.next() } else { None };
        read.extend(match escaped {
            None if character == '\\' => None,
            None => Some(character),
            Some('t') => Some('\t'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('f') => Some('\u{c}'),
            Some('u') => {
                let digits: String = rest.by_ref().take(4).collect();
                u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32)
            }
            Some(other) => Some(other),
        });
    }
    read
}

/// The annotations with our prefixes on pods of a role.
pub(super) fn annotations(properties: &Properties, role: Role) -> Vec<(&str, &Stored)> {
    let start = format!("spark.kubernetes.{role}.annotation.");
    let annotations = properties
        .iter()
        .filter_map(|(property, stored)| Some((property.strip_prefix(&start)?, stored)));
    annotations.filter(|(key, _)| PrefixedKey::parse(key).is_some()).collect()
}

/// The path in the last `-Djavax.net.ssl.trustStore=` of a role.
pub(super) fn truststore(properties: &Properties, role: Role) -> Option<&str> {
    let options = ["defaultJavaOptions", "extraJavaOptions"]
        .map(|name| properties.get(&format!("spark.{role}.{name}")));
    let words =
        options.into_iter().flatten().flat_map(|stored| stored.value.split_ascii_whitespace());
    words.filter_map(|word| word.strip_prefix("-Djavax.net.ssl.trustStore=")).next_back()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn account() -> Account {
        "n:etl".parse().unwrap()
    }

    fn secret(data: &[(&str, &[u8])]) -> Secret {
        let data: BTreeMap<_, _> = data
            .iter()
            .map(|(key, value)| (*key, base64_simd::STANDARD.encode_to_string(value)))
            .collect();
        serde_json::from_value(json!({"data": data})).unwrap()
    }

    fn lines(findings: &[Finding]) -> Vec<String> {
        findings
            .iter()
            .map(|Finding { status, message, .. }| format!("{} {message}", status.as_str()))
            .collect()
    }

    #[test]
    fn an_account_has_a_namespace_and_a_name() {
        assert_eq!(account(), Account { namespace: "n".to_owned(), name: "etl".to_owned() });
        for wrong in ["etl", ":etl", "n:", ""] {
            assert_eq!(wrong.parse::<Account>(), Err("write NAMESPACE:NAME"), "{wrong}");
        }
    }

    #[test]
    fn a_half_written_secret_is_named_with_what_to_do() {
        let half = secret(&[("spark.a", b"1"), ("spark_zz", b"2")]);
        let binary = secret(&[("spark.a", b"1"), ("spark.b", b"\xff")]);
        for (keeper, secret, expected, kept) in [
            (Keeper::Hub, None, "", 0),
            (Keeper::Hub, Some(secret(&[])), "", 0),
            (
                Keeper::Spark8t,
                None,
                "failed Secret spark8t-sa-conf-etl does not exist, so etl has no properties",
                0,
            ),
            (
                Keeper::Spark8t,
                Some(secret(&[])),
                "unknown Secret spark8t-sa-conf-etl is empty: nothing was stored, or",
                0,
            ),
            (
                Keeper::Spark8t,
                Some(half),
                "failed key spark_zz of Secret spark8t-sa-conf-etl is none that spark8t writes",
                1,
            ),
            (
                Keeper::Hub,
                Some(binary),
                "failed the value of spark.b in Secret integrator-hub-conf-etl is not UTF-8",
                0,
            ),
        ] {
            let mut properties = Properties::new();
            let findings = read(&account(), keeper, secret, &mut properties);
            let shown = lines(&findings).join("\n");
            assert!(
                shown.starts_with(expected) && shown.is_empty() == expected.is_empty(),
                "{expected}: {shown}"
            );
            assert_eq!(properties.len(), kept, "{expected}");
            assert!(findings.iter().all(|finding| !finding.advice.is_empty()));
        }
    }

    #[test]
    fn the_accounts_own_property_wins_over_the_hubs_and_java_options_are_joined() {
        let mut properties = Properties::new();
        let option = "spark.driver.extraJavaOptions";
        let hub = secret(&[
            ("spark.a", b"hub"),
            ("spark.b", b"hub"),
            (option, b"-Dx=hub -Djavax.net.ssl.trustStore=/t/t.jks"),
        ]);
        read(&account(), Keeper::Hub, Some(hub), &mut properties);
        read(
            &account(),
            Keeper::Spark8t,
            Some(secret(&[("spark.a", b"own"), (option, b"-Dx=own")])),
            &mut properties,
        );
        let value = |property: &str| properties[property].value.as_str();
        assert_eq!((value("spark.a"), value("spark.b")), ("own", "hub"));
        assert_eq!(value(option), "-Dx=hub -Djavax.net.ssl.trustStore=/t/t.jks -Dx=own");
        assert_eq!(truststore(&properties, Role::Driver), Some("/t/t.jks"));
        assert_eq!(truststore(&properties, Role::Executor), None);
        for (value, expected) in [
            (" /a ", "/a"),
            (r"/a\\b", r"/a\b"),
            (r"/a\b", "/ab"),
            (r"\\\\", r"\\"),
            ("", ""),
            (r"/a\tb", "/a\tb"),
            (r"/a\u0062\", "/ab"),
        ] {
            assert_eq!(as_spark_reads(value), expected, "{value}");
        }
    }
}
