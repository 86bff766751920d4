//! The form of an operator's state, for people: to say what has changed.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

/// Columns in order, with their types.
pub type Columns = Vec<(String, String)>;

/// What gives an operator's state its meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorForm {
    /// What it does, such as `rolling 7d by ts, ..., per (user_id): count(*)`.
    pub does: String,
    /// The columns of its result.
    pub columns: Columns,
    /// The columns of its inputs.
    pub inputs: Vec<Columns>,
    /// What it holds, in terms of sources; absent where nothing stands between it and a source, and in checkpoints of
    /// releases that did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logic: Option<FormLogic>,
}

/// What an operator holds, in terms of sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormLogic {
    /// The version of the text: other versions say nothing about each other.
    pub version: u32,
    /// Which rows.
    pub rows: String,
    /// A hash of what their columns are.
    pub columns: u64,
}

/// How the logic of an operator differs from what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogicChange {
    /// Not at all, or nobody knows.
    Same,
    /// It holds the same rows with other values.
    Values,
    /// It holds other rows.
    Rows,
}

impl OperatorForm {
    /// Only columns have come or gone.
    #[must_use]
    pub fn is_evolved_by(&self, now: &Self) -> bool {
        let type_of = |name: &String| self.columns.iter().find(|(other, _)| other == name);
        let same = |(name, kind): &(String, String)| {
            type_of(name).is_none_or(|(_, before)| before == kind)
        };
        self.does == now.does && now.columns.iter().all(same)
    }

    /// How its logic differs.
    #[must_use]
    pub fn logic_change(&self, now: &Self) -> LogicChange {
        match (&self.logic, &now.logic) {
            (Some(was), Some(now)) if was.version == now.version => {
                if was.rows != now.rows {
                    LogicChange::Rows
                } else if was.columns != now.columns {
                    LogicChange::Values
                } else {
                    LogicChange::Same
                }
            }
            _ => LogicChange::Same,
        }
    }

    /// What is different now.
    #[must_use]
    pub fn change(&self, now: &Self) -> String {
        let mut changes = Vec::new();
        if self.does != now.does {
            changes.push(format!("it was `{}` and is `{}` now", self.does, now.does));
        }
        changes.extend(column_changes(&self.columns, &now.columns));
        for (before, now) in self.inputs.iter().zip(&now.inputs) {
            for change in column_changes(before, now) {
                let change = format!("of what it reads, {change}");
                if !changes.contains(&change) {
                    changes.push(change);
                }
            }
        }
        match (self.logic_change(now), &self.logic, &now.logic) {
            (LogicChange::Rows, Some(was), Some(now)) => changes.push(format!(
                "its rows were `{}` and are `{}` now",
                was.rows, now.rows
            )),
            (LogicChange::Values, ..) if changes.is_empty() => {
                changes.push("its columns are computed in another way now".to_owned());
            }
            _ => {}
        }
        if changes.is_empty() {
            "the order of its columns was changed".to_owned()
        } else {
            changes.join("; ")
        }
    }
}

/// The schema of columns as a checkpoint names them; all may be null.
///
/// # Errors
/// If a type is not known to this release.
pub fn schema_of(columns: &Columns) -> Result<SchemaRef, String> {
    let field = |(name, kind): &(String, String)| match kind.parse::<DataType>() {
        Ok(kind) => Ok(Field::new(name, kind, true)),
        Err(error) => Err(format!(
            "the type {kind} of column {name} is not known: {error}"
        )),
    };
    let fields: Result<Vec<_>, _> = columns.iter().map(field).collect();
    Ok(Schema::new(fields?).into())
}

fn column_changes(before: &Columns, now: &Columns) -> Vec<String> {
    let types =
        |columns: &Columns| -> BTreeMap<String, String> { columns.iter().cloned().collect() };
    let (before, now) = (types(before), types(now));
    let mut changes = Vec::new();
    for (name, kind) in &before {
        match now.get(name) {
            None => changes.push(format!("column {name} is gone")),
            Some(other) if other != kind => {
                changes.push(format!("column {name} was {kind} and is {other} now"));
            }
            Some(_) => {}
        }
    }
    let new = now.keys().filter(|name| !before.contains_key(*name));
    changes.extend(new.map(|name| format!("column {name} is new")));
    changes
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn every_type_of_a_plan_is_read_as_it_is_written() {
        for kind in [
            DataType::Boolean,
            DataType::Int32,
            DataType::Int64,
            DataType::Float64,
            DataType::Utf8View,
            DataType::Timestamp(TimeUnit::Millisecond, None),
            DataType::Date32,
            DataType::Decimal128(12, 2),
        ] {
            let schema = schema_of(&vec![("c".to_owned(), kind.to_string())]).unwrap();
            assert_eq!(*schema.field(0).data_type(), kind);
        }
        assert!(schema_of(&vec![("c".to_owned(), "Thing".to_owned())]).is_err());
    }

    #[test]
    fn columns_may_come_and_go_but_not_change_their_type() {
        let form = |columns: &[(&str, &str)]| OperatorForm {
            does: "the latest row per (id)".to_owned(),
            columns: columns
                .iter()
                .map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned()))
                .collect(),
            inputs: Vec::new(),
            logic: None,
        };
        let before = form(&[("id", "Utf8View"), ("n", "Int64")]);
        assert!(before.is_evolved_by(&form(&[("m", "Int64"), ("id", "Utf8View")])));
        assert!(!before.is_evolved_by(&form(&[("id", "Utf8View"), ("n", "Float64")])));
        let other = OperatorForm {
            does: "the latest row per (n)".to_owned(),
            ..before.clone()
        };
        assert!(!before.is_evolved_by(&other));
    }
}
