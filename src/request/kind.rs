//! The kinds of request and the keys that name them.

/// Begins every key that this webhook reads; the first is the one to write.
pub const PREFIXES: [&str; 2] = ["spark-operator.k8s.io/", "sparkoperator.k8s.io/"];

/// The annotation that says what was done; the webhook writes it itself.
pub const INJECTED: &str = "spark-operator.k8s.io/injected";

/// The kinds of request, in the order in which they are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `sparkConfigMap`: Spark's conf dir from a ConfigMap.
    SparkConfigMap,
    /// `hadoopConfigMap`: Hadoop's conf dir from a ConfigMap.
    HadoopConfigMap,
    /// `configMap.NAME`: a ConfigMap at a path.
    ConfigMap,
    /// `secret.NAME`: a Secret at a path.
    Secret,
    /// `GCPServiceAccount.NAME`: a Secret with a Google service account's key.
    GcpServiceAccount,
    /// `hadoopDelegationToken.NAME`: a Secret with Hadoop delegation tokens.
    HadoopDelegationToken,
}

impl Kind {
    /// All of them, in their order.
    pub const ALL: [Self; 6] = [
        Self::SparkConfigMap,
        Self::HadoopConfigMap,
        Self::ConfigMap,
        Self::Secret,
        Self::GcpServiceAccount,
        Self::HadoopDelegationToken,
    ];

    /// Its key as documentation writes it, without a name.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::SparkConfigMap => "sparkConfigMap",
            Self::HadoopConfigMap => "hadoopConfigMap",
            Self::ConfigMap => "configMap",
            Self::Secret => "secret",
            Self::GcpServiceAccount => "GCPServiceAccount",
            Self::HadoopDelegationToken => "hadoopDelegationToken",
        }
    }
}
