//! A pod as its neighbours leave it: a mesh, a vault, a log shipper and an exporter have put their
//! sidecars before Spark's container, and their volumes beside Spark's.

use serde_json::{Value, json};

/// The review with four sidecars and 40 volumes, ten of which are mounted in the container that was
/// the first.
pub fn with_sidecars(review: &[u8]) -> Vec<u8> {
    let mut review: Value = serde_json::from_slice(review).unwrap();
    let spec = &mut review["request"]["object"]["spec"];
    let mount = |i: usize| json!({"name": format!("neighbour-{i}"), "mountPath": format!("/var/lib/neighbours/{i}"), "readOnly": true});
    let sidecar = |(i, name): (usize, &str)| {
        let value = |variable: usize| json!({"name": format!("VARIABLE_{variable}"), "value": "something of some length"});
        let field = |variable: usize| json!({"name": format!("FIELD_{variable}"), "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}});
        let env: Vec<Value> = (0..10).map(value).chain((0..5).map(field)).collect();
        let mounts: Vec<Value> = (0..5).map(|mounted| mount(10 + 5 * i + mounted)).collect();
        json!({
            "name": name,
            "image": format!("registry.example/{name}:1.0.0"),
            "args": ["proxy", "sidecar", "--domain", "$(POD_NAMESPACE).svc.cluster.local", "--log-level", "warning"],
            "env": env,
            "ports": [{"name": "http", "containerPort": 15090, "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true},
            "volumeMounts": mounts,
        })
    };
    let containers = spec["containers"].as_array_mut().unwrap();
    containers[0]["volumeMounts"].as_array_mut().unwrap().extend((0..10).map(mount));
    let sidecars = ["istio-proxy", "vault-agent", "fluent-bit", "jmx-exporter"]
        .into_iter()
        .enumerate()
        .map(sidecar);
    containers.splice(0..0, sidecars);
    let volumes = spec["volumes"].as_array_mut().unwrap();
    let volume = |i: usize| {
        let source = match i % 4 {
            0 => json!({"emptyDir": {"medium": "Memory"}}),
            1 => json!({"configMap": {"name": "istio-ca-root-cert", "defaultMode": 420}}),
            2 => {
                json!({"secret": {"secretName": "vault-token", "defaultMode": 420, "items": [{"key": "token", "path": "token"}]}})
            }
            _ => {
                json!({"projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"audience": "istio-ca", "path": "token"}}]}})
            }
        };
        let mut volume = json!({"name": format!("neighbour-{i}")});
        volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        volume
    };
    volumes.extend((0..40 - volumes.len()).map(volume));
    serde_json::to_vec(&review).unwrap()
}
