//! Differential regions in real dataflows of one and two workers, against recomputation from nothing at
//! every epoch.

mod aggregate;
mod join;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int8Type;
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::{Inspect, Probe};
use timely::dataflow::{InputHandle, ProbeHandle, StreamVec};
use timely::progress::Stamp;

use super::{Failures, gate};
use crate::changes::{change_batch, change_schema};
use crate::operator::OperatorError;
use crate::routed::RoutedBatch;

type Stream<'scope> = StreamVec<'scope, u64, RoutedBatch>;

/// A multiset of rows as text.
type Bag = BTreeMap<String, i64>;

/// What one epoch brings to each input.
type Epoch<const INPUTS: usize> = [Vec<RecordBatch>; INPUTS];

/// How a dataflow is run.
#[derive(Clone, Copy, Debug)]
struct Run {
    workers: usize,
    /// Whether each epoch is finished before the next one begins.
    in_step: bool,
    /// Epochs up to this one are dropped at the end.
    gate_after: u64,
}

fn runs() -> impl Strategy<Value = Run> {
    (1..=2_usize, any::<bool>()).prop_map(|(workers, in_step)| Run {
        workers,
        in_step,
        gate_after: 0,
    })
}

/// What a dataflow said: the changes of each epoch, and its failures.
#[derive(Default, Debug)]
struct Told {
    changes: BTreeMap<u64, Vec<(String, i64)>>,
    failures: Vec<String>,
    /// Whether the last epoch was completed.
    completed: bool,
}

/// Runs a dataflow over epochs 1, 2, .. with the batches of an epoch dealt out to the workers in turn.
fn tell<const INPUTS: usize>(
    run: Run,
    epochs: Vec<Epoch<INPUTS>>,
    build: impl for<'scope> Fn(
        [Stream<'scope>; INPUTS],
        &Failures,
    ) -> Result<Stream<'scope>, OperatorError>
    + Send
    + Sync
    + 'static,
) -> Told {
    let told = Arc::new(Mutex::new(Told {
        completed: true,
        ..Told::default()
    }));
    let all = told.clone();
    let guards = timely::execute(timely::Config::process(run.workers), move |worker| {
        let mut inputs = std::array::from_fn::<_, INPUTS, _>(|_| {
            InputHandle::<u64, CapacityContainerBuilder<Vec<RoutedBatch>>>::new()
        });
        let probe = ProbeHandle::new();
        let (changes, reported) = (all.clone(), all.clone());
        let failures =
            Failures::new(move |error| reported.lock().unwrap().failures.push(error.to_string()));
        worker.dataflow::<u64, _, _>(|scope| {
            let streams = inputs.each_mut().map(|input| input.to_stream(scope));
            let stream = gate(build(streams, &failures).unwrap(), run.gate_after);
            let note = move |message: Result<(&Stamp<u64>, &Vec<RoutedBatch>), &[u64]>| {
                if let Ok((stamp, batches)) = message {
                    let mut told = changes.lock().unwrap();
                    let told = told.changes.entry(*stamp.least().unwrap()).or_default();
                    batches
                        .iter()
                        .for_each(|routed| told.extend(texts(&routed.rows)));
                }
            };
            stream.inspect_core(note).probe_with(&probe);
        });
        for (epoch, batches) in (1..).zip(&epochs) {
            for (input, batches) in inputs.iter_mut().zip(batches) {
                input.advance_to(epoch);
                for batch in batches.iter().skip(worker.index()).step_by(worker.peers()) {
                    input.send(RoutedBatch {
                        target: 0,
                        rows: batch.clone(),
                    });
                }
                input.advance_to(epoch + 1);
            }
            let failed = || !all.lock().unwrap().failures.is_empty();
            while run.in_step && probe.less_than(&(epoch + 1)) && !failed() {
                worker.step();
            }
        }
        inputs.into_iter().for_each(InputHandle::close);
        // A failed epoch never completes, however long one waits.
        let failed = || !all.lock().unwrap().failures.is_empty();
        let (begun, patience) = (Instant::now(), Duration::from_secs(20));
        while !probe.done() && !failed() && begun.elapsed() < patience {
            worker.step();
        }
        if failed() {
            for _ in 0..1_000 {
                worker.step();
            }
        }
        if !probe.done() {
            all.lock().unwrap().completed = false;
            worker.drop_dataflow(0);
        }
    });
    guards
        .unwrap()
        .join()
        .into_iter()
        .for_each(|worker| worker.unwrap());
    Arc::try_unwrap(told).unwrap().into_inner().unwrap()
}

/// The rows of a batch of changes as text, with what they change.
fn texts(rows: &RecordBatch) -> Vec<(String, i64)> {
    let (diffs, visible) = rows.columns().split_last().unwrap();
    let diffs = diffs.as_primitive::<Int8Type>();
    let text = |row| {
        let cells = visible.iter().map(|column| match column.is_null(row) {
            true => "-".to_owned(),
            false => array_value_to_string(column, row).unwrap(),
        });
        cells.collect::<Vec<_>>().join(" ")
    };
    (0..rows.num_rows())
        .map(|row| (text(row), diffs.value(row).into()))
        .collect()
}

/// Checks that each epoch told exactly what changed from one expected content to the next, nothing twice.
fn check(told: &Told, expected: &[Bag]) {
    assert_eq!(told.failures, [""; 0]);
    assert!(told.completed);
    let nothing = Bag::new();
    let mut before = &nothing;
    for (epoch, after) in (1..).zip(expected) {
        let mut changes = told.changes.get(&epoch).cloned().unwrap_or_default();
        changes.sort();
        let mut needed = Vec::new();
        for row in before
            .keys()
            .chain(after.keys().filter(|row| !before.contains_key(*row)))
        {
            let change = after.get(row).unwrap_or(&0) - before.get(row).unwrap_or(&0);
            needed.extend((0..change.abs()).map(|_| (row.clone(), change.signum())));
        }
        needed.sort();
        assert_eq!(changes, needed, "epoch {epoch}");
        before = after;
    }
    assert!(
        told.changes
            .keys()
            .all(|epoch| *epoch <= expected.len() as u64)
    );
}

/// A table by id: per epoch, the rows that are put (or removed) under an id.
type Puts<R> = Vec<Vec<(u8, Option<R>)>>;

fn puts<R: std::fmt::Debug>(
    row: impl Strategy<Value = R>,
    epochs: usize,
) -> impl Strategy<Value = Puts<R>> {
    let put = (0..6_u8, prop::option::weighted(0.7, row));
    prop::collection::vec(prop::collection::vec(put, 0..5), epochs)
}

/// A table's contents after an epoch, and what the epoch changed.
type Step<R> = (BTreeMap<u8, R>, Vec<(u8, R, i8)>);

/// The table's contents after each epoch, and its changes in each.
fn history<R: Clone + PartialEq>(puts: &Puts<R>) -> Vec<Step<R>> {
    let mut table = BTreeMap::<u8, R>::new();
    let epochs = puts.iter().map(|puts| {
        let before = table.clone();
        for (id, row) in puts {
            match row {
                Some(row) => table.insert(*id, row.clone()),
                None => table.remove(id),
            };
        }
        let mut changes = Vec::new();
        for id in 0..6 {
            let (old, new) = (before.get(&id), table.get(&id));
            if old != new {
                changes.extend(new.map(|row| (id, row.clone(), 1)));
                changes.extend(old.map(|row| (id, row.clone(), -1)));
            }
        }
        (table.clone(), changes)
    });
    epochs.collect()
}
