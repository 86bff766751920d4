//! How a job runs: checkpoints, epochs, limits.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    diagnostics::{Fault, Report},
    job::{
        CheckpointSpec, DeadLetterLimit, Delivery, EpochSpec, LimitsSpec, StartAfter, StateSpec,
    },
    tree::{Tree, read},
};

/// How a job runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobSettings {
    /// How state is made durable.
    pub checkpoint: CheckpointSettings,
    /// How much of the state is in memory; `None`: all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateSettings>,
    /// How long an epoch gathers rows, in milliseconds.
    pub epoch_tick_ms: u64,
    /// Bytes computed but not yet delivered, per sink, at which sources pause.
    pub outbox_bytes: u64,
    /// Bytes read but not yet computed at which sources pause.
    pub in_flight_bytes: u64,
    /// What streams wait for on a fresh start.
    pub start_after: StartAfter,
    /// How many records and rows may become dead letters; `None`: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_limit: Option<DeadLetterLimit>,
    /// Per named sink when its rows are sent. Dead letters and late rows are always `exactly_once`.
    pub delivery: Vec<(String, Delivery)>,
}

impl JobSettings {
    /// When a sink's rows are sent.
    #[must_use]
    pub fn delivery_of(&self, sink: &str) -> Delivery {
        let found = self.delivery.iter().find(|(name, _)| name == sink);
        found.map_or_else(Delivery::default, |(_, delivery)| *delivery)
    }
}

/// How state is made durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckpointSettings {
    /// How often while anything changes, in milliseconds.
    pub interval_ms: u64,
    /// `file://DIRECTORY` or `s3://BUCKET/PREFIX`.
    pub store: String,
    /// How many checkpoints are kept.
    pub keep: u32,
}

/// State larger than memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateSettings {
    /// Keyed state in memory, in bytes.
    pub memory_bytes: u64,
    /// A folder on a local disk for the rest; `None`: beside local checkpoints, or the system's for temporary files.
    pub directory: Option<String>,
}

const LOCAL_INTERVAL_MS: u64 = 100;
const OBJECT_STORE_INTERVAL_MS: u64 = 1_000;
const SHORT_TICK_MS: u64 = 10;
const LONG_TICK_MS: u64 = 100;

/// Reads the sections with defaults for what is absent; `None` if one is wrong.
pub(super) fn settings(
    tree: &Tree,
    job: &str,
    delivery: Vec<(String, Delivery)>,
    dead_letter_limit: Option<DeadLetterLimit>,
    report: &mut Report<'_>,
) -> Option<JobSettings> {
    let checkpoint: Option<CheckpointSpec> = section(tree, "checkpoint", report);
    let epoch: Option<EpochSpec> = section(tree, "epoch", report);
    let limits: Option<LimitsSpec> = section(tree, "limits", report);
    let start_after: Option<StartAfter> = section(tree, "start_after", report);
    let state: Option<Option<StateSpec>> = section(tree, "state", report);
    let checkpoint = checkpoint.and_then(|spec| checkpoints(spec, job, tree, report));
    let (epoch, limits) = (epoch?, limits?);
    let mut at_least = |path: [&str; 2], value: u64, least: u64, text: &str| {
        if value < least {
            let message = format!("`{}` must be {text} or more", path[1]);
            report.error(Fault::new(tree.position_of(&path), message));
        }
    };
    if let Some(tick) = epoch.tick {
        at_least(["epoch", "tick"], tick.0, 1, "1ms");
    }
    at_least(["limits", "outbox"], limits.outbox.0, 1 << 10, "1KiB");
    at_least(["limits", "in_flight"], limits.in_flight.0, 1 << 10, "1KiB");
    let state = state?.map(|state| StateSettings {
        memory_bytes: state.memory.0,
        directory: state.directory,
    });
    if let Some(state) = &state {
        at_least(["state", "memory"], state.memory_bytes, 1 << 10, "1KiB");
    }
    let checkpoint = checkpoint?;
    let tick = epoch.tick.map(|tick| tick.0);
    Some(JobSettings {
        epoch_tick_ms: tick.unwrap_or_else(|| default_tick_ms(&checkpoint, &delivery)),
        checkpoint,
        state,
        outbox_bytes: limits.outbox.0,
        in_flight_bytes: limits.in_flight.0,
        start_after: start_after?,
        dead_letter_limit,
        delivery,
    })
}

/// Only an eager sink shows an epoch before a checkpoint. For the others shorter epochs save nobody time, and each costs every
/// operator work; but one that lasts long leaves all its work to its end.
fn default_tick_ms(checkpoint: &CheckpointSettings, delivery: &[(String, Delivery)]) -> u64 {
    let eager = delivery.iter().any(|(_, sink)| *sink == Delivery::Eager);
    match eager {
        true => SHORT_TICK_MS,
        false => checkpoint.interval_ms.clamp(SHORT_TICK_MS, LONG_TICK_MS),
    }
}

fn section<T: DeserializeOwned + Default>(
    tree: &Tree,
    key: &str,
    report: &mut Report<'_>,
) -> Option<T> {
    match tree.get(key) {
        Some(section) => report.take(read(section)),
        None => Some(T::default()),
    }
}

fn checkpoints(
    spec: CheckpointSpec,
    job: &str,
    tree: &Tree,
    report: &mut Report<'_>,
) -> Option<CheckpointSettings> {
    let fault = |key: &str, message: &str| {
        Fault::new(tree.position_of(&["checkpoint", key]), message.to_owned())
    };
    let store = spec
        .store
        .unwrap_or_else(|| format!("file://./tidewright-data/{job}/checkpoints"));
    let is_local = store.starts_with("file://");
    if !is_local && !store.starts_with("s3://") && !store.contains("${") {
        report.error(
            fault(
                "store",
                "the checkpoint store is neither a directory nor S3",
            )
            .help("write file:///var/lib/tidewright or s3://bucket/prefix"),
        );
    }
    let interval_ms = match spec.interval {
        Some(interval) => interval.0,
        None if is_local => LOCAL_INTERVAL_MS,
        None => OBJECT_STORE_INTERVAL_MS,
    };
    if interval_ms == 0 {
        report.error(fault("interval", "`interval` must be 1ms or more"));
    }
    if spec.keep == 0 {
        report.error(fault("keep", "`keep` must be at least 1"));
    }
    Some(CheckpointSettings {
        interval_ms,
        store,
        keep: spec.keep,
    })
}
