//! `defaults`: a driver reads `spark-defaults.conf` of its conf dir.
//!
//! Spark starts a driver with `--properties-file`, and then ignores `spark-defaults.conf`, unless
//! `--load-spark-defaults` is there too; what was set at submission still wins (seen with 4.1.2).
//! The option is new in Spark 4: 3.5.9 ends with "Unrecognized option" (seen).

use super::{Array, Edit, NewValue, Plan};
use crate::pod::{Container, Pod};
use crate::request::{ProblemKind, Request};
use crate::spark::Role;
use crate::text::Text;

/// The option that is inserted after the first argument, `driver`.
const LOAD_SPARK_DEFAULTS: &str = "--load-spark-defaults";

/// Plans the driver's arguments for the requests that are mounted.
pub(super) fn apply(
    pod: &Pod,
    role: Role,
    index: usize,
    container: &Container,
    mounted: &[&Request],
    plan: &mut Plan,
) {
    let Some(request) =
        mounted.iter().find(|request| request.options.defaults).filter(|_| role == Role::Driver)
    else {
        return;
    };
    let arguments = container.args.as_deref().unwrap_or_default();
    match obstacle(pod, arguments.first().map(|argument| &**argument)) {
        // Once: it may be there since the first round, or by a template.
        None => {
            if !has_option(arguments.get(1..).unwrap_or_default(), LOAD_SPARK_DEFAULTS) {
                plan.edits.push(Edit::Insert {
                    array: Array::Args { container: index },
                    index: 1,
                    item: NewValue::Text(LOAD_SPARK_DEFAULTS),
                });
            }
        }
        Some(reason) => plan.problems.push(
            ProblemKind::Defaults,
            &request.annotation,
            format_args!("mounted, but spark-defaults.conf is not read: {reason}"),
        ),
    }
}

/// The options of spark-submit that take no value (`SparkSubmitOptionParser` of Spark 4.1).
const SWITCHES: [&str; 8] = [
    "--help",
    "-h",
    "--load-spark-defaults",
    "--supervise",
    "--usage-error",
    "--verbose",
    "-v",
    "--version",
];

/// Whether an option is among the arguments that Spark reads. The first that is neither an option
/// nor an option's value is the primary resource, and whatever follows is the application's.
fn has_option(arguments: &[Text], option: &str) -> bool {
    let mut arguments = arguments.iter().map(|argument| &**argument);
    while let Some(argument) = arguments.next().filter(|argument| argument.starts_with('-')) {
        if argument == option {
            return true;
        }
        if !SWITCHES.contains(&argument) && !argument.contains('=') {
            arguments.next();
        }
    }
    false
}

fn obstacle(pod: &Pod, first_argument: Option<&str>) -> Option<&'static str> {
    let version = pod.metadata.labels.as_ref().and_then(|labels| labels.get("spark-version"));
    let major = version.map(|version| version.split('.').next().unwrap_or_default().parse::<u32>());
    match major {
        None => Some("the pod has no label spark-version"),
        Some(Ok(4..)) if first_argument == Some("driver") => None,
        Some(Ok(4..)) => Some("the arguments do not begin with driver"),
        Some(Ok(_)) => Some("that needs Spark 4"),
        Some(Err(_)) => Some("the label spark-version is no version"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::annotations;
    use crate::mutation::plan;

    /// Only what Spark itself reads counts.
    #[test]
    fn an_argument_of_the_application_is_no_option_of_spark() {
        let before = ["--properties-file", "/p", "--class", "X"];
        for (arguments, expected) in [
            (&[][..], false),
            (&["--load-spark-defaults"], true),
            (&["local:///a.jar", "--load-spark-defaults"], false),
            (&["local:///a.jar", "x", "--load-spark-defaults"], false),
            (&["spark-internal", "--load-spark-defaults"], false),
            (&["--verbose", "-v", "--supervise", "--load-spark-defaults", "local:///a.jar"], true),
            (&["--conf", "a=b", "--load-spark-defaults", "local:///a.jar"], true),
            (&["--conf=a=b", "--load-spark-defaults", "local:///a.jar"], true),
            // The value of an option.
            (&["--name", "--load-spark-defaults", "local:///a.jar"], false),
            (&["--name"], false),
        ] {
            let arguments: Vec<Text> =
                before.iter().chain(arguments).map(|argument| Text::from(*argument)).collect();
            assert_eq!(has_option(&arguments, LOAD_SPARK_DEFAULTS), expected, "{arguments:?}");
        }
    }

    #[test]
    fn the_option_is_inserted_where_spark_knows_it_and_a_note_says_where_not() {
        let own = json!(["driver", "--properties-file", "x"]);
        let note = |reason: &str| {
            Some(format!(
                "sparkConfigMap=c:defaults: mounted, but spark-defaults.conf is not read: {reason}"
            ))
        };
        for (role, version, args, inserted, expected) in [
            (Role::Driver, json!("4.1.2"), &own, true, None),
            (Role::Driver, json!("4.0.0-preview1"), &own, true, None),
            (Role::Driver, json!("10.0"), &own, true, None),
            (Role::Driver, json!("3.5.9"), &own, false, note("that needs Spark 4")),
            (
                Role::Driver,
                json!("latest"),
                &own,
                false,
                note("the label spark-version is no version"),
            ),
            (Role::Driver, Value::Null, &own, false, note("the pod has no label spark-version")),
            (
                Role::Driver,
                json!("4.1.2"),
                &json!(["sh"]),
                false,
                note("the arguments do not begin with driver"),
            ),
            (
                Role::Driver,
                json!("4.1.2"),
                &Value::Null,
                false,
                note("the arguments do not begin with driver"),
            ),
            (
                Role::Driver,
                json!("4.1.2"),
                &json!(["driver", "--load-spark-defaults", "x"]),
                false,
                None,
            ),
            (
                Role::Driver,
                json!("4.1.2"),
                &json!(["driver", "x", "--load-spark-defaults"]),
                true,
                None,
            ),
            (Role::Executor, json!("4.1.2"), &json!(["executor"]), false, None),
            (Role::Executor, json!("3.5.9"), &json!(["executor"]), false, None),
        ] {
            let labels =
                if version.is_null() { json!({}) } else { json!({"spark-version": version}) };
            let pod =
                json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "spark", "args": args}]}}).to_string();
            let pod: Pod = serde_json::from_str(&pod).unwrap();
            let requests = annotations::parse(
                [("spark-operator.k8s.io/sparkConfigMap", "c:defaults")].into_iter(),
            );
            let plan = plan(&pod, role, &requests);
            let is_inserted = plan.edits.iter().any(|edit| {
                matches!(edit, Edit::Insert { array: Array::Args { container: 0 }, index: 1, .. })
            });
            assert_eq!(is_inserted, inserted, "{version} {args}");
            assert_eq!(
                plan.problems.first().map(|problem| problem.text().to_owned()),
                expected,
                "{version} {args}"
            );
            assert_eq!(plan.mounts().len(), 1);
        }
    }
}
