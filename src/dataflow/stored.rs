//! Reading back what a sink's store holds.

use std::path::Path;

use tidewright_checkpoints::Generation;
use tidewright_jobs::job::SinkConfig;
use tidewright_jobs::plan::{Plan, SinkInput, SinkPlan};

use super::sinks::{key, relation};
use crate::sink::rows::{self, NoRows, StoredRows};
use crate::sink::{EmbeddedStores, SinkContext, SinkError};

/// The rows that a keyed sink's store holds of a job.
///
/// # Errors
/// If the sink only appends, or its store cannot be read.
pub fn stored_rows(
    plan: &Plan,
    sink: &SinkPlan,
    stores: &EmbeddedStores,
) -> Result<Box<dyn StoredRows>, SinkError> {
    let (schema, key) = match sink.input {
        SinkInput::Node(node) => {
            let node = &plan.nodes[node.0];
            (node.schema.clone(), key(&node.kind))
        }
        SinkInput::DeadLetters | SinkInput::Late => (crate::dead_letter::schema(), Vec::new()),
    };
    let context = SinkContext {
        job: plan.name.as_str().into(),
        sink: sink.name.as_str().into(),
        relation: relation(plan, sink).into(),
        writer: 0,
        generation: Generation(0),
        schema,
        key,
        table: true,
        stores: stores.clone(),
    };
    rows::open(&sink.config, &context)
}

/// The same; none where there is no store yet, because nothing has been written.
///
/// # Errors
/// If the sink only appends, or its store cannot be read.
pub fn rows_if_any(
    plan: &Plan,
    sink: &SinkPlan,
    stores: &EmbeddedStores,
) -> Result<Box<dyn StoredRows>, SinkError> {
    if let SinkConfig::Embedded(config) = &sink.config
        && !Path::new(&config.path).exists()
    {
        return Ok(Box::new(NoRows));
    }
    let mut rows = stored_rows(plan, sink, stores)?;
    match rows.exists()? {
        true => Ok(rows),
        false => Ok(Box::new(NoRows)),
    }
}
