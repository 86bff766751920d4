//! The sinks, each with what it is fed from.

use std::{collections::BTreeSet, sync::Arc};

use super::{Compilation, check_name};
use crate::{
    check::{self, Feed},
    diagnostics::{Fault, Report},
    job::{DeadLetterLimit, Delivery, SinkConfig, SourceConfig},
    plan::{SinkInput, SinkPlan},
    planner::Mapped,
    tree::{Entry, Tree, Value},
};

/// Where results go.
#[derive(Default)]
pub(super) struct Sinks {
    pub(super) sinks: Vec<SinkPlan>,
    pub(super) delivery: Vec<(String, Delivery)>,
    pub(super) dead_letter_limit: Option<DeadLetterLimit>,
}

impl Compilation<'_> {
    pub(super) fn is_sink_input(&self, name: &str) -> bool {
        let sinks = self.tree.get("sinks").map_or(&[][..], Tree::entries);
        let from = |entry: &Entry| entry.value.get("from")?.text().map(str::to_owned);
        sinks.iter().filter_map(from).any(|from| from == name)
    }

    pub(super) fn sinks(&mut self, mapped: &Mapped, report: &mut Report<'_>) -> Sinks {
        let feeds = feeds(mapped);
        let brokers = mapped
            .sources
            .iter()
            .find_map(|source| match &source.config {
                SourceConfig::Kafka(kafka) => Some(kafka.brokers.as_str()),
                _ => None,
            });
        let mut made = Sinks::default();
        let mut paths = BTreeSet::new();
        for entry in self.section("sinks", report) {
            report.take(check_name(entry));
            let tree = &entry.value;
            self.read
                .extend(tree.get("from").and_then(Tree::text).map(str::to_owned));
            let checked = check::sink(tree, &feeds, &self.failed, brokers, report);
            if let Some((SinkConfig::Files(files), ..)) = &checked
                && !paths.insert(files.path.clone())
            {
                let position = tree.position_of(&["files", "path"]);
                let message = "another sink writes this file: each needs one of its own";
                report.error(Fault::new(position, message));
            }
            if let Some((config, node, mode)) = checked {
                made.sinks.push(SinkPlan {
                    name: entry.key.clone(),
                    config,
                    input: SinkInput::Node(node),
                });
                made.delivery.push((entry.key.clone(), mode));
            }
        }
        self.letters(brokers, &mut made, report);
        made
    }

    /// The sinks of what could not be processed or came too late.
    fn letters(&self, brokers: Option<&str>, made: &mut Sinks, report: &mut Report<'_>) {
        let section = |key| {
            let tree = self.tree.get(key);
            tree.filter(|tree| !matches!(tree.value, Value::Null))
        };
        let special = |name: &str, config, input| SinkPlan {
            name: name.to_owned(),
            config,
            input,
        };
        if let Some(tree) = section("dead_letter")
            && let Some((config, limit)) = check::dead_letter(tree, brokers, report)
        {
            made.dead_letter_limit = limit;
            let input = SinkInput::DeadLetters;
            made.sinks
                .extend(config.map(|config| special("dead_letter", config, input)));
        }
        if let Some(tree) = section("late")
            && let Some(config) = check::append_sink(tree, brokers, report)
        {
            made.sinks.push(special("late", config, SinkInput::Late));
        }
    }
}

/// What sinks can name: sources and views.
fn feeds(mapped: &Mapped) -> Vec<Feed> {
    let sources = mapped
        .sources
        .iter()
        .map(|source| (source.name.clone(), source.node));
    sources
        .chain(mapped.views.iter().cloned())
        .map(|(name, node)| {
            let result = &mapped.nodes[node.0];
            Feed {
                name,
                node,
                schema: Arc::clone(&result.schema),
                kind: result.kind.clone(),
                twins: mapped.twins[node.0],
            }
        })
        .collect()
}
