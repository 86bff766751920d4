//! Comparing what the engine wrote with what the batch says, and telling the difference in a few lines.

use std::collections::BTreeMap;

use super::{
    cells::{Cell, Rows},
    declared::{Doubles, Relation, View},
};

/// Differences that are shown.
const SHOWN: usize = 6;
/// Two sums of doubles in different orders may differ by this, relative to the larger one or to 1: terms can cancel.
const ROUNDED: f64 = 1e-9;

/// The state that a changelog ends in: the last row of each key, unless it is a delete. `_deleted` is the last column.
pub fn fold(changelog: Rows, key: &[String]) -> Rows {
    let key = changelog.positions(key);
    let deleted = Cell::Text("true".to_owned());
    let mut state = BTreeMap::new();
    for mut row in changelog.rows {
        let of_row = key_text(&row, &key);
        match row.pop() == Some(deleted.clone()) {
            true => state.remove(&of_row),
            false => state.insert(of_row, row),
        };
    }
    let mut columns = changelog.columns;
    columns.pop();
    Rows {
        columns,
        rows: state.into_values().collect(),
    }
}

/// What is wrong with a view's rows; `None` if nothing is.
pub fn difference(view: &View, expected: &Rows, found: &Rows) -> Option<String> {
    let lines = match &view.result {
        Relation::Table(key) => keyed_difference(&expected.positions(key), expected, found, view),
        Relation::Stream if view.doubles == Doubles::Rounded => {
            keyed_difference(&expected.positions(&view.identity), expected, found, view)
        }
        Relation::Stream => unkeyed_difference(expected, found),
    };
    if lines.is_empty() {
        return None;
    }
    let more = lines.len().saturating_sub(SHOWN);
    let mut text = format!(
        "view {}: {} rows expected, {} found",
        view.name,
        expected.rows.len(),
        found.rows.len()
    );
    for line in lines.iter().take(SHOWN) {
        text.push_str("\n  ");
        text.push_str(line);
    }
    if more > 0 {
        text.push_str(&format!("\n  and {more} more"));
    }
    Some(text)
}

/// The rows of a stream are compared as a bag.
fn unkeyed_difference(expected: &Rows, found: &Rows) -> Vec<String> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for row in &expected.rows {
        *counts.entry(exact_text(row)).or_default() -= 1;
    }
    for row in &found.rows {
        *counts.entry(exact_text(row)).or_default() += 1;
    }
    let different = counts.into_iter().filter(|(_, count)| *count != 0);
    let tell = |(row, count): (String, i64)| match count {
        ..0 => format!("missing {} times: {row}", -count),
        _ => format!("too many by {count}: {row}"),
    };
    different.map(tell).collect()
}

fn keyed_difference(key: &[usize], expected: &Rows, found: &Rows, view: &View) -> Vec<String> {
    let mut lines = Vec::new();
    let expected = by_key(expected, key, "expected", &mut lines);
    let found = by_key(found, key, "found", &mut lines);
    for (key, row) in &expected {
        match found.get(key) {
            None => lines.push(format!("missing: {}", exact_text(row))),
            Some(other) if !equal(row, other, view.doubles) => lines.push(format!(
                "expected {} found {}",
                exact_text(row),
                exact_text(other)
            )),
            Some(_) => {}
        }
    }
    let extra = found.iter().filter(|(key, _)| !expected.contains_key(*key));
    lines.extend(extra.map(|(_, row)| format!("unexpected: {}", exact_text(row))));
    lines
}

fn by_key<'a>(
    rows: &'a Rows,
    key: &[usize],
    side: &str,
    lines: &mut Vec<String>,
) -> BTreeMap<String, &'a Vec<Cell>> {
    let mut map = BTreeMap::new();
    for row in &rows.rows {
        if map.insert(key_text(row, key), row).is_some() {
            lines.push(format!("{side} twice: {}", key_text(row, key)));
        }
    }
    map
}

fn equal(a: &[Cell], b: &[Cell], doubles: Doubles) -> bool {
    let same = |(a, b): (&Cell, &Cell)| match (a, b, doubles) {
        (Cell::Double(a), Cell::Double(b), Doubles::Exact) => a.to_bits() == b.to_bits(),
        (Cell::Double(a), Cell::Double(b), Doubles::Rounded) => {
            (a - b).abs() <= ROUNDED * a.abs().max(b.abs()).max(1.0)
        }
        (a, b, _) => a == b,
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}

fn exact_text(row: &[Cell]) -> String {
    let cells = row.iter().map(Cell::to_string);
    cells.collect::<Vec<_>>().join(" | ")
}

fn key_text(row: &[Cell], key: &[usize]) -> String {
    let cells = key.iter().map(|at| format!("{:?}", row[*at]));
    cells.collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::cells::Column;

    fn rows(rows: &[(&str, f64)]) -> Rows {
        let column = |name: &str, is_double| Column {
            name: name.to_owned(),
            is_double,
        };
        let cells = rows
            .iter()
            .map(|(k, v)| vec![Cell::Text((*k).to_owned()), Cell::Double(*v)]);
        Rows {
            columns: vec![column("k", false), column("v", true)],
            rows: cells.collect(),
        }
    }

    #[test]
    fn every_kind_of_difference_is_told() {
        let table = View::table("t", &["k"], "");
        let stream = View::stream("s", "");
        let expected = rows(&[("a", 0.1), ("b", 0.2)]);
        for found in [
            rows(&[("a", 0.1)]),
            rows(&[("a", 0.1), ("b", 0.2), ("b", 0.2)]),
            rows(&[("a", 0.1), ("b", 0.2), ("c", 0.3)]),
            rows(&[("a", 0.1), ("b", 0.2 + f64::EPSILON)]),
        ] {
            assert!(difference(&table, &expected, &found).is_some(), "{found:?}");
            assert!(
                difference(&stream, &expected, &found).is_some(),
                "{found:?}"
            );
        }
        let turned = rows(&[("b", 0.2), ("a", 0.1)]);
        assert_eq!(difference(&table, &expected, &turned), None);
        assert_eq!(difference(&stream, &expected, &turned), None);
        let rounded = rows(&[("a", 0.1), ("b", 0.2 + f64::EPSILON)]);
        assert_eq!(difference(&table.rounded(), &expected, &rounded), None);
    }
}
