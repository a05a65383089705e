//! Lists of globs, as rules name namespaces and objects.

use std::fmt;

use crate::text::Excerpt;

/// Globs with `*` (any characters) and `?` (one character); those that begin with `!` exclude,
/// wherever they stand.
///
/// A list of excluding globs only is everything that they do not exclude, and so is none at all,
/// the default.
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

    /// Whether both lists may name the same. Where only some of what a glob matches is excluded,
    /// they may.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let is_excluded = |glob: &str| {
            self.excluding.iter().chain(&other.excluding).any(|excluding| covers(excluding, glob))
        };
        let has_common = |one: &str, other: &str| {
            intersect(one, other) && !is_excluded(one) && !is_excluded(other)
        };
        self.included().any(|one| other.included().any(|other| has_common(one, other)))
    }

    fn included(&self) -> impl Iterator<Item = &str> {
        let every = if self.including.is_empty() { Some("*") } else { None };
        self.including.iter().map(String::as_str).chain(every)
    }

    /// Whether the list names a text.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        let Self { including, excluding } = self;
        (including.is_empty() || including.iter().any(|glob| matches(glob, text)))
            && !excluding.iter().any(|glob| matches(glob, text))
    }

    /// A CEL expression that is true for the texts that [`Globs::contains`]; `text` is an
    /// expression itself.
    #[must_use]
    pub fn to_cel(&self, text: &str) -> String {
        let any = |globs: &[String]| {
            globs
                .iter()
                .map(|glob| format!("{text}.matches('{}')", to_regex(glob)))
                .collect::<Vec<_>>()
                .join(" || ")
        };
        match (&*self.including, &*self.excluding) {
            ([], []) => "true".to_owned(),
            (including, []) => format!("({})", any(including)),
            ([], excluding) => format!("!({})", any(excluding)),
            (including, excluding) => format!("(({}) && !({}))", any(including), any(excluding)),
        }
    }
}

/// In words: `any`, or `spark-*, except spark-admin-*`.
impl fmt::Display for Globs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { including, excluding } = self;
        let is_any = including.is_empty() || including.iter().any(|glob| glob == "*");
        f.write_str(&if is_any { "any".to_owned() } else { including.join(", ") })?;
        if excluding.is_empty() { Ok(()) } else { write!(f, ", except {}", excluding.join(", ")) }
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
        let meant =
            glob.replace(".*", "*").replace('_', "-").replace(['^', '$'], "").to_ascii_lowercase();
        let instead =
            if self.can_match(&meant) { quoted(&meant) } else { "\"*\" or a name".to_owned() };
        let glob = quoted(glob);
        Err(format!(
            "no {what} matches {glob}: these are globs (* and ?) of {characters}; write {instead}"
        ))
    }

    fn can_match(self, glob: &str) -> bool {
        let glob = glob.strip_prefix('!').unwrap_or(glob);
        let (is_dotted, longest) = match self {
            Self::Namespaces => (false, 63),
            Self::Objects => (true, 253),
        };
        let is_part = |c: char| {
            c.is_ascii_lowercase()
                || c.is_ascii_digit()
                || "-*?".contains(c)
                || (is_dotted && c == '.')
        };
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

/// Whether a name may match both globs.
fn intersect(one: &str, other: &str) -> bool {
    let may_be = |one: u8, other: u8| one == other || one == b'?' || other == b'?';
    // Most are names.
    if !one.contains(['*', '?']) && !other.contains(['*', '?']) {
        return one == other;
    }
    let (Some((start, _)), Some((other_start, _))) = (one.split_once('*'), other.split_once('*'))
    else {
        // The one without `*` is a name, but for its `?`.
        let (glob, name) = if one.contains('*') { (one, other) } else { (other, one) };
        return matches_by(glob, name, may_be);
    };
    // Each can take all of the other's middle into its `*`, so only the ends matter.
    let ends =
        |glob: &str| glob.rsplit('*').next().unwrap_or_default().bytes().rev().collect::<Vec<u8>>();
    start.bytes().zip(other_start.bytes()).all(|(one, other)| may_be(one, other))
        && ends(one).into_iter().zip(ends(other)).all(|(one, other)| may_be(one, other))
}

/// Whether a glob matches all that another one does. It may also where this says no.
fn covers(glob: &str, other: &str) -> bool {
    // As a text, the other's `*` is one character, but it stands for any number.
    !(glob.contains('?') && other.contains('*')) && matches(glob, other)
}

fn matches(glob: &str, text: &str) -> bool {
    matches_by(glob, text, |glob, text| glob == text || glob == b'?')
}

/// Remembers the last `*`, and lets it take one character more where the rest does not match: no
/// more than length times length steps, whatever the glob.
fn matches_by(glob: &str, text: &str, is_one: impl Fn(u8, u8) -> bool) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(from) {
        match glob.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(expected) if is_one(*expected, *byte) => {
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
    fn in_words() {
        for (list, expected) in [
            (&[][..], "any"),
            (&["*"], "any"),
            (&["a", "*"], "any"),
            (&["team-*", "other"], "team-*, other"),
            (&["spark-*", "!spark-admin-*"], "spark-*, except spark-admin-*"),
            (&["!a", "!b"], "any, except a, b"),
        ] {
            assert_eq!(globs(list).to_string(), expected);
        }
    }

    #[test]
    fn lists_overlap_where_a_name_may_be_in_both() {
        for (one, other, expected) in [
            (&[][..], &[][..], true),
            (&["a"], &[], true),
            (&["a"], &["a"], true),
            (&["a"], &["b"], false),
            (&["a", "b"], &["b", "c"], true),
            (&["a", "b"], &["c", "d"], false),
            (&["team-*"], &["team-a"], true),
            (&["team-*"], &["other"], false),
            (&["team-*"], &["*-prod"], true),
            (&["team-*"], &["other-*"], false),
            (&["*-prod"], &["*-test"], false),
            (&["a*b*c"], &["a*d*c"], true),
            (&["a?c"], &["ab*"], true),
            (&["a?c"], &["a??"], true),
            (&["a?c"], &["a?"], false),
            (&["a?"], &["*b"], true),
            (&["a?"], &["*bc"], false),
            // What one of them excludes is in none.
            (&["team-*"], &["!team-*"], false),
            (&["team-a"], &["!team-*"], false),
            (&["team-a"], &["team-*", "!team-a"], false),
            (&["team-*", "!team-legacy"], &["team-legacy"], false),
            (&["team-*", "!team-legacy"], &["team-*"], true),
            (&["!a"], &["!b"], true),
            (&["*"], &["!*"], false),
            (&["team-?"], &["!team-*"], false),
            // A `*` may be more than one character.
            (&["team-*"], &["!team-?"], true),
        ] {
            let (one, other) = (globs(one), globs(other));
            assert_eq!(
                (one.overlaps(&other), other.overlaps(&one)),
                (expected, expected),
                "{one:?} {other:?}"
            );
        }
    }

    /// All words of these letters, up to a length.
    fn words(letters: &[char], length: usize) -> Vec<String> {
        let mut words = vec![String::new()];
        for start in 0.. {
            match words.get(start).cloned() {
                Some(word) if word.len() < length => {
                    words.extend(letters.iter().map(|letter| format!("{word}{letter}")));
                }
                _ => break,
            }
        }
        words.split_off(1)
    }

    #[test]
    fn short_lists_overlap_if_a_short_name_is_in_both() {
        let names = words(&['a', 'b'], 4);
        let short = words(&['a', 'b', '*', '?'], 3);
        for one in &short {
            let one_list = globs(&[one]);
            for other in &short {
                let has_name = |other: &Globs| {
                    names.iter().any(|name| one_list.contains(name) && other.contains(name))
                };
                let plain = globs(&[other]);
                assert_eq!(one_list.overlaps(&plain), has_name(&plain), "{one} {other}");
                let excluding = globs(&["a*", &format!("!{other}")]);
                assert!(
                    one_list.overlaps(&excluding) || !has_name(&excluding),
                    "{one} {excluding:?}"
                );
            }
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
            assert_eq!(
                named.check(glob),
                Err(format!("{}{instead}", text.replace("{}", glob))),
                "{glob}"
            );
        }
        for glob in ["*", "team-*", "!team-legacy", "?", "a?c", "*-prod", "0", &long[1..]] {
            assert_eq!(Named::Namespaces.check(glob), Ok(()), "{glob}");
        }
        for glob in ["*", "a.b", "!spark-admin-*", "*.conf", &long] {
            assert_eq!(Named::Objects.check(glob), Ok(()), "{glob}");
        }
    }
}
