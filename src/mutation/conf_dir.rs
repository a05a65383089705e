//! `merge`: a conf dir that shows Spark's own files and the user's.
//!
//! Spark mounts a ConfigMap with what was shipped at submission where `SPARK_CONF_DIR` points, and
//! with `spark.kubernetes.hadoop.configMapName` one where `HADOOP_CONF_DIR` points. A mount
//! elsewhere, with the variable changed, would hide those files. A projected volume of both shows
//! them all, and where both have a file, the user's (seen with 3.5 and 4.1).

use super::mounts::{Merge, MountTable};
use crate::pod::{ConfigMapVolumeSource, Volume, VolumeSource};
use crate::request::Request;

/// How a request is carried out: without `merge` plain.
///
/// `mounted` are the requests that are carried out before this one.
pub(super) fn merge<'a>(
    table: &MountTable<'a>,
    mounted: &[&Request],
    request: &Request,
) -> Merge<'a> {
    if !request.options.merge {
        return Merge::Plain;
    }
    let is_users =
        |source: &ConfigMapVolumeSource| source.name.as_deref() == Some(request.name.as_str());
    let path = request.path.as_str();
    let last = match table.volume_at(path).map(|(_, volume)| &volume.source) {
        Some(VolumeSource::Projected(projected)) => {
            projected.sources.as_deref().and_then(<[_]>::last)
        }
        _ => None,
    };
    let is_this = |source: &ConfigMapVolumeSource| {
        is_users(source)
            && source.optional.unwrap_or(false) == request.options.optional
            && source.items.as_ref().is_none_or(Vec::is_empty)
    };
    if last.and_then(|last| last.config_map.as_ref()).is_some_and(is_this) {
        return Merge::AlreadyThere;
    }
    let variable = request.variable();
    let Some(variable) = variable else { return Merge::Plain };
    let Some(directory) = directory(table, variable.name) else { return Merge::Plain };
    // A directory of our own, which an enforced default has put into the variable: in the first
    // round it was not there.
    let is_set_by = |other: &&Request| {
        other
            .variable()
            .is_some_and(|other| other.name == variable.name && other.value == directory)
    };
    if mounted.iter().any(is_set_by) {
        return Merge::Plain;
    }
    match table.volume_at(directory) {
        Some((directory, Volume { source: VolumeSource::ConfigMap(base), .. }))
            if !is_users(base) =>
        {
            if directory == path {
                Merge::OntoItself
            } else {
                Merge::Onto(base)
            }
        }
        _ => Merge::Plain,
    }
}

/// The directory that a variable names, if it is known before the container runs.
fn directory<'a>(table: &MountTable<'a>, variable: &str) -> Option<&'a str> {
    let entry = table.container().env.iter().flatten().rfind(|entry| &*entry.name == variable)?;
    let value =
        entry.value.as_deref().filter(|value| !value.contains("$(") && !value.contains("$$"))?;
    entry.value_from.is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::annotations;
    use crate::mutation::{NewVolume, plan};
    use crate::pod::Pod;
    use crate::request::Origin;
    use crate::spark::Role;

    /// The volumes that are planned, then the problems.
    fn planned(spec: &Value, annotations: &[(&str, &str)]) -> (Vec<Value>, Vec<String>) {
        let pod = json!({"spec": spec}).to_string();
        let pod: Pod = serde_json::from_str(&pod).unwrap();
        let annotations: Vec<_> = annotations
            .iter()
            .map(|(key, value)| (format!("spark-operator.k8s.io/{key}"), *value))
            .collect();
        let requests = annotations::parse(annotations.iter().map(|(key, value)| (&**key, *value)));
        let plan = plan(&pod, Role::Driver, &requests);
        let volumes = plan.volumes().into_iter().map(written).collect();
        (volumes, plan.problems.iter().map(|problem| problem.text().to_owned()).collect())
    }

    fn written(volume: &NewVolume) -> Value {
        let mut bytes = Vec::new();
        volume.write(&mut bytes);
        serde_json::from_slice(&bytes).unwrap()
    }

    /// A pod whose variable names a directory at which a volume is mounted.
    fn spark_with(env: &Value, volume: &Value, mount_path: &str) -> Value {
        let mut volume = volume.clone();
        volume["name"] = json!("conf");
        let mount = json!({"name": "conf", "mountPath": mount_path});
        json!({"volumes": [volume], "containers": [{"name": "spark", "env": env, "volumeMounts": [mount]}]})
    }

    fn sparks_own() -> Value {
        let items = json!([{"key": "spark.properties", "path": "spark.properties", "mode": 420}]);
        json!({"configMap": {"name": "spark-drv-conf-map", "items": items, "defaultMode": 420}})
    }

    fn env(value: &str) -> Value {
        json!([{"name": "SPARK_CONF_DIR", "value": value}])
    }

    #[test]
    fn the_users_config_map_is_projected_over_sparks_own() {
        let spec = spark_with(&env("/opt/spark/conf"), &sparks_own(), "/opt/spark/conf/");
        let base = json!({"configMap": {"name": "spark-drv-conf-map", "items": [{"key": "spark.properties", "path": "spark.properties", "mode": 420}]}});
        let (volumes, problems) = planned(&spec, &[("sparkConfigMap", "mine:merge")]);
        let mine = json!({"configMap": {"name": "mine"}});
        assert_eq!(
            volumes,
            [json!({"name": "spark-config-map-volume", "projected": {"sources": [base, mine]}})]
        );
        assert_eq!(problems, [""; 0]);
        let (volumes, _) = planned(&spec, &[("sparkConfigMap", "mine:merge:optional:mode=0440")]);
        let mine = json!({"configMap": {"name": "mine", "optional": true}});
        assert_eq!(
            volumes,
            [
                json!({"name": "spark-config-map-volume", "projected": {"sources": [base, mine], "defaultMode": 0o440}})
            ]
        );
    }

    #[test]
    fn without_a_base_it_is_the_plain_form() {
        let plain = [json!({"name": "spark-config-map-volume", "configMap": {"name": "mine"}})];
        let value_from = json!([{"name": "SPARK_CONF_DIR", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]);
        let mut sub_path = spark_with(&env("/c"), &sparks_own(), "/c");
        sub_path["containers"][0]["volumeMounts"][0]["subPath"] = json!("x");
        for (what, spec) in [
            ("no entry", spark_with(&json!([]), &sparks_own(), "/c")),
            ("valueFrom", spark_with(&value_from, &sparks_own(), "/c")),
            ("a variable in the value", spark_with(&env("/$(X)"), &sparks_own(), "/$(X)")),
            ("nothing mounted", spark_with(&env("/c"), &sparks_own(), "/d")),
            ("subPath", sub_path),
            ("another kind of volume", spark_with(&env("/c"), &json!({"emptyDir": {}}), "/c")),
            (
                "the user's own",
                spark_with(&env("/c"), &json!({"configMap": {"name": "mine"}}), "/c"),
            ),
        ] {
            assert_eq!(
                planned(&spec, &[("sparkConfigMap", "mine:merge")]),
                (plain.to_vec(), vec![]),
                "{what}"
            );
        }
        // And what the plain form finds already there, it does not mount again.
        let there = spark_with(
            &env("/etc/spark/conf"),
            &json!({"configMap": {"name": "mine"}}),
            "/etc/spark/conf",
        );
        assert_eq!(planned(&there, &[("sparkConfigMap", "mine:merge")]), (vec![], vec![]));
    }

    #[test]
    fn a_projection_that_ends_with_the_users_config_map_is_already_there() {
        let projected = |last: Value| json!({"projected": {"sources": [{"configMap": {"name": "base"}}, {"configMap": last}], "defaultMode": 420}});
        for (last, is_there) in [
            (json!({"name": "mine"}), true),
            (json!({"name": "mine", "items": []}), true),
            (json!({"name": "mine", "optional": true}), false),
            (json!({"name": "x"}), false),
            // It shows some of the files only.
            (
                json!({"name": "mine", "items": [{"key": "log4j2.properties", "path": "log4j2.properties"}]}),
                false,
            ),
        ] {
            let spec = spark_with(&env("/etc/spark/conf"), &projected(last), "/etc/spark/conf");
            let (volumes, problems) = planned(&spec, &[("sparkConfigMap", "mine:merge")]);
            assert_eq!((volumes.len(), problems.is_empty()), (0, is_there));
        }
    }

    #[test]
    fn where_it_cannot_be_merged_the_error_says_what_to_write() {
        let spec = spark_with(&env("/opt/spark/conf"), &sparks_own(), "/opt/spark/conf");
        let (_, problems) =
            planned(&spec, &[("sparkConfigMap", "mine:merge:path=/opt/spark/conf")]);
        assert_eq!(
            problems,
            [
                "sparkConfigMap=mine:merge:path=/opt/spark/conf: Spark's own files are at that path; write merge:path=OTHER"
            ]
        );

        let mut spec = spark_with(&env("/opt/spark/conf"), &sparks_own(), "/opt/spark/conf");
        spec["volumes"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "there", "configMap": {"name": "mine"}}));
        spec["containers"][0]["volumeMounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "there", "mountPath": "/etc/spark/conf"}));
        let (_, problems) = planned(&spec, &[("sparkConfigMap", "mine:merge")]);
        assert_eq!(
            problems,
            [
                "sparkConfigMap=mine:merge: volume there is mounted there; remove that mount or this annotation"
            ]
        );
    }

    /// A directory that serves as both conf dirs is a base for Hadoop's, though `SPARK_CONF_DIR`
    /// names it too.
    #[test]
    fn a_directory_that_another_variable_names_too_is_a_base() {
        let env = json!([{"name": "HADOOP_CONF_DIR", "value": "/conf"}]);
        let spec = spark_with(&env, &json!({"configMap": {"name": "both"}}), "/conf");
        let (volumes, problems) = planned(
            &spec,
            &[("sparkConfigMap", "both:path=/conf"), ("hadoopConfigMap", "mine:merge")],
        );
        let sources = json!([{"configMap": {"name": "both"}}, {"configMap": {"name": "mine"}}]);
        assert_eq!(
            volumes,
            [json!({"name": "hadoop-config-map-volume", "projected": {"sources": sources}})]
        );
        assert_eq!(problems, [""; 0]);
    }

    /// The enforced default comes first. What the variable named before is merged all the same.
    #[test]
    fn a_directory_that_loses_its_variable_to_an_enforced_default_is_a_base() {
        let env = json!([{"name": "HADOOP_CONF_DIR", "value": "/opt/hadoop/conf"}]);
        let base = json!({"configMap": {"name": "submitted"}});
        let pod = json!({"spec": spark_with(&env, &base, "/opt/hadoop/conf")}).to_string();
        let pod: Pod = serde_json::from_str(&pod).unwrap();
        let mut requests = annotations::parse(
            [
                ("spark-operator.k8s.io/hadoopConfigMap", "mine:merge"),
                ("spark-operator.k8s.io/configMap.enforced", "/etc/enforced:env=HADOOP_CONF_DIR"),
            ]
            .into_iter(),
        );
        requests.mounts.reverse();
        requests.mounts[0].origin = Origin::Enforced;
        let plan = plan(&pod, Role::Driver, &requests);
        let volumes: Vec<Value> = plan.volumes().into_iter().map(written).collect();
        let sources =
            json!([{"configMap": {"name": "submitted"}}, {"configMap": {"name": "mine"}}]);
        assert_eq!(volumes[1]["projected"]["sources"], sources, "{volumes:?}");
    }

    #[test]
    fn hadoops_directory_is_merged_by_its_own_variable() {
        let env = json!([{"name": "HADOOP_CONF_DIR", "value": "/opt/hadoop/conf"}]);
        let spec = spark_with(
            &env,
            &json!({"configMap": {"name": "hadoop-properties", "optional": true}}),
            "/opt/hadoop/conf",
        );
        let (volumes, _) = planned(&spec, &[("hadoopConfigMap", "mine:merge")]);
        assert_eq!(
            volumes,
            [json!({"name": "hadoop-config-map-volume", "projected": {"sources": [
                {"configMap": {"name": "hadoop-properties", "optional": true}}, {"configMap": {"name": "mine"}},
            ]}})]
        );
    }
}
