//! Whether a driver and an executor come back from the API server mutated: the proof.

use std::time::Duration;

use crate::doctor::finding::Finding;
use crate::doctor::snapshot::dry_run::{DryRun, DryRunError, Mutation, Rejection};
use crate::doctor::snapshot::registration::Registration;
use crate::spark::Role;

pub(super) fn check(registration: &Registration, dry_run: &DryRun) -> Finding {
    match &dry_run.result {
        Ok(Mutation { have_mounts, median, count }) => {
            let what = if *have_mounts {
                "a driver and an executor get their mounts"
            } else {
                "the webhook is called for a driver and an executor, and its rules do not allow what they ask for"
            };
            let median = shown(*median);
            Finding::passed(format!("{what}; a create takes {median} (median of {count})"))
        }
        Err(DryRunError::Unchanged(role)) => unchanged(registration, *role),
        Err(DryRunError::Forbidden(unreadable)) => unreadable.finding(),
        Err(DryRunError::Rejected { role, message, by }) => {
            let message = format!("a {role} is refused: {message}");
            match by {
                Some(Rejection::Webhook(advice)) => Finding::failed(message, *advice),
                Some(Rejection::Other(advice)) => Finding::unknown(message, *advice),
                Some(Rejection::ByRules | Rejection::Forbidden) | None => Finding::unknown(
                    message,
                    "the message is that of the API server, not of this webhook",
                ),
            }
        }
        Err(DryRunError::NoAnswer(cause)) => {
            Finding::unknown(format!("no answer: {cause}"), "run it again")
        }
    }
}

fn unchanged(registration: &Registration, role: Role) -> Finding {
    let message = format!("a {role} comes back without its mounts");
    let registered = match registration {
        Registration::Found(registered) => registered,
        Registration::Absent => {
            return Finding::failed(
                format!("{message}: there is no registration"),
                "see configuration",
            );
        }
        Registration::Unseen(_) => {
            return Finding::failed(
                message,
                "ask who may see the registration to run this: see configuration",
            );
        }
    };
    if let Some(reason) = registered.withheld() {
        return Finding::failed(format!("{message}: {reason}"), "see configuration and selectors");
    }
    if registered.ignores_failure() {
        return Finding::failed(
            format!(
                "{message}: the call fails, and failurePolicy Ignore lets the pod through, or a condition leaves it out"
            ),
            "see certificate, endpoints and condition; the API server's log and its metric \
             apiserver_admission_webhook_fail_open_count tell of failed calls",
        );
    }
    Finding::failed(
        format!("{message}: a condition or selector of the registration leaves it out"),
        "see condition and selectors; an API server learns of a new registration within seconds",
    )
}

/// In milliseconds, with one decimal.
fn shown(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
