//! Pods to try requests on before there is a pod: for `conf`, and for the rules file.
//!
//! [`admit`] itself judges them, so what it says here is what it will say of a pod of this shape.

use serde_json::{Value, json};

use crate::admission::{self, Settings, admit};
use crate::request::Problem;
use crate::spark::Role;

/// A pod with a container and nothing in it, as somebody else than Spark may make.
#[must_use]
pub fn empty(role: Role) -> Value {
    json!({
        "kind": "Pod",
        "metadata": {"name": "sample", "labels": {"spark-role": role.as_str()}},
        "spec": {"containers": [{"name": "spark"}]},
    })
}

/// A pod as Spark 4.1.2 makes it: conf dir, scratch directory and service account token are
/// mounted.
#[must_use]
pub fn spark(role: Role) -> Value {
    let (conf_volume, mark, args) = match role {
        Role::Driver => (
            "spark-conf-volume-driver",
            json!({"name": "SPARK_DRIVER_BIND_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}),
            json!([
                "driver",
                "--properties-file",
                "/opt/spark/conf/spark.properties",
                "--class",
                "Main",
                "local:///app.jar"
            ]),
        ),
        Role::Executor => (
            "spark-conf-volume-exec",
            json!({"name": "SPARK_EXECUTOR_ID", "value": "1"}),
            json!(["executor"]),
        ),
    };
    let items = json!([{"key": "spark.properties", "path": "spark.properties", "mode": 0o644}]);
    json!({
        "kind": "Pod",
        "metadata": {"name": "sample", "labels": {"spark-role": role.as_str(), "spark-version": "4.1.2"}},
        "spec": {
            "volumes": [
                {"name": "spark-local-dir-1", "emptyDir": {}},
                {"name": conf_volume, "configMap": {"name": "spark-conf-map", "items": items, "defaultMode": 0o644}},
                {"name": "kube-api-access", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            ],
            "containers": [{
                "name": format!("spark-kubernetes-{}", role.as_str()),
                "args": args,
                "env": [
                    mark,
                    {"name": "SPARK_LOCAL_DIRS", "value": "/var/data/spark-local"},
                    {"name": "SPARK_CONF_DIR", "value": "/opt/spark/conf"},
                ],
                "volumeMounts": [
                    {"name": "spark-local-dir-1", "mountPath": "/var/data/spark-local"},
                    {"name": conf_volume, "mountPath": "/opt/spark/conf"},
                    {"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
                ],
            }],
        },
    })
}

/// The review that an API server would send for a sample.
#[must_use]
pub fn review(pod: &Value) -> String {
    admission::review::of(pod, "default").to_string()
}

/// What the webhook says of the review of a sample.
#[must_use]
pub fn problems(review: &str, settings: &Settings) -> Vec<Problem> {
    // The test below holds samples to be pods that can be answered.
    admit(review.as_bytes(), settings)
        .ok()
        .and_then(|admission| admission.summary)
        .map(|summary| summary.problems.to_vec())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Outcome;
    use crate::request::Severity;

    #[test]
    fn every_sample_gets_what_it_requests() {
        for (pod, role) in [Role::Driver, Role::Executor]
            .into_iter()
            .flat_map(|role| [(empty(role), role), (spark(role), role)])
        {
            let mut pod = pod;
            pod["metadata"]["annotations"] = json!({
                "spark-operator.k8s.io/sparkConfigMap": "c:merge",
                "spark-operator.k8s.io/hadoopConfigMap": "h:merge",
                "spark-operator.k8s.io/secret.s": "/mnt/s",
            });
            let review = review(&pod);
            assert_eq!(problems(&review, &Settings::default()), [], "{pod}");
            let admission = admit(review.as_bytes(), &Settings::default()).unwrap();
            assert_eq!(
                (admission.outcome, admission.summary.unwrap().role),
                (Outcome::Mutated, role),
                "{pod}"
            );
        }
    }

    #[test]
    fn a_sample_tells_what_fails_in_pods_of_its_shape() {
        let errors = |mut pod: Value| {
            pod["metadata"]["annotations"] = json!({
                "spark-operator.k8s.io/configMap.a": "/opt/spark/conf/a:file=a",
                "spark-operator.k8s.io/sparkConfigMap": "c:merge:path=/opt/spark/conf",
            });
            problems(&review(&pod), &Settings::default())
                .iter()
                .filter(|problem| problem.severity() == Severity::Error)
                .count()
        };
        for role in [Role::Driver, Role::Executor] {
            assert_eq!((errors(spark(role)), errors(empty(role))), (2, 1), "{role:?}");
        }
    }
}
