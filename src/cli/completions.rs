//! `spark-webhook completions`.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

/// Writes what a shell needs to complete this program's commands and flags
///
///   spark-webhook completions bash > /etc/bash_completion.d/spark-webhook
///   spark-webhook completions zsh > "${fpath[1]}/_spark-webhook"
///   spark-webhook completions fish > ~/.config/fish/completions/spark-webhook.fish
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Completions {
    /// Shell to write for
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        // clap_complete panics on a write error.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "spark-webhook", &mut script);
        super::stdout().write_all(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}
