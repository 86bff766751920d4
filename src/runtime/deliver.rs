//! The delivery operators: they watch the durable frontier and hand what it frees to the sinks' threads.
//!
//! Their output carries no rows; its frontier is the sink's *delivered* frontier.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use arrow::array::BooleanArray;
use tidewright_checkpoints::{Epoch, Generation};
use tidewright_operators::codec::RowCodec;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use timely::progress::frontier::MutableAntichain;

use super::append_outbox::AppendOutbox;
use super::control::Control;
use super::crash::crash_point;
use super::earlier::Earlier;
use super::failure::{fail, fenced};
use super::local::Local;
use super::outbox::KeyedOutbox;
use super::replay::Hold;
use super::stats::Counter;
use super::tolerance::Judge;
use crate::dead_letter::DeadLetter;
use crate::sink::driver::{Delivery, DeliveryEvent, Driver, Work};
use crate::sink::{AppendBatch, KeyedBatch, SinkError, Version};

/// Rows in one write to a keyed store.
const CHUNK_ROWS_MAX: usize = 4096;
/// Bytes in one append, about.
const APPEND_BYTES_MAX: usize = 8 << 20;
/// Rows that an append sink is handed in one batch of columns.
const BATCH_ROWS_MAX: usize = 4096;

/// What becomes durable is announced by the frontier of a stream without records.
pub type Durable<'scope> = StreamVec<'scope, u64, Control>;

/// An outbox on its way out: one for each sink and worker.
pub enum Outgoing {
    /// Rows by key.
    Keyed(Rc<RefCell<KeyedOutbox>>),
    /// A log, on worker 0.
    Append(Rc<RefCell<AppendOutbox>>),
    /// Another worker has it.
    Elsewhere,
}

/// One sink's delivery on this worker.
pub struct Deliver {
    /// The sink's name in the job file.
    pub sink: String,
    /// What is sent.
    pub outgoing: Outgoing,
    /// Who sends it; `None` for [`Outgoing::Elsewhere`].
    pub driver: Option<Driver>,
    /// The form of the encoded rows.
    pub rows: RowCodec,
    /// Goes into every version.
    pub generation: Generation,
    /// The first epoch that is not durable at the start.
    pub start: u64,
    /// Until it lets go, nothing is sent to keyed stores: a replay has not reached what was delivered before.
    pub hold: Arc<Hold>,
    /// The last marker that an append store has moved to.
    pub appended: Counter,
    /// Counts delivered rows.
    pub delivered_rows: Counter,
    /// What becomes of rows of this job that an append store already holds.
    pub earlier: Earlier,
    /// Takes dead letters to the source operator.
    pub local: Local,
    /// It is the sink of the dead letters.
    pub is_last_resort: bool,
    /// Judges how many rows the store refuses.
    pub judge: Option<Judge>,
}

/// Puts a sink's delivery into the dataflow.
pub fn deliver<'scope>(
    scope: Scope<'scope, u64>,
    mut deliver: Deliver,
    durable: Durable<'scope>,
    activate: impl FnOnce(timely::scheduling::SyncActivator),
) -> Durable<'scope> {
    let mut builder = OperatorBuilder::new(format!("Deliver {}", deliver.sink), scope);
    let address = builder.operator_info().address.to_vec();
    if let Outgoing::Keyed(outbox) = &deliver.outgoing {
        let delivery = scope.activator_for(address.as_slice().into());
        outbox.borrow_mut().wake_on_release(delivery);
    }
    activate(scope.worker().sync_activator_for(address));
    let mut input = builder.new_input_connection(durable, Pipeline, []);
    let (output, delivered) = builder.new_output_connection([]);
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Control>>>::from(output);
    builder.build(move |mut capabilities| {
        let mut capability = capabilities.pop();
        if let Some(capability) = &mut capability {
            capability.downgrade(&deliver.start);
        }
        if matches!(deliver.outgoing, Outgoing::Elsewhere) {
            // The owner's capability tells.
            capability = None;
        }
        let mut in_flight = None;
        let mut last_durable = deliver.start.saturating_sub(1);
        let mut next_id = 0;
        move |frontiers| {
            input.for_each(|_, _| {});
            let _ = &mut output;
            let Some(held) = &mut capability else { return };
            let frontier = first(&frontiers[0]);
            last_durable =
                last_durable.max(frontier.map_or(last_durable, |next| next.saturating_sub(1)));
            if frontier.is_none() {
                // The final checkpoint is durable, whatever its epoch: all that is sealed may go.
                deliver.set_durable(Epoch(u64::MAX));
            } else {
                deliver.set_durable(Epoch(last_durable));
            }
            loop {
                in_flight = deliver.settle(in_flight.take(), frontier);
                if in_flight.is_some() || deliver.is_held() {
                    break;
                }
                in_flight = deliver.send_next(&mut next_id);
                if in_flight.is_none() {
                    break;
                }
            }
            let delivered = deliver.delivered();
            if frontier.is_none() && in_flight.is_none() && delivered.0 == u64::MAX {
                capability = None;
                // Nothing is under way, so this only waits for the store to be closed in good order.
                if let Some(driver) = deliver.driver.take() {
                    driver.close();
                }
            } else if frontier.is_none() && in_flight.as_ref().is_some_and(|work| work.refused) {
                // No epoch follows that could take the dead letters of these rows. They stay in the outbox, as the final
                // checkpoint holds it, and are sent and refused again by the next run.
                deliver.local.left_refused.set(true);
                capability = None;
                deliver.driver = None;
            } else if delivered.0 < u64::MAX && *held.time() <= delivered.0 {
                held.downgrade(&(delivered.0 + 1));
            }
        }
    });
    delivered
}

/// The least time of a frontier; `None` once it is empty.
fn first(frontier: &MutableAntichain<u64>) -> Option<u64> {
    frontier.frontier().first().copied()
}

/// What is with the sink's thread.
struct InFlight {
    id: u64,
    through: Epoch,
    bytes: u64,
    /// It is written, but for rows that the store refuses for good: their dead letters must be durable first.
    refused: bool,
}

/// Where tests end the process, by kind of sink.
struct Steps {
    before_send: &'static str,
    after_send: &'static str,
    acknowledged: &'static str,
}

const KEYED_STEPS: Steps = Steps {
    before_send: "before-send-keyed",
    after_send: "after-send-keyed",
    acknowledged: "acknowledged-keyed",
};
const APPEND_STEPS: Steps = Steps {
    before_send: "before-send-append",
    after_send: "after-send-append",
    acknowledged: "acknowledged-append",
};

impl Deliver {
    fn steps(&self) -> &'static Steps {
        match &self.outgoing {
            Outgoing::Keyed(_) => &KEYED_STEPS,
            Outgoing::Append(_) | Outgoing::Elsewhere => &APPEND_STEPS,
        }
    }

    fn set_durable(&self, durable: Epoch) {
        match &self.outgoing {
            Outgoing::Keyed(outbox) => outbox.borrow_mut().set_durable(durable),
            Outgoing::Append(outbox) => outbox.borrow_mut().set_durable(durable),
            Outgoing::Elsewhere => {}
        }
    }

    /// What would be sent now may be older than what the store shows. Append stores are not held: their rows stand for
    /// themselves.
    fn is_held(&self) -> bool {
        match &self.outgoing {
            Outgoing::Keyed(outbox) => !self.hold.allows(outbox.borrow().durable()),
            Outgoing::Append(_) | Outgoing::Elsewhere => false,
        }
    }

    fn delivered(&self) -> Epoch {
        match &self.outgoing {
            Outgoing::Keyed(outbox) => outbox.borrow().delivered(),
            Outgoing::Append(outbox) => outbox.borrow().delivered(),
            Outgoing::Elsewhere => Epoch(0),
        }
    }

    /// Takes note of what the thread has done. `durable` is the first epoch that is not; `None` at the end.
    fn settle(&self, mut in_flight: Option<InFlight>, durable: Option<u64>) -> Option<InFlight> {
        let Some(driver) = &self.driver else {
            return in_flight;
        };
        while let Some(event) = driver.try_event() {
            match event {
                DeliveryEvent::Recovered { marker } => self.check_marker(marker),
                DeliveryEvent::Delivered { id, report } => {
                    crash_point(self.steps().after_send);
                    let taken = report.applied + report.already_there;
                    self.delivered_rows.add(taken);
                    if let Some(judge) = &self.judge {
                        judge.note(taken + report.refused.len() as u64, &report.refused);
                    }
                    if let Some(work) = in_flight.as_mut().filter(|work| work.id == id) {
                        work.refused = !report.refused.is_empty() && !self.is_last_resort;
                    }
                    self.set_aside(report.refused);
                    in_flight = self.acknowledge_if(in_flight.take(), |work| !work.refused);
                }
                DeliveryEvent::Failed(SinkError::Fenced(why)) => {
                    fenced(&format!("sink {}: {why}", self.sink))
                }
                DeliveryEvent::Failed(error) => fail(&error.to_string()),
            }
        }
        let letters_durable = self.local.letters_durable(durable);
        self.acknowledge_if(in_flight, |work| work.refused && letters_durable)
    }

    /// Makes dead letters of refused rows. Those that the sink of the dead letters itself refuses can only be told.
    fn set_aside(&self, refused: Vec<DeadLetter>) {
        if !self.is_last_resort {
            return self.local.refuse(refused);
        }
        for letter in refused {
            tracing::error!(
                payload = %String::from_utf8_lossy(&letter.payload),
                "a dead letter is lost, its own sink refuses it: {}",
                letter.reason
            );
        }
    }

    fn acknowledge_if(
        &self,
        in_flight: Option<InFlight>,
        done: impl Fn(&InFlight) -> bool,
    ) -> Option<InFlight> {
        let work = in_flight?;
        if !done(&work) {
            return Some(work);
        }
        self.acknowledge(&work);
        crash_point(self.steps().acknowledged);
        None
    }

    /// Rows of this job in a store that only appends, before this run has sent any.
    fn check_marker(&self, marker: Option<Epoch>) {
        // This process has not appended anything yet: epochs since its begin are those of a successor.
        if let Some(marker) = marker
            && marker.0 >= self.start
        {
            fenced(&format!(
                "sink {}: another process has claimed the job since this one began, and appended rows up to epoch {marker}",
                self.sink
            ));
        }
        if let Some(marker) = marker {
            self.earlier.found(&self.sink, marker);
        }
    }

    fn acknowledge(&self, done: &InFlight) {
        match &self.outgoing {
            Outgoing::Keyed(outbox) => outbox.borrow_mut().acknowledge(),
            Outgoing::Append(outbox) => {
                self.appended.raise(done.through.0);
                outbox.borrow_mut().acknowledge(done.bytes);
            }
            Outgoing::Elsewhere => {}
        }
    }

    /// Hands the next rows to the thread, if there are any.
    fn send_next(&self, next_id: &mut u64) -> Option<InFlight> {
        let driver = self.driver.as_ref()?;
        let (work, through, bytes) = match &self.outgoing {
            Outgoing::Keyed(outbox) => {
                let chunk = outbox.borrow_mut().next_chunk(CHUNK_ROWS_MAX)?;
                (Work::Keyed(self.keyed_batch(&chunk)), chunk.through, 0)
            }
            Outgoing::Append(outbox) => {
                let append = outbox.borrow_mut().next_append(APPEND_BYTES_MAX)?;
                let encoded = append.runs.iter().flat_map(|run| run.rows.iter());
                let mut encoded = encoded.peekable();
                let mut rows = Vec::new();
                while encoded.peek().is_some() {
                    rows.push(self.decode(encoded.by_ref().take(BATCH_ROWS_MAX)));
                }
                let bytes = append.bytes();
                let through = append.through;
                (Work::Append(AppendBatch { through, rows }), through, bytes)
            }
            Outgoing::Elsewhere => return None,
        };
        crash_point(self.steps().before_send);
        let id = *next_id;
        *next_id += 1;
        if driver.try_deliver(Delivery { id, work }).is_err() {
            // One batch at a time is under way, and there is room for it.
            fail(&format!("sink {}: its thread has ended", self.sink));
        }
        Some(InFlight {
            id,
            through,
            bytes,
            refused: false,
        })
    }

    fn keyed_batch(&self, chunk: &super::outbox::Chunk) -> KeyedBatch {
        let rows = chunk.rows.iter().map(|(_, pending)| pending);
        let version = |epoch| Version {
            generation: self.generation,
            epoch,
            sequence: 0,
        };
        KeyedBatch {
            deleted: BooleanArray::from_iter(rows.clone().map(|row| Some(row.deleted))),
            versions: rows.clone().map(|row| version(row.epoch)).collect(),
            as_of_ms: rows
                .clone()
                .map(|row| row.epoch.0)
                .max()
                .and_then(|epoch| i64::try_from(epoch).ok())
                .unwrap_or_default(),
            rows: self.decode(rows.map(|row| &*row.row)),
        }
    }

    /// Rows that this process encoded, or that a verified checkpoint held.
    fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> arrow::record_batch::RecordBatch {
        self.rows.decode(rows).unwrap_or_else(|error| {
            fail(&format!(
                "sink {}: a row in its outbox cannot be decoded: {error}",
                self.sink
            ))
        })
    }
}
