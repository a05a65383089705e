//! The command line: one file per subcommand.

mod check_config;
mod completions;
mod conf;
#[cfg(feature = "cluster")]
mod doctor;
mod man;
mod mutate;
mod policy;
mod serve;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::builder::PossibleValue;
use clap::{Parser, Subcommand, ValueEnum};

use crate::admission::OnProblem;
use crate::rules::Rules;

/// Gives Spark pods the ConfigMaps, conf dirs and secrets that their annotations ask for.
///
/// An admission webhook for Kubernetes: it sees each Spark driver and executor pod once, when
/// it is created, and answers with a patch. Pods ask by annotations, which every way of
/// submitting can set:
///
///   --conf spark.kubernetes.driver.annotation.spark-operator.k8s.io/hadoopConfigMap=NAME
#[derive(Debug, Parser)]
#[command(name = "spark-webhook", version, max_term_width = 110, verbatim_doc_comment)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Mutate(mutate::Mutate),
    Conf(conf::Conf),
    CheckConfig(check_config::CheckConfig),
    #[cfg(feature = "cluster")]
    Doctor(doctor::Doctor),
    Policy(policy::Policy),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Cli {
    /// Runs the command that was given.
    ///
    /// # Errors
    ///
    /// When it cannot do its work; the message says what to do, and the process should end with status 2.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Mutate(mutate) => mutate.run(),
            Command::Conf(conf) => conf.run(),
            Command::CheckConfig(check_config) => check_config.run(),
            #[cfg(feature = "cluster")]
            Command::Doctor(doctor) => doctor.run(),
            Command::Policy(_) => policy::Policy::run(),
            Command::Completions(completions) => Ok(completions.run()),
            Command::Man(man) => man.run(),
        }
    }
}

/// Reads `--config`; without it there are no rules.
fn read_rules(file: Option<&Path>) -> anyhow::Result<Rules> {
    let Some(file) = file else { return Ok(Rules::default()) };
    let text = std::fs::read_to_string(file).with_context(|| format!("{}: cannot be read", file.display()))?;
    Rules::parse(&text).with_context(|| file.display().to_string())
}

impl ValueEnum for OnProblem {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Warn, Self::Deny]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Warn => "warn",
            Self::Deny => "deny",
        }))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_flag_has_a_variable() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for subcommand in command.get_subcommands().filter(|command| command.get_name() != "help") {
            for flag in subcommand.get_arguments().filter(|argument| argument.get_long().is_some_and(|long| long != "help")) {
                let variable = format!("SPARK_WEBHOOK_{}", flag.get_id().as_str().to_uppercase());
                assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(&*variable), "{flag}");
            }
        }
    }
}
