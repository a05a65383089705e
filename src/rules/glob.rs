//! Lists of globs, as rules name namespaces and objects.

use serde::{Deserialize, Deserializer};

/// Globs with `*` (any characters) and `?` (one character); those that begin with `!` exclude, wherever they stand.
///
/// A list of excluding globs only is everything that they do not exclude, and so is none at all, the default. An empty list
/// would say nothing clearly, and is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Globs {
    including: Vec<String>,
    excluding: Vec<String>,
}

impl Globs {
    /// Whether the list names a text.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        let Self { including, excluding } = self;
        (including.is_empty() || including.iter().any(|glob| matches(glob, text)))
            && !excluding.iter().any(|glob| matches(glob, text))
    }

    /// A CEL expression that is true for the texts that [`Globs::contains`]; `text` is an expression itself.
    #[must_use]
    pub fn to_cel(&self, text: &str) -> String {
        let any = |globs: &[String]| {
            globs.iter().map(|glob| format!("{text}.matches('{}')", to_regex(glob))).collect::<Vec<_>>().join(" || ")
        };
        match (&*self.including, &*self.excluding) {
            ([], []) => "true".to_owned(),
            (including, []) => format!("({})", any(including)),
            ([], excluding) => format!("!({})", any(excluding)),
            (including, excluding) => format!("(({}) && !({}))", any(including), any(excluding)),
        }
    }
}

impl<'de> Deserialize<'de> for Globs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let globs = Vec::<String>::deserialize(deserializer)?;
        let is_glob = |glob: &str| {
            !glob.is_empty() && glob.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '*' | '?'))
        };
        if globs.is_empty() {
            return Err(serde::de::Error::custom("an empty list names nothing, remove it or write [\"*\"]"));
        }
        let mut list = Self::default();
        for glob in globs {
            let (globs, glob) = match glob.strip_prefix('!') {
                Some(glob) => (&mut list.excluding, glob),
                None => (&mut list.including, &*glob),
            };
            if !is_glob(glob) {
                let reason = format!(
                    "{glob:?} is no glob of names, write letters, digits, \"-\", \".\", \"*\" and \"?\", or \"!\" before them"
                );
                return Err(serde::de::Error::custom(reason));
            }
            globs.push(glob.to_owned());
        }
        Ok(list)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Globs {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Globs".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Globs with * and ?; those that begin with ! exclude",
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "pattern": "^!?[A-Za-z0-9.*?-]+$"},
        })
    }
}

/// Remembers the last `*`, and lets it take one character more where the rest does not match: no more than length times length
/// steps, whatever the glob.
fn matches(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(from) {
        match glob.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(b'?') => {
                at += 1;
                from += 1;
            }
            Some(expected) if expected == byte => {
                at += 1;
                from += 1;
            }
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    at = star_at + 1;
                    from = taken + 1;
                }
                None => return false,
            },
        }
    }
    glob.get(at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

/// In RE2's syntax, as CEL has it.
fn to_regex(glob: &str) -> String {
    let mut regex = String::from("^");
    for character in glob.chars() {
        match character {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '.' => regex.push_str("[.]"),
            other => regex.push(other),
        }
    }
    regex.push('$');
    regex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(list: &[&str]) -> Globs {
        serde_json::from_value(serde_json::json!(list)).unwrap()
    }

    #[test]
    fn a_negative_wins_in_any_order() {
        for (list, text, expected) in [
            (&["team-*"][..], "team-a", true),
            (&["team-*"], "team-", true),
            (&["team-*"], "my-team-a", false),
            (&["team-*", "!team-legacy"], "team-legacy", false),
            (&["!team-legacy", "team-*"], "team-legacy", false),
            (&["!team-legacy", "team-*"], "team-new", true),
            (&["!team-*"], "team-a", false),
            (&["!team-*"], "other", true),
            (&["a?c"], "abc", true),
            (&["a?c"], "ac", false),
            (&["*-prod", "*-test"], "a-test", true),
            (&["a*b*c"], "axxbyybzzc", true),
            (&["a*b*c"], "axxbyy", false),
            (&["*"], "", true),
        ] {
            assert_eq!(globs(list).contains(text), expected, "{list:?} {text}");
        }
    }

    #[test]
    fn cel_says_the_same() {
        assert_eq!(Globs::default().to_cel("n"), "true");
        assert!(Globs::default().contains("anything"));
        assert_eq!(globs(&["team-*"]).to_cel("n"), "(n.matches('^team-.*$'))");
        assert_eq!(
            globs(&["a.b", "c?", "!d"]).to_cel("n"),
            "((n.matches('^a[.]b$') || n.matches('^c.$')) && !(n.matches('^d$')))"
        );
        assert_eq!(globs(&["!d"]).to_cel("n"), "!(n.matches('^d$'))");
    }

    #[test]
    fn what_is_no_glob_is_refused() {
        for glob in ["", "!", "a b", "a'b", "[a]", "a/b"] {
            assert!(serde_json::from_value::<Globs>(serde_json::json!([glob])).is_err(), "{glob}");
        }
        assert!(serde_json::from_value::<Globs>(serde_json::json!([])).is_err());
    }
}
