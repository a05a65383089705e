use super::*;
use crate::request::{MAX_LISTED, Severity};

/// Requests as `kind name path`, then problems as `error: …` and `note: …`.
fn read(annotations: &[(&str, &str)]) -> Vec<String> {
    let forwards = parse(annotations.iter().copied());
    let backwards = parse(annotations.iter().rev().copied());
    assert_eq!(forwards.mounts, backwards.mounts, "the order of annotations decides nothing");
    assert_eq!(forwards.problems, backwards.problems);
    let mounts = forwards
        .mounts
        .iter()
        .map(|request| format!("{:?} {} {}", request.kind, request.name, request.path));
    let problems = forwards.problems.iter().map(|problem| {
        let severity = if problem.severity() == Severity::Error { "error" } else { "note" };
        format!("{severity}: {}", problem.text())
    });
    mounts.chain(problems).collect()
}

#[test]
fn every_kind_of_request_in_the_order_of_kinds_and_names() {
    assert_eq!(
        read(&[
            ("spark-operator.k8s.io/GCPServiceAccount.gcp-sa", "/mnt/gcp/"),
            ("spark-operator.k8s.io/secret.b", "/mnt/b"),
            ("spark-operator.k8s.io/secret.a", "/mnt/a"),
            ("spark-operator.k8s.io/configMap.more.dotted.name", "/etc/more"),
            ("spark-operator.k8s.io/configMap.app", "/etc/app"),
            ("spark-operator.k8s.io/hadoopConfigMap", " hadoop-conf\n"),
            ("spark-operator.k8s.io/sparkConfigMap", "spark-conf"),
            ("prometheus.io/scrape", "true"),
        ]),
        [
            "SparkConfigMap spark-conf /etc/spark/conf",
            "HadoopConfigMap hadoop-conf /etc/hadoop/conf",
            "ConfigMap app /etc/app",
            "ConfigMap more.dotted.name /etc/more",
            "Secret a /mnt/a",
            "Secret b /mnt/b",
            "GcpServiceAccount gcp-sa /mnt/gcp",
        ]
    );
}

#[test]
fn first_prefix_beats_second_then_first_spelling_beats_second() {
    for (annotations, expected) in [
        (
            &[
                ("spark-operator.k8s.io/sparkConfigMap", "a"),
                ("sparkoperator.k8s.io/spark-configmap", "a "),
            ][..],
            &["SparkConfigMap a /etc/spark/conf"][..],
        ),
        (
            &[
                ("spark-operator.k8s.io/spark-configmap", "a"),
                ("sparkoperator.k8s.io/sparkConfigMap", "b"),
            ],
            &[
                "SparkConfigMap a /etc/spark/conf",
                "note: sparkoperator.k8s.io/sparkConfigMap=b: loses to spark-configmap=a; remove one",
            ],
        ),
        (
            &[
                ("spark-operator.k8s.io/configMap.x", "/a"),
                ("spark-operator.k8s.io/configmap.x", "/b"),
            ],
            &["ConfigMap x /a", "note: configmap.x=/b: loses to configMap.x=/a; remove one"],
        ),
        (
            &[
                ("sparkoperator.k8s.io/gcp-service-account.x", "/a"),
                ("sparkoperator.k8s.io/GCPServiceAccount.x", "/b"),
            ],
            &[
                "GcpServiceAccount x /b",
                "note: sparkoperator.k8s.io/gcp-service-account.x=/a: loses to sparkoperator.k8s.io/GCPServiceAccount.x=/b; remove one",
            ],
        ),
        // An invalid value that wins stays an error: nothing is guessed.
        (
            &[
                ("spark-operator.k8s.io/configMap.x", "rel"),
                ("sparkoperator.k8s.io/configMap.x", "/b"),
            ],
            &[
                "note: sparkoperator.k8s.io/configMap.x=/b: loses to configMap.x=rel; remove one",
                "error: configMap.x=rel: the path must start with \"/\", write configMap.x=/rel",
            ],
        ),
    ] {
        assert_eq!(read(annotations), expected);
    }
}

#[test]
fn an_empty_value_asks_for_nothing_and_wins_where_it_comes_first() {
    assert!(
        read(&[
            ("spark-operator.k8s.io/sparkConfigMap", " \t"),
            ("spark-operator.k8s.io/secret.x", "")
        ])
        .is_empty()
    );
    assert_eq!(
        read(&[
            ("spark-operator.k8s.io/sparkConfigMap", ""),
            ("sparkoperator.k8s.io/sparkConfigMap", "b")
        ]),
        [
            "note: sparkoperator.k8s.io/sparkConfigMap=b: loses to the empty sparkConfigMap; remove one"
        ]
    );
    assert_eq!(
        read(&[
            ("spark-operator.k8s.io/sparkConfigMap", "a"),
            ("sparkoperator.k8s.io/sparkConfigMap", "")
        ]),
        ["SparkConfigMap a /etc/spark/conf"]
    );
}

#[test]
fn what_is_wrong_is_named_with_what_to_write_instead() {
    for (key, value, expected) in [
        (
            "configMap.app",
            "etc/app",
            "error: configMap.app=etc/app: the path must start with \"/\", write configMap.app=/etc/app",
        ),
        (
            "configMap.z",
            "s3://b/x",
            "error: configMap.z=s3://b/x: the path must start with \"/\", write /s3",
        ),
        (
            "configMap.y",
            "../x",
            "error: configMap.y=../x: the path must start with \"/\", write an absolute one",
        ),
        (
            "configMap.three",
            "/",
            "error: configMap.three=/: a mount at / hides what the container needs, write a directory below it",
        ),
        (
            "configMap.App_Conf",
            "/a",
            "error: configMap.App_Conf=/a: no object can have this name: write lower case letters, digits, \"-\" and \".\" between them",
        ),
        (
            "configMap.",
            "/x",
            "error: configMap.=/x: the name is missing, write NAME as the ConfigMap or Secret is called",
        ),
        (
            "sparkConfigMap",
            ":merge",
            "error: sparkConfigMap=:merge: the name is missing, write NAME as the ConfigMap or Secret is called",
        ),
        (
            "secret.s",
            "/a:mode=9",
            "error: secret.s=/a:mode=9: the mode must be 3 or 4 octal digits up to 0777, write :mode=0440",
        ),
        (
            "GCPServiceAccount.g",
            "/$(X)",
            "error: GCPServiceAccount.g=/$(X): the path must not contain \"$(\" because it is also a variable's value, write it without",
        ),
        (
            "configMap.app",
            "\"/etc/app\"",
            "error: configMap.app=\"/etc/app\": the path is in quotes, write configMap.app=/etc/app",
        ),
        (
            "configMap.app",
            "'/etc/app:mode=0440'",
            "error: configMap.app='/etc/app:mode=0440': the path is in quotes, write /etc/app",
        ),
        (
            "sparkConfigMap",
            "\"c\"",
            "error: sparkConfigMap=\"c\": the name is in quotes, write it without them",
        ),
        (
            "configMap.w",
            "C:\\conf",
            "error: configMap.w=C:\\conf: this is a Windows path, write a path in the container",
        ),
        (
            "configMap.w",
            "/etc/krb5.conf\\",
            "error: configMap.w=/etc/krb5.conf\\: the path ends with a backslash, write it without",
        ),
        (
            "configMap.w",
            "/etc/\u{200b}app",
            "error: configMap.w=/etc/\\u{200b}app: the path contains the invisible character U+200B, write it without",
        ),
        (
            "GCPServiceAccount.g",
            "/a$$b",
            "error: GCPServiceAccount.g=/a$$b: the path must not contain \"$$\" because it is also a variable's value, write it without",
        ),
        ("typo", "hello", "note: typo: unknown key, ignored"),
        ("secretz.x", "hello", "note: secretz.x: unknown key, ignored; the nearest is secret.NAME"),
        (
            "ownerReference",
            "Cg==",
            "note: ownerReference: no longer acted on; Spark sets owner references itself",
        ),
        (
            "volumes.x",
            "Cg==",
            "note: volumes.x: no longer acted on; use configMap.NAME, secret.NAME or spark.kubernetes.*.volumes.*",
        ),
        ("affinity", "Cg==", "note: affinity: no longer acted on; use a pod template"),
        ("tolerations.0", "Cg==", "note: tolerations.0: no longer acted on; use a pod template"),
    ] {
        let key = format!("spark-operator.k8s.io/{key}");
        assert_eq!(read(&[(&key, value)]), [expected]);
    }
}

#[test]
fn a_relative_path_is_corrected_with_its_whole_annotation_where_there_is_room() {
    let key = "spark-operator.k8s.io/secret.s";
    for (length, corrected) in [(40, "secret.s=/"), (41, "/")] {
        let path = "p".repeat(length);
        let read = read(&[(key, &path)]);
        assert!(
            read[0]
                .ends_with(&format!(": the path must start with \"/\", write {corrected}{path}")),
            "{read:?}"
        );
    }
}

#[test]
fn a_path_becomes_a_variable_only_with_env() {
    assert_eq!(read(&[("spark-operator.k8s.io/configMap.x", "/a/$(X)")]), ["ConfigMap x /a/$(X)"]);
    assert_eq!(read(&[("spark-operator.k8s.io/configMap.x", "/a/$$b")]), ["ConfigMap x /a/$$b"]);
    assert_eq!(
        read(&[("spark-operator.k8s.io/configMap.x", "/a$/$b$:env=V")]),
        ["ConfigMap x /a$/$b$"]
    );
    for value in ["/a/$(X):env=V", "/a/$(X):key=f:env=V"] {
        assert!(
            read(&[("spark-operator.k8s.io/configMap.x", value)])[0]
                .contains("must not contain \"$(\"")
        );
    }
    assert!(
        read(&[("spark-operator.k8s.io/configMap.x", "/a$$:env=V")])[0]
            .contains("must not contain \"$$\"")
    );
    assert!(
        read(&[("spark-operator.k8s.io/hadoopConfigMap", "h:path=/a/$(X)")])[0]
            .contains("must not contain \"$(\"")
    );
}

#[test]
fn variables_name_the_path_or_a_file_in_it() {
    for (key, value, expected) in [
        ("sparkConfigMap", "c", Some("SPARK_CONF_DIR=/etc/spark/conf")),
        ("sparkConfigMap", "c:path=/my/conf", Some("SPARK_CONF_DIR=/my/conf")),
        ("hadoopConfigMap", "c:path=/my//conf/", Some("HADOOP_CONF_DIR=/my/conf")),
        ("configMap.c", "/c", None),
        ("configMap.c", "/c:env=V", Some("V=/c")),
        ("secret.c", "/c/:env=V:key=f", Some("V=/c/f")),
        ("configMap.c", "/c/f:file=f:env=V", Some("V=/c/f")),
        ("GCPServiceAccount.g", "/g", Some("GOOGLE_APPLICATION_CREDENTIALS=/g/key.json")),
        (
            "GCPServiceAccount.g",
            "/g:key=sa.json",
            Some("GOOGLE_APPLICATION_CREDENTIALS=/g/sa.json"),
        ),
        ("hadoopDelegationToken.t", "/t", Some("HADOOP_TOKEN_FILE_LOCATION=/t/hadoop.token")),
        ("hadoop-delegation-token.t", "/t:key=x", Some("HADOOP_TOKEN_FILE_LOCATION=/t/x")),
    ] {
        let key = format!("spark-operator.k8s.io/{key}");
        let requests = parse([(&*key, value)].into_iter());
        let variable = requests.mounts[0]
            .variable()
            .map(|variable| format!("{}={}", variable.name, variable.value));
        assert_eq!(variable.as_deref(), expected, "{key}={value}");
    }
}

#[test]
fn lists_hold_many_requests() {
    assert_eq!(
        read(&[
            ("spark-operator.k8s.io/configMaps", "b=/b , a=/z:mode=0440,a=/a,c="),
            ("sparkoperator.k8s.io/configmaps", "d = /d, b=/b"),
            ("spark-operator.k8s.io/secrets", "s=/s:env=V"),
            ("spark-operator.k8s.io/hadoopConfigMap", "h"),
            ("spark-operator.k8s.io/configMap.a", "/other"),
        ]),
        [
            "HadoopConfigMap h /etc/hadoop/conf",
            "ConfigMap a /a",
            "ConfigMap a /other",
            "ConfigMap a /z",
            "ConfigMap b /b",
            "ConfigMap d /d",
            "Secret s /s",
        ]
    );
    assert!(read(&[("spark-operator.k8s.io/configMaps", " ")]).is_empty());
}

#[test]
fn entries_of_lists_meet_each_other_and_the_key_forms() {
    for (annotations, expected) in [
        // The key form beats an entry for the same path, unless it is an error.
        (
            &[
                ("spark-operator.k8s.io/configMaps", "a=/a:mode=0440"),
                ("sparkoperator.k8s.io/configmap.a", "/a/"),
            ][..],
            &[
                "ConfigMap a /a",
                "note: configMaps=a=/a:mode=0440: loses to sparkoperator.k8s.io/configmap.a=/a/; remove one",
            ][..],
        ),
        (
            &[
                ("spark-operator.k8s.io/configMaps", "a=/a"),
                ("spark-operator.k8s.io/configMap.a", "/a"),
            ],
            &["ConfigMap a /a"],
        ),
        (
            &[
                ("spark-operator.k8s.io/configMaps", "a=/a"),
                ("spark-operator.k8s.io/configMap.a", "a"),
            ],
            &[
                "ConfigMap a /a",
                "error: configMap.a=a: the path must start with \"/\", write configMap.a=/a",
            ],
        ),
        // Then the first prefix, then the first spelling, then the first entry.
        (
            &[
                ("sparkoperator.k8s.io/configMaps", "a=/a"),
                ("spark-operator.k8s.io/configmaps", "a=/a:optional"),
            ],
            &[
                "ConfigMap a /a",
                "note: sparkoperator.k8s.io/configMaps=a=/a: loses to configmaps=a=/a:optional; remove one",
            ],
        ),
        (
            &[("spark-operator.k8s.io/secrets", "a=/a,a=/a/,a=/a")],
            &["Secret a /a", "note: secrets=a=/a/: loses to secrets=a=/a; remove one"],
        ),
        // Another separator than a comma would make one path of two requests.
        (
            &[(
                "spark-operator.k8s.io/secrets",
                "a=/a b=/b,c=/c;d=/d,e=/e ; f = /f,g=/g :mode=0440,h=/h i,j=/j;mode=0440",
            )],
            &[
                "Secret g /g",
                "Secret h /h i",
                "error: secrets=a=/a b=/b: write a comma before b=",
                "error: secrets=c=/c;d=/d: write a comma before d=",
                "error: secrets=e=/e ; f = /f: write a comma before f=",
                "error: secrets=j=/j;mode=0440: write a colon before mode=",
            ],
        ),
        // A wrong entry is named, and those beside it are carried out.
        (
            &[("spark-operator.k8s.io/secrets", "a=/a,,b,=/c,d=rel")],
            &[
                "Secret a /a",
                "error: secrets: an entry is empty, remove its comma",
                "error: secrets=b: an entry must be NAME=PATH",
                "error: secrets==/c: the name is missing, write NAME as the ConfigMap or Secret is called",
                "error: secrets=d=rel: the path must start with \"/\", write /rel",
            ],
        ),
    ] {
        assert_eq!(read(annotations), expected);
    }
}

#[test]
fn only_keys_under_our_prefixes_count_as_asking() {
    assert!(!parse([("prometheus.io/scrape", "true")].into_iter()).has_keys);
    assert!(parse([("spark-operator.k8s.io/sparkConfigMap", "")].into_iter()).has_keys);
    assert!(parse([("sparkoperator.k8s.io/anything", "x")].into_iter()).has_keys);
}

#[test]
fn more_than_256_requests_are_one_error_and_nothing_is_mounted() {
    for (count, mounts, problems) in [(256, 256, 0), (257, 0, 1)] {
        let list = (0..count).map(|i| format!("c{i}=/c/{i}")).collect::<Vec<_>>().join(",");
        let requests = parse([("spark-operator.k8s.io/configMaps", &*list)].into_iter());
        assert_eq!((requests.mounts.len(), requests.problems.len()), (mounts, problems), "{count}");
        let annotations: Vec<_> = (0..count)
            .map(|i| (format!("spark-operator.k8s.io/configMap.c{i}"), format!("/c/{i}")))
            .collect();
        let requests = parse(annotations.iter().map(|(key, value)| (&**key, &**value)));
        assert_eq!((requests.mounts.len(), requests.problems.len()), (mounts, problems), "{count}");
    }
}

#[test]
fn more_than_4096_entries_that_request_nothing_are_one_error_too() {
    for (count, problems) in [(4096, 0), (4097, 1)] {
        let list = (0..count).map(|i| format!("c{i}=")).collect::<Vec<_>>().join(",");
        for list in [list, "c=,".repeat(count - 1) + "c="] {
            let requests = parse(
                [
                    ("spark-operator.k8s.io/configMaps", &*list),
                    ("spark-operator.k8s.io/secret.s", "/s"),
                ]
                .into_iter(),
            );
            assert_eq!(
                (requests.mounts.len(), requests.problems.len()),
                (1 - problems, problems),
                "{count}"
            );
            assert!(requests.claims.len() <= MAX_LIST_ENTRIES + 1);
        }
    }
}

#[test]
fn only_the_first_unknown_keys_get_a_hint_and_all_are_counted() {
    let keys: Vec<String> =
        (0..1_000).rev().map(|i| format!("spark-operator.k8s.io/secretz.{i:04}")).collect();
    let requests = parse(keys.iter().map(|key| (&**key, "")));
    assert_eq!((requests.problems.len(), requests.problems.count()), (MAX_LISTED, 1_000));
    let texts: Vec<_> = requests.problems.iter().map(Problem::text).collect();
    assert_eq!(texts[0], "secretz.0000: unknown key, ignored; the nearest is secret.NAME");
    assert_eq!(texts[19], "secretz.0019: unknown key, ignored; the nearest is secret.NAME");
}

#[test]
fn what_is_wrong_in_a_list_counts_as_a_request_too() {
    let key_forms: Vec<_> = (0..100)
        .map(|i| (format!("spark-operator.k8s.io/secret.s{i}"), format!("/s/{i}")))
        .collect();
    for (what, entry) in [
        ("empty", ""),
        ("no path", "a"),
        ("no comma", "a=/#;c=/#"),
        ("a relative path", "a=#"),
        ("no name", "=/#"),
        ("right", "a=/#"),
    ] {
        for (count, expected) in [(156, 256), (157, 1)] {
            let list = (0..count)
                .map(|i| entry.replace('#', &i.to_string()))
                .collect::<Vec<_>>()
                .join(",");
            let list = ("spark-operator.k8s.io/configMaps", &*format!("b=,{list}"));
            let requests =
                parse(key_forms.iter().map(|(key, value)| (&**key, &**value)).chain([list]));
            assert_eq!(requests.mounts.len() + requests.problems.len(), expected, "{count} {what}");
        }
    }
}
