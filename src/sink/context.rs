//! What a writer knows about itself.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidewright_checkpoints::Generation;

use super::{
    SinkError,
    cell::{self, Cells},
    embedded::EmbeddedStores,
    json,
    verdict::field,
};
use crate::dead_letter::{Cause, DeadLetter};

/// What a writer knows about itself: whose rows it writes, and which.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// The job's name, written into every row.
    pub job: Arc<str>,
    /// The sink's name in the job file.
    pub sink: Arc<str>,
    /// The name of the relation that it is fed from.
    pub relation: Arc<str>,
    /// The number of this writer among the sink's writers: part of Kafka's transactional id. Zero if there is one.
    pub writer: usize,
    /// The claim of the job that writes.
    pub generation: Generation,
    /// The relation's visible columns.
    pub schema: SchemaRef,
    /// The columns that identify a row; empty if nothing does.
    pub key: Vec<usize>,
    /// Whether the relation is a table: its rows change, so that they need a keyed writer. Rows of streams come once.
    pub table: bool,
    /// The embedded stores of this process.
    pub stores: EmbeddedStores,
}

impl SinkContext {
    /// Begins messages about this sink: what it is and where it writes to.
    #[must_use]
    pub fn place(&self, store: &str) -> String {
        format!("sink {} ({store})", self.sink)
    }

    /// A dead letter for a row that a store refuses for good; holds the row as JSON.
    #[must_use]
    pub fn refused(&self, cells: &Cells<'_>, row: usize, reason: String) -> DeadLetter {
        let mut payload = String::new();
        json::write_row(&mut payload, cells, row);
        DeadLetter {
            relation: self.relation.clone(),
            origin: format!("sink {}", self.sink),
            cause: Cause::Refused,
            reason,
            payload: payload.into_bytes(),
        }
    }

    /// Checks what every keyed writer needs.
    ///
    /// # Errors
    /// [`SinkError::Fatal`] if the relation has no key, or a column has the name of one of the writer's own fields.
    pub fn check_keyed(&self) -> Result<(), SinkError> {
        if self.key.is_empty() {
            return Err(self.misconfigured(format!(
                "{} has no key; rows without a key can go to kafka, files, stdout or blackhole",
                self.relation
            )));
        }
        let mut names = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str());
        match names.find(|name| field::RESERVED.contains(name)) {
            Some(name) => Err(self.misconfigured(format!(
                "the column {name} has the name of a field that the sink writes itself; rename it with AS"
            ))),
            None => Ok(()),
        }
    }

    /// Checks what every append writer needs.
    ///
    /// # Errors
    /// [`SinkError::Fatal`] if the relation is a table.
    pub fn check_append(&self) -> Result<(), SinkError> {
        if self.table {
            return Err(self.misconfigured(format!(
                "{} is a table, whose rows change; it can go to redis, dynamodb, embedded, stdout or blackhole",
                self.relation
            )));
        }
        Ok(())
    }

    /// Checks that every column's type can be written.
    ///
    /// # Errors
    /// [`SinkError::Fatal`] with the first column that cannot.
    pub fn check_types(&self) -> Result<(), SinkError> {
        let mut fields = self.schema.fields().iter();
        match fields.find(|field| !cell::is_supported(field.data_type())) {
            Some(field) => Err(self.misconfigured(format!(
                "the column {} has the type {}, which no sink can write",
                field.name(),
                field.data_type()
            ))),
            None => Ok(()),
        }
    }

    /// An error in the job file, with the sink's name.
    #[must_use]
    pub fn misconfigured(&self, message: String) -> SinkError {
        SinkError::Fatal(format!("sink {}: {message}", self.sink))
    }
}
