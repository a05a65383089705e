//! The first half of the contract: what the annotations of a pod request, and which of the requests
//! count where several are about the same object.

use std::collections::BTreeMap;

pub(super) const FIRST: &str = "spark-operator.k8s.io/";
pub(super) const SECOND: &str = "sparkoperator.k8s.io/";
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// What a request mounts, in the order in which requests are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    SparkConf,
    HadoopConf,
    ConfigMap,
    Secret,
    GoogleAccount,
    Token,
}

/// Keys, their other spelling, and what they ask for. Those that end in a dot go on with a name.
pub(super) const KEYS: [(&str, &str, Class); 6] = [
    ("sparkConfigMap", "spark-configmap", Class::SparkConf),
    ("hadoopConfigMap", "hadoop-configmap", Class::HadoopConf),
    ("configMap.", "configmap.", Class::ConfigMap),
    ("secret.", "secret.", Class::Secret),
    ("GCPServiceAccount.", "gcp-service-account.", Class::GoogleAccount),
    ("hadoopDelegationToken.", "hadoop-delegation-token.", Class::Token),
];
pub(super) const LISTS: [(&str, &str, Class); 2] =
    [("configMaps", "configmaps", Class::ConfigMap), ("secrets", "secrets", Class::Secret)];

impl Class {
    pub(super) fn is_conf(self) -> bool {
        matches!(self, Self::SparkConf | Self::HadoopConf)
    }

    pub(super) fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::GoogleAccount | Self::Token)
    }

    /// The directory without `path=`, the variable, and the file in it without `key=`.
    pub(super) fn defaults(self) -> (&'static str, &'static str, &'static str) {
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
    pub(super) fn volume(self, name: &str) -> String {
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
pub(super) struct Request {
    pub(super) class: Class,
    pub(super) name: String,
    pub(super) path: String,
    pub(super) file: Option<String>,
    pub(super) optional: bool,
    pub(super) mode: Option<i32>,
    /// The variable and its value.
    pub(super) env: Option<(String, String)>,
    pub(super) merge: bool,
    pub(super) defaults: bool,
}

/// What a value, or an entry of a list, says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reading {
    /// It is empty.
    Nothing,
    Wrong,
    Right(Request),
}

/// Whether what is asked for counts, where it is asked for several times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Standing {
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
pub(super) struct Ask {
    pub(super) class: Class,
    /// Empty for conf dirs, whose name is part of the value.
    pub(super) name: String,
    pub(super) words: String,
    pub(super) in_list: bool,
    rank: Rank,
    /// With what a problem about it begins, each way in which it may be written.
    pub(super) shown: Vec<String>,
    pub(super) reading: Reading,
    pub(super) standing: Standing,
}

/// Which of several values for one object counts: the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    prefix: Prefix,
    spelling: Spelling,
    /// In a list.
    position: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Prefix {
    First,
    Second,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Spelling {
    First,
    Second,
}

/// A key without its prefix, of an annotation that holds requests.
struct Key<'a> {
    class: Class,
    spelling: Spelling,
    holds: Holds<'a>,
}

enum Holds<'a> {
    /// One request, for the object of this name, which is empty for conf dirs.
    One(&'a str),
    /// A list of requests, each with its name.
    List,
}

impl<'a> Key<'a> {
    fn read(key: &'a str) -> Option<Self> {
        let in_both = |(first, second, class)| {
            [(first, class, Spelling::First), (second, class, Spelling::Second)]
        };
        let list = LISTS.into_iter().flat_map(in_both).find(|(list, ..)| *list == key);
        if let Some((_, class, spelling)) = list {
            return Some(Self { class, spelling, holds: Holds::List });
        }
        KEYS.into_iter().flat_map(in_both).find_map(|(start, class, spelling)| {
            let name = key.strip_prefix(start)?;
            let is_whole = !class.is_conf() || name.is_empty();
            is_whole.then_some(Self { class, spelling, holds: Holds::One(name) })
        })
    }
}

/// All that a pod's annotations say.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) asks: Vec<Ask>,
    /// The value of `container`.
    pub(super) container: Option<String>,
    /// Keys that only a note is about, as a problem shows them.
    pub(super) unknown: Vec<Vec<String>>,
    /// Whether there is any key under a prefix of ours.
    pub(super) has_keys: bool,
}

/// Reads annotations, and settles which of them count.
pub(super) fn read(annotations: &BTreeMap<String, String>) -> Asked {
    let mut asked =
        Asked { asks: Vec::new(), container: None, unknown: Vec::new(), has_keys: false };
    let mut entries = Vec::new();
    for (start, prefix) in [(FIRST, Prefix::First), (SECOND, Prefix::Second)] {
        for (full, value) in annotations {
            let Some(key) = full.strip_prefix(start) else { continue };
            asked.has_keys = true;
            let value = value.trim_matches(BLANKS);
            let written = if prefix == Prefix::First { key } else { full };
            match Key::read(key) {
                Some(Key { class, spelling, holds: Holds::List }) => {
                    let list = value.split(',').filter(|_| !value.is_empty());
                    for (position, entry) in list.enumerate() {
                        let rank = Rank { prefix, spelling, position };
                        entries.push(read_entry(class, written, entry.trim_matches(BLANKS), rank));
                    }
                }
                Some(Key { class, spelling, holds: Holds::One(name) }) => asked.asks.push(Ask {
                    class,
                    name: name.to_owned(),
                    words: value.to_owned(),
                    in_list: false,
                    rank: Rank { prefix, spelling, position: 0 },
                    shown: vec![format!("{written}={value}")],
                    reading: read_value(class, name, value),
                    standing: Standing::Counts,
                }),
                None if key == "container" => {
                    asked.container.get_or_insert_with(|| value.to_owned());
                }
                // The webhook's own.
                None if key == "injected" && prefix == Prefix::First => {}
                None => {
                    let written = if key.is_empty() { full } else { written };
                    asked.unknown.push(vec![written.to_owned(), format!("{written}={value}")]);
                }
            }
        }
    }
    asked.container = asked.container.filter(|name| !name.is_empty());
    settle(&mut asked.asks, entries);
    asked
}

fn read_entry(class: Class, key: &str, entry: &str, rank: Rank) -> Ask {
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

pub(super) fn is_object_name(name: &str) -> bool {
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
pub(super) fn seen(path: &str) -> String {
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
pub(super) fn meets_by_link(a: &str, b: &str) -> bool {
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

pub(super) fn is_below(path: &str, above: &str) -> bool {
    path != above
        && path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/') || above == "/")
}

impl Ask {
    pub(super) fn request(&self) -> Option<&Request> {
        match &self.reading {
            Reading::Right(request) => Some(request),
            Reading::Nothing | Reading::Wrong => None,
        }
    }

    /// The path that the words begin with, whatever is wrong with the rest of them.
    pub(super) fn path(&self) -> String {
        normalised(self.words.split(':').next().unwrap_or_default().trim_end_matches(BLANKS))
    }

    pub(super) fn is_about_what(&self, other: &Self) -> bool {
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
