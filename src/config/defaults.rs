//! A rule of `defaults`: which pods get what.

use std::collections::BTreeMap;

use super::{Globs, PodAttributes, Selector};
use crate::annotations::key::PrefixedKey;
use crate::annotations::{self, Requests};
use crate::request::{OptionName, Origin, Problem, Request};
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
    /// Whether pods wait for the object where it is missing; without it they run without.
    #[cfg_attr(test, schemars(default))]
    pub(super) required: bool,
    /// Whether the default never gives way.
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
            && self.roles.as_ref().is_none_or(|roles| roles.contains(&pod.role))
            && self.selector.selects(pod.label)
    }

    pub(crate) fn requests(&self) -> Requests<'_> {
        annotations::parse(self.annotations.iter().map(|(key, value)| (&**key, &*value.value)))
    }

    pub(crate) fn adjust<'a>(&self, mut request: Request<'a>) -> Request<'a> {
        request.origin = if self.enforce { Origin::Enforced } else { Origin::Default };
        if !self.required {
            request.options.optional = true;
            // An absent ConfigMap would otherwise hide what was submitted.
            request.options.merge |= request.kind.spec().takes(OptionName::Merge);
        }
        request
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
