//! The lists `configMaps` and `secrets`: many requests in one value, which meet each other and the
//! key forms.

use std::collections::HashSet;
use std::collections::hash_map::{self, HashMap};

use super::{BLANKS, Entry, MAX_LIST_ENTRIES, MAX_REQUESTS, Requests, note_loss, read_request};
use crate::request::{
    Annotation, Kind, MountPath, ObjectName, OptionName, Problem, ProblemKind, Request,
};
use crate::text::Excerpt;

/// What the lists of a pod ask for.
#[derive(Default)]
pub(super) struct Lists<'a> {
    /// By kind, name and value: an entry that is there again in the same words.
    words: HashSet<(Kind, &'a str, &'a str)>,
    /// By kind, name and path: the request that counts.
    winners: Option<HashMap<(Kind, ObjectName<'a>, MountPath<'a>), Annotation<'a>>>,
    /// How many entries were read, those that request nothing included.
    entries: usize,
}

impl<'a> Lists<'a> {
    /// Reads a list, and returns how many requests it adds. Key forms are read before, so what they
    /// ask for counts.
    pub(super) fn read(
        &mut self,
        kind: Kind,
        list: &Entry<'a>,
        requests: &mut Requests<'a>,
    ) -> usize {
        if list.value.is_empty() {
            return 0;
        }
        let winners = self.winners.get_or_insert_with(|| {
            let forms = requests.mounts.iter().filter(|request| request.kind.spec().list.is_some());
            forms
                .map(|request| {
                    (
                        (request.kind, request.name.clone(), request.path.clone()),
                        request.annotation.clone(),
                    )
                })
                .collect()
        });
        let mut asked = 0;
        for text in list.value.split(',') {
            self.entries += 1;
            if asked > MAX_REQUESTS || self.entries > MAX_LIST_ENTRIES {
                break;
            }
            let text = text.trim_matches(BLANKS);
            let annotation = list.key.annotation(text);
            let Some((name, value)) = text.split_once('=') else {
                asked += 1;
                let reason = if text.is_empty() {
                    "an entry is empty, remove its comma"
                } else {
                    "an entry must be NAME=PATH"
                };
                requests.problems.push(ProblemKind::Value, &annotation, reason);
                continue;
            };
            let (name, value) = (name.trim_end_matches(BLANKS), value.trim_start_matches(BLANKS));
            requests.claims.push((kind, name));
            if !self.words.insert((kind, name, value)) {
                continue;
            }
            if value.is_empty() {
                requests.opt_outs.push(((kind, name), annotation));
                continue;
            }
            if let Some(problem) = missing_comma(value, &annotation) {
                asked += 1;
                requests.problems.add(problem);
                continue;
            }
            let request = match read_request(kind, Some(name), value, &annotation) {
                Ok(request) => Request { is_listed: true, ..request },
                Err(problem) => {
                    asked += 1;
                    requests.problems.add(problem);
                    continue;
                }
            };
            match winners.entry((kind, request.name.clone(), request.path.clone())) {
                hash_map::Entry::Occupied(winner) => {
                    // A key form says the same without the name.
                    if winner.get().value != value {
                        note_loss(&mut requests.problems, &annotation, winner.get());
                    }
                }
                hash_map::Entry::Vacant(place) => {
                    asked += 1;
                    place.insert(annotation);
                    requests.mounts.push(request);
                }
            }
        }
        asked
    }
    /// Whether the lists of the pod have more entries than anybody reads.
    pub(super) fn is_too_long(&self) -> bool {
        self.entries > MAX_LIST_ENTRIES
    }
}

/// An entry that goes on with a second `NAME=` after a semicolon or a blank: as a path, it would be
/// mounted at a place that nobody meant, and the second request would be lost.
fn missing_comma(value: &str, annotation: &Annotation) -> Option<Problem> {
    let mut before_equals = value.split('=');
    before_equals.next_back();
    let name = before_equals.find_map(|before| {
        let (_, name) =
            before.trim_end_matches(BLANKS).rsplit_once([';', ' ', '\t', '\r', '\n'])?;
        ObjectName::parse(name).is_ok().then_some(name)
    })?;
    let separator = if OptionName::parse(name).is_some() { "colon" } else { "comma" };
    let message = format_args!("write a {separator} before {}=", Excerpt::new(name, 60));
    Some(Problem::new(ProblemKind::Value, annotation, message))
}
