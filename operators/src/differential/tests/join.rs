use arrow::array::{ArrayRef, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::*;
use crate::differential::{TableJoinSpec, table_join};
use crate::key_join::JoinKind;

/// A join column that may be null, and a value. Ids are not in the rows, so equal rows occur: the inputs
/// are bags.
type Row = (Option<i64>, u8);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Utf8View, false),
    ]))
}

fn batches(changes: &[(u8, Row, i8)]) -> Vec<RecordBatch> {
    let batch = |(_, (key, value), diff): &(u8, Row, i8)| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![*key])),
            Arc::new(StringViewArray::from(vec![format!("v{value}")])),
        ];
        let losses = usize::from(*diff < 0);
        change_batch(&change_schema(&schema()), columns, losses, 1 - losses).unwrap()
    };
    changes.iter().map(batch).collect()
}

fn spec(kind: JoinKind, on: &[usize]) -> TableJoinSpec {
    let sides = [schema(), schema()];
    let fields = sides.iter().flat_map(|side| side.fields().iter());
    let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
    TableJoinSpec {
        name: "joined".to_owned(),
        left: schema(),
        left_on: on.to_vec(),
        right: schema(),
        right_on: on.to_vec(),
        kind,
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
    }
}

fn naive(left: &BTreeMap<u8, Row>, right: &BTreeMap<u8, Row>, kind: JoinKind, cross: bool) -> Bag {
    let text =
        |(key, value): &Row| format!("{} v{value}", key.map_or("-".to_owned(), |k| k.to_string()));
    let mut bag = Bag::new();
    for l in left.values() {
        let matches: Vec<_> = right
            .values()
            .filter(|r| cross || (l.0.is_some() && l.0 == r.0))
            .collect();
        for r in &matches {
            *bag.entry(format!("{} {}", text(l), text(r))).or_default() += 1;
        }
        if matches.is_empty() && kind == JoinKind::Left {
            *bag.entry(format!("{} - -", text(l))).or_default() += 1;
        }
    }
    bag
}

fn check_join(run: Run, left: &Puts<Row>, right: &Puts<Row>, kind: JoinKind, cross: bool) {
    let (left, right) = (history(left), history(right));
    let epochs = left
        .iter()
        .zip(&right)
        .map(|(l, r)| [batches(&l.1), batches(&r.1)]);
    let spec = spec(kind, if cross { &[] } else { &[0] });
    let told = tell(run, epochs.collect(), move |[left, right], failures| {
        table_join(left, right, &spec, failures)
    });
    let expected = left
        .iter()
        .zip(&right)
        .map(|(l, r)| naive(&l.0, &r.0, kind, cross));
    check(&told, &expected.collect::<Vec<_>>());
}

fn rows() -> impl Strategy<Value = Row> {
    (prop::option::weighted(0.8, 0..3_i64), 0..3_u8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_join_follows_both_sides_epoch_by_epoch(
        run in runs(),
        left in puts(rows(), 6),
        right in puts(rows(), 6),
        kind in prop_oneof![Just(JoinKind::Inner), Just(JoinKind::Left)],
        cross in prop::bool::weighted(0.2),
    ) {
        check_join(run, &left, &right, kind, cross);
    }
}

#[test]
fn a_left_row_flips_as_its_match_comes_and_goes() {
    let run = Run {
        workers: 1,
        in_step: true,
        gate_after: 0,
    };
    let left = vec![vec![(0, Some((Some(1), 0)))], vec![], vec![], vec![]];
    let right = vec![
        vec![],
        vec![(0, Some((Some(1), 7)))],
        vec![(0, Some((Some(1), 8)))],
        vec![(0, None)],
    ];
    let (l, r) = (history(&left), history(&right));
    let epochs = l
        .iter()
        .zip(&r)
        .map(|(l, r)| [batches(&l.1), batches(&r.1)])
        .collect();
    let spec = spec(JoinKind::Left, &[0]);
    let told = tell(run, epochs, move |[l, r], failures| {
        table_join(l, r, &spec, failures)
    });
    let row = |text: &str, diff| (text.to_owned(), diff);
    let expected = BTreeMap::from([
        (1, vec![row("1 v0 - -", 1)]),
        (2, vec![row("1 v0 - -", -1), row("1 v0 1 v7", 1)]),
        (3, vec![row("1 v0 1 v7", -1), row("1 v0 1 v8", 1)]),
        (4, vec![row("1 v0 1 v8", -1), row("1 v0 - -", 1)]),
    ]);
    assert_eq!(told.changes, expected);
}

#[test]
fn the_gate_drops_what_the_restored_epoch_has_told() {
    let run = Run {
        workers: 1,
        in_step: true,
        gate_after: 2,
    };
    let put = |value| vec![(0, Some((Some(1), value)))];
    let (l, r) = (
        history(&vec![put(0), put(1), put(2)]),
        history(&vec![put(0), put(0), put(0)]),
    );
    let epochs = l
        .iter()
        .zip(&r)
        .map(|(l, r)| [batches(&l.1), batches(&r.1)])
        .collect();
    let spec = spec(JoinKind::Inner, &[0]);
    let told = tell(run, epochs, move |[l, r], failures| {
        table_join(l, r, &spec, failures)
    });
    let changes = vec![("1 v1 1 v0".to_owned(), -1), ("1 v2 1 v0".to_owned(), 1)];
    assert_eq!(told.changes, BTreeMap::from([(3, changes)]));
}

#[test]
fn columns_of_different_types_are_not_joined() {
    let spec = TableJoinSpec {
        right_on: vec![1],
        ..spec(JoinKind::Inner, &[0])
    };
    timely::execute_directly(move |worker| {
        worker.dataflow::<u64, _, _>(|scope| {
            let mut inputs = [InputHandle::new(), InputHandle::new()];
            let [left, right] = inputs.each_mut().map(|input| {
                let input: &mut InputHandle<u64, CapacityContainerBuilder<Vec<RoutedBatch>>> =
                    input;
                input.to_stream(scope)
            });
            assert!(table_join(left, right, &spec, &Failures::new(|_| ())).is_err());
        });
    });
}

#[test]
fn a_batch_that_is_none_of_changes_is_reported_and_its_epoch_stays_open() {
    let run = Run {
        workers: 1,
        in_step: true,
        gate_after: 0,
    };
    let rows = batches(&[(0, (Some(1), 0), 1)])
        .remove(0)
        .project(&[0, 1])
        .unwrap();
    let spec = spec(JoinKind::Inner, &[0]);
    let told = tell(run, vec![[vec![rows], vec![]]], move |[l, r], failures| {
        table_join(l, r, &spec, failures)
    });
    assert_eq!(told.failures.len(), 1);
    assert!(told.failures[0].contains("_diff"), "{}", told.failures[0]);
    assert!(!told.completed);
}
