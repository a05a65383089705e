//! The checks: one file each, or a few that read the same object.

pub(super) mod account;
pub(super) mod certificate;
pub(super) mod dry_run;
pub(super) mod endpoints;
pub(super) mod objects;
pub(super) mod order;
pub(super) mod pods;
pub(super) mod properties;
pub(super) mod registration;
pub(super) mod rules;
pub(super) mod versions;
