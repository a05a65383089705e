//! Which annotation a key is: two prefixes, the keys under them and their second spellings.
//!
//! The first prefix and spelling are those of the 2017 initializer, the second those of the webhook
//! of 2018. Both mean the same under either prefix, and the first of each wins where both are
//! there.

use std::fmt;

use crate::request::kind::KINDS;
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

impl Key<'_> {
    /// The beginning of what its order is made of. Most comparisons of two keys end here, without
    /// a look at their names.
    pub(super) fn place(&self) -> u64 {
        let (first, name) = match *self {
            Key::Request(kind, name) => (kind as u8, name),
            Key::List(kind) => (0x10 | kind as u8, ""),
            Key::Container => (0x20, ""),
            Key::Injected => (0x21, ""),
            Key::Legacy(_) => (0x22, ""),
            Key::Unknown => (0x23, ""),
        };
        let mut bytes = [0; 8];
        bytes
            .iter_mut()
            .zip([first].into_iter().chain(name.bytes()))
            .for_each(|(to, from)| *to = from);
        u64::from_be_bytes(bytes)
    }
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
        Annotation::new(self.shown, value)
    }

    /// The documented key that this one is nearest to, for a hint at what was meant; none where
    /// more than a third of the letters would have to change.
    #[must_use]
    pub fn nearest(&self) -> Option<Documented> {
        let name = self.shown.rsplit('/').next().unwrap_or_default();
        let head = name.split('.').next().unwrap_or_default().trim();
        // A key is at most 63 characters after its prefix once the API server has accepted it;
        // longer ones are nothing's typo.
        let head: Vec<char> = head.chars().take(64).flat_map(char::to_lowercase).collect();
        let most = head.len() / 3;
        let distances = documented().filter_map(|documented| {
            let Documented { key, is_named } = documented;
            let differs_in_form = is_named != name.contains('.');
            // As many letters as one is longer than the other would have to change.
            let distance = if key.len().abs_diff(head.len()) > most {
                None
            } else {
                Some(edit_distance(&head, key))
            };
            Some((distance.filter(|distance| *distance <= most)?, differs_in_form, documented))
        });
        distances
            .min_by_key(|(distance, differs_in_form, _)| (*distance, *differs_in_form))
            .map(|(.., nearest)| nearest)
    }
}

/// A key that documentation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Documented {
    key: &'static str,
    is_named: bool,
}

impl Documented {
    /// The one to show where no key is near.
    pub const FIRST: Self = Self { key: KINDS[0].key, is_named: false };
}

impl fmt::Display for Documented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key)?;
        if self.is_named { f.write_str(".NAME") } else { Ok(()) }
    }
}

const CONTAINER: &str = "container";

/// Every key that a person may write, first spellings.
fn documented() -> impl Iterator<Item = Documented> {
    let kinds =
        KINDS.iter().map(|spec| Documented { key: spec.key, is_named: spec.is_named_in_key() });
    let lists = KINDS.iter().filter_map(|spec| spec.list).map(|list| list.key);
    kinds.chain(lists.chain([CONTAINER]).map(|key| Documented { key, is_named: false }))
}

/// What a name under one of the prefixes means, and the rank of its spelling.
fn parse_name(name: &str) -> (Key<'_>, u8) {
    let (head, object) =
        name.split_once('.').map_or((name, None), |(head, object)| (head, Some(object)));
    let rank = |first: &str, second: Option<&str>| match head {
        _ if head == first => Some(0),
        _ if second == Some(head) => Some(1),
        _ => None,
    };
    for spec in &KINDS {
        if spec.is_named_in_key() == object.is_some()
            && let Some(rank) = rank(spec.key, spec.alias)
        {
            return (Key::Request(spec.kind, object.unwrap_or_default()), rank);
        }
        if let Some(list) = spec.list.filter(|_| object.is_none())
            && let Some(rank) = rank(list.key, list.alias)
        {
            return (Key::List(spec.kind), rank);
        }
    }
    let instead = match (head, object) {
        (CONTAINER, None) => return (Key::Container, 0),
        ("injected", None) => return (Key::Injected, 0),
        ("ownerReference" | "ownerreference", None) => "Spark sets owner references itself",
        ("affinity", None) | ("tolerations", Some(_)) => "use a pod template",
        ("volumes" | "volumemounts", Some(_)) => {
            "use configMap.NAME, secret.NAME or spark.kubernetes.*.volumes.*"
        }
        _ => return (Key::Unknown, 0),
    };
    (Key::Legacy(Legacy { instead }), 0)
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
    fn the_place_of_a_key_agrees_with_its_order() {
        let names = ["", "a", "a.b", "abcdefg", "abcdefgh", "abcdefgi", "b", "\u{ff}", "\u{0}"];
        let secrets = names.map(|name| Key::Request(Kind::Secret, name)).into_iter();
        let legacy = Key::Legacy(Legacy { instead: "" });
        let others = [
            Key::Request(Kind::SparkConfigMap, ""),
            Key::Request(Kind::HadoopDelegationToken, "a"),
            Key::List(Kind::ConfigMap),
            Key::List(Kind::Secret),
            Key::Container,
            Key::Injected,
            legacy,
            Key::Unknown,
        ];
        let keys: Vec<Key> = secrets.chain(others).collect();
        for one in &keys {
            for other in &keys {
                assert_eq!(one.cmp(other), (one.place(), one).cmp(&(other.place(), other)));
            }
        }
        assert!(Key::Request(Kind::Secret, "a").place() < Key::Request(Kind::Secret, "b").place());
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
                    PrefixedKey::parse(&format!("{prefix}{written}"))
                        .unwrap()
                        .nearest()
                        .unwrap()
                        .to_string(),
                    meant,
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
            PrefixedKey::parse("spark-operator.k8s.io/xxxtainer")
                .unwrap()
                .nearest()
                .unwrap()
                .to_string(),
            "container"
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
