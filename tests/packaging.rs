//! What packages of the program hold beside it.

use std::process::Command;

#[path = "support/webhook.rs"]
mod webhook;

/// What a command writes.
fn run(arguments: &[&str]) -> String {
    let output = webhook::command().args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bash_completes_commands_and_flags() {
    let script = run(&["completions", "bash"]);
    let complete = r#"
        complete=$(complete -p spark-webhook | sed 's/.*-F \([^ ]*\).*/\1/')
        complete_words() { COMP_WORDS=(spark-webhook "$@"); COMP_CWORD=$#; "$complete" spark-webhook "${!#}" "${*: -2:1}"; echo "${COMPREPLY[@]}"; }
        complete_words ser
        complete_words serve --drain
        complete_words serve --log-format j
    "#;
    let output = Command::new("bash").args(["-euc", &format!("{script}\n{complete}")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "serve\n--drain-delay\njson\n");
}

#[test]
fn other_shells_have_a_script_too() {
    for shell in ["zsh", "fish", "powershell", "elvish"] {
        let script = run(&["completions", shell]);
        assert!(script.contains("check-config") && script.contains("drain-delay"), "{shell}: {script}");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    run(&["man", directory.path().to_str().unwrap()]);
    let help = run(&["--help"]);
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    // A line that goes on is indented further.
    let names = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names: Vec<&str> = names.filter(|name| !name.is_empty() && *name != "help").collect();
    assert!(names.contains(&"serve") && names.contains(&"check-config"), "{names:?}");
    for name in names {
        let page = std::fs::read_to_string(directory.path().join(format!("spark-webhook-{name}.1"))).unwrap();
        assert!(page.contains(".TH ") && page.contains("SYNOPSIS"), "{name}: {page}");
    }
    let serve = std::fs::read_to_string(directory.path().join("spark-webhook-serve.1")).unwrap();
    assert!(serve.contains(r"\-\-drain\-delay"), "{serve}");
}

/// What a workflow does, anybody can do: the logic is the Makefile's.
#[test]
fn workflows_run_what_the_makefile_has() {
    let makefile = std::fs::read_to_string("Makefile").unwrap();
    let mut made = 0;
    for file in std::fs::read_dir(".github/workflows").unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let workflow: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        for job in workflow["jobs"].as_object().unwrap().values() {
            for run in job["steps"].as_array().unwrap().iter().filter_map(|step| step["run"].as_str()) {
                match run.split(' ').collect::<Vec<_>>()[..] {
                    ["make", target, ..] => {
                        assert!(makefile.contains(&format!("\n{target}:")), "{run}");
                        made += 1;
                    }
                    [".ci/run"] | ["apt-get", ..] => {}
                    _ => panic!("{run}"),
                }
            }
        }
    }
    assert_eq!(made, 2);
}
