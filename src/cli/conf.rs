//! `spark-webhook conf`.
#![expect(clippy::doc_markdown, reason = "the comments on arguments are the text of --help")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use crate::pod::Role;
use crate::properties::{self, RequestSpec, annotations, property};
use crate::request::{Kind, Problem, Severity};
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
    /// ConfigMap for Spark's conf dir
    #[arg(long, value_name = "NAME[:OPTIONS]", help_heading = "What to ask for")]
    spark_config_map: Option<String>,

    /// ConfigMap for Hadoop's conf dir
    #[arg(long, value_name = "NAME[:OPTIONS]", help_heading = "What to ask for")]
    hadoop_config_map: Option<String>,

    /// ConfigMap to mount at a path; may be repeated
    #[arg(long, value_name = "NAME=PATH[:OPTIONS]", help_heading = "What to ask for")]
    config_map: Vec<String>,

    /// Secret to mount at a path; may be repeated
    #[arg(long, value_name = "NAME=PATH[:OPTIONS]", help_heading = "What to ask for")]
    secret: Vec<String>,

    /// Secret with a Google service account's key.json, for GOOGLE_APPLICATION_CREDENTIALS; may be
    /// repeated
    #[arg(long, value_name = "NAME=PATH[:OPTIONS]", help_heading = "What to ask for")]
    gcp_service_account: Vec<String>,

    /// Secret with a hadoop.token, for HADOOP_TOKEN_FILE_LOCATION; may be repeated
    #[arg(long, value_name = "NAME=PATH[:OPTIONS]", help_heading = "What to ask for")]
    hadoop_delegation_token: Vec<String>,

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
        let specs = self.specs()?;
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

    fn specs(self) -> anyhow::Result<Vec<RequestSpec>> {
        let Self {
            spark_config_map,
            hadoop_config_map,
            config_map,
            secret,
            gcp_service_account,
            hadoop_delegation_token,
            roles: _,
            format: _,
        } = self;
        let mut specs = Vec::new();
        for (kind, flag, value) in [
            (Kind::SparkConfigMap, "--spark-config-map", spark_config_map),
            (Kind::HadoopConfigMap, "--hadoop-config-map", hadoop_config_map),
        ] {
            let Some(value) = value else { continue };
            if let Some((name, path)) =
                value.split_once('=').filter(|(name, _)| !name.contains(':'))
            {
                let is_path = path.starts_with('/') && !path.contains(char::is_control);
                let (shown, name) = (Excerpt::new(&value, 100), Excerpt::new(name, 100));
                let path = if is_path { path } else { "/DIRECTORY" };
                bail!(
                    "{flag} {shown}: it takes NAME[:OPTIONS]; for another directory than the default, write {name}:path={path}"
                );
            }
            specs.push(RequestSpec { kind, name: String::new(), value });
        }
        for (kind, flag, values) in [
            (Kind::ConfigMap, "--config-map", config_map),
            (Kind::Secret, "--secret", secret),
            (Kind::GcpServiceAccount, "--gcp-service-account", gcp_service_account),
            (Kind::HadoopDelegationToken, "--hadoop-delegation-token", hadoop_delegation_token),
        ] {
            for text in values {
                let Some((name, value)) = text.split_once('=') else {
                    bail!("{flag} {text}: there is no path, write NAME=PATH")
                };
                specs.push(RequestSpec { kind, name: name.to_owned(), value: value.to_owned() });
            }
        }
        Ok(specs)
    }
}

/// Rejects the set if a request fails on a pod of one of the roles, and tells of everything else
/// that the webhook would say.
fn try_on_pods(roles: &[Role], annotations: &[(String, String)]) -> anyhow::Result<()> {
    let mut problems: Vec<Problem> = Vec::new();
    for problem in roles.iter().flat_map(|role| properties::problems(*role, annotations)) {
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
