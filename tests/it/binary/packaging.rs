//! What packages of the program hold beside it.

use std::process::Command;

use serde_json::{Value, json};
use testkit::webhook;

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
    let output =
        Command::new("bash").args(["-euc", &format!("{script}\n{complete}")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "serve\n--drain-delay\njson\n");
}

#[test]
fn other_shells_have_a_script_too() {
    for shell in ["zsh", "fish", "powershell", "elvish"] {
        let script = run(&["completions", shell]);
        assert!(
            script.contains("check-config") && script.contains("drain-delay"),
            "{shell}: {script}"
        );
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
        let page =
            std::fs::read_to_string(directory.path().join(format!("spark-webhook-{name}.1")))
                .unwrap();
        assert!(page.contains(".TH ") && page.contains("SYNOPSIS"), "{name}: {page}");
    }
    let serve = std::fs::read_to_string(directory.path().join("spark-webhook-serve.1")).unwrap();
    assert!(serve.contains(r"\-\-drain\-delay"), "{serve}");
}

const SHARED_STEPS: &str = ".github/actions/prepare/action.yml";

/// The hosted workflows: text and content.
fn workflows() -> Vec<(String, Value)> {
    let files = std::fs::read_dir(".github/workflows").unwrap().map(|file| file.unwrap().path());
    files.map(|file| text_and_content(file.to_str().unwrap())).collect()
}

fn text_and_content(file: &str) -> (String, Value) {
    let text = std::fs::read_to_string(file).unwrap();
    let content = serde_saphyr::from_str(&text).unwrap();
    (text, content)
}

fn workflow(name: &str) -> Value {
    workflows().into_iter().find(|(_, workflow)| workflow["name"] == name).unwrap().1
}

/// The commands of a job.
fn commands(job: &Value) -> impl Iterator<Item = &str> {
    job["steps"].as_array().into_iter().flatten().filter_map(|step| step["run"].as_str())
}

/// A tag of an action can be moved to other code; a commit cannot.
#[test]
fn workflows_name_actions_by_commit_and_give_each_job_the_rights_that_it_needs() {
    let mut texts = vec![text_and_content(SHARED_STEPS).0];
    for (text, workflow) in workflows() {
        assert_eq!(workflow["permissions"], json!({}), "no job has rights that it does not name");
        for job in workflow["jobs"].as_object().unwrap().values() {
            assert!(job["permissions"].is_object(), "{job}");
        }
        texts.push(text);
    }
    let mut actions = 0;
    for text in texts {
        for used in text
            .lines()
            .filter_map(|line| line.trim_start_matches(['-', ' ']).strip_prefix("uses: "))
        {
            if used.starts_with("./") {
                continue;
            }
            let (action, version) = used.split_once(" # v").expect("the version, as a comment");
            let commit = action.split_once('@').unwrap().1;
            assert!(
                commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{used}"
            );
            assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{used}");
            actions += 1;
        }
    }
    assert!(actions >= 15, "{actions}");
}

#[test]
fn a_release_publishes_only_what_tests_and_audit_have_passed() {
    let release = workflow("Release");
    let jobs = release["jobs"].as_object().unwrap();
    let needs = |job: &str| match &jobs[job]["needs"] {
        Value::String(one) => vec![one.clone()],
        many => many
            .as_array()
            .into_iter()
            .flatten()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect(),
    };
    let mut all = needs("publish");
    let mut at = 0;
    while let Some(job) = all.get(at).cloned() {
        all.extend(needs(&job));
        at += 1;
    }
    for (job, called) in [
        ("test", "./.github/workflows/ci.yml"),
        ("advisories", "./.github/workflows/advisories.yml"),
    ] {
        assert!(all.iter().any(|name| name == job), "publish does not wait for {job}");
        assert_eq!(jobs[job]["uses"], called);
        let (text, workflow) = text_and_content(called);
        assert!(text.contains("\n  workflow_call:\n"), "{called}");
        // The release waits for every job, and no job may be skipped or fail without effect.
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            let steps = job["steps"].as_array().unwrap();
            for part in [job].into_iter().chain(steps) {
                for field in ["if", "continue-on-error"] {
                    assert!(part[field].is_null(), "{called}: {name} has {field}");
                }
            }
        }
    }
    // Advisories come out while nobody changes anything.
    assert!(text_and_content(".github/workflows/advisories.yml").0.contains("\n  schedule:\n"));
}

/// Both run everything: the hosted jobs beside each other, `.ci/run` in one go.
#[test]
fn ci_runs_every_group_of_tests() {
    let script = std::fs::read_to_string(".ci/run").unwrap();
    for command in ["make test-node\n", "make audit\n"] {
        assert!(script.contains(command), "{script}");
    }
    let called = script.lines().filter_map(|line| line.strip_prefix("make test GROUPS=\""));
    let mut run: Vec<&str> =
        called.flat_map(|groups| groups.strip_suffix('"').expect(&script).split(' ')).collect();

    let ci = workflow("CI");
    let jobs = ci["jobs"].as_object().unwrap();
    for target in ["check", "test", "test-versions", "test-node", "audit", "oldest-rust"] {
        let command = if target == "test" {
            "make test GROUPS=${{ matrix.group }}".to_owned()
        } else {
            format!("make {target}")
        };
        assert_eq!(commands(&jobs[target]).collect::<Vec<_>>(), [command]);
    }
    let unknown = Command::new("tests/run").arg("no-such-group").output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    let error = String::from_utf8(unknown.stderr).unwrap();
    let groups = error.trim_end().split_once("there is no group no-such-group; the groups are ");
    let groups: Vec<&str> = groups.expect(&error).1.split(' ').collect();
    // These two are what `make check` runs.
    let mut hosted = vec!["lint", "request-path"];
    let rows = jobs["test"]["strategy"]["matrix"]["include"].as_array().unwrap();
    hosted.extend(rows.iter().map(|row| row["group"].as_str().unwrap()));
    assert_eq!(hosted, groups);
    run.sort_unstable();
    hosted.sort_unstable();
    assert_eq!(run, hosted);
}

/// A cache of another compiler is useless, and a cache of older lock files is better than none.
#[test]
fn caches_go_by_toolchain_and_by_the_versions_of_what_they_hold() {
    let (_, shared) = text_and_content(SHARED_STEPS);
    let steps = shared["runs"]["steps"].as_array().unwrap();
    let field =
        |step: &Value, name: &str| step["with"][name].as_str().unwrap_or_default().to_owned();
    let keys: Vec<(String, String)> = steps
        .iter()
        .filter(|step| step["uses"].as_str().is_some_and(|uses| uses.starts_with("actions/cache@")))
        .map(|step| (field(step, "key"), field(step, "restore-keys")))
        .collect();
    let files = [["'Cargo.toml'", "'Cargo.lock'"], ["'tests/tools/**'", "'tests/node/images/**'"]];
    assert_eq!(keys.len(), files.len());
    for ((key, restore), files) in keys.iter().zip(files) {
        assert!(!restore.is_empty() && key.starts_with(restore), "{restore}");
        assert!(restore.contains("hashFiles('rust-toolchain.toml')"), "{restore}");
        let rest = &key[restore.len()..];
        assert!(files.iter().all(|file| rest.contains(file)), "{key}");
    }
}

/// What a workflow does, anybody can do: the logic is the Makefile's.
#[test]
fn workflows_run_what_the_makefile_has() {
    let makefile = std::fs::read_to_string("Makefile").unwrap();
    let mut made = 0;
    for (_, workflow) in workflows() {
        for command in workflow["jobs"].as_object().unwrap().values().flat_map(commands) {
            let target = command.strip_prefix("make ").expect(command).split(' ').next().unwrap();
            assert!(makefile.contains(&format!("\n{target}:")), "{command}");
            made += 1;
        }
    }
    assert_eq!(made, 9);
    let (_, shared) = text_and_content(SHARED_STEPS);
    assert!(commands(&shared["runs"]).all(|command| command.starts_with("apt-get ")));
}

/// What is built and tested is the same compiler everywhere, but for the job that tries the oldest.
#[test]
fn the_compiler_is_the_one_of_rust_toolchain_toml() {
    let field = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name} = \"")));
        value.unwrap().trim_end_matches('"').to_owned()
    };
    let pinned = field("rust-toolchain.toml", "channel");
    let oldest = field("Cargo.toml", "rust-version");
    let dockerfile = std::fs::read_to_string("Dockerfile").unwrap();
    assert!(dockerfile.contains(&format!("FROM docker.io/library/rust:{pinned}-bookworm AS ")));
    let mut jobs = 0;
    for (_, workflow) in workflows() {
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            let Some(image) = job["container"]["image"].as_str() else { continue };
            let version = if name == "oldest-rust" { &oldest } else { &pinned };
            assert_eq!(image, format!("rust:{version}-bookworm"), "{name}");
            jobs += 1;
        }
    }
    assert_eq!(jobs, 8);
}

/// A glob that matches nothing, or a module that no glob names, would leave `make mutants` without
/// its mutants, and nothing would say so.
#[test]
fn mutation_tests_examine_each_module_or_leave_it_out_by_name() {
    let configuration = std::fs::read_to_string(".cargo/mutants.toml").unwrap();
    let globs = |field: &str| -> Vec<String> {
        let list = configuration.split(&format!("\n{field} = [\n")).nth(1).unwrap();
        let list = list.split("\n]").next().unwrap();
        list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    };
    // What all files that a glob matches begin with.
    let start = |glob: &str| glob.split("**").next().unwrap().to_owned();
    let starts: Vec<String> = globs("examine_globs").iter().map(|glob| start(glob)).collect();
    for start in &starts {
        assert!(std::path::Path::new(start).exists(), "{start} is gone");
    }
    let starts = [starts, globs("exclude_globs").iter().map(|glob| start(glob)).collect()].concat();
    for entry in std::fs::read_dir("src").unwrap() {
        let module = entry.unwrap().path();
        if module.extension().is_some_and(|extension| extension != "rs") {
            continue;
        }
        let module = module.display();
        let is_named = |start: &String| {
            *start == module.to_string() || start.starts_with(&format!("{module}/"))
        };
        assert!(starts.iter().any(is_named), "{module} is in no glob");
    }
}
