//! What a pod asks for: its annotations, read into typed requests and the problems that were met on
//! the way.
//!
//! Everything that can be checked without looking at the pod is checked here, once: a [`Request`]
//! has a name that an object can have and a path that can be mounted, and nothing downstream asks
//! again. Keys that mean the same are made one, so the order and the spelling in which they were
//! written decide nothing, except where they contradict each other.

pub mod key;
mod lists;
pub mod options;

use crate::request::kind::PathFrom;
use crate::request::path::{is_windows_path, substitution};
use crate::request::{
    Annotation, Claim, Kind, MountPath, ObjectName, Options, Origin, PREFIXES, PathError, Problem,
    ProblemKind, Problems, Request,
};
use key::{Key, PrefixedKey};
use lists::Lists;

/// More requests than this in one pod are an attack or a mistake, and the webhook applies none.
pub const MAX_REQUESTS: usize = 256;

/// Entries of lists that request nothing count too, or a list of them could be as long as a body.
const MAX_LIST_ENTRIES: usize = 4096;

/// What a pod's annotations ask for.
#[derive(Debug, Default)]
pub struct Requests<'a> {
    /// In the order in which the webhook applies them: by kind, then by name, then by path.
    pub mounts: Vec<Request<'a>>,
    /// The name of Spark's container, for pods that Spark did not make.
    pub container: Option<Annotation<'a>>,
    /// What was wrong with annotations under our prefixes.
    pub problems: Problems,
    /// What the annotations are about, also where they ask for nothing or are wrong: no default
    /// takes its place.
    pub claims: Vec<Claim<'a>>,
    /// Annotations with an empty value, which opt out of a default.
    pub opt_outs: Vec<(Claim<'a>, Annotation<'a>)>,
    /// Whether there is any key under our prefixes, even one that asks for nothing.
    pub has_keys: bool,
}

/// Reads a pod's annotations, given in any order as key and value.
#[must_use]
pub fn parse<'a>(annotations: impl Iterator<Item = (&'a str, &'a str)>) -> Requests<'a> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    let mut unknown: Vec<PrefixedKey<'a>> = Vec::new();
    for (key, value) in annotations {
        match PrefixedKey::parse(key) {
            None => {}
            Some(key) if key.key == Key::Unknown => unknown.push(key),
            Some(key) => {
                let (place, value) = (key.key.place(), value.trim_matches(BLANKS));
                entries.push(Entry { place, key, value });
            }
        }
    }
    // Without `cmp` by name, the sort compares by `partial_cmp`, which takes more instructions.
    entries.sort_unstable_by(Entry::cmp);

    let mut requests =
        Requests { has_keys: !(entries.is_empty() && unknown.is_empty()), ..Requests::default() };
    let mut lists = Lists::default();
    let mut asked = 0;
    let are_too_many = entries.len() > MAX_REQUESTS && {
        let firsts = entries.chunk_by(Entry::is_about_the_same_as).filter_map(<[_]>::first);
        firsts
            .filter(|entry| matches!(entry.key.key, Key::Request(..)) && !entry.value.is_empty())
            .count()
            > MAX_REQUESTS
    };
    for same in entries.chunk_by(Entry::is_about_the_same_as) {
        let Some((entry, others)) = same.split_first() else { continue };
        match entry.key.key {
            Key::Request(kind, name) => {
                requests.claims.push((kind, name));
                for other in others.iter().filter(|other| other.value != entry.value) {
                    note_loss(&mut requests.problems, &other.annotation(), &entry.annotation());
                }
                if entry.value.is_empty() {
                    requests.opt_outs.push(((kind, name), entry.annotation()));
                } else {
                    asked += 1;
                    // Of too many, nothing is mounted and no problem is listed.
                    if !are_too_many {
                        requests.add(read_request(
                            kind,
                            Some(name),
                            entry.value,
                            &entry.annotation(),
                        ));
                    }
                }
            }
            Key::List(kind) => {
                for entry in same {
                    asked += lists.read(kind, entry, &mut requests);
                }
            }
            Key::Container => {
                requests.container = (!entry.value.is_empty()).then(|| entry.annotation());
            }
            Key::Injected | Key::Unknown => {}
            Key::Legacy(legacy) => {
                for entry in same {
                    let message = format_args!("no longer acted on; {}", legacy.instead);
                    requests.problems.push(
                        ProblemKind::FormerKey,
                        &entry.key.annotation(""),
                        message,
                    );
                }
            }
        }
    }
    name_unknown_keys(unknown, &mut requests.problems);
    let too_many = if asked > MAX_REQUESTS {
        Some(format!("more than {MAX_REQUESTS} requests, write fewer: nothing is mounted"))
    } else {
        lists.is_too_long().then(|| {
            format!(
                "more than {MAX_LIST_ENTRIES} entries in lists, write fewer: nothing is mounted"
            )
        })
    };
    if let Some(message) = too_many {
        requests.mounts.clear();
        requests.problems = Problems::default();
        requests.problems.push(ProblemKind::TooMany, &Annotation::new(PREFIXES[0], ""), message);
    }
    // The key forms are in order, but what lists ask for comes after them.
    requests.mounts.sort_by(Request::order);
    requests
}

/// Notes on unknown keys, in their order. There may be thousands: only those that somebody will
/// read are sorted and get a hint.
fn name_unknown_keys(mut keys: Vec<PrefixedKey>, problems: &mut Problems) {
    let listed = problems.room_for_notes().min(keys.len());
    if listed < keys.len() {
        keys.select_nth_unstable(listed);
    }
    let (named, others) = keys.split_at_mut(listed);
    named.sort_unstable();
    for key in named {
        match key.nearest() {
            Some(nearest) => {
                let message = format_args!("unknown key, ignored; the nearest is {nearest}");
                problems.push(ProblemKind::UnknownKey, &key.annotation(""), message);
            }
            None => {
                problems.push(ProblemKind::UnknownKey, &key.annotation(""), "unknown key, ignored");
            }
        }
    }
    problems.add_unlisted(ProblemKind::UnknownKey, others.len());
}

/// Removed at either end of a value: `--conf` keeps them, properties files do not.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

impl<'a> Requests<'a> {
    fn add(&mut self, read: Result<Request<'a>, Problem>) {
        match read {
            Ok(request) => self.mounts.push(request),
            Err(problem) => self.problems.add(problem),
        }
    }
}

/// An annotation of ours. The order of the fields is the order of requests, and of precedence among
/// the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry<'a> {
    /// Of the key, so that most comparisons are one of numbers.
    place: u64,
    key: PrefixedKey<'a>,
    value: &'a str,
}

impl<'a> Entry<'a> {
    fn annotation(&self) -> Annotation<'a> {
        self.key.annotation(self.value)
    }

    fn is_about_the_same_as(&self, other: &Self) -> bool {
        self.key.key == other.key.key
    }
}

/// Notes that another annotation about the same thing wins; one that requests nothing loses
/// nothing.
fn note_loss(problems: &mut Problems, loser: &Annotation, winner: &Annotation) {
    if loser.value.is_empty() {
        return;
    }
    if problems.room_for_notes() == 0 {
        problems.add_unlisted(ProblemKind::Precedence, 1);
    } else {
        let empty = if winner.value.is_empty() { "the empty " } else { "" };
        let message = format_args!("loses to {empty}{}; remove one", winner.excerpt(45));
        problems.push(ProblemKind::Precedence, loser, message);
    }
}

/// Reads `NAME[:option…]` or `PATH[:option…]`; the name stands in the key, in the list's entry, or
/// is the value.
fn read_request<'a>(
    kind: Kind,
    name: Option<&'a str>,
    value: &'a str,
    annotation: &Annotation<'a>,
) -> Result<Request<'a>, Problem> {
    let error =
        |message: &dyn std::fmt::Display| Problem::new(ProblemKind::Value, annotation, message);
    if is_windows_path(value) {
        return Err(error(&PathError::Windows));
    }
    let (value, options) = match value.split_once(':') {
        Some((value, options)) => (value.trim_end_matches(BLANKS), Some(options)),
        None => (value, None),
    };
    let default_path = match kind.spec().path {
        PathFrom::Default(path) => Some(path),
        PathFrom::Value => None,
    };
    let name = if default_path.is_some() { value } else { name.unwrap_or_default() };
    let name = ObjectName::parse(name).map_err(|reason| error(&reason))?;
    // The path before the options: an annotation that is read as `s3` with the option `//bucket`
    // was meant as a path.
    let path = default_path
        .is_none()
        .then(|| MountPath::parse(value))
        .transpose()
        .map_err(|reason| wrong_path(&reason, annotation))?;
    let mut options = Options::parse(kind, options).map_err(|reason| error(&reason))?;
    let path = match (path, default_path) {
        (Some(path), _) => path,
        (None, Some(default)) => options.path.take().unwrap_or_else(|| MountPath::fixed(default)),
        (None, None) => return Err(error(&"there is no path, write one")),
    };
    let request = Request {
        kind,
        name,
        path,
        options,
        is_listed: false,
        origin: Origin::Pod,
        annotation: annotation.clone(),
    };
    // The other part of a variable's value is the name of a file, which has no such characters.
    match substitution(request.path.as_str()) {
        Some(pair) if request.variable().is_some() => Err(error(&PathError::Substitution(pair))),
        _ => Ok(request),
    }
}

fn wrong_path(reason: &PathError, annotation: &Annotation) -> Problem {
    // Said with the whole annotation where there is room for it: the path was nearly right.
    let with_key = |path: &String| {
        let has_room =
            annotation.key.len() + path.len() < 50 && !annotation.value.contains([':', '=']);
        has_room.then(|| format!("{}={path}", annotation.key))
    };
    let reason = match reason {
        PathError::Relative(Some(path)) => {
            PathError::Relative(with_key(path).or(Some(path.clone())))
        }
        PathError::Quoted(Some(path)) => PathError::Quoted(with_key(path).or(Some(path.clone()))),
        other => other.clone(),
    };
    Problem::new(ProblemKind::Value, annotation, reason)
}

#[cfg(test)]
mod tests;
