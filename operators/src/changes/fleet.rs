//! Operators under test: several workers, checkpoints, restarts.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int8Type;
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use tidewright_checkpoints::{Epoch, ShardDelta};

use crate::operator::{Clock, Fired, Operator, Output};
use crate::route::Router;
use crate::source_model::{no_memory, trim};
use crate::state::StateMemory;

/// One operator on several workers, with the log of its checkpoints.
pub(crate) struct Fleet<O> {
    make: fn() -> O,
    keys: Vec<Vec<usize>>,
    workers: Vec<O>,
    log: Vec<ShardDelta>,
    epoch: u64,
    /// The limit of all operators' state; `None`: there is none.
    pub(crate) memory: Option<Arc<StateMemory>>,
}

impl<O: Operator> Fleet<O> {
    /// An operator whose input ports are routed by these key columns.
    pub(crate) fn new(make: fn() -> O, keys: Vec<Vec<usize>>) -> Self {
        Self {
            make,
            keys,
            workers: vec![make()],
            log: Vec::new(),
            epoch: 0,
            memory: None,
        }
    }

    /// On request, every key goes to disk as soon as it may.
    pub(crate) fn limited(mut self, limited: bool) -> Self {
        self.memory = limited.then(no_memory);
        self.workers = vec![self.made()];
        self
    }

    fn made(&self) -> O {
        let mut operator = (self.make)();
        if let Some(memory) = &self.memory {
            operator.spill_to(memory).unwrap();
        }
        operator
    }

    /// Runs one epoch: per port, batches in order.
    pub(crate) fn epoch(&mut self, ports: &[Vec<RecordBatch>]) -> Vec<RecordBatch> {
        self.epoch += 1;
        let clock = Clock {
            epoch: Epoch(self.epoch),
            watermark_before: 0,
            watermark: 0,
            end_of_input: false,
            largest_event_time: i64::MIN,
        };
        let mut output = Output::default();
        for (port, batches) in ports.iter().enumerate() {
            for batch in batches {
                let (schema, workers) = (batch.schema(), self.workers.len());
                let mut router = Router::new(&schema, &self.keys[port], workers).unwrap();
                for (worker, rows) in router.route(batch.clone()).unwrap() {
                    self.workers[worker]
                        .apply(port, rows, &clock, &mut output)
                        .unwrap();
                    trim(&mut self.workers[worker]);
                }
            }
        }
        for worker in &mut self.workers {
            while worker.fire(&clock, &mut output).unwrap() == Fired::More {
                trim(worker);
            }
            trim(worker);
        }
        output.rows
    }

    /// Takes a checkpoint.
    pub(crate) fn checkpoint(&mut self) {
        self.log
            .extend(self.workers.iter_mut().flat_map(Operator::checkpoint));
        self.workers.iter_mut().for_each(trim);
    }

    /// Starts again from the checkpoints, with this many workers.
    pub(crate) fn restart(&mut self, workers: usize) {
        self.workers = (0..workers).map(|_| self.made()).collect();
        for delta in &self.log {
            let owner = &mut self.workers[delta.shard.owner(workers)];
            owner.restore(delta.clone()).unwrap();
            trim(owner);
        }
        for worker in &mut self.workers {
            worker.restored().unwrap();
            trim(worker);
        }
    }

    /// All rows of the operator's table, as sorted text.
    pub(crate) fn snapshot(&self) -> Vec<String> {
        let mut output = Output::default();
        self.workers
            .iter()
            .for_each(|worker| worker.snapshot(&mut output).unwrap());
        let changes = output.rows.iter().flat_map(change_texts);
        let mut rows: Vec<_> = changes
            .map(|(row, diff)| {
                assert_eq!(diff, 1);
                row
            })
            .collect();
        rows.sort();
        rows
    }

    pub(crate) fn state_entries(&self) -> usize {
        self.workers.iter().map(Operator::state_entries).sum()
    }
}

/// The rows of a batch as text.
pub(crate) fn texts(rows: &RecordBatch) -> Vec<String> {
    let text = |row| {
        let cells = rows
            .columns()
            .iter()
            .map(|column| match column.is_null(row) {
                true => "-".to_owned(),
                false => array_value_to_string(column, row).unwrap(),
            });
        cells.collect::<Vec<_>>().join(" ")
    };
    (0..rows.num_rows()).map(text).collect()
}

/// The rows of a batch of changes as text, with what they change.
pub(crate) fn change_texts(rows: &RecordBatch) -> Vec<(String, i64)> {
    let visible: Vec<_> = (0..rows.num_columns() - 1).collect();
    let diffs = rows.column(visible.len()).as_primitive::<Int8Type>();
    let texts = texts(&rows.project(&visible).unwrap());
    texts
        .into_iter()
        .zip(diffs.values().iter().map(|&diff| diff.into()))
        .collect()
}

/// What has to be told when the rows by key change: a loss and a gain per changed key, sorted.
pub(crate) fn needed_changes<K: Ord>(
    before: &std::collections::BTreeMap<K, String>,
    after: &std::collections::BTreeMap<K, String>,
) -> Vec<(String, i64)> {
    let lost = before
        .iter()
        .filter(|(key, row)| after.get(key) != Some(row));
    let gained = after
        .iter()
        .filter(|(key, row)| before.get(key) != Some(row));
    let lost = lost.map(|(_, row)| (row.clone(), -1));
    let mut changes: Vec<_> = lost
        .chain(gained.map(|(_, row)| (row.clone(), 1)))
        .collect();
    changes.sort();
    changes
}

/// The changes that batches tell, sorted.
pub(crate) fn told_changes(batches: &[RecordBatch]) -> Vec<(String, i64)> {
    let mut changes: Vec<_> = batches.iter().flat_map(change_texts).collect();
    changes.sort();
    changes
}
