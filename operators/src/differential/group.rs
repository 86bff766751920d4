//! Results of changed groups, read from their arrangement.

use std::hash::{Hash, Hasher};
use std::rc::Rc;

use differential_dataflow::difference::{Monoid, Semigroup};
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::cursor::{CursorList, cursor_list};
use differential_dataflow::trace::implementations::ValSpine;
use differential_dataflow::trace::{BatchCursor, Cursor, TraceReader};
use differential_dataflow::{AsCollection, VecCollection};
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::Operator;
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;

use super::layout::{Cell, Column};
use super::row::EncodedRow;
use super::tally::Tally;

/// The section of a group's tally.
pub(super) const TALLY: u16 = 0;

/// A group and a section of it. Hashed by the group alone, so that all of a group is on one worker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct GroupKey {
    pub(super) group: EncodedRow,
    pub(super) section: u16,
}

impl Hash for GroupKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.group.hash(state);
    }
}

/// Tallies and section values by group, see [`layout`](super::layout).
pub(super) type Groups = TraceAgent<ValSpine<GroupKey, EncodedRow, u64, Tally>>;

/// A group and its results.
pub(super) type GroupRow = (EncodedRow, Vec<Cell>);

type Batch = <Groups as TraceReader>::Batch;

/// Changes of the groups' results: per group and epoch a loss and a gain, nothing where the results are
/// equal.
///
/// A total order of epochs makes this a look at each changed group just before and at each epoch that
/// changed it, as in differential's own `count_total`. Without grouping columns (`global`) the one group
/// stays when its last row goes.
#[expect(clippy::expect_used, reason = "a trace can always be read whole")]
pub(super) fn group_results<'scope>(
    groups: Arranged<'scope, Groups>,
    columns: Rc<[Column]>,
    global: bool,
    name: &str,
) -> VecCollection<'scope, u64, GroupRow, isize> {
    type Builder = CapacityContainerBuilder<Vec<(GroupRow, u64, isize)>>;
    let mut trace = groups.trace;
    let mut results = Results {
        columns,
        global,
        seen: false,
    };
    let stream = groups
        .stream
        .unary_frontier::<Builder, _, _, _>(Pipeline, name, move |_, _| {
            // This operator never cuts the trace, so its batches may merge as they like.
            trace.set_physical_compaction(Antichain::new().borrow());
            move |(input, frontier), output| {
                let mut capabilities = CapabilitySet::new();
                let mut batches = Vec::new();
                input.for_each(|capability, spans| {
                    for capability in capability.retain_stamp(0).iter() {
                        capabilities.insert(capability.clone());
                    }
                    batches.extend(spans.drain(..).filter_map(|span| span.inner));
                });
                if !batches.is_empty() {
                    let all = trace
                        .batches_through(Antichain::new().borrow())
                        .expect("a trace can be read whole: there is no cut to be found");
                    let mut session = output.session(&capabilities);
                    results.changes(batches, all, |update| session.give(update));
                }
                trace.set_logical_compaction(just_before(frontier.frontier()).borrow());
            }
        });
    stream.as_collection()
}

/// The last complete epoch: the state there is what the next changes are compared with.
fn just_before(frontier: AntichainRef<'_, u64>) -> Antichain<u64> {
    frontier
        .iter()
        .map(|epoch| epoch.saturating_sub(1))
        .collect()
}

/// How changed groups are read.
struct Results {
    columns: Rc<[Column]>,
    global: bool,
    /// Whether the global group, if it is on this worker, has ever had a row.
    seen: bool,
}

impl Results {
    fn changes(
        &mut self,
        changed: Vec<Batch>,
        all: Vec<Batch>,
        mut give: impl FnMut((GroupRow, u64, isize)),
    ) {
        let (mut changed, storage) = cursor_list(changed);
        let mut arrangement = Arrangement::new(all);
        while let Some(group) = changed.get_key(&storage).map(|key| key.group.clone()) {
            let epochs = epochs_of_group(&mut changed, &storage, &group);
            let before = epochs.first().and_then(|epoch| epoch.checked_sub(1));
            let looks: Vec<_> = before.into_iter().chain(epochs.iter().copied()).collect();
            let first_change = usize::from(before.is_some());
            let rows = self.rows(&mut arrangement, &group, &looks, first_change);
            let mut rows = rows.into_iter();
            let mut old = before.and_then(|_| rows.next().flatten());
            self.seen = true;
            for (epoch, new) in epochs.into_iter().zip(rows) {
                if old != new {
                    for (row, diff) in [(old, -1), (new.clone(), 1)] {
                        let row = row.into_iter();
                        row.for_each(|row| give(((group.clone(), row), epoch, diff)));
                    }
                }
                old = new;
            }
        }
    }

    /// The group's result as of each of these ascending epochs, if the group exists then. From
    /// `first_change` on, the epochs are those that change the group.
    fn rows(
        &self,
        arrangement: &mut Arrangement,
        group: &EncodedRow,
        epochs: &[u64],
        first_change: usize,
    ) -> Vec<Option<Vec<Cell>>> {
        // Keys are sought in ascending order: the tally, then the sections.
        let tallies = arrangement.tallies(group, epochs);
        let firsts = self.columns.iter().map(|column| match column.section() {
            Some(section) => arrangement.firsts(group, section, epochs),
            None => Vec::new(),
        });
        let firsts: Vec<_> = firsts.collect();
        let rows = tallies.iter().enumerate().map(|(look, tally)| {
            let remains = self.global && (self.seen || look >= first_change);
            if tally.rows() <= 0 && !remains {
                return None;
            }
            let first = |of: usize| firsts[of].get(look).cloned().flatten();
            let columns = self.columns.iter().enumerate();
            Some(
                columns
                    .map(|(of, column)| column.cell(tally, first(of)))
                    .collect(),
            )
        });
        rows.collect()
    }
}

type GroupCursor = CursorList<BatchCursor<Groups>>;

/// All epochs at which the group that the cursor stands on changes; the cursor moves behind the group.
fn epochs_of_group(cursor: &mut GroupCursor, storage: &Vec<Batch>, group: &EncodedRow) -> Vec<u64> {
    let mut epochs = Vec::new();
    while cursor
        .get_key(storage)
        .is_some_and(|key| key.group == *group)
    {
        while cursor.val_valid(storage) {
            cursor.map_times(storage, |epoch, _| epochs.push(*epoch));
            cursor.step_val(storage);
        }
        cursor.step_key(storage);
    }
    epochs.sort_unstable();
    epochs.dedup();
    epochs
}

/// The whole arrangement; keys are asked for in ascending order.
struct Arrangement {
    cursor: GroupCursor,
    storage: Vec<Batch>,
}

impl Arrangement {
    fn new(batches: Vec<Batch>) -> Self {
        let (cursor, storage) = cursor_list(batches);
        Self { cursor, storage }
    }

    fn seek(&mut self, group: &EncodedRow, section: u16) -> bool {
        let key = GroupKey {
            group: group.clone(),
            section,
        };
        self.cursor.seek_key(&self.storage, &key);
        self.cursor.get_key(&self.storage) == Some(&key)
    }

    /// The group's tally as of each epoch.
    fn tallies(&mut self, group: &EncodedRow, epochs: &[u64]) -> Vec<Tally> {
        if !self.seek(group, TALLY) {
            return vec![Tally::zero(); epochs.len()];
        }
        epochs.iter().map(|&epoch| self.current(epoch)).collect()
    }

    /// The first value of a section that has rows, as of each epoch.
    fn firsts(
        &mut self,
        group: &EncodedRow,
        section: u16,
        epochs: &[u64],
    ) -> Vec<Option<EncodedRow>> {
        if !self.seek(group, section) {
            return Vec::new();
        }
        epochs.iter().map(|&epoch| self.first(epoch)).collect()
    }

    /// The first value of the cursor's key that has rows as of an epoch.
    fn first(&mut self, epoch: u64) -> Option<EncodedRow> {
        self.cursor.rewind_vals(&self.storage);
        while self.cursor.val_valid(&self.storage) {
            if self.current(epoch).rows() > 0 {
                return self.cursor.get_val(&self.storage).cloned();
            }
            self.cursor.step_val(&self.storage);
        }
        None
    }

    /// What the cursor's value adds up to as of an epoch.
    fn current(&mut self, epoch: u64) -> Tally {
        let mut total = Tally::zero();
        self.cursor.map_times(&self.storage, |at, tally| {
            if *at <= epoch {
                total.plus_equals(tally);
            }
        });
        total
    }
}
