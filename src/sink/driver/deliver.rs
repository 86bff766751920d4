//! What the delivery thread does.

use std::sync::{Arc, mpsc::Receiver};

use tidewright_checkpoints::Epoch;

use super::{
    Delivery, DeliveryEvent, DriverOptions, Events, SinkStatus, Stopped, Work, breaker::Breaker,
};
use crate::sink::{AppendBatch, AppendWriter, Fence, KeyedWriter, SinkError, WriteReport, Writer};

/// Why the thread ends.
enum End {
    /// Nobody wants it to go on.
    Stopped,
    /// It cannot go on.
    Failed(SinkError),
}

/// The state of a delivery thread.
pub(super) struct Deliverer {
    writer: Option<Writer>,
    retry: Retry,
    fence: Arc<dyn Fence>,
    options: DriverOptions,
    events: Events,
}

/// Attempts until one works.
struct Retry {
    breaker: Breaker,
    stopped: Stopped,
    status: Arc<SinkStatus>,
    sink: Arc<str>,
}

/// An append writer, and where its log ends.
struct Log {
    writer: Box<dyn AppendWriter>,
    /// Known after a recovery, until an attempt fails.
    position: Option<Position>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    marker: Option<Epoch>,
}

impl Deliverer {
    pub(super) fn new(
        writer: Writer,
        fence: Arc<dyn Fence>,
        options: DriverOptions,
        status: Arc<SinkStatus>,
        stopped: Stopped,
        events: Events,
    ) -> Self {
        Self {
            writer: Some(writer),
            retry: Retry {
                breaker: Breaker::default(),
                stopped,
                status,
                sink: options.sink.clone(),
            },
            fence,
            options,
            events,
        }
    }

    /// Delivers until the handle is gone or the sink cannot go on.
    pub(super) fn run(mut self, work: Receiver<Delivery>) {
        let end = match self.writer.take() {
            Some(Writer::Keyed(writer)) => self.run_keyed(writer, &work),
            Some(Writer::Append(writer)) => self.run_append(writer, &work),
            None => End::Stopped,
        };
        // Before the failure is told: whoever knows of it can hand over nothing more.
        drop(work);
        if let End::Failed(error) = end {
            tracing::error!(sink = &*self.options.sink, %error, "the sink cannot go on");
            self.retry.status.failed(error.to_string());
            self.events.tell(DeliveryEvent::Failed(error));
        }
    }

    fn run_keyed(&mut self, mut writer: Box<dyn KeyedWriter>, work: &Receiver<Delivery>) -> End {
        while let Some(delivery) = self.next(work) {
            let Work::Keyed(batch) = delivery.work else {
                return self.wrong_kind();
            };
            match self.retry.until_done(|| writer.write(&batch, &*self.fence)) {
                Ok(report) => self.delivered(delivery.id, report),
                Err(end) => return end,
            }
        }
        End::Stopped
    }

    fn run_append(&mut self, writer: Box<dyn AppendWriter>, work: &Receiver<Delivery>) -> End {
        let mut log = Log {
            writer,
            position: None,
        };
        // At once, not with the first batch: it shuts out earlier writers.
        let recovered = self.retry.until_done(|| log.recover());
        let marker = match recovered {
            Ok(position) => position.marker,
            Err(end) => return end,
        };
        if let Err(error) = check_marker(&*log.writer, marker, &self.options) {
            return End::Failed(error);
        }
        self.events.tell(DeliveryEvent::Recovered { marker });
        while let Some(delivery) = self.next(work) {
            let Work::Append(batch) = delivery.work else {
                return self.wrong_kind();
            };
            match self.retry.until_done(|| log.append(&batch, &*self.fence)) {
                Ok(report) => self.delivered(delivery.id, report),
                Err(end) => return end,
            }
        }
        End::Stopped
    }

    fn next(&self, work: &Receiver<Delivery>) -> Option<Delivery> {
        // The channel still gives what waits in it after the handle is gone.
        work.recv().ok().filter(|_| !self.retry.stopped.now())
    }

    fn delivered(&self, id: u64, report: WriteReport) {
        self.retry.status.count_delivered(&report);
        self.events.tell(DeliveryEvent::Delivered { id, report });
    }

    fn wrong_kind(&self) -> End {
        End::Failed(SinkError::Fatal(format!(
            "sink {}: was handed a batch of the other kind",
            self.options.sink
        )))
    }
}

impl Retry {
    /// Attempts until one works; pauses in between grow.
    fn until_done<T>(
        &mut self,
        mut attempt: impl FnMut() -> Result<T, SinkError>,
    ) -> Result<T, End> {
        loop {
            self.breaker.on_attempt();
            self.status.set_breaker(self.breaker.state());
            match attempt() {
                Ok(done) => {
                    self.breaker.on_success();
                    self.status.set_breaker(self.breaker.state());
                    self.status.worked();
                    return Ok(done);
                }
                Err(SinkError::Transient(message)) => {
                    if self.pause_after(message) {
                        return Err(End::Stopped);
                    }
                }
                Err(error) => return Err(End::Failed(error)),
            }
        }
    }

    /// Waits after a failure; true if the thread shall end.
    fn pause_after(&mut self, message: String) -> bool {
        let pause = self.breaker.on_failure();
        tracing::warn!(
            sink = &*self.sink,
            error = message,
            ?pause,
            "a delivery failed and is tried again"
        );
        self.status.count_failed_attempt();
        self.status.set_breaker(self.breaker.state());
        self.status.failed(message);
        self.stopped.within(pause)
    }
}

impl Log {
    fn recover(&mut self) -> Result<Position, SinkError> {
        let position = Position {
            marker: self.writer.recover()?,
        };
        self.position = Some(position);
        Ok(position)
    }

    /// Appends a batch unless the marker covers it.
    fn append(&mut self, batch: &AppendBatch, fence: &dyn Fence) -> Result<WriteReport, SinkError> {
        let position = match self.position {
            Some(position) => position,
            None => {
                // Recovery shuts out other writers, so it needs the right to write.
                fence.check()?;
                self.recover()?
            }
        };
        if position.marker >= Some(batch.through) {
            return self.skip(batch);
        }
        match self.writer.append(batch, fence) {
            Ok(report) => {
                self.position = Some(Position {
                    marker: Some(batch.through),
                });
                Ok(report)
            }
            Err(error) => {
                self.position = None;
                Err(error)
            }
        }
    }

    fn skip(&mut self, batch: &AppendBatch) -> Result<WriteReport, SinkError> {
        let refused = self.writer.refusals(batch)?;
        Ok(WriteReport {
            applied: 0,
            already_there: batch.row_count().saturating_sub(refused.len() as u64),
            refused,
        })
    }
}

/// Compares the marker with what the restored manifest says was delivered.
fn check_marker(
    writer: &dyn AppendWriter,
    marker: Option<Epoch>,
    options: &DriverOptions,
) -> Result<(), SinkError> {
    let delivered = options.delivered.filter(|epoch| *epoch > Epoch(0));
    if !writer.keeps_marker() || options.accept_lost_marker || marker >= delivered {
        return Ok(());
    }
    let (sink, delivered) = (&options.sink, delivered.unwrap_or_default());
    let found = marker.map_or_else(
        || "has no marker".to_owned(),
        |epoch| format!("has a marker at epoch {epoch}"),
    );
    Err(SinkError::Fatal(format!(
        "sink {sink}: the checkpoint says that everything up to epoch {delivered} was delivered, but the store {found}: \
         it was emptied, replaced or put back. Choices: put the store right, write under another sink name, or go on \
         with --allow-duplicates and miss what was lost there"
    )))
}
