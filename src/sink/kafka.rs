//! Kafka: records and marker in one transaction per checkpoint.
//!
//! The marker is the epoch, kept as the offset of the output topic's partition 0 in the consumer group
//! `{job}-{sink}-{writer}`, which is also the transactional id. A consumer group without members keeps its offsets for
//! the broker's `offsets.retention.minutes` (7 days) after the last commit.
//!
//! The value is the row as JSON. The key is the text of the relation's key column, or a JSON array of several, or absent;
//! records with equal keys go to the partition that Java's producer would choose.

mod connection;
mod failure;
mod record;

use tidewright_checkpoints::Epoch;
use tidewright_jobs::job::KafkaSinkConfig;

use self::{connection::Connection, record::Record};
use super::{AppendBatch, AppendWriter, Fence, SinkContext, SinkError, WriteReport, cell::Cells};
use crate::{dead_letter::DeadLetter, runtime::crash::crash_point};

/// Appends the rows of a relation to a topic.
pub struct KafkaWriter {
    context: SinkContext,
    place: String,
    config: KafkaSinkConfig,
    connection: Option<Connection>,
    /// Whether the brokers have let this writer in before.
    has_answered: bool,
}

impl KafkaWriter {
    /// A writer that connects when it recovers.
    ///
    /// # Errors
    /// [`SinkError::Fatal`] if the configuration is wrong.
    pub fn new(config: &KafkaSinkConfig, context: &SinkContext) -> Result<Self, SinkError> {
        context.check_append()?;
        if config.brokers.is_none() {
            return Err(context.misconfigured("kafka has no brokers".to_owned()));
        }
        Ok(Self {
            place: context.place(&format!("kafka topic {}", config.topic)),
            config: config.clone(),
            connection: None,
            has_answered: false,
            context: context.clone(),
        })
    }

    /// Begins a transaction, sends everything and the marker, commits.
    fn transact(
        &self,
        connection: &Connection,
        batch: &AppendBatch,
        fence: &dyn Fence,
    ) -> Result<WriteReport, SinkError> {
        let mut report = WriteReport::default();
        connection.begin()?;
        for rows in &batch.rows {
            let cells = Cells::of(rows)?;
            for row in 0..cells.rows() {
                let record = Record::of(&self.context, &cells, row);
                match refusal(connection, &record) {
                    Some(reason) => report
                        .refused
                        .push(self.context.refused(&cells, row, reason)),
                    None => {
                        connection.send(&record)?;
                        report.applied += 1;
                    }
                }
            }
        }
        connection.flush()?;
        connection.send_marker(batch.through)?;
        // Sending may have taken long: the right to write is looked at once more before it takes effect.
        fence.check()?;
        crash_point("kafka-sent");
        connection.commit()?;
        crash_point("kafka-committed");
        Ok(report)
    }
}

impl AppendWriter for KafkaWriter {
    fn recover(&mut self) -> Result<Option<Epoch>, SinkError> {
        self.connection = None;
        let connection =
            Connection::open(&self.config, &self.context, &self.place, self.has_answered)?;
        self.has_answered = true;
        let marker = connection.marker()?;
        self.connection = Some(connection);
        Ok(marker)
    }

    fn append(&mut self, batch: &AppendBatch, fence: &dyn Fence) -> Result<WriteReport, SinkError> {
        // Taken, so that after any error the next attempt begins with a new producer.
        let Some(connection) = self.connection.take() else {
            return Err(SinkError::Transient(format!(
                "{}: not recovered yet",
                self.place
            )));
        };
        fence.check()?;
        match self.transact(&connection, batch, fence) {
            Ok(report) => {
                self.connection = Some(connection);
                Ok(report)
            }
            Err(error) => {
                connection.abort();
                let SinkError::Fenced(message) = error else {
                    return Err(error);
                };
                // The broker fences also producers whose transaction ran out of time. Who owns the job is for HEAD to say.
                fence.check()?;
                Err(SinkError::Transient(message))
            }
        }
    }

    fn refusals(&self, batch: &AppendBatch) -> Result<Vec<DeadLetter>, SinkError> {
        let Some(connection) = &self.connection else {
            return Err(SinkError::Transient(format!(
                "{}: not recovered yet",
                self.place
            )));
        };
        let mut refused = Vec::new();
        for rows in &batch.rows {
            let cells = Cells::of(rows)?;
            for row in 0..cells.rows() {
                let record = Record::of(&self.context, &cells, row);
                if let Some(reason) = refusal(connection, &record) {
                    refused.push(self.context.refused(&cells, row, reason));
                }
            }
        }
        Ok(refused)
    }
}

fn refusal(connection: &Connection, record: &Record) -> Option<String> {
    let (bytes, bytes_max) = (record.bytes(), connection.record_bytes_max());
    (bytes > bytes_max).then(|| {
        format!("the record has {bytes} bytes with overhead, the topic takes {bytes_max} at most")
    })
}

#[cfg(test)]
mod tests;
