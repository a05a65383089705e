//! `spark-webhook conf`.
#![expect(clippy::doc_markdown, reason = "the comments on arguments are the text of --help")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use serde_json::{Map, Value};

use crate::request::kind::{KINDS, KindSpec, PathFrom};
use crate::request::{Problem, Severity};
use crate::spark::Role;
use crate::spark_conf::{self, RequestSpec, annotations, property};
use crate::text::Excerpt;

/// Writes the Spark properties that ask for mounts, checked as a pod's annotations are
///
/// The requests are checked one by one and together, on a driver and an executor as Spark makes them. If one of them fails there,
/// conf writes nothing and exits with status 2.
///
///   spark-submit $(spark-webhook conf --hadoop-config-map hadoop-conf --secret keytab=/mnt/keytab:mode=0440 --format args) ...
///   spark-webhook conf --spark-config-map spark-conf:merge >> spark-defaults.conf
///
/// Options follow a name or path after a colon: optional, mode=0440, file=KEY, env=VAR, key=FILE, path=DIR, merge, defaults.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Conf {
    #[command(flatten)]
    requested: Requested,

    /// Pods that are to ask; in client mode there are only executors
    #[arg(long, env = "SPARK_WEBHOOK_ROLES", value_name = "ROLES", default_value = "both")]
    roles: Roles,

    /// How to write the properties: as a properties file, as arguments of spark-submit, as JSON, as
    /// PYSPARK_SUBMIT_ARGS, or as the --properties-file of spark8t's service-account-registry (1.5
    /// or later)
    #[arg(long, env = "SPARK_WEBHOOK_FORMAT", value_name = "FORMAT", default_value = "properties")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Roles {
    Both,
    Driver,
    Executor,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Properties,
    Args,
    Json,
    Env,
    Spark8t,
}

impl Conf {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (roles, format) = (self.roles, self.format);
        let specs = self.requested.specs()?;
        if specs.is_empty() {
            bail!(
                "nothing is asked for; give at least one of --spark-config-map, --hadoop-config-map, --config-map, --secret (see --help)"
            );
        }
        let annotations = annotations(&specs)?;
        let roles: &[Role] = match roles {
            Roles::Both => &[Role::Driver, Role::Executor],
            Roles::Driver => &[Role::Driver],
            Roles::Executor => &[Role::Executor],
        };
        try_on_pods(roles, &annotations)?;
        let properties: Vec<(String, &str)> = roles
            .iter()
            .flat_map(|role| {
                annotations.iter().map(|(key, value)| (property(*role, key), value.as_str()))
            })
            .collect();
        super::stdout().write_all(write(format, &properties)?.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The values of the flags that request something: one flag for each kind of request.
#[derive(Debug)]
struct Requested(Vec<(&'static KindSpec, String)>);

impl Args for Requested {
    fn augment_args(command: Command) -> Command {
        command.args(KINDS.iter().map(|KindSpec { flag, path, .. }| {
            let (value_name, action) = match path {
                PathFrom::Default(_) => ("NAME[:OPTIONS]", ArgAction::Set),
                PathFrom::Value => ("NAME=PATH[:OPTIONS]", ArgAction::Append),
            };
            Arg::new(flag.name)
                .long(flag.name)
                .value_name(value_name)
                .action(action)
                .help(flag.help)
                .help_heading("What to ask for")
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Requested {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let values = KINDS.iter().flat_map(|spec| {
            let values = matches.get_many::<String>(spec.flag.name).into_iter().flatten();
            values.map(move |value| (spec, value.clone()))
        });
        Ok(Self(values.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Requested {
    fn specs(self) -> anyhow::Result<Vec<RequestSpec>> {
        self.0.into_iter().map(|(spec, value)| request_spec(spec, &value)).collect()
    }
}

/// The request of one flag.
fn request_spec(spec: &KindSpec, value: &str) -> anyhow::Result<RequestSpec> {
    let flag = spec.flag.name;
    match (spec.path, value.split_once('=')) {
        (PathFrom::Value, Some((name, value))) => {
            Ok(RequestSpec { kind: spec.kind, name: name.to_owned(), value: value.to_owned() })
        }
        (PathFrom::Value, None) => bail!("--{flag} {value}: there is no path, write NAME=PATH"),
        (PathFrom::Default(_), Some((name, path))) if !name.contains(':') => {
            let is_path = path.starts_with('/') && !path.contains(char::is_control);
            let (shown, name) = (Excerpt::new(value, 100), Excerpt::new(name, 100));
            let path = if is_path { path } else { "/DIRECTORY" };
            bail!(
                "--{flag} {shown}: it takes NAME[:OPTIONS]; for another directory than the default, write {name}:path={path}"
            )
        }
        (PathFrom::Default(_), _) => {
            Ok(RequestSpec { kind: spec.kind, name: String::new(), value: value.to_owned() })
        }
    }
}

/// Rejects the set if a request fails on a pod of one of the roles, and tells of everything else
/// that the webhook would say.
fn try_on_pods(roles: &[Role], annotations: &[(String, String)]) -> anyhow::Result<()> {
    let mut problems: Vec<Problem> = Vec::new();
    for problem in roles.iter().flat_map(|role| spark_conf::problems(*role, annotations)) {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    let (errors, notes): (Vec<_>, Vec<_>) =
        problems.iter().partition(|problem| problem.severity() == Severity::Error);
    for note in notes {
        super::say(format_args!("Warning: {}", note.text()));
    }
    if errors.is_empty() {
        return Ok(());
    }
    bail!("{}", errors.iter().map(|error| error.text()).collect::<Vec<_>>().join("\n"))
}

fn write(format: Format, properties: &[(String, &str)]) -> anyhow::Result<String> {
    let mut text = String::new();
    match format {
        Format::Properties | Format::Spark8t => {
            if let Some((key, value)) = properties
                .iter()
                .find(|(_, value)| matches!(format, Format::Spark8t) && has_variable(value))
            {
                bail!(
                    "{key}={value}: spark8t would put a variable of the environment there; use a path without $"
                );
            }
            for (key, value) in properties {
                // To Java's properties a backslash begins an escape.
                writeln!(text, "{key}={}", value.replace('\\', "\\\\"))?;
            }
        }
        Format::Args => {
            // What a shell does to the words of `$(…)`: it splits them at blanks and expands globs,
            // and knows no quotes.
            let is_word = |c: char| !c.is_whitespace() && !matches!(c, '*' | '?' | '[' | '\\');
            if let Some((key, value)) =
                properties.iter().find(|(_, value)| !value.chars().all(is_word))
            {
                bail!(
                    "{key}={value}: a shell would take it apart; use --format properties and spark-submit --properties-file"
                );
            }
            let words: Vec<String> =
                properties.iter().map(|(key, value)| format!("--conf {key}={value}")).collect();
            writeln!(text, "{}", words.join(" "))?;
        }
        Format::Json => {
            let map: Map<String, Value> =
                properties.iter().map(|(key, value)| (key.clone(), Value::from(*value))).collect();
            writeln!(text, "{}", serde_json::to_string_pretty(&map)?)?;
        }
        Format::Env => {
            // PySpark takes it apart as a shell would, quotes included.
            let words: Vec<String> = properties
                .iter()
                .map(|(key, value)| format!("--conf {}", quoted(&format!("{key}={value}"))))
                .collect();
            writeln!(text, "PYSPARK_SUBMIT_ARGS={} pyspark-shell", words.join(" "))?;
        }
    }
    Ok(text)
}

/// Whether Python's `expandvars` finds a variable, which nothing can keep it from.
fn has_variable(value: &str) -> bool {
    value
        .split('$')
        .skip(1)
        .any(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || "_{".contains(c)))
}

fn quoted(word: &str) -> String {
    let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-._/:=,@%+".contains(c));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r#"'"'"'"#)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_says_the_same() {
        let properties = [("a.b/c".to_owned(), "/x"), ("d".to_owned(), "/y:mode=0440")];
        assert_eq!(write(Format::Properties, &properties).unwrap(), "a.b/c=/x\nd=/y:mode=0440\n");
        assert_eq!(
            write(Format::Args, &properties).unwrap(),
            "--conf a.b/c=/x --conf d=/y:mode=0440\n"
        );
        assert_eq!(
            write(Format::Json, &properties).unwrap(),
            "{\n  \"a.b/c\": \"/x\",\n  \"d\": \"/y:mode=0440\"\n}\n"
        );
        assert_eq!(
            write(Format::Env, &properties).unwrap(),
            "PYSPARK_SUBMIT_ARGS=--conf a.b/c=/x --conf d=/y:mode=0440 pyspark-shell\n"
        );
    }

    #[test]
    fn what_spark8t_would_change_is_refused_for_it() {
        for (value, is_refused) in [
            ("/a$b", true),
            ("/a${b}", true),
            ("/$_", true),
            ("/a$", false),
            ("/a$-b", false),
            ("/a b", false),
        ] {
            let properties = [("k".to_owned(), value)];
            assert_eq!(write(Format::Spark8t, &properties).is_err(), is_refused, "{value}");
            assert_eq!(write(Format::Properties, &properties).unwrap(), format!("k={value}\n"));
        }
        assert_eq!(write(Format::Spark8t, &[("k".to_owned(), "/a\\b")]).unwrap(), "k=/a\\\\b\n");
    }

    #[test]
    fn what_a_shell_would_split_is_refused_as_arguments_and_quoted_elsewhere() {
        for value in ["/a b", "/a*", "/a?", "/[a]", "/a\\b"] {
            let properties = [("k".to_owned(), value)];
            let error = write(Format::Args, &properties).unwrap_err().to_string();
            assert!(error.contains("use --format properties"), "{error}");
            assert_eq!(
                write(Format::Env, &properties).unwrap(),
                format!("PYSPARK_SUBMIT_ARGS=--conf 'k={value}' pyspark-shell\n")
            );
        }
        assert_eq!(quoted("it's"), r#"'it'"'"'s'"#);
        assert_eq!(write(Format::Properties, &[("k".to_owned(), "/a\\b")]).unwrap(), "k=/a\\\\b\n");
    }
}
