//! The lists `configMaps` and `secrets`: many requests in one value, which meet each other and the key forms.

use std::collections::HashSet;
use std::collections::hash_map::{self, HashMap};

use super::key::Kind;
use super::problem::{Annotation, Problem, ProblemKind};
use super::{BLANKS, Entry, MAX_REQUESTS, Request, Requests, loses, read_request};

/// What the lists of a pod ask for.
#[derive(Default)]
pub(super) struct Lists<'a> {
    /// By kind, name and value: an entry that is there again in the same words.
    words: HashSet<(Kind, &'a str, &'a str)>,
    /// By kind, name and path: the request that counts.
    winners: Option<HashMap<(Kind, &'a str, String), Annotation<'a>>>,
}

impl<'a> Lists<'a> {
    /// Reads a list, and returns how many requests it adds. Key forms are read before, so what they ask for counts.
    pub(super) fn read(&mut self, kind: Kind, list: &Entry<'a>, requests: &mut Requests<'a>) -> usize {
        if list.value.is_empty() {
            return 0;
        }
        let winners = self.winners.get_or_insert_with(|| {
            let forms = requests.mounts.iter().filter(|request| matches!(request.kind, Kind::ConfigMap | Kind::Secret));
            forms.map(|request| ((request.kind, request.name.as_str(), request.path.to_string()), request.annotation)).collect()
        });
        let mut asked = 0;
        for text in list.value.split(',') {
            if asked > MAX_REQUESTS {
                break;
            }
            let text = text.trim_matches(BLANKS);
            let annotation = list.key.annotation(text);
            let Some((name, value)) = text.split_once('=') else {
                asked += 1;
                let reason = if text.is_empty() { "an entry is empty, remove its comma" } else { "an entry must be NAME=PATH" };
                requests.problems.push(Problem::new(ProblemKind::Value, annotation, reason));
                continue;
            };
            let (name, value) = (name.trim_end_matches(BLANKS), value.trim_start_matches(BLANKS));
            requests.claims.push((kind, name));
            if value.is_empty() || !self.words.insert((kind, name, value)) {
                continue;
            }
            let request = match read_request(kind, Some(name), value, annotation) {
                Ok(request) => Request { is_listed: true, ..request },
                Err(problem) => {
                    asked += 1;
                    requests.problems.push(problem);
                    continue;
                }
            };
            match winners.entry((kind, name, request.path.to_string())) {
                hash_map::Entry::Occupied(winner) => {
                    // A key form says the same without the name.
                    if winner.get().value != value {
                        requests.problems.extend(loses(annotation, *winner.get()));
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
}
