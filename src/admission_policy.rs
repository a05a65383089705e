//! The plain part of the contract as a MutatingAdmissionPolicy: CEL that the API server itself
//! evaluates, for clusters that want no webhook.
//!
//! The policy is written in `admission_policy.yaml`, for people to read before they apply it. If it
//! changes a pod, the result is the webhook's, to the byte (`tests/cluster/policy.rs` holds both to
//! the same pods). It leaves all other pods unchanged. A ValidatingAdmissionPolicy beside it warns
//! the creator of such a pod. The changes are a JSON patch and not an apply configuration: that
//! would leave a `valueFrom` beside the new value of a variable, which no pod may have.

/// The policies and their bindings, as YAML documents for `kubectl apply -f`.
#[must_use]
pub fn manifest() -> String {
    include_str!("admission_policy.yaml").replace("VERSION", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::path::{KERNEL_FILESYSTEMS, PROTECTED_DIRECTORIES};

    #[test]
    fn it_refuses_every_path_that_is_refused() {
        let words = manifest().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!("in ['{}']", PROTECTED_DIRECTORIES.join("', '"))));
        // The pod's own mounts may be anywhere in it, under either name.
        assert!(words.contains("^/(var/)?run/"));
        assert!(words.contains(&format!(
            "^/({})(/|$)",
            KERNEL_FILESYSTEMS.map(|path| path.trim_start_matches('/')).join("|")
        )));
    }
}
