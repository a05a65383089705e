//! The image as `make image` has made it: what is in it, and that it is small, on disk and in
//! memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use testkit::webhook::Webhook;

/// Its size is that of the one layer and some kilobytes of names.
const MOST_BYTES: u64 = 15_000_000;

/// What a replica may take after its first answer. Without the profile by which the program is laid
/// out, it takes more.
const MOST_RESIDENT: u64 = 8_000_000;

fn archive() -> PathBuf {
    let archive = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../spark-webhook.tar");
    assert!(archive.exists(), "there is no image: make image");
    archive
}

/// What a command writes, given some bytes.
fn output(program: &str, arguments: &[&str], stdin: Stdio) -> Vec<u8> {
    let output = Command::new(program).args(arguments).stdin(stdin).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn file_of_archive(name: &str) -> Vec<u8> {
    output(
        "tar",
        &["--extract", "--to-stdout", name, "--file", archive().to_str().unwrap()],
        Stdio::null(),
    )
}

/// The layer as a directory; the program in it.
fn extract(directory: &Path) -> String {
    let manifest: Value = serde_json::from_slice(&file_of_archive("manifest.json")).unwrap();
    let (layer, root) = (directory.join("layer.tar"), directory.join("root"));
    fs::write(&layer, file_of_archive(manifest[0]["Layers"][0].as_str().unwrap())).unwrap();
    fs::create_dir(&root).unwrap();
    let [layer, root] = [&layer, &root].map(|path| path.to_str().unwrap());
    output("tar", &["--extract", "--file", layer, "--directory", root], Stdio::null());
    format!("{root}/spark-webhook")
}

#[test]
fn it_is_one_program_in_fifteen_megabytes_and_not_roots() {
    let bytes = fs::metadata(archive()).unwrap().len();
    assert!(bytes <= MOST_BYTES, "{bytes}");
    let manifest: Value = serde_json::from_slice(&file_of_archive("manifest.json")).unwrap();
    let tag = concat!("localhost/spark-webhook:", env!("CARGO_PKG_VERSION"));
    assert_eq!(manifest[0]["RepoTags"], json!([tag]));
    let image: Value =
        serde_json::from_slice(&file_of_archive(manifest[0]["Config"].as_str().unwrap())).unwrap();
    assert_eq!(image["config"]["User"], "65532:65532");
    assert_eq!(image["config"]["Entrypoint"], json!(["/spark-webhook"]));
    assert_eq!(manifest[0]["Layers"].as_array().unwrap().len(), 1);
    let directory = tempfile::tempdir().unwrap();
    let program = extract(directory.path());
    let files: Vec<_> = fs::read_dir(directory.path().join("root"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(files, ["spark-webhook"]);

    // The list of its dependencies, as scanners of images look for it: compressed JSON in a section
    // of its own.
    let list = directory.path().join("list").to_str().unwrap().to_owned();
    output("objcopy", &["--dump-section", &format!(".dep-v0={list}"), &program], Stdio::null());
    let decompress =
        "import sys, zlib; sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read()))";
    let list = output("python3", &["-c", decompress], fs::File::open(list).unwrap().into());
    let list: Value = serde_json::from_slice(&list).unwrap();
    let names: Vec<&str> = list["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    for name in ["spark-webhook", "rustls", "kube-client", "serde_json"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
}

#[test]
fn a_replica_answers_with_eight_megabytes_of_memory() {
    let directory = tempfile::tempdir().unwrap();
    let replica = Webhook::start_program(&extract(directory.path()), &[]);
    let url = format!("https://{}/mutate", replica.address());
    let request = [
        "--insecure",
        "--silent",
        "--data",
        "@examples/driver-review.json",
        "--header",
        "Content-Type: application/json",
    ];
    let answer: Value =
        serde_json::from_slice(&output("curl", &[&request[..], &[&url]].concat(), Stdio::null()))
            .unwrap();
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
    let resident = replica.resident_kib() * 1024;
    assert!(resident <= MOST_RESIDENT, "{resident}");
}
