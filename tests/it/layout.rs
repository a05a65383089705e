//! The layout of `src/`: modules use only lower ones, files stay short, and one place defines a
//! kind of request.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use spark_webhook::request::kind::KINDS;

use crate::files_in;

/// The modules of the library, lowest first. A module uses only those before it.
const ORDER: [&str; 24] = [
    "text",
    "json",
    "yaml",
    "spark",
    "request",
    "pod",
    "annotations",
    "config",
    "resolve",
    "mutation",
    "patch",
    "admission",
    "sample_pod",
    "trial",
    "metrics",
    "telemetry",
    "watched",
    "tls",
    "server",
    "registration",
    "spark_conf",
    "admission_policy",
    "doctor",
    "cli",
];

/// The maximum lines of a file without its unit tests, and with them.
const MAX_LINES: (usize, usize) = (400, 600);

/// A file of the library.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The first part of its path: a module of [`ORDER`], `lib` or `main`.
    fn module(&self) -> String {
        let first = self.path.components().next().unwrap();
        Path::new(first.as_os_str()).file_stem().unwrap().to_str().unwrap().to_owned()
    }

    /// Whether it has only unit tests.
    fn is_tests(&self) -> bool {
        self.path
            .components()
            .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
    }

    /// The lines before its unit tests.
    fn code(&self) -> Vec<&str> {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = lines
            .windows(2)
            .position(|two| two[0] == "#[cfg(test)]" && two[1].starts_with("mod tests"));
        lines[..tests.unwrap_or(lines.len())].to_vec()
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new("src");
    let source = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        Source { path: path.strip_prefix(root).unwrap().to_owned(), text }
    };
    files_in(root).into_iter().map(source).collect()
}

/// The modules of this library that a line of code names.
fn used(line: &str) -> impl Iterator<Item = &str> {
    let code = if line.trim_start().starts_with("//") { "" } else { line };
    code.split("crate::").skip(1).filter_map(|rest| {
        rest.split(|character: char| !(character.is_alphanumeric() || character == '_')).next()
    })
}

#[test]
fn a_module_uses_only_lower_modules() {
    let place = |module: &str| ORDER.iter().position(|other| *other == module);
    let mut modules = BTreeSet::new();
    for source in sources() {
        let module = source.module();
        if ["lib", "main"].contains(&&*module) {
            continue;
        }
        let own = place(&module).unwrap_or_else(|| panic!("{module} has no place in ORDER"));
        modules.insert(module);
        if source.is_tests() {
            continue;
        }
        for line in source.code() {
            for other in used(line) {
                let other = place(other).unwrap_or_else(|| panic!("{line}: no module {other}"));
                assert!(other <= own, "{}: {line}", source.path.display());
            }
        }
    }
    assert_eq!(modules.len(), ORDER.len(), "ORDER has a module that is gone");
}

#[test]
fn files_stay_short() {
    for source in sources() {
        let (code, all) = (source.code().len(), source.text.lines().count());
        let is_short = (source.is_tests() || code <= MAX_LINES.0) && all <= MAX_LINES.1;
        assert!(is_short, "{}: {code} lines, {all} with tests", source.path.display());
    }
}

/// Everything else looks a kind up. The keys `configMap` and `secret` are also fields of a pod, so
/// only their variants count.
#[test]
fn one_file_defines_the_kinds_of_requests() {
    let keys = KINDS.iter().filter(|spec| spec.list.is_none()).flat_map(|spec| {
        [Some(spec.key.to_owned()), spec.alias.map(str::to_owned)].into_iter().flatten()
    });
    let variants = KINDS.iter().map(|spec| format!("Kind::{:?}", spec.kind));
    let names: Vec<String> = keys.chain(variants).collect();
    // The end of `ObjectKind` is another type.
    let has = |line: &str, name: &str| {
        line.match_indices(name).any(|(at, _)| !line[..at].ends_with(char::is_alphanumeric))
    };
    for source in sources() {
        if source.is_tests() || source.path == Path::new("request/kind.rs") {
            continue;
        }
        let code = source.code();
        let lines = code.iter().filter(|line| !line.trim_start().starts_with("//"));
        for line in lines {
            let found = names.iter().find(|name| has(line, name));
            assert_eq!(found, None, "{}: {line}", source.path.display());
        }
    }
}

#[test]
fn few_modules_are_public() {
    let library = fs::read_to_string("src/lib.rs").unwrap();
    let public: Vec<&str> = library.lines().filter(|line| line.starts_with("pub mod ")).collect();
    assert!(public.len() <= 8, "{public:?}");
}
