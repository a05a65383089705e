//! A rule of `allow`: which names pods may request.

use super::{Globs, Rules};
use crate::annotations::Requests;
use crate::request::{ObjectKind, ProblemKind};

/// The names that the annotations of some namespaces may ask for.
#[derive(Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename_all = "camelCase", deny_unknown_fields))]
pub(crate) struct AllowRule {
    /// Globs of namespaces, those with `!` excluding; all when absent.
    #[cfg_attr(test, schemars(default, with = "super::glob::NamespaceGlobs"))]
    pub(super) namespaces: Globs,
    /// Globs of names; none when absent.
    #[cfg_attr(test, schemars(default, with = "super::glob::ObjectGlobs"))]
    pub(super) config_maps: Option<Globs>,
    /// Globs of names; none when absent.
    #[cfg_attr(test, schemars(default, with = "super::glob::ObjectGlobs"))]
    pub(super) secrets: Option<Globs>,
}

/// Lists of names that may be requested. A name in one of them is permitted.
#[derive(Debug, PartialEq, Eq)]
pub struct Permitted<'r> {
    /// Of ConfigMaps.
    pub config_maps: Vec<&'r Globs>,
    /// Of Secrets.
    pub secrets: Vec<&'r Globs>,
}

impl Rules {
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

    /// Takes away what the pod may not request, with an error for each.
    pub(crate) fn restrict(&self, namespace: &str, requests: &mut Requests) {
        let Some(Permitted { config_maps, secrets }) = self.permitted_in(namespace) else { return };
        let problems = &mut requests.problems;
        requests.mounts.retain(|request| {
            let lists = match request.object_kind() {
                ObjectKind::ConfigMap => &config_maps,
                ObjectKind::Secret => &secrets,
            };
            let is_allowed = lists.iter().any(|names| names.contains(request.name.as_str()));
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
