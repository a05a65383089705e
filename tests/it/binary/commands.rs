//! The commands that end by themselves, by the real binary: what they print, where, and with which
//! status they exit.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::Value;
use testkit::webhook::command;

/// A command line for each command that ends by itself and needs no cluster.
fn command_lines(directory: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["--help"],
        vec!["--version"],
        vec!["help", "serve"],
        vec!["mutate", "examples/driver-pod.yaml"],
        vec!["mutate", "examples/driver-pod.yaml", "--output", "patch"],
        vec!["conf", "--secret", "keytab=/mnt/keytab"],
        vec!["check-config", "examples/rules.yaml"],
        vec!["check-config", "examples/rules.yaml", "--namespace", "team-a"],
        vec!["policy"],
        vec!["completions", "bash"],
        vec!["completions", "zsh"],
        // It prints nothing.
        vec!["man", directory],
    ]
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn every_command_exits_with_status_2_and_one_line_on_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in command_lines(directory.path().to_str().unwrap()) {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command().args(&arguments).stdout(full).output().unwrap();
        let lines: Vec<&str> =
            stderr(&output).lines().filter(|line| !line.starts_with("Warning: ")).collect();
        if arguments[0] == "man" {
            assert_eq!((output.status.code(), &*lines), (Some(0), &[][..]), "{arguments:?}");
            continue;
        }
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {lines:?}");
        let expected = "spark-webhook: standard output: No space left on device (os error 28); write to a file or device that has room";
        assert_eq!(lines, [expected], "{arguments:?}");
    }
}

#[test]
fn every_command_ends_quietly_if_its_reader_has_gone() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in command_lines(directory.path().to_str().unwrap()) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command().args(&arguments).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert!(
            stderr(&output).lines().all(|line| line.starts_with("Warning: ")),
            "{arguments:?}: {output:?}"
        );
    }
}

#[test]
fn no_command_panics_if_standard_error_cannot_be_written() {
    for (arguments, status) in [
        (&["mutate", "examples/driver-pod.yaml"][..], 1),
        (&["check-config", "examples/driver-pod.yaml"], 2),
        (&["--no-such-flag"], 2),
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output =
            command().args(arguments).stderr(full).stdout(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
    }
}

#[test]
fn mutate_ends_with_what_scripts_need_to_know() {
    let directory = tempfile::tempdir().unwrap();
    let run = |pod: &str, arguments: &[&str]| {
        let file = directory.path().join("pod.yaml");
        fs::write(&file, pod).unwrap();
        let output = command().arg("mutate").arg(&file).args(arguments).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let pod = |role: &str, value: &str| {
        format!(
            "kind: Pod\nmetadata: {{name: p, labels: {{spark-role: {role}}}, annotations: {{spark-operator.k8s.io/secret.s: {value}}}}}\n\
             spec: {{containers: [{{name: spark}}]}}\n"
        )
    };
    let (code, diff, _) = run(&pod("driver", "/s"), &[]);
    assert_eq!(code, Some(0));
    assert!(diff.contains("+  - name: s-volume") || diff.contains("+- name: s-volume"), "{diff}");
    assert!(!diff.contains('\u{1b}'), "no colours where nobody sees them");
    // What deny would refuse is known without it; executors it never refuses.
    assert_eq!(run(&pod("driver", "rel"), &[]).0, Some(1));
    let (code, patched, said) = run(&pod("driver", "rel"), &["--on-problem", "deny", "-o", "pod"]);
    assert_eq!((code, &*patched), (Some(1), ""));
    assert!(
        said.contains("pod p: refused")
            && said.contains("Warning: pod p: secret.s=rel: the path must start with"),
        "{said}"
    );
    assert_eq!(run(&pod("executor", "rel"), &["--on-problem", "deny"]).0, Some(0));
    let (_, patch, _) = run(&pod("executor", "/s"), &["-o", "patch"]);
    assert_eq!(serde_json::from_str::<Value>(&patch).unwrap()[1]["value"][0]["mountPath"], "/s");
    let (_, yaml, _) = run(&pod("executor", "/s"), &["-o", "pod"]);
    assert_eq!(run(&yaml, &["-o", "patch"]).1, "[]\n", "what it prints, it leaves alone");
    let (_, response, _) = run(&pod("executor", "/s"), &["-o", "response"]);
    assert_eq!(serde_json::from_str::<Value>(&response).unwrap()["kind"], "AdmissionReview");
    let (_, _, why) = run(&pod("worker", "/s"), &[]);
    assert_eq!(why, "pod p: left alone, its label spark-role is neither driver nor executor\n");
    let (code, _, error) = run("a: [\n", &[]);
    assert!(
        code == Some(2) && error.contains("pod.yaml: line ") && error.contains("expected Pods"),
        "{error}"
    );
}

#[test]
fn mutate_names_each_of_several_pods() {
    let pod = |name: &str, value: &str| {
        format!(
            "kind: Pod\nmetadata: {{name: \"{name}\", labels: {{spark-role: driver}}, annotations: {{spark-operator.k8s.io/secret.s: {value}}}}}\n\
             spec: {{containers: [{{name: spark}}]}}\n"
        )
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    let pods = [pod("one", "/s"), pod("two", "rel"), pod("nothing", "\"\""), pod("\\e[2J", "/s")];
    fs::write(&file, pods.join("---\n")).unwrap();
    let output = command().arg("mutate").arg(file.path()).output().unwrap();
    let diff = String::from_utf8(output.stdout.clone()).unwrap();
    let headers: Vec<&str> =
        diff.lines().filter(|line| line.starts_with("--- ") || line.starts_with("+++ ")).collect();
    let expected = ["one", "two", "\\u{1b}[2J"]
        .map(|name| [format!("--- pod {name}"), format!("+++ pod {name}")]);
    assert_eq!(headers, expected.concat(), "{diff}");
    assert!(diff.starts_with("--- pod one\n+++ pod one\n@@ "), "{diff}");
    let said = stderr(&output);
    assert!(said.starts_with("Warning: pod two: secret.s=rel: "), "{said}");
    assert_eq!(
        said.lines().nth(1),
        Some("pod nothing: unchanged, there is nothing more to do"),
        "{said}"
    );
}

/// Hand-written YAML; the request path itself stays strict.
#[test]
fn mutate_reads_a_null_label_or_annotation_as_empty() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let pod = "kind: Pod\nmetadata:\n  name: job-driver\n  labels: {spark-role: driver, team:}\n  \
               annotations: {spark-operator.k8s.io/configMap.app: /etc/app, note:}\nspec:\n  containers: [{name: spark-kubernetes-driver}]\n";
    fs::write(&file, pod).unwrap();
    let output =
        command().arg("mutate").arg(file.path()).args(["--output", "pod"]).output().unwrap();
    let mutated = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    assert!(
        mutated.contains("team: \"\"\n")
            && mutated.contains("note: \"\"\n")
            && mutated.contains("mountPath: /etc/app\n"),
        "{mutated}"
    );
}

#[test]
fn check_config_shows_what_the_rules_mean_for_a_namespace() {
    let run = |arguments: &[&str]| {
        let output = command()
            .args(["check-config", "examples/rules.yaml", "--namespace"])
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let annotated = "has(object.metadata.annotations) && object.metadata.annotations.exists(key, \
                     key.startsWith('spark-operator.k8s.io/') || key.startsWith('sparkoperator.k8s.io/'))";
    let condition = format!(
        "Match condition of the registration:\n  {annotated} || ((request.namespace.matches('^team-.*$')) && !(request.namespace.matches('^team-legacy$'))) \
         || (request.namespace.matches('^team-.*$'))\n"
    );
    assert_eq!(
        run(&["team-a", "--label", "tier=batch"]),
        format!(
            "Defaults of the driver in team-a:\n\
             \u{20}\u{20}sparkConfigMap=spark-batch:defaults  →  ConfigMap spark-batch at /etc/spark/conf, optional, merged with Spark's own\n\
             \u{20}\u{20}hadoopConfigMap=hadoop-conf  →  ConfigMap hadoop-conf at /etc/hadoop/conf, optional, merged with Spark's own\n\
             \u{20}\u{20}configMap.corp-ca=/etc/ssl/corp:env=SSL_CERT_DIR  →  ConfigMap corp-ca at /etc/ssl/corp, optional\n\
             Names that a pod may request in team-a:\n  ConfigMaps: any\n  Secrets: spark-*, except spark-admin-*\n\
             Pods of team-a that the registration sends to the webhook:\n  all drivers and executors\n{condition}"
        )
    );
    assert_eq!(
        run(&["x", "--role", "executor"]),
        format!(
            "Defaults of the executor in x:\n  none\n\
             Names that a pod may request in x:\n  ConfigMaps: any\n  Secrets: any\n\
             Pods of x that the registration sends to the webhook:\n  \
             drivers and executors with an annotation under spark-operator.k8s.io/ or sparkoperator.k8s.io/\n{condition}"
        )
    );
}

#[test]
fn check_config_tells_all_mistakes_and_warns() {
    let check = |text: &str| {
        let mut process = command()
            .args(["check-config", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout.clone()).unwrap(),
            stderr(&output).to_owned(),
        )
    };
    let ok = "standard input: ok\n".to_owned();
    assert_eq!(check("apiVersion: spark-webhook/v1\n"), (Some(0), ok.clone(), String::new()));
    let cluster_wide = "apiVersion: spark-webhook/v1\ndefaults:\n- annotations: {spark-operator.k8s.io/secret.s: /s}\n";
    let warning = "Warning: standard input: line 3: this default has no namespaces, so creating any Spark pod of the cluster depends on the webhook; write namespaces\n";
    assert_eq!(check(cluster_wide), (Some(0), ok, warning.to_owned()));
    let (code, out, said) =
        check("apiVersion: spark-webhook/v1\nallow:\ndefaults: [{roles: []}]\n");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((code, &*out, lines.len()), (Some(2), "", 2), "{said}");
    assert!(
        lines[0].starts_with("spark-webhook: standard input: line 2: allow has no value"),
        "{said}"
    );
    assert!(
        lines[1].starts_with("spark-webhook: standard input: line 3: roles is empty"),
        "{said}"
    );
    // The same by every command that reads rules.
    for arguments in [
        &["mutate", "--config", "examples/driver-pod.yaml", "examples/driver-pod.yaml"][..],
        &["serve", "--config", "examples/driver-pod.yaml"],
    ] {
        let output = command().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).lines().count() > 1, "{output:?}");
        assert!(
            stderr(&output)
                .lines()
                .all(|line| line.starts_with("spark-webhook: examples/driver-pod.yaml: line ")),
            "{output:?}"
        );
    }
}

#[test]
fn conf_writes_what_pods_accept_and_rejects_everything_else() {
    let run = |arguments: &[&str]| {
        let output = command()
            .arg("conf")
            .args(arguments)
            .env("SPARK_WEBHOOK_SECRET", "a=/m,b=/n")
            .output()
            .unwrap();
        let said = stderr(&output).to_owned();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), said)
    };
    let property = |role: &str, annotation: &str| {
        format!("spark.kubernetes.{role}.annotation.spark-operator.k8s.io/{annotation}\n")
    };
    let of_both =
        |annotation: &str| property("driver", annotation) + &property("executor", annotation);
    assert_eq!(run(&["--secret", "a=/m"]), (Some(0), of_both("secret.a=/m"), String::new()));
    assert_eq!(
        run(&["--secret", "a=/m", "--roles", "executor"]).1,
        property("executor", "secret.a=/m")
    );
    // What the webhook would tell is told, and nothing is rejected for it.
    let (code, written, said) = run(&["--config-map", "a=/a:env=X", "--config-map", "b=/b:env=X"]);
    assert_eq!((code, written.lines().count()), (Some(0), 4), "{written}");
    assert!(
        said.starts_with("Warning: configMap.b=/b:env=X: ") && said.lines().count() == 1,
        "{said}"
    );

    for (arguments, expected) in [
        // No variable is a request.
        (&[][..], "spark-webhook: nothing is asked for"),
        (
            &["--secret", "a=/m\nspark.master=local"],
            "spark-webhook: a=/m\\nspark.master=local: it has a line break",
        ),
        (&["--secret", "a=/m", "--secret", "b=/m"], "spark-webhook: secret.b=/m: "),
        (
            &["--config-map", "a=/opt/spark/conf/a:file=a"],
            "spark-webhook: configMap.a=/opt/spark/conf/a",
        ),
        (
            &["--roles", "executor", "--config-map", "a=/opt/spark/conf/a:file=a"],
            "spark-webhook: configMap.a=/opt/spark/conf/a",
        ),
        (
            &["--spark-config-map", "x=/etc/x:merge"],
            "spark-webhook: --spark-config-map x=/etc/x:merge: it takes NAME[:OPTIONS]; for another directory than the default, write x:path=/etc/x:merge\n",
        ),
        (
            &["--hadoop-config-map", "x=y"],
            "spark-webhook: --hadoop-config-map x=y: it takes NAME[:OPTIONS]; for another directory than the default, write x:path=/DIRECTORY\n",
        ),
    ] {
        let (code, written, said) = run(arguments);
        assert_eq!((code, &*written), (Some(2), ""), "{arguments:?}");
        assert!(
            said.starts_with(expected)
                && said.lines().all(|line| line.starts_with("spark-webhook: ")),
            "{arguments:?}: {said}"
        );
    }
    // Each request that fails is told.
    let (_, _, said) = run(&["--secret", "a=/m", "--secret", "b=/m", "--secret", "c=/m"]);
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
fn every_flag_is_an_environment_variable_too() {
    let output = command()
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("SPARK_WEBHOOK_ADMIN_LISTEN", "nonsense")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--admin-listen"));
}
