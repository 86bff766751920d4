//! From a collection back to batches of changes, one epoch after the other.

use std::collections::BTreeMap;

use arrow::record_batch::RecordBatch;
use differential_dataflow::VecCollection;
use differential_dataflow::consolidation::consolidate;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use super::failures::Failures;
use crate::operator::OperatorError;
use crate::routed::RoutedBatch;

/// Rows of one batch at most.
const BATCH_ROWS: usize = 8_192;

/// Changes of one epoch, in order: first what is lost, then what is gained, one element per row.
pub(super) struct EpochChanges<D> {
    /// Rows lost, then rows gained.
    pub(super) rows: Vec<D>,
    /// How many of the rows are lost.
    pub(super) losses: usize,
}

/// Holds updates until their epoch is complete, consolidates them, and gives what is left as batches made
/// by `build` from at most 8,192 rows each.
pub(super) fn collect<'scope, D>(
    collection: VecCollection<'scope, u64, D, isize>,
    name: &str,
    failures: Failures,
    build: impl Fn(&[D], usize) -> Result<RecordBatch, OperatorError> + 'static,
) -> StreamVec<'scope, u64, RoutedBatch>
where
    D: Ord + Clone + 'static,
{
    type Builder = CapacityContainerBuilder<Vec<RoutedBatch>>;
    let target = collection.inner.scope().index() as u64;
    collection
        .inner
        .unary_frontier::<Builder, _, _, _>(Pipeline, name, move |_, _| {
            let mut epochs = BTreeMap::<u64, (Capability<u64>, Vec<(D, isize)>)>::new();
            let mut failed = false;
            move |(input, frontier), output| {
                input.for_each(|capability, updates| {
                    for (data, epoch, diff) in updates.drain(..) {
                        let (_, stash) = epochs
                            .entry(epoch)
                            .or_insert_with(|| (capability.delayed(&epoch, 0), Vec::new()));
                        stash.push((data, diff));
                    }
                });
                while let Some(entry) = epochs.first_entry() {
                    // After a failure the stashed capabilities stay, see `Failures`.
                    if failed || frontier.less_equal(entry.key()) {
                        break;
                    }
                    let changes = EpochChanges::consolidated(&mut entry.into_mut().1);
                    match changes.batches(&build) {
                        Ok(batches) => {
                            if let Some((_, (capability, _))) = epochs.pop_first() {
                                let routed =
                                    batches.into_iter().map(|rows| RoutedBatch { target, rows });
                                output.session(&capability).give_iterator(routed);
                            }
                        }
                        Err(error) => {
                            failed = true;
                            failures.report(error);
                        }
                    }
                }
            }
        })
}

impl<D: Ord + Clone> EpochChanges<D> {
    fn consolidated(updates: &mut Vec<(D, isize)>) -> Self {
        consolidate(updates);
        let (lost, gained): (Vec<_>, Vec<_>) = updates.drain(..).partition(|(_, diff)| *diff < 0);
        let losses = lost.iter().map(|(_, diff)| diff.unsigned_abs()).sum();
        let rows = lost.into_iter().chain(gained);
        let repeat = |(row, diff): (D, isize)| std::iter::repeat_n(row, diff.unsigned_abs());
        Self {
            rows: rows.flat_map(repeat).collect(),
            losses,
        }
    }

    fn batches(
        &self,
        build: &impl Fn(&[D], usize) -> Result<RecordBatch, OperatorError>,
    ) -> Result<Vec<RecordBatch>, OperatorError> {
        let starts = (0..self.rows.len()).step_by(BATCH_ROWS);
        let chunks = starts.zip(self.rows.chunks(BATCH_ROWS));
        let losses = |start: usize, rows: usize| self.losses.saturating_sub(start).min(rows);
        chunks
            .map(|(start, rows)| build(rows, losses(start, rows.len())))
            .collect()
    }
}
