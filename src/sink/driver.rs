//! The delivery thread: one per sink and worker, so that no worker waits for a store and a slow sink holds up no other.
//!
//! It writes one batch after the other, each until the store has acknowledged it: errors that may mend are retried for ever,
//! with pauses that grow; the outbox bounds what waits meanwhile. Only errors that will not mend are handed back.

mod breaker;
mod deliver;
mod status;

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, TrySendError},
    },
    thread::JoinHandle,
    time::Duration,
};

use tidewright_checkpoints::Epoch;

use self::deliver::Deliverer;
pub use self::{
    breaker::BreakerState,
    status::{Failing, SinkStatus},
};
use super::{AppendBatch, Fence, KeyedBatch, SinkError, WriteReport, Writer};

/// A batch to deliver.
#[derive(Debug)]
pub struct Delivery {
    /// Names the batch in its [`DeliveryEvent::Delivered`].
    pub id: u64,
    /// The batch.
    pub work: Work,
}

/// What is to be written: of the kind that the sink's writer takes.
#[derive(Debug)]
pub enum Work {
    /// Rows for a keyed store.
    Keyed(KeyedBatch),
    /// Rows for an append-only store.
    Append(AppendBatch),
}

/// What has come of a sink's work.
#[derive(Debug)]
pub enum DeliveryEvent {
    /// An append writer is ready: its marker as it was found. Comes once, before anything is delivered.
    Recovered {
        /// Everything up to and including this epoch is in the store.
        marker: Option<Epoch>,
    },
    /// A batch is in the store. Its dead letters are still to be accepted.
    Delivered {
        /// The batch.
        id: u64,
        /// What was done.
        report: WriteReport,
    },
    /// The sink cannot go on: fenced, or an error that will not mend. The job must stop; nothing follows.
    Failed(SinkError),
}

/// How a driver works.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// The sink's name, for messages and the thread's name.
    pub sink: Arc<str>,
    /// Batches that may wait.
    pub capacity: usize,
    /// What the restored manifest says was delivered; `None` or zero if nothing. An append store whose marker is missing or
    /// behind this has lost rows, which is an error and not repeated in silence.
    pub delivered: Option<Epoch>,
    /// Go on although an append store's marker is missing or behind `delivered`.
    pub accept_lost_marker: bool,
}

/// The handle of a delivery thread. Dropping it ends the thread after the attempt under way; what was not acknowledged
/// is still in the outbox.
#[derive(Debug)]
pub struct Driver {
    work: SyncSender<Delivery>,
    events: Receiver<DeliveryEvent>,
    status: Arc<SinkStatus>,
    /// Held for its drop: wakes the thread out of a pause.
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// A batch that could not be handed over, and why.
#[derive(Debug)]
pub enum Rejected {
    /// Too many batches wait: try again after the next event.
    Full(Box<Delivery>),
    /// The thread has ended: an event tells why.
    Ended(Box<Delivery>),
}

impl Driver {
    /// Starts the thread. `wake` is called after every event, from that thread: activate the worker there.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        writer: Writer,
        fence: Arc<dyn Fence>,
        options: DriverOptions,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let (work, work_receiver) = mpsc::sync_channel(options.capacity.max(1));
        // One event per batch at most, plus the recovery and the failure: with this room the thread does not wait for
        // a worker that takes its events before it hands over more.
        let (event_sender, events) = mpsc::sync_channel(options.capacity.max(1) + 2);
        let (stop, stopped) = mpsc::channel();
        let status = Arc::new(SinkStatus::default());
        let deliverer = Deliverer::new(
            writer,
            fence,
            options.clone(),
            status.clone(),
            Stopped(stopped),
            Events {
                sender: event_sender,
                wake: Box::new(wake),
            },
        );
        let thread = std::thread::Builder::new()
            .name(format!("sink-{}", options.sink))
            .spawn(move || deliverer.run(work_receiver))?;
        Ok(Self {
            work,
            events,
            status,
            stop,
            thread,
        })
    }

    /// Hands over a batch without waiting.
    ///
    /// # Errors
    /// Gives the batch back.
    pub fn try_deliver(&self, delivery: Delivery) -> Result<(), Rejected> {
        self.work.try_send(delivery).map_err(|error| match error {
            TrySendError::Full(delivery) => Rejected::Full(Box::new(delivery)),
            TrySendError::Disconnected(delivery) => Rejected::Ended(Box::new(delivery)),
        })
    }

    /// The next event, if there is one.
    #[must_use]
    pub fn try_event(&self) -> Option<DeliveryEvent> {
        self.events.try_recv().ok()
    }

    /// The next event, waited for; `None` after `timeout`, or when the thread has ended.
    #[must_use]
    pub fn event_within(&self, timeout: Duration) -> Option<DeliveryEvent> {
        self.events.recv_timeout(timeout).ok()
    }

    /// How the sink fares: for metrics and people.
    #[must_use]
    pub fn status(&self) -> Arc<SinkStatus> {
        self.status.clone()
    }

    /// Ends the thread after the attempt under way and waits for it: the store is closed then. Batches that wait are left.
    pub fn close(self) {
        let Self {
            work,
            events,
            stop,
            thread,
            ..
        } = self;
        drop((work, events, stop));
        // A panic there has ended the process, or been reported by the panic hook.
        let _ = thread.join();
    }
}

/// Tells whether the handle is gone.
struct Stopped(Receiver<()>);

impl Stopped {
    /// Waits; true if the handle is gone.
    fn within(&self, pause: Duration) -> bool {
        !matches!(self.0.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
    }

    fn now(&self) -> bool {
        !matches!(self.0.try_recv(), Err(TryRecvError::Empty))
    }
}

/// The way back to the worker.
struct Events {
    sender: SyncSender<DeliveryEvent>,
    wake: Box<dyn Fn() + Send>,
}

impl Events {
    /// Tells the worker; false if it is gone.
    fn tell(&self, event: DeliveryEvent) -> bool {
        let told = self.sender.send(event).is_ok();
        (self.wake)();
        told
    }
}

#[cfg(test)]
mod tests;
