//! `spark-webhook policy`.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use crate::admission_policy;

/// Writes a MutatingAdmissionPolicy that does without the webhook what pods plainly ask for
///
///   spark-webhook policy | kubectl apply -f -
///
/// For Kubernetes 1.36 and later, and clusters that want no webhook. Pods that ask for more than
/// names and paths are left as they are, with a warning: docs/policy.md has the table.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Policy {}

impl Policy {
    pub(super) fn run() -> anyhow::Result<ExitCode> {
        super::stdout().write_all(admission_policy::manifest().as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}
