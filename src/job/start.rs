//! Where Kafka sources begin, where the command line says so: positions instead of the job file's `start`.
//!
//! Without restored state a position counts as the job file's own would. With restored state it may only lie at or
//! beyond the checkpoint's: what lies between is skipped. Rows before it are in the state already and would count twice.

use std::collections::{BTreeMap, BTreeSet};

use tidewright_jobs::job::{KafkaSourceConfig, SourceConfig, StartPosition};
use tidewright_jobs::plan::{Plan, SourceKind, SourcePlan};

/// Offsets by source and partition, as in the file of `--from-offsets`.
pub type SourceOffsets = BTreeMap<String, BTreeMap<i32, i64>>;

/// A position in every topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// The first retained record.
    Earliest,
    /// The end at the time of the start.
    Latest,
    /// The first record at or after this time, in milliseconds since 1970.
    Timestamp(i64),
    /// These offsets; other sources and partitions are not moved.
    Offsets(SourceOffsets),
}

/// Which sources begin where, instead of what the job file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartOverride {
    /// The position.
    pub from: StartFrom,
    /// Only these sources; if empty, those that the position makes sense for.
    pub only: BTreeSet<String>,
}

impl StartOverride {
    /// Writes the positions into the plan and tells which sources have been moved.
    ///
    /// # Errors
    /// If a name is that of no Kafka source, or no source is left to move.
    pub fn apply(&self, plan: &mut Plan) -> Result<BTreeSet<String>, String> {
        for name in self.named() {
            check_is_kafka(plan, name)?;
        }
        let mut moved = BTreeSet::new();
        for source in &mut plan.sources {
            let Some(start) = self.position(source) else {
                continue;
            };
            if let SourceConfig::Kafka(KafkaSourceConfig { start: place, .. }) = &mut source.config
            {
                *place = start;
                moved.insert(source.name.clone());
            }
        }
        if moved.is_empty() {
            return Err(
                "a position is given, but the job has no Kafka source that it applies to: name \
                        sources with --from-sources"
                    .to_owned(),
            );
        }
        Ok(moved)
    }

    /// Sources that the user has named.
    fn named(&self) -> impl Iterator<Item = &String> {
        let offsets = match &self.from {
            StartFrom::Offsets(offsets) => Some(offsets.keys()),
            _ => None,
        };
        self.only.iter().chain(offsets.into_iter().flatten())
    }

    /// Where a source begins; `None` where it is not moved.
    fn position(&self, source: &SourcePlan) -> Option<StartPosition> {
        let chosen = self.only.contains(&source.name);
        if !chosen && !self.only.is_empty() {
            return None;
        }
        // A table that is read from its middle lacks rows: only who names it can want that.
        let whole = chosen || matches!(source.kind, SourceKind::Stream { .. });
        match &self.from {
            StartFrom::Earliest => Some(StartPosition::Earliest),
            StartFrom::Latest => whole.then_some(StartPosition::Latest),
            StartFrom::Timestamp(time) => whole.then_some(StartPosition::Timestamp(*time)),
            StartFrom::Offsets(offsets) => offsets
                .get(&source.name)
                .map(|offsets| StartPosition::Offsets(offsets.clone())),
        }
    }
}

fn check_is_kafka(plan: &Plan, name: &str) -> Result<(), String> {
    let is_kafka = |source: &&SourcePlan| matches!(source.config, SourceConfig::Kafka(_));
    let mut kafka = plan.sources.iter().filter(is_kafka);
    if kafka.clone().any(|source| source.name == *name) {
        return Ok(());
    }
    let names: Vec<_> = kafka.by_ref().map(|source| source.name.as_str()).collect();
    Err(format!(
        "a position is given for {name}, which is no Kafka source of the job; there are: {}",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use tidewright_jobs::compile;

    use super::*;

    const JOB: &str = "
name: shop
sources:
  events:
    kafka: { brokers: 'b:1', topic: events, start: latest }
    schema: { user_id: string, ts: timestamp_ms }
    event_time: { column: ts, out_of_orderness: 5s }
  profiles:
    kafka: { brokers: 'b:1', topic: profiles }
    primary_key: [user_id]
    schema: { user_id: string, segment: string }
  history:
    files: { path: history.jsonl }
    schema: { user_id: string }
sinks:
  a: { from: events, blackhole: {} }
  b: { from: profiles, blackhole: {} }
  c: { from: history, blackhole: {} }
";

    fn plan() -> Plan {
        compile("shop.yaml", JOB, &[], &|_| None).unwrap().plan
    }

    fn check(from: StartFrom, only: &[&str], expected: Result<&[(&str, StartPosition)], &str>) {
        let mut plan = plan();
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        let moved = StartOverride { from, only }.apply(&mut plan);
        let expected = match (&moved, expected) {
            (Ok(_), Ok(expected)) => expected,
            (Err(error), Err(part)) => return assert!(error.contains(part), "{error}"),
            other => panic!("{other:?}"),
        };
        let names: BTreeSet<String> = expected
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        assert_eq!(moved.unwrap(), names);
        for (name, position) in expected {
            let source = plan
                .sources
                .iter()
                .find(|source| source.name == *name)
                .unwrap();
            let SourceConfig::Kafka(config) = &source.config else {
                panic!("{name}");
            };
            assert_eq!(config.start, *position);
        }
    }

    #[test]
    fn a_position_applies_to_every_source_that_it_makes_sense_for() {
        use StartPosition::{Earliest, Latest, Timestamp};
        check(
            StartFrom::Earliest,
            &[],
            Ok(&[("events", Earliest), ("profiles", Earliest)]),
        );
        check(StartFrom::Latest, &[], Ok(&[("events", Latest)]));
        check(
            StartFrom::Timestamp(7),
            &[],
            Ok(&[("events", Timestamp(7))]),
        );
        check(
            StartFrom::Timestamp(7),
            &["profiles"],
            Ok(&[("profiles", Timestamp(7))]),
        );
    }

    #[test]
    fn offsets_move_the_sources_that_they_name() {
        let offsets = BTreeMap::from([(0, 5)]);
        let from = StartFrom::Offsets([("profiles".to_owned(), offsets.clone())].into());
        check(
            from,
            &[],
            Ok(&[("profiles", StartPosition::Offsets(offsets))]),
        );
    }

    #[test]
    fn names_of_other_sources_are_refused_with_those_that_there_are() {
        check(
            StartFrom::Latest,
            &["history"],
            Err("there are: events, profiles"),
        );
        let from = StartFrom::Offsets([("event".to_owned(), BTreeMap::new())].into());
        check(from, &[], Err("event, which is no Kafka source"));
    }
}
