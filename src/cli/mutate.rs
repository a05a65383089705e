//! `spark-webhook mutate`: what the webhook would do, without a cluster.
//!
//! Every pod is put into an AdmissionReview and given to the function that the server calls, and
//! the patch of its answer is applied, as an API server would. So what is shown here is what will
//! happen.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use anyhow::{Context, anyhow, bail};
use base64_simd::STANDARD;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use serde_saphyr::Location;
use similar::{ChangeTag, TextDiff};

use crate::admission::{Admission, OnProblem, Outcome, Settings, admit, review};
use crate::text::Excerpt;
use crate::yaml::{self, Mistake};

/// Shows what the webhook would do to pods, without a cluster
///
/// Reads Pods, Lists of Pods and AdmissionReviews in YAML or JSON, several documents too, and prints what would change.
/// Warnings, and why a pod would be left alone, go to standard error.
///
///   spark-webhook mutate examples/driver-pod.yaml
///   kubectl get pod my-driver -o yaml | spark-webhook mutate -o patch
///
/// Ends with 0, with 1 where --on-problem deny would refuse a pod (whether it is given or not), with 2 for input that cannot be read.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Mutate {
    /// File to read, or - for standard input
    #[arg(default_value = "-")]
    file: PathBuf,

    /// What to print: the changed pod in YAML, the JSON patch, a readable difference, or the whole
    /// response in JSON
    #[arg(short, long, value_name = "WHAT", default_value = "diff")]
    output: Output,

    /// Namespace in which the pods would be created; without it the pod's own, else default
    #[arg(short, long, env = "SPARK_WEBHOOK_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,

    /// The administrator's rules, in YAML
    #[arg(long, env = "SPARK_WEBHOOK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// What becomes of a driver whose annotations have errors: warn its creator, or deny its
    /// creation
    #[arg(long, env = "SPARK_WEBHOOK_ON_PROBLEM", value_name = "WHAT", default_value = "warn")]
    on_problem: OnProblem,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Pod,
    Patch,
    Diff,
    Response,
}

impl Mutate {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { file, output, namespace, config, on_problem } = self;
        let settings = Settings { on_problem, rules: super::read_rules(config.as_deref())? };
        let shown = if file.as_os_str() == "-" { Path::new("standard input") } else { &file };
        let text = read(&file).with_context(|| format!("{}: cannot be read", shown.display()))?;
        let reviews = documents(&text)
            .and_then(|documents| into_reviews(documents, namespace.as_deref()))
            .with_context(|| shown.display().to_string())?;
        let mut exit_code = ExitCode::SUCCESS;
        for (index, (line, review)) in reviews.iter().enumerate() {
            let body = serde_json::to_vec(review)?;
            let admission = admit(&body, &settings).map_err(|error| {
                // The position is one in our own rendering of the document.
                let error = error.to_string();
                let reason = error.split(" at byte ").next().unwrap_or_default();
                anyhow!("{}: line {line}: {reason}; {EXPECTED}", shown.display())
            })?;
            let name = name(review);
            report(&admission, &name);
            if admission.has_refusable_errors() {
                exit_code = ExitCode::from(1);
            }
            print(output, index, &name, review, &admission)?;
        }
        Ok(exit_code)
    }
}

fn read(file: &Path) -> std::io::Result<String> {
    if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    }
}

/// A document and the line at which it begins.
type Document = (usize, Value);

const EXPECTED: &str = "expected Pods, a List of Pods or an AdmissionReview, in YAML or JSON";

fn documents(text: &str) -> anyhow::Result<Vec<Document>> {
    // JSON is nearly YAML, but not where a string holds surrogate escapes; so what looks like JSON
    // is tried as that first.
    if text.trim_start().starts_with('{')
        && let Some(documents) = json_documents(text)
    {
        return Ok(documents);
    }
    let options = serde_saphyr::options! {
        // As kubectl reads it: YAML 1.1, where `defaultMode: 0444` is octal.
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    let documents: Vec<serde_saphyr::Spanned<Value>> =
        serde_saphyr::from_multiple_with_options(text, options)
            .map_err(|error| anyhow!("{}; {EXPECTED}", mistake(text, error.location())))?;
    if documents.is_empty() {
        bail!("line 1: it is empty; {EXPECTED}");
    }
    let line = |document: &serde_saphyr::Spanned<Value>| {
        usize::try_from(document.defined.line()).unwrap_or_default()
    };
    Ok(documents.into_iter().map(|document| (line(&document), document.value)).collect())
}

fn json_documents(text: &str) -> Option<Vec<Document>> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut documents = Vec::new();
    loop {
        let before = text.get(stream.byte_offset()..).unwrap_or_default();
        let start = text.len() - before.trim_start().len();
        let line = 1 + text.get(..start).unwrap_or_default().matches('\n').count();
        match stream.next() {
            Some(document) => documents.push((line, document.ok()?)),
            None => return Some(documents),
        }
    }
}

/// What is wrong with a text that cannot be read, in words for its author instead of those of the
/// library.
fn mistake(text: &str, location: Option<Location>) -> Mistake {
    let first = match yaml::parse(text) {
        Ok(documents) => documents.into_iter().flat_map(|document| document.mistakes).next(),
        Err(mistake) => Some(mistake),
    };
    first.unwrap_or_else(|| Mistake {
        line: location.and_then(|location| usize::try_from(location.line()).ok()).unwrap_or(1),
        text: "this value cannot be read; put it in quotes".to_owned(),
    })
}

/// Each pod of the documents as the review that an API server would send for it.
fn into_reviews(
    documents: Vec<Document>,
    namespace: Option<&str>,
) -> anyhow::Result<Vec<Document>> {
    let mut reviews = Vec::new();
    for (line, document) in documents {
        let kind = text_at(&document, "/kind").unwrap_or_default();
        match kind {
            "AdmissionReview" => reviews.push((line, document)),
            "Pod" => reviews.push((line, review(document, namespace))),
            "List" | "PodList" => {
                // The items of a PodList may leave out what they are.
                let implied = if kind == "PodList" { "Pod" } else { "nothing" };
                let Some(items) = document.pointer("/items").and_then(Value::as_array).cloned()
                else {
                    bail!("line {line}: the list has no items; {EXPECTED}");
                };
                for (index, mut item) in items.into_iter().enumerate() {
                    let kind = text_at(&item, "/kind").unwrap_or(implied);
                    if kind != "Pod" {
                        bail!(
                            "line {line}: item {index} of the list is of kind {kind}; {EXPECTED}"
                        );
                    }
                    if let Some(pod) = item.as_object_mut() {
                        pod.insert("kind".to_owned(), json!("Pod"));
                    }
                    reviews.push((line, review(item, namespace)));
                }
            }
            "" => bail!("line {line}: there is no kind; {EXPECTED}"),
            other => bail!("line {line}: a {other}; {EXPECTED}"),
        }
    }
    Ok(reviews)
}

fn text_at<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

fn review(mut pod: Value, namespace: Option<&str>) -> Value {
    read_nulls(&mut pod);
    let namespace =
        namespace.or(text_at(&pod, "/metadata/namespace")).unwrap_or("default").to_owned();
    review::of(&pod, &namespace)
}

/// As the API server reads them, which never sends one: in a map of texts a null is an empty text,
/// elsewhere the field is absent.
fn read_nulls(pod: &mut Value) {
    for texts in ["/metadata/labels", "/metadata/annotations", "/spec/nodeSelector"] {
        for text in pod
            .pointer_mut(texts)
            .and_then(Value::as_object_mut)
            .into_iter()
            .flat_map(Map::values_mut)
        {
            if text.is_null() {
                *text = json!("");
            }
        }
    }
    remove_nulls(pod);
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The name of a pod, or the beginning of the name that it will get.
fn name(review: &Value) -> String {
    let named_by = |field: &str| text_at(review, &format!("/request/object/metadata/{field}"));
    let name = named_by("name").or(named_by("generateName")).unwrap_or("without a name");
    Excerpt::new(name, MAX_NAME).to_string()
}

/// Longer ones are rejected by the API server.
const MAX_NAME: usize = 253;

/// What a person should know, beside the output.
fn report(admission: &Admission, name: &str) {
    match admission.outcome {
        Outcome::Ignored(reason) => super::say(format_args!("pod {name}: left alone, {reason}")),
        Outcome::Unchanged => {
            super::say(format_args!("pod {name}: unchanged, there is nothing more to do"));
        }
        Outcome::Mutated => {}
        Outcome::Refused => super::say(format_args!("pod {name}: refused, because of its errors")),
    }
    for problem in admission.summary.iter().flat_map(|summary| summary.problems.iter()) {
        super::say(format_args!("Warning: pod {name}: {}", problem.text()));
    }
}

fn print(
    output: Output,
    index: usize,
    name: &str,
    review: &Value,
    admission: &Admission,
) -> anyhow::Result<()> {
    let mut out = super::stdout();
    let response: Value = serde_json::from_slice(&admission.response)?;
    let patch = match text_at(&response, "/response/patch") {
        Some(patch) => serde_json::from_slice(&STANDARD.decode_to_vec(patch)?)?,
        None => json_patch::Patch::default(),
    };
    let before = review.pointer("/request/object").unwrap_or(&Value::Null);
    let mut after = before.clone();
    json_patch::patch(&mut after, &patch)?;
    match output {
        Output::Response => writeln!(out, "{response}")?,
        Output::Patch => writeln!(out, "{}", serde_json::to_string(&patch)?)?,
        // A refused pod does not come to be, and a deleted one is not in the review.
        Output::Pod if admission.outcome == Outcome::Refused || before.is_null() => {}
        Output::Pod => {
            write!(out, "{}{}", if index == 0 { "" } else { "---\n" }, to_yaml(&after)?)?;
        }
        Output::Diff => print_diff(&mut out, name, &to_yaml(before)?, &to_yaml(&after)?)?,
    }
    Ok(())
}

fn to_yaml(value: &Value) -> anyhow::Result<String> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    Ok(serde_saphyr::to_string_with_options(value, options)?)
}

fn print_diff(out: &mut impl Write, name: &str, before: &str, after: &str) -> std::io::Result<()> {
    if before == after {
        return Ok(());
    }
    let removed = AnsiColor::Red.on_default();
    let added = AnsiColor::Green.on_default();
    let header = AnsiColor::Cyan.on_default();
    writeln!(out, "{removed}--- pod {name}{removed:#}\n{added}+++ pod {name}{added:#}")?;
    let diff = TextDiff::from_lines(before, after);
    for hunk in diff.unified_diff().iter_hunks() {
        writeln!(out, "{header}{}{header:#}", hunk.header().to_string().trim_end())?;
        for change in hunk.iter_changes() {
            let (sign, style) = match change.tag() {
                ChangeTag::Delete => ('-', removed),
                ChangeTag::Insert => ('+', added),
                ChangeTag::Equal => (' ', Style::new()),
            };
            writeln!(out, "{style}{sign}{}{style:#}", change.value().trim_end_matches('\n'))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_and_kinds(text: &str) -> Vec<(usize, String)> {
        documents(text)
            .unwrap()
            .into_iter()
            .map(|(line, document)| (line, document["kind"].as_str().unwrap().to_owned()))
            .collect()
    }

    #[test]
    fn yaml_and_json_with_one_or_more_documents() {
        for (text, expected) in [
            ("kind: Pod\n", vec![(1, "Pod")]),
            ("---\nkind: Pod\n---\nkind: List\n", vec![(2, "Pod"), (4, "List")]),
            ("{\"kind\": \"Pod\"}\n\n{\"kind\": \"List\"}", vec![(1, "Pod"), (3, "List")]),
            ("{kind: Pod}", vec![(1, "Pod")]),
            (r#"{"kind": "Pod", "x": "\ud83d\ude00"}"#, vec![(1, "Pod")]),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(line, kind)| (line, kind.to_owned())).collect();
            assert_eq!(lines_and_kinds(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_read_as_kubectl_reads_them() {
        let documents = documents("kind: Pod\nmode: 0444\nanswer: \"0444\"\n").unwrap();
        assert_eq!(documents[0].1, json!({"kind": "Pod", "mode": 292, "answer": "0444"}));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_line_and_what_was_expected() {
        for (text, expected) in [
            ("", "line 1: it is empty; expected Pods"),
            ("a: 1\nb: [\n", "line 2: \"[\" is not closed; add \"]\"; expected Pods"),
            ("kind: Pod\nkind: Pod\n", "line 2: kind is set twice; remove one; expected Pods"),
            (
                "kind: Pod\nspec: {nodeName: *}\n",
                "line 2: * needs quotes in YAML; write \"*\"; expected Pods",
            ),
            (
                "kind: !!int x\n",
                "line 1: this value cannot be read; put it in quotes; expected Pods",
            ),
            ("kind: Pod\n---\nkind: Service\n", "line 3: a Service; expected Pods"),
            ("a: 1\n", "line 1: there is no kind; expected Pods"),
            ("kind: List\n", "line 1: the list has no items; expected Pods"),
            (
                "kind: List\nitems: [{kind: Pod}, {kind: Job}]\n",
                "line 1: item 1 of the list is of kind Job; expected Pods",
            ),
        ] {
            let error = documents(text)
                .and_then(|documents| into_reviews(documents, None))
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with(expected) && error.contains("expected Pods"),
                "{text:?}: {error}"
            );
        }
    }

    #[test]
    fn a_pod_of_the_wrong_shape_is_named_with_its_documents_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "kind: Pod\n---\nkind: Pod\nspec: {containers: 5}\n").unwrap();
        let mutate = Mutate {
            file: file.path().to_owned(),
            output: Output::Patch,
            namespace: None,
            config: None,
            on_problem: OnProblem::Warn,
        };
        let error = mutate.run().unwrap_err().to_string();
        assert!(
            error.contains(": line 3: the request's object is not a Pod: a value is wrong or missing in containers;"),
            "{error}"
        );
        assert!(error.ends_with(EXPECTED), "{error}");
    }

    #[test]
    fn nulls_are_read_as_the_api_server_reads_them() {
        let text = "kind: Pod\nmetadata: {name: p, labels: {spark-role: driver, team: }, annotations: {note: , a: b}, namespace: }\n\
                    spec:\n  nodeSelector: {pool: ~}\n  affinity:\n  containers: [{name: c, args: , env: [{name: A, value: }]}]\n  volumes:\n";
        let mut pod = documents(text).unwrap().remove(0).1;
        read_nulls(&mut pod);
        assert_eq!(
            pod,
            json!({
                "kind": "Pod",
                "metadata": {"name": "p", "labels": {"spark-role": "driver", "team": ""}, "annotations": {"note": "", "a": "b"}},
                "spec": {"nodeSelector": {"pool": ""}, "containers": [{"name": "c", "env": [{"name": "A"}]}]},
            })
        );
    }

    #[test]
    fn the_namespace_is_the_flags_then_the_pods_then_default() {
        let in_namespace = json!({"kind": "Pod", "metadata": {"namespace": "own"}});
        for (pod, flag, expected) in [
            (&in_namespace, Some("flag"), "flag"),
            (&in_namespace, None, "own"),
            (&json!({"kind": "Pod"}), None, "default"),
        ] {
            assert_eq!(review(pod.clone(), flag)["request"]["namespace"], expected);
        }
    }
}
