use super::*;
use crate::annotations;
use crate::spark::Role;

fn rules(yaml: &str) -> Rules {
    let (rules, mistakes) = Rules::parse(&format!("apiVersion: spark-webhook/v1\n{yaml}"));
    assert_eq!(mistakes, []);
    rules
}

/// Requests as `name path (origin, optional, merge)`, then problems, for a driver in a
/// namespace.
fn applied(rules: &Rules, namespace: &str, annotations: &[(&str, &str)]) -> Vec<String> {
    let annotations: Vec<_> = annotations
        .iter()
        .map(|(key, value)| (format!("spark-operator.k8s.io/{key}"), *value))
        .collect();
    let requests = annotations::parse(annotations.iter().map(|(key, value)| (&**key, *value)));
    let label = |key: &str| (key == "tier").then_some("batch");
    let requests =
        apply(rules, &PodAttributes { namespace, role: Role::Driver, label: &label }, requests);
    let mounts = requests.mounts.iter().map(|request| {
        let form = [(request.options.optional, " optional"), (request.options.merge, " merge")];
        let form: String =
            form.into_iter().filter_map(|(is_set, name)| is_set.then_some(name)).collect();
        format!("{} {} {:?}{form}", request.name, request.path, request.origin)
    });
    mounts.chain(requests.problems.iter().map(|problem| problem.text().to_owned())).collect()
}

#[test]
fn a_default_applies_where_namespace_role_and_labels_say() {
    let default = |selection: &str| {
        format!("defaults: [{{{selection}, annotations: {{spark-operator.k8s.io/secret.s: /s}}}}]")
    };
    for (selection, expected) in [
        ("namespaces: [team-*]", true),
        ("namespaces: [other]", false),
        ("namespaces: [\"!team-a\"]", false),
        ("roles: [driver]", true),
        ("roles: [executor]", false),
        ("roles: [driver, executor]", true),
        ("selector: {matchLabels: {tier: batch}}", true),
        ("selector: {matchLabels: {tier: web}}", false),
        ("selector: {matchExpressions: [{key: tier, operator: Exists}]}", true),
        ("required: false", true),
    ] {
        let applied = applied(&rules(&default(selection)), "team-a", &[]);
        assert_eq!(
            applied,
            if expected { vec!["s /s Default optional"] } else { vec![] },
            "{selection}"
        );
    }
}

#[test]
fn what_defaults_may_mount_in_a_namespace_is_known_without_its_pods() {
    let secret = |selection: &str, value: &str| {
        format!("{{{selection}annotations: {{spark-operator.k8s.io/secret.s: {value}}}}}")
    };
    let all = secret("", "/all");
    for (later, expected) in [
        (secret("", "/later"), vec!["/later"]),
        (secret("", "\"\""), vec![]),
        (secret("roles: [driver], ", "/later"), vec!["/all", "/later"]),
        (secret("selector: {matchLabels: {a: b}}, ", "/later"), vec!["/all", "/later"]),
        (secret("namespaces: [other], ", "/later"), vec!["/all"]),
    ] {
        let rules = rules(&format!("defaults: [{all}, {later}]"));
        let paths: Vec<String> =
            requests_in(&rules, "n").iter().map(|request| request.path.to_string()).collect();
        assert_eq!(paths, expected, "{later}");
    }
}

#[test]
fn what_is_not_required_is_optional_and_conf_dirs_are_merged() {
    for (required, annotation, expected) in [
        (
            false,
            "spark-operator.k8s.io/sparkConfigMap: c",
            "c /etc/spark/conf Default optional merge",
        ),
        (
            false,
            "sparkoperator.k8s.io/hadoop-configmap: c",
            "c /etc/hadoop/conf Default optional merge",
        ),
        (false, "spark-operator.k8s.io/configMap.c: /c", "c /c Default optional"),
        (true, "spark-operator.k8s.io/sparkConfigMap: c", "c /etc/spark/conf Default"),
        (
            true,
            "spark-operator.k8s.io/sparkConfigMap: \"c:optional\"",
            "c /etc/spark/conf Default optional",
        ),
        (true, "spark-operator.k8s.io/configMap.c: \"/c/f:file=f\"", "c /c/f Default"),
    ] {
        let rules =
            rules(&format!("defaults: [{{required: {required}, annotations: {{{annotation}}}}}]"));
        assert_eq!(applied(&rules, "n", &[]), [expected], "{annotation}");
    }
}

#[test]
fn a_pods_own_request_replaces_every_default_for_the_name_and_an_empty_one_opts_out() {
    let rules = rules(
        "defaults: [{annotations: {spark-operator.k8s.io/hadoopConfigMap: h, spark-operator.k8s.io/configMaps: \"c=/c1,c=/c2\", spark-operator.k8s.io/secret.s: /s}}]",
    );
    let all = [
        "h /etc/hadoop/conf Default optional merge",
        "c /c1 Default optional",
        "c /c2 Default optional",
        "s /s Default optional",
    ];
    for (annotations, expected) in [
        (&[][..], all.to_vec()),
        (&[("hadoopConfigMap", "mine")], [&["mine /etc/hadoop/conf Pod"], &all[1..]].concat()),
        (&[("hadoop-configmap", "")], all[1..].to_vec()),
        (&[("configMap.c", "/mine")], vec!["c /mine Pod", all[0], all[3]]),
        (&[("configMaps", "c=")], vec![all[0], all[3]]),
        // A ConfigMap and a Secret of one name are two things.
        (&[("secret.c", "")], all.to_vec()),
        // One that is wrong asks all the same.
        (
            &[("secret.s", "rel")],
            vec![
                all[0],
                all[1],
                all[2],
                "secret.s=rel: the path must start with \"/\", write secret.s=/rel",
            ],
        ),
    ] {
        assert_eq!(applied(&rules, "n", annotations), expected, "{annotations:?}");
    }
}

#[test]
fn later_rules_win_and_an_empty_value_removes() {
    let rules = rules(
        "defaults:\n- annotations: {spark-operator.k8s.io/hadoopConfigMap: a, spark-operator.k8s.io/secret.s: /a}\n\
         - namespaces: [x]\n  annotations: {sparkoperator.k8s.io/hadoop-configmap: b, spark-operator.k8s.io/secret.s: \"\"}\n",
    );
    assert_eq!(
        applied(&rules, "n", &[]),
        ["a /etc/hadoop/conf Default optional merge", "s /a Default optional"]
    );
    assert_eq!(applied(&rules, "x", &[]), ["b /etc/hadoop/conf Default optional merge"]);
}

#[test]
fn an_enforced_default_comes_first_and_is_never_overridden() {
    let rules = rules(
        "defaults: [{enforce: true, required: true, annotations: {spark-operator.k8s.io/configMap.c: /c}}]",
    );
    let refusal = "the administrator's default for it is enforced, remove this annotation";
    for (annotations, expected) in [
        (
            &[("sparkConfigMap", "s")][..],
            vec!["c /c Enforced".to_owned(), "s /etc/spark/conf Pod".to_owned()],
        ),
        (
            &[("configMap.c", "/mine")],
            vec!["c /c Enforced".to_owned(), format!("configMap.c=/mine: {refusal}")],
        ),
        // In the same words it is the same request.
        (&[("configMap.c", "/c/")], vec!["c /c Enforced".to_owned()]),
        // The opt-out is not carried out, which its author should know.
        (
            &[("configMap.c", "")],
            vec!["c /c Enforced".to_owned(), format!("configMap.c: {refusal}")],
        ),
        (
            &[("configMaps", "c=,d=/d,c=")],
            vec![
                "c /c Enforced".to_owned(),
                "d /d Pod".to_owned(),
                format!("configMaps=c=: {refusal}"),
            ],
        ),
        (&[("secret.c", ""), ("configMap.d", "")], vec!["c /c Enforced".to_owned()]),
    ] {
        assert_eq!(applied(&rules, "n", annotations), expected, "{annotations:?}");
    }
}

#[test]
fn what_no_rule_allows_is_an_error_but_defaults_are_not_subject_to_it() {
    let rules = rules(
        "defaults: [{annotations: {spark-operator.k8s.io/secret.admin: /admin}}]\n\
         allow:\n- {namespaces: [team-*], configMaps: [\"*\"], secrets: [\"spark-*\", \"!spark-admin-*\"]}\n- {namespaces: [team-b], secrets: [extra]}\n",
    );
    let refused = |annotation: &str, kind: &str| {
        format!("{annotation}: this {kind} is not allowed in this namespace, ask its administrator")
    };
    let default = "admin /admin Default optional".to_owned();
    for (namespace, annotation, expected) in [
        ("team-a", ("configMap.c", "/c"), "c /c Pod".to_owned()),
        ("team-a", ("secret.spark-db", "/s"), "spark-db /s Pod".to_owned()),
        ("team-a", ("secret.spark-admin-db", "/s"), refused("secret.spark-admin-db=/s", "Secret")),
        ("team-a", ("GCPServiceAccount.x", "/s"), refused("GCPServiceAccount.x=/s", "Secret")),
        (
            "team-a",
            ("hadoopDelegationToken.x", "/s"),
            refused("hadoopDelegationToken.x=/s", "Secret"),
        ),
        ("team-b", ("secret.extra", "/s"), "extra /s Pod".to_owned()),
        ("other", ("sparkConfigMap", "c"), refused("sparkConfigMap=c", "ConfigMap")),
        ("other", ("configMaps", "c=/c"), refused("configMaps=c=/c", "ConfigMap")),
    ] {
        let mut expected = vec![expected, default.clone()];
        // Requests before problems.
        expected.sort_by_key(|line| line.contains("not allowed"));
        assert_eq!(
            applied(&rules, namespace, &[annotation]),
            expected,
            "{namespace} {annotation:?}"
        );
    }
}
