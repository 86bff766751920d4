//! Which worker has which part of an operator's state, whichever worker wrote it.

use std::collections::BTreeMap;

use tidewright_checkpoints::restore::Owned;
use tidewright_checkpoints::{OperatorId, Shard, ShardRange};
use tidewright_jobs::job::SinkConfig;
use tidewright_jobs::plan::{Node, Plan, SinkPlan};

use super::{node_state, sinks};
use crate::runtime::context::Place;
use crate::runtime::upgrade;
use crate::source::owner_of_split;

/// Who has an operator's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// All workers, each the keys that it owns.
    ByKey,
    /// All workers, each the keys of the splits of this source that it reads.
    BySplit(String),
    /// Worker 0, for what can be in one place only: a log with one order, a file on one machine.
    First,
}

impl Owner {
    pub fn of_node(plan: &Plan, node: &Node) -> Self {
        match plan.partition_local(node) {
            Some(source) => Self::BySplit(plan.sources[source].name.clone()),
            None => Self::ByKey,
        }
    }

    pub fn of_outbox(sink: &SinkPlan, processes: usize) -> Self {
        // A file can be open in one process only.
        let single = processes > 1 && matches!(sink.config, SinkConfig::Embedded(_));
        match single || !sinks::is_keyed(&sink.config) {
            true => Self::First,
            false => Self::ByKey,
        }
    }

    /// Whether a worker has any of it, or may have.
    pub fn owns(&self, worker: usize) -> bool {
        *self != Self::First || worker == 0
    }

    /// Who has a shard of it among so many workers.
    fn of_shard(&self, shard: Shard, workers: usize) -> usize {
        match self {
            Self::ByKey => shard.owner(workers),
            Self::BySplit(source) => owner_of_split(source, shard.0.into(), workers),
            Self::First => 0,
        }
    }

    /// The shards that a worker has of it.
    pub fn shards(&self, worker: usize, workers: usize) -> Vec<ShardRange> {
        match self {
            Self::ByKey => vec![ShardRange::owned_by(worker, workers)],
            Self::First if worker == 0 => vec![ShardRange::ALL],
            Self::First => Vec::new(),
            Self::BySplit(_) => {
                let all = (0..tidewright_checkpoints::SHARDS).map(Shard);
                let own = all.filter(|shard| self.of_shard(*shard, workers) == worker);
                own.map(|shard| (shard.0..shard.0 + 1).into()).collect()
            }
        }
    }
}

/// What the workers of a process have of a checkpoint.
#[must_use]
pub fn owned(plan: &Plan, place: Place) -> Owned {
    let owners = owners(plan, place.processes);
    Box::new(move |operator: &OperatorId, shard| {
        // What no operator of the job asks for is not needed.
        let owner = owners.get(upgrade::name_of(operator));
        owner.is_some_and(|owner| place.is_here(owner.of_shard(shard, place.workers())))
    })
}

/// Who has the state of each operator, by the operator's name.
fn owners(plan: &Plan, processes: usize) -> BTreeMap<String, Owner> {
    let nodes = plan.nodes.iter().filter_map(|node| {
        let name = node_state::state_name(plan, node)?;
        Some((name, Owner::of_node(plan, node)))
    });
    let outboxes = plan.sinks.iter().map(|sink| {
        let name = sinks::state_name(&sink.name);
        (name, Owner::of_outbox(sink, processes))
    });
    nodes.chain(outboxes).collect()
}

#[cfg(test)]
mod tests {
    use tidewright_jobs::compile;

    use super::*;

    const JOB: &str = "
name: shop
sources:
  events:
    kafka: { brokers: 'b:1', topic: events, partitioned_by: user_id }
    schema: { user_id: string, type: string, ts: timestamp_ms }
    event_time: { column: ts, out_of_orderness: 5s }
views:
  users: SELECT user_id, count(*) AS n FROM rolling(events, INTERVAL '1 hour', INTERVAL '1 minute') GROUP BY user_id
  types: SELECT type, count(*) AS n FROM rolling(events, INTERVAL '1 hour', INTERVAL '1 minute') GROUP BY type
sinks:
  hot: { from: users, redis: { url: 'redis://h', key: 'u:{user_id}' } }
  here: { from: users, embedded: { path: e } }
  log: { from: types, files: { path: l } }
";

    /// What a process must load is what its workers restore, and every part of the state has exactly one of them.
    #[test]
    fn every_shard_of_every_operator_is_loaded_by_the_process_that_restores_it() {
        let plan = compile("shop.yaml", JOB, &[], &|_| None).unwrap().plan;
        for (processes, threads) in [(1, 1), (1, 3), (2, 1), (3, 2), (7, 1)] {
            let place = |process| Place {
                processes,
                process,
                threads,
            };
            let workers = processes * threads;
            let all = owners(&plan, processes);
            assert_eq!(all.len(), 5);
            let loaded: Vec<_> = (0..processes)
                .map(|process| owned(&plan, place(process)))
                .collect();
            for ((name, owner), shard) in all
                .iter()
                .flat_map(|one| (0..1024).map(move |shard| (one, Shard(shard))))
            {
                let restores: Vec<_> = (0..workers)
                    .filter(|worker| {
                        let shards = owner.shards(*worker, workers);
                        shards.iter().any(|range| range.contains(shard))
                    })
                    .collect();
                let [worker] = restores[..] else {
                    panic!("{name}, {shard:?}: {restores:?}");
                };
                let id = OperatorId(format!("{name}@3"));
                for (process, owned) in loaded.iter().enumerate() {
                    let loads = owned(&id, shard);
                    assert_eq!(loads, place(process).is_here(worker), "{name}, {shard:?}");
                }
            }
        }
    }

    /// State that nobody owns would be loaded by nobody.
    #[test]
    fn everything_that_keeps_state_has_an_owner() {
        let plan = compile("shop.yaml", JOB, &[], &|_| None).unwrap().plan;
        let keeps = crate::dataflow::stateful_operators(&plan);
        for processes in [1, 2] {
            assert!(keeps.keys().eq(owners(&plan, processes).keys()));
        }
    }

    #[test]
    fn state_without_a_place_in_the_job_is_not_loaded() {
        let plan = compile("shop.yaml", JOB, &[], &|_| None).unwrap().plan;
        let place = Place {
            processes: 1,
            process: 0,
            threads: 1,
        };
        let id = OperatorId("gone/rolling".to_owned());
        assert!(!owned(&plan, place)(&id, Shard(0)));
    }
}
