//! `spark-webhook man`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory};

use super::Cli;

/// Writes manual pages, one for the program and one for each command
///
///   spark-webhook man /usr/local/share/man/man1
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Man {
    /// Directory to write spark-webhook.1, spark-webhook-serve.1 and the others into; it must exist
    directory: PathBuf,
}

impl Man {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        clap_mangen::generate_to(Cli::command(), &self.directory).with_context(|| {
            format!("{}: manual pages cannot be written", self.directory.display())
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
