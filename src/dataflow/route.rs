//! Sends rows to the workers that own them.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use tidewright_operators::route::Router;
use tidewright_operators::routed::wire::WireSchema;
use tidewright_operators::routed::{Parcels, RoutedBatch};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator as _;

use super::Building;
use super::nodes::Batches;
use super::specs::made;
use crate::runtime::failure::fail;
use crate::runtime::stateful::Input;

/// Who gets a row.
pub enum Target<'a> {
    /// The owner of its key: these columns.
    Key(&'a [usize]),
    /// One worker.
    Worker(u64),
}

/// Sends every row, with these visible columns, to the worker that owns it.
pub fn route<'scope>(
    building: &Building<'scope, '_>,
    rows: Batches<'scope>,
    schema: &SchemaRef,
    target: Target<'_>,
) -> Input<'scope> {
    let workers = building.scope.peers();
    if workers == 1 {
        return Input::Here(rows);
    }
    let wire = made("rows between workers", WireSchema::new(schema));
    let mut targets = match target {
        Target::Worker(worker) => Targets::One(worker),
        Target::Key(key) => Targets::ByKey(
            Router::new(schema, key, workers)
                .unwrap_or_else(|error| fail(&format!("cannot route by key: {error}"))),
        ),
    };
    let parcels =
        rows.unary::<CapacityContainerBuilder<Parcels>, _, _, _>(Pipeline, "Route", move |_, _| {
            move |input, output| {
                input.for_each(|capability, batches| {
                    let mut session = output.session(&capability);
                    for batch in batches.drain(..) {
                        targets.split(batch.rows, |target, rows| {
                            session.give(RoutedBatch { target, rows });
                        });
                    }
                });
            }
        });
    Input::Exchanged(parcels, wire)
}

/// Who gets the rows of a batch.
enum Targets {
    One(u64),
    ByKey(Router),
}

impl Targets {
    fn split(&mut self, rows: RecordBatch, mut give: impl FnMut(u64, RecordBatch)) {
        match self {
            Self::One(worker) => give(*worker, rows),
            Self::ByKey(router) => {
                let parts = router
                    .route(rows)
                    .unwrap_or_else(|error| fail(&format!("cannot route by key: {error}")));
                for (worker, rows) in parts {
                    give(worker as u64, rows);
                }
            }
        }
    }
}
