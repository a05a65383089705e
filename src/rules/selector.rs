//! Kubernetes' label selectors, as rules select pods.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A label selector: all of its requirements must hold. An empty one selects every pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Selector {
    /// Labels and their values.
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
    /// Further requirements.
    #[serde(default)]
    match_expressions: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RequirementFile")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(with = "RequirementFile"))]
struct Requirement(RequirementFile);

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RequirementFile {
    key: String,
    operator: Operator,
    /// For `In` and `NotIn`.
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl TryFrom<RequirementFile> for Requirement {
    type Error = &'static str;

    fn try_from(file: RequirementFile) -> Result<Self, Self::Error> {
        let needs_values = matches!(file.operator, Operator::In | Operator::NotIn);
        match file.values.is_empty() {
            true if needs_values => Err("In and NotIn need values, write at least one"),
            false if !needs_values => Err("Exists and DoesNotExist take no values, remove them"),
            _ => Ok(Self(file)),
        }
    }
}

impl Selector {
    /// Whether a pod with these labels is selected.
    pub fn selects<'l>(&self, label: &dyn Fn(&str) -> Option<&'l str>) -> bool {
        let Self { match_labels, match_expressions } = self;
        match_labels.iter().all(|(key, value)| label(key) == Some(value))
            && match_expressions.iter().all(|requirement| requirement.holds(label))
    }
}

impl Requirement {
    fn holds<'l>(&self, label: &dyn Fn(&str) -> Option<&'l str>) -> bool {
        let Self(RequirementFile { key, operator, values }) = self;
        let value = label(key);
        let is_in = value.is_some_and(|value| values.iter().any(|other| other == value));
        match operator {
            Operator::In => is_in,
            // As in Kubernetes: a pod without the label is selected.
            Operator::NotIn => !is_in,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn labels_are_selected_as_kubernetes_does() {
        let expression = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "tier", "operator": operator, "values": values}]});
        for (selector, with_batch, without) in [
            (json!({}), true, true),
            (json!({"matchLabels": {"tier": "batch"}}), true, false),
            (json!({"matchLabels": {"tier": "web"}}), false, false),
            (expression("In", json!(["batch", "x"])), true, false),
            (expression("NotIn", json!(["batch"])), false, true),
            (expression("Exists", json!([])), true, false),
            (expression("DoesNotExist", json!([])), false, true),
        ] {
            let parsed: Selector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(parsed.selects(&|key| (key == "tier").then_some("batch")), with_batch, "{selector}");
            assert_eq!(parsed.selects(&|_| None), without, "{selector}");
        }
        for wrong in [
            expression("In", json!([])),
            expression("Exists", json!(["x"])),
            expression("Like", json!(["x"])),
            json!({"matchLabel": {}}),
        ] {
            assert!(serde_json::from_value::<Selector>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
