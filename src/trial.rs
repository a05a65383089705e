//! The rules file is accepted only after a trial: each default is tried on a pod with nothing in it
//! and on pods as Spark makes them, before there is any pod.
//!
//! The request path itself judges them, so nothing of its rules is repeated here. A default that is
//! not enforced is overridden silently, so the trial takes every default for an enforced one; and it
//! takes it for one that selects every pod.

use std::collections::{BTreeSet, HashMap};

use crate::admission::{OnProblem, Settings};
use crate::annotations::key::{Key, PrefixedKey};
use crate::config::{DefaultRule, Globs, MAX_MISTAKES, Rules, RulesError};
use crate::request::{Claim, Kind, Problem, Severity};
use crate::sample_pod;
use crate::spark::Role;
use crate::yaml::Mistake;

/// The reviews of pods that defaults of a role are tried on.
struct Samples {
    role: Role,
    empty: String,
    spark: String,
}

fn samples() -> [Samples; 2] {
    Role::ALL.map(|role| Samples {
        role,
        empty: sample_pod::review(&sample_pod::empty(role)),
        spark: sample_pod::review(&sample_pod::spark(role)),
    })
}

/// Reads the text of a rules file.
///
/// # Errors
///
/// If any of it is wrong or cannot work. Then none of its rules apply.
pub fn load(text: &str) -> Result<Rules, RulesError> {
    let (rules, mut found) = Rules::parse(text);
    found.extend(mistakes(&rules.defaults));
    if found.is_empty() { Ok(rules) } else { Err(RulesError::new(found)) }
}

/// What an administrator should know about rules that [`load`] accepted, in order of lines.
#[must_use]
pub fn warnings(rules: &Rules) -> Vec<Mistake> {
    let without_namespaces =
        rules.defaults.iter().filter(|rule| rule.namespaces == Globs::default());
    let text = "this default has no namespaces, so creating any Spark pod of the cluster depends on the webhook; write namespaces";
    let cluster_wide =
        without_namespaces.map(|rule| Mistake { line: rule.line, text: text.to_owned() });
    let mut warnings: Vec<Mistake> = cluster_wide.chain(doubts(&rules.defaults)).collect();
    warnings.sort();
    warnings
}

/// Defaults that fail on every pod, conf dirs that fail on every pod of Spark's, and enforced
/// defaults that exclude each other on a pod that both select.
fn mistakes(rules: &[DefaultRule]) -> Vec<Mistake> {
    let samples = samples();
    let mut mistakes = Vec::new();
    let mut enforced = Vec::new();
    for rule in rules {
        let mut failures = rule.failures_everywhere(&samples);
        if rule.keys().any(is_sparks_conf_dir) {
            let on_spark = rule.failures_on_spark(&samples, &failures);
            let is_of_conf_dir = |problem: &Problem| {
                rule.annotation_of(problem).is_some_and(|(key, _)| is_sparks_conf_dir(key))
            };
            failures.extend(on_spark.into_iter().filter(is_of_conf_dir));
        }
        if failures.is_empty() && rule.enforce {
            enforced.push(rule);
        }
        mistakes.extend(failures.iter().map(|problem| rule.mistake(problem)));
    }
    mistakes.extend(conflicts(&enforced, &samples));
    mistakes
}

fn is_sparks_conf_dir(key: &str) -> bool {
    PrefixedKey::parse(key)
        .is_some_and(|key| matches!(key.key, Key::Request(Kind::SPARK_CONF_DIR, _)))
}

/// Defaults that fail on pods as Spark makes them, but not on every pod.
fn doubts(rules: &[DefaultRule]) -> Vec<Mistake> {
    let samples = samples();
    let mut doubts = Vec::new();
    for rule in rules {
        let everywhere = rule.failures_everywhere(&samples);
        for problem in rule.failures_on_spark(&samples, &everywhere) {
            let Mistake { line, text } = rule.mistake(&problem);
            doubts.push(Mistake {
                line,
                text: format!("on pods as Spark makes them, this default fails: {text}"),
            });
        }
    }
    doubts
}

impl DefaultRule {
    fn failures_everywhere(&self, samples: &[Samples]) -> Vec<Problem> {
        // On a pod with nothing in it, the role makes no difference.
        samples.first().map(|samples| errors(&[self], &samples.empty)).unwrap_or_default()
    }

    /// What fails where Spark made the pod, whatever its role, and not everywhere.
    fn failures_on_spark(&self, samples: &[Samples], everywhere: &[Problem]) -> Vec<Problem> {
        let mut of_roles = samples
            .iter()
            .filter(|samples| self.has_role(samples.role))
            .map(|samples| errors(&[self], &samples.spark));
        let is_among = |problems: &[Problem], problem: &Problem| {
            problems.iter().any(|other| self.annotation_of(other) == self.annotation_of(problem))
        };
        let mut failures = of_roles.next().unwrap_or_default();
        failures.retain(|problem| !is_among(everywhere, problem));
        for of_role in of_roles {
            failures.retain(|problem| is_among(&of_role, problem));
        }
        failures
    }

    fn mistake(&self, problem: &Problem) -> Mistake {
        Mistake { line: self.line_of(problem), text: problem.text().to_owned() }
    }
}

/// The errors of a sample under these rules alone.
fn errors(rules: &[&DefaultRule], review: &str) -> Vec<Problem> {
    let rules = Rules {
        defaults: rules.iter().map(|rule| rule.enforced_everywhere()).collect(),
        allow: None,
    };
    let mut problems =
        sample_pod::problems(review, &Settings { on_problem: OnProblem::Warn, rules });
    problems.retain(|problem| problem.severity() == Severity::Error);
    problems
}

/// Pairs of enforced rules that fail together, although each works alone.
fn conflicts(rules: &[&DefaultRule], samples: &[Samples]) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let Some(samples) = samples.first() else { return mistakes };
    for (index, other) in neighbours(rules) {
        let (Some(rule), Some(other)) = (rules.get(index), rules.get(other)) else { continue };
        if !rule.meets(other) {
            continue;
        }
        for problem in errors(&[rule, other], &samples.empty) {
            let (loser, winner) =
                if other.annotation_of(&problem).is_some() { (other, rule) } else { (rule, other) };
            let Mistake { line, text } = loser.mistake(&problem);
            mistakes.push(Mistake {
                line,
                text: format!("{text}; the default of line {} is also enforced", winner.line),
            });
        }
        // The rest of them shows when these are corrected.
        if mistakes.len() > MAX_MISTAKES {
            break;
        }
    }
    mistakes
}

/// The pairs of rules that mount different things at one place, or one below the other: only those
/// are worth a trial.
fn neighbours(rules: &[&DefaultRule]) -> BTreeSet<(usize, usize)> {
    let mut at: HashMap<&str, Vec<(usize, Claim)>> = HashMap::new();
    for (index, rule) in rules.iter().enumerate() {
        for request in &rule.requests {
            at.entry(place(request.path.as_str())).or_default().push((index, request.claim()));
        }
    }
    let mut pairs = BTreeSet::new();
    for (index, rule) in rules.iter().enumerate() {
        for request in &rule.requests {
            let place = place(request.path.as_str());
            let ends = place.match_indices('/').map(|(end, _)| end).chain([place.len()]);
            let others = ends.filter_map(|end| at.get(place.get(..end)?)).flatten();
            let others =
                others.filter(|(other, claim)| *other != index && *claim != request.claim());
            pairs.extend(others.map(|(other, _)| (index.min(*other), index.max(*other))));
        }
    }
    pairs
}

/// A path as far as it matters here: in most images, `/var/run` is a link to `/run`.
fn place(path: &str) -> &str {
    let run = path.strip_prefix("/var").filter(|rest| *rest == "/run" || rest.starts_with("/run/"));
    run.unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::{load, warnings};

    fn rule(fields: &str, annotations: &[(&str, &str)]) -> String {
        let annotations: Vec<String> = annotations
            .iter()
            .map(|(key, value)| format!("spark-operator.k8s.io/{key}: \"{value}\""))
            .collect();
        format!("- {{{fields}annotations: {{{}}}}}\n", annotations.join(", "))
    }

    fn file(rules: &[String]) -> String {
        format!("apiVersion: spark-webhook/v1\ndefaults:\n{}", rules.concat())
    }

    /// How the mistakes begin, where the first rule is in line 3. What follows is the text of the
    /// request path.
    fn rejects(rules: &[String], expected: &[&str]) {
        let error = load(&file(rules)).expect_err(&rules.concat());
        let mistakes: Vec<String> = error.mistakes().iter().map(ToString::to_string).collect();
        let is_expected = |(mistake, expected): (&String, &&str)| mistake.starts_with(*expected);
        assert!(
            mistakes.len() == expected.len() && mistakes.iter().zip(expected).all(is_expected),
            "{mistakes:#?} {}",
            rules.concat()
        );
    }

    fn accepts(rules: &[String], expected: &[&str]) {
        let accepted =
            load(&file(rules)).unwrap_or_else(|error| panic!("{error}: {}", rules.concat()));
        let warned: Vec<String> = warnings(&accepted).iter().map(ToString::to_string).collect();
        let is_expected = |(warning, text): (&String, &&str)| warning.starts_with(*text);
        assert!(
            warned.len() == expected.len() && warned.iter().zip(expected).all(is_expected),
            "{warned:#?} {}",
            rules.concat()
        );
    }

    const TEAM: &str = "namespaces: [team-a], ";

    #[test]
    fn a_default_that_fails_on_every_pod() {
        let text = "line 3: configMap.b=/x";
        for fields in ["", "required: true, ", "enforce: true, ", "roles: [executor], "] {
            rejects(&[rule(fields, &[("configMap.a", "/x"), ("configMap.b", "/x")])], &[text]);
        }
        // Each with its own line.
        let rules = "- namespaces: [a]\n  annotations:\n    spark-operator.k8s.io/configMap.b: /x\n    spark-operator.k8s.io/configMap.a: /x\n    \
                     spark-operator.k8s.io/configMaps: c=/y,d=/y\n";
        rejects(&[rules.to_owned()], &["line 5: configMap.b=/x", "line 7: configMaps=d=/y"]);
        accepts(
            &[rule(TEAM, &[("configMap.a", "/x"), ("secret.a", "/y"), ("configMap.b", "")])],
            &[],
        );
    }

    #[test]
    fn a_conf_dir_that_is_merged_with_itself() {
        for (fields, value, expected) in [
            // Not required, so it is merged without being told to.
            ("", "c:path=/opt/spark/conf", "sparkConfigMap=c:path=/opt/spark/conf"),
            (
                "enforce: true, ",
                "c:path=/opt/spark/conf/",
                "sparkConfigMap=c:path=/opt/spark/conf/",
            ),
            (
                "required: true, ",
                "c:merge:path=/opt/spark/conf",
                "sparkConfigMap=c:merge:path=/opt/spark/conf",
            ),
            (
                "roles: [executor], ",
                "c:path=/opt/spark/conf",
                "sparkConfigMap=c:path=/opt/spark/conf",
            ),
        ] {
            rejects(
                &[rule(fields, &[("sparkConfigMap", value)])],
                &[&format!("line 3: {expected}")],
            );
        }
        for fields in [TEAM, "namespaces: [team-a], required: true, "] {
            for value in ["c", "c:merge", "c:merge:path=/etc/other", "c:path=/etc/other"] {
                accepts(
                    &[rule(fields, &[("sparkConfigMap", value), ("hadoopConfigMap", "h:merge")])],
                    &[],
                );
            }
        }
    }

    #[test]
    fn a_default_that_fails_only_on_pods_as_spark_makes_them_is_doubtful() {
        let required = "namespaces: [team-a], required: true, ";
        let file = file(&[rule(required, &[("configMap.a", "/opt/spark/conf/a:file=a")])]);
        let text = warnings(&load(&file).unwrap());
        assert_eq!(text.len(), 1, "{text:?}");
        let text = text[0].to_string();
        assert!(
            text.starts_with("line 3: on pods as Spark makes them, this default fails: configMap.a=/opt/spark/conf/a"),
            "{text}"
        );
    }

    #[test]
    fn a_default_without_namespaces_is_warned_of() {
        let expected = "line 3: this default has no namespaces, so creating any Spark pod of the cluster depends on the webhook; write namespaces";
        accepts(&[rule("", &[("secret.a", "/a")])], &[expected]);
        accepts(&[rule("namespaces: [\"*\"], ", &[("secret.a", "/a")])], &[]);
    }

    fn enforced(fields: &str, key: &str, value: &str) -> String {
        rule(&format!("enforce: true, {fields}"), &[(key, value)])
    }

    #[test]
    fn two_enforced_defaults_for_one_place_that_can_meet() {
        let rejects = |rules: [String; 2], annotation: &str, line: usize, other: usize| {
            super::tests::rejects(&rules, &[&format!("line {line}: {annotation}: ")]);
            let error = load(&file(&rules)).unwrap_err().to_string();
            assert!(
                error.ends_with(&format!("; the default of line {other} is also enforced")),
                "{error}"
            );
        };
        for (one, other) in [
            ("", ""),
            ("namespaces: [team-a], ", ""),
            ("namespaces: [\"team-*\"], ", "namespaces: [team-a], "),
            ("namespaces: [\"team-*\"], ", "namespaces: [\"*-prod\"], "),
            ("roles: [driver], ", "roles: [executor, driver], "),
            ("selector: {matchLabels: {tier: a}}, ", "selector: {matchLabels: {other: b}}, "),
            ("required: true, ", ""),
        ] {
            rejects(
                [enforced(one, "configMap.a", "/x"), enforced(other, "configMap.b", "/x")],
                "configMap.b=/x",
                4,
                3,
            );
        }
        // The one that fails is not always the later.
        rejects(
            [enforced("", "configMap.b", "/x"), enforced("", "configMap.a", "/x")],
            "configMap.b=/x",
            3,
            4,
        );
        // A conf dir has a place, too, and one place may be below the other.
        rejects(
            [enforced("", "sparkConfigMap", "c"), enforced("", "secret.s", "/etc/spark/conf")],
            "secret.s=/etc/spark/conf",
            4,
            3,
        );
        rejects(
            [
                enforced("required: true, ", "configMap.a", "/x/f:file=f"),
                enforced("", "configMap.b", "/x/f/g"),
            ],
            "configMap.b=/x/f/g",
            4,
            3,
        );
    }

    #[test]
    fn two_enforced_defaults_that_cannot_meet_or_do_not_conflict() {
        let accepts = |one: String, other: String| {
            let rules = [one, other];
            let result = load(&file(&rules));
            assert!(result.is_ok(), "{result:?}: {}", rules.concat());
        };
        for (one, other) in [
            ("namespaces: [team-a], ", "namespaces: [team-b], "),
            ("namespaces: [\"team-*\"], ", "namespaces: [other], "),
            ("namespaces: [\"team-*\"], ", "namespaces: [\"!team-*\"], "),
            ("roles: [driver], ", "roles: [executor], "),
            ("selector: {matchLabels: {tier: a}}, ", "selector: {matchLabels: {tier: b}}, "),
        ] {
            accepts(enforced(one, "configMap.a", "/x"), enforced(other, "configMap.b", "/x"));
        }
        let a = || enforced("", "configMap.a", "/x");
        accepts(a(), enforced("", "configMap.b", "/y"));
        // The later replaces the earlier for one name, or removes it.
        accepts(a(), enforced("", "configMap.a", "/y"));
        accepts(a(), enforced("", "configMap.a", ""));
        // They mount the same.
        accepts(enforced("", "secret.a", "/x"), enforced("", "GCPServiceAccount.a", "/x"));
        // One of them is overridden.
        accepts(a(), rule("", &[("configMap.b", "/x")]));
    }

    #[test]
    fn paths_are_compared_as_the_place_that_they_are() {
        for (path, expected) in [
            ("/x", "/x"),
            ("/run/x", "/run/x"),
            ("/var/run/x", "/run/x"),
            ("/var/run", "/run"),
            ("/var/runner", "/var/runner"),
            ("/var/lib/run", "/var/lib/run"),
        ] {
            assert_eq!(super::place(path), expected);
        }
    }
}
