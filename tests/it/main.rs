//! The tests that need no API server.

use std::fs;
use std::path::{Path, PathBuf};

mod allocations;
mod binary;
mod docs;
mod examples;
mod golden;
mod layout;
// It reads pods as the typed objects of k8s-openapi, which comes with the feature.
#[cfg(feature = "cluster")]
mod oracle;
mod properties;
mod rules;

/// The Rust files in a directory and below it.
fn files_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let below = directories.iter().flat_map(|directory| files_in(directory));
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    files.into_iter().filter(is_rust).chain(below).collect()
}

/// The compiler does not notice a file that no `mod` line names: its tests would never run.
#[test]
fn every_test_file_is_a_module_of_a_test_binary() {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let mut modules = 0;
    for file in files_in(Path::new("tests")) {
        let (directory, name) = (file.parent().unwrap(), file.file_stem().unwrap());
        let name = name.to_str().unwrap();
        if name == "main" {
            let binary = directory.strip_prefix("tests").unwrap().display();
            assert!(
                manifest.contains(&format!("[[test]]\nname = \"{binary}\"\n")),
                "Cargo.toml does not name the test binary {binary}"
            );
            continue;
        }
        if name == "lib" {
            continue;
        }
        let parents =
            [directory.join("main.rs"), directory.join("lib.rs"), directory.with_extension("rs")];
        let parent = parents.iter().find(|parent| parent.exists());
        let parent =
            parent.unwrap_or_else(|| panic!("{} belongs to no test binary", file.display()));
        let declares = |line: &str| line.trim_start_matches("pub ") == format!("mod {name};");
        assert!(
            fs::read_to_string(parent).unwrap().lines().any(declares),
            "{} does not declare {}",
            parent.display(),
            file.display()
        );
        modules += 1;
    }
    assert!(modules > 50, "{modules}");
}

/// Cargo runs no tests of the testkit.
#[test]
fn the_testkit_has_no_tests_of_its_own() {
    for file in files_in(Path::new("tests/testkit")) {
        assert!(!fs::read_to_string(&file).unwrap().contains("#[test]"), "{}", file.display());
    }
}
