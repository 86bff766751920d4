//! Reads typed settings from a tree: a serde deserializer whose errors know their place.
//!
//! Messages name kinds of values, never the values: they may be resolved secrets.

use std::fmt;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer,
    MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor, value::StrDeserializer,
};

use super::{Entry, Origin, Tree, Value};
use crate::diagnostics::{Fault, Position, did_you_mean};

/// Reads a value of a settings type.
pub(crate) fn read<T: DeserializeOwned>(tree: &Tree) -> Result<T, Fault> {
    T::deserialize(tree).map_err(|error| Fault {
        position: error.position.unwrap_or(tree.position),
        message: error.message,
        help: error.help,
    })
}

#[derive(Debug)]
pub(crate) struct ReadError {
    position: Option<Position>,
    message: String,
    help: Option<String>,
}

impl ReadError {
    /// The innermost place wins.
    fn at(mut self, position: Position) -> Self {
        self.position.get_or_insert(position);
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            position: None,
            message: message.to_string(),
            help: None,
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        let expected = if expected.starts_with("struct ") {
            "a map of settings"
        } else {
            &expected
        };
        let quotes = match found {
            _ if expected != "a string" => None,
            Unexpected::Bool(_) => Some(
                "YAML reads a bare y, n, yes, no, on or off as true or false; in quotes it is text",
            ),
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => {
                Some("in quotes it is text")
            }
            _ => None,
        };
        Self {
            help: quotes.map(str::to_owned),
            ..Self::custom(format!("expected {expected}, found {}", kind_of(&found)))
        }
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format!(
            "expected {expected}, found another {}",
            kind_of(&found)
        ))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        unknown("key", field, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        unknown("name", variant, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format!("the key `{field}` is missing here"))
    }
}

fn unknown(what: &str, written: &str, expected: &[&str]) -> ReadError {
    let names = match expected {
        [] => "there are none here".to_owned(),
        _ => format!("known: {}", expected.join(", ")),
    };
    ReadError {
        position: None,
        message: format!("unknown {what} `{written}`"),
        help: did_you_mean(written, expected.iter().copied()).or(Some(names)),
    }
}

fn kind_of(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "number",
        Unexpected::Str(_) | Unexpected::Char(_) => "text",
        Unexpected::Seq => "list",
        Unexpected::Map => "map",
        Unexpected::Unit | Unexpected::Option => "empty value",
        _ => "kind of value",
    }
}

/// Text that came from a reference or an override stands for a number or a boolean where one is wanted.
fn scalar_of(tree: &Tree) -> Option<Value> {
    let text = match (&tree.origin, &tree.value) {
        (Origin::Missing, _) => "1",
        (Origin::Resolved, Value::Text(text)) => text,
        _ => return None,
    };
    None.or_else(|| text.parse().ok().map(Value::Boolean))
        .or_else(|| text.parse().ok().map(Value::Integer))
        .or_else(|| text.parse().ok().map(Value::Float))
}

fn visit_value<'de, V: Visitor<'de>>(value: &Value, visitor: V) -> Result<V::Value, ReadError> {
    match value {
        Value::Null => visitor.visit_unit(),
        Value::Boolean(value) => visitor.visit_bool(*value),
        Value::Integer(value) => visitor.visit_i64(*value),
        Value::Float(value) => visitor.visit_f64(*value),
        Value::Text(text) => visitor.visit_str(text),
        Value::List(items) => visitor.visit_seq(Items(items.iter())),
        Value::Map(entries) => visitor.visit_map(Entries {
            rest: entries.iter(),
            current: None,
        }),
    }
}

macro_rules! scalars {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            match scalar_of(self) {
                Some(value) => visit_value(&value, visitor),
                None => visit_value(&self.value, visitor),
            }
            .map_err(|error| error.at(self.position))
        }
    )*};
}

impl<'de> Deserializer<'de> for &Tree {
    type Error = ReadError;

    scalars! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visit_value(&self.value, visitor).map_err(|error| error.at(self.position))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let placeholder = match (&self.origin, name) {
            (Origin::Missing, "DurationMs") => Some("1s"),
            (Origin::Missing, "ByteSize") => Some("64MiB"),
            _ => None,
        };
        match placeholder {
            Some(text) => visitor.visit_newtype_struct(text.into_deserializer()),
            None => visitor.visit_newtype_struct(self),
        }
        .map_err(|error| error.at(self.position))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let result = match &self.value {
            _ if self.origin == Origin::Missing => {
                visitor.visit_enum(variants[0].into_deserializer())
            }
            Value::Text(name) => {
                let name: StrDeserializer<'_, ReadError> = name.as_str().into_deserializer();
                visitor.visit_enum(name)
            }
            Value::Map(entries) if entries.len() == 1 => visitor.visit_enum(Tagged(&entries[0])),
            _ => Err(de::Error::custom(format!(
                "expected one of {}, found {}",
                variants.join(", "),
                self.describe()
            ))),
        };
        result.map_err(|mut error| {
            if self.origin == Origin::Resolved && error.position.is_none() {
                error.message = "the value that stands here is not a known name".to_owned();
            }
            error.at(self.position)
        })
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

impl<'de> IntoDeserializer<'de, ReadError> for &Tree {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

struct Items<'t>(std::slice::Iter<'t, Tree>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = ReadError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ReadError> {
        self.0.next().map(|item| seed.deserialize(item)).transpose()
    }
}

struct Entries<'t> {
    rest: std::slice::Iter<'t, Entry>,
    current: Option<&'t Entry>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ReadError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ReadError> {
        self.current = self.rest.next();
        self.current
            .map(|entry| seed.deserialize(Key(entry)))
            .transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        match self.current {
            Some(entry) => seed.deserialize(&entry.value),
            None => Err(de::Error::custom("a value without a key")),
        }
    }
}

/// A key: text, or a number where one is wanted (Kafka partitions).
struct Key<'t>(&'t Entry);

impl<'de> Deserializer<'de> for Key<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor
            .visit_str(&self.0.key)
            .map_err(|error: ReadError| error.at(self.0.key_position))
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0.key.parse() {
            Ok(number) => visitor.visit_i32(number),
            Err(_) => visitor.visit_str(&self.0.key),
        }
        .map_err(|error: ReadError| error.at(self.0.key_position))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// `name: content`, for enums.
struct Tagged<'t>(&'t Entry);

impl<'de, 't> EnumAccess<'de> for Tagged<'t> {
    type Error = ReadError;
    type Variant = &'t Tree;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, &'t Tree), ReadError> {
        Ok((seed.deserialize(Key(self.0))?, &self.0.value))
    }
}

impl<'de> VariantAccess<'de> for &Tree {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        match self.value {
            Value::Null => Ok(()),
            _ => Err(ReadError::at(
                de::Error::custom("this name takes no settings"),
                self.position,
            )),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, ReadError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }
}
