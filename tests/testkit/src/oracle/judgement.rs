//! What must hold of an answer: every request is applied or named by a problem, and nothing else is
//! done or said.

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::api::core::v1::{EnvVar, Pod, VolumeMount};
use serde_json::Value;
use spark_webhook::admission::{Outcome, Settings, admit};
use spark_webhook::request::Severity;

use super::pod::{
    CarriedOut, Form, Round, Verdict, View, containers, env, is_marked, mounts, spark_container,
    volumes,
};
use super::requests::{
    Ask, Asked, Class, FIRST, KEYS, LISTS, Reading, Request, SECOND, Standing, is_object_name,
    meets_by_link, read, seen,
};
use crate::soundness::{Answer, INJECTED};

/// As a problem may be cut short, it has to show at least so much of the annotation.
const SHOWN_AT_LEAST: usize = 15;
const LOAD_DEFAULTS: &str = "--load-spark-defaults";

/// What is said about a pod.
struct Problem {
    text: String,
    is_error: bool,
}

impl Problem {
    /// Whether it is about something that is shown as one of these.
    fn names(&self, shown: &[String]) -> bool {
        shown.iter().any(|shown| self.begins_with_annotation(&format!("{shown}: ")))
    }

    /// Where there is little room, the second prefix is cut short before the rest is.
    fn begins_with_annotation(&self, shown: &str) -> bool {
        let cut = shown.strip_prefix(SECOND).map(|rest| format!("…/{rest}"));
        self.begins_with(shown) || cut.is_some_and(|cut| self.begins_with(&cut))
    }

    /// Whether it is about the same thing, with whatever value and in whatever spelling.
    fn is_about(&self, ask: &Ask) -> bool {
        let keys = KEYS
            .iter()
            .filter(|(.., class)| *class == ask.class)
            .flat_map(|(first, second, _)| [first, second]);
        let lists = LISTS
            .iter()
            .filter(|(.., class)| *class == ask.class)
            .flat_map(|(first, second, _)| [first, second]);
        let keys = keys
            .map(|key| format!("{key}{}=", ask.name))
            .chain(lists.map(|list| format!("{list}={}=", ask.name)));
        keys.into_iter().any(|key| {
            self.begins_with(&key) || self.begins_with_annotation(&format!("{SECOND}{key}"))
        })
    }

    /// Whether the text begins so, or with as much of it as there was room for.
    fn begins_with(&self, start: &str) -> bool {
        let mut rest = &*self.text;
        for (index, char) in start.chars().enumerate() {
            if index >= SHOWN_AT_LEAST && rest.starts_with("…: ") {
                return true;
            }
            // What cannot be seen is escaped; what must not be is, or the API server would drop the
            // warning.
            let itself = rest.strip_prefix(char).filter(|_| !char.is_control());
            let Some(after) =
                itself.or_else(|| rest.strip_prefix(&*char.escape_default().to_string()))
            else {
                return false;
            };
            rest = after;
        }
        true
    }
}

fn problems(review: &Value, settings: &Settings) -> Vec<Problem> {
    let body = serde_json::to_vec(review).unwrap();
    let admission = admit(&body, settings).unwrap();
    let problems = admission.summary.iter().flat_map(|summary| summary.problems.iter());
    problems
        .map(|problem| Problem {
            text: problem.text().to_owned(),
            is_error: problem.severity() == Severity::Error,
        })
        .collect()
}

fn typed(pod: &Value) -> Pod {
    serde_json::from_value(pod.clone()).expect("a pod that the API server can read")
}

/// The pod that comes out is one that the API server can take, if the one that went in was.
pub fn assert_valid_pod(review: &Value, answer: &Answer) {
    let (before, after) = (typed(&review["request"]["object"]), typed(&answer.pod));
    let old = volumes(&before).len();
    let mut names = HashSet::new();
    for (index, volume) in volumes(&after).iter().enumerate() {
        assert!(names.insert(&volume.name), "volume {} is there twice", volume.name);
        assert!(index < old || is_label(&volume.name), "{} is no DNS-1123 label", volume.name);
        if index >= old {
            // A field that is written wrongly would not come back.
            let read_back = serde_json::to_value(volume).unwrap();
            assert_eq!(read_back, answer.pod["spec"]["volumes"][index]);
            let sources = read_back.as_object().unwrap().len() - 1;
            assert_eq!(sources, 1, "{volume:?} has one source");
        }
    }
    assert_eq!(containers(&before).len(), containers(&after).len());
    for (index, (was, is)) in containers(&before).iter().zip(containers(&after)).enumerate() {
        let mut paths = HashSet::new();
        for (at, mount) in mounts(is).iter().enumerate() {
            let is_free = paths.insert(seen(&mount.mount_path));
            if at >= mounts(was).len() {
                assert!(is_free, "{} is mounted twice", mount.mount_path);
                assert!(names.contains(&mount.name), "{mount:?} names no volume");
                assert_eq!(
                    serde_json::to_value(mount).unwrap(),
                    answer.pod["spec"]["containers"][index]["volumeMounts"][at]
                );
            }
        }
    }
}

fn is_label(name: &str) -> bool {
    name.len() <= 63 && !name.contains('.') && is_object_name(name)
}

/// Whatever rules there are: what the pod itself asks for is mounted, or a problem says why not.
pub fn assert_mounted_or_named(review: &Value, answer: &Answer, settings: &Settings) {
    let before = typed(&review["request"]["object"]);
    let Some((role, asked)) = summary(&before) else { return };
    let after = typed(&answer.pod);
    let problems = problems(review, settings);
    let Some(container) = spark_container(&before, role, asked.container.as_deref()) else {
        return;
    };
    // Of too many none is carried out, and one problem says so for all.
    if problems.iter().any(|problem| problem.is_error && problem.begins_with(FIRST)) {
        return;
    }
    // Where several containers say that they are Spark's, an enforced default has no sure place.
    let has_several_marks =
        containers(&before).iter().filter(|container| is_marked(container, role)).count() > 1;
    let is_unclear =
        |problem: &Problem| problem.is_error && problem.text.contains(": several containers set ");
    if has_several_marks && problems.iter().any(is_unclear) {
        return;
    }
    let view = View::of(&after, container);
    for ask in &asked.asks {
        let Some(request) = ask.request() else { continue };
        let is_mounted = view.shows_plain(request) || (request.merge && view.shows_merged(request));
        // A default that says the same stands for it, and is named in its own words.
        let is_named =
            problems.iter().any(|problem| problem.names(&ask.shown) || problem.is_about(ask));
        assert!(is_mounted || is_named, "{ask:?} is neither mounted nor named");
    }
}

/// A request of an administrator's.
struct DefaultRequest {
    is_enforced: bool,
    ask: Ask,
}

/// An enforced default of a file of rules is in the pod, at its place and in its variable, or an
/// error says that something is wrong.
pub fn assert_enforced(review: &Value, answer: &Answer, settings: &Settings, rules: &Value) {
    let (before, after) = (typed(&review["request"]["object"]), typed(&answer.pod));
    let role = before
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get("spark-role"))
        .map_or("", |role| role);
    if !["driver", "executor"].contains(&role)
        || problems(review, settings).iter().any(|problem| problem.is_error)
    {
        return;
    }
    let mut defaults: Vec<DefaultRequest> = Vec::new();
    for rule in rules["defaults"].as_array().into_iter().flatten() {
        let mut asks = read(&serde_json::from_value(rule["annotations"].clone()).unwrap()).asks;
        defaults.retain(|earlier| !asks.iter().any(|ask| ask.is_about_what(&earlier.ask)));
        for Ask { reading, .. } in asks.iter_mut().filter(|_| rule["required"] != true) {
            if let Reading::Right(request) = reading {
                request.optional = true;
                request.merge |= request.class.is_conf();
            }
        }
        let is_enforced = rule["enforce"] == true;
        defaults.extend(asks.into_iter().map(|ask| DefaultRequest { is_enforced, ask }));
    }
    let enforced: Vec<&Request> = defaults
        .iter()
        .filter(|default| default.is_enforced)
        .filter_map(|default| default.ask.request())
        .collect();
    if enforced.is_empty() {
        return;
    }
    let marked: Vec<usize> = (0..containers(&after).len())
        .filter(|&index| is_marked(&containers(&after)[index], role))
        .collect();
    assert!(marked.len() < 2, "two containers say that they are Spark's");
    let named = read(&before.metadata.annotations.clone().unwrap_or_default()).container;
    let view = View::of(
        &after,
        spark_container(&before, role, named.as_deref()).expect("a container, or an error"),
    );
    for request in enforced {
        let is_shown = view.shows_plain(request)
            || (request.merge
                && (view.shows_merged(request)
                    || view.shows_plain(&Request { merge: false, ..request.clone() })));
        assert!(is_shown, "{request:?} is not there, and nothing says so");
        let others = mounts(view.container)
            .iter()
            .map(|mount| seen(&mount.mount_path))
            .filter(|path| *path != request.path);
        for path in others {
            assert!(!meets_by_link(&path, &request.path), "{path} is in the place of {request:?}");
        }
        let Some((variable, value)) = &request.env else { continue };
        let is_contested = defaults
            .iter()
            .filter_map(|default| default.ask.request()?.env.as_ref())
            .filter(|(name, _)| name == variable)
            .count()
            > 1;
        let is_set = view.variable(variable).and_then(|entry| entry.value.as_ref()) == Some(value);
        assert!(is_set || is_contested, "{variable} is not {value}");
    }
}

/// The role and what is asked for, if the pod is ours.
fn summary(pod: &Pod) -> Option<(&str, Asked)> {
    let role = pod.metadata.labels.as_ref()?.get("spark-role")?;
    let annotations = pod.metadata.annotations.as_ref()?;
    let is_ours = ["driver", "executor"].contains(&&**role)
        && !annotations.contains_key("kubernetes.io/config.mirror");
    Some((&**role, read(annotations))).filter(|(_, asked)| is_ours && asked.has_keys)
}

/// Of more requests than there may be, none is carried out, and one problem says so.
pub fn assert_too_many(review: &Value, answer: &Answer) {
    let problems = problems(review, &Settings::default());
    let [problem] = &problems[..] else { panic!("one problem: {:?}", answer.problems) };
    assert!(problem.is_error && problem.begins_with(FIRST), "{}", problem.text);
    assert_eq!(
        typed(&review["request"]["object"]).spec,
        typed(&answer.pod).spec,
        "nothing is injected"
    );
}

/// Every request of the pod is carried out as the contract says, or named by a problem for which
/// there is a reason; and nothing else is done or said. Without rules of an administrator.
pub fn assert_carried_out(review: &Value, answer: &Answer) {
    let (before, after) = (typed(&review["request"]["object"]), typed(&answer.pod));
    let problems = problems(review, &Settings::default());
    assert!(problems.iter().map(|problem| &problem.text).eq(&answer.problems));
    assert!(problems.is_sorted_by_key(|problem| !problem.is_error), "errors come first");
    let Some((role, asked)) = summary(&before) else {
        assert!(matches!(answer.outcome, Outcome::Ignored(_)));
        assert!(answer.patch.is_empty() && problems.is_empty());
        return;
    };
    assert!(!matches!(answer.outcome, Outcome::Ignored(_)));
    let Some(container) = spark_container(&before, role, asked.container.as_deref()) else {
        let is_wanted = asked
            .asks
            .iter()
            .any(|ask| ask.request().is_some() && ask.standing == Standing::Counts);
        let shown = [
            "container".to_owned(),
            format!("container={}", asked.container.as_deref().unwrap_or_default()),
        ];
        let shown = [shown.clone(), shown.map(|shown| format!("{SECOND}{shown}"))].concat();
        let is_named = problems.iter().any(|problem| problem.is_error && problem.names(&shown));
        assert!(is_named || !is_wanted, "no container, and nobody says so");
        assert_eq!(before.spec, after.spec, "nothing is injected");
        return;
    };
    // Further notes are counted, but have no text.
    if problems.iter().filter(|problem| !problem.is_error).count() >= 20 {
        return;
    }
    let judge = Judge {
        problems: &problems,
        asked: &asked,
        before: View::of(&before, container),
        after: View::of(&after, container),
    };
    let Some(done) = judge.carried_out() else {
        judge.assert_unknown_are_named();
        return;
    };
    judge.assert_unknown_are_named();
    judge.assert_mounts(&done);
    let noted =
        [judge.assert_env(&done), judge.assert_arguments(&done, role, version(&before))].concat();
    judge.assert_problems_have_reasons(&done, &noted);
    assert_record(&before, &after, &answer.patch, &problems, &done);
    assert_nothing_else(&before, &after, container);
}

/// The options among the arguments after `driver` that are Spark's own and not the application's:
/// those before the primary resource.
fn sparks_own(arguments: &[String]) -> Vec<&str> {
    const WITHOUT_VALUE: &str =
        " --help -h --load-spark-defaults --supervise --usage-error --verbose -v --version ";
    let mut own = Vec::new();
    let mut at = 1;
    while let Some(argument) = arguments.get(at).filter(|argument| argument.starts_with('-')) {
        own.push(&**argument);
        let stands_alone =
            argument.contains('=') || WITHOUT_VALUE.contains(&format!(" {argument} "));
        at += if stands_alone { 1 } else { 2 };
    }
    own
}

fn version(pod: &Pod) -> &str {
    pod.metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get("spark-version"))
        .map_or("", |version| version)
}

/// Whether an error names a request.
#[derive(Clone, Copy, PartialEq)]
enum Rejection {
    None,
    /// An error names this request and no other.
    OfThis,
    /// The error is cut so short that it names others, too.
    OfThisOrAnother,
}

struct Judge<'a> {
    problems: &'a [Problem],
    asked: &'a Asked,
    before: View<'a>,
    after: View<'a>,
}

impl<'a> Judge<'a> {
    fn is_named(&self, ask: &Ask) -> bool {
        self.problems.iter().any(|problem| problem.names(&ask.shown))
    }

    fn rejection(&self, ask: &Ask) -> Rejection {
        let others = self.problems.iter().filter_map(|problem| {
            let is_about = problem.is_error && problem.names(&ask.shown);
            let named = || self.asked.asks.iter().filter(|other| problem.names(&other.shown));
            is_about.then(|| named().count() - 1)
        });
        match others.min() {
            None => Rejection::None,
            Some(0) => Rejection::OfThis,
            Some(_) => Rejection::OfThisOrAnother,
        }
    }

    fn assert_unknown_are_named(&self) {
        for shown in &self.asked.unknown {
            let is_noted =
                self.problems.iter().any(|problem| !problem.is_error && problem.names(shown));
            assert!(is_noted, "unknown key {shown:?} is not named");
        }
    }

    /// What was carried out, in order, after everything that was not has been found named for a
    /// reason. `None` where the texts are cut so short that they do not tell.
    fn carried_out(&self) -> Option<Vec<CarriedOut<'a>>> {
        let mut is_clear = true;
        let mut requests = Vec::new();
        for ask in &self.asked.asks {
            match (&ask.reading, ask.standing) {
                (Reading::Nothing, _) | (_, Standing::Loses { to_the_same: true }) => {}
                (Reading::Wrong, Standing::Counts) => {
                    assert!(self.rejection(ask) != Rejection::None, "wrong and not named: {ask:?}");
                }
                (Reading::Wrong, _) | (_, Standing::Loses { .. }) => {
                    assert!(self.is_named(ask), "it loses and is not named: {ask:?}");
                }
                (Reading::Right(request), Standing::Counts | Standing::MayLose) => {
                    requests.push((ask, request));
                }
            }
        }
        requests.sort_by_key(|(_, request)| (request.class, &request.name, &request.path));

        let mut round = Round { before: self.before, done: Vec::new(), refused: Vec::new() };
        for (ask, request) in requests {
            let rejection = self.rejection(ask);
            // Which of the earlier ones were carried out is a guess from there on.
            let verdict = if is_clear { round.verdict(request) } else { Verdict::Open };
            let is_done = match &verdict {
                Verdict::CarriedOut(shape) => self.after.shows(request, shape),
                Verdict::Refused => false,
                Verdict::Open => {
                    self.after.shows_plain(request)
                        || (request.merge && self.after.shows_merged(request))
                }
            };
            let is_carried_out = match (&verdict, ask.standing) {
                (Verdict::Refused, Standing::Counts) => {
                    assert!(rejection != Rejection::None, "refused and not named: {ask:?}");
                    false
                }
                (Verdict::Refused, _) => {
                    assert!(self.is_named(ask), "refused and not named: {ask:?}");
                    false
                }
                (Verdict::CarriedOut(_), Standing::Counts) => {
                    assert!(
                        is_done && rejection != Rejection::OfThis,
                        "refused without a reason, or not done: {ask:?}, {verdict:?}"
                    );
                    true
                }
                (_, Standing::Counts) => {
                    let is_rejected = rejection != Rejection::None;
                    assert!(is_done || is_rejected, "neither done nor named: {ask:?}");
                    is_clear &= rejection != Rejection::OfThisOrAnother;
                    is_done && !is_rejected
                }
                _ => {
                    let is_named = self.is_named(ask);
                    assert!(is_done || is_named, "neither done nor named: {ask:?}");
                    is_clear &= !(is_done && is_named);
                    is_done && !is_named
                }
            };
            if is_carried_out {
                let is_found = round.done.iter().any(|done| done.request.path == request.path);
                let is_new = !is_found && self.before.at(&request.path).is_none();
                round.done.push(CarriedOut { ask, request, is_new });
            } else {
                round.refused.push(request);
            }
        }
        is_clear.then_some(round.done)
    }

    /// What was carried out is mounted by exactly one mount and one volume each, named by the
    /// rules; nothing else is.
    fn assert_mounts(&self, done: &[CarriedOut]) {
        let new_mounts = &mounts(self.after.container)[mounts(self.before.container).len()..];
        let (old_volumes, new_volumes) = self.after.volumes.split_at(self.before.volumes.len());
        assert_eq!(old_volumes, self.before.volumes);
        let new: Vec<&CarriedOut> = done.iter().filter(|done| done.is_new).collect();
        assert_eq!(new_mounts.len(), new.len(), "one mount for each: {new_mounts:?}");

        let mut taken: Vec<&str> = old_volumes.iter().map(|volume| &*volume.name).collect();
        let mut named: Vec<(&CarriedOut, &str)> = Vec::new();
        for (one, mount) in new.into_iter().zip(new_mounts) {
            let CarriedOut { ask, request, .. } = one;
            let expected = VolumeMount {
                name: mount.name.clone(),
                mount_path: request.path.clone(),
                read_only: Some(true),
                sub_path: request.file.clone(),
                ..VolumeMount::default()
            };
            assert_eq!(mount, &expected);
            let volume = new_volumes
                .iter()
                .find(|volume| volume.name == mount.name)
                .expect("a volume of ours");
            // With items, so that the kubelet names a key that is missing.
            let form = Form::of(mount, volume);
            assert!(
                form.is_none() || form == Some(request.form()),
                "{volume:?} is not {request:?}"
            );
            let shared = named.iter().find(|(other, _)| {
                other.ask.in_list
                    && ask.in_list
                    && other.request.form() == request.form()
                    && other.request.class == request.class
            });
            if let Some((_, volume)) = shared {
                assert_eq!(&mount.name, volume, "entries of a list share a volume");
                continue;
            }
            let table = request.class.volume(&request.name);
            let is_free = |name: &String| is_label(name) && !taken.contains(&&**name);
            let expected =
                std::iter::once(table).chain(request.hashed_volumes()).find(is_free).unwrap();
            assert_eq!(mount.name, expected, "the volume's name");
            taken.push(&mount.name);
            named.push((one, &mount.name));
        }
        assert_eq!(new_volumes.len(), named.len(), "each volume is mounted");
    }

    /// Variables have the values that the first request in order asks for. What is left is noted:
    /// those requests are returned.
    fn assert_env(&self, done: &[CarriedOut<'a>]) -> Vec<&'a Ask> {
        let mut expected = env(self.before.container).to_vec();
        let mut setters: BTreeMap<&str, &str> = BTreeMap::new();
        for CarriedOut { request, .. } in done {
            let Some((variable, value)) = &request.env else { continue };
            let can_be_overridden = matches!(request.class, Class::ConfigMap | Class::Secret);
            let is_value = |env: &EnvVar| {
                env.value_from.is_none() && env.value.as_deref().unwrap_or_default() == value
            };
            let last = expected.iter().rposition(|env| env.name == *variable);
            if setters.contains_key(&**variable)
                || (can_be_overridden && last.is_some_and(|last| !is_value(&expected[last])))
            {
                continue;
            }
            setters.insert(variable, value);
            let set =
                EnvVar { name: variable.clone(), value: Some(value.clone()), value_from: None };
            match last {
                Some(last) if is_value(&expected[last]) => {}
                Some(last) => expected[last] = set,
                None => expected.push(set),
            }
        }
        assert_eq!(env(self.after.container), expected, "the environment");

        let mut noted = Vec::new();
        for CarriedOut { ask, request, .. } in done {
            let Some((variable, value)) = &request.env else { continue };
            let last = self.after.variable(variable).unwrap();
            if last.value_from.is_some() || last.value.as_ref().is_none_or(|last| last != value) {
                let is_noted = self
                    .problems
                    .iter()
                    .any(|problem| !problem.is_error && problem.names(&ask.shown));
                assert!(is_noted, "{variable} is {last:?}, and no note says so: {ask:?}");
                noted.push(*ask);
            }
        }
        noted
    }

    /// `defaults` makes a driver read `spark-defaults.conf`, or a note says why not: that request
    /// is returned.
    fn assert_arguments(&self, done: &[CarriedOut<'a>], role: &str, version: &str) -> Vec<&'a Ask> {
        let mut expected = self.before.container.args.clone();
        let mut noted = Vec::new();
        let wanting = done.iter().find(|done| done.request.defaults && role == "driver");
        if let Some(CarriedOut { ask, .. }) = wanting {
            let is_new_enough = version
                .split('.')
                .next()
                .and_then(|major| major.parse().ok())
                .is_some_and(|major: u32| major >= 4);
            match expected.as_mut() {
                Some(arguments)
                    if is_new_enough
                        && arguments.first().is_some_and(|first| first == "driver") =>
                {
                    if !sparks_own(arguments).contains(&LOAD_DEFAULTS) {
                        arguments.insert(1, LOAD_DEFAULTS.to_owned());
                    }
                }
                _ => {
                    let is_noted = self
                        .problems
                        .iter()
                        .any(|problem| !problem.is_error && problem.names(&ask.shown));
                    assert!(is_noted, "defaults are not read, and no note says so: {ask:?}");
                    noted.push(*ask);
                }
            }
        }
        assert_eq!(self.after.container.args, expected);
        noted
    }

    /// No error about a request that was carried out, and no note where there is nothing to note.
    fn assert_problems_have_reasons(&self, done: &[CarriedOut], noted: &[&Ask]) {
        for problem in self.problems {
            let is_about_unknown =
                !problem.is_error && self.asked.unknown.iter().any(|shown| problem.names(shown));
            let mut about = self.asked.asks.iter().filter(|ask| problem.names(&ask.shown));
            let has_reason = about.any(|ask| {
                let is_done = done.iter().any(|done| std::ptr::eq(done.ask, ask));
                let is_noted = noted.iter().any(|noted| std::ptr::eq(*noted, ask));
                match ask.reading {
                    Reading::Nothing => !problem.is_error,
                    Reading::Wrong => true,
                    Reading::Right(_) if problem.is_error => !is_done,
                    Reading::Right(_) => is_noted || ask.standing != Standing::Counts,
                }
            });
            assert!(has_reason || is_about_unknown, "a problem without a reason: {}", problem.text);
        }
    }
}

/// The record is there when something was done or is wrong, and lists what was mounted and found.
fn assert_record(
    before: &Pod,
    after: &Pod,
    patch: &[Value],
    problems: &[Problem],
    done: &[CarriedOut],
) {
    let record = |pod: &Pod| {
        pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(INJECTED).cloned())
    };
    if patch.is_empty() && problems.is_empty() {
        assert_eq!(record(before), record(after));
        return;
    }
    let record: Value = serde_json::from_str(&record(after).expect("a record")).unwrap();
    let mut expected: Vec<String> = Vec::new();
    for CarriedOut { request, .. } in done {
        if !expected.iter().any(|mount| mount.starts_with(&format!("{}=", request.path))) {
            expected.push(request.recorded());
        }
    }
    let recorded: Vec<&str> =
        record["mounts"].as_array().unwrap().iter().map(|mount| mount.as_str().unwrap()).collect();
    if record["more"].is_null() {
        assert_eq!(recorded, expected, "the record");
    } else {
        assert!(
            expected.iter().map(String::as_str).take(recorded.len()).eq(recorded),
            "the record as far as it goes"
        );
    }
}

/// With what is judged elsewhere taken out, the pod is as it was.
fn assert_nothing_else(before: &Pod, after: &Pod, container: usize) {
    let rest = |pod: &Pod| {
        let mut pod = pod.clone();
        let mut annotations = pod.metadata.annotations.take().unwrap_or_default();
        annotations.remove(INJECTED);
        pod.metadata.annotations = Some(annotations);
        let spec = pod.spec.as_mut().unwrap();
        spec.volumes = None;
        let spark = &mut spec.containers[container];
        (spark.env, spark.volume_mounts, spark.args) = (None, None, None);
        pod
    };
    assert_eq!(rest(before), rest(after));
    let (was, is) = (&containers(before)[container], &containers(after)[container]);
    assert!(mounts(is).starts_with(mounts(was)), "mounts are only added");
}
