//! Reading back what a keyed sink has written.

use std::collections::BTreeMap;

use tidewright_jobs::job::SinkConfig;

use super::{
    SinkContext, SinkError, dynamodb::DynamodbRows, embedded::EmbeddedRows, redis::RedisRows,
    verdict::field,
};

/// A row's fields as text, the sink's own among them; NULL is absent.
pub type Row = BTreeMap<String, String>;

/// The rows that a job has in a keyed store. Rows of other jobs and marks of deleted rows are not seen.
///
/// A key here is the text that tells a row from the others of its sink, without what tells the sink from others: equal rows
/// of a job and its shadow have equal keys.
pub trait StoredRows {
    /// The next rows with their keys, in no particular order, each once; `None` after the last. May be empty in between.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn page(&mut self) -> Result<Option<Vec<(String, Row)>>, SinkError>;

    /// The rows of these keys, in their order; `None` where there is none.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn get(&mut self, keys: &[String]) -> Result<Vec<Option<Row>>, SinkError>;

    /// Whether there is anything to read: a table may not have been created yet.
    ///
    /// # Errors
    /// If the store cannot be asked.
    fn exists(&mut self) -> Result<bool, SinkError> {
        Ok(true)
    }

    /// Removes everything that the job has there, marks of deleted rows included: tables and files that a shadow has to itself as a
    /// whole. `may` is asked before each step.
    ///
    /// # Errors
    /// If the store cannot be read or written, or holds what is another job's; what `may` says.
    fn remove_all(&mut self, may: &dyn Fn() -> Result<(), SinkError>) -> Result<(), SinkError>;

    /// What is read, for people.
    fn place(&self) -> &str;
}

/// The rows of a store that has not been made yet.
#[derive(Clone, Copy, Debug)]
pub struct NoRows;

impl StoredRows for NoRows {
    fn page(&mut self) -> Result<Option<Vec<(String, Row)>>, SinkError> {
        Ok(None)
    }

    fn get(&mut self, keys: &[String]) -> Result<Vec<Option<Row>>, SinkError> {
        Ok(vec![None; keys.len()])
    }

    fn remove_all(&mut self, _: &dyn Fn() -> Result<(), SinkError>) -> Result<(), SinkError> {
        Ok(())
    }

    fn place(&self) -> &str {
        "a store that has not been made yet"
    }
}

/// Opens the rows of a sink; they begin with the first page.
///
/// # Errors
/// If the sink only appends, or its store cannot be read.
pub fn open(config: &SinkConfig, context: &SinkContext) -> Result<Box<dyn StoredRows>, SinkError> {
    Ok(match config {
        SinkConfig::Redis(config) => Box::new(RedisRows::open(config, context)?),
        SinkConfig::Dynamodb(config) => Box::new(DynamodbRows::open(config, context)?),
        SinkConfig::Embedded(config) => Box::new(EmbeddedRows::open(config, context)?),
        SinkConfig::Kafka(_)
        | SinkConfig::Files(_)
        | SinkConfig::Stdout(_)
        | SinkConfig::Blackhole(_) => {
            return Err(context.misconfigured(
                "its rows cannot be read back by key; that goes for redis, dynamodb and embedded"
                    .to_owned(),
            ));
        }
    })
}

/// Whether a stored row is one of this job's that has not been deleted.
pub(super) fn is_live(row: &Row, job: &str) -> bool {
    row.get(field::JOB).is_some_and(|owner| owner == job) && !row.contains_key(field::DELETED)
}
