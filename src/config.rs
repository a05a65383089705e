//! The administrator's rules: what every pod of a namespace gets by default, and which names its
//! annotations may ask for.
//!
//! A rule's annotations pass the same parser as a pod's when the file is read, so a file that is
//! accepted cannot fail later. Against a pod's own annotations a default is what they would have
//! been: it is replaced by a request for the same name, and gives way where the pod already has
//! something else, unless it is enforced.

use std::collections::BTreeMap;
use std::fmt;

use crate::annotations::key::PrefixedKey;
use crate::annotations::{self, Requests};
use crate::request::{ObjectKind, OptionName, Origin, Problem, ProblemKind, Request};
use crate::spark::Role;
use crate::yaml::Mistake;

mod file;
mod glob;
mod selector;

pub use file::{read_text, read_text_from};
pub use glob::Globs;
pub use selector::Selector;

/// All rules of a file.
#[derive(Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "RulesFile", description = "The file as it is written."))]
#[cfg_attr(test, schemars(deny_unknown_fields, transform = tests::add_api_version))]
pub struct Rules {
    /// What pods get that do not ask for it; later rules win.
    #[cfg_attr(test, schemars(default))]
    pub(crate) defaults: Vec<DefaultRule>,
    /// Which names annotations may ask for; everything when there is no such list.
    #[cfg_attr(test, schemars(default, with = "Vec<AllowRule>"))]
    pub(crate) allow: Option<Vec<AllowRule>>,
}

/// A default: annotations for the pods that it selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub(crate) struct DefaultRule {
    #[cfg_attr(test, schemars(skip))]
    pub(crate) line: usize,
    /// Globs of namespaces, those with `!` excluding; all when absent.
    #[cfg_attr(test, schemars(default, with = "glob::NamespaceGlobs"))]
    pub(crate) namespaces: Globs,
    /// Both when absent.
    #[cfg_attr(test, schemars(default, with = "Vec<tests::RoleName>", length(min = 1)))]
    roles: Option<Vec<Role>>,
    /// On the pod's labels; all pods when absent.
    #[cfg_attr(test, schemars(default))]
    selector: Selector,
    /// As a pod would write them.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, String>"))]
    annotations: BTreeMap<String, Written>,
    /// Whether pods wait for the object where it is missing; without it they run without.
    #[cfg_attr(test, schemars(default))]
    required: bool,
    /// Whether the default never gives way.
    #[cfg_attr(test, schemars(default))]
    pub(crate) enforce: bool,
}

/// A text of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    line: usize,
    value: String,
}

/// The names that the annotations of some namespaces may ask for.
#[derive(Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename_all = "camelCase", deny_unknown_fields))]
pub(crate) struct AllowRule {
    /// Globs of namespaces, those with `!` excluding; all when absent.
    #[cfg_attr(test, schemars(default, with = "glob::NamespaceGlobs"))]
    namespaces: Globs,
    /// Globs of names; none when absent.
    #[cfg_attr(test, schemars(default, with = "glob::ObjectGlobs"))]
    config_maps: Option<Globs>,
    /// Globs of names; none when absent.
    #[cfg_attr(test, schemars(default, with = "glob::ObjectGlobs"))]
    secrets: Option<Globs>,
}

/// What rules select pods by.
pub struct PodAttributes<'s> {
    /// The namespace of the request.
    pub namespace: &'s str,
    /// The role of the pod.
    pub role: Role,
    /// The value of a label.
    pub label: &'s dyn Fn(&str) -> Option<&'s str>,
}

/// Lists of names that may be requested. A name in one of them is permitted.
#[derive(Debug, PartialEq, Eq)]
pub struct Permitted<'r> {
    /// Of ConfigMaps.
    pub config_maps: Vec<&'r Globs>,
    /// Of Secrets.
    pub secrets: Vec<&'r Globs>,
}

/// Why a file is rejected: all its mistakes in order of lines, or if it is not YAML, the first.
#[derive(Debug, PartialEq, Eq)]
pub struct RulesError {
    mistakes: Vec<Mistake>,
    /// How many more there are than are kept.
    more: usize,
}

/// More mistakes than anybody corrects before the next try.
pub(crate) const MAX_MISTAKES: usize = 100;

impl RulesError {
    /// For at least one mistake.
    pub(crate) fn new(mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort();
        mistakes.dedup();
        let more = mistakes.len().saturating_sub(MAX_MISTAKES);
        mistakes.truncate(MAX_MISTAKES);
        Self { mistakes, more }
    }

    /// The mistakes in order of lines, the first hundred of them.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

/// The first mistake, and how many others there are.
impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mistakes, more } = self;
        let Some((first, others)) = mistakes.split_first() else { return Ok(()) };
        write!(f, "{first}")?;
        match others.len() + more {
            0 => Ok(()),
            1 => f.write_str(" (1 more mistake: spark-webhook check-config lists it)"),
            others => write!(f, " ({others} more mistakes: spark-webhook check-config lists them)"),
        }
    }
}

impl std::error::Error for RulesError {}

/// What a pod hears that asks for something else than an enforced default, or opts out of it.
const ENFORCED: &str = "the administrator's default for it is enforced, remove this annotation";

impl Rules {
    /// Reads a file's text: the rules without a mistake, and the mistakes of the others. Whether
    /// the rules work on a pod is left to [`crate::trial`].
    #[must_use]
    pub(crate) fn parse(text: &str) -> (Self, Vec<Mistake>) {
        file::parse(text)
    }

    /// The names that the annotations of a namespace may request; `None` where there is no such
    /// list, so that all are permitted.
    #[must_use]
    pub fn permitted_in(&self, namespace: &str) -> Option<Permitted<'_>> {
        let rules = self.allow.as_ref()?.iter().filter(|rule| rule.namespaces.contains(namespace));
        let mut permitted = Permitted { config_maps: Vec::new(), secrets: Vec::new() };
        for AllowRule { namespaces: _, config_maps, secrets } in rules {
            permitted.config_maps.extend(config_maps);
            permitted.secrets.extend(secrets);
        }
        Some(permitted)
    }

    /// Whether there is neither a default nor a restriction.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.defaults.is_empty() && self.allow.is_none()
    }

    /// The namespaces in which some default may apply.
    pub fn default_namespaces(&self) -> impl Iterator<Item = &Globs> {
        self.defaults.iter().map(|rule| &rule.namespaces)
    }

    /// Adds to a pod's requests the defaults that apply to it, and takes away what it may not ask
    /// for.
    #[must_use]
    pub fn apply<'a>(&'a self, pod: &PodAttributes, mut requests: Requests<'a>) -> Requests<'a> {
        self.restrict(pod.namespace, &mut requests);
        let mut defaults: Vec<Request<'a>> = Vec::new();
        for rule in self.defaults.iter().filter(|rule| rule.selects(pod)) {
            let theirs = rule.requests();
            defaults.retain(|default| !theirs.claims.contains(&default.claim()));
            defaults.extend(theirs.mounts.into_iter().map(|request| rule.adjust(request)));
        }
        if defaults.is_empty() {
            return requests;
        }
        requests.has_keys = true;
        defaults.sort_by(Request::order);
        defaults.retain(|default| {
            default.origin == Origin::Enforced || !requests.claims.contains(&default.claim())
        });
        let (mut ordered, others): (Vec<_>, Vec<_>) =
            defaults.into_iter().partition(|default| default.origin == Origin::Enforced);
        for request in std::mem::take(&mut requests.mounts) {
            let enforced = ordered.iter().filter(|default| {
                default.origin == Origin::Enforced && default.claim() == request.claim()
            });
            let mut enforced = enforced.peekable();
            if enforced.peek().is_none() {
                ordered.push(request);
            } else if !enforced.any(|default| {
                (&default.name, &default.path, &default.options)
                    == (&request.name, &request.path, &request.options)
            }) {
                requests.problems.push(ProblemKind::Enforced, &request.annotation, ENFORCED);
            }
        }
        for (claim, annotation) in &requests.opt_outs {
            if ordered
                .iter()
                .any(|default| default.origin == Origin::Enforced && default.claim() == *claim)
            {
                requests.problems.push(ProblemKind::Enforced, annotation, ENFORCED);
            }
        }
        ordered.extend(others);
        requests.mounts = ordered;
        requests
    }

    /// The annotations that apply to a pod by default, as the rules write them, for `check-config`.
    #[must_use]
    pub fn defaults_for(&self, pod: &PodAttributes) -> Requests<'_> {
        self.apply(pod, Requests::default())
    }

    /// What the defaults may mount in a namespace, whatever the roles and labels of its pods are.
    #[must_use]
    pub fn requests_in(&self, namespace: &str) -> Vec<Request<'_>> {
        let mut requests: Vec<Request> = Vec::new();
        for rule in self.defaults.iter().filter(|rule| rule.namespaces.contains(namespace)) {
            let theirs = rule.requests();
            // Only one that is about every pod takes the place of earlier ones for all of them.
            if rule.roles.is_none() && rule.selector == Selector::default() {
                requests.retain(|request| !theirs.claims.contains(&request.claim()));
            }
            requests.extend(theirs.mounts.into_iter().map(|request| rule.adjust(request)));
        }
        requests
    }

    fn restrict(&self, namespace: &str, requests: &mut Requests) {
        let Some(allow) = &self.allow else { return };
        let rules: Vec<&AllowRule> =
            allow.iter().filter(|rule| rule.namespaces.contains(namespace)).collect();
        let problems = &mut requests.problems;
        requests.mounts.retain(|request| {
            let names = |rule: &&AllowRule| match request.object_kind() {
                ObjectKind::ConfigMap => rule
                    .config_maps
                    .as_ref()
                    .is_some_and(|names| names.contains(request.name.as_str())),
                ObjectKind::Secret => {
                    rule.secrets.as_ref().is_some_and(|names| names.contains(request.name.as_str()))
                }
            };
            let is_allowed = rules.iter().any(names);
            if !is_allowed {
                let kind = request.object_kind().as_str();
                let message = format_args!(
                    "this {kind} is not allowed in this namespace, ask its administrator"
                );
                problems.push(ProblemKind::NotAllowed, &request.annotation, message);
            }
            is_allowed
        });
    }
}

impl DefaultRule {
    fn selects(&self, pod: &PodAttributes) -> bool {
        self.namespaces.contains(pod.namespace)
            && self.roles.as_ref().is_none_or(|roles| roles.contains(&pod.role))
            && self.selector.selects(pod.label)
    }

    pub(crate) fn requests(&self) -> Requests<'_> {
        annotations::parse(self.annotations.iter().map(|(key, value)| (&**key, &*value.value)))
    }

    fn adjust<'a>(&self, mut request: Request<'a>) -> Request<'a> {
        request.origin = if self.enforce { Origin::Enforced } else { Origin::Default };
        if !self.required {
            request.options.optional = true;
            // An absent ConfigMap would otherwise hide what was submitted.
            request.options.merge |= request.kind.spec().takes(OptionName::Merge);
        }
        request
    }

    /// The keys of its annotations.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.annotations.keys().map(String::as_str)
    }

    /// Whether the rule is for the pods of a role.
    pub(crate) fn has_role(&self, role: Role) -> bool {
        self.roles.as_ref().is_none_or(|roles| roles.contains(&role))
    }

    /// Whether there may be a pod that both rules select.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        Role::ALL.into_iter().any(|role| self.has_role(role) && other.has_role(role))
            && self.namespaces.overlaps(&other.namespaces)
            && self.selector.overlaps(&other.selector)
    }

    /// The rule as if it were for every pod and enforced.
    pub(crate) fn enforced_everywhere(&self) -> Self {
        Self {
            namespaces: Globs::default(),
            roles: None,
            selector: Selector::default(),
            enforce: true,
            ..self.clone()
        }
    }

    /// The annotation that a problem's text begins with.
    pub(crate) fn annotation_of(&self, problem: &Problem) -> Option<(&str, &Written)> {
        let begins = |key: &str| {
            let shown = PrefixedKey::parse(key)
                .map(|key| key.annotation("").to_string())
                .unwrap_or_default();
            problem.text().strip_prefix(&*shown).is_some_and(|rest| rest.starts_with(['=', ':']))
        };
        self.annotations.iter().find(|(key, _)| begins(key)).map(|(key, written)| (&**key, written))
    }

    /// The line of the annotation that a problem is about; of the rule where its text has only a
    /// part of it.
    pub(crate) fn line_of(&self, problem: &Problem) -> usize {
        self.annotation_of(problem).map_or(self.line, |(_, written)| written.line)
    }
}

#[cfg(test)]
mod tests;
