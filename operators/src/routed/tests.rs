use std::sync::{Arc, Mutex};

use arrow::array::{
    ArrayRef, Int8Array, Int64Array, StringViewArray, StringViewBuilder, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatchOptions;
use proptest::prelude::*;
use timely::bytes::arc::BytesMut;
use timely::communication::Config as Communication;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::channels::pact::ExchangeCore;
use timely::dataflow::operators::generic::operator::Operator as _;

use super::*;
use crate::batch::{DIFF, OFFSET, OP, SPLIT, VERSION_TIME, WATERMARK};
use crate::codec::tests::every_type;

fn parcels(batches: impl IntoIterator<Item = RecordBatch>) -> Parcels {
    let mut parcels = Parcels::default();
    for (target, rows) in (3..).zip(batches) {
        parcels.push_into(RoutedBatch { target, rows });
    }
    parcels
}

fn bytes_of(parcels: &Parcels) -> Vec<u8> {
    let mut bytes = Vec::new();
    parcels.into_bytes(&mut bytes);
    assert_eq!(bytes.len(), parcels.length_in_bytes());
    assert!(!bytes.is_empty() && bytes.len().is_multiple_of(8));
    bytes
}

fn received(bytes: Vec<u8>) -> Parcels {
    Parcels::from_bytes(BytesMut::from(bytes).freeze())
}

fn opened(mut parcels: Parcels, visible: &Schema) -> Result<Vec<RecordBatch>, CodecError> {
    let mut schema = WireSchema::new(visible)?;
    let parcels = parcels.drain();
    parcels.map(|parcel| parcel.open(&mut schema)).collect()
}

/// Rows of every type with these hidden columns behind them.
fn with_hidden(values: &[Option<i64>], hidden: &[&str]) -> RecordBatch {
    let batch = every_type(values);
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    let mut columns = batch.columns().to_vec();
    for name in hidden {
        let numbers = values.iter().map(|value| value.unwrap_or(7));
        let column: ArrayRef = match *name {
            OP | DIFF => Arc::new(numbers.map(|number| number as i8).collect::<Int8Array>()),
            SPLIT => Arc::new(numbers.map(|number| number as u32).collect::<UInt32Array>()),
            _ => Arc::new(numbers.collect::<Int64Array>()),
        };
        fields.push(Arc::new(Field::new(
            *name,
            column.data_type().clone(),
            false,
        )));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Every set of hidden columns that occurs.
const HIDDEN: [&[&str]; 6] = [
    &[],
    &[WATERMARK],
    &[WATERMARK, SPLIT, OFFSET],
    &[OP, VERSION_TIME, SPLIT, OFFSET],
    &[DIFF],
    &[OP, VERSION_TIME, WATERMARK, SPLIT, OFFSET, DIFF],
];

proptest! {
    #[test]
    fn batches_arrive_as_they_were_sent(
        batches in prop::collection::vec(
            (prop::collection::vec(prop::option::of(any::<i64>()), 0..40), 0..HIDDEN.len(), any::<[prop::sample::Index; 2]>()),
            0..4,
        ),
    ) {
        let sent: Vec<_> = batches.iter().map(|(values, hidden, cut)| {
            let whole = with_hidden(values, HIDDEN[*hidden]);
            let start = cut[0].index(values.len() + 1);
            whole.slice(start, cut[1].index(values.len() + 1 - start))
        }).collect();
        let visible = every_type(&[]).schema();
        let arrived = received(bytes_of(&parcels(sent.clone())));
        prop_assert_eq!(arrived.record_count(), sent.len() as i64);
        // Whoever passes them on sends the same bytes.
        prop_assert_eq!(bytes_of(&arrived), bytes_of(&parcels(sent.clone())));
        let mut passed_on = arrived.clone();
        let targets: Vec<_> = passed_on.drain().map(|parcel| parcel.target()).collect();
        prop_assert_eq!(targets, (3..).take(sent.len()).collect::<Vec<u64>>());
        for (sent, arrived) in sent.iter().zip(opened(arrived, &visible).unwrap()) {
            prop_assert_eq!(sent.columns(), arrived.columns());
            prop_assert_eq!(sent.num_rows(), arrived.num_rows());
            for (sent, arrived) in sent.schema().fields().iter().zip(arrived.schema().fields()) {
                prop_assert_eq!(sent.name(), arrived.name());
            }
        }
    }

    #[test]
    fn texts_of_any_length_arrive(
        texts in prop::collection::vec(prop::option::of("\\PC{0,20}|x{250,260}"), 0..30),
        huge in any::<bool>(),
    ) {
        let mut builder = StringViewBuilder::new();
        for text in &texts {
            builder.append_option(text.as_deref());
        }
        if huge {
            builder.append_value("ü".repeat(40_000));
        }
        let rows = RecordBatch::try_from_iter([("text", Arc::new(builder.finish()) as ArrayRef)]).unwrap();
        let arrived = opened(received(bytes_of(&parcels([rows.clone()]))), &rows.schema()).unwrap();
        prop_assert_eq!(rows.columns(), arrived[0].columns());
    }

    #[test]
    fn a_changed_bit_is_noticed(
        values in prop::collection::vec(prop::option::of(any::<i64>()), 0..20),
        place in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let mut bytes = bytes_of(&parcels([with_hidden(&values, HIDDEN[2])]));
        let place = place.index(bytes.len());
        bytes[place] ^= 1u8 << bit;
        let arrived = received(bytes);
        prop_assert_eq!(arrived.record_count(), 1);
        let error = opened(arrived, &every_type(&[]).schema()).unwrap_err();
        prop_assert!(error.to_string().contains("checksum"), "{}", error);
    }

    /// The checksum keeps damage away from what lies behind it; that must stand on its own all the same.
    #[test]
    fn bytes_that_nobody_sent_are_an_error_and_never_a_panic(
        values in prop::collection::vec(prop::option::of(any::<i64>()), 0..20),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = bytes_of(&parcels([with_hidden(&values, HIDDEN[4])]));
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(bytes.len() - cut.index(bytes.len() / 4));
        let checksum = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        // Any result will do; some changes only change a value.
        let _ = opened(received(bytes), &every_type(&[]).schema());
    }

    #[test]
    fn arbitrary_bytes_are_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(opened(received(bytes.clone()), &every_type(&[]).schema()).is_err());
        let _ = WireSchema::new(&every_type(&[]).schema()).unwrap().decode(&bytes);
    }
}

#[test]
fn a_batch_without_columns_keeps_its_row_count() {
    let options = RecordBatchOptions::new().with_row_count(Some(7));
    let rows =
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    let arrived = opened(received(bytes_of(&parcels([rows]))), &Schema::empty()).unwrap();
    assert_eq!(arrived[0].num_rows(), 7);
}

#[test]
fn an_empty_container_has_bytes() {
    assert_eq!(received(bytes_of(&Parcels::default())).record_count(), 0);
}

#[test]
fn a_slice_does_not_carry_the_batch_it_was_cut_from() {
    let names = (0..10_000).map(|n| Some(format!("a name longer than twelve bytes {n}")));
    let names: ArrayRef = Arc::new(StringViewArray::from_iter(names));
    let batch = RecordBatch::try_from_iter([("name", names)]).unwrap();
    assert!(bytes_of(&parcels([batch.slice(5_000, 2)])).len() < 200);
}

#[test]
fn a_container_that_is_used_again_sends_what_it_holds_now() {
    let mut container = parcels([every_type(&[Some(1)])]);
    let first = bytes_of(&container);
    container.push_into(RoutedBatch {
        target: 4,
        rows: every_type(&[Some(2)]),
    });
    assert_eq!(received(bytes_of(&container)).record_count(), 2);
    assert_eq!(container.drain().count(), 2);
    container.push_into(RoutedBatch {
        target: 3,
        rows: every_type(&[Some(1)]),
    });
    assert_eq!(bytes_of(&container), first);
    let mut other = Parcels::default();
    other.ensure_capacity(&mut Some(container));
    assert_eq!(other.record_count(), 0);
    assert_eq!(bytes_of(&other), bytes_of(&Parcels::default()));
}

#[test]
fn a_batch_of_other_columns_than_agreed_is_refused() {
    let bytes = bytes_of(&parcels([every_type(&[Some(1)])]));
    let visible = every_type(&[]).schema();
    for columns in [vec![0, 1], vec![1, 0, 2, 3, 4, 5, 6, 7]] {
        let other = visible.project(&columns).unwrap();
        let error = opened(received(bytes.clone()), &other).unwrap_err();
        assert!(error.to_string().contains("agreed at planning"), "{error}");
    }
}

#[test]
fn a_type_without_a_form_is_refused_before_anything_is_sent() {
    let schema = Schema::new(vec![Field::new("c", DataType::Utf8, true)]);
    assert!(matches!(
        WireSchema::new(&schema),
        Err(CodecError::Type(DataType::Utf8))
    ));
    let column: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["a"]));
    let batch = RecordBatch::try_from_iter([("c", column)]).unwrap();
    let visible = Schema::new(vec![Field::new("c", DataType::Utf8View, true)]);
    assert!(opened(received(bytes_of(&parcels([batch]))), &visible).is_err());
}

/// Timely's own threads, joined by the channels that processes have: everything between them is bytes.
#[test]
fn batches_cross_workers_as_bytes_and_reach_their_target() {
    const WORKERS: usize = 3;
    const BATCHES: i64 = 500;
    let received = Arc::new(Mutex::new(Vec::new()));
    let all = received.clone();
    let config = timely::Config {
        communication: Communication::ProcessBinary(WORKERS),
        worker: Default::default(),
    };
    let guards = timely::execute(config, move |worker| {
        let (here, all) = (worker.index(), all.clone());
        let mut input = InputHandle::<u64, CapacityContainerBuilder<Parcels>>::new();
        worker.dataflow::<u64, _, _>(|scope| {
            let stream = input.to_stream(scope);
            let by_target =
                ExchangeCore::<CapacityContainerBuilder<Parcels>, _>::new(Parcel::target);
            stream.sink(by_target, "Receive", move |(input, _)| {
                let mut schema = WireSchema::new(&every_type(&[]).schema()).unwrap();
                input.for_each(|_, parcels| {
                    for parcel in DrainContainer::drain(parcels) {
                        let target = parcel.target() as usize;
                        assert_eq!(target % WORKERS, here);
                        let rows = parcel.open(&mut schema).unwrap();
                        all.lock().unwrap().push((target, rows));
                    }
                });
            });
        });
        for number in (0..BATCHES).filter(|number| *number as usize % WORKERS == here) {
            input.send(RoutedBatch {
                target: (number * number) as u64,
                rows: every_type(&[Some(number), None, Some(-number)]),
            });
            if number % 7 == 0 {
                input.advance_to(number as u64 + 1);
                worker.step();
            }
        }
    });
    guards
        .unwrap()
        .join()
        .into_iter()
        .for_each(|worker| worker.unwrap());
    let mut received = received.lock().unwrap();
    received.sort_by_key(|(target, _)| *target);
    let expected = (0..BATCHES).map(|number| {
        let rows = every_type(&[Some(number), None, Some(-number)]);
        ((number * number) as usize, rows)
    });
    assert_eq!(received.len(), BATCHES as usize);
    for ((target, rows), (expected_target, expected)) in received.iter().zip(expected) {
        assert_eq!(
            (*target, rows.columns()),
            (expected_target, expected.columns())
        );
    }
}
