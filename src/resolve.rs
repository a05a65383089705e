//! Which requests apply to a pod: its own, and the administrator's defaults.
//!
//! A request of the pod takes the place of a default for the same name, and so does a later default
//! of an earlier one. An enforced default stays, and the pod is told.

use std::collections::BTreeSet;

use crate::annotations::Requests;
use crate::config::{DefaultRule, PodAttributes, Rules};
use crate::request::{Claim, Origin, ProblemKind, Request};

/// What a pod hears that asks for something else than an enforced default, or opts out of it.
const ENFORCED: &str = "the administrator's default for it is enforced, remove this annotation";

/// Adds to a pod's requests the defaults that apply to it, and takes away what it may not ask for.
#[must_use]
pub fn apply<'a>(
    rules: &'a Rules,
    pod: &PodAttributes,
    mut requests: Requests<'a>,
) -> Requests<'a> {
    rules.restrict(pod.namespace, &mut requests);
    let selected = rules.defaults.iter().filter(|rule| rule.selects(pod));
    let mut defaults = standing(selected, |_| true);
    if defaults.is_empty() {
        return requests;
    }
    requests.has_keys = true;
    defaults.sort_by(|a, b| a.order(b));
    let (enforced, others): (Vec<_>, Vec<_>) =
        defaults.into_iter().partition(|default| default.origin == Origin::Enforced);

    let Requests { mounts, problems, claims, opt_outs, .. } = &mut requests;
    let claims: BTreeSet<Claim> = claims.iter().copied().collect();
    mounts.retain(|request| {
        let mut same = about(&enforced, request.claim()).peekable();
        let is_free = same.peek().is_none();
        if !is_free && !same.any(|default| is_same(default, request)) {
            problems.push(ProblemKind::Enforced, &request.annotation, ENFORCED);
        }
        is_free
    });
    for (claim, annotation) in opt_outs {
        if about(&enforced, *claim).next().is_some() {
            problems.push(ProblemKind::Enforced, annotation, ENFORCED);
        }
    }
    mounts.splice(..0, enforced.into_iter().map(Request::lend));
    let others = others.into_iter().filter(|default| !claims.contains(&default.claim()));
    mounts.extend(others.map(Request::lend));
    requests
}

/// What the defaults may mount in a namespace, whatever the roles and labels of its pods are, in
/// the order of the file.
#[must_use]
pub fn requests_in<'r>(rules: &'r Rules, namespace: &str) -> Vec<&'r Request<'static>> {
    let of_namespace = rules.defaults.iter().filter(|rule| rule.namespaces.contains(namespace));
    // Only one that is about every pod takes the place of earlier ones for all of them.
    standing(of_namespace, DefaultRule::is_for_every_pod)
}

/// The requests of rules, in their order, without those that a later rule is about. Only rules that
/// are decisive take the place of earlier ones.
fn standing<'r>(
    rules: impl DoubleEndedIterator<Item = &'r DefaultRule>,
    is_decisive: impl Fn(&DefaultRule) -> bool,
) -> Vec<&'r Request<'static>> {
    let mut requests = Vec::new();
    let mut taken: BTreeSet<Claim> = BTreeSet::new();
    for rule in rules.rev() {
        let free = rule.requests.iter().rev().filter(|request| !taken.contains(&request.claim()));
        requests.extend(free);
        if is_decisive(rule) {
            taken.extend(rule.claims());
        }
    }
    requests.reverse();
    requests
}

/// Those of sorted requests that are about the same as a claim.
fn about<'r>(
    sorted: &[&'r Request<'static>],
    claim: Claim,
) -> impl Iterator<Item = &'r Request<'static>> {
    let first = sorted.partition_point(|request| request.claim() < claim);
    let from_first = sorted.iter().skip(first).copied();
    from_first.take_while(move |request| request.claim() == claim)
}

/// Whether two requests ask for the same in the same form.
fn is_same(a: &Request, b: &Request) -> bool {
    (&a.name, &a.path, &a.options) == (&b.name, &b.path, &b.options)
}

#[cfg(test)]
mod tests;
