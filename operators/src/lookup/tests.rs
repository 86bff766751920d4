use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Field};
use proptest::prelude::*;

use super::*;
use crate::batch::WATERMARK;
use crate::changes::fleet::{Fleet, texts};
use crate::changes::{change_batch, change_schema};

fn table() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("segment", DataType::Utf8View, false),
    ]))
}

fn stream() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("event", DataType::Int64, false),
        Field::new("user", DataType::Int64, true),
    ]))
}

fn lookup(kind: JoinKind) -> Lookup {
    let (input, table) = (stream(), table());
    let right = table
        .fields()
        .iter()
        .map(|f| Arc::new(f.as_ref().clone().with_nullable(true)));
    let fields = input.fields().iter().cloned().chain(right);
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let (input_key, table_key) = (vec![1], vec![0]);
    let name = "enriched".to_owned();
    Lookup::new(LookupSpec {
        name,
        input,
        input_key,
        table,
        table_key,
        kind,
        schema,
    })
    .unwrap()
}

fn inner() -> Lookup {
    lookup(JoinKind::Inner)
}

fn left() -> Lookup {
    lookup(JoinKind::Left)
}

fn change(id: Option<i64>, segment: u8, diff: i8) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![id])),
        Arc::new(StringViewArray::from(vec![format!("s{segment}")])),
    ];
    let losses = usize::from(diff < 0);
    change_batch(&change_schema(&table()), columns, losses, 1 - losses).unwrap()
}

/// Events of these users, numbered, with a hidden watermark.
fn events(users: &[Option<i64>]) -> RecordBatch {
    let numbers: Int64Array = (0..users.len() as i64).collect();
    let users: Int64Array = users.iter().copied().collect();
    let watermarks: Int64Array = (0..numbers.len() as i64)
        .map(|number| number * 10)
        .collect();
    let mut fields: Vec<_> = stream().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(WATERMARK, DataType::Int64, false)));
    let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(users), Arc::new(watermarks)];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Changes of an epoch: an id (null keys never match), its new segment, whether the loss comes last.
type Puts = Vec<(Option<i64>, Option<u8>, bool)>;

fn apply(segments: &mut BTreeMap<Option<i64>, u8>, puts: &Puts) -> Vec<RecordBatch> {
    let last: BTreeMap<_, _> = puts
        .iter()
        .map(|(id, new, late)| (*id, (*new, *late)))
        .collect();
    let mut batches = Vec::new();
    for (id, (new, loss_last)) in last {
        let old = match new {
            Some(segment) => segments.insert(id, segment),
            None => segments.remove(&id),
        };
        let loss = old.map(|segment| change(id, segment, -1));
        let gain = new.map(|segment| change(id, segment, 1));
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

fn naive(
    segments: &BTreeMap<Option<i64>, u8>,
    users: &[Option<i64>],
    kind: JoinKind,
) -> Vec<String> {
    let text = |user: Option<i64>| user.map_or("-".to_owned(), |user| user.to_string());
    let row = |(number, user): (usize, &Option<i64>)| {
        let found = user.and_then(|_| segments.get(user));
        let right = match (found, kind) {
            (Some(segment), _) => format!("{} s{segment}", text(*user)),
            (None, JoinKind::Left) => "- -".to_owned(),
            (None, JoinKind::Inner) => return None,
        };
        Some(format!("{number} {} {right} {}", text(*user), number * 10))
    };
    let mut rows: Vec<_> = users.iter().enumerate().filter_map(row).collect();
    rows.sort();
    rows
}

proptest! {
    #[test]
    fn rows_see_the_table_as_it_is_at_the_end_of_their_epoch(
        epochs in prop::collection::vec((
            prop::collection::vec((prop::option::weighted(0.9, 0..4_i64), prop::option::of(0..3_u8), any::<bool>()), 0..4),
            prop::collection::vec(prop::option::weighted(0.9, 0..4_i64), 0..6),
            prop::option::of(1..4_usize),
        ), 1..10),
        kind in prop_oneof![Just(JoinKind::Inner), Just(JoinKind::Left)],
        limit in any::<bool>(),
    ) {
        let make = if kind == JoinKind::Inner { inner } else { left };
        let mut fleet = Fleet::new(make, vec![vec![0], vec![1]]).limited(limit);
        let mut segments = BTreeMap::new();
        for (puts, users, restart) in epochs {
            let changes = apply(&mut segments, &puts);
            let rows = fleet.epoch(&[changes, vec![events(&users)]]);
            let mut enriched: Vec<_> = rows.iter().flat_map(texts).collect();
            enriched.sort();
            prop_assert_eq!(enriched, naive(&segments, &users, kind));
            if let Some(workers) = restart {
                fleet.checkpoint();
                fleet.restart(workers);
            }
            prop_assert_eq!(fleet.state_entries(), segments.keys().flatten().count());
        }
    }
}

#[test]
fn the_streams_hidden_columns_come_last() {
    let mut fleet = Fleet::new(left, vec![vec![0], vec![1]]);
    let rows = fleet.epoch(&[vec![change(Some(1), 5, 1)], vec![events(&[Some(1)])]]);
    let names: Vec<_> = rows[0]
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    assert_eq!(names, ["event", "user", "id", "segment", WATERMARK]);
}
