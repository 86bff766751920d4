//! The border between derived state and durable state.

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use crate::routed::RoutedBatch;

/// Passes on what comes after epoch `after`, the restored one. Changes up to it rebuild a derived region
/// from snapshots; what they mean for the durable operators and sinks behind the gate is in those
/// operators' own restored state.
pub fn gate<'scope>(
    stream: StreamVec<'scope, u64, RoutedBatch>,
    after: u64,
) -> StreamVec<'scope, u64, RoutedBatch> {
    stream.unary(Pipeline, "Gate", move |_, _| {
        move |input, output| {
            input.for_each(|capability, batches| {
                if capability.least().is_some_and(|epoch| *epoch > after) {
                    output.session(&capability).give_container(batches);
                }
            });
        }
    })
}
