//! The administrator's rules: what every pod of a namespace gets by default, and which names its
//! annotations may ask for.
//!
//! A rule's annotations pass the same parser as a pod's when the file is read, so a file that is
//! accepted cannot fail later.

use std::fmt;

use crate::spark::Role;
use crate::yaml::Mistake;

mod allow;
mod defaults;
mod file;
mod glob;
mod selector;

pub use allow::Permitted;
pub use file::{read_text, read_text_from};
pub use glob::Globs;

pub(crate) use allow::AllowRule;
pub(crate) use defaults::{DefaultRule, Written};
pub(crate) use selector::Selector;

/// All rules of a file.
#[derive(Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "RulesFile", description = "The rules file."))]
#[cfg_attr(test, schemars(deny_unknown_fields, transform = tests::add_api_version))]
pub struct Rules {
    /// What pods get that do not ask for it; later rules win.
    #[cfg_attr(test, schemars(default))]
    pub(crate) defaults: Vec<DefaultRule>,
    /// Which names annotations may ask for; everything when there is no such list.
    #[cfg_attr(test, schemars(default, with = "Vec<AllowRule>"))]
    pub(crate) allow: Option<Vec<AllowRule>>,
}

/// What rules select pods by.
pub struct PodAttributes<'s> {
    /// The namespace of the request.
    pub namespace: &'s str,
    /// The role of the pod.
    pub role: Role,
    /// The value of a label.
    pub label: &'s dyn Fn(&str) -> Option<&'s str>,
}

/// Why a file is rejected: all its mistakes in order of lines, or if it is not YAML, the first.
#[derive(Debug, PartialEq, Eq)]
pub struct RulesError {
    mistakes: Vec<Mistake>,
    /// How many more there are than are kept.
    more: usize,
}

/// More mistakes than anybody corrects before the next try.
pub(crate) const MAX_MISTAKES: usize = 100;

impl RulesError {
    /// For at least one mistake.
    pub(crate) fn new(mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort();
        mistakes.dedup();
        let more = mistakes.len().saturating_sub(MAX_MISTAKES);
        mistakes.truncate(MAX_MISTAKES);
        Self { mistakes, more }
    }

    /// The mistakes in order of lines, the first hundred of them.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

/// The first mistake, and how many others there are.
impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mistakes, more } = self;
        let Some((first, others)) = mistakes.split_first() else { return Ok(()) };
        write!(f, "{first}")?;
        match others.len() + more {
            0 => Ok(()),
            1 => f.write_str(" (1 more mistake: spark-webhook check-config lists it)"),
            others => write!(f, " ({others} more mistakes: spark-webhook check-config lists them)"),
        }
    }
}

impl std::error::Error for RulesError {}

impl Rules {
    /// Reads a file's text: the rules without a mistake, and the mistakes of the others. Whether
    /// the rules work on a pod is left to [`crate::trial`].
    #[must_use]
    pub(crate) fn parse(text: &str) -> (Self, Vec<Mistake>) {
        file::parse(text)
    }

    /// Whether there is neither a default nor a restriction.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.defaults.is_empty() && self.allow.is_none()
    }

    /// The namespaces in which some default may apply.
    pub fn default_namespaces(&self) -> impl Iterator<Item = &Globs> {
        self.defaults.iter().map(|rule| &rule.namespaces)
    }
}

#[cfg(test)]
mod tests;
