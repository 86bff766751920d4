//! The serde visitors between the parser and the columns.

use std::fmt;

use hashbrown::HashMap;
use serde::de::{
    DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};
use sonic_rs::LazyValue;
use tidewright_checkpoints::small_bytes::equal;

use super::column::{Column, Refused};

/// Fields whose position is remembered; those behind are looked up by name.
const PREDICTED_FIELDS_MAX: usize = 64;

/// Marks the error of a string column that met an object or array.
const NESTED: &str = "invalid type: an object or array";

/// Tells whether an error means that a string column has met an object or array.
pub(super) trait Nested {
    fn is_nested(&self) -> bool;
}

impl Nested for sonic_rs::Error {
    #[cold]
    fn is_nested(&self) -> bool {
        self.to_string().starts_with(NESTED)
    }
}

/// Finds the column of a field.
pub(super) struct Fields {
    by_name: HashMap<Box<str>, usize, foldhash::fast::FixedState>,
    /// The names of the record before, in order.
    predicted: Vec<(String, Option<usize>)>,
}

impl Fields {
    pub(super) fn new(columns: &[Column]) -> Self {
        let by_name = columns
            .iter()
            .enumerate()
            .map(|(index, column)| (column.name.clone(), index))
            .collect();
        Self {
            by_name,
            predicted: Vec::new(),
        }
    }

    #[inline]
    fn find(&mut self, position: usize, name: &str) -> Option<usize> {
        match self.predicted.get(position) {
            Some((predicted, column)) if equal(predicted.as_bytes(), name.as_bytes()) => *column,
            _ => self.look_up(position, name),
        }
    }

    #[cold]
    fn look_up(&mut self, position: usize, name: &str) -> Option<usize> {
        let column = self.by_name.get(name).copied();
        if let Some(entry) = self.predicted.get_mut(position) {
            entry.0.clear();
            entry.0.push_str(name);
            entry.1 = column;
        } else if position == self.predicted.len() && position < PREDICTED_FIELDS_MAX {
            self.predicted.push((name.to_owned(), column));
        }
        column
    }
}

/// Writes an object's fields into columns.
pub(super) struct ObjectVisitor<'d> {
    pub(super) columns: &'d mut [Column],
    pub(super) fields: &'d mut Fields,
    pub(super) seen: &'d mut [u64],
    pub(super) record: u64,
    pub(super) current: &'d mut Option<usize>,
}

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON object")
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut position = 0;
        while let Some(column) = map.next_key_seed(FieldSeed {
            fields: self.fields,
            position,
        })? {
            position += 1;
            match column {
                Some(index) if self.seen[index] != self.record => {
                    *self.current = Some(index);
                    map.next_value_seed(ValueSeed(&mut self.columns[index]))?;
                    self.seen[index] = self.record;
                    *self.current = None;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct FieldSeed<'f> {
    fields: &'f mut Fields,
    position: usize,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = Option<usize>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for FieldSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a field name")
    }

    #[inline]
    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.fields.find(self.position, name))
    }
}

/// Writes a value into its column.
pub(super) struct ValueSeed<'c>(pub(super) &'c mut Column);

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if !self.0.wants_raw() {
            return deserializer.deserialize_any(self);
        }
        let value = <LazyValue<'de> as serde::Deserialize>::deserialize(deserializer)?;
        let json = value.as_raw_str();
        let pushed = self.0.push_raw(json);
        self.check(pushed, Unexpected::Other(json))
    }
}

impl ValueSeed<'_> {
    #[inline]
    fn check<E: serde::de::Error>(
        &self,
        pushed: Result<(), Refused>,
        found: Unexpected<'_>,
    ) -> Result<(), E> {
        match pushed {
            Ok(()) => Ok(()),
            Err(Refused::Type) => Err(E::invalid_type(found, self)),
            Err(Refused::Value) => Err(E::invalid_value(found, self)),
        }
    }

    #[cold]
    fn refuse_nested<E: serde::de::Error>(&self, found: Unexpected<'_>) -> E {
        if self.0.is_text() {
            E::custom(NESTED)
        } else {
            E::invalid_type(found, self)
        }
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0.expected())
    }

    #[inline]
    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        let pushed = self.0.push_str(value);
        self.check(pushed, Unexpected::Str(value))
    }

    #[inline]
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        let pushed = self.0.push_i64(value);
        self.check(pushed, Unexpected::Signed(value))
    }

    #[inline]
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        let pushed = self.0.push_u64(value);
        self.check(pushed, Unexpected::Unsigned(value))
    }

    #[inline]
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        let pushed = self.0.push_f64(value);
        self.check(pushed, Unexpected::Float(value))
    }

    #[inline]
    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        let pushed = self.0.push_bool(value);
        self.check(pushed, Unexpected::Bool(value))
    }

    #[inline]
    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.push_null();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, _map: A) -> Result<(), A::Error> {
        Err(self.refuse_nested(Unexpected::Map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _sequence: A) -> Result<(), A::Error> {
        Err(self.refuse_nested(Unexpected::Seq))
    }
}
