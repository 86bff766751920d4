//! The plan's sinks: what each of them is, its outbox and its delivery.

mod delivery;
mod feed;
mod outboxes;

use arrow::datatypes::SchemaRef;
use tidewright_jobs::job::SinkConfig;
use tidewright_jobs::plan::{Plan, RelationKind, SinkInput, SinkPlan};
use tidewright_operators::codec::RowCodec;

pub use self::delivery::deliver;
pub use self::outboxes::outboxes;
use super::node_state;
use crate::runtime::deliver::Outgoing;

/// A sink whose outbox is in the dataflow.
pub struct OutgoingSink {
    sink: SinkPlan,
    outgoing: Outgoing,
    schema: SchemaRef,
    key: Vec<usize>,
    rows: RowCodec,
}

/// Whether a sink's store is written by key; all others only append.
pub fn is_keyed(config: &SinkConfig) -> bool {
    matches!(
        config,
        SinkConfig::Redis(_) | SinkConfig::Dynamodb(_) | SinkConfig::Embedded(_)
    )
}

/// The columns that identify a row; empty if nothing does.
pub(super) fn key(kind: &RelationKind) -> Vec<usize> {
    match kind {
        RelationKind::Table { key } => key.clone(),
        RelationKind::Stream { key, .. } => key.clone().unwrap_or_default(),
        RelationKind::Bag => Vec::new(),
    }
}

/// What a sink is called among operators.
fn stage_name(sink: &str) -> String {
    format!("sink/{sink}")
}

/// The stable name of a sink's outbox.
pub fn state_name(sink: &str) -> String {
    format!("sink/{sink}")
}

/// The name of what a sink is fed from.
pub fn relation(plan: &Plan, sink: &SinkPlan) -> String {
    match sink.input {
        SinkInput::DeadLetters => "dead_letter".to_owned(),
        SinkInput::Late => "late".to_owned(),
        SinkInput::Node(node) => {
            let view = plan.views.iter().find(|(_, view)| *view == node);
            view.map_or_else(|| plan.nodes[node.0].name.clone(), |(name, _)| name.clone())
        }
    }
}

/// A hash of what gives a sink's outbox its meaning: the columns of its rows, and how they are kept.
pub fn fingerprint(plan: &Plan, sink: &SinkPlan) -> u64 {
    let columns = match sink.input {
        SinkInput::Node(node) => format!("{:?}", node_state::columns(&plan.nodes[node.0].schema)),
        SinkInput::DeadLetters | SinkInput::Late => "letters".to_owned(),
    };
    let kind = if is_keyed(&sink.config) {
        "keyed"
    } else {
        "append"
    };
    tidewright_checkpoints::ids::key_hash(format!("{kind} {columns}").as_bytes())
}
