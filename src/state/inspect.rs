//! What a checkpoint or savepoint holds, in numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tidewright_checkpoints::manifest::{CheckpointKind, SplitState};
use tidewright_checkpoints::restore::Restored;
use tidewright_checkpoints::{OperatorId, Shard, state_file};
use tidewright_jobs::plan::{Node, Plan, RelationKind};
use tidewright_operators::codec::ROW_FORMAT;

use super::{Opened, StateError};
use crate::dataflow::read;

/// The content of a checkpoint or savepoint.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where it is.
    pub location: String,
    /// The job's name.
    pub job: String,
    /// Why it was taken.
    pub kind: CheckpointKind,
    /// The epoch of the cut.
    pub epoch: u64,
    /// The claim of the process that published it.
    pub generation: u64,
    /// When it was made: wall clock, milliseconds since 1970.
    pub created_ms: u64,
    /// How many workers the job had.
    pub workers: u32,
    /// The versions of the forms in it.
    pub formats: Formats,
    /// State files.
    pub files: usize,
    /// The bytes of all state files.
    pub bytes: u64,
    /// Per source and split how far it has been read.
    pub sources: BTreeMap<String, BTreeMap<String, SplitState>>,
    /// Watermark of each relation, in milliseconds of event time; the least number before its first row, the greatest after
    /// its last.
    pub watermarks: BTreeMap<String, i64>,
    /// Per sink the epoch up to which everything has been acknowledged.
    pub delivered: BTreeMap<String, u64>,
    /// What keeps state, outboxes of sinks included.
    pub operators: Vec<OperatorReport>,
    /// Views and sources; empty if the checkpoint does not say what they are.
    pub views: Vec<ViewReport>,
}

/// The versions of durable forms.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Formats {
    /// Of the manifest.
    pub manifest: u32,
    /// Of state files.
    pub state_file: u16,
    /// Of rows in state.
    pub row: u8,
}

/// The state of one operator.
#[derive(Clone, Debug, Serialize)]
pub struct OperatorReport {
    /// Its stable name.
    pub operator: OperatorId,
    /// The fingerprint of what its state means, in hexadecimal.
    pub fingerprint: String,
    /// Entries: of a key one for each pane, tile, split or side.
    pub entries: u64,
    /// Different keys.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// A view or source.
#[derive(Clone, Debug, Serialize)]
pub struct ViewReport {
    /// Its name.
    pub view: String,
    /// `stream` or `table`.
    pub kind: &'static str,
    /// The columns that identify a row.
    pub key: Vec<String>,
    /// Its columns.
    pub columns: Vec<String>,
    /// Whether `state get` and `state export` can read its rows here.
    pub readable: bool,
}

/// Counts what is there.
///
/// # Errors
/// [`StateError`] if a section is malformed.
pub fn inspect(opened: &Opened) -> Result<Report, StateError> {
    let Restored {
        manifest, files, ..
    } = &opened.restored;
    let shards = opened.restored.shards();
    let operators = manifest
        .operators
        .iter()
        .map(|(id, fingerprint)| count(&opened.restored, id, *fingerprint, &shards))
        .collect::<Result<_, _>>()?;
    let names: BTreeSet<&str> = files.iter().map(|(file, _)| &*file.name).collect();
    Ok(Report {
        location: opened.location.clone(),
        job: manifest.job.clone(),
        kind: manifest.kind,
        epoch: manifest.epoch.0,
        generation: manifest.generation.0,
        created_ms: manifest.created_ms,
        workers: manifest.workers,
        formats: Formats {
            manifest: manifest.format_version,
            state_file: state_file::FORMAT_VERSION,
            row: ROW_FORMAT,
        },
        files: names.len(),
        bytes: manifest.state_bytes(),
        sources: manifest.sources.clone(),
        watermarks: manifest.watermarks.clone(),
        delivered: manifest
            .delivered
            .iter()
            .map(|(sink, epoch)| (sink.clone(), epoch.0))
            .collect(),
        operators,
        // The rest is worth showing without them.
        views: opened.plan().map(|plan| views(&plan)).unwrap_or_default(),
    })
}

fn count(
    restored: &Restored,
    operator: &OperatorId,
    fingerprint: u64,
    shards: &BTreeSet<Shard>,
) -> Result<OperatorReport, StateError> {
    let mut report = OperatorReport {
        operator: operator.clone(),
        fingerprint: format!("{fingerprint:016x}"),
        entries: 0,
        keys: 0,
        bytes: 0,
    };
    for shard in shards {
        let merged = restored.merged(operator, *shard).map_err(StateError::of)?;
        // Sorted by key.
        let mut last = None;
        for entry in &merged.entries {
            let value = entry.value.as_ref().map_or(0, |value| value.len());
            report.entries += 1;
            report.keys += u64::from(last != Some(&entry.key));
            report.bytes += (entry.key.len() + value) as u64;
            last = Some(&entry.key);
        }
    }
    Ok(report)
}

fn views(plan: &Plan) -> Vec<ViewReport> {
    let readable = read::readable(plan);
    let sources = plan.sources.iter();
    let sources = sources.map(|source| (&source.name, source.node));
    let views = plan.views.iter().map(|(name, node)| (name, *node));
    let report = |(name, node): (&String, tidewright_jobs::plan::NodeId)| {
        let node = &plan.nodes[node.0];
        let columns: Vec<String> = node
            .schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        ViewReport {
            view: name.clone(),
            kind: match node.kind {
                RelationKind::Stream { .. } => "stream",
                RelationKind::Table { .. } | RelationKind::Bag => "table",
            },
            key: key(node).iter().map(|at| columns[*at].clone()).collect(),
            columns,
            readable: readable.contains(name),
        }
    };
    sources.chain(views).map(report).collect()
}

fn key(node: &Node) -> &[usize] {
    match &node.kind {
        RelationKind::Table { key } | RelationKind::Stream { key: Some(key), .. } => key,
        _ => &[],
    }
}
