//! Which requests apply to a pod: its own, and the administrator's defaults.
//!
//! A request of the pod takes the place of a default for the same name, and so does a later default
//! of an earlier one. An enforced default stays, and the pod is told.

use crate::annotations::Requests;
use crate::config::{PodAttributes, Rules};
use crate::request::{Origin, ProblemKind, Request};

/// What a pod hears that asks for something else than an enforced default, or opts out of it.
const ENFORCED: &str = "the administrator's default for it is enforced, remove this annotation";

/// Adds to a pod's requests the defaults that apply to it, and takes away what it may not ask
/// for.
#[must_use]
pub fn apply<'a>(
    rules: &'a Rules,
    pod: &PodAttributes,
    mut requests: Requests<'a>,
) -> Requests<'a> {
    rules.restrict(pod.namespace, &mut requests);
    let mut defaults: Vec<Request<'a>> = Vec::new();
    for rule in rules.defaults.iter().filter(|rule| rule.selects(pod)) {
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

/// What the defaults may mount in a namespace, whatever the roles and labels of its pods are.
#[must_use]
pub fn requests_in<'r>(rules: &'r Rules, namespace: &str) -> Vec<Request<'r>> {
    let mut requests: Vec<Request> = Vec::new();
    for rule in rules.defaults.iter().filter(|rule| rule.namespaces.contains(namespace)) {
        let theirs = rule.requests();
        // Only one that is about every pod takes the place of earlier ones for all of them.
        if rule.is_for_every_pod() {
            requests.retain(|request| !theirs.claims.contains(&request.claim()));
        }
        requests.extend(theirs.mounts.into_iter().map(|request| rule.adjust(request)));
    }
    requests
}

#[cfg(test)]
mod tests;
