//! From batches of changes to a collection.

use arrow::record_batch::RecordBatch;
use differential_dataflow::{AsCollection, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::failures::Failures;
use crate::operator::OperatorError;
use crate::routed::RoutedBatch;

/// Updates of one batch: data and differences, all at the batch's epoch.
pub(super) type Updates<D, R> = Vec<(D, R)>;

/// The collection whose changes are those that `read` finds in each batch.
pub(super) fn updates<'scope, D, R>(
    stream: StreamVec<'scope, u64, RoutedBatch>,
    name: &str,
    failures: Failures,
    read: impl Fn(&RecordBatch) -> Result<Updates<D, R>, OperatorError> + 'static,
) -> VecCollection<'scope, u64, D, R>
where
    D: Clone + 'static,
    R: Clone + 'static,
{
    let stream = stream.unary::<CapacityContainerBuilder<Vec<(D, u64, R)>>, _, _, _>(
        Pipeline,
        name,
        move |_, _| {
            // Kept after a failure, see `Failures`.
            let mut failed = None;
            move |input, output| {
                input.for_each(|capability, batches| {
                    let Some(&epoch) = capability.least() else {
                        return;
                    };
                    for batch in batches.drain(..) {
                        if failed.is_some() {
                            return;
                        }
                        match read(&batch.rows) {
                            Ok(updates) => output.session(&capability).give_iterator(
                                updates.into_iter().map(|(data, diff)| (data, epoch, diff)),
                            ),
                            Err(error) => {
                                failed = capability.retain_least(0);
                                failures.report(error);
                            }
                        }
                    }
                });
            }
        },
    );
    stream.as_collection()
}
