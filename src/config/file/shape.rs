//! Whether the parts of a file have their shape: maps with known fields, lists, texts, `true` and
//! `false`.

use crate::text::Excerpt;
use crate::yaml::{Mistake, Node, Value};

/// Collects mistakes, and reads on with what stands for the wrong part.
pub(super) struct Reader {
    pub(super) mistakes: Vec<Mistake>,
}

/// A field of a map, under one of the names that it may have.
pub(super) struct Field<'n> {
    pub(super) name: &'static str,
    key_line: usize,
    pub(super) node: &'n Node,
}

/// How a field is written, and what it means where it is not there: said where it has no value.
pub(super) struct Form {
    example: &'static str,
    without: &'static str,
}

pub(super) const fn form(example: &'static str, without: &'static str) -> Form {
    Form { example, without }
}

impl Reader {
    /// The fields of a map that may have these names.
    pub(super) fn fields<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        example: &str,
        known: &[&'static str],
    ) -> Vec<Field<'n>> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Unreadable => return Vec::new(),
            Value::Scalar { .. } | Value::List(_) => {
                self.add(node.line, format!("{what} is a map; write {example}"));
                return Vec::new();
            }
        };
        let mut fields = Vec::new();
        for (key, node) in entries {
            match known.iter().find(|name| **name == key.text) {
                Some(name) => fields.push(Field { name, key_line: key.line, node }),
                None => self.add(
                    key.line,
                    format!(
                        "unknown field {}; write one of {}",
                        quoted(&key.text),
                        known.join(", ")
                    ),
                ),
            }
        }
        fields
    }

    pub(super) fn list<'n>(&mut self, field: &Field<'n>, form: &Form) -> &'n [Node] {
        if self.is_null(field, form) {
            return &[];
        }
        match &field.node.value {
            Value::List(items) => items,
            Value::Unreadable => &[],
            Value::Scalar { .. } | Value::Map(_) => {
                self.add(
                    field.node.line,
                    format!("{} is a list; write {}", field.name, form.example),
                );
                &[]
            }
        }
    }

    /// A list of texts that has at least one, with their lines.
    pub(super) fn texts<'n>(&mut self, field: &Field<'n>, form: &Form) -> Vec<(usize, &'n str)> {
        let Field { name, key_line: _, node } = field;
        if let Value::Scalar { text, .. } = &node.value
            && !node.is_null()
        {
            // What may be wrong by itself is not suggested.
            let is_name = text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "!-*?".contains(c));
            let instead = if is_name {
                format!("{name}: [{}]", quoted(text))
            } else {
                form.example.to_owned()
            };
            self.add(node.line, format!("{name} is a list; write {instead}"));
            return Vec::new();
        }
        if matches!(&node.value, Value::List(items) if items.is_empty()) {
            self.add(
                node.line,
                format!("{name} is empty; write {}, or {}", form.example, form.without),
            );
        }
        self.list(field, form).iter().filter_map(|node| self.entry(name, node)).collect()
    }

    pub(super) fn entry<'n>(&mut self, name: &str, node: &'n Node) -> Option<(usize, &'n str)> {
        match &node.value {
            Value::Scalar { text, .. } if !node.is_null() => Some((node.line, text)),
            Value::Unreadable => None,
            Value::Scalar { .. } => {
                self.add(node.line, format!("an entry of {name} has no value; remove it"));
                None
            }
            Value::List(_) | Value::Map(_) => {
                self.add(
                    node.line,
                    format!("an entry of {name} is a text; write it without brackets and colons"),
                );
                None
            }
        }
    }

    /// The texts of a map, with their lines.
    pub(super) fn map<'n>(
        &mut self,
        field: &Field<'n>,
        form: &Form,
    ) -> Vec<(&'n str, usize, &'n str)> {
        if self.is_null(field, form) {
            return Vec::new();
        }
        let entries = match &field.node.value {
            Value::Map(entries) => entries,
            Value::Unreadable => return Vec::new(),
            Value::Scalar { .. } | Value::List(_) => {
                self.add(
                    field.node.line,
                    format!("{} is a map; write {}", field.name, form.example),
                );
                return Vec::new();
            }
        };
        let mut texts = Vec::new();
        for (key, node) in entries {
            match &node.value {
                Value::Unreadable => {}
                _ if node.is_null() => {
                    self.add(
                        key.line,
                        format!("{} has no value; write \"\" for an empty one", excerpt(&key.text)),
                    );
                }
                Value::Scalar { text, .. } => texts.push((&*key.text, node.line, &**text)),
                Value::List(_) | Value::Map(_) => {
                    self.add(
                        key.line,
                        format!(
                            "the value of {} is a text; write it in quotes",
                            excerpt(&key.text)
                        ),
                    );
                }
            }
        }
        texts
    }

    pub(super) fn text<'n>(&mut self, field: &Field<'n>) -> Option<&'n str> {
        let Field { name, key_line, node } = field;
        match &node.value {
            Value::Unreadable => None,
            _ if node.is_null() => {
                self.add(*key_line, format!("{name} has no value; write one"));
                None
            }
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => {
                self.add(node.line, format!("{name} is a text; write {name}: TEXT"));
                None
            }
        }
    }

    pub(super) fn flag(&mut self, field: &Field) -> bool {
        let Field { name, key_line, node } = field;
        match &node.value {
            Value::Scalar { text, is_plain: true }
                if ["true", "True", "TRUE"].contains(&&**text) =>
            {
                return true;
            }
            Value::Scalar { text, is_plain: true }
                if ["false", "False", "FALSE"].contains(&&**text) =>
            {
                return false;
            }
            Value::Unreadable => {}
            _ if node.is_null() => self.add(
                *key_line,
                format!("{name} has no value; write {name}: true or {name}: false"),
            ),
            Value::Scalar { text, .. } => {
                let text = format!(
                    "{name} is true or false, not {}; write {name}: true or {name}: false, without quotes",
                    quoted(text)
                );
                self.add(node.line, text);
            }
            Value::List(_) | Value::Map(_) => {
                self.add(node.line, format!("{name} is true or false; write one of them"));
            }
        }
        false
    }

    /// Whether a field has no value, which would not say whether it means everything or nothing.
    pub(super) fn is_null(&mut self, field: &Field, form: &Form) -> bool {
        let is_null = field.node.is_null();
        if is_null {
            self.add(
                field.key_line,
                format!("{} has no value; write {}, or {}", field.name, form.example, form.without),
            );
        }
        is_null
    }

    pub(super) fn add(&mut self, line: usize, text: impl Into<String>) {
        self.mistakes.push(Mistake { line, text: text.into() });
    }
}

pub(super) fn excerpt(text: &str) -> Excerpt<'_> {
    Excerpt::new(text, 80)
}

pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", excerpt(text))
}
