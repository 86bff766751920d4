//! Which sinks can be sent their whole table again: those whose table is in the restored state, or follows from it.

use std::collections::BTreeSet;

use tidewright_jobs::plan::{NodeId, Op, Plan, RelationKind, SinkInput, SinkPlan};

use super::sinks::is_keyed;
use crate::runtime::clock;

/// The nodes that feed these sinks.
pub(super) fn nodes(plan: &Plan, sinks: &BTreeSet<String>) -> Vec<NodeId> {
    let chosen = plan.sinks.iter().filter(|sink| sinks.contains(&sink.name));
    chosen.filter_map(node).collect()
}

fn node(sink: &SinkPlan) -> Option<NodeId> {
    match sink.input {
        SinkInput::Node(node) => Some(node),
        SinkInput::DeadLetters | SinkInput::Late => None,
    }
}

/// Checks that these are sinks whose whole table can be sent again.
///
/// # Errors
/// With the first that is not, and why.
pub fn check(plan: &Plan, sinks: &BTreeSet<String>) -> Result<(), String> {
    for name in sinks {
        let Some(sink) = plan.sinks.iter().find(|sink| sink.name == *name) else {
            let names: Vec<_> = plan.sinks.iter().map(|sink| sink.name.as_str()).collect();
            return Err(format!(
                "there is no sink {name} to send again; there are: {}",
                names.join(", ")
            ));
        };
        if !is_keyed(&sink.config) {
            return Err(format!(
                "sink {name} only appends: it cannot be sent again, because it would hold rows twice"
            ));
        }
        if !is_resendable(plan, sink) {
            return Err(format!(
                "sink {name} cannot be sent again: its rows are those of closed windows, which are not kept in state. Replay \
                 the job instead (--restore none --from-earliest)"
            ));
        }
    }
    Ok(())
}

/// Whether a sink's whole table can be sent again.
pub(super) fn is_resendable(plan: &Plan, sink: &SinkPlan) -> bool {
    is_keyed(&sink.config) && node(sink).is_some_and(|node| is_whole(plan, node))
}

/// Whether the restored state gives the whole content of a relation.
pub(super) fn is_whole(plan: &Plan, at: NodeId) -> bool {
    let node = &plan.nodes[at.0];
    match (&node.kind, &node.op) {
        (RelationKind::Stream { .. }, _) | (_, Op::Window(_) | Op::Lookup { .. }) => false,
        // These keep their content, or a durable operator in front of them does.
        (_, Op::Source { .. } | Op::Rolling(_) | Op::KeyJoin { .. }) => true,
        (
            _,
            Op::Filter { .. }
            | Op::Project { .. }
            | Op::Union { .. }
            | Op::TableJoin { .. }
            | Op::TableAggregate { .. },
        ) => clock::inputs(&node.op)
            .into_iter()
            .all(|input| is_whole(plan, NodeId(input))),
    }
}

#[cfg(test)]
mod tests {
    use tidewright_jobs::compile;

    use super::*;

    const JOB: &str = "
name: shop
sources:
  events:
    files: { path: events.jsonl }
    schema: { user_id: string, ts: timestamp_ms }
    event_time: { column: ts, out_of_orderness: 5s }
  profiles:
    files: { path: profiles.jsonl }
    primary_key: [user_id]
    schema: { user_id: string, segment: string }
views:
  minutes: |
    SELECT user_id, window_start, count(*) AS n FROM tumble(events, INTERVAL '1 minute')
    GROUP BY user_id, window_start
  revised:
    lateness: 1h
    sql: |
      SELECT user_id, window_start, count(*) AS n FROM tumble(events, INTERVAL '1 minute')
      GROUP BY user_id, window_start
  recent: |
    SELECT user_id, count(*) AS n FROM rolling(events, INTERVAL '1 hour', INTERVAL '1 minute') GROUP BY user_id
  customer: |
    SELECT p.user_id, p.segment, r.n FROM profiles p LEFT JOIN recent r ON p.user_id = r.user_id WHERE p.segment <> 'x'
  segments: |
    SELECT segment, count(*) AS customers FROM customer GROUP BY segment
sinks:
  minutes_store: { from: minutes, embedded: { path: a } }
  revised_store: { from: revised, embedded: { path: b } }
  recent_store: { from: recent, embedded: { path: c } }
  customer_store: { from: customer, embedded: { path: d } }
  segments_store: { from: segments, embedded: { path: e } }
  log: { from: minutes, files: { path: f } }
";

    #[test]
    fn tables_that_state_holds_can_be_sent_again_and_nothing_else() {
        let plan = compile("shop.yaml", JOB, &[], &|_| None).unwrap().plan;
        let check = |name: &str| check(&plan, &[name.to_owned()].into());
        for name in ["recent_store", "customer_store", "segments_store"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for (name, part) in [
            ("minutes_store", "closed windows"),
            ("revised_store", "closed windows"),
            ("log", "only appends"),
            ("cold", "there are: minutes_store"),
        ] {
            let error = check(name).unwrap_err();
            assert!(error.contains(part), "{name}: {error}");
        }
    }
}
