//! A rule of `defaults`: which pods get what.

use std::collections::BTreeMap;

use super::{Globs, PodAttributes, Selector};
use crate::annotations::key::PrefixedKey;
use crate::annotations::{self, Requests};
use crate::request::{Claim, Kind, OptionName, Origin, Problem, Problems, Request};
use crate::spark::Role;

/// A default: annotations for the pods that it selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub(crate) struct DefaultRule {
    #[cfg_attr(test, schemars(skip))]
    pub(crate) line: usize,
    /// Globs of namespaces, those with `!` excluding; all when absent.
    #[cfg_attr(test, schemars(default, with = "super::glob::NamespaceGlobs"))]
    pub(crate) namespaces: Globs,
    /// Both when absent.
    #[cfg_attr(test, schemars(default, with = "Vec<super::tests::RoleName>", length(min = 1)))]
    pub(super) roles: Option<Vec<Role>>,
    /// On the pod's labels; all pods when absent.
    #[cfg_attr(test, schemars(default))]
    pub(super) selector: Selector,
    /// As a pod would write them.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, String>"))]
    pub(super) annotations: BTreeMap<String, Written>,
    /// What its annotations ask for, in the form in which the rule gives it to pods.
    #[cfg_attr(test, schemars(skip))]
    pub(crate) requests: Vec<Request<'static>>,
    /// What they opt out of: earlier defaults.
    #[cfg_attr(test, schemars(skip))]
    pub(super) opt_outs: Vec<(Kind, String)>,
    /// Whether pods wait for the object where it is missing; without it they run without.
    #[cfg_attr(test, schemars(default))]
    pub(super) required: bool,
    /// Whether nothing of a pod overrides the default.
    #[cfg_attr(test, schemars(default))]
    pub(crate) enforce: bool,
}

/// A text of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(super) line: usize,
    pub(super) value: String,
}

impl DefaultRule {
    /// Whether the rule is for a pod.
    pub(crate) fn selects(&self, pod: &PodAttributes) -> bool {
        self.namespaces.contains(pod.namespace)
            && self.has_role(pod.role)
            && self.selector.selects(pod.label)
    }

    /// Reads the annotations into requests, once for all pods, and returns what is wrong with them.
    pub(super) fn read_annotations(&mut self) -> Problems {
        let annotations = self.annotations.iter().map(|(key, written)| (&**key, &*written.value));
        let Requests { mounts, opt_outs, problems, .. } = annotations::parse(annotations);
        let requests =
            mounts.into_iter().map(|request| self.adjust(request.into_owned())).collect();
        let opt_outs = opt_outs.into_iter().map(|((kind, name), _)| (kind, name.to_owned()));
        (self.opt_outs, self.requests) = (opt_outs.collect(), requests);
        problems
    }

    fn adjust(&self, mut request: Request<'static>) -> Request<'static> {
        request.origin = if self.enforce { Origin::Enforced } else { Origin::Default };
        if !self.required {
            request.options.optional = true;
            // An absent ConfigMap would otherwise hide what was submitted.
            request.options.merge |= request.kind.spec().takes(OptionName::Merge);
        }
        request
    }

    /// What the rule is about: of earlier rules, nothing stays that is about the same.
    pub(crate) fn claims(&self) -> impl Iterator<Item = Claim<'_>> {
        let opt_outs = self.opt_outs.iter().map(|(kind, name)| (*kind, &**name));
        self.requests.iter().map(Request::claim).chain(opt_outs)
    }

    /// Whether the rule is for every pod of its namespaces.
    pub(crate) fn is_for_every_pod(&self) -> bool {
        self.roles.is_none() && self.selector == Selector::default()
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
        let mut rule = Self {
            namespaces: Globs::default(),
            roles: None,
            selector: Selector::default(),
            ..self.clone()
        };
        for request in &mut rule.requests {
            request.origin = Origin::Enforced;
        }
        rule
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
