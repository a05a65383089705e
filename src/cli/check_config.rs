//! `spark-webhook check-config`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::rules::{self, Subject};

/// Says what is wrong in a file of rules, and which defaults would apply to a pod
///
///   spark-webhook check-config examples/rules.yaml
///   spark-webhook check-config examples/rules.yaml --namespace team-a --role executor
///
/// Ends with 0, or with 2 and the line and reason for a file that would be refused.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct CheckConfig {
    /// File to check, in YAML, or - for standard input
    file: PathBuf,

    /// Show the defaults that would apply in this namespace
    #[arg(short, long, env = "SPARK_WEBHOOK_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,

    /// Role of the pod to show defaults for
    #[arg(long, env = "SPARK_WEBHOOK_ROLE", value_name = "ROLE", default_value = "driver", requires = "namespace")]
    role: RoleName,

    /// A label of the pod to show defaults for; may be repeated
    #[arg(long, env = "SPARK_WEBHOOK_LABEL", value_name = "KEY=VALUE", value_delimiter = ',', requires = "namespace")]
    label: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleName {
    Driver,
    Executor,
}

impl CheckConfig {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { file, namespace, role, label } = self;
        let is_standard_input = file.as_os_str() == "-";
        let name = if is_standard_input { "standard input".into() } else { file.display().to_string() };
        let text = if is_standard_input { rules::read_text_from(io::stdin()) } else { rules::read_text(&file) };
        let rules = super::parse_rules(&name, text)?;
        let mut out = super::stdout();
        let Some(namespace) = namespace else {
            writeln!(out, "{name}: ok")?;
            return Ok(ExitCode::SUCCESS);
        };
        let labels: Vec<(&str, &str)> = label.iter().map(|label| label.split_once('=').unwrap_or((label, ""))).collect();
        let label = |key: &str| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        let role = match role {
            RoleName::Driver => "driver",
            RoleName::Executor => "executor",
        };
        let defaults = rules.defaults_for(&Subject { namespace: &namespace, role, label: &label });
        if defaults.mounts.is_empty() {
            writeln!(out, "no default applies")?;
        }
        for request in &defaults.mounts {
            let kind = request.source().kind();
            let optional = if request.options.optional { ", optional" } else { "" };
            let merge = if request.options.merge { ", merged with Spark's own" } else { "" };
            let enforced = if request.origin == crate::annotations::Origin::Enforced { ", enforced" } else { "" };
            writeln!(out, "{}  →  {kind} {} at {}{optional}{merge}{enforced}", request.annotation, request.name, request.path)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
