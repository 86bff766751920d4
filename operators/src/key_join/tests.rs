use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringViewArray};
use arrow::datatypes::Field;
use proptest::prelude::*;

use super::*;
use crate::changes::fleet::{Fleet, needed_changes, told_changes};

/// A key of two columns, of which the second may be null.
type Key = (i64, Option<i64>);
type Table = BTreeMap<Key, u8>;

/// (k2, value, k1): the key's columns are neither first nor in order.
fn side(value: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k2", DataType::Int64, true),
        Field::new(value, DataType::Utf8View, false),
        Field::new("k1", DataType::Int64, false),
    ]))
}

fn spec(kind: JoinKind) -> KeyJoinSpec {
    let (left, right) = (side("l"), side("r"));
    let fields = left.fields().iter().chain(right.fields().iter());
    let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
    KeyJoinSpec {
        name: "customer".to_owned(),
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        left,
        left_key: vec![2, 0],
        right,
        right_key: vec![2, 0],
        kind,
    }
}

fn inner() -> KeyJoin {
    KeyJoin::new(&spec(JoinKind::Inner)).unwrap()
}

fn left() -> KeyJoin {
    KeyJoin::new(&spec(JoinKind::Left)).unwrap()
}

fn batch(schema: &SchemaRef, (key, value): (Key, u8), diff: i8) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![key.1])),
        Arc::new(StringViewArray::from(vec![format!("v{value}")])),
        Arc::new(Int64Array::from(vec![key.0])),
    ];
    let losses = usize::from(diff < 0);
    change_batch(&change_schema(schema), columns, losses, 1 - losses).unwrap()
}

/// Puts and removals of one side; a flag lets the loss of a changed row come behind its gain, and a put of
/// an equal row is told as a loss and a gain as well: projections make such changes.
type Puts = Vec<(Key, Option<u8>, bool)>;

fn apply(table: &mut Table, puts: &Puts, schema: &SchemaRef) -> Vec<RecordBatch> {
    let last: BTreeMap<Key, (Option<u8>, bool)> = puts
        .iter()
        .map(|(key, value, late)| (*key, (*value, *late)))
        .collect();
    let mut batches = Vec::new();
    for (key, (new, loss_last)) in last {
        let old = match new {
            Some(value) => table.insert(key, value),
            None => table.remove(&key),
        };
        let loss = old.map(|value| batch(schema, (key, value), -1));
        let gain = new.map(|value| batch(schema, (key, value), 1));
        batches.extend(
            if loss_last {
                [gain, loss]
            } else {
                [loss, gain]
            }
            .into_iter()
            .flatten(),
        );
    }
    batches
}

fn naive(left: &Table, right: &Table, kind: JoinKind) -> BTreeMap<Key, String> {
    let text = |(key, value): (&Key, &u8)| {
        format!(
            "{} v{value} {}",
            key.1.map_or("-".to_owned(), |k| k.to_string()),
            key.0
        )
    };
    let row = |row: (&Key, &u8)| {
        let found = row.0.1.and_then(|_| right.get_key_value(row.0));
        match (found, kind) {
            (Some(found), _) => Some((*row.0, format!("{} {}", text(row), text(found)))),
            (None, JoinKind::Left) => Some((*row.0, format!("{} - - -", text(row)))),
            (None, JoinKind::Inner) => None,
        }
    };
    left.iter().filter_map(row).collect()
}

fn puts() -> impl Strategy<Value = Puts> {
    let key = (0..2_i64, prop::option::weighted(0.8, 0..2_i64));
    prop::collection::vec(
        (key, prop::option::weighted(0.7, 0..3_u8), any::<bool>()),
        0..5,
    )
}

proptest! {
    #[test]
    fn every_epoch_tells_what_changed_in_the_join(
        epochs in prop::collection::vec((puts(), puts(), prop::option::of(1..4_usize)), 1..10),
        kind in prop_oneof![Just(JoinKind::Inner), Just(JoinKind::Left)],
        limit in any::<bool>(),
    ) {
        let make = if kind == JoinKind::Inner { inner } else { left };
        let mut fleet = Fleet::new(make, vec![vec![2, 0], vec![2, 0]]).limited(limit);
        let (mut left, mut right) = (Table::new(), Table::new());
        for (left_puts, right_puts, restart) in epochs {
            let before = naive(&left, &right, kind);
            let ports = [
                apply(&mut left, &left_puts, &side("l")),
                apply(&mut right, &right_puts, &side("r")),
            ];
            let told = fleet.epoch(&ports);
            let after = naive(&left, &right, kind);
            prop_assert_eq!(told_changes(&told), needed_changes(&before, &after));
            if let Some(workers) = restart {
                fleet.checkpoint();
                fleet.restart(workers);
            }
            let mut rows: Vec<_> = after.into_values().collect();
            rows.sort();
            prop_assert_eq!(fleet.snapshot(), rows);
        }
    }
}

#[test]
fn a_row_gone_on_both_sides_leaves_no_state() {
    let mut fleet = Fleet::new(left, vec![vec![2, 0], vec![2, 0]]);
    let row = ((1, Some(1)), 0);
    for diff in [1, -1] {
        fleet.epoch(&[
            vec![batch(&side("l"), row, diff)],
            vec![batch(&side("r"), row, diff)],
        ]);
        assert_eq!(fleet.state_entries(), if diff > 0 { 2 } else { 0 });
    }
}

#[test]
fn keys_of_different_types_are_not_joined() {
    let spec = KeyJoinSpec {
        right_key: vec![2, 1],
        ..spec(JoinKind::Inner)
    };
    assert!(matches!(
        KeyJoin::new(&spec),
        Err(CodecError::Batch { column: 1, .. })
    ));
    let spec = KeyJoinSpec {
        right_key: vec![2],
        ..spec
    };
    assert!(KeyJoin::new(&spec).is_err());
}
