//! The clock operator: one per worker, turns the broadcast control records of a completed epoch into a tick.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc::Sender},
};

use tidewright_checkpoints::Epoch;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::vec::Broadcast;

use super::clock::{JobClock, NO_WATERMARK};
use super::context::Place;
use super::control::{Control, MarkerKind, Tick};
use super::local::Local;
use super::replay::Hold;
use super::stats::Stats;
use crate::source::ReaderRequest;

/// Readers are told of their source's watermark when it has moved by this much event time, in milliseconds.
const ALIGNMENT_STEP_MS: i64 = 10_000;

/// A source whose readers on this worker want to know its watermark.
pub struct AlignedSource {
    /// The source's node.
    pub node: usize,
    /// Its reader on this worker.
    pub reader: Sender<ReaderRequest>,
}

/// A replay: deliveries are held until it has reached the positions that were delivered before.
pub struct Replay {
    /// Released then.
    pub hold: Arc<Hold>,
    /// The positions, by source and split.
    pub positions: Vec<(usize, u32, i64)>,
}

/// What the clock of a worker has to do with.
pub struct ClockSettings {
    /// Follows splits and watermarks.
    pub clock: JobClock,
    /// The sources with readers here.
    pub sources: Vec<AlignedSource>,
    /// What deliveries wait for.
    pub replay: Option<Replay>,
    /// Positions at which the input is taken to end, by source and split.
    pub ending: Option<Vec<(usize, u32, i64)>>,
    /// Where this process stands.
    pub place: Place,
    /// Is told of all splits and watermarks.
    pub known: Option<Arc<Stats>>,
}

/// Makes the ticks of this worker.
pub fn clock<'scope>(
    controls: StreamVec<'scope, u64, Control>,
    local: Local,
    settings: ClockSettings,
) -> StreamVec<'scope, u64, Tick> {
    let ClockSettings {
        mut clock,
        sources,
        mut replay,
        ending,
        place,
        known,
    } = settings;
    let mut told = vec![NO_WATERMARK; sources.len()];
    let mut full = vec![false; place.workers()];
    let mut settled = vec![false; place.workers()];
    controls
        .broadcast()
        .unary_frontier::<CapacityContainerBuilder<Vec<Tick>>, _, _, _>(
            Pipeline,
            "Clock",
            |_, _| {
                let mut waiting = BTreeMap::new();
                move |(input, frontier), output| {
                    input.for_each(|capability, controls| {
                        let Some(&time) = capability.least() else {
                            return;
                        };
                        let opened = controls.iter().map(|control| control.opens);
                        let greatest = opened.fold(local.greatest_opened.get(), u64::max);
                        local.greatest_opened.set(greatest);
                        if controls.iter().any(|control| control.records > 0) {
                            local.changed.set(true);
                        }
                        for control in controls.iter() {
                            // This process sees its own outboxes as they are.
                            full[control.worker] =
                                control.outbox_full && !place.is_here(control.worker);
                            settled[control.worker] = control.settled;
                        }
                        local.all_settled.set(!settled.contains(&false));
                        local.outbox_full_elsewhere.set(full.contains(&true));
                        if controls.iter().any(|control| control.drain) {
                            local.draining.set(true);
                        }
                        let (_, waiting) = waiting
                            .entry(time)
                            .or_insert_with(|| (capability.retain_least(0), Vec::new()));
                        waiting.append(controls);
                    });
                    let mut advanced = None;
                    while let Some(entry) = waiting.first_entry() {
                        if frontier.less_equal(entry.key()) {
                            break;
                        }
                        let (time, (capability, controls)) = entry.remove_entry();
                        let tick = clock.advance(Epoch(time), &controls);
                        if let Some(known) = &known {
                            let splits = controls.iter().flat_map(|control| &control.splits);
                            known.splits.note(splits);
                        }
                        // Time alone can close windows, when a split turns idle: that wants a checkpoint too.
                        if tick.moves_time() {
                            local.changed.set(true);
                        }
                        if matches!(&tick.marker, Some(marker) if marker.kind == MarkerKind::Final)
                        {
                            local.final_epoch.set(Some(time));
                        }
                        if let Some(capability) = capability {
                            output.session(&capability).give(tick);
                        }
                        advanced = Some(Epoch(time));
                    }
                    if let Some(epoch) = advanced {
                        local.ready.set(clock.is_ready());
                        local.tables_caught_up.set(clock.tables_caught_up());
                        if let Some(known) = &known {
                            known
                                .splits
                                .note_watermarks(clock.watermarks(), clock.is_ready());
                        }
                        let halted = ending.as_ref().is_some_and(|end| clock.has_reached(end));
                        if (halted || clock.finished()) && local.finished_at.get().is_none() {
                            local.finished_at.set(Some(epoch.0));
                        }
                        if let Some(waiting) = &replay
                            && clock.has_reached(&waiting.positions)
                        {
                            waiting.hold.release(epoch);
                            replay = None;
                        }
                        for (source, told) in sources.iter().zip(&mut told) {
                            let watermark = match &ending {
                                None => clock.watermark(source.node),
                                Some(ending) => clock.slowest(source.node, ending),
                            };
                            if watermark.saturating_sub(*told) >= ALIGNMENT_STEP_MS
                                && watermark != i64::MAX
                            {
                                *told = watermark;
                                // A reader that is gone has ended its source; nobody waits for it.
                                let _ = source.reader.send(ReaderRequest::Watermark(watermark));
                            }
                        }
                    }
                    // The source may have to close an epoch behind a peer's, or to end.
                    local.wake_source();
                }
            },
        )
}
