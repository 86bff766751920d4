//! DynamoDB: an item per key, written by single conditional puts.
//!
//! Columns become typed attributes ([`item`]); NULL is an absent attribute. Beside them stand `_version`, `_job`, `_as_of`, and
//! `_expires` (seconds since 1970, the attribute for the table's time to live) where a time to live is set. A deleted row leaves
//! `_version`, `_job`, `_as_of`, `_deleted` and `_expires` under its key.

mod client;
mod failure;
mod item;
mod rows;
mod table;

use std::{collections::HashMap, sync::Arc};

use aws_sdk_dynamodb::{
    Client,
    operation::put_item::PutItemError,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use tidewright_jobs::job::DynamodbSinkConfig;
use tokio::{runtime::Runtime, task::JoinSet};

use self::failure::Failure;
pub use self::rows::DynamodbRows;
use super::{
    Fence, KeyedBatch, KeyedWriter, SinkContext, SinkError, Version, WriteReport,
    cell::Cells,
    ttl,
    verdict::{self, Stored, Verdict, field},
};

type Item = HashMap<String, AttributeValue>;

/// Rows between two looks at the fence.
const FENCED_ROWS_MAX: usize = 4096;

/// Writes the rows of a relation as items.
pub struct DynamodbWriter {
    context: SinkContext,
    place: Arc<str>,
    config: DynamodbSinkConfig,
    ttl_ms: Option<i64>,
    connection: Option<Connection>,
    /// Of a batch that has to be sent again.
    answered: Option<Answered>,
}

/// What the table has answered for rows of one batch. A table that throttles refuses some rows of every attempt: those that it
/// has taken need not be sent again, or a large batch would never be done.
struct Answered {
    /// They tell whether it is the same batch.
    versions: Vec<Version>,
    outcomes: Vec<Option<Outcome>>,
}

/// A client whose table has been checked, and the runtime that drives it.
struct Connection {
    runtime: Runtime,
    client: Client,
}

/// One conditional put.
struct Put {
    row: usize,
    item: Item,
    version: String,
    /// The key, for messages.
    key: String,
}

/// What does not change from put to put.
struct Target {
    client: Client,
    table: String,
    partition_key: String,
    job: Arc<str>,
    place: Arc<str>,
}

enum Outcome {
    Applied,
    AlreadyThere,
    Refused(String),
}

impl DynamodbWriter {
    /// A writer that connects when it first writes.
    ///
    /// # Errors
    /// [`SinkError::Fatal`] if the configuration is wrong.
    pub fn new(config: &DynamodbSinkConfig, context: &SinkContext) -> Result<Self, SinkError> {
        context.check_keyed()?;
        if context.key.len() > 2 {
            return Err(context.misconfigured(format!(
                "{} has {} key columns; a DynamoDB key has two at most. Join them into one in the view",
                context.relation,
                context.key.len()
            )));
        }
        let ttl_ms = config.ttl.as_deref().map(ttl::parse_ms).transpose();
        Ok(Self {
            place: context
                .place(&format!("dynamodb table {}", config.table))
                .into(),
            ttl_ms: ttl_ms.map_err(|message| context.misconfigured(message))?,
            config: config.clone(),
            connection: None,
            answered: None,
            context: context.clone(),
        })
    }

    fn connect(&self) -> Result<Connection, SinkError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| {
            SinkError::Transient(format!("{}: cannot start its runtime: {error}", self.place))
        })?;
        let client = runtime.block_on(client::connect(&self.config));
        let wanted = table::Wanted::of(&self.context, &self.config);
        runtime.block_on(table::ensure(&client, &wanted, &self.place))?;
        Ok(Connection { runtime, client })
    }

    /// The puts of a batch; rows that DynamoDB can't hold go to the report.
    fn puts(&self, batch: &KeyedBatch, cells: &Cells<'_>, report: &mut WriteReport) -> Vec<Put> {
        let mut puts = Vec::with_capacity(cells.rows());
        for row in 0..cells.rows() {
            match item::of_row(&self.context, batch, cells, row, self.ttl_ms) {
                Ok(item) => puts.push(Put {
                    row,
                    item,
                    version: batch.versions[row].to_string(),
                    key: item::key_text(&self.context, cells, row),
                }),
                Err(reason) => report
                    .refused
                    .push(self.context.refused(cells, row, reason)),
            }
        }
        puts
    }

    fn target(&self, client: &Client) -> Arc<Target> {
        Arc::new(Target {
            client: client.clone(),
            table: self.config.table.clone(),
            partition_key: self
                .context
                .schema
                .field(self.context.key[0])
                .name()
                .clone(),
            job: self.context.job.clone(),
            place: self.place.clone(),
        })
    }
}

impl KeyedWriter for DynamodbWriter {
    fn write(&mut self, batch: &KeyedBatch, fence: &dyn Fence) -> Result<WriteReport, SinkError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                // Connecting may create the table, so it is a write.
                fence.check()?;
                self.connect()?
            }
        };
        let cells = Cells::of(&batch.rows)?;
        let mut report = WriteReport::default();
        let mut puts = self.puts(batch, &cells, &mut report);
        let mut outcomes = Answered::of_batch(self.answered.take(), batch);
        puts.retain(|put| outcomes[put.row].is_none());
        let target = self.target(&connection.client);
        while !puts.is_empty() {
            fence.check()?;
            let later = puts.split_off(puts.len().min(FENCED_ROWS_MAX));
            let sent = send_all(&target, puts, self.config.max_in_flight.max(1));
            let (answers, error) = connection.runtime.block_on(sent);
            for (row, outcome) in answers {
                outcomes[row] = Some(outcome);
            }
            if let Some(error) = error {
                let reached = outcomes.iter().any(Option::is_some);
                self.connection = reached.then_some(connection);
                self.answered = Some(Answered {
                    versions: batch.versions.clone(),
                    outcomes,
                });
                return Err(error);
            }
            puts = later;
        }
        for (row, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Some(Outcome::Applied) => report.applied += 1,
                Some(Outcome::AlreadyThere) => report.already_there += 1,
                Some(Outcome::Refused(reason)) => report
                    .refused
                    .push(self.context.refused(&cells, row, reason)),
                // It was refused before it was sent.
                None => {}
            }
        }
        self.connection = Some(connection);
        Ok(report)
    }
}

impl Answered {
    /// By row, what is known of a batch from attempts before.
    fn of_batch(last: Option<Self>, batch: &KeyedBatch) -> Vec<Option<Outcome>> {
        match last.filter(|last| last.versions == batch.versions) {
            Some(last) => last.outcomes,
            None => batch.versions.iter().map(|_| None).collect(),
        }
    }
}

/// Sends puts, so many at a time. No more are begun once more have failed than worked, or one has for good; those under way are
/// waited for, so that none of them arrives later than the next attempt.
async fn send_all(
    target: &Arc<Target>,
    puts: Vec<Put>,
    in_flight_max: usize,
) -> (Vec<(usize, Outcome)>, Option<SinkError>) {
    let mut outcomes = Vec::with_capacity(puts.len());
    let mut in_flight = JoinSet::new();
    let mut waiting = puts.into_iter();
    let mut failed = 0;
    let mut error: Option<SinkError> = None;
    loop {
        let goes_on = match error {
            None => true,
            Some(SinkError::Transient(_)) => failed < outcomes.len(),
            Some(_) => false,
        };
        while goes_on && in_flight.len() < in_flight_max {
            let Some(put) = waiting.next() else { break };
            let target = target.clone();
            in_flight.spawn(async move { (put.row, send(&target, put).await) });
        }
        let found = match in_flight.join_next().await {
            None => break,
            Some(Ok((row, Ok(outcome)))) => {
                outcomes.push((row, outcome));
                continue;
            }
            Some(Ok((_, Err(found)))) => found,
            Some(Err(panicked)) => SinkError::Fatal(format!("{}: {panicked}", target.place)),
        };
        failed += 1;
        error = Some(graver(error, found));
    }
    (outcomes, error)
}

/// The error that decides: being fenced, then what will not mend, then the first.
fn graver(first: Option<SinkError>, second: SinkError) -> SinkError {
    match (first, &second) {
        (None, _)
        | (Some(SinkError::Transient(_)), _)
        | (Some(SinkError::Fatal(_)), SinkError::Fenced(_)) => second,
        (Some(first), _) => first,
    }
}

async fn send(target: &Target, put: Put) -> Result<Outcome, SinkError> {
    let request = target
        .client
        .put_item()
        .table_name(&target.table)
        .set_item(Some(put.item))
        .condition_expression("attribute_not_exists(#key) OR (#job = :job AND #version < :version)")
        .expression_attribute_names("#key", &target.partition_key)
        .expression_attribute_names("#job", field::JOB)
        .expression_attribute_names("#version", field::VERSION)
        .expression_attribute_values(":job", AttributeValue::S(target.job.to_string()))
        .expression_attribute_values(":version", AttributeValue::S(put.version.clone()))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    let error = match request.send().await {
        Ok(_) => return Ok(Outcome::Applied),
        Err(error) => error,
    };
    if let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() {
        return judge(target, &put.key, &put.version, failed.item());
    }
    match failure::of(&error) {
        Failure::Refused(reason) => Ok(Outcome::Refused(reason)),
        Failure::Transient(message) => {
            Err(SinkError::Transient(format!("{}: {message}", target.place)))
        }
        Failure::Fatal(message) => Err(SinkError::Fatal(format!("{}: {message}", target.place))),
    }
}

fn judge(
    target: &Target,
    key: &str,
    version: &str,
    stored: Option<&Item>,
) -> Result<Outcome, SinkError> {
    let text = |name| {
        let value = stored.and_then(|item| item.get(name));
        value
            .and_then(|value| value.as_s().ok())
            .map(String::as_str)
    };
    let seen = stored.map(|_| Stored {
        version: text(field::VERSION),
        job: text(field::JOB),
    });
    match verdict::judge(seen, version, &target.job) {
        Verdict::AlreadyThere => Ok(Outcome::AlreadyThere),
        // The item changed between the comparison and its image in the answer.
        Verdict::Apply => Err(SinkError::Transient(format!(
            "{}: key {key:?} is being written by another process",
            target.place
        ))),
        Verdict::Fenced => Err(verdict::fenced(
            &target.place,
            key,
            text(field::VERSION).unwrap_or_default(),
        )),
        Verdict::Foreign => Err(verdict::foreign(
            &target.place,
            key,
            text(field::JOB),
            &target.job,
        )),
    }
}

#[cfg(test)]
mod tests;
