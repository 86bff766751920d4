//! A part of a plan: what some views and sinks are made by, and nothing else.

use std::collections::BTreeSet;

use super::{NodeId, Op, Plan, RollingOp, SinkInput, WindowOp};

impl Op {
    /// The nodes that it reads, in port order.
    #[must_use]
    pub fn inputs(&self) -> Vec<NodeId> {
        match self {
            Self::Source { .. } => vec![],
            Self::Filter { input, .. }
            | Self::Project { input, .. }
            | Self::Window(WindowOp { input, .. })
            | Self::Rolling(RollingOp { input, .. })
            | Self::TableAggregate { input, .. } => vec![*input],
            Self::Union { inputs } => inputs.clone(),
            Self::Lookup { input, table, .. } => vec![*table, *input],
            Self::KeyJoin { left, right, .. } | Self::TableJoin { left, right, .. } => {
                vec![*left, *right]
            }
        }
    }

    /// Lets it read other nodes.
    fn read_from(&mut self, place: impl Fn(NodeId) -> NodeId) {
        match self {
            Self::Source { .. } => {}
            Self::Filter { input, .. }
            | Self::Project { input, .. }
            | Self::Window(WindowOp { input, .. })
            | Self::Rolling(RollingOp { input, .. })
            | Self::TableAggregate { input, .. } => *input = place(*input),
            Self::Union { inputs } => inputs.iter_mut().for_each(|input| *input = place(*input)),
            Self::Lookup {
                input: a, table: b, ..
            }
            | Self::KeyJoin {
                left: a, right: b, ..
            }
            | Self::TableJoin {
                left: a, right: b, ..
            } => {
                *a = place(*a);
                *b = place(*b);
            }
        }
    }
}

impl Plan {
    /// The plan of these views and sinks alone. Nodes keep their names, so their state does.
    #[must_use]
    pub fn narrowed(&self, views: &BTreeSet<String>, sinks: &BTreeSet<String>) -> Self {
        let mut plan = self.clone();
        plan.sinks.retain(|sink| sinks.contains(&sink.name));
        let fed = plan.sinks.iter().filter_map(|sink| match sink.input {
            SinkInput::Node(node) => Some(node),
            SinkInput::DeadLetters | SinkInput::Late => None,
        });
        let wanted = self.views.iter().filter(|(name, _)| views.contains(name));
        let needed = self.needed(fed.chain(wanted.map(|(_, node)| *node)));
        let place = |NodeId(node): NodeId| NodeId(before(&needed, node));
        let read: Vec<bool> = plan
            .sources
            .iter()
            .map(|source| needed[source.node.0])
            .collect();
        keep(&mut plan.sources, &read);
        keep(&mut plan.nodes, &needed);
        plan.views.retain(|(_, NodeId(node))| needed[*node]);
        for node in &mut plan.nodes {
            node.op.read_from(place);
            if let Op::Source { source } = &mut node.op {
                *source = before(&read, *source);
            }
        }
        let sources = plan.sources.iter_mut().map(|source| &mut source.node);
        let views = plan.views.iter_mut().map(|(_, node)| node);
        sources.chain(views).for_each(|node| *node = place(*node));
        for sink in &mut plan.sinks {
            if let SinkInput::Node(node) = &mut sink.input {
                *node = place(*node);
            }
        }
        plan
    }

    /// By node, whether any of these is made of it.
    fn needed(&self, wanted: impl Iterator<Item = NodeId>) -> Vec<bool> {
        let mut needed = vec![false; self.nodes.len()];
        wanted.for_each(|NodeId(node)| needed[node] = true);
        for (at, node) in self.nodes.iter().enumerate().rev() {
            if needed[at] {
                node.op
                    .inputs()
                    .iter()
                    .for_each(|input| needed[input.0] = true);
            }
        }
        needed
    }
}

/// How many of those before this one stay.
fn before(stays: &[bool], at: usize) -> usize {
    stays[..at].iter().filter(|stays| **stays).count()
}

fn keep<T>(all: &mut Vec<T>, stays: &[bool]) {
    let mut stays = stays.iter();
    all.retain(|_| stays.next().is_some_and(|stays| *stays));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile;

    const JOB: &str = "
name: shop
sources:
  clicks: { datagen: { kind: events }, schema: { user_id: string, ts: timestamp_ms }, event_time: { column: ts } }
  events:
    files: { path: events.jsonl }
    schema: { user_id: string, ts: timestamp_ms }
    event_time: { column: ts }
  profiles: { files: { path: profiles.jsonl }, primary_key: [user_id], schema: { user_id: string, segment: string } }
views:
  other: \"SELECT user_id, count(*) AS n FROM rolling(clicks, INTERVAL '1 hour', INTERVAL '1 minute') GROUP BY user_id\"
  recent: \"SELECT user_id, count(*) AS n FROM rolling(events, INTERVAL '1 hour', INTERVAL '1 minute') GROUP BY user_id\"
  customer: SELECT p.user_id, p.segment, r.n FROM profiles p LEFT JOIN recent r ON p.user_id = r.user_id
sinks:
  a: { from: other, blackhole: {} }
  b: { from: customer, blackhole: {} }
  c: { from: recent, blackhole: {} }
";

    #[test]
    fn a_part_of_a_plan_holds_what_it_is_made_by_and_is_one() {
        let plan = compile("shop.yaml", JOB, &[], &|_| None).unwrap().plan;
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let part = plan.narrowed(&names(&["recent"]), &names(&["b"]));
        let sources: Vec<_> = part
            .sources
            .iter()
            .map(|source| source.name.as_str())
            .collect();
        assert_eq!(sources, ["events", "profiles"]);
        let views: Vec<_> = part.views.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(views, ["recent", "customer"]);
        // The texts name every input, so nothing is mixed up.
        let whole = plan.logic();
        for (node, logic) in part.nodes.iter().zip(part.logic()) {
            let at = plan
                .nodes
                .iter()
                .position(|other| other.name == node.name)
                .unwrap();
            assert_eq!(logic, whole[at], "{}", node.name);
        }
        for source in &part.sources {
            assert_eq!(part.nodes[source.node.0].name, source.name);
        }
        let alone = plan.narrowed(&names(&["recent"]), &BTreeSet::new());
        assert_eq!((alone.sources.len(), alone.sinks.len()), (1, 0));
    }
}
