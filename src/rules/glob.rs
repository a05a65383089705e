//! Lists of globs, as rules name namespaces and objects.

use crate::annotations::problem::Excerpt;

/// Globs with `*` (any characters) and `?` (one character); those that begin with `!` exclude, wherever they stand.
///
/// A list of excluding globs only is everything that they do not exclude, and so is none at all, the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Globs {
    including: Vec<String>,
    excluding: Vec<String>,
}

impl Globs {
    pub(super) fn add(&mut self, glob: &str) {
        match glob.strip_prefix('!') {
            Some(glob) => self.excluding.push(glob.to_owned()),
            None => self.including.push(glob.to_owned()),
        }
    }

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

/// What globs name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Named {
    Namespaces,
    /// ConfigMaps and Secrets.
    Objects,
}

impl Named {
    /// Rejects a glob that no name can match: it would select nothing, or with `!` exclude nothing.
    pub(super) fn check(self, glob: &str) -> Result<(), String> {
        if self.can_match(glob) {
            return Ok(());
        }
        let (what, characters) = match self {
            Self::Namespaces => ("namespace", "lower-case letters, digits and \"-\""),
            Self::Objects => ("name", "lower-case letters, digits, \"-\" and \".\""),
        };
        let quoted = |glob: &str| format!("\"{}\"", Excerpt::new(glob, 80));
        // What is likely meant: a regular expression, or a name in capitals.
        let meant = glob.replace(".*", "*").replace('_', "-").replace(['^', '$'], "").to_ascii_lowercase();
        let instead = if self.can_match(&meant) { quoted(&meant) } else { "\"*\" or a name".to_owned() };
        let glob = quoted(glob);
        Err(format!("no {what} matches {glob}: these are globs (* and ?) of {characters}; write {instead}"))
    }

    fn can_match(self, glob: &str) -> bool {
        let glob = glob.strip_prefix('!').unwrap_or(glob);
        let (is_dotted, longest) = match self {
            Self::Namespaces => (false, 63),
            Self::Objects => (true, 253),
        };
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-*?".contains(c) || (is_dotted && c == '.');
        let is_end = |c: char| "-.".contains(c);
        !glob.is_empty()
            && glob.chars().all(is_part)
            && !glob.starts_with(is_end)
            && !glob.ends_with(is_end)
            && glob.chars().filter(|c| *c != '*').count() <= longest
    }
}

/// The schemas of [`Globs`].
#[cfg(test)]
pub(super) struct NamespaceGlobs;
#[cfg(test)]
pub(super) struct ObjectGlobs;

#[cfg(test)]
impl schemars::JsonSchema for NamespaceGlobs {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NamespaceGlobs".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Globs with * and ?; those that begin with ! exclude",
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "pattern": "^!?[a-z0-9*?]([a-z0-9*?-]*[a-z0-9*?])?$"},
        })
    }
}

#[cfg(test)]
impl schemars::JsonSchema for ObjectGlobs {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ObjectGlobs".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Globs with * and ?; those that begin with ! exclude",
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "pattern": "^!?[a-z0-9*?]([a-z0-9.*?-]*[a-z0-9*?])?$"},
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
        let mut globs = Globs::default();
        for glob in list {
            globs.add(glob);
        }
        globs
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
    fn rejects_globs_that_no_name_matches() {
        let namespaces = "no namespace matches \"{}\": these are globs (* and ?) of lower-case letters, digits and \"-\"; write ";
        let objects = "no name matches \"{}\": these are globs (* and ?) of lower-case letters, digits, \"-\" and \".\"; write ";
        let long = "x".repeat(64);
        for (named, text, glob, instead) in [
            (Named::Namespaces, namespaces, "Team-A", "\"team-a\""),
            (Named::Namespaces, namespaces, "!Team-A", "\"!team-a\""),
            (Named::Namespaces, namespaces, "team.*", "\"team*\""),
            (Named::Namespaces, namespaces, "^team-.*$", "\"team-*\""),
            (Named::Namespaces, namespaces, "team_a", "\"team-a\""),
            (Named::Namespaces, namespaces, "a.b", "\"*\" or a name"),
            (Named::Namespaces, namespaces, "team-[ab]", "\"*\" or a name"),
            (Named::Namespaces, namespaces, "-team", "\"*\" or a name"),
            (Named::Namespaces, namespaces, "", "\"*\" or a name"),
            (Named::Namespaces, namespaces, "!", "\"*\" or a name"),
            (Named::Namespaces, namespaces, &long, "\"*\" or a name"),
            (Named::Objects, objects, "Spark-*", "\"spark-*\""),
            (Named::Objects, objects, "a/b", "\"*\" or a name"),
            (Named::Objects, objects, "a'b", "\"*\" or a name"),
            (Named::Objects, objects, "a.", "\"*\" or a name"),
        ] {
            assert_eq!(named.check(glob), Err(format!("{}{instead}", text.replace("{}", glob))), "{glob}");
        }
        for glob in ["*", "team-*", "!team-legacy", "?", "a?c", "*-prod", "0", &long[1..]] {
            assert_eq!(Named::Namespaces.check(glob), Ok(()), "{glob}");
        }
        for glob in ["*", "a.b", "!spark-admin-*", "*.conf", &long] {
            assert_eq!(Named::Objects.check(glob), Ok(()), "{glob}");
        }
    }
}
