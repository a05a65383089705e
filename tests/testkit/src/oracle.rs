//! The annotation contract once more, written apart from the webhook: what a pod requests, and
//! whether it got it.
//!
//! `requests` turns annotations into requests, `pod` says what becomes of one in a pod, and
//! `judgement` judges an answer by both, on typed pods. Nothing here uses the webhook's own parser
//! or rules, so a rule that one of the two reads wrongly shows as a difference between them. Where
//! the rules leave something open, both outcomes pass; everywhere else there is one right answer.

mod judgement;
mod pod;
mod requests;

pub use judgement::{
    assert_carried_out, assert_enforced, assert_mounted_or_named, assert_too_many, assert_valid_pod,
};
