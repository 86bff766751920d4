//! The one timely wrapper around every stateful [`Operator`].
//!
//! ```text
//!  port 0 ──exchange──┐                      ┌── rows
//!  port 1 ──exchange──┤   rows of an epoch   ├── late rows
//!  ticks  ──pipeline──┘   wait until it is   ├── state sections (at markers)
//!                         complete           └── snapshot, once, for derived regions
//! ```
//! A port whose rows are where they belong already has no exchange.
//!
//! An epoch is worked on when no input can bring more of it: its rows, then its watermark, then its checkpoint. Firing
//! happens in bounded pieces, a piece per activation, under the held capability. So does whatever uses the disk, where
//! state may be larger than memory: after a batch that did, others have their turn.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use tidewright_checkpoints::{OperatorId, ShardDelta};
use tidewright_operators::routed::wire::WireSchema;
use tidewright_operators::routed::{Parcel, Parcels, RoutedBatch};
use tidewright_operators::{Clock, Fired, Operator, OperatorError, Output};
use timely::container::{CapacityContainerBuilder, DrainContainer};
use timely::dataflow::channels::pact::{ExchangeCore, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream, StreamVec};

use super::control::Tick;
use super::failure::fail;
use super::mutant;
use super::pulse;
use super::stats::Counter;

/// What a stateful operator takes in.
pub enum Input<'scope> {
    /// Rows that are where they belong.
    Here(StreamVec<'scope, u64, RoutedBatch>),
    /// Rows that go to the workers that own them, and their visible columns.
    Exchanged(Stream<'scope, u64, Parcels>, WireSchema),
}

/// Hands over what has arrived at a port: epochs and rows.
type Port = Box<dyn FnMut(&mut dyn FnMut(u64, RecordBatch))>;

/// The changes of one operator's state, on their way into a checkpoint.
#[derive(Clone, Debug)]
pub struct Section {
    /// The operator.
    pub operator: OperatorId,
    /// Its changed shards.
    pub deltas: Vec<ShardDelta>,
}

/// What a wrapped operator makes.
pub struct StatefulStreams<'scope> {
    /// Result rows.
    pub rows: StreamVec<'scope, u64, RoutedBatch>,
    /// Rows that came too late.
    pub late: StreamVec<'scope, u64, RoutedBatch>,
    /// State changes at markers.
    pub sections: StreamVec<'scope, u64, Section>,
    /// The whole result as gains, once, at the last epoch before the first new one.
    pub snapshot: StreamVec<'scope, u64, RoutedBatch>,
}

/// How an operator stands in the dataflow.
pub struct Stateful {
    /// Its stable name.
    pub id: OperatorId,
    /// The node whose clock it follows: its (first stream) input.
    pub clock_node: usize,
    /// The epoch before the first new one, at which a snapshot is emitted; `None` if nobody needs it.
    pub snapshot_at: Option<u64>,
    /// Counts late rows.
    pub late: Counter,
}

/// The rows and the tick of an epoch that is not complete yet.
struct Waiting {
    ports: Vec<Vec<RecordBatch>>,
    tick: Option<(Tick, Capabilities)>,
}

/// What is held while an epoch is worked on, one for each output.
struct Capabilities {
    rows: Capability<u64>,
    late: Capability<u64>,
    sections: Capability<u64>,
}

/// An epoch that is being worked on.
struct Active {
    /// Batches that are not applied yet, with their ports.
    batches: VecDeque<(usize, RecordBatch)>,
    tick: Tick,
    clock: Clock,
    capabilities: Capabilities,
}

/// Puts an operator into the dataflow.
pub fn stateful<'scope>(
    scope: Scope<'scope, u64>,
    how: Stateful,
    mut operator: Box<dyn Operator>,
    inputs: Vec<Input<'scope>>,
    ticks: StreamVec<'scope, u64, Tick>,
) -> StatefulStreams<'scope> {
    let mut builder = OperatorBuilder::new(how.id.to_string(), scope);
    let activator = scope.activator_for(builder.operator_info().address);
    let ports = inputs.len();
    let mut inputs: Vec<Port> = inputs
        .into_iter()
        .map(|input| port(&mut builder, &how.id, input))
        .collect();
    let mut ticks = builder.new_input(ticks, Pipeline);
    let (rows, rows_stream) = builder.new_output();
    let (late, late_stream) = builder.new_output();
    let (sections, sections_stream) = builder.new_output();
    // The snapshot depends on no input: only the initial capability allows it.
    let (snapshot, snapshot_stream) = builder.new_output_connection([]);
    let mut rows = OutputBuilder::<_, CapacityContainerBuilder<Vec<RoutedBatch>>>::from(rows);
    let mut late = OutputBuilder::<_, CapacityContainerBuilder<Vec<RoutedBatch>>>::from(late);
    let mut sections = OutputBuilder::<_, CapacityContainerBuilder<Vec<Section>>>::from(sections);
    let mut snapshot =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<RoutedBatch>>>::from(snapshot);

    builder.build(move |mut capabilities| {
        let mut snapshot_capability = capabilities.pop();
        drop(capabilities);
        let mut waiting: BTreeMap<u64, Waiting> = BTreeMap::new();
        let mut active: Option<Active> = None;
        let mut output = Output::default();
        let place: Arc<str> = format!("operator {}", how.id).into();
        move |frontiers| {
            let _inside = pulse::inside(&place);
            if let Some(capability) = snapshot_capability.take()
                && let Some(at) = how.snapshot_at
            {
                let mut whole = Output::default();
                check(&how.id, operator.snapshot(&mut whole));
                let capability = capability.delayed(&at);
                snapshot
                    .activate()
                    .session(&capability)
                    .give_iterator(routed(&mut whole.rows));
            }
            for (port, take) in inputs.iter_mut().enumerate() {
                take(&mut |time, rows| {
                    let waiting = waiting.entry(time).or_insert_with(|| Waiting::new(ports));
                    waiting.ports[port].push(rows);
                });
            }
            ticks.for_each(|capability, data| {
                let Some(&time) = capability.least() else {
                    return;
                };
                let held = (
                    capability.retain_least(0),
                    capability.retain_least(1),
                    capability.retain_least(2),
                );
                if let ((Some(rows), Some(late), Some(sections)), Some(tick)) = (held, data.pop()) {
                    waiting
                        .entry(time)
                        .or_insert_with(|| Waiting::new(ports))
                        .tick = Some((
                        tick,
                        Capabilities {
                            rows,
                            late,
                            sections,
                        },
                    ));
                }
            });
            loop {
                pulse::beat();
                if check(&how.id, operator.trim()) {
                    activator.activate();
                    return;
                }
                if active.is_none() {
                    let Some(entry) = waiting.first_entry() else {
                        return;
                    };
                    if frontiers
                        .iter()
                        .any(|frontier| frontier.less_equal(entry.key()))
                    {
                        return;
                    }
                    let Waiting { ports, tick } = entry.remove();
                    // Every closed epoch has a tick: a completed one without it ended with the dataflow.
                    let Some((tick, capabilities)) = tick else {
                        continue;
                    };
                    let clock = clock_of(&tick, how.clock_node);
                    let ports = ports.into_iter().enumerate();
                    let batches = ports.flat_map(|(port, batches)| {
                        batches.into_iter().map(move |rows| (port, rows))
                    });
                    active = Some(Active {
                        batches: batches.collect(),
                        tick,
                        clock,
                        capabilities,
                    });
                }
                let Some(Active {
                    batches,
                    tick,
                    clock,
                    capabilities,
                }) = &mut active
                else {
                    return;
                };
                if let Some((port, rows)) = batches.pop_front() {
                    check(&how.id, operator.apply(port, rows, clock, &mut output));
                    continue;
                }
                let fired = check(&how.id, operator.fire(clock, &mut output));
                how.late.add(
                    output
                        .late
                        .iter()
                        .map(|batch| batch.num_rows() as u64)
                        .sum(),
                );
                rows.activate()
                    .session(&capabilities.rows)
                    .give_iterator(routed(&mut output.rows));
                late.activate()
                    .session(&capabilities.late)
                    .give_iterator(routed(&mut output.late));
                if fired == Fired::More {
                    activator.activate();
                    return;
                }
                if tick.marker.is_some() {
                    mutant::disturb_if_asked();
                    let mut deltas = operator.checkpoint();
                    mutant::lose_an_entry_if_asked(&mut deltas);
                    if !deltas.is_empty() {
                        let section = Section {
                            operator: how.id.clone(),
                            deltas,
                        };
                        sections
                            .activate()
                            .session(&capabilities.sections)
                            .give(section);
                    }
                }
                active = None;
            }
        }
    });
    StatefulStreams {
        rows: rows_stream,
        late: late_stream,
        sections: sections_stream,
        snapshot: snapshot_stream,
    }
}

/// Gives the operator an input.
fn port<'scope>(
    builder: &mut OperatorBuilder<'scope, u64>,
    id: &OperatorId,
    input: Input<'scope>,
) -> Port {
    match input {
        Input::Here(rows) => {
            let mut input = builder.new_input(rows, Pipeline);
            Box::new(move |take| {
                input.for_each(|capability, batches| {
                    let Some(&time) = capability.least() else {
                        return;
                    };
                    batches.drain(..).for_each(|batch| take(time, batch.rows));
                });
            })
        }
        Input::Exchanged(parcels, mut schema) => {
            let by_target =
                ExchangeCore::<CapacityContainerBuilder<Parcels>, _>::new(Parcel::target);
            let mut input = builder.new_input(parcels, by_target);
            let id = id.clone();
            Box::new(move |take| {
                input.for_each(|capability, parcels| {
                    let Some(&time) = capability.least() else {
                        return;
                    };
                    for parcel in DrainContainer::drain(parcels) {
                        let rows = parcel.open(&mut schema).unwrap_or_else(|error| {
                            fail(&format!(
                                "operator {id} cannot read rows from another process: {error}"
                            ))
                        });
                        take(time, rows);
                    }
                });
            })
        }
    }
}

impl Waiting {
    fn new(ports: usize) -> Self {
        Self {
            ports: (0..ports).map(|_| Vec::new()).collect(),
            tick: None,
        }
    }
}

/// The clock that an operator sees at an epoch.
fn clock_of(tick: &Tick, node: usize) -> Clock {
    let relation = tick.relations[node];
    Clock {
        epoch: tick.epoch,
        watermark_before: relation.watermark_before,
        watermark: relation.watermark,
        end_of_input: relation.end_of_input,
        largest_event_time: relation.largest_event_time,
    }
}

/// Batches that stay on this worker until somebody routes them.
fn routed(batches: &mut Vec<RecordBatch>) -> impl Iterator<Item = RoutedBatch> {
    let full = batches.drain(..).filter(|rows| rows.num_rows() > 0);
    full.map(|rows| RoutedBatch { target: 0, rows })
}

/// Ends the process if the operator cannot go on: half a worker is worse than none.
fn check<T>(id: &OperatorId, result: Result<T, OperatorError>) -> T {
    result.unwrap_or_else(|error| fail(&format!("operator {id} cannot go on: {error}")))
}
