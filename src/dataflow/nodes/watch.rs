//! Watches the rows of views and sources as they pass.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::Int8Type;
use tidewright_operators::DIFF;
use tidewright_operators::routed::RoutedBatch;
use timely::dataflow::operators::Inspect;

use super::{Batches, Relation};
use crate::dataflow::tap::Watched;
use crate::runtime::context::JobContext;
use crate::runtime::stats::Counter;

/// Lets all relations that have names in the job file be watched.
pub(super) fn views_and_sources(context: &JobContext, relations: &[Relation<'_>]) {
    let views = context.plan.views.iter().map(|(name, node)| (name, *node));
    let sources = &context.plan.sources;
    let sources = sources.iter().map(|source| (&source.name, source.node));
    for (name, node) in views.chain(sources) {
        let plan = &context.plan.nodes[node.0];
        let watched = Watched::new(context.taps.of(name), name, plan);
        let counter = context.stats.view_rows.get(name).cloned();
        watch(watched, counter, &relations[node.0].live);
    }
}

/// Shows rows that pass to whoever taps them, and counts what a view makes: gains only, of a table.
fn watch(watched: Watched, counter: Option<Counter>, rows: &Batches<'_>) {
    rows.clone().inspect(move |batch: &RoutedBatch| {
        watched.pass(&batch.rows);
        if let Some(counter) = &counter {
            let rows = match batch.rows.column_by_name(DIFF) {
                None => batch.rows.num_rows(),
                Some(diff) => gains(diff),
            };
            counter.add(rows as u64);
        }
    });
}

fn gains(diff: &ArrayRef) -> usize {
    let diffs = diff.as_primitive_opt::<Int8Type>();
    diffs.map_or(0, |diffs| {
        diffs.values().iter().filter(|diff| **diff > 0).count()
    })
}
