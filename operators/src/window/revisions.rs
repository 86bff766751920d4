//! Windows that accept rows after their end: a table, whose rows are revised.
//!
//! A pane's row is published when the watermark reaches its end, and again in every epoch that brings it more rows. When the
//! watermark reaches its end plus the lateness, the pane's state goes and its row stays. Which panes are published follows
//! from the watermark, so nothing more than the panes is kept: what a row was before is taken from the state before the
//! first new row of an epoch changes it.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::Int8Array;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use tidewright_checkpoints::SubKeyRange;

use super::{ROWS_PER_FIRING, Window};
use crate::batch::DIFF;
use crate::operator::{Fired, OperatorError, Output};
use crate::state::EntryId;

/// What one epoch revises. Empty between epochs.
#[derive(Debug)]
pub(super) struct Revisions {
    /// The result's columns and `_diff`.
    schema: SchemaRef,
    /// Published panes with new rows.
    revised: BTreeSet<EntryId>,
    /// Their rows before.
    losses: Vec<RecordBatch>,
    /// While firing: the panes whose rows are still to be emitted.
    pending: Option<Vec<EntryId>>,
    /// While firing: what is in memory is emitted and let go; the rest is on disk.
    settled: bool,
    /// The end of the panes in memory that have been published.
    published: i64,
}

impl Revisions {
    pub(super) fn of(result: &Schema) -> Self {
        let mut fields: Vec<_> = result.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(DIFF, DataType::Int8, false)));
        Self {
            schema: Arc::new(Schema::new(fields)),
            revised: BTreeSet::new(),
            losses: Vec::new(),
            pending: None,
            settled: false,
            published: i64::MIN,
        }
    }

    /// Whether some entries must stay where they are.
    pub(super) fn holds_entries(&self) -> bool {
        self.pending.is_some() && !self.settled
    }

    /// The end of the panes that have been published.
    pub(super) fn published(&self) -> i64 {
        self.published
    }
}

impl Window {
    /// Keeps the published rows that the rows at hand are about to change.
    pub(super) fn note_losses(&mut self, watermark: i64) -> Result<(), OperatorError> {
        let Some(revisions) = &mut self.revisions else {
            return Ok(());
        };
        let published = self.spec.ended(watermark).end;
        let mut changing = Vec::new();
        for (row, pane) in self.panes.iter().enumerate() {
            if *pane < published
                && let Some(entry) =
                    self.state
                        .find(self.keys.key(row), self.keys.hashes()[row], *pane)
                && revisions.revised.insert(entry)
            {
                changing.push(entry);
            }
        }
        if changing.is_empty() {
            return Ok(());
        }
        let losses = self.changes(&changing, -1)?;
        if let Some(revisions) = &mut self.revisions {
            revisions.losses.push(losses);
        }
        Ok(())
    }

    /// Notes which published panes the rows at hand belong to, new ones included.
    pub(super) fn note_revised(&mut self, watermark: i64) {
        if let Some(revisions) = &mut self.revisions {
            let published = self.spec.ended(watermark).end;
            let rows = self.panes.iter().zip(&self.entries);
            let revised = rows.filter(|(pane, _)| **pane < published);
            revisions.revised.extend(revised.map(|(_, entry)| *entry));
        }
    }

    /// Emits the losses and gains of an epoch, then lets closed panes go.
    pub(super) fn fire_table(
        &mut self,
        watermark_before: i64,
        watermark: i64,
        output: &mut Output,
    ) -> Result<Fired, OperatorError> {
        let Some(revisions) = &mut self.revisions else {
            return Ok(Fired::Done);
        };
        let mut batches = std::mem::take(&mut revisions.losses);
        // The gains of revised rows go with their losses, so that no reader sees a row missing.
        let together = revisions.revised.len().max(ROWS_PER_FIRING);
        let ending = SubKeyRange {
            start: self.spec.ended(watermark_before).end,
            end: self.spec.ended(watermark).end,
        };
        let settled = std::mem::take(&mut revisions.settled);
        let mut pending = match revisions.pending.take() {
            Some(_) if settled => self.load_ending(ending)?,
            Some(pending) => pending,
            None => {
                let mut pending: Vec<_> =
                    std::mem::take(&mut revisions.revised).into_iter().collect();
                self.state.peek_range(ending, usize::MAX, &mut pending);
                pending
            }
        };
        let now: Vec<_> = pending.drain(..pending.len().min(together)).collect();
        if !now.is_empty() {
            batches.push(self.changes(&now, 1)?);
            self.emit(&batches, output)?;
        }
        let settled = pending.is_empty() && {
            let closed = self.spec.closed(watermark);
            self.state.drop_range(closed, ROWS_PER_FIRING) < ROWS_PER_FIRING
        };
        let done = settled && !self.state.is_due(ending.end);
        if let Some(revisions) = &mut self.revisions {
            revisions.pending = (!done).then_some(pending);
            revisions.settled = settled && !done;
            if settled {
                revisions.published = ending.end;
            }
        }
        Ok(if done { Fired::Done } else { Fired::More })
    }

    /// Loads some of the keys on disk whose panes are to be published or to go, and returns the panes to be published.
    fn load_ending(&mut self, ending: SubKeyRange) -> Result<Vec<EntryId>, OperatorError> {
        let loaded = self.state.load_due(ending.end, ROWS_PER_FIRING);
        let loaded = loaded.map_err(|error| self.working(error))?;
        let panes = loaded.iter().flat_map(|slot| self.state.sub_keys(*slot));
        let panes = panes.filter(|(pane, _)| (ending.start..ending.end).contains(pane));
        Ok(panes.map(|(_, entry)| *entry).collect())
    }

    fn emit(&self, batches: &[RecordBatch], output: &mut Output) -> Result<(), OperatorError> {
        if let Some(first) = batches.first() {
            let rows = concat_batches(first.schema_ref(), batches);
            let rows = rows.map_err(|error| self.working(error.into()))?;
            output.rows.push(rows);
        }
        Ok(())
    }

    /// The rows of these panes as losses or gains.
    fn changes(&self, entries: &[EntryId], diff: i8) -> Result<RecordBatch, OperatorError> {
        let rows = self.results(entries)?;
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(Int8Array::from(vec![diff; rows.num_rows()])));
        let schema = match &self.revisions {
            Some(revisions) => Arc::clone(&revisions.schema),
            None => rows.schema(),
        };
        RecordBatch::try_new(schema, columns).map_err(|error| self.working(error.into()))
    }
}
