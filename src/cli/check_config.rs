//! `spark-webhook check-config`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::annotations::Requests;
use crate::config::{self, Permitted, PodAttributes, Rules};
use crate::registration;
use crate::request::{Origin, PREFIXES};
use crate::resolve;
use crate::spark::Role;
use crate::trial;

/// Checks a rules file, and shows what it means for a namespace
///
///   spark-webhook check-config examples/rules.yaml
///   spark-webhook check-config examples/rules.yaml --namespace team-a --role executor
///
/// With --namespace, it prints the defaults of a pod, the names that a pod may request, and which pods the registration sends to
/// the webhook. Warnings go to standard error.
///
/// Exits with status 0, or with status 2 and a line for each mistake if serve would reject the file.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct CheckConfig {
    /// File to check, in YAML, or - for standard input
    file: PathBuf,

    /// Namespace of the pods to show the rules for
    #[arg(short, long, env = "SPARK_WEBHOOK_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,

    /// Role of the pod to show the defaults of
    #[arg(
        long,
        env = "SPARK_WEBHOOK_ROLE",
        value_name = "ROLE",
        default_value = "driver",
        requires = "namespace"
    )]
    role: Role,

    /// A label of the pod to show the defaults of; may be repeated
    #[arg(
        long,
        env = "SPARK_WEBHOOK_LABEL",
        value_name = "KEY=VALUE",
        value_delimiter = ',',
        requires = "namespace"
    )]
    label: Vec<String>,
}

impl CheckConfig {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { file, namespace, role, label } = self;
        let is_standard_input = file.as_os_str() == "-";
        let name =
            if is_standard_input { "standard input".into() } else { file.display().to_string() };
        let text = if is_standard_input {
            config::read_text_from(io::stdin())
        } else {
            config::read_text(&file)
        };
        let rules = super::parse_rules(&name, text)?;
        for warning in trial::warnings(&rules) {
            super::say(format_args!("Warning: {name}: {warning}"));
        }
        let mut out = super::stdout();
        let Some(namespace) = namespace else {
            writeln!(out, "{name}: ok")?;
            return Ok(ExitCode::SUCCESS);
        };
        let labels: Vec<(&str, &str)> =
            label.iter().map(|label| label.split_once('=').unwrap_or((label, ""))).collect();
        let label =
            |key: &str| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        writeln!(out, "Defaults of the {} in {namespace}:", role.as_str())?;
        write_defaults(
            &mut out,
            &rules,
            &PodAttributes { namespace: &namespace, role, label: &label },
        )?;
        writeln!(out, "Names that a pod may request in {namespace}:")?;
        write_permitted(&mut out, &rules, &namespace)?;
        writeln!(out, "Pods of {namespace} that the registration sends to the webhook:")?;
        let is_sent = rules.default_namespaces().any(|globs| globs.contains(&namespace));
        let [first, second] = PREFIXES;
        let annotated =
            format!("drivers and executors with an annotation under {first} or {second}");
        writeln!(out, "  {}", if is_sent { "all drivers and executors" } else { &annotated })?;
        writeln!(
            out,
            "Match condition of the registration:\n  {}",
            registration::condition(&rules)
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

fn write_defaults(out: &mut impl Write, rules: &Rules, pod: &PodAttributes) -> io::Result<()> {
    let defaults = resolve::apply(rules, pod, Requests::default());
    if defaults.mounts.is_empty() {
        return writeln!(out, "  none");
    }
    for request in &defaults.mounts {
        let kind = request.object_kind().as_str();
        let optional = if request.options.optional { ", optional" } else { "" };
        let merge = if request.options.merge { ", merged with Spark's own" } else { "" };
        let enforced = if request.origin == Origin::Enforced { ", enforced" } else { "" };
        writeln!(
            out,
            "  {}  →  {kind} {} at {}{optional}{merge}{enforced}",
            request.annotation, request.name, request.path
        )?;
    }
    Ok(())
}

fn write_permitted(out: &mut impl Write, rules: &Rules, namespace: &str) -> io::Result<()> {
    let Some(Permitted { config_maps, secrets }) = rules.permitted_in(namespace) else {
        return writeln!(out, "  any ConfigMap and any Secret, because the file has no allow list");
    };
    for (kind, lists) in [("ConfigMaps", config_maps), ("Secrets", secrets)] {
        let lists: Vec<String> = lists.iter().map(ToString::to_string).collect();
        writeln!(
            out,
            "  {kind}: {}",
            if lists.is_empty() { "none".to_owned() } else { lists.join("; and ") }
        )?;
    }
    Ok(())
}
