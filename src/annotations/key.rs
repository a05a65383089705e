//! Which annotation a key is: two prefixes, the keys under them and their second spellings.
//!
//! The first prefix and spelling are those of the 2017 initializer, the second those of the webhook
//! of 2018. Both mean the same under either prefix, and the first of each wins where both are
//! there.

use crate::request::{Annotation, Kind, PREFIXES};

/// What a key asks for, with the NAME that stands in the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key<'a> {
    /// A request for mounts.
    Request(Kind, &'a str),
    /// Several requests in one value.
    List(Kind),
    /// The name of Spark's container.
    Container,
    /// What the webhook wrote; nothing is asked by it.
    Injected,
    /// Written by CRD controllers up to v1beta1-0.7.1; not acted on.
    Legacy(Legacy),
    /// Not ours, though the prefix is.
    Unknown,
}

/// Keys whose values were base64 protobuf, and what does their work today.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Legacy {
    /// What to use instead.
    pub instead: &'static str,
}

/// A key under one of our prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrefixedKey<'a> {
    /// What it asks for.
    pub key: Key<'a>,
    /// 0 to 3: first prefix before second, within it first spelling before second. The lower wins.
    pub rank: u8,
    /// How problems show it: as it was written, without the first prefix.
    shown: &'a str,
}

impl<'a> PrefixedKey<'a> {
    /// Reads an annotation's whole key; `None` where the prefix is not ours.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let [first, second] = PREFIXES;
        let (prefix_rank, name, shown) = if let Some(name) = text.strip_prefix(first) {
            (0, name, name)
        } else {
            (2, text.strip_prefix(second)?, text)
        };
        let (key, spelling_rank) = match parse_name(name) {
            // Only the webhook writes it, and only under the first prefix.
            (Key::Injected, _) if prefix_rank != 0 => (Key::Unknown, 0),
            parsed => parsed,
        };
        let shown = if name.is_empty() { text } else { shown };
        Some(Self { key, rank: prefix_rank + spelling_rank, shown })
    }

    /// The annotation as problems show it.
    #[must_use]
    pub fn annotation(&self, value: &'a str) -> Annotation<'a> {
        Annotation { key: self.shown, value }
    }

    /// The documented key that this one is nearest to, for a hint at what was meant; none where
    /// more than a third of the letters would have to change.
    #[must_use]
    pub fn nearest(&self) -> Option<&'static str> {
        let name = self.shown.rsplit('/').next().unwrap_or_default();
        let head = name.split('.').next().unwrap_or_default().trim();
        // A key is at most 63 characters after its prefix once the API server has accepted it;
        // longer ones are nothing's typo.
        let head: Vec<char> = head.chars().take(64).flat_map(char::to_lowercase).collect();
        let most = head.len() / 3;
        let distances = DOCUMENTED.into_iter().filter_map(|documented| {
            let (documented_head, is_named) =
                documented.split_once('.').map_or((documented, false), |(head, _)| (head, true));
            let differs_in_form = is_named != name.contains('.');
            // As many letters as one is longer than the other would have to change.
            let distance = if documented_head.len().abs_diff(head.len()) > most {
                None
            } else {
                Some(edit_distance(&head, documented_head))
            };
            Some((distance.filter(|distance| *distance <= most)?, differs_in_form, documented))
        });
        distances
            .min_by_key(|(distance, differs_in_form, _)| (*distance, *differs_in_form))
            .map(|(.., nearest)| nearest)
    }
}

/// Every key that a person may write, first spellings.
const DOCUMENTED: [&str; 9] = [
    "sparkConfigMap",
    "hadoopConfigMap",
    "configMap.NAME",
    "secret.NAME",
    "GCPServiceAccount.NAME",
    "hadoopDelegationToken.NAME",
    "configMaps",
    "secrets",
    "container",
];

fn parse_name(name: &str) -> (Key<'_>, u8) {
    match name {
        "sparkConfigMap" => (Key::Request(Kind::SparkConfigMap, ""), 0),
        "spark-configmap" => (Key::Request(Kind::SparkConfigMap, ""), 1),
        "hadoopConfigMap" => (Key::Request(Kind::HadoopConfigMap, ""), 0),
        "hadoop-configmap" => (Key::Request(Kind::HadoopConfigMap, ""), 1),
        "configMaps" => (Key::List(Kind::ConfigMap), 0),
        "configmaps" => (Key::List(Kind::ConfigMap), 1),
        "secrets" => (Key::List(Kind::Secret), 0),
        "container" => (Key::Container, 0),
        "injected" => (Key::Injected, 0),
        "ownerReference" | "ownerreference" => {
            (Key::Legacy(Legacy { instead: "Spark sets owner references itself" }), 0)
        }
        "affinity" => (Key::Legacy(Legacy { instead: "use a pod template" }), 0),
        _ => parse_dotted(name),
    }
}

fn parse_dotted(name: &str) -> (Key<'_>, u8) {
    let Some((head, object)) = name.split_once('.') else {
        return (Key::Unknown, 0);
    };
    match head {
        "configMap" => (Key::Request(Kind::ConfigMap, object), 0),
        "configmap" => (Key::Request(Kind::ConfigMap, object), 1),
        "secret" => (Key::Request(Kind::Secret, object), 0),
        "GCPServiceAccount" => (Key::Request(Kind::GcpServiceAccount, object), 0),
        "gcp-service-account" => (Key::Request(Kind::GcpServiceAccount, object), 1),
        "hadoopDelegationToken" => (Key::Request(Kind::HadoopDelegationToken, object), 0),
        "hadoop-delegation-token" => (Key::Request(Kind::HadoopDelegationToken, object), 1),
        "volumes" | "volumemounts" => (
            Key::Legacy(Legacy {
                instead: "use configMap.NAME, secret.NAME or spark.kubernetes.*.volumes.*",
            }),
            0,
        ),
        "tolerations" => (Key::Legacy(Legacy { instead: "use a pod template" }), 0),
        _ => (Key::Unknown, 0),
    }
}

/// Levenshtein's: how many characters must be inserted, removed or replaced. A documented key is
/// ASCII; its case does not count.
fn edit_distance(from: &[char], documented: &str) -> usize {
    let mut row: Vec<usize> = (0..=documented.len()).collect();
    for from_char in from {
        // The row becomes the next one from left to right. Of the row itself, the value to the left
        // of a place is kept.
        let Some((first, others)) = row.split_first_mut() else { break };
        let mut diagonal = *first;
        *first += 1;
        let mut left = *first;
        for (above, documented_char) in others.iter_mut().zip(documented.bytes()) {
            let replaced = diagonal
                + usize::from(*from_char != char::from(documented_char.to_ascii_lowercase()));
            diagonal = *above;
            left = replaced.min(*above + 1).min(left + 1);
            *above = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::INJECTED;

    #[test]
    fn each_key_under_each_prefix_and_spelling() {
        for (name, key, spelling) in [
            ("sparkConfigMap", Key::Request(Kind::SparkConfigMap, ""), 0),
            ("spark-configmap", Key::Request(Kind::SparkConfigMap, ""), 1),
            ("hadoopConfigMap", Key::Request(Kind::HadoopConfigMap, ""), 0),
            ("hadoop-configmap", Key::Request(Kind::HadoopConfigMap, ""), 1),
            ("configMap.app", Key::Request(Kind::ConfigMap, "app"), 0),
            ("configMap.more.dotted.name", Key::Request(Kind::ConfigMap, "more.dotted.name"), 0),
            ("configmap.app", Key::Request(Kind::ConfigMap, "app"), 1),
            ("configMap.", Key::Request(Kind::ConfigMap, ""), 0),
            ("secret.s", Key::Request(Kind::Secret, "s"), 0),
            ("GCPServiceAccount.g", Key::Request(Kind::GcpServiceAccount, "g"), 0),
            ("gcp-service-account.g", Key::Request(Kind::GcpServiceAccount, "g"), 1),
            ("hadoopDelegationToken.t", Key::Request(Kind::HadoopDelegationToken, "t"), 0),
            ("hadoop-delegation-token.t", Key::Request(Kind::HadoopDelegationToken, "t"), 1),
            ("configMaps", Key::List(Kind::ConfigMap), 0),
            ("configmaps", Key::List(Kind::ConfigMap), 1),
            ("secrets", Key::List(Kind::Secret), 0),
            ("container", Key::Container, 0),
            ("configMap", Key::Unknown, 0),
            ("Secret.s", Key::Unknown, 0),
            ("", Key::Unknown, 0),
        ] {
            for (prefix, prefix_rank) in PREFIXES.into_iter().zip([0, 2]) {
                let text = format!("{prefix}{name}");
                let parsed = PrefixedKey::parse(&text).unwrap();
                assert_eq!((parsed.key, parsed.rank), (key, prefix_rank + spelling), "{text}");
            }
        }
        for foreign in [
            "prometheus.io/scrape",
            "sparkConfigMap",
            "spark-operator.k8s.io",
            "x/spark-operator.k8s.io/secret.s",
        ] {
            assert_eq!(PrefixedKey::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn injected_is_ours_under_the_first_prefix_only() {
        assert_eq!(PrefixedKey::parse(INJECTED).unwrap().key, Key::Injected);
        assert_eq!(PrefixedKey::parse("sparkoperator.k8s.io/injected").unwrap().key, Key::Unknown);
    }

    #[test]
    fn the_nearest_key_is_what_was_meant() {
        for (written, meant) in [
            ("sparkconfigmap", "sparkConfigMap"),
            ("sparkConfigMap ", "sparkConfigMap"),
            ("hadoop-config-map", "hadoopConfigMap"),
            ("configMap", "configMap.NAME"),
            ("config-map.app", "configMap.NAME"),
            ("Secret.db", "secret.NAME"),
            ("gcpServiceAccount.key", "GCPServiceAccount.NAME"),
            ("containerName", "container"),
            ("hadoopDelegationTokens.t", "hadoopDelegationToken.NAME"),
            // As near to the list as to the key with a name: the dot decides.
            ("secretx", "secrets"),
            ("secretx.db", "secret.NAME"),
            ("configMapz", "configMaps"),
            ("configMapz.app", "configMap.NAME"),
        ] {
            for prefix in PREFIXES {
                assert_eq!(
                    PrefixedKey::parse(&format!("{prefix}{written}")).unwrap().nearest(),
                    Some(meant),
                    "{written}"
                );
            }
        }
    }

    #[test]
    fn a_key_that_is_nothings_typo_gets_no_hint() {
        for written in
            ["app-name", "note", "typo", "x", "", "secrete-names", "sparkconf", "env.VAR"]
        {
            assert_eq!(
                PrefixedKey::parse(&format!("{}{written}", PREFIXES[0])).unwrap().nearest(),
                None,
                "{written}"
            );
        }
        // A third of the letters, and one more.
        assert_eq!(PrefixedKey::parse("spark-operator.k8s.io/xxxxainer").unwrap().nearest(), None);
        assert_eq!(
            PrefixedKey::parse("spark-operator.k8s.io/xxxtainer").unwrap().nearest(),
            Some("container")
        );
    }

    #[test]
    fn edit_distance_counts_single_characters() {
        for (from, to, distance) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abd", 1),
            ("abc", "abcd", 1),
            ("kitten", "sitting", 3),
        ] {
            for (from, to) in [(from, to), (to, from)] {
                assert_eq!(
                    edit_distance(&from.chars().collect::<Vec<_>>(), to),
                    distance,
                    "{from} {to}"
                );
            }
        }
    }
}
