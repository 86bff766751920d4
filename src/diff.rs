//! Comparing what two namespaces of a sink hold, row by row, in memory that does not grow with them.
//!
//! The rows of one side are read in pages and looked up by key on the other; then the other side is read for keys that the
//! first one lacks. What changes meanwhile may be counted as it was before or after.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::sink::SinkError;
use crate::sink::rows::{Row, StoredRows};
use crate::sink::verdict::field;

/// What is compared, and how much is shown.
#[derive(Clone, Debug)]
pub struct DiffOptions {
    /// Fields that may differ. The sinks' own (`_version`, `_as_of`, ...) always may.
    pub ignored: BTreeSet<String>,
    /// Examples of each kind of difference at most.
    pub samples_max: usize,
}

/// What a comparison has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Keys with the same row on both sides.
    pub equal: u64,
    /// Keys with different rows.
    pub different: u64,
    /// Keys that only A has.
    pub only_a: u64,
    /// Keys that only B has.
    pub only_b: u64,
    /// In how many of the different rows each field differs.
    pub fields: BTreeMap<String, u64>,
    /// Examples.
    pub samples: Samples,
}

/// Examples of differences.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Samples {
    /// Rows that differ, with the fields in which they do.
    pub different: Vec<DifferentRow>,
    /// Keys that only A has.
    pub only_a: Vec<String>,
    /// Keys that only B has.
    pub only_b: Vec<String>,
}

/// A key whose rows differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DifferentRow {
    /// The key.
    pub key: String,
    /// The fields that differ, with their values in A and B; null where a side has none.
    pub fields: BTreeMap<String, (Option<String>, Option<String>)>,
}

impl Difference {
    /// Both sides hold the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.different + self.only_a + self.only_b == 0
    }

    fn compare(&mut self, key: String, a: &Row, b: &Row, options: &DiffOptions) {
        let fields = different_fields(a, b, &options.ignored);
        if fields.is_empty() {
            self.equal += 1;
            return;
        }
        self.different += 1;
        for name in fields.keys() {
            *self.fields.entry(name.clone()).or_default() += 1;
        }
        if self.samples.different.len() < options.samples_max {
            self.samples.different.push(DifferentRow { key, fields });
        }
    }
}

/// The fields of two rows that differ.
fn different_fields(
    a: &Row,
    b: &Row,
    ignored: &BTreeSet<String>,
) -> BTreeMap<String, (Option<String>, Option<String>)> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let counts =
        |name: &&String| !field::RESERVED.contains(&name.as_str()) && !ignored.contains(*name);
    names
        .into_iter()
        .filter(counts)
        .filter(|name| a.get(*name) != b.get(*name))
        .map(|name| (name.clone(), (a.get(name).cloned(), b.get(name).cloned())))
        .collect()
}

/// Compares all rows of two sides.
///
/// # Errors
/// If one of them cannot be read.
pub fn compare(
    a: &mut dyn StoredRows,
    b: &mut dyn StoredRows,
    options: &DiffOptions,
) -> Result<Difference, SinkError> {
    let mut difference = Difference::default();
    while let Some(page) = a.page()? {
        let (keys, rows): (Vec<_>, Vec<_>) = page.into_iter().unzip();
        for ((key, row), other) in keys.iter().zip(rows).zip(b.get(&keys)?) {
            match other {
                Some(other) => difference.compare(key.clone(), &row, &other, options),
                None => {
                    difference.only_a += 1;
                    note(&mut difference.samples.only_a, key, options);
                }
            }
        }
    }
    while let Some(page) = b.page()? {
        let keys: Vec<_> = page.into_iter().map(|(key, _)| key).collect();
        for (key, other) in keys.iter().zip(a.get(&keys)?) {
            if other.is_none() {
                difference.only_b += 1;
                note(&mut difference.samples.only_b, key, options);
            }
        }
    }
    Ok(difference)
}

fn note(samples: &mut Vec<String>, key: &str, options: &DiffOptions) {
    if samples.len() < options.samples_max {
        samples.push(key.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows in memory, two to a page.
    struct Memory {
        rows: BTreeMap<String, Row>,
        next: usize,
    }

    fn memory(rows: &[(&str, &[(&str, &str)])]) -> Memory {
        let row = |fields: &[(&str, &str)]| {
            let fields = fields.iter();
            fields
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let rows = rows
            .iter()
            .map(|(key, fields)| ((*key).to_owned(), row(fields)));
        Memory {
            rows: rows.collect(),
            next: 0,
        }
    }

    impl StoredRows for Memory {
        fn page(&mut self) -> Result<Option<Vec<(String, Row)>>, SinkError> {
            let page: Vec<_> = self
                .rows
                .clone()
                .into_iter()
                .skip(self.next)
                .take(2)
                .collect();
            self.next += page.len();
            Ok((!page.is_empty()).then_some(page))
        }

        fn get(&mut self, keys: &[String]) -> Result<Vec<Option<Row>>, SinkError> {
            Ok(keys.iter().map(|key| self.rows.get(key).cloned()).collect())
        }

        fn remove_all(&mut self, _: &dyn Fn() -> Result<(), SinkError>) -> Result<(), SinkError> {
            unreachable!("nothing is removed here")
        }

        fn place(&self) -> &str {
            "memory"
        }
    }

    fn options() -> DiffOptions {
        DiffOptions {
            ignored: BTreeSet::from(["seen".to_owned()]),
            samples_max: 1,
        }
    }

    #[test]
    fn versions_and_ignored_fields_may_differ() {
        let mut a = memory(&[("u1", &[("n", "1"), ("_version", "5"), ("seen", "x")])]);
        let mut b = memory(&[("u1", &[("n", "1"), ("_version", "9"), ("_as_of", "t")])]);
        let difference = compare(&mut a, &mut b, &options()).unwrap();
        assert!(difference.is_empty() && difference.equal == 1);
    }

    #[test]
    fn differences_are_counted_by_kind_and_field_with_examples() {
        let mut a = memory(&[
            ("u1", &[("n", "1"), ("m", "1")]),
            ("u2", &[("n", "1")]),
            ("u3", &[("n", "3")]),
            ("u4", &[("n", "4")]),
            ("u5", &[("n", "5")]),
        ]);
        let mut b = memory(&[
            ("u1", &[("n", "2"), ("m", "1")]),
            ("u2", &[("n", "2"), ("m", "1")]),
            ("u3", &[("n", "3")]),
            ("u6", &[("n", "6")]),
        ]);
        let difference = compare(&mut a, &mut b, &options()).unwrap();
        let counts = (
            difference.equal,
            difference.different,
            difference.only_a,
            difference.only_b,
        );
        assert_eq!(counts, (1, 2, 2, 1));
        let fields = BTreeMap::from([("m".to_owned(), 1), ("n".to_owned(), 2)]);
        assert_eq!(difference.fields, fields);
        let sample = DifferentRow {
            key: "u1".to_owned(),
            fields: [("n".to_owned(), (Some("1".to_owned()), Some("2".to_owned())))].into(),
        };
        assert_eq!(difference.samples.different, [sample]);
        assert_eq!(difference.samples.only_a, ["u4"]);
        assert_eq!(difference.samples.only_b, ["u6"]);
    }
}
