//! Rows of a view from the state in a checkpoint, without running the job.
//!
//! A view's rows are those of the operator that keeps them, after the filters and projections behind it. What differential
//! dataflow derives is not in checkpoints, and streams leave none: such views are refused with what can be read instead.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use tidewright_checkpoints::restore::Restored;
use tidewright_checkpoints::shard_range::ShardRange;
use tidewright_jobs::plan::{Node, NodeId, Op, Plan, RelationKind, SourceKind};
use tidewright_operators::Output;

use super::node_state;
use super::stateless::Stage;
use crate::runtime::upgrade;

/// The rows of a view, as far as its state goes.
#[derive(Debug)]
pub struct ViewRows {
    /// The view's columns.
    pub schema: SchemaRef,
    /// Those that identify a row.
    pub key: Vec<usize>,
    /// The rows.
    pub batches: Vec<RecordBatch>,
}

/// A view whose rows are not in the state; the message says why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(String);

impl ReadError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Reads the rows of a view or source.
///
/// # Errors
/// [`ReadError`] if there is no such view, its rows are not in the state, or the state is not what the plan says.
pub fn rows(plan: &Plan, restored: &Restored, view: &str) -> Result<ViewRows, ReadError> {
    let node = node_of(plan, view)?;
    let result = &plan.nodes[node.0];
    let mut batches = Vec::new();
    let visible: Vec<usize> = (0..result.schema.fields().len()).collect();
    for batch in read(plan, restored, node)? {
        let batch = batch.project(&visible).map_err(ReadError::of)?;
        // Hidden columns are gone, so that all batches have one schema.
        let batch = RecordBatch::try_new(result.schema.clone(), batch.columns().to_vec())
            .map_err(ReadError::of)?;
        batches.push(batch);
    }
    Ok(ViewRows {
        schema: result.schema.clone(),
        key: key_of(result),
        batches,
    })
}

/// The names of all views and table sources whose rows are in the state.
#[must_use]
pub fn readable(plan: &Plan) -> Vec<String> {
    let sources = plan.sources.iter();
    let sources = sources.map(|source| (&source.name, source.node));
    let views = plan.views.iter().map(|(name, node)| (name, *node));
    sources
        .chain(views)
        .filter(|(_, node)| unreadable(plan, *node).is_none())
        .map(|(name, _)| name.clone())
        .collect()
}

fn node_of(plan: &Plan, view: &str) -> Result<NodeId, ReadError> {
    let sources = plan.sources.iter();
    let mut sources = sources.map(|source| (source.name.as_str(), source.node));
    let mut views = plan.views.iter().map(|(name, node)| (name.as_str(), *node));
    let found = views.find(|(name, _)| *name == view);
    let found = found.or_else(|| sources.find(|(name, _)| *name == view));
    let instead = || format!("what can be read: {}", readable(plan).join(", "));
    let Some((_, node)) = found else {
        return Err(ReadError(format!(
            "the job has no view or source {view}; {}",
            instead()
        )));
    };
    match unreadable(plan, node) {
        None => Ok(node),
        Some(reason) => Err(ReadError(format!(
            "the rows of {view} are not in the state: {reason}; {}",
            instead()
        ))),
    }
}

/// Why a node's rows are not in the state; `None` if they are.
fn unreadable(plan: &Plan, node: NodeId) -> Option<&'static str> {
    match &plan.nodes[node.0].op {
        Op::Filter { input, .. } | Op::Project { input, .. } => unreadable(plan, *input),
        Op::Window(_) | Op::Rolling(_) | Op::KeyJoin { .. } => None,
        Op::Source { source } => match plan.sources[*source].kind {
            SourceKind::Table { .. } => None,
            SourceKind::Stream { .. } => Some("it is a stream, whose rows pass by"),
        },
        Op::Union { .. } | Op::Lookup { .. } => Some("it is a stream, whose rows pass by"),
        Op::TableJoin { .. } | Op::TableAggregate { .. } => {
            Some("they are derived from other tables whenever the job starts")
        }
    }
}

fn read(plan: &Plan, restored: &Restored, at: NodeId) -> Result<Vec<RecordBatch>, ReadError> {
    let node = &plan.nodes[at.0];
    let stage = match &node.op {
        Op::Filter { input, predicate } => {
            let schema = &plan.nodes[input.0].schema;
            Some((*input, Stage::filter(&node.name, predicate, schema)))
        }
        Op::Project { input, exprs } => {
            let schema = &plan.nodes[input.0].schema;
            let stage = Stage::project(&node.name, exprs, schema, &node.schema);
            Some((*input, stage))
        }
        _ => None,
    };
    match stage {
        None => state(plan, restored, node),
        Some((input, stage)) => read(plan, restored, input)?
            .into_iter()
            .map(|batch| stage.evaluate(batch).map_err(ReadError::of))
            .collect(),
    }
}

/// The rows that an operator keeps.
fn state(plan: &Plan, restored: &Restored, node: &Node) -> Result<Vec<RecordBatch>, ReadError> {
    let found = node_state::state_name(plan, node).zip(node_state::operator(plan, node));
    let Some((name, mut operator)) = found else {
        return Err(ReadError(format!("{} keeps no state", node.name)));
    };
    let id = upgrade::kept_as(&restored.manifest, &name).map_err(ReadError)?;
    // Bytes are only given to an operator that they mean the same to.
    if let Some(written) = restored.manifest.operators.get(&id)
        && *written != node_state::fingerprint(plan, node)
    {
        return Err(ReadError(format!(
            "operator {id} has another form in this release than in the checkpoint: read it with the release that wrote it"
        )));
    }
    for delta in restored.deltas(&id, ShardRange::ALL) {
        operator
            .restore(delta.map_err(ReadError::of)?)
            .map_err(ReadError::of)?;
    }
    operator.restored().map_err(ReadError::of)?;
    let mut output = Output::default();
    operator.peek(&mut output).map_err(ReadError::of)?;
    Ok(output.rows)
}

fn key_of(node: &Node) -> Vec<usize> {
    match &node.kind {
        RelationKind::Table { key } => key.clone(),
        RelationKind::Stream { key, .. } => key.clone().unwrap_or_default(),
        RelationKind::Bag => Vec::new(),
    }
}
