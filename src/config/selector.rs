//! Kubernetes' label selectors, as rules select pods.

use std::collections::BTreeMap;

/// A label selector: all of its requirements must hold. An empty one selects every pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename_all = "camelCase", deny_unknown_fields))]
pub struct Selector {
    /// Labels and their values.
    #[cfg_attr(test, schemars(default))]
    pub(super) match_labels: BTreeMap<String, String>,
    /// Further requirements.
    #[cfg_attr(test, schemars(default))]
    pub(super) match_expressions: Vec<Requirement>,
}

/// What a label must be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub(super) struct Requirement {
    key: String,
    operator: Operator,
    /// For `In` and `NotIn`.
    #[cfg_attr(test, schemars(default))]
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Operator {
    pub(super) const ALL: [Self; 4] = [Self::In, Self::NotIn, Self::Exists, Self::DoesNotExist];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::In => "In",
            Self::NotIn => "NotIn",
            Self::Exists => "Exists",
            Self::DoesNotExist => "DoesNotExist",
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

impl Selector {
    /// Whether a pod may have labels that both select.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let requirements = |selector: &Self| {
            let labels = selector.match_labels.iter().map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::In,
                values: vec![value.clone()],
            });
            labels.chain(selector.match_expressions.iter().cloned()).collect::<Vec<_>>()
        };
        let all = [requirements(self), requirements(other)].concat();
        // Without the label, with a value that nobody names, and with each value that is named.
        let can_hold = |key: &str| {
            let of_key: Vec<&Requirement> =
                all.iter().filter(|requirement| requirement.key == key).collect();
            let named =
                of_key.iter().flat_map(|requirement| requirement.values.iter().map(String::as_str));
            let mut candidates = [None, Some("\u{0}")].into_iter().chain(named.map(Some));
            candidates.any(|value| of_key.iter().all(|requirement| requirement.holds(&|_| value)))
        };
        all.iter().all(|requirement| can_hold(&requirement.key))
    }
}

impl Requirement {
    pub(super) fn new(
        key: &str,
        operator: Operator,
        values: Vec<String>,
    ) -> Result<Self, &'static str> {
        let needs_values = matches!(operator, Operator::In | Operator::NotIn);
        match values.is_empty() {
            true if needs_values => Err("In and NotIn need values; write at least one"),
            false if !needs_values => Err("Exists and DoesNotExist take no values; remove them"),
            _ => Ok(Self { key: key.to_owned(), operator, values }),
        }
    }

    fn holds<'l>(&self, label: &dyn Fn(&str) -> Option<&'l str>) -> bool {
        let Self { key, operator, values } = self;
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
    use super::*;

    #[test]
    fn selectors_overlap_where_a_pod_may_have_such_labels() {
        let labels = |labels: &[(&str, &str)]| Selector {
            match_labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..Selector::default()
        };
        let tier = |operator, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            let requirement = Requirement::new("tier", operator, values).unwrap();
            Selector { match_expressions: vec![requirement], ..Selector::default() }
        };
        for (one, other, expected) in [
            (labels(&[]), labels(&[]), true),
            (labels(&[("tier", "a")]), labels(&[]), true),
            (labels(&[("tier", "a")]), labels(&[("tier", "a")]), true),
            (labels(&[("tier", "a")]), labels(&[("tier", "b")]), false),
            (labels(&[("tier", "a")]), labels(&[("other", "b")]), true),
            (labels(&[("tier", "a")]), tier(Operator::In, &["b", "a"]), true),
            (labels(&[("tier", "a")]), tier(Operator::NotIn, &["a"]), false),
            (labels(&[("tier", "a")]), tier(Operator::DoesNotExist, &[]), false),
            (labels(&[("tier", "a")]), tier(Operator::Exists, &[]), true),
            (tier(Operator::In, &["a", "b"]), tier(Operator::In, &["c"]), false),
            (tier(Operator::In, &["a", "b"]), tier(Operator::NotIn, &["a", "b"]), false),
            (tier(Operator::Exists, &[]), tier(Operator::NotIn, &["a"]), true),
            (tier(Operator::Exists, &[]), tier(Operator::DoesNotExist, &[]), false),
            (tier(Operator::NotIn, &["a"]), tier(Operator::DoesNotExist, &[]), true),
        ] {
            assert_eq!(
                (one.overlaps(&other), other.overlaps(&one)),
                (expected, expected),
                "{one:?} {other:?}"
            );
        }
    }

    #[test]
    fn labels_are_selected_as_kubernetes_does() {
        let labels = |value: &str| Selector {
            match_labels: [("tier".to_owned(), value.to_owned())].into(),
            ..Selector::default()
        };
        let expression = |operator, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            let requirement = Requirement::new("tier", operator, values).unwrap();
            Selector { match_expressions: vec![requirement], ..Selector::default() }
        };
        for (selector, with_batch, without) in [
            (Selector::default(), true, true),
            (labels("batch"), true, false),
            (labels("web"), false, false),
            (expression(Operator::In, &["batch", "x"]), true, false),
            (expression(Operator::NotIn, &["batch"]), false, true),
            (expression(Operator::Exists, &[]), true, false),
            (expression(Operator::DoesNotExist, &[]), false, true),
        ] {
            assert_eq!(
                selector.selects(&|key| (key == "tier").then_some("batch")),
                with_batch,
                "{selector:?}"
            );
            assert_eq!(selector.selects(&|_| None), without, "{selector:?}");
        }
        assert!(Requirement::new("tier", Operator::In, vec![]).is_err());
        assert!(Requirement::new("tier", Operator::Exists, vec!["x".to_owned()]).is_err());
    }
}
