//! Labels and annotations.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::json::MAX_ELEMENTS;
use crate::text::Text;

/// A map of strings, kept as pairs in the order in which they were written: the first
/// [`MAX_ELEMENTS`], and of the others those that tell whether the pod is ours.
#[derive(Debug, Default)]
pub struct Pairs<'a> {
    kept: Vec<(Text<'a>, Text<'a>)>,
    bytes: usize,
    is_cut: bool,
}

/// What is kept of a map however late it comes: a key, or where it ends with a slash the first key
/// that begins with it. A pod that is too large must not pass for one that is not ours.
const ALWAYS_KEPT: [&str; 5] = [
    "spark-role",
    "kubernetes.io/config.mirror",
    "spark-operator.k8s.io/injected",
    "spark-operator.k8s.io/",
    "sparkoperator.k8s.io/",
];

impl Pairs<'_> {
    /// The pairs that are kept.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.kept.iter().map(|(key, value)| (&**key, &**value))
    }

    /// How many bytes all keys and values are together, also of pairs that are not kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there are pairs that are not kept.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find_map(|(name, value)| (name == key).then_some(value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;

        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // Spark sets four labels, and a pod that asks for something has a few annotations:
                // one allocation for most.
                let mut pairs = Pairs { kept: Vec::with_capacity(8), ..Pairs::default() };
                let mut late = 0;
                while let Some((key, value)) = map.next_entry::<Text, Text>()? {
                    pairs.bytes += key.len() + value.len();
                    if pairs.kept.len() < MAX_ELEMENTS || is_kept_late(&key, &mut late) {
                        pairs.kept.push((key, value));
                    } else {
                        pairs.is_cut = true;
                    }
                }
                Ok(pairs)
            }
        }

        deserializer.deserialize_map(PairsVisitor)
    }
}

/// Whether a key is the first of those that are kept late. Which of them have come is a bit each.
#[cold]
fn is_kept_late(key: &str, come: &mut u8) -> bool {
    let is_it = |kept: &str| key == kept || kept.ends_with('/') && key.starts_with(kept);
    let bits =
        ALWAYS_KEPT.iter().enumerate().filter(|(_, kept)| is_it(kept)).map(|(index, _)| 1 << index);
    let first = bits.into_iter().find(|bit| *come & bit == 0);
    *come |= first.unwrap_or_default();
    first.is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn of_a_map_that_is_too_large_what_tells_whose_the_pod_is_is_kept() {
        let late = [
            "spark-operator.k8s.io/configMap.a",
            "spark-operator.k8s.io/configMap.b",
            "spark-operator.k8s.io/injected",
            "sparkoperator.k8s.io/x",
            "sparkoperator.k8s.io/y",
            "kubernetes.io/config.mirror",
            "spark-role",
            "spark-roles",
        ];
        for (before, kept) in [
            (MAX_ELEMENTS - late.len(), &late[..]),
            (MAX_ELEMENTS, &[late[0], late[2], late[3], late[5], late[6]]),
            (2 * MAX_ELEMENTS, &[late[0], late[2], late[3], late[5], late[6]]),
        ] {
            let keys =
                (0..before).map(|number| format!("a{number:05}")).chain(late.map(str::to_owned));
            let map: serde_json::Map<String, Value> = keys.map(|key| (key, json!("v"))).collect();
            let bytes: usize = map.keys().map(|key| key.len() + 1).sum();
            let text = Value::from(map).to_string();
            let pairs: Pairs = serde_json::from_str(&text).unwrap();
            let found: Vec<&str> =
                pairs.iter().map(|(key, _)| key).skip(before.min(MAX_ELEMENTS)).collect();
            assert_eq!(
                (found, pairs.is_cut(), pairs.bytes()),
                (kept.to_vec(), before + late.len() > MAX_ELEMENTS, bytes)
            );
        }
    }
}
