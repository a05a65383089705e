//! What Spark itself puts into its pods.

use std::fmt;

/// The label that tells drivers and executors from all other pods.
pub const ROLE_LABEL: &str = "spark-role";

/// What Spark runs in a pod: the value of the label `spark-role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The application itself.
    Driver,
    /// A worker of an application.
    Executor,
}

impl Role {
    /// Both roles.
    pub const ALL: [Self; 2] = [Self::Driver, Self::Executor];

    /// Driver or executor. Spark 4 also labels pods `connect-server`, `master` and `worker`, which
    /// have no role here.
    #[must_use]
    pub fn parse(label: &str) -> Option<Self> {
        match label {
            "driver" => Some(Self::Driver),
            "executor" => Some(Self::Executor),
            _ => None,
        }
    }

    /// The label's value, and the first argument that Spark gives its container.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Executor => "executor",
        }
    }

    /// The variable that Spark sets itself, in exactly one container.
    #[must_use]
    pub fn mark(self) -> &'static str {
        match self {
            Self::Driver => "SPARK_DRIVER_BIND_ADDRESS",
            Self::Executor => "SPARK_EXECUTOR_ID",
        }
    }

    /// The names that Spark gives its container where no template does: `executor` up to 2.4, the
    /// long ones since.
    pub(crate) fn container_names(self) -> &'static [&'static str] {
        match self {
            Self::Driver => &["spark-kubernetes-driver"],
            Self::Executor => &["spark-kubernetes-executor", "executor"],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
