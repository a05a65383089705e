//! Properties in the plural, `spark.kubernetes.driver.annotations.…`.
//!
//! Spark silently accepts them, but sets no annotation.

use crate::request::PREFIXES;

/// Whether a property is one of our annotations, misspelt in the plural.
pub(super) fn is_plural(property: &str) -> bool {
    let rest = property.strip_prefix("spark.kubernetes.");
    let rest =
        rest.and_then(|rest| rest.strip_prefix("driver").or_else(|| rest.strip_prefix("executor")));
    let annotation = rest.and_then(|rest| rest.strip_prefix(".annotations."));
    annotation
        .is_some_and(|annotation| PREFIXES.iter().any(|prefix| annotation.starts_with(prefix)))
}

/// The property that was meant.
pub(super) fn singular(property: &str) -> String {
    property.replacen(".annotations.", ".annotation.", 1)
}
