//! The archives of the program that a release offers, and the ways to install them: krew, `cargo
//! binstall`, and by hand after `cosign` and `sha256sum`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::{Value, json};
use testkit::webhook;

const VERSION: &str = env!("CARGO_PKG_VERSION");

const REPOSITORY: &str = "https://source.example/team/spark-webhook";

/// The systems that a release is built for, and their names in krew.
const TARGETS: [(&str, &str, &str); 4] = [
    ("x86_64-unknown-linux-gnu", "linux", "amd64"),
    ("aarch64-unknown-linux-gnu", "linux", "arm64"),
    ("x86_64-apple-darwin", "darwin", "amd64"),
    ("aarch64-apple-darwin", "darwin", "arm64"),
];

/// A page that tells how to get all of it.
const PAGE: &str = "docs/download.md";

fn source() -> String {
    format!("{REPOSITORY}/blob/v{VERSION}")
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn host() -> String {
    let output = run(Command::new("rustc").args(["--version", "--verbose"]));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// The downloads of one release, made from this test's program; for other systems a text stands in.
struct Downloads {
    directory: PathBuf,
    program: Vec<u8>,
}

static DOWNLOADS: LazyLock<Downloads> = LazyLock::new(|| {
    // No temporary directory: nothing drops a static.
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("downloads");
    if directory.exists() {
        fs::remove_dir_all(&directory).unwrap();
    }
    let built = directory.join("built");
    for (target, ..) in TARGETS {
        let place = built.join("some-runner").join(target).join("release");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("spark-webhook"), target).unwrap();
    }
    // Debug information would cost a minute to compress.
    let program = built.join("some-runner").join(host()).join("release/spark-webhook");
    let debug = webhook::command().get_program().to_owned();
    run(Command::new("strip").arg("-o").arg(&program).arg(debug));
    // An artifact of a workflow comes without the permission.
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    let to = directory.join("published");
    fs::create_dir(&to).unwrap();
    fs::write(to.join("install.yaml"), "made by another script\n").unwrap();
    fs::write(to.join("SHA256SUMS.sigstore.json"), "of an earlier try\n").unwrap();
    run(&mut archives(&built, &source(), &to));
    Downloads { program: fs::read(program).unwrap(), directory }
});

impl Downloads {
    fn built(&self) -> PathBuf {
        self.directory.join("built")
    }

    fn published(&self) -> PathBuf {
        self.directory.join("published")
    }

    /// An archive, unpacked.
    fn unpacked(&self, name: &str) -> tempfile::TempDir {
        let to = tempfile::tempdir().unwrap();
        let archive = self.published().join(name);
        run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(to.path()));
        to
    }
}

fn archives(built: &Path, source: &str, to: &Path) -> Command {
    let mut command = Command::new("manifests/archives");
    command.arg(built).arg(source).arg(to);
    command
}

/// What is below a directory, each with its permissions.
fn contents(directory: &Path) -> BTreeMap<String, u32> {
    let output = run(Command::new("find").arg(directory).args(["-printf", "%P %m\n"]));
    let text = String::from_utf8(output.stdout).unwrap();
    let rows = text.lines().filter_map(|line| line.rsplit_once(' '));
    rows.filter(|(path, _)| !path.is_empty())
        .map(|(path, mode)| (path.to_owned(), u32::from_str_radix(mode, 8).unwrap()))
        .collect()
}

#[test]
fn an_archive_holds_the_program_its_licence_manual_pages_and_completions() {
    for (target, ..) in TARGETS {
        let top = format!("spark-webhook-{VERSION}-{target}");
        let unpacked = DOWNLOADS.unpacked(&format!("{top}.tar.gz"));
        let root = unpacked.path().join(&top);
        let expected_program =
            if target == host() { &DOWNLOADS.program[..] } else { target.as_bytes() };
        assert!(fs::read(root.join("spark-webhook")).unwrap() == expected_program, "{target}");
        assert!(fs::read(root.join("LICENSE")).unwrap() == fs::read("LICENSE").unwrap());

        let pages = tempfile::tempdir().unwrap();
        run(webhook::command().arg("man").arg(pages.path()));
        let mut expected = BTreeMap::from([
            (top.clone(), 0o755),
            (format!("{top}/spark-webhook"), 0o755),
            (format!("{top}/LICENSE"), 0o644),
            (format!("{top}/man"), 0o755),
            (format!("{top}/completions"), 0o755),
        ]);
        for (shell, file) in [
            ("bash", "spark-webhook.bash"),
            ("fish", "spark-webhook.fish"),
            ("zsh", "_spark-webhook"),
        ] {
            let script = run(webhook::command().args(["completions", shell])).stdout;
            assert!(fs::read(root.join("completions").join(file)).unwrap() == script, "{shell}");
            expected.insert(format!("{top}/completions/{file}"), 0o644);
        }
        for page in contents(pages.path()).keys() {
            let made = fs::read(pages.path().join(page)).unwrap();
            assert!(fs::read(root.join("man").join(page)).unwrap() == made, "{page}");
            expected.insert(format!("{top}/man/{page}"), 0o644);
        }
        assert_eq!(contents(unpacked.path()), expected);

        if target == host() {
            let output = run(Command::new(root.join("spark-webhook")).arg("--version"));
            let version = String::from_utf8(output.stdout).unwrap();
            assert_eq!(version, format!("spark-webhook {VERSION}\n"));
        }
    }
}

/// Nobody can tell an archive that was changed from one that was only made again, unless the same
/// programs give the same bytes.
#[test]
fn the_same_programs_give_the_same_archives() {
    let to = tempfile::tempdir().unwrap();
    run(&mut archives(&DOWNLOADS.built(), &source(), to.path()));
    for (target, ..) in TARGETS {
        let name = format!("spark-webhook-{VERSION}-{target}.tar.gz");
        let [first, second] = [DOWNLOADS.published(), to.path().to_owned()]
            .map(|place| fs::read(place.join(&name)).unwrap());
        assert!(first == second, "{target}");
    }
}

#[test]
fn the_checksums_are_those_of_everything_that_is_offered() {
    let published = DOWNLOADS.published();
    run(Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(&published));
    let sums = fs::read_to_string(published.join("SHA256SUMS")).unwrap();
    let listed: BTreeSet<&str> =
        sums.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    let mut expected: BTreeSet<String> = contents(&published).into_keys().collect();
    assert!(expected.remove("SHA256SUMS") && expected.len() == TARGETS.len() + 2, "{expected:?}");
    assert_eq!(listed, expected.iter().map(String::as_str).collect());
}

fn krew() -> Value {
    let text = fs::read_to_string(DOWNLOADS.published().join("krew.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// The fields of an object, and no others.
fn fields<'a>(object: &'a Value, names: &[&str]) -> Vec<&'a Value> {
    let map = object.as_object().unwrap();
    let is: BTreeSet<&str> = map.keys().map(String::as_str).collect();
    assert_eq!(is, names.iter().copied().collect(), "{object}");
    names.iter().map(|name| &map[*name]).collect()
}

/// The rules of krew's `internal/index/validation/validate.go` and `cmd/validate-krew-manifest`,
/// which krew-index runs.
#[test]
fn the_krew_manifest_is_valid_and_names_the_archives() {
    let manifest = krew();
    let parts = fields(&manifest, &["apiVersion", "kind", "metadata", "spec"]);
    assert_eq!(parts[0], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(parts[1], "Plugin");
    let name = fields(parts[2], &["name"])[0].as_str().unwrap();
    assert_eq!(name, "spark-webhook");
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    assert!(name.bytes().all(is_safe) && !name.starts_with("kubectl"));

    let spec = ["version", "homepage", "shortDescription", "description", "platforms"];
    let spec = fields(parts[3], &spec);
    assert_eq!(spec[0], &json!(format!("v{VERSION}")));
    assert_eq!(spec[1], REPOSITORY);
    let short = spec[2].as_str().unwrap();
    assert!((1..=50).contains(&short.len()) && !short.contains('\n'), "{short}");
    let description = spec[3].as_str().unwrap();
    assert!(!description.is_empty() && description.lines().all(|line| line.len() <= 80));

    let mut systems = BTreeSet::new();
    for platform in spec[4].as_array().unwrap() {
        let platform = fields(platform, &["selector", "uri", "sha256", "files", "bin"]);
        let labels = fields(platform[0], &["matchLabels"])[0];
        let system: Vec<&str> = fields(labels, &["os", "arch"])
            .into_iter()
            .map(|label| label.as_str().unwrap())
            .collect();
        let &(target, ..) = TARGETS
            .iter()
            .find(|(_, os, arch)| [*os, *arch] == system[..])
            .unwrap_or_else(|| panic!("{labels}"));
        assert!(systems.insert(system), "{labels} is there twice");

        let top = format!("spark-webhook-{VERSION}-{target}");
        let archive = format!("{top}.tar.gz");
        assert_eq!(
            platform[1],
            &json!(format!("{REPOSITORY}/releases/download/v{VERSION}/{archive}"))
        );
        let output = run(Command::new("sha256sum").arg(DOWNLOADS.published().join(&archive)));
        assert_eq!(platform[2], str::from_utf8(&output.stdout[..64]).unwrap());

        // krew copies these, makes `bin` the plugin, and needs the licence beside it.
        let unpacked = DOWNLOADS.unpacked(&archive);
        let mut copied = Vec::new();
        for file in platform[3].as_array().unwrap() {
            let file = fields(file, &["from", "to"]);
            let from = unpacked.path().join(file[0].as_str().unwrap());
            assert!(from.is_file() && file[1] == ".", "{file:?}");
            copied.push(from.file_name().unwrap().to_str().unwrap().to_owned());
        }
        assert_eq!(copied, ["spark-webhook", "LICENSE"]);
        assert_eq!(platform[4], copied[0].as_str());
    }
    assert_eq!(systems.len(), TARGETS.len());
}

/// A field of `[package.metadata.binstall]`.
fn binstall(field: &str) -> String {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let section = manifest.split("\n[package.metadata.binstall]\n").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let value = section.lines().find_map(|line| line.strip_prefix(&format!("{field} = \"")));
    value.unwrap().trim_end_matches('"').to_owned()
}

#[test]
fn cargo_binstall_finds_the_program_in_the_archives() {
    assert_eq!(binstall("pkg-fmt"), "tgz");
    for (target, ..) in TARGETS {
        let filled = |template: &str| {
            let values = [
                ("{ repo }", REPOSITORY),
                ("{ name }", env!("CARGO_PKG_NAME")),
                ("{ version }", VERSION),
                ("{ target }", target),
                ("{ bin }", "spark-webhook"),
                ("{ binary-ext }", ""),
            ];
            let text = values
                .iter()
                .fold(binstall(template), |text, (name, value)| text.replace(name, value));
            assert!(!text.contains('{'), "{text}");
            text
        };
        let uris = krew();
        let uris = uris["spec"]["platforms"].as_array().unwrap();
        let url = filled("pkg-url");
        assert!(uris.iter().any(|platform| platform["uri"] == url.as_str()), "{url}");
        let unpacked = DOWNLOADS.unpacked(url.rsplit('/').next().unwrap());
        assert!(unpacked.path().join(filled("bin-dir")).is_file());
    }
}

#[test]
fn archives_are_not_made_of_half_a_release() {
    let unknown = tempfile::tempdir().unwrap();
    for target in [&*host(), "riscv64gc-unknown-linux-gnu"] {
        let place = unknown.path().join(target).join("release");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("spark-webhook"), "").unwrap();
    }
    for (built, source, expected) in [
        (DOWNLOADS.built(), format!("{REPOSITORY}/blob/v9.9.9"), "is not the address of version"),
        (PathBuf::from("docs"), source(), "docs has no program for "),
        (unknown.path().to_owned(), source(), "krew has no name for riscv64gc-unknown-linux-gnu"),
    ] {
        let to = tempfile::tempdir().unwrap();
        let output = archives(&built, &source, to.path()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.starts_with("archives: "), "{error}");
        assert!(error.contains(expected), "{error}");
        assert_eq!(contents(to.path()), BTreeMap::new());
    }
}

/// The runners of a job in the release workflow.
fn runners(job: &str) -> Vec<String> {
    let text = fs::read_to_string(".github/workflows/release.yml").unwrap();
    let workflow: Value = serde_saphyr::from_str(&text).unwrap();
    let runners = workflow["jobs"][job]["strategy"]["matrix"]["runner"].as_array().unwrap();
    runners.iter().map(|runner| runner.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_workflow_builds_each_target_on_a_machine_of_its_kind_and_hands_the_programs_over() {
    assert_eq!(runners("image"), ["ubuntu-24.04", "ubuntu-24.04-arm"]);
    assert_eq!(runners("macos"), ["macos-15", "macos-15-intel"]);
    assert_eq!(runners("image").len() + runners("macos").len(), TARGETS.len());
    let text = fs::read_to_string(".github/workflows/release.yml").unwrap();
    assert_eq!(text.matches("target/image/*/release/spark-webhook").count(), 2);
    let script = fs::read_to_string("manifests/release").unwrap();
    assert!(script.contains(r#""$here/archives" "$built" "$source" "$to""#));
    for file in ["Makefile", ".github/workflows/release.yml"] {
        assert!(fs::read_to_string(file).unwrap().contains("target/built"), "{file}");
    }
}

/// What the page tells people to type names what a release publishes, and the identity by which the
/// workflow signs.
#[test]
fn the_page_names_each_archive_and_the_identity_that_signs() {
    let page = fs::read_to_string(PAGE).unwrap();
    for (target, ..) in TARGETS {
        assert!(page.contains(&format!("`spark-webhook-VERSION-{target}.tar.gz`")), "{target}");
    }
    let script = fs::read_to_string("manifests/release").unwrap();
    let workflow = fs::read_to_string(".github/workflows/release.yml").unwrap();
    let issuer = "--certificate-oidc-issuer https://token.actions.githubusercontent.com";
    let identity = "--certificate-identity https://github.com/OWNER/spark-webhook/.github/workflows/release.yml@refs/tags/vVERSION";
    let commands: Vec<&str> = page
        .split("\n    cosign ")
        .skip(1)
        .map(|rest| rest.split("\n\n").next().unwrap())
        .collect();
    let verbs: Vec<&str> =
        commands.iter().map(|command| command.split(' ').next().unwrap()).collect();
    assert_eq!(verbs, ["verify-blob", "verify", "verify", "verify-attestation"]);
    for command in commands {
        assert!(command.contains(issuer) && command.contains(identity), "{command}");
    }
    for signs in [
        r#"cosign sign-blob --yes --bundle "$to/SHA256SUMS.sigstore.json" "$to/SHA256SUMS""#,
        r#"cosign sign --yes --recursive "$image""#,
        r#"cosign sign --yes "$registry/charts/spark-webhook@$chart""#,
        "cosign attest --yes --type spdxjson ",
    ] {
        assert!(script.contains(signs), "{signs}");
    }
    assert!(page.contains("--bundle SHA256SUMS.sigstore.json"));
    assert!(workflow.contains("id-token: write"));
}

/// <https://artifacthub.io/docs/topics/repositories/#artifacthub-repoyml-file>, and the media types
/// of its section on OCI.
#[test]
fn artifact_hub_finds_the_repositorys_metadata() {
    let text = fs::read_to_string("manifests/artifacthub-repo.yml").unwrap();
    let metadata: Value = serde_saphyr::from_str(&text).unwrap();
    for field in metadata.as_object().unwrap().keys() {
        assert!(["repositoryID", "owners", "ignore"].contains(&field.as_str()), "{field}");
    }
    let script = fs::read_to_string("manifests/release").unwrap();
    for part in [
        "/charts/spark-webhook:artifacthub.io\"",
        " /dev/null:application/vnd.cncf.artifacthub.config.v1+yaml ",
        " artifacthub-repo.yml:application/vnd.cncf.artifacthub.repository-metadata.layer.v1.yaml)",
    ] {
        assert!(script.contains(part), "{part}");
    }
}
