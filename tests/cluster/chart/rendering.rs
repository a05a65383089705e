//! What the chart renders.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use spark_webhook::config::Rules;
use spark_webhook::internals::load_rules;
use spark_webhook::registration::{condition, registration};
use testkit::webhook;

use super::{
    CHART, EVERYTHING, HELMS, IMAGE, RELEASE, arguments, certificate_modes, flag, helm, objects,
    only, rendered, run, template, tests,
};

#[test]
fn both_helms_render_the_same_and_twice_the_same_bytes() {
    for (mode, certificates) in certificate_modes() {
        for values in ["", EVERYTHING] {
            let values = format!("{IMAGE}{certificates}{values}");
            let renderings = HELMS.map(|helm| {
                let once = template(helm, RELEASE, &values).unwrap();
                // The CA that Helm makes is a new one where there is no cluster to look for it.
                if mode != "ca, made by Helm" {
                    assert_eq!(once, template(helm, RELEASE, &values).unwrap(), "{mode}");
                }
                objects(&once)
                    .into_iter()
                    .map(without_made_ca)
                    .map(|object| object.to_string())
                    .collect::<BTreeSet<_>>()
            });
            assert_eq!(renderings[0], renderings[1], "{mode}");
        }
    }
}

fn without_made_ca(mut object: Value) -> Value {
    if object["kind"] == "Secret" {
        object.as_object_mut().unwrap().remove("data");
    }
    if object["kind"] == "MutatingWebhookConfiguration" {
        object["webhooks"][0]["clientConfig"].as_object_mut().unwrap().remove("caBundle");
    }
    object
}

#[test]
fn the_chart_is_well_formed_and_has_the_crates_version() {
    for version in HELMS {
        let arguments = ["lint", CHART, "--strict", "--kube-version", "1.36.0", "--values", "-"];
        run(&mut helm(version, &arguments), IMAGE).unwrap();
    }
    let chart: Value =
        serde_saphyr::from_str(&fs::read_to_string("manifests/chart/Chart.yaml").unwrap()).unwrap();
    assert_eq!([&chart["version"], &chart["appVersion"]], [env!("CARGO_PKG_VERSION"); 2]);
    let old = ["template", RELEASE, CHART, "--kube-version", "1.29.0", "--values", "-"];
    assert!(
        run(&mut helm("helm4", &old), IMAGE)
            .unwrap_err()
            .contains("chart requires kubeVersion: >=1.30.0-0")
    );
}

#[test]
fn the_manifests_are_what_the_chart_renders() {
    let directory = tempfile::tempdir().unwrap();
    assert!(Command::new("manifests/render").arg(directory.path()).status().unwrap().success());
    for file in ["manifests/install.yaml", "manifests/canary.yaml", "certs/cert-manager.yaml"] {
        let committed = fs::read_to_string(file).unwrap();
        let name = Path::new(file).file_name().unwrap();
        let rendered = fs::read_to_string(directory.path().join(name)).unwrap();
        assert!(
            committed == rendered,
            "{file} is not what the chart renders: run manifests/render"
        );
    }
}

/// The annotation by which cert-manager's injector finds the CA is the chart's, too.
#[test]
fn the_objects_of_cert_manager_come_with_the_charts_annotation() {
    let file = fs::read_to_string("certs/cert-manager.yaml").unwrap();
    let command = "#   kubectl annotate mutatingwebhookconfiguration spark-webhook ";
    let annotation = file.lines().find_map(|line| line.strip_prefix(command)).unwrap();
    let (key, value) = annotation.split_once('=').unwrap();
    let rendered = rendered("certificates: {mode: certManager}\n");
    let registration = only(&rendered, "MutatingWebhookConfiguration");
    assert_eq!(registration["metadata"]["name"], "spark-webhook");
    assert_eq!(registration["metadata"]["annotations"][key], value);
    let is_named = |object: &&Value| {
        let (namespace, name) = value.split_once('/').unwrap();
        object["kind"] == "Certificate"
            && object["metadata"]["namespace"] == namespace
            && object["metadata"]["name"] == name
    };
    let objects = objects(&file);
    let certificate = objects.iter().find(is_named).unwrap();
    assert_eq!(certificate["spec"]["secretName"], "spark-webhook-tls");
}

/// The registration is the one that `serve --write-registration` writes, but for the namespaces
/// that it leaves out.
#[test]
fn the_registration_is_the_one_of_the_program() {
    let url = "https://hook.example/mutate";
    let objects = rendered(&format!(
        "webhook: {{url: \"{url}\", annotations: {{admissions.enforcer/disabled: null}}}}\n"
    ));
    let mut rendered = only(&objects, "MutatingWebhookConfiguration").clone();
    let mut expected = registration(url, "", &condition(&Rules::default()));
    expected["webhooks"][0]["clientConfig"].as_object_mut().unwrap().remove("caBundle");
    let selector =
        rendered["webhooks"][0].as_object_mut().unwrap().remove("namespaceSelector").unwrap();
    rendered["metadata"].as_object_mut().unwrap().remove("labels");
    assert_eq!(rendered, expected);
    let excluded = json!([{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "spark-webhook"]}]);
    assert_eq!(selector, json!({"matchExpressions": excluded}));
}

/// Files of rules, as what their defaults select.
const DEFAULTS: [&[&str]; 12] = [
    &[],
    &[""],
    &["namespaces: [team-a],"],
    &["namespaces: [\"team-*\"],"],
    &["namespaces: [\"*\"],"],
    &["namespaces: [\"a?c\", \"ab*-c?\"],"],
    &["namespaces: [\"team-*\", \"!team-legacy\"],"],
    &["namespaces: [\"!team-legacy\", \"team-*\", \"!*-test\", \"other\"],"],
    &["namespaces: [\"!kube-*\"],"],
    &["namespaces: [\"!kube-*\", \"!default\"],", "namespaces: [b],", ""],
    // The same one after the other is written once, but not with another one between.
    &["namespaces: [a],", "namespaces: [a],", "namespaces: [b],", "namespaces: [a],"],
    &["", "roles: [driver],", "selector: {matchLabels: {tier: batch}}, namespaces: [\"7\"],"],
];

#[test]
fn the_match_condition_is_the_one_of_the_program_for_any_rules() {
    let example = fs::read_to_string("examples/rules.yaml").unwrap();
    let allow = "apiVersion: spark-webhook/v1\nallow: [{configMaps: [\"*\"]}]\n".to_owned();
    let files = DEFAULTS.map(|selections| {
        let rule = |selection: &&str| {
            format!("{{{selection} annotations: {{spark-operator.k8s.io/secret.s: /s}}}}")
        };
        let rules: Vec<String> = selections.iter().map(rule).collect();
        format!("apiVersion: spark-webhook/v1\ndefaults: [{}]\n", rules.join(", "))
    });
    for file in files.into_iter().chain([example, allow]) {
        let expected =
            condition(&load_rules(&file).unwrap_or_else(|error| panic!("{error}\n{file}")));
        let objects = rendered(&format!("rules:\n  {}\n", file.trim_end().replace('\n', "\n  ")));
        let webhook = &only(&objects, "MutatingWebhookConfiguration")["webhooks"][0];
        assert_eq!(
            webhook["matchConditions"],
            json!([{"name": "concerns-spark-webhook", "expression": expected}]),
            "{file}"
        );
        // And the file that is mounted says the same as the values.
        let mounted = only(&objects, "ConfigMap")["data"]["rules.yaml"].as_str().unwrap();
        let parsed = |yaml: &str| serde_saphyr::from_str::<Value>(yaml).unwrap();
        assert_eq!(parsed(mounted), parsed(&file));
        load_rules(mounted).unwrap();
        assert_eq!(flag(&objects, "--config"), Some("/etc/spark-webhook/rules/rules.yaml"));
    }
}

/// Every combination that could be a pod's: its flags are known, it is restricted, and it ends in
/// time.
#[test]
fn the_pods_are_restricted_and_end_in_time_in_every_mode() {
    let help =
        String::from_utf8(webhook::command().args(["serve", "--help"]).output().unwrap().stdout)
            .unwrap();
    for (mode, certificates) in certificate_modes() {
        for values in ["", EVERYTHING] {
            let objects = rendered(&format!("{certificates}{values}"));
            let deployment = only(&objects, "Deployment");
            let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
            assert_eq!(deployment["spec"]["strategy"], rolling);
            assert_eq!(deployment["spec"]["minReadySeconds"], 3);
            let template = &deployment["spec"]["template"];
            let spec = &template["spec"];
            assert_eq!(
                spec["securityContext"],
                json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})
            );
            let restricted = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
            assert_eq!(spec["containers"][0]["securityContext"], restricted);
            // A token only for who calls the API server.
            assert_eq!(spec["automountServiceAccountToken"], mode == "managed");
            assert_eq!(only(&objects, "ServiceAccount")["automountServiceAccountToken"], false);
            assert_eq!(template["metadata"]["labels"]["sidecar.istio.io/inject"], "false");
            assert_eq!(template["metadata"]["annotations"]["linkerd.io/inject"], "disabled");

            let drain = flag(&objects, "--drain-delay")
                .unwrap()
                .strip_suffix('s')
                .unwrap()
                .parse()
                .unwrap();
            let grace =
                Duration::from_secs(spec["terminationGracePeriodSeconds"].as_u64().unwrap());
            assert_eq!(grace, Duration::from_secs(drain) + FINISHING + Duration::from_secs(15));
            if values.is_empty() {
                assert_eq!(grace, Duration::from_secs(45));
            }

            let names: Vec<&str> = arguments(&objects)[1..]
                .iter()
                .map(|argument| argument.split('=').next().unwrap())
                .collect();
            for name in names {
                assert!(help.contains(&format!(" {name} <")), "{name} is no flag of serve");
            }
            for (port, name) in [("--listen", "https"), ("--admin-listen", "admin")] {
                let number = flag(&objects, port)
                    .unwrap()
                    .rsplit(':')
                    .next()
                    .unwrap()
                    .parse::<u16>()
                    .unwrap();
                let ports = spec["containers"][0]["ports"].as_array().unwrap();
                assert!(
                    ports.contains(&json!({"name": name, "containerPort": number})),
                    "{ports:?}"
                );
            }
        }
    }
}

/// `FINISH_TIMEOUT` of the server: what runs has so long to be finished.
const FINISHING: Duration = Duration::from_secs(20);

#[test]
fn the_time_to_finish_is_the_servers() {
    let server = fs::read_to_string("src/server.rs").unwrap();
    assert!(server.contains(&format!(
        "FINISH_TIMEOUT: Duration = Duration::from_secs({});",
        FINISHING.as_secs()
    )));
}

/// Neither is rendered, so that an upgrade does not take away what the replicas have written.
#[test]
fn managed_certificates_are_left_to_the_replicas() {
    let objects = rendered("");
    let secret = only(&objects, "Secret");
    assert_eq!((secret.get("data"), secret.get("stringData")), (None, None));
    assert!(
        only(&objects, "MutatingWebhookConfiguration")["webhooks"][0]["clientConfig"]
            .get("caBundle")
            .is_none()
    );
    let name = secret["metadata"]["name"].as_str().unwrap();
    assert_eq!(flag(&objects, "--ca-secret").unwrap(), format!("{RELEASE}/{name}"));
    assert_eq!(flag(&objects, "--registration-name"), Some(RELEASE));
}

#[test]
fn the_service_account_may_do_what_managed_certificates_need_and_nothing_else() {
    let rule = |group: &str, resource: &str, name: &str, verbs: &[&str]| json!([{"apiGroups": [group], "resources": [resource], "resourceNames": [name], "verbs": verbs}]);
    for (mode, certificates) in certificate_modes() {
        let objects = rendered(&certificates);
        let kinds: Vec<&str> =
            objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
        let roles = kinds.iter().filter(|kind| kind.contains("Role")).count();
        if mode != "managed" {
            assert_eq!(roles, 0, "{mode}");
            continue;
        }
        assert_eq!(roles, 4);
        assert_eq!(
            only(&objects, "Role")["rules"],
            rule("", "secrets", "spark-webhook-ca", &["get", "update"])
        );
        let cluster = rule(
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations",
            RELEASE,
            &["get", "patch"],
        );
        assert_eq!(only(&objects, "ClusterRole")["rules"], cluster);
        for (binding, role) in [("RoleBinding", "Role"), ("ClusterRoleBinding", "ClusterRole")] {
            let binding = only(&objects, binding);
            assert_eq!(
                binding["roleRef"],
                json!({"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": RELEASE})
            );
            let account =
                json!([{"kind": "ServiceAccount", "name": RELEASE, "namespace": RELEASE}]);
            assert_eq!(binding["subjects"], account);
        }
    }
}

/// The pod of `helm test` is doctor's, with the rights of the chart's role for it, and takes no
/// admissions; and nothing of it stays.
#[test]
fn helm_test_runs_doctor_and_nothing_else_does() {
    for object in rendered(EVERYTHING) {
        assert!(object["metadata"]["annotations"]["helm.sh/hook"].is_null(), "{object}");
    }
    for (values, namespace) in [("", "default"), (EVERYTHING, "kube-public")] {
        let objects = tests(RELEASE, values);
        for object in &objects {
            let annotations = &object["metadata"]["annotations"];
            assert_eq!(annotations["helm.sh/hook"], "test");
            assert_eq!(
                annotations["helm.sh/hook-delete-policy"],
                "before-hook-creation,hook-succeeded,hook-failed"
            );
            // The pod comes last: its weight is 0.
            assert_eq!(annotations["helm.sh/hook-weight"] == "-1", object["kind"] != "Pod");
        }
        let pod = only(&objects, "Pod");
        let all = rendered(values);
        let selected = only(&all, "Service")["spec"]["selector"].as_object().unwrap();
        assert!(
            selected.iter().any(|(key, value)| pod["metadata"]["labels"][key] != *value),
            "{pod}"
        );
        let replica = &only(&all, "Deployment")["spec"]["template"]["spec"];
        let container = &pod["spec"]["containers"][0];
        for key in ["image", "imagePullPolicy", "resources", "securityContext"] {
            assert_eq!(container[key], replica["containers"][0][key], "{key}");
        }
        for key in ["securityContext", "imagePullSecrets", "nodeSelector", "tolerations"] {
            assert_eq!(pod["spec"][key], replica[key], "{key}");
        }
        let name = format!("--name={RELEASE}");
        assert_eq!(
            container["args"],
            json!(["doctor", name, format!("--namespace={namespace}"), "--wait=30s"])
        );
        assert_eq!(
            pod["spec"]["serviceAccountName"],
            only(&objects, "ServiceAccount")["metadata"]["name"]
        );
        let dry_run = only(&objects, "Role");
        assert_eq!(dry_run["metadata"]["namespace"], namespace);
        assert_eq!(
            dry_run["rules"],
            json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}])
        );
        let with_role = rendered("doctor: {rbac: {create: true}}\n");
        let role = with_role
            .iter()
            .find(|object| object["metadata"]["name"] == "spark-webhook-doctor")
            .unwrap();
        assert_eq!(only(&objects, "ClusterRole")["rules"], role["rules"]);
    }
}

/// Where a certificate comes from, and who tells the API server of its CA.
#[test]
fn each_mode_has_its_flags_its_secret_and_its_bundle() {
    for (mode, ca, tls, secret, bundle) in [
        ("managed", false, false, None, false),
        ("ca, made by Helm", true, false, Some("spark-webhook-helm-ca"), true),
        ("ca of a Secret", true, false, Some("mine"), true),
        ("cert-manager", false, true, Some("spark-webhook-tls"), false),
        ("cert-manager with an issuer", false, true, Some("spark-webhook-tls"), false),
        ("Secret", false, true, Some("mine"), true),
    ] {
        let values = certificate_modes().into_iter().find(|(name, _)| *name == mode).unwrap().1;
        let objects = rendered(&values);
        for (name, expected) in
            [("--ca-cert", ca), ("--ca-key", ca), ("--tls-cert", tls), ("--tls-key", tls)]
        {
            assert_eq!(flag(&objects, name).is_some(), expected, "{mode}: {name}");
        }
        // Who brings a certificate has put the names into it.
        let names = arguments(&objects)
            .iter()
            .filter(|argument| argument.starts_with("--dns-name="))
            .count();
        assert_eq!(names, if tls { 0 } else { 4 }, "{mode}");
        let spec = &only(&objects, "Deployment")["spec"]["template"]["spec"];
        assert_eq!(spec["volumes"][0]["secret"]["secretName"].as_str(), secret, "{mode}");
        let registration = only(&objects, "MutatingWebhookConfiguration");
        assert_eq!(
            registration["webhooks"][0]["clientConfig"]["caBundle"].is_string(),
            bundle,
            "{mode}"
        );
        let injected =
            registration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"].as_str();
        assert_eq!(
            injected,
            mode.starts_with("cert-manager").then_some("spark-webhook/spark-webhook"),
            "{mode}"
        );
    }
    let objects = rendered(
        "certificates: {mode: certManager}\nwebhook: {url: \"https://hook.example:8443/mutate\"}\n",
    );
    let certificate = objects
        .iter()
        .find(|object| object["kind"] == "Certificate" && object["metadata"]["name"] == RELEASE)
        .unwrap();
    let names = [
        "spark-webhook.spark-webhook.svc",
        RELEASE,
        "spark-webhook.spark-webhook",
        "spark-webhook.spark-webhook.svc.cluster.local",
        "hook.example",
    ];
    assert_eq!(certificate["spec"]["dnsNames"], json!(names));
}

/// As a directory in every mode, so that the process sees another CA.
#[test]
fn a_client_ca_is_mounted_from_a_config_map_or_a_secret() {
    let items = |key: &str| json!([{"key": key, "path": "ca.crt"}]);
    for (mode, certificates) in certificate_modes() {
        for (values, expected) in [
            ("", None),
            ("clientCA: {key: x}\n", None),
            (
                "clientCA: {configMap: mine}\n",
                Some(json!({"configMap": {"name": "mine", "items": items("ca.crt")}})),
            ),
            (
                "clientCA: {secret: mine, key: client.pem}\n",
                Some(json!({"secret": {"secretName": "mine", "items": items("client.pem")}})),
            ),
        ] {
            let objects = rendered(&format!("{certificates}{values}"));
            let spec = &only(&objects, "Deployment")["spec"]["template"]["spec"];
            let of_client_ca = |list: &Value| {
                let entries = list.as_array().cloned().unwrap_or_default();
                entries.into_iter().find(|entry| entry["name"] == "client-ca")
            };
            let volume = of_client_ca(&spec["volumes"]).map(|mut volume| {
                volume.as_object_mut().unwrap().remove("name");
                volume
            });
            assert_eq!(volume, expected, "{mode}: {values}");
            let mount = of_client_ca(&spec["containers"][0]["volumeMounts"]);
            assert_eq!(mount.is_some(), expected.is_some(), "{mode}: {values}");
            let Some(mount) = mount else {
                assert_eq!(flag(&objects, "--client-ca"), None);
                continue;
            };
            assert_eq!((&mount["readOnly"], mount.get("subPath")), (&json!(true), None));
            let file = format!("{}/ca.crt", mount["mountPath"].as_str().unwrap());
            assert_eq!(flag(&objects, "--client-ca"), Some(&*file), "{mode}: {values}");
        }
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_to_write() {
    for (values, expected) in [
        (
            "",
            "image.repository is not set: name the repository of the image, as in --set image.repository=registry.example/spark-webhook",
        ),
        (
            "certificates: {mode: existingSecret}",
            "certificates.existingSecret is not set: name the Secret with tls.crt and tls.key",
        ),
        (
            "certificates: {mode: existingSecret, existingSecret: mine}",
            "certificates.caBundle is not set, and ca.crt of Secret spark-webhook/mine cannot be read: write the CA into certificates.caBundle, in PEM",
        ),
        (
            "certificates: {existingSecret: mine}",
            "certificates.existingSecret is set, but certificates.mode is managed",
        ),
        (
            "certificates: {caBundle: \"-----BEGIN CERTIFICATE-----\"}",
            "certificates.caBundle is set, but certificates.existingSecret is not",
        ),
        (
            "clientCA: {configMap: mine, secret: mine}",
            "clientCA.configMap and clientCA.secret are both set: name one of them",
        ),
        ("ports: {https: 8080}", "ports.https and ports.admin are the same: give each its own"),
    ] {
        for version in HELMS {
            let image = if values.is_empty() { "" } else { IMAGE };
            let error = template(version, RELEASE, &format!("{image}{values}\n")).unwrap_err();
            assert!(error.contains(expected), "{values}: {error}");
        }
    }
}

#[test]
fn the_image_is_named_by_registry_repository_and_digest_or_tag() {
    let digest = format!("sha256:{}", "0".repeat(64));
    for (image, expected) in [
        (
            "repository: spark-webhook".to_owned(),
            format!("spark-webhook:{}", env!("CARGO_PKG_VERSION")),
        ),
        ("repository: a/b, tag: \"1\"".to_owned(), "a/b:1".to_owned()),
        (
            "registry: mirror.example/, repository: a/b, tag: \"1\"".to_owned(),
            "mirror.example/a/b:1".to_owned(),
        ),
        (format!("repository: a/b, tag: \"1\", digest: \"{digest}\""), format!("a/b@{digest}")),
    ] {
        let objects =
            objects(&template("helm3", RELEASE, &format!("image: {{{image}}}\n")).unwrap());
        let container = &only(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], expected);
    }
}

/// The address of a release's source files.
const SOURCE: &str = "https://source.example/team/spark-webhook/blob/v0.1.0";

/// The chart of a release needs no value, and nothing in it leads out of it into nowhere.
#[test]
fn what_a_release_publishes_has_its_image() {
    let directory = tempfile::tempdir().unwrap();
    let image = format!("registry.example/team/spark-webhook@sha256:{}", "a".repeat(64));
    let package = |image: &str| {
        let arguments = [image, SOURCE, directory.path().to_str().unwrap()];
        Command::new("manifests/package").args(arguments).output().unwrap()
    };
    let refusal = package("registry.example/team/spark-webhook:1");
    assert!(
        !refusal.status.success()
            && String::from_utf8_lossy(&refusal.stderr).contains("by its digest")
    );
    let output = package(&image);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let chart = directory.path().join(format!("spark-webhook-{}.tgz", env!("CARGO_PKG_VERSION")));
    let chart = chart.to_str().unwrap();
    let image_of = |yaml: &str| {
        let objects = objects(yaml);
        let container = &only(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
        container["image"].as_str().unwrap().to_owned()
    };
    for version in HELMS {
        let rendered =
            run(&mut helm(version, &["template", RELEASE, chart, "--kube-version", "1.30.0"]), "")
                .unwrap();
        assert_eq!(image_of(&rendered), image);
    }
    for file in ["install.yaml", "canary.yaml"] {
        let manifest = fs::read_to_string(directory.path().join(file)).unwrap();
        assert_eq!(image_of(&manifest), image);
        assert!(!manifest.contains("VERSION"), "{file}");
    }
    for file in ["openssl.sh", "cert-manager.yaml"] {
        let published = fs::read(directory.path().join(file)).unwrap();
        assert!(published == fs::read(Path::new("certs").join(file)).unwrap(), "{file}");
    }
    let readme = run(&mut helm("helm3", &["show", "readme", chart]), "").unwrap();
    assert!(readme.contains(&format!("]({SOURCE}/docs/security.md)")));
    assert!(!readme.contains("](.."));

    // https://artifacthub.io/docs/topics/annotations/helm/: the lists are YAML in strings.
    let shown = run(&mut helm("helm3", &["show", "chart", chart]), "").unwrap();
    let metadata: Value = serde_saphyr::from_str(&shown).unwrap();
    let repository = "https://source.example/team/spark-webhook";
    assert_eq!(metadata["home"], repository);
    assert_eq!(metadata["sources"], json!([repository]));
    let annotations = metadata["annotations"].as_object().unwrap();
    assert_eq!(annotations["artifacthub.io/license"], env!("CARGO_PKG_LICENSE"));
    let list = |name: &str| -> Value {
        serde_saphyr::from_str(annotations[name].as_str().unwrap()).unwrap()
    };
    assert_eq!(
        list("artifacthub.io/images"),
        json!([{"name": RELEASE, "image": image, "platforms": ["linux/amd64", "linux/arm64"]}])
    );
    for link in list("artifacthub.io/links").as_array().unwrap() {
        let file = link["url"].as_str().unwrap().strip_prefix(&format!("{SOURCE}/")).unwrap();
        assert!(link["name"].is_string() && Path::new(file).exists(), "{link}");
    }
    for name in annotations.keys() {
        let known = ["category", "images", "license", "links", "operator"];
        assert!(known.contains(&name.strip_prefix("artifacthub.io/").unwrap()), "{name}");
    }
}

/// Webhooks are called in the order of their configurations' names, and a later one sees what the
/// operator's has done.
#[test]
fn every_releases_registration_comes_after_an_operators() {
    for (release, expected) in [
        ("spark-webhook", "spark-webhook"),
        ("spark-webhook-canary", "spark-webhook-canary"),
        ("a", "spark-webhook-a"),
    ] {
        let objects = objects(&template("helm3", release, IMAGE).unwrap());
        let registration = only(&objects, "MutatingWebhookConfiguration");
        assert_eq!(registration["metadata"]["name"], expected);
        assert_eq!(registration["webhooks"][0]["name"], format!("{expected}.k8s.io"));
        assert!(expected > "spark-operator-webhook");
    }
}

/// Other rules roll the pods, and the same ones do not.
#[test]
fn a_checksum_of_the_rules_is_on_the_pods() {
    let checksum = |values: &str| {
        let objects = rendered(values);
        only(&objects, "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/rules"].clone()
    };
    let rules = |names: &str| {
        format!("rules: {{apiVersion: spark-webhook/v1, allow: [{{configMaps: {names}}}]}}\n")
    };
    assert_eq!(checksum(""), Value::Null);
    assert!(checksum(&rules("[a]")).is_string());
    assert_ne!(checksum(&rules("[a]")), checksum(&rules("[b]")));
    assert_eq!(checksum(&rules("[a]")), checksum(&format!("replicas: 5\n{}", rules("[a]"))));
}

#[test]
fn host_network_and_ports_are_values() {
    let objects = rendered("hostNetwork: true\nports: {https: 10250}\n");
    let spec = &only(&objects, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(
        [&spec["hostNetwork"], &spec["dnsPolicy"]],
        [&json!(true), &json!("ClusterFirstWithHostNet")]
    );
    let ports = json!([{"name": "https", "port": 443, "targetPort": "https"}, {"name": "admin", "port": 8080, "targetPort": "admin"}]);
    assert_eq!(only(&objects, "Service")["spec"]["ports"], ports);
    let objects = rendered("serviceMesh: {optOut: false}\n");
    let template = &only(&objects, "Deployment")["spec"]["template"]["metadata"];
    assert!(template["labels"].get("sidecar.istio.io/inject").is_none());
    assert!(template["annotations"].get("linkerd.io/inject").is_none());
}
