//! A runtime in miniature.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use tidewright_checkpoints::{Epoch, Shard, ShardDelta};

use super::{Cut, EpochRows, KEY, Row, batch, schema};
use crate::operator::{Clock, Fired, Operator, Output};
use crate::route::Router;
use crate::state::StateMemory;

/// What one epoch gave, over all workers.
#[derive(Debug, Default)]
pub(crate) struct Emitted {
    pub(crate) rows: Vec<RecordBatch>,
    pub(crate) late: Vec<RecordBatch>,
    /// What all workers' snapshots hold after the epoch, if they were restarted there.
    pub(crate) snapshot: Option<Vec<RecordBatch>>,
}

/// Where rows go, and the state that is made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placement {
    /// To the owner of their key.
    ByKey,
    /// Nowhere: they stay with the worker that reads their split.
    BySplit,
}

impl Placement {
    fn parts(self, rows: &[Row], workers: usize) -> Vec<(usize, RecordBatch)> {
        if self == Self::ByKey {
            let mut router = Router::new(&schema(), &[KEY], workers).unwrap();
            return router.route(batch(rows)).unwrap();
        }
        let of_worker = |worker: usize| {
            let rows = rows
                .iter()
                .filter(|row| row.split as usize % workers == worker);
            (worker, batch(&rows.cloned().collect::<Vec<_>>()))
        };
        let parts = (0..workers).map(of_worker);
        parts.filter(|(_, part)| part.num_rows() > 0).collect()
    }

    fn owner(self, shard: Shard, workers: usize) -> usize {
        match self {
            Self::ByKey => shard.owner(workers),
            Self::BySplit => usize::from(shard.0) % workers,
        }
    }
}

/// A limit so small that every key goes to disk as soon as it may.
pub(crate) fn no_memory() -> Arc<StateMemory> {
    let directory = std::env::temp_dir().join("tidewright-tests");
    Arc::new(StateMemory::new(0, 1, &directory))
}

/// Makes an operator, on request with [`no_memory`].
pub(crate) fn limited<O: Operator>(make: fn() -> O, limited: bool) -> impl Fn() -> O {
    move || {
        let mut operator = make();
        if limited {
            operator.spill_to(&no_memory()).unwrap();
        }
        operator
    }
}

/// Trims until nothing more goes to disk.
pub(crate) fn trim(operator: &mut impl Operator) {
    while operator.trim().unwrap() {}
}

/// Drives operators as the runtime does: rows go to the owner of their key; at a checkpoint the deltas of all workers are
/// kept; at a restart they make up another number of workers.
pub(crate) fn drive<O: Operator>(
    make: impl Fn() -> O,
    epochs: &[EpochRows],
    largest_event_time: i64,
) -> Vec<Emitted> {
    drive_placed(make, epochs, largest_event_time, Placement::ByKey)
}

/// The same for operators whose rows stay where they are read.
pub(crate) fn drive_partition_local<O: Operator>(
    make: impl Fn() -> O,
    epochs: &[EpochRows],
    largest_event_time: i64,
) -> Vec<Emitted> {
    drive_placed(make, epochs, largest_event_time, Placement::BySplit)
}

fn drive_placed<O: Operator>(
    make: impl Fn() -> O,
    epochs: &[EpochRows],
    largest_event_time: i64,
    placement: Placement,
) -> Vec<Emitted> {
    let mut log: Vec<ShardDelta> = vec![];
    let mut workers = vec![make()];
    let mut before = i64::MIN;
    let mut emitted = vec![];
    for (number, epoch) in epochs.iter().enumerate() {
        let end_of_input = number + 1 == epochs.len();
        let clock = Clock {
            epoch: Epoch(number as u64),
            watermark_before: before,
            watermark: if end_of_input {
                i64::MAX
            } else {
                epoch.watermark
            },
            end_of_input,
            largest_event_time,
        };
        before = clock.watermark;
        let mut output = Output::default();
        for rows in &epoch.batches {
            for (worker, part) in placement.parts(rows, workers.len()) {
                workers[worker].apply(0, part, &clock, &mut output).unwrap();
                trim(&mut workers[worker]);
            }
        }
        for worker in &mut workers {
            while worker.fire(&clock, &mut output).unwrap() == Fired::More {
                trim(worker);
            }
            trim(worker);
        }
        if matches!(epoch.end, Cut::Checkpoint | Cut::Restart(_)) {
            log.extend(workers.iter_mut().flat_map(Operator::checkpoint));
            workers.iter_mut().for_each(trim);
        }
        let mut snapshot = None;
        if let Cut::Restart(count) = epoch.end {
            workers = restore(&make, &log, count, placement);
            let mut output = Output::default();
            workers
                .iter()
                .for_each(|worker| worker.snapshot(&mut output).unwrap());
            snapshot = Some(output.rows);
        }
        emitted.push(Emitted {
            rows: output.rows,
            late: output.late,
            snapshot,
        });
    }
    emitted
}

fn restore<O: Operator>(
    make: &impl Fn() -> O,
    log: &[ShardDelta],
    count: usize,
    placement: Placement,
) -> Vec<O> {
    let workers = (0..count).map(|worker| {
        let mut operator = make();
        for delta in log
            .iter()
            .filter(|delta| placement.owner(delta.shard, count) == worker)
        {
            operator.restore(delta.clone()).unwrap();
            trim(&mut operator);
        }
        operator.restored().unwrap();
        trim(&mut operator);
        operator
    });
    workers.collect()
}
