//! The four frontiers of a job as times.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::runtime::context::JobContext;

/// The four frontiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Frontiers {
    /// Closed by the sources.
    pub ingested: FrontierStatus,
    /// Completed by all operators.
    pub computed: FrontierStatus,
    /// Covered by a published checkpoint.
    pub durable: FrontierStatus,
    /// Acknowledged by the stores of all sinks.
    pub delivered: FrontierStatus,
}

/// The last epoch behind a frontier. 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FrontierStatus {
    /// The epoch.
    pub epoch: u64,
    /// When it was the current epoch: wall clock, milliseconds since 1970.
    pub wall_clock_ms: u64,
}

impl Frontiers {
    /// The frontiers as this process knows them.
    #[must_use]
    pub fn of(context: &JobContext) -> Self {
        let stats = &*context.stats;
        let at = |epoch: u64| FrontierStatus {
            epoch,
            wall_clock_ms: context.wall_clock_of(epoch),
        };
        let delivered = stats.delivered.values().map(|epoch| epoch.get()).min();
        // They are read one after the other while they move, and before the first epoch only the restored ones are known.
        let durable = stats.durable.get();
        let ingested = stats.ingested.get().max(durable);
        Self {
            ingested: at(ingested),
            computed: at(stats.computed.get().clamp(durable, ingested)),
            durable: at(durable),
            delivered: at(delivered.unwrap_or(durable).min(durable)),
        }
    }

    /// With their names, in the order in which they pass.
    #[must_use]
    pub fn named(&self) -> [(&'static str, FrontierStatus); 4] {
        [
            ("ingested", self.ingested),
            ("computed", self.computed),
            ("durable", self.durable),
            ("delivered", self.delivered),
        ]
    }
}
