//! Where paths stand to each other. In most images, `/var/run` is a link to `/run`: a mount below
//! one of them is in the place of the other too.

use std::cmp::Ordering;

/// Whether two paths are one, or one is below the other, only because `/var/run` is a link to
/// `/run`. The kubelet prepares nested mount points by the written path, so the container would not
/// start, or one mount would hide the other.
pub(super) fn meets_by_link((run, rest): (&'static str, &str), other: &str) -> bool {
    let Some((other_run, other_rest)) = below_run(other) else { return false };
    run != other_run && (is_at_or_below(rest, other_rest) || is_at_or_below(other_rest, rest))
}

/// Whether two paths are one only because `/var/run` is a link to `/run`.
pub(in crate::mutation) fn are_one_by_link(a: &str, b: &str) -> bool {
    let (Some((a_run, a_rest)), Some((b_run, b_rest))) = (below_run(a), below_run(b)) else {
        return false;
    };
    a_run != b_run && a_rest == b_rest
}

pub(super) fn is_at_or_below(rest: &str, ancestor: &str) -> bool {
    rest.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// As which of the two a path begins, and what follows.
pub(super) fn below_run(path: &str) -> Option<(&'static str, &str)> {
    ["/run", "/var/run"].into_iter().find_map(|run| {
        let rest = path.strip_prefix(run)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((run, rest))
    })
}

/// Where a path stands among those below another one.
pub(super) fn cmp_below(path: &str, ancestor: &str) -> Ordering {
    match path.as_bytes().split_at_checked(ancestor.len()) {
        Some((head, rest)) => {
            head.cmp(ancestor.as_bytes()).then_with(|| rest.first().cmp(&Some(&b'/')))
        }
        None if ancestor.starts_with(path) => Ordering::Less,
        None => path.cmp(ancestor),
    }
}

/// The lowest directory above a path that ends at a place or before; nothing where there is none.
pub(super) fn ancestor(path: &str, place: usize) -> &str {
    match path.bytes().take(place + 1).rposition(|byte| byte == b'/') {
        Some(0) if path.len() > 1 => "/",
        Some(end) => path.get(..end).unwrap_or_default(),
        None => "",
    }
}

pub(super) fn other_spelling(path: &str) -> Option<String> {
    let (run, rest) = below_run(path)?;
    Some([if run == "/run" { "/var/run" } else { "/run" }, rest].concat())
}
