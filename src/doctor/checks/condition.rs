//! Whether the matchConditions select the pods that this version mutates.
//!
//! A condition is a program. Only a dry run can tell whether another one than ours is right.

use crate::doctor::finding::Finding;
use crate::doctor::matching::Condition;

pub(super) fn check(condition: Condition) -> Finding {
    let again = "bring it up to date: helm upgrade, or write and apply the registration again";
    match condition {
        Condition::Absent => Finding::passed(
            "there is no condition: every Spark pod is sent, and depends on the webhook",
        ),
        Condition::Ours => Finding::passed("pods with a key under our prefixes are sent"),
        Condition::OursAndMore => Finding::passed(
            "pods with a key under our prefixes are sent, and those of the rules' namespaces",
        ),
        Condition::Other => Finding::unknown(
            "the matchConditions are not those that this version writes",
            format!("see whether the dry run below passes; {again}"),
        ),
        Condition::Older(prefix) => Finding::failed(
            format!("the matchConditions are older than this version: they do not know {prefix}"),
            again,
        ),
    }
}
