//! The job file as a tree in which every key and value knows its place.
//!
//! YAML is read into this tree first, so that references can be resolved, overrides applied, and errors of every
//! later check point at a line and a column.

mod overrides;
mod read;
mod references;

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::diagnostics::{Fault, Position};

pub(crate) use self::overrides::apply_override;
pub(crate) use self::read::read;
pub(crate) use self::references::resolve_references;
pub use self::references::{MissingEnv, Surroundings};

/// A value, its place, and how it came to be there.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub position: Position,
    pub value: Value,
    pub origin: Origin,
}

/// How a value came to be in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Written in the file.
    Written,
    /// A reference such as `${env:NAME}`, or an override: its text may stand for any scalar.
    Resolved,
    /// A reference whose variable is missing, where that is only a warning: fits everywhere.
    Missing,
}

#[derive(Clone)]
pub(crate) enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<Entry>),
}

/// A key of a map and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: String,
    pub key_position: Position,
    pub value: Tree,
}

/// Without texts, which may be resolved secrets.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(_) => f.write_str("text"),
            Self::List(items) => items.fmt(f),
            Self::Map(entries) => entries.fmt(f),
        }
    }
}

impl Tree {
    /// Parses YAML.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let position = error.location().map_or(Position::START, |l| Position {
                line: (l.line() as usize).max(1),
                column: (l.column() as usize).max(1),
            });
            let message = error.without_snippet().to_string();
            Fault::new(
                position,
                format!("not valid YAML: {}", first_line(&message)),
            )
        })
    }

    /// The entries of a map; nothing for other values.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Tree> {
        self.entries()
            .iter()
            .find(|e| e.key == key)
            .map(|e| &e.value)
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The place of the value at a path of keys and list positions, or of the last part of it that exists.
    pub fn position_of(&self, path: &[&str]) -> Position {
        let mut at = self;
        for part in path {
            let next = match &at.value {
                Value::List(items) => part.parse::<usize>().ok().and_then(|i| items.get(i)),
                _ => at.get(part),
            };
            match next {
                Some(next) => at = next,
                None => break,
            }
        }
        at.position
    }

    /// The text at a path as messages may show it: not where it came from a reference or an override.
    pub fn shown<'s>(&self, path: &[&str], text: &'s str) -> &'s str {
        let mut at = Some(self);
        for part in path {
            at = at.and_then(|tree| match &tree.value {
                Value::List(items) => part.parse::<usize>().ok().and_then(|i| items.get(i)),
                _ => tree.get(part),
            });
        }
        match at {
            Some(tree) if tree.origin == Origin::Written => text,
            _ => "..",
        }
    }

    /// What kind of value it is, for messages.
    pub fn describe(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Boolean(_) => "a boolean",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            position: place(&spanned),
            value: spanned.value,
            origin: Origin::Written,
        })
    }
}

fn place<T>(spanned: &Spanned<T>) -> Position {
    Position {
        line: (spanned.referenced.line() as usize).max(1),
        column: (spanned.referenced.column() as usize).max(1),
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or_else(|_| Value::Text(value.to_string()), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Tree>()? {
            entries.push(Entry {
                key_position: place(&key),
                key: key.value,
                value,
            });
        }
        Ok(Value::Map(entries))
    }
}
