//! YAML as a tree that knows its lines, with mistakes that say what to write.
//!
//! A deserializer stops at the first mistake and names it in the words of a library. An author
//! wants all mistakes of a file, each with its line and what to write instead. So the rules file is
//! read into this tree, and plain code checks the tree. `mutate` uses it only for the text of an
//! error.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, Tag, options};

mod syntax;

/// A place, and what to write there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong and what to write instead, on one line.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// One document of a text.
#[derive(Debug)]
pub struct Document {
    /// Its content.
    pub root: Node,
    /// What is wrong with single values, although the text is YAML.
    pub mistakes: Vec<Mistake>,
}

/// A value, with the line at which it begins. The value of an alias has the line of its anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Counted from 1.
    pub line: usize,
    /// What stands there.
    pub value: Value,
}

/// What stands at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text, a number, `true`, `null`.
    Scalar {
        /// Without quotes and with escapes resolved.
        text: String,
        /// Whether it is written without quotes: only then can it be `null`, or `true`.
        is_plain: bool,
    },
    /// In the order of the file.
    List(Vec<Node>),
    /// In the order of the file, each key once; what `<<` adds stands at the end.
    Map(Vec<(Key, Node)>),
    /// The document's mistakes say why.
    Unreadable,
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Counted from 1.
    pub line: usize,
    /// Without quotes.
    pub text: String,
}

impl Node {
    /// Whether nothing stands there, or `~`, or `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, is_plain: true } if ["", "~", "null", "Null", "NULL"].contains(&text.as_str()))
    }

    /// The bytes that it needs, roughly.
    fn cost(&self) -> usize {
        const NODE: usize = 64;
        NODE + match &self.value {
            Value::Scalar { text, .. } => text.len(),
            Value::List(items) => items.iter().map(Self::cost).sum(),
            Value::Map(entries) => {
                entries.iter().map(|(key, node)| key.text.len() + node.cost()).sum()
            }
            Value::Unreadable => 0,
        }
    }
}

/// How deep lists and maps may stand in each other.
const MAX_DEPTH: usize = 64;

/// How much anchors and aliases may [cost](Node::cost): aliases of aliases make much of a short
/// text.
const MAX_ALIASED: usize = 4 * 1024 * 1024;

/// Reads all documents of a text.
///
/// # Errors
///
/// When the text is not YAML. What follows the mistake is not read.
pub fn parse(text: &str) -> Result<Vec<Document>, Mistake> {
    let options = options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut builder = Builder { text, ..Builder::default() };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| syntax::mistake(text, &error))?;
        builder.take(event, &span)?;
    }
    Ok(builder.documents)
}

/// Puts the parser's events together.
#[derive(Default)]
struct Builder<'t> {
    text: &'t str,
    documents: Vec<Document>,
    mistakes: Vec<Mistake>,
    root: Option<Node>,
    /// The lists and maps that are not complete, the innermost last.
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    aliased: usize,
}

struct Open {
    line: usize,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, key: Option<Key> },
}

impl Builder<'_> {
    fn take(&mut self, event: Event, span: &Span) -> Result<(), Mistake> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), span);
                let node = Node { line, value };
                self.keep(anchor, &node)?;
                self.add(node);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(line, anchor, Content::List(Vec::new()), tag.as_deref());
            }
            Event::MappingStart(_, anchor, tag) => {
                self.open(
                    line,
                    anchor,
                    Content::Map { entries: Vec::new(), key: None },
                    tag.as_deref(),
                );
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Alias(anchor) => {
                if let Some(node) = self.anchors.get(&anchor).cloned() {
                    self.spend(line, node.cost())?;
                    self.add(node);
                } else {
                    self.mistake(
                        line,
                        "an alias stands inside of its own anchor; write the value instead",
                    );
                    self.add(Node { line, value: Value::Unreadable });
                }
            }
            Event::UnresolvedAlias(name) => {
                self.mistake(line, syntax::needs_quotes(&format!("*{name}")));
                self.add(Node { line, value: Value::Unreadable });
            }
            Event::DocumentEnd => {
                let root = self.root.take().unwrap_or(Node { line, value: Value::Unreadable });
                self.documents
                    .push(Document { root, mistakes: std::mem::take(&mut self.mistakes) });
                self.anchors.clear();
            }
            _ => {}
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: &Span) -> Value {
        if let Some(tag) = tag.filter(|tag| tag.is_custom()) {
            let written = span
                .tag_span()
                .and_then(|tag| tag.slice(self.text))
                .map_or_else(|| tag.original(), str::to_owned);
            let line = span.tag_start().map_or(span.start.line(), |start| start.line());
            let rest = if text == "~" { "" } else { text };
            self.mistake(line, syntax::needs_quotes(format!("{written} {rest}").trim_end()));
            return Value::Unreadable;
        }
        let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
        Value::Scalar { text: text.to_owned(), is_plain: style == ScalarStyle::Plain && !is_text }
    }

    fn open(&mut self, line: usize, anchor: usize, content: Content, tag: Option<&Tag>) {
        if let Some(tag) = tag.filter(|tag| tag.is_custom()) {
            self.mistake(
                line,
                format!("{} has no meaning here; remove it", syntax::excerpt(&tag.original())),
            );
        }
        self.open.push(Open { line, anchor, content });
    }

    fn close(&mut self) -> Result<(), Mistake> {
        let Some(Open { line, anchor, content }) = self.open.pop() else { return Ok(()) };
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, key: _ } => Value::Map(self.merge(entries)),
        };
        let node = Node { line, value };
        self.keep(anchor, &node)?;
        self.add(node);
        Ok(())
    }

    /// Adds a complete value to the list or map that it stands in.
    fn add(&mut self, node: Node) {
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, key }) => match (key.take(), node) {
                (Some(key), node) => entries.push((key, node)),
                (None, Node { line, value: Value::Scalar { text, .. } }) => {
                    *key = Some(Key { line, text });
                }
                (None, Node { line, .. }) => {
                    *key = Some(Key { line, text: String::new() });
                    self.mistake(line, "a key must be a text; write KEY: VALUE");
                }
            },
        }
    }

    /// Takes out what is set twice, and resolves `<<`: what a map sets itself wins, then what comes
    /// first.
    fn merge(&mut self, entries: Vec<(Key, Node)>) -> Vec<(Key, Node)> {
        let mut seen = HashSet::new();
        let (mut merged, mut sources) = (Vec::new(), Vec::new());
        for (key, node) in entries {
            if !seen.insert(key.text.clone()) {
                self.mistake(
                    key.line,
                    format!("{} is set twice; remove one", syntax::excerpt(&key.text)),
                );
            } else if key.text == "<<" {
                let line = key.line;
                match node.value {
                    Value::List(items) => {
                        sources.extend(items.into_iter().map(|item| (line, item.value)));
                    }
                    value => sources.push((line, value)),
                }
            } else {
                merged.push((key, node));
            }
        }
        for (line, source) in sources {
            match source {
                Value::Map(entries) => merged
                    .extend(entries.into_iter().filter(|(key, _)| seen.insert(key.text.clone()))),
                Value::Unreadable => {}
                Value::List(_) | Value::Scalar { .. } => {
                    self.mistake(
                        line,
                        "<< takes the alias of a map; write <<: *NAME, and &NAME before the map",
                    );
                }
            }
        }
        merged
    }

    fn keep(&mut self, anchor: usize, node: &Node) -> Result<(), Mistake> {
        if anchor == 0 {
            return Ok(());
        }
        self.spend(node.line, node.cost())?;
        self.anchors.insert(anchor, node.clone());
        Ok(())
    }

    fn spend(&mut self, line: usize, cost: usize) -> Result<(), Mistake> {
        self.aliased += cost;
        let text = "the aliases stand for more than 4 MiB; write fewer";
        if self.aliased > MAX_ALIASED {
            Err(Mistake { line, text: text.to_owned() })
        } else {
            Ok(())
        }
    }

    fn mistake(&mut self, line: usize, text: impl Into<String>) {
        self.mistakes.push(Mistake { line, text: text.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documents in one line each: maps and lists in brackets, plain texts as they are and
    /// others in quotes, with lines.
    fn shown(node: &Node) -> String {
        let value = match &node.value {
            Value::Scalar { text, is_plain: true } => text.clone(),
            Value::Scalar { text, is_plain: false } => format!("{text:?}"),
            Value::List(items) => {
                format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", "))
            }
            Value::Map(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, node)| format!("{}@{}: {}", key.text, key.line, shown(node)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
            Value::Unreadable => "?".to_owned(),
        };
        format!("{value}@{}", node.line)
    }

    fn read(text: &str) -> (Vec<String>, Vec<String>) {
        let documents = match parse(text) {
            Ok(documents) => documents,
            Err(mistake) => return (Vec::new(), vec![mistake.to_string()]),
        };
        let mistakes = documents
            .iter()
            .flat_map(|document| &document.mistakes)
            .map(ToString::to_string)
            .collect();
        (documents.iter().map(|document| shown(&document.root)).collect(), mistakes)
    }

    #[test]
    fn accepts() {
        for (text, expected) in [
            ("a: 1\nb:\n- x\n- \"y\"\n", "{a@1: 1@1, b@2: [x@3, \"y\"@4]@3}@1"),
            ("a: {b: 'c',\n d: [e]}", "{a@1: {b@1: \"c\"@1, d@2: [e@2]@2}@1}@1"),
            (r#"{"a": "\ud83d\ude00"}"#, "{a@1: \"😀\"@1}@1"),
            ("a: |\n  b\n  c\n", "{a@1: \"b\\nc\\n\"@2}@1"),
            ("a: &x {b: 1}\nc: *x", "{a@1: {b@1: 1@1}@1, c@2: {b@1: 1@1}@1}@1"),
            (
                "a: &x {b: 1, c: 1}\nd: {<<: *x, c: 2}",
                "{a@1: {b@1: 1@1, c@1: 1@1}@1, d@2: {c@2: 2@2, b@1: 1@1}@2}@1",
            ),
            (
                "- &x {b: 1}\n- &y {b: 2, c: 2}\n- <<: [*x, *y]\n",
                "[{b@1: 1@1}@1, {b@2: 2@2, c@2: 2@2}@2, {b@1: 1@1, c@2: 2@2}@3]@1",
            ),
            ("a: !!str true\nb: !!map {}", "{a@1: \"true\"@1, b@2: {}@2}@1"),
            ("\u{feff}a: b", "{a@1: b@1}@1"),
            ("a: b\r\nc: d\r\n", "{a@1: b@1, c@2: d@2}@1"),
        ] {
            assert_eq!(read(text), (vec![expected.to_owned()], vec![]), "{text:?}");
        }
        assert_eq!(read("a\n---\nb\n").0, ["a@1", "b@3"]);
        assert_eq!(read("").0, [""; 0]);
    }

    #[test]
    fn nothing_is_null_but_without_quotes() {
        for (text, expected) in [
            ("a:", true),
            ("a: ~", true),
            ("a: null", true),
            ("a: \"\"", false),
            ("a: 'null'", false),
            ("a: 0", false),
            ("a: []", false),
        ] {
            let document = parse(text).unwrap().pop().unwrap();
            let Value::Map(entries) = document.root.value else { panic!("{text}") };
            assert_eq!(entries[0].1.is_null(), expected, "{text}");
        }
    }

    #[test]
    fn rejects_single_values_and_reads_on() {
        for (text, expected, mistakes) in [
            (
                "a: 1\nb: 2\na: 3\n",
                "{a@1: 1@1, b@2: 2@2}@1",
                vec!["line 3: a is set twice; remove one"],
            ),
            (
                "a: [!b, c]",
                "{a@1: [?@1, c@1]@1}@1",
                vec!["line 1: !b needs quotes in YAML; write \"!b\""],
            ),
            ("a: !b c", "{a@1: ?@1}@1", vec!["line 1: !b c needs quotes in YAML; write \"!b c\""]),
            (
                "a: [*b, c]\nd: *e",
                "{a@1: [?@1, c@1]@1, d@2: ?@2}@1",
                vec![
                    "line 1: *b needs quotes in YAML; write \"*b\"",
                    "line 2: *e needs quotes in YAML; write \"*e\"",
                ],
            ),
            (
                "a: &b [*b]",
                "{a@1: [?@1]@1}@1",
                vec!["line 1: an alias stands inside of its own anchor; write the value instead"],
            ),
            (
                "a: {<<: b}",
                "{a@1: {}@1}@1",
                vec![
                    "line 1: << takes the alias of a map; write <<: *NAME, and &NAME before the map",
                ],
            ),
            ("? [a]\n: b", "{@1: b@2}@1", vec!["line 1: a key must be a text; write KEY: VALUE"]),
            ("a: !b {}", "{a@1: {}@1}@1", vec!["line 1: !b has no meaning here; remove it"]),
        ] {
            let mistakes: Vec<String> = mistakes.into_iter().map(str::to_owned).collect();
            assert_eq!(read(text), (vec![expected.to_owned()], mistakes), "{text:?}");
        }
    }

    #[test]
    fn rejects_what_a_short_text_makes_large() {
        // Each line is ten of the line above it.
        let lines =
            (1..10).map(|n| format!("- &a{n} [{}]", vec![format!("*a{}", n - 1); 10].join(", ")));
        let bomb = lines.collect::<Vec<_>>().join("\n");
        let (_, mistakes) = read(&format!("- &a0 x\n{bomb}"));
        assert_eq!(mistakes, ["line 6: the aliases stand for more than 4 MiB; write fewer"]);
        let long = format!("- &a {}\n{}", "x".repeat(100_000), "- *a\n".repeat(100_000));
        assert!(read(&long).1[0].ends_with("write fewer"));
    }

    #[test]
    fn rejects_deep_nesting() {
        let deep = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert_eq!(read(&deep(MAX_DEPTH)).1, [""; 0]);
        let expected =
            "line 1: lists and maps stand in each other more than 64 deep; write fewer levels";
        assert_eq!(read(&deep(MAX_DEPTH + 1)).1, [expected]);
        assert_eq!(read(&"- ".repeat(100_000)).1, [expected]);
    }
}
