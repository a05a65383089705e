//! Which variables Spark's container gets.
//!
//! Of several entries for one variable the kubelet takes the last, so that is the one that counts here. Spark sets
//! `SPARK_CONF_DIR=/opt/spark/conf` in every pod: the entry is replaced where it stands. A pod template cannot do that, as
//! Spark appends its own entry after the template's (seen with 3.5 and 4.1).

use std::borrow::Cow;

use serde::Serialize;

use super::Plan;
use crate::annotations::problem::Excerpt;
use crate::annotations::{Annotation, Problem, Request};
use crate::pod::Container;

/// A variable to set in Spark's container.
#[derive(Debug, Serialize)]
pub struct EnvChange<'a> {
    /// The index of the entry that is replaced whole; absent where one is appended.
    #[serde(skip)]
    pub replaces: Option<usize>,
    name: &'static str,
    value: Cow<'a, str>,
}

/// Plans the variables of all requests that are mounted.
pub(super) fn apply<'a>(container: &Container, mounted: &[&'a Request<'a>], plan: &mut Plan<'a>) {
    plan.env.array_exists = container.env.is_some();
    let mut decided: Vec<(&'static str, Cow<'a, str>, Annotation<'a>)> = Vec::with_capacity(mounted.len());
    for request in mounted {
        let Some((name, value)) = request.env() else { continue };
        match decided.iter().find(|(decided_name, ..)| *decided_name == name) {
            None => {
                plan.env.items.extend(change(container, name, &value));
                decided.push((name, value, request.annotation));
            }
            Some((_, decided_value, _)) if *decided_value == value => {}
            Some((_, _, annotation)) => {
                let setter = annotation.to_string();
                let setter = Excerpt::new(&setter, 40);
                plan.problems.push(Problem::note(request.annotation, format_args!("mounted, but {name} is set by {setter}")));
            }
        }
    }
}

/// What must be done so that the variable has the value; `None` if it has it.
fn change<'a>(container: &Container, name: &'static str, value: &Cow<'a, str>) -> Option<EnvChange<'a>> {
    let entries = container.env.as_deref().unwrap_or_default();
    let last = entries.iter().enumerate().rfind(|(_, entry)| &*entry.name == name);
    let replaces = match last {
        Some((_, entry)) if entry.value_from.is_none() && entry.value.as_deref() == Some(value) => return None,
        Some((index, _)) => Some(index),
        None => None,
    };
    Some(EnvChange { replaces, name, value: value.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::annotations;
    use crate::pod::{Pod, Role};

    fn planned(env: &Value, annotations: &[(&str, &str)]) -> Vec<String> {
        let pod = json!({"spec": {"containers": [{"name": "spark", "env": env}]}}).to_string();
        let pod: Pod = serde_json::from_str(&pod).unwrap();
        let annotations: Vec<_> =
            annotations.iter().map(|(key, value)| (format!("spark-operator.k8s.io/{key}"), *value)).collect();
        let requests = annotations::parse(annotations.iter().map(|(key, value)| (&**key, *value)));
        let plan = super::super::plan(&pod, Role::Driver, &requests);
        let env = plan.env.items.iter().map(|change| {
            let how = change.replaces.map_or("append".to_owned(), |index| format!("replace {index}"));
            format!("{how} {}={}", change.name, change.value)
        });
        env.chain(plan.problems.iter().map(|problem| problem.text().to_owned())).collect()
    }

    #[test]
    fn the_last_entry_of_a_variable_is_the_one_that_counts() {
        let entry = |value: &str| json!({"name": "SPARK_CONF_DIR", "value": value});
        let value_from = json!({"name": "SPARK_CONF_DIR", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}});
        let other = json!({"name": "SPARK_CONF", "value": "x"});
        for (what, env, expected) in [
            ("Spark's own", json!([entry("/opt/spark/conf")]), Some("replace 0")),
            ("two", json!([entry("/a"), other, entry("/b")]), Some("replace 2")),
            ("the first is right, the last is not", json!([entry("/etc/spark/conf"), entry("/b")]), Some("replace 1")),
            ("valueFrom", json!([value_from]), Some("replace 0")),
            ("no value", json!([{"name": "SPARK_CONF_DIR"}]), Some("replace 0")),
            ("no such variable", json!([other]), Some("append")),
            ("empty", json!([]), Some("append")),
            ("absent", Value::Null, Some("append")),
            ("already set", json!([entry("/b"), entry("/etc/spark/conf")]), None),
        ] {
            let expected: Vec<_> = expected.iter().map(|how| format!("{how} SPARK_CONF_DIR=/etc/spark/conf")).collect();
            assert_eq!(planned(&env, &[("sparkConfigMap", "c")]), expected, "{what}");
        }
    }

    #[test]
    fn each_kind_sets_its_variable() {
        assert_eq!(
            planned(
                &json!([]),
                &[
                    ("sparkConfigMap", "s"),
                    ("hadoopConfigMap", "h"),
                    ("GCPServiceAccount.g", "/etc/secrets/"),
                    ("configMap.c", "/c"),
                    ("secret.s", "/s"),
                ]
            ),
            [
                "append SPARK_CONF_DIR=/etc/spark/conf",
                "append HADOOP_CONF_DIR=/etc/hadoop/conf",
                "append GOOGLE_APPLICATION_CREDENTIALS=/etc/secrets/key.json",
            ]
        );
    }

    /// Bug 8 of the initializer: of two it took a random one, and ignored the other without a word.
    #[test]
    fn of_two_google_accounts_the_first_by_name_is_the_variables() {
        assert_eq!(
            planned(&json!([]), &[("GCPServiceAccount.b", "/b"), ("GCPServiceAccount.a", "/a")]),
            [
                "append GOOGLE_APPLICATION_CREDENTIALS=/a/key.json",
                "GCPServiceAccount.b=/b: mounted, but GOOGLE_APPLICATION_CREDENTIALS is set by GCPServiceAccount.a=/a",
            ]
        );
    }
}
