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

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::builder::PossibleValue;
use clap::{Parser, Subcommand, ValueEnum};

use crate::admission::OnProblem;
use crate::config::{self, Rules};
use crate::spark::Role;
use crate::trial;

/// Gives Spark pods the ConfigMaps, conf dirs and secrets that their annotations ask for.
///
/// An admission webhook for Kubernetes: it sees each Spark driver and executor pod once, when
/// it is created, and answers with a patch. Pods ask by annotations, which every way of
/// submitting can set:
///
///   --conf spark.kubernetes.driver.annotation.spark-operator.k8s.io/hadoopConfigMap=NAME
#[derive(Debug, Parser)]
#[command(name = "spark-webhook", version, max_term_width = 110, verbatim_doc_comment)]
struct Cli {
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

/// Reads the command line and runs the command. An error becomes lines on standard error, mostly
/// one, and exit status 2.
#[must_use]
pub fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        // The reader, such as `head`, has seen enough.
        Err(error)
            if output_error(&error)
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            for line in format!("{error:#}").lines() {
                say(format_args!("spark-webhook: {line}"));
            }
            ExitCode::from(2)
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let code = match Cli::try_parse() {
        Ok(cli) => cli.run()?,
        Err(error) if error.use_stderr() => {
            let _ = write!(anstream::stderr(), "{}", error.render().ansi());
            return Ok(ExitCode::from(2));
        }
        // What `--help` and `--version` print.
        Err(text) => {
            write!(stdout(), "{}", text.render().ansi())?;
            ExitCode::SUCCESS
        }
    };
    stdout().flush()?;
    Ok(code)
}

impl Cli {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Mutate(mutate) => mutate.run(),
            Command::Conf(conf) => conf.run(),
            Command::CheckConfig(check_config) => check_config.run(),
            #[cfg(feature = "cluster")]
            Command::Doctor(doctor) => doctor.run(),
            Command::Policy(_) => policy::Policy::run(),
            Command::Completions(completions) => completions.run(),
            Command::Man(man) => man.run(),
        }
    }
}

/// Standard output, for every command. Its errors hold an [`OutputError`], so [`main`] can tell
/// them from all others.
fn stdout() -> Output<anstream::AutoStream<io::Stdout>> {
    Output(anstream::stdout())
}

struct Output<W>(W);

#[derive(Debug, thiserror::Error)]
#[error("standard output: {0}; write to a file or device that has room")]
struct OutputError(io::Error);

impl OutputError {
    fn wrap(error: io::Error) -> io::Error {
        io::Error::new(error.kind(), Self(error))
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(OutputError::wrap)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(OutputError::wrap)
    }
}

fn output_error(error: &anyhow::Error) -> Option<&io::Error> {
    let io_error = error.downcast_ref::<io::Error>()?;
    io_error.get_ref()?.is::<OutputError>().then_some(io_error)
}

/// Writes a line to standard error. If that fails, there is nobody to tell.
fn say(line: impl Display) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Reads `--config`; without it there are no rules.
fn read_rules(file: Option<&Path>) -> anyhow::Result<Rules> {
    let Some(file) = file else { return Ok(Rules::default()) };
    parse_rules(&file.display(), config::read_text(file))
}

/// An error has a line for each mistake.
fn parse_rules(name: &dyn Display, text: io::Result<String>) -> anyhow::Result<Rules> {
    let text = text.with_context(|| format!("{name}: cannot be read"))?;
    trial::load(&text).map_err(|error| {
        let lines = error.mistakes().iter().map(|mistake| format!("{name}: {mistake}"));
        anyhow!(lines.collect::<Vec<_>>().join("\n"))
    })
}

impl ValueEnum for Role {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()))
    }
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

    /// Flags without a variable: for a variable that means two things, and for requests, which a
    /// variable would add to each command line unseen, and of which several cannot stand in one
    /// variable, because a path may contain a comma.
    const WITHOUT_VARIABLE: [(&str, &[&str]); 3] = [
        ("mutate", &["output"]),
        ("doctor", &["output"]),
        (
            "conf",
            &[
                "spark-config-map",
                "hadoop-config-map",
                "config-map",
                "secret",
                "gcp-service-account",
                "hadoop-delegation-token",
            ],
        ),
    ];

    #[test]
    fn the_command_line_is_consistent_and_every_flag_has_a_variable_but_for_these() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for subcommand in command.get_subcommands().filter(|command| command.get_name() != "help") {
            let without = WITHOUT_VARIABLE
                .iter()
                .find(|(name, _)| *name == subcommand.get_name())
                .map_or(&[][..], |(_, flags)| flags);
            for flag in subcommand
                .get_arguments()
                .filter(|argument| argument.get_long().is_some_and(|long| long != "help"))
            {
                let variable = format!("SPARK_WEBHOOK_{}", flag.get_id().as_str().to_uppercase());
                let expected = (!without.contains(&flag.get_id().as_str())).then_some(&*variable);
                assert_eq!(flag.get_env().and_then(|name| name.to_str()), expected, "{flag}");
            }
        }
    }
}
