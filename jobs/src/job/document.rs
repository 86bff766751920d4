//! The top level of a job file.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};

use super::{
    BlackholeSinkConfig, DatagenConfig, Delivery, DynamodbSinkConfig, EmbeddedSinkConfig,
    FilesSinkConfig, FilesSourceConfig, KafkaSinkConfig, KafkaSourceConfig, RedisSinkConfig,
    SinkConfig, SourceConfig, StdoutSinkConfig,
};
use crate::units::{ByteSize, DurationMs, Share};

/// A map that keeps the file's order.
#[derive(Clone, Debug)]
pub struct Ordered<T>(pub Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of names")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Ordered<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Map_of_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        std::collections::BTreeMap::<String, T>::json_schema(generator)
    }
}

/// A job: where rows come from, what is made of them, where the results go.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobFile {
    /// The job's name: its identity in the checkpoint store and in every row that it writes. Letters, digits, `-` and `_`.
    pub name: String,
    /// Where rows come from, by name.
    pub sources: Ordered<SourceSpec>,
    /// What is made of them: SQL by name. A view may read sources and the views before it.
    #[serde(default)]
    pub views: Ordered<ViewSpec>,
    /// Where results go, by name.
    #[serde(default)]
    pub sinks: Ordered<SinkSpec>,
    /// Where records and rows go that cannot be processed, and how many are too many; counted and dropped with a log line
    /// if absent.
    #[serde(default)]
    pub dead_letter: Option<DeadLetterSpec>,
    /// Where rows go that came too late for their window; counted only if absent.
    #[serde(default)]
    pub late: Option<AppendSinkSpec>,
    /// How state is made durable.
    #[serde(default)]
    pub checkpoint: CheckpointSpec,
    /// How much of the state is in memory; all of it if absent.
    #[serde(default)]
    pub state: Option<StateSpec>,
    /// How rows are grouped into epochs.
    #[serde(default)]
    pub epoch: EpochSpec,
    /// Bounds on memory.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// What streams wait for on a fresh start.
    #[serde(default)]
    pub start_after: StartAfter,
}

/// The keys of [`JobFile`].
pub(crate) const TOP_LEVEL_KEYS: [&str; 11] = [
    "name",
    "sources",
    "views",
    "sinks",
    "dead_letter",
    "late",
    "checkpoint",
    "state",
    "epoch",
    "limits",
    "start_after",
];

/// A source: exactly one connector, and what its records hold. With `primary_key` it is a table, otherwise a stream.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// Reads a Kafka topic.
    #[serde(default)]
    pub kafka: Option<KafkaSourceConfig>,
    /// Reads files of JSON lines.
    #[serde(default)]
    pub files: Option<FilesSourceConfig>,
    /// Generates records.
    #[serde(default)]
    pub datagen: Option<DatagenConfig>,
    /// How records are encoded.
    #[serde(default)]
    pub format: Format,
    /// The fields that the job may use, with their types: `boolean`, `int`, `bigint`, `double`, `string`,
    /// `timestamp_ms`, `date` or `decimal(PRECISION,SCALE)`. Generated sources have built-in columns.
    #[serde(default)]
    pub schema: Option<Ordered<String>>,
    /// A stream's event time; of a table the time that decides between two records of a key in different splits.
    #[serde(default)]
    pub event_time: Option<EventTimeSpec>,
    /// The columns that identify a row: makes the source a table, where a null value deletes.
    #[serde(default)]
    pub primary_key: Option<Vec<String>>,
}

impl SourceSpec {
    /// The connectors that are named.
    pub(crate) fn connectors(self) -> Vec<SourceConfig> {
        let mut connectors = Vec::new();
        connectors.extend(self.kafka.map(SourceConfig::Kafka));
        connectors.extend(self.files.map(SourceConfig::Files));
        connectors.extend(self.datagen.map(SourceConfig::Datagen));
        connectors
    }
}

/// How records are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object per record.
    #[default]
    Json,
}

/// Where a stream's event time is, and how orderly it comes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventTimeSpec {
    /// The column, of type `timestamp_ms`.
    pub column: String,
    /// How far behind the largest event time of its split a row may be.
    #[serde(default)]
    #[schemars(extend("default" = "0ms"))]
    pub out_of_orderness: DurationMs,
    /// After how long at its end a split without new records no longer holds the watermark; never if absent.
    #[serde(default)]
    pub idle_after: Option<DurationMs>,
}

/// A view: SQL, or SQL with settings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ViewSpec {
    /// One `SELECT`.
    Sql(String),
    /// One `SELECT` with settings.
    Detailed(DetailedView),
}

/// A view with settings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetailedView {
    /// One `SELECT`.
    pub sql: String,
    /// How long after its end a tumbling window still accepts rows. Makes the view a table: its rows can change.
    #[serde(default)]
    pub lateness: Option<DurationMs>,
}

/// A sink: a relation and exactly one connector.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkSpec {
    /// The view or source that is written.
    pub from: String,
    /// When rows are sent.
    #[serde(default)]
    pub delivery: Delivery,
    /// Writes a Redis hash per key.
    #[serde(default)]
    pub redis: Option<RedisSinkConfig>,
    /// Writes a DynamoDB item per key.
    #[serde(default)]
    pub dynamodb: Option<DynamodbSinkConfig>,
    /// Writes to a Kafka topic.
    #[serde(default)]
    pub kafka: Option<KafkaSinkConfig>,
    /// Appends JSON lines to a local file.
    #[serde(default)]
    pub files: Option<FilesSinkConfig>,
    /// Writes to a local embedded store.
    #[serde(default)]
    pub embedded: Option<EmbeddedSinkConfig>,
    /// Prints JSON lines.
    #[serde(default)]
    pub stdout: Option<StdoutSinkConfig>,
    /// Drops rows; for measurements.
    #[serde(default)]
    pub blackhole: Option<BlackholeSinkConfig>,
}

impl SinkSpec {
    /// The connectors that are named.
    pub(crate) fn connectors(self) -> Vec<SinkConfig> {
        let mut connectors = Vec::new();
        connectors.extend(self.redis.map(SinkConfig::Redis));
        connectors.extend(self.dynamodb.map(SinkConfig::Dynamodb));
        connectors.extend(self.kafka.map(SinkConfig::Kafka));
        connectors.extend(self.files.map(SinkConfig::Files));
        connectors.extend(self.embedded.map(SinkConfig::Embedded));
        connectors.extend(self.stdout.map(SinkConfig::Stdout));
        connectors.extend(self.blackhole.map(SinkConfig::Blackhole));
        connectors
    }
}

/// What becomes of records and rows that cannot be processed: one connector that appends, or none if they are only counted,
/// and when the job stops because of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterSpec {
    /// Writes to a Kafka topic.
    #[serde(default)]
    pub kafka: Option<KafkaSinkConfig>,
    /// Appends JSON lines to a local file.
    #[serde(default)]
    pub files: Option<FilesSinkConfig>,
    /// Prints JSON lines.
    #[serde(default)]
    pub stdout: Option<StdoutSinkConfig>,
    /// Drops rows; for measurements.
    #[serde(default)]
    pub blackhole: Option<BlackholeSinkConfig>,
    /// The share of a source's records, of a view's rows or of a sink's rows above which the job stops, with a final checkpoint and
    /// exit code 9; started again it goes on behind them. Never if absent: only who knows the input can say what is too
    /// much.
    #[serde(default)]
    pub stop_above: Option<Share>,
    /// How many records or rows are judged together, at least, in each process.
    #[serde(default = "default_window_records")]
    #[schemars(extend("default" = 1000))]
    pub window_records: u64,
}

/// Where too many dead letters begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetterLimit {
    /// The share above which the job stops.
    pub stop_above: Share,
    /// How many records or rows are judged together, at least.
    pub window_records: u64,
}

fn default_window_records() -> u64 {
    1_000
}

impl DeadLetterSpec {
    /// The connectors that are named.
    pub(crate) fn connectors(self) -> Vec<SinkConfig> {
        let Self {
            kafka,
            files,
            stdout,
            blackhole,
            ..
        } = self;
        AppendSinkSpec {
            kafka,
            files,
            stdout,
            blackhole,
        }
        .connectors()
    }
}

/// A sink for late rows: exactly one connector that appends.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppendSinkSpec {
    /// Writes to a Kafka topic.
    #[serde(default)]
    pub kafka: Option<KafkaSinkConfig>,
    /// Appends JSON lines to a local file.
    #[serde(default)]
    pub files: Option<FilesSinkConfig>,
    /// Prints JSON lines.
    #[serde(default)]
    pub stdout: Option<StdoutSinkConfig>,
    /// Drops rows; for measurements.
    #[serde(default)]
    pub blackhole: Option<BlackholeSinkConfig>,
}

impl AppendSinkSpec {
    /// The connectors that are named.
    pub(crate) fn connectors(self) -> Vec<SinkConfig> {
        let mut connectors = Vec::new();
        connectors.extend(self.kafka.map(SinkConfig::Kafka));
        connectors.extend(self.files.map(SinkConfig::Files));
        connectors.extend(self.stdout.map(SinkConfig::Stdout));
        connectors.extend(self.blackhole.map(SinkConfig::Blackhole));
        connectors
    }
}

/// How state is made durable.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckpointSpec {
    /// How often, while anything changes. Default: `100ms` on a local directory, `1s` on an object store.
    #[serde(default)]
    pub interval: Option<DurationMs>,
    /// Where: `file:///DIRECTORY` or `s3://BUCKET/PREFIX`. Default: `file://./tidewright-data/NAME/checkpoints`.
    #[serde(default)]
    pub store: Option<String>,
    /// How many checkpoints are kept.
    #[serde(default = "default_keep")]
    #[schemars(extend("default" = 3))]
    pub keep: u32,
}

fn default_keep() -> u32 {
    3
}

impl Default for CheckpointSpec {
    fn default() -> Self {
        Self {
            interval: None,
            store: None,
            keep: default_keep(),
        }
    }
}

/// State larger than memory: keys that were not used of late are moved to a file on local disk. Checkpoints are the same.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateSpec {
    /// How much keyed state a process holds in memory: windows, rolling windows, tables and joins by key, with the page
    /// caches of the files. What one epoch touches and what changed since the last checkpoint is in memory whatever this
    /// says, and so are joins and aggregates of tables by differential dataflow, rows on their way, and outboxes. So that an
    /// epoch is small, `limits.in_flight` is at most a sixteenth of this, or 1 MiB if that is more.
    pub memory: ByteSize,
    /// A folder on a local disk for the rest. Default: `.spill` in the folder of the checkpoints, or with an object store the
    /// system's folder for temporary files. Nothing in it outlives the process.
    #[serde(default)]
    pub directory: Option<String>,
}

/// How rows are grouped into epochs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EpochSpec {
    /// How long an epoch gathers rows. Shorter: lower latency; longer: less work per row. Default: 10ms where a sink is
    /// `eager`. Others send nothing before a checkpoint is durable, so without an eager one `checkpoint.interval`, but 10ms
    /// at least and 100ms at most.
    #[serde(default)]
    pub tick: Option<DurationMs>,
}

/// Bounds on memory.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsSpec {
    /// Bytes computed but not yet delivered, per sink. At the bound, sources pause.
    #[serde(default = "default_bytes")]
    #[schemars(extend("default" = "64MiB"))]
    pub outbox: ByteSize,
    /// Bytes read but not yet computed. At the bound, sources pause.
    #[serde(default = "default_bytes")]
    #[schemars(extend("default" = "64MiB"))]
    pub in_flight: ByteSize,
}

fn default_bytes() -> ByteSize {
    ByteSize(64 << 20)
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self {
            outbox: default_bytes(),
            in_flight: default_bytes(),
        }
    }
}

/// What streams wait for on a fresh start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartAfter {
    /// Tables are read to the end offsets seen at the start before streams begin.
    #[default]
    Tables,
    /// Everything begins at once.
    Nothing,
}
