//! The annotation contract once more, written apart from the webhook: what a pod asks for, and
//! whether it got it.
//!
//! [`read`] turns annotations into requests and [`assert_carried_out`] judges an answer by them, on
//! typed pods. Nothing here uses the webhook's own parser or rules, so a rule that one of the two
//! reads wrongly shows as a difference between them. Where the rules leave something open, both
//! outcomes pass; everywhere else there is one right answer.
#![expect(
    clippy::similar_names,
    clippy::format_collect,
    clippy::struct_excessive_bools,
    reason = "read once, and not on a request's way"
)]

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, ConfigMapVolumeSource, Container, EnvVar, KeyToPath, Pod,
    ProjectedVolumeSource, SecretVolumeSource, Volume, VolumeMount, VolumeProjection,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use spark_webhook::admission::{Outcome, Policy, admit};
use spark_webhook::request::Severity;

use crate::soundness::{Answer, INJECTED};

const FIRST: &str = "spark-operator.k8s.io/";
const SECOND: &str = "sparkoperator.k8s.io/";
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];
/// As a problem may be cut short, it has to show at least so much of the annotation.
const SHOWN_AT_LEAST: usize = 15;
const LOAD_DEFAULTS: &str = "--load-spark-defaults";
/// What the API server fills in for a volume without a mode.
const DEFAULT_MODE: i32 = 0o644;

// ---- What is asked for --------------------------------------------------------------------------

/// What a request mounts, in the order in which requests are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    SparkConf,
    HadoopConf,
    ConfigMap,
    Secret,
    GoogleAccount,
    Token,
}

/// Keys, their other spelling, and what they ask for. Those that end in a dot go on with a name.
const KEYS: [(&str, &str, Class); 6] = [
    ("sparkConfigMap", "spark-configmap", Class::SparkConf),
    ("hadoopConfigMap", "hadoop-configmap", Class::HadoopConf),
    ("configMap.", "configmap.", Class::ConfigMap),
    ("secret.", "secret.", Class::Secret),
    ("GCPServiceAccount.", "gcp-service-account.", Class::GoogleAccount),
    ("hadoopDelegationToken.", "hadoop-delegation-token.", Class::Token),
];
const LISTS: [(&str, &str, Class); 2] =
    [("configMaps", "configmaps", Class::ConfigMap), ("secrets", "secrets", Class::Secret)];

impl Class {
    fn is_conf(self) -> bool {
        matches!(self, Self::SparkConf | Self::HadoopConf)
    }

    fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::GoogleAccount | Self::Token)
    }

    /// The directory without `path=`, the variable, and the file in it without `key=`.
    fn defaults(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::SparkConf => ("/etc/spark/conf", "SPARK_CONF_DIR", ""),
            Self::HadoopConf => ("/etc/hadoop/conf", "HADOOP_CONF_DIR", ""),
            Self::ConfigMap | Self::Secret => ("", "", ""),
            Self::GoogleAccount => ("", "GOOGLE_APPLICATION_CREDENTIALS", "key.json"),
            Self::Token => ("", "HADOOP_TOKEN_FILE_LOCATION", "hadoop.token"),
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::SparkConf => &["optional", "mode", "path", "merge", "defaults"],
            Self::HadoopConf => &["optional", "mode", "path", "merge"],
            Self::ConfigMap | Self::Secret => &["optional", "mode", "file", "env", "key"],
            Self::GoogleAccount | Self::Token => &["optional", "mode", "key"],
        }
    }

    /// The name of the volume where it is a label and free.
    fn volume(self, name: &str) -> String {
        match self {
            Self::SparkConf => "spark-config-map-volume".to_owned(),
            Self::HadoopConf => "hadoop-config-map-volume".to_owned(),
            Self::GoogleAccount => "gcp-service-account-secret-volume".to_owned(),
            Self::ConfigMap | Self::Secret | Self::Token => format!("{name}-volume"),
        }
    }
}

/// A request without a mistake.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    class: Class,
    name: String,
    path: String,
    file: Option<String>,
    optional: bool,
    mode: Option<i32>,
    /// The variable and its value.
    env: Option<(String, String)>,
    merge: bool,
    defaults: bool,
}

/// What a value, or an entry of a list, says.
#[derive(Clone, Debug, PartialEq)]
enum Reading {
    /// It is empty.
    Nothing,
    Wrong,
    Right(Request),
}

/// Whether what is asked for counts, where it is asked for several times.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Standing {
    Counts,
    /// It loses to another value, and says the same as that one in other words or not.
    Loses {
        to_the_same: bool,
    },
    /// It is in the way of an empty or wrong value, and the rules do not say what becomes of it.
    MayLose,
}

/// One thing that is asked for, in the same words once or several times.
#[derive(Clone, Debug)]
pub struct Ask {
    class: Class,
    /// Empty for conf dirs, whose name is part of the value.
    name: String,
    words: String,
    in_list: bool,
    /// Prefix, spelling and position in the list: the least counts.
    rank: (bool, bool, usize),
    /// With what a problem about it begins, each way in which it may be written.
    shown: Vec<String>,
    reading: Reading,
    standing: Standing,
}

/// All that a pod's annotations say.
#[derive(Debug)]
pub struct Asked {
    asks: Vec<Ask>,
    /// The value of `container`.
    container: Option<String>,
    /// Keys that only a note is about, as a problem shows them.
    unknown: Vec<Vec<String>>,
    /// Whether there is any key under a prefix of ours.
    has_keys: bool,
}

/// Reads annotations, and settles which of them count.
pub fn read(annotations: &BTreeMap<String, String>) -> Asked {
    let mut asked =
        Asked { asks: Vec::new(), container: None, unknown: Vec::new(), has_keys: false };
    let mut entries = Vec::new();
    let prefixes = [(FIRST, false), (SECOND, true)];
    for (prefix, is_second) in prefixes {
        for (full, value) in annotations {
            let Some(key) = full.strip_prefix(prefix) else { continue };
            asked.has_keys = true;
            let value = value.trim_matches(BLANKS);
            let written = if is_second { full } else { key };
            let lists = LISTS
                .iter()
                .flat_map(|&(first, second, class)| [(first, class, false), (second, class, true)]);
            let list = lists.into_iter().find(|(list, ..)| *list == key);
            let spellings = KEYS
                .iter()
                .flat_map(|&(first, second, class)| [(first, class, false), (second, class, true)]);
            let request = spellings.into_iter().find_map(|(spelling, class, is_other)| {
                let name = key.strip_prefix(spelling)?;
                (!class.is_conf() || name.is_empty()).then_some((class, name, is_other))
            });
            if let Some((_, class, is_other)) = list {
                if !value.is_empty() {
                    for (position, entry) in value.split(',').enumerate() {
                        entries.push(read_entry(
                            class,
                            written,
                            entry.trim_matches(BLANKS),
                            (is_second, is_other, position),
                        ));
                    }
                }
            } else if let Some((class, name, is_other)) = request {
                asked.asks.push(Ask {
                    class,
                    name: name.to_owned(),
                    words: value.to_owned(),
                    in_list: false,
                    rank: (is_second, is_other, 0),
                    shown: vec![format!("{written}={value}")],
                    reading: read_value(class, name, value),
                    standing: Standing::Counts,
                });
            } else if key == "container" {
                asked.container.get_or_insert_with(|| value.to_owned());
            } else if key != "injected" || is_second {
                let written = if key.is_empty() { full } else { written };
                asked.unknown.push(vec![written.to_owned(), format!("{written}={value}")]);
            }
        }
    }
    asked.container = asked.container.filter(|name| !name.is_empty());
    settle(&mut asked.asks, entries);
    asked
}

fn read_entry(class: Class, key: &str, entry: &str, rank: (bool, bool, usize)) -> Ask {
    let (name, words) =
        entry.split_once('=').map_or((entry, None), |(name, words)| (name, Some(words)));
    let (name, words) = (name.trim_matches(BLANKS), words.map(|words| words.trim_matches(BLANKS)));
    let mut shown = vec![format!("{key}={entry}")];
    match words {
        None if entry.is_empty() => shown.push(key.to_owned()),
        None => {}
        Some(words) => shown.push(format!("{key}={name}={words}")),
    }
    Ask {
        class,
        name: name.to_owned(),
        words: words.unwrap_or_default().to_owned(),
        in_list: true,
        rank,
        shown,
        reading: match words {
            Some(words) if !goes_on(words) => read_value(class, name, words),
            _ => Reading::Wrong,
        },
        standing: Standing::Counts,
    }
}

/// Whether an entry goes on with a second `NAME=` after something that is no comma.
fn goes_on(words: &str) -> bool {
    words.match_indices('=').any(|(at, _)| {
        let before = words[..at].trim_end_matches(BLANKS);
        let start = before.rfind(|char| char == ';' || BLANKS.contains(&char));
        start.is_some_and(|start| is_object_name(&before[start + 1..]))
    })
}

fn read_value(class: Class, name: &str, value: &str) -> Reading {
    if value.is_empty() {
        Reading::Nothing
    } else {
        request(class, name, value).map_or(Reading::Wrong, Reading::Right)
    }
}

/// Reads `NAME[:opt…]` or `PATH[:opt…]`.
fn request(class: Class, name_in_key: &str, value: &str) -> Option<Request> {
    let mut parts = value.split(':');
    let head = parts.next()?.trim_end_matches(BLANKS);
    let mut options = BTreeMap::new();
    for part in parts {
        let (option, argument) = part
            .split_once('=')
            .map_or((part, None), |(option, argument)| (option, Some(argument)));
        let is_flag = ["optional", "merge", "defaults"].contains(&option);
        let is_right = if is_flag {
            argument.is_none()
        } else {
            argument.is_some_and(|argument| !argument.is_empty())
        };
        if part.contains(BLANKS)
            || !is_right
            || !class.options().contains(&option)
            || options.insert(option, argument.unwrap_or_default()).is_some()
        {
            return None;
        }
    }
    let has = |option: &str| options.contains_key(option);
    let (directory, variable, file_in_env) = class.defaults();
    let (name, path) = if class.is_conf() {
        (head, *options.get("path").unwrap_or(&directory))
    } else {
        (name_in_key, head)
    };
    let variable =
        options.get("env").copied().or(Some(variable)).filter(|variable| !variable.is_empty());
    let path = checked_path(path, variable.is_some())?;
    let mode = match options.get("mode") {
        Some(digits)
            if (3..=4).contains(&digits.len())
                && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            Some(i32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o777)?)
        }
        Some(_) => return None,
        None => None,
    };
    let is_known = ["file", "key"]
        .iter()
        .filter_map(|option| options.get(option))
        .all(|file| is_file_name(file));
    let combines = !(has("file") && (has("optional") || has("key")))
        && !(matches!(class, Class::ConfigMap | Class::Secret) && has("key") && !has("env"));
    if !is_known
        || !combines
        || !is_object_name(name)
        || !options.get("env").is_none_or(|variable| is_variable(variable))
    {
        return None;
    }
    let env = variable.map(|variable| {
        let file = options.get("key").copied().unwrap_or(file_in_env);
        (variable.to_owned(), if file.is_empty() { path.clone() } else { format!("{path}/{file}") })
    });
    Some(Request {
        class,
        name: name.to_owned(),
        path,
        file: options.get("file").map(|&file| file.to_owned()),
        optional: has("optional"),
        mode,
        env,
        merge: has("merge"),
        defaults: has("defaults"),
    })
}

/// A path without what is superfluous in it, if something may be mounted there.
fn checked_path(path: &str, becomes_env: bool) -> Option<String> {
    const HIDES: &str = "/ /bin /boot /etc /home /lib /lib64 /opt /opt/spark /opt/spark/bin /opt/spark/sbin /opt/spark/jars \
                         /opt/spark/python /root /run /sbin /tmp /usr /usr/bin /usr/lib /usr/lib64 /usr/sbin /var /var/run /dev \
                         /proc /sys";
    const INVISIBLE: [(char, char); 7] = [
        ('\u{a0}', '\u{a0}'),
        ('\u{ad}', '\u{ad}'),
        ('\u{200b}', '\u{200f}'),
        ('\u{2028}', '\u{2029}'),
        ('\u{202a}', '\u{202f}'),
        ('\u{2060}', '\u{206f}'),
        ('\u{feff}', '\u{feff}'),
    ];
    let is_mistake = path
        .contains(|char| INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&char)))
        || path.starts_with(['"', '\''])
        || path.ends_with(['"', '\'', '\\']);
    let is_absolute = path.starts_with('/');
    let path = normalised(path);
    let is_fine = is_absolute
        && path.len() <= 1024
        && path.split('/').all(|element| element.len() <= 255 && element != "." && element != "..")
        && !path.contains(|char| matches!(char, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | ':'))
        && !(becomes_env && (path.contains("$(") || path.contains("$$")))
        && !is_mistake
        && !HIDES.split_whitespace().any(|hidden| hidden == path)
        && !["/dev", "/proc", "/sys"].iter().any(|above| is_below(&path, above));
    is_fine.then_some(path)
}

fn is_object_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            label.bytes().all(|byte| is_alphanumeric(byte) || byte == b'-')
                && label.bytes().next().is_some_and(is_alphanumeric)
                && label.bytes().last().is_some_and(is_alphanumeric)
        })
}

fn is_file_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && name != "."
        && !name.starts_with("..")
}

fn is_variable(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|char: char| char.is_ascii_digit())
        && !["", "PATH", "LD_PRELOAD", "LD_LIBRARY_PATH"].contains(&name)
}

/// `/x/` and `//x` are `/x`; what is relative stays so.
fn normalised(path: &str) -> String {
    let elements: Vec<&str> = path.split('/').filter(|element| !element.is_empty()).collect();
    format!("{}{}", if path.starts_with('/') { "/" } else { "" }, elements.join("/"))
}

/// A path of the pod's own, in whatever way it is written, as the kubelet sees it.
fn seen(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for element in path.split('/') {
        if element == ".." {
            kept.pop();
        } else if !element.is_empty() && element != "." {
            kept.push(element);
        }
    }
    format!("/{}", kept.join("/"))
}

/// Whether two paths are one, or one is below the other, only because `/var/run` is `/run`.
fn meets_by_link(a: &str, b: &str) -> bool {
    let meets = |a: &str, b: &str| a == b || is_below(a, b) || is_below(b, a);
    let followed = |path: &str| {
        if path == "/var/run" || is_below(path, "/var/run") {
            path["/var".len()..].to_owned()
        } else {
            path.to_owned()
        }
    };
    let is_in_run = |path: &str| path == "/run" || is_below(path, "/run");
    let (real_a, real_b) = (followed(a), followed(b));
    is_in_run(&real_a) && is_in_run(&real_b) && meets(&real_a, &real_b) && !meets(a, b)
}

fn is_below(path: &str, above: &str) -> bool {
    path != above
        && path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/') || above == "/")
}

impl Ask {
    fn request(&self) -> Option<&Request> {
        match &self.reading {
            Reading::Right(request) => Some(request),
            Reading::Nothing | Reading::Wrong => None,
        }
    }

    /// The path that the words begin with, whatever is wrong with the rest of them.
    fn path(&self) -> String {
        normalised(self.words.split(':').next().unwrap_or_default().trim_end_matches(BLANKS))
    }

    fn is_about_what(&self, other: &Self) -> bool {
        (self.class, &self.name) == (other.class, &other.name)
    }
}

/// Makes one of what is asked for in the same words, and says what loses.
fn settle(asks: &mut Vec<Ask>, mut entries: Vec<Ask>) {
    asks.sort_by_key(|ask| ask.rank);
    entries.sort_by_key(|entry| entry.rank);
    let merge = |all: Vec<Ask>| {
        let mut merged: Vec<Ask> = Vec::new();
        for ask in all {
            let same = merged.iter_mut().find(|one| {
                one.is_about_what(&ask) && one.words == ask.words && one.reading == ask.reading
            });
            match same {
                Some(one) => one.shown.extend(ask.shown),
                None => merged.push(ask),
            }
        }
        merged
    };
    *asks = merge(std::mem::take(asks));
    for index in 1..asks.len() {
        if let Some(first) = asks[..index].iter().find(|first| first.is_about_what(&asks[index])) {
            asks[index].standing =
                Standing::Loses { to_the_same: first.reading == asks[index].reading };
        }
    }
    let keys = asks.len();
    for mut entry in merge(entries) {
        let key = asks[..keys]
            .iter_mut()
            .find(|key| key.is_about_what(&entry) && key.standing == Standing::Counts);
        match key {
            Some(key) if key.words == entry.words && key.reading == entry.reading => {
                key.shown.extend(entry.shown);
                continue;
            }
            Some(Ask { reading: Reading::Right(request), .. }) if request.path == entry.path() => {
                entry.standing =
                    Standing::Loses { to_the_same: entry.request() == Some(&*request) };
            }
            Some(Ask { reading: Reading::Nothing, .. }) => entry.standing = Standing::MayLose,
            _ => {
                for earlier in asks[keys..].iter().filter(|earlier| earlier.is_about_what(&entry)) {
                    if earlier.path() != entry.path() {
                        continue;
                    }
                    entry.standing = match earlier.request() {
                        Some(request) if earlier.standing == Standing::Counts => {
                            Standing::Loses { to_the_same: entry.request() == Some(request) }
                        }
                        _ => Standing::MayLose,
                    };
                    break;
                }
            }
        }
        asks.push(entry);
    }
    // `NAME=` asks for nothing of NAME; the rules do not say at which of a list's paths.
    let nothing: Vec<Ask> =
        asks.iter().filter(|ask| ask.in_list && ask.reading == Reading::Nothing).cloned().collect();
    for ask in asks.iter_mut().filter(|ask| ask.in_list && ask.standing == Standing::Counts) {
        if nothing.iter().any(|nothing| nothing.is_about_what(ask)) {
            ask.standing = Standing::MayLose;
        }
    }
}

// ---- What a pod shows ---------------------------------------------------------------------------

/// What a mount of a ConfigMap or Secret shows, as far as two mounts are the same by it.
#[derive(Debug, PartialEq)]
struct Form {
    is_secret: bool,
    name: String,
    optional: bool,
    mode: i32,
    items: Vec<KeyToPath>,
    sub_path: Option<String>,
}

impl Form {
    fn of(mount: &VolumeMount, volume: &Volume) -> Option<Self> {
        let (is_secret, name, optional, mode, items) = match volume {
            Volume {
                config_map: Some(ConfigMapVolumeSource { name, optional, default_mode, items }),
                ..
            } => (false, name.clone(), optional, default_mode, items),
            Volume {
                secret: Some(SecretVolumeSource { secret_name, optional, default_mode, items }),
                ..
            } => (true, secret_name.clone().unwrap_or_default(), optional, default_mode, items),
            _ => return None,
        };
        mount.sub_path_expr.is_none().then(|| Self {
            is_secret,
            name,
            optional: optional.unwrap_or_default(),
            mode: mode.unwrap_or(DEFAULT_MODE),
            items: items.clone().unwrap_or_default(),
            sub_path: mount.sub_path.clone().filter(|sub_path| !sub_path.is_empty()),
        })
    }
}

impl Form {
    /// A file is the same with and without items for its key.
    fn is_shown_by(&self, there: &Self) -> bool {
        let Self { is_secret, name, optional, mode, items, sub_path } = self;
        let has_items = match sub_path {
            Some(_) => {
                there.items.is_empty() || items.iter().all(|item| there.items.contains(item))
            }
            None => there.items == *items,
        };
        has_items
            && (is_secret, name, optional, mode, sub_path)
                == (&there.is_secret, &there.name, &there.optional, &there.mode, &there.sub_path)
    }
}

impl Request {
    fn form(&self) -> Form {
        let item = |file: &String| KeyToPath { key: file.clone(), path: file.clone(), mode: None };
        Form {
            is_secret: self.class.is_secret(),
            name: self.name.clone(),
            optional: self.optional,
            mode: self.mode.unwrap_or(DEFAULT_MODE),
            items: self.file.iter().map(item).collect(),
            sub_path: self.file.clone(),
        }
    }

    fn is_same_source(&self, other: &Self) -> bool {
        !self.merge && !other.merge && self.form() == other.form()
    }

    /// As the record names it.
    fn recorded(&self) -> String {
        let kind = if self.class.is_secret() { "secret" } else { "configmap" };
        let file = self.file.iter().map(|file| format!("/{file}")).collect::<String>();
        format!("{}={kind}/{}{file}", self.path, self.name)
    }

    /// The names, one after the other, of a volume whose name from the table cannot be taken.
    fn hashed_volumes(&self) -> impl Iterator<Item = String> {
        let options = [
            self.file.as_ref().map(|file| format!("file={file}")),
            self.merge.then(|| "merge".to_owned()),
            self.mode.map(|mode| format!("mode={mode:04o}")),
            self.optional.then(|| "optional".to_owned()),
        ];
        let kind = if self.class.is_secret() { "Secret" } else { "ConfigMap" };
        let hashed = format!(
            "{kind}/{}:{}",
            self.name,
            options.into_iter().flatten().collect::<Vec<_>>().join(":")
        );
        let digest = Sha256::digest(hashed.as_bytes());
        let name = self.class.volume(&self.name).to_lowercase();
        let name = name.replace(
            |char: char| !(char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-'),
            "-",
        );
        (1..).map(move |number| {
            // Even with a number it is a label.
            let number = if number == 1 { String::new() } else { format!("-{number}") };
            let stem = name[..name.len().min(54 - number.len())].trim_matches('-');
            format!(
                "{stem}-{:02x}{:02x}{:02x}{:02x}{number}",
                digest[0], digest[1], digest[2], digest[3]
            )
        })
    }
}

fn volumes(pod: &Pod) -> &[Volume] {
    pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default()
}

fn containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().map_or(&[], |spec| &spec.containers)
}

fn mounts(container: &Container) -> &[VolumeMount] {
    container.volume_mounts.as_deref().unwrap_or_default()
}

fn env(container: &Container) -> &[EnvVar] {
    container.env.as_deref().unwrap_or_default()
}

fn has_sub_path(mount: &VolumeMount) -> bool {
    [&mount.sub_path, &mount.sub_path_expr].into_iter().flatten().any(|path| !path.is_empty())
}

fn is_marked(container: &Container, role: &str) -> bool {
    let mark = if role == "driver" { "SPARK_DRIVER_BIND_ADDRESS" } else { "SPARK_EXECUTOR_ID" };
    env(container).iter().any(|env| env.name == mark)
}

/// The one container that is Spark's.
fn spark_container(pod: &Pod, role: &str, named: Option<&str>) -> Option<usize> {
    let containers = containers(pod);
    let only = |rule: &dyn Fn(&Container) -> bool| {
        let found: Vec<usize> =
            (0..containers.len()).filter(|&index| rule(&containers[index])).collect();
        if let [one] = found[..] { Some(one) } else { None }
    };
    let with_name = |name: &str| containers.iter().position(|container| container.name == name);
    let names: &[&str] = match role {
        "driver" => &["spark-kubernetes-driver"],
        _ => &["spark-kubernetes-executor", "executor"],
    };
    let found = only(&|container| is_marked(container, role))
        .or_else(|| names.iter().find_map(|name| with_name(name)));
    if found.is_some() {
        return found;
    }
    match named {
        Some(named) => with_name(named),
        None => only(&|container| container.args.iter().flatten().any(|argument| argument == role))
            .or_else(|| only(&|_| true)),
    }
}

/// Spark's container in a pod, with the pod's volumes.
#[derive(Clone, Copy)]
struct View<'a> {
    container: &'a Container,
    volumes: &'a [Volume],
}

/// The files that `merge` shows beneath the user's.
enum Base<'a> {
    /// There are none, or they are the user's own.
    Plain,
    Of(String, &'a ConfigMapVolumeSource),
    Unclear,
}

/// What a request that is carried out leads to.
#[derive(Clone, Debug)]
enum Shape {
    Plain,
    /// Merged by an earlier round, or by somebody else.
    FoundMerged,
    /// The user's ConfigMap above this one.
    Merged(ConfigMapProjection),
}

/// What becomes of a request, by the contract.
#[derive(Clone, Debug)]
enum Verdict {
    CarriedOut(Shape),
    Refused,
    /// The rules leave it open, and both pass.
    Open,
}

impl<'a> View<'a> {
    fn of(pod: &'a Pod, container: usize) -> Self {
        Self { container: &containers(pod)[container], volumes: volumes(pod) }
    }

    /// What is seen at a path: the last mount there.
    fn at(self, path: &str) -> Option<(&'a VolumeMount, &'a Volume)> {
        let mount = mounts(self.container).iter().rfind(|mount| seen(&mount.mount_path) == path)?;
        Some((mount, self.volumes.iter().find(|volume| volume.name == mount.name)?))
    }

    fn variable(self, name: &str) -> Option<&'a EnvVar> {
        env(self.container).iter().rfind(|env| env.name == name)
    }

    fn base(self, request: &Request) -> Base<'a> {
        let (_, variable, _) = request.class.defaults();
        let Some(EnvVar { value, value_from: None, .. }) = self.variable(variable) else {
            return Base::Plain;
        };
        let directory = value.as_deref().unwrap_or_default();
        if directory.contains("$(") {
            return Base::Plain;
        }
        if !directory.starts_with('/') || directory.contains("$$") {
            return if self.at(&seen(directory)).is_some() { Base::Unclear } else { Base::Plain };
        }
        let directory = seen(directory);
        match self.at(&directory) {
            Some((mount, Volume { config_map: Some(base), .. }))
                if !has_sub_path(mount) && base.name != request.name =>
            {
                Base::Of(directory, base)
            }
            _ => Base::Plain,
        }
    }

    /// Whether the last source of what is projected at the path is the user's ConfigMap.
    fn shows_merged(self, request: &Request) -> bool {
        let last = self
            .at(&request.path)
            .and_then(|(_, volume)| volume.projected.as_ref()?.sources.as_ref()?.last());
        last.and_then(|last| last.config_map.as_ref()).is_some_and(|last| {
            let ConfigMapProjection { name, optional, items } = last;
            *name == request.name
                && optional.unwrap_or_default() == request.optional
                && items.as_ref().is_none_or(Vec::is_empty)
        })
    }

    fn shows_plain(self, request: &Request) -> bool {
        let there = self.at(&request.path).and_then(|(mount, volume)| Form::of(mount, volume));
        there.is_some_and(|there| request.form().is_shown_by(&there))
    }

    fn shows(self, request: &Request, shape: &Shape) -> bool {
        match shape {
            Shape::Plain => self.shows_plain(request),
            Shape::FoundMerged => self.shows_merged(request),
            Shape::Merged(base) => {
                let Some((mount, Volume { projected: Some(projected), .. })) =
                    self.at(&request.path)
                else {
                    return false;
                };
                let ProjectedVolumeSource { default_mode, sources } = projected;
                let user = ConfigMapProjection {
                    name: request.name.clone(),
                    optional: Some(request.optional),
                    items: None,
                };
                let expected = [base.clone(), user].map(|source| Some(plain_projection(source)));
                let found = sources.iter().flatten().map(|source| {
                    let VolumeProjection { config_map, .. } = source.clone();
                    let is_all = source
                        == &VolumeProjection {
                            config_map: config_map.clone(),
                            ..Default::default()
                        };
                    config_map.filter(|_| is_all).map(plain_projection)
                });
                !has_sub_path(mount)
                    && found.collect::<Vec<_>>() == expected
                    && default_mode.unwrap_or(DEFAULT_MODE) == request.mode.unwrap_or(DEFAULT_MODE)
            }
        }
    }
}

/// With what is absent and what is written out made one.
fn plain_projection(
    ConfigMapProjection { name, optional, items }: ConfigMapProjection,
) -> ConfigMapProjection {
    ConfigMapProjection {
        name,
        optional: Some(optional.unwrap_or_default()),
        items: Some(items.unwrap_or_default()),
    }
}

/// Whether items of a volume show that a part of it is a directory. Other mounts need a mount point
/// in it, which the kubelet makes only at the volume's top.
fn is_directory_in(volume: &Volume, mount: &VolumeMount) -> bool {
    let Some(part) = mount.sub_path.as_ref().filter(|path| !path.is_empty()) else { return false };
    let written = serde_json::to_value(volume).unwrap();
    let sources = written["projected"]["sources"].as_array().cloned().unwrap_or_default();
    let all =
        sources.iter().chain([&written]).flat_map(|source| source.as_object().unwrap().values());
    let items = all.flat_map(|source| source["items"].as_array().cloned().unwrap_or_default());
    items.into_iter().any(|item| is_below(&seen(item["path"].as_str().unwrap()), &seen(part)))
}

/// Whichever source it is: all that have the field spell it the same.
fn is_read_only_at_source(volume: &Volume) -> bool {
    let written = serde_json::to_value(volume).unwrap();
    written.as_object().unwrap().values().any(|source| source["readOnly"] == true)
}

/// Something mounted, as far as it stands in the way of what is above and below it.
struct Place {
    path: String,
    /// Of a ConfigMap, Secret, projected or downward-API volume.
    is_written_by_kubelet: bool,
    /// As a mount, at its source, or as an image.
    is_read_only: bool,
    is_file: bool,
    /// It is written without the first slash: the kubelet makes no mount point for it, and none in
    /// it.
    is_relative: bool,
    /// Another mount at the same path comes after it.
    is_hidden: bool,
}

impl Place {
    fn forbids(&self, request: &Request) -> bool {
        if is_below(&request.path, &self.path) {
            let is_closed = if self.is_written_by_kubelet {
                request.file.is_some() || self.is_relative
            } else {
                self.is_read_only
            };
            self.is_file || is_closed
        } else if is_below(&self.path, &request.path) {
            request.file.is_some() || self.is_file || self.is_relative
        } else {
            meets_by_link(&request.path, &self.path)
        }
    }
}

/// A request that was carried out.
struct CarriedOut<'a> {
    ask: &'a Ask,
    request: &'a Request,
    /// Mounted by this patch, and not found or shared.
    is_new: bool,
}

/// Where the pod stood before, and what was carried out and refused so far.
struct Round<'a> {
    before: View<'a>,
    done: Vec<CarriedOut<'a>>,
    refused: Vec<&'a Request>,
}

impl Round<'_> {
    fn verdict(&self, request: &Request) -> Verdict {
        if let Some(earlier) = self.done.iter().find(|done| done.request.path == request.path) {
            let is_same = earlier.request.is_same_source(request);
            return if is_same { Verdict::CarriedOut(Shape::Plain) } else { Verdict::Refused };
        }
        let verdict = self.against_pod(request);
        let lost_already = self
            .refused
            .iter()
            .any(|earlier| earlier.path == request.path && !earlier.is_same_source(request));
        if lost_already && matches!(verdict, Verdict::CarriedOut(_)) {
            Verdict::Open
        } else {
            verdict
        }
    }

    fn against_pod(&self, request: &Request) -> Verdict {
        let there = self.before.at(&request.path);
        if request.merge {
            if self.before.shows_merged(request) {
                let is_whole = there.is_some_and(|(mount, _)| !has_sub_path(mount));
                return if is_whole {
                    Verdict::CarriedOut(Shape::FoundMerged)
                } else {
                    Verdict::Open
                };
            }
            match self.before.base(request) {
                Base::Plain => {}
                Base::Unclear => return Verdict::Open,
                Base::Of(directory, _) if directory == request.path || there.is_some() => {
                    return Verdict::Refused;
                }
                Base::Of(_, ConfigMapVolumeSource { name, optional, items, .. }) => {
                    let base = ConfigMapProjection {
                        name: name.clone(),
                        optional: *optional,
                        items: items.clone(),
                    };
                    return self.possible(request, Shape::Merged(base));
                }
            }
        }
        match there {
            Some(_) if self.before.shows_plain(request) => Verdict::CarriedOut(Shape::Plain),
            Some(_) => Verdict::Refused,
            None => self.possible(request, Shape::Plain),
        }
    }

    /// Whether there can be a mount point, by the pod's mounts and those of the requests before.
    fn possible(&self, request: &Request, shape: Shape) -> Verdict {
        let devices = self.before.container.volume_devices.as_deref().unwrap_or_default();
        if devices.iter().any(|device| seen(&device.device_path) == request.path) {
            return Verdict::Refused;
        }
        let places = self.places();
        let above =
            places.iter().filter(|place| !place.is_hidden && is_below(&request.path, &place.path));
        let nearest = above.map(|place| place.path.len()).max();
        let is_certain = |place: &&Place| {
            let is_above = is_below(&request.path, &place.path);
            !place.is_hidden && (!is_above || Some(place.path.len()) == nearest)
        };
        let forbidding: Vec<&Place> =
            places.iter().filter(|place| place.forbids(request)).collect();
        match () {
            () if forbidding.is_empty() => Verdict::CarriedOut(shape),
            () if forbidding.iter().any(is_certain) => Verdict::Refused,
            // What forbids it is behind another mount.
            () => Verdict::Open,
        }
    }

    fn places(&self) -> Vec<Place> {
        let mounts = mounts(self.before.container);
        let paths: Vec<String> = mounts.iter().map(|mount| seen(&mount.mount_path)).collect();
        let own = mounts.iter().enumerate().filter_map(|(index, mount)| {
            let volume = self.before.volumes.iter().find(|volume| volume.name == mount.name)?;
            let Volume { config_map, secret, projected, downward_api, image, host_path, .. } =
                volume;
            let of_kubelet = config_map.is_some()
                || secret.is_some()
                || projected.is_some()
                || downward_api.is_some();
            let is_directory = of_kubelet && is_directory_in(volume, mount);
            let is_host_file = host_path
                .as_ref()
                .and_then(|host_path| host_path.type_.as_deref())
                .is_some_and(|kind| {
                    ["File", "FileOrCreate", "Socket", "CharDevice", "BlockDevice"].contains(&kind)
                });
            let read_only_at_source = image.is_some() || is_read_only_at_source(volume);
            Some(Place {
                path: paths[index].clone(),
                is_written_by_kubelet: of_kubelet && !is_directory,
                is_read_only: mount.read_only == Some(true) || read_only_at_source || is_directory,
                is_file: is_host_file || (of_kubelet && has_sub_path(mount) && !is_directory),
                is_relative: !mount.mount_path.starts_with('/'),
                is_hidden: paths[index + 1..].contains(&paths[index]),
            })
        });
        let ours = self.done.iter().filter(|done| done.is_new).map(|done| Place {
            path: done.request.path.clone(),
            is_written_by_kubelet: true,
            is_read_only: true,
            is_file: done.request.file.is_some(),
            is_relative: false,
            is_hidden: false,
        });
        own.chain(ours).collect()
    }
}

// ---- What must hold -----------------------------------------------------------------------------

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

fn problems(review: &Value, policy: &Policy) -> Vec<Problem> {
    let body = serde_json::to_vec(review).unwrap();
    let admission = admit(&body, policy).unwrap();
    let problems = admission.subject.iter().flat_map(|subject| subject.problems.iter());
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
pub fn assert_mounted_or_named(review: &Value, answer: &Answer, policy: &Policy) {
    let before = typed(&review["request"]["object"]);
    let Some((role, asked)) = subject(&before) else { return };
    let after = typed(&answer.pod);
    let problems = problems(review, policy);
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

/// An enforced default of a file of rules is in the pod, at its place and in its variable, or an
/// error says that something is wrong.
pub fn assert_enforced(review: &Value, answer: &Answer, policy: &Policy, rules: &Value) {
    let (before, after) = (typed(&review["request"]["object"]), typed(&answer.pod));
    let role = before
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get("spark-role"))
        .map_or("", |role| role);
    if !["driver", "executor"].contains(&role)
        || problems(review, policy).iter().any(|problem| problem.is_error)
    {
        return;
    }
    let mut defaults: Vec<(bool, Ask)> = Vec::new();
    for rule in rules["defaults"].as_array().into_iter().flatten() {
        let mut asks = read(&serde_json::from_value(rule["annotations"].clone()).unwrap()).asks;
        defaults.retain(|(_, earlier)| !asks.iter().any(|ask| ask.is_about_what(earlier)));
        for Ask { reading, .. } in asks.iter_mut().filter(|_| rule["required"] != true) {
            if let Reading::Right(request) = reading {
                request.optional = true;
                request.merge |= request.class.is_conf();
            }
        }
        defaults.extend(asks.into_iter().map(|ask| (rule["enforce"] == true, ask)));
    }
    let enforced: Vec<&Request> = defaults
        .iter()
        .filter(|(is_enforced, _)| *is_enforced)
        .filter_map(|(_, ask)| ask.request())
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
            .filter_map(|(_, ask)| ask.request()?.env.as_ref())
            .filter(|(name, _)| name == variable)
            .count()
            > 1;
        let is_set = view.variable(variable).and_then(|entry| entry.value.as_ref()) == Some(value);
        assert!(is_set || is_contested, "{variable} is not {value}");
    }
}

/// The role and what is asked for, if the pod is ours.
fn subject(pod: &Pod) -> Option<(&str, Asked)> {
    let role = pod.metadata.labels.as_ref()?.get("spark-role")?;
    let annotations = pod.metadata.annotations.as_ref()?;
    let is_ours = ["driver", "executor"].contains(&&**role)
        && !annotations.contains_key("kubernetes.io/config.mirror");
    Some((&**role, read(annotations))).filter(|(_, asked)| is_ours && asked.has_keys)
}

/// Of more requests than there may be, none is carried out, and one problem says so.
pub fn assert_too_many(review: &Value, answer: &Answer) {
    let problems = problems(review, &Policy::default());
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
    let problems = problems(review, &Policy::default());
    assert!(problems.iter().map(|problem| &problem.text).eq(&answer.problems));
    assert!(problems.is_sorted_by_key(|problem| !problem.is_error), "errors come first");
    let Some((role, asked)) = subject(&before) else {
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

struct Judge<'a> {
    problems: &'a [Problem],
    asked: &'a Asked,
    before: View<'a>,
    after: View<'a>,
}

impl<'a> Judge<'a> {
    fn is_named(&self, ask: &Ask, by_error: bool) -> bool {
        self.problems
            .iter()
            .any(|problem| (problem.is_error || !by_error) && problem.names(&ask.shown))
    }

    /// Whether an error names this and, cut short as it may be, nothing else.
    fn is_named_alone(&self, ask: &Ask) -> bool {
        self.problems.iter().any(|problem| {
            problem.is_error
                && problem.names(&ask.shown)
                && self.asked.asks.iter().filter(|other| problem.names(&other.shown)).count() == 1
        })
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
                    assert!(self.is_named(ask, true), "wrong and not named: {ask:?}");
                }
                (Reading::Wrong, _) | (_, Standing::Loses { .. }) => {
                    assert!(self.is_named(ask, false), "it loses and is not named: {ask:?}");
                }
                (Reading::Right(request), Standing::Counts | Standing::MayLose) => {
                    requests.push((ask, request));
                }
            }
        }
        requests.sort_by_key(|(_, request)| (request.class, &request.name, &request.path));

        let mut round = Round { before: self.before, done: Vec::new(), refused: Vec::new() };
        for (ask, request) in requests {
            let (is_refused, is_refused_alone) =
                (self.is_named(ask, true), self.is_named_alone(ask));
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
                (Verdict::Refused, _) => {
                    assert!(
                        self.is_named(ask, ask.standing == Standing::Counts),
                        "refused and not named: {ask:?}"
                    );
                    false
                }
                (Verdict::CarriedOut(_), Standing::Counts) => {
                    assert!(
                        is_done && !is_refused_alone,
                        "refused without a reason, or not done: {ask:?}, {verdict:?}"
                    );
                    true
                }
                (_, Standing::Counts) => {
                    assert!(is_done || is_refused, "neither done nor named: {ask:?}");
                    is_clear &= is_refused_alone || !is_refused;
                    is_done && !is_refused
                }
                _ => {
                    let is_named = self.is_named(ask, false);
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
            let gives_way = matches!(request.class, Class::ConfigMap | Class::Secret);
            let is_value = |env: &EnvVar| {
                env.value_from.is_none() && env.value.as_deref().unwrap_or_default() == value
            };
            let last = expected.iter().rposition(|env| env.name == *variable);
            if setters.contains_key(&**variable)
                || (gives_way && last.is_some_and(|last| !is_value(&expected[last])))
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
