//! The job file as data: connectors, schemas, views and sinks, exactly as the user writes them.

mod document;

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::document::TOP_LEVEL_KEYS;
pub use self::document::{
    AppendSinkSpec, CheckpointSpec, DeadLetterLimit, DeadLetterSpec, DetailedView, EpochSpec,
    EventTimeSpec, Format, JobFile, LimitsSpec, Ordered, SinkSpec, SourceSpec, StartAfter,
    StateSpec, ViewSpec,
};

/// Settings passed through to a Kafka client (librdkafka's property names), such as `security.protocol`.
pub type KafkaProperties = BTreeMap<String, String>;

/// Where a source's records come from.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceConfig {
    /// A Kafka topic; each partition is a split.
    Kafka(KafkaSourceConfig),
    /// Files of JSON lines; each file is a split.
    Files(FilesSourceConfig),
    /// Generated records, deterministic by seed.
    Datagen(DatagenConfig),
}

/// A Kafka topic to read.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSourceConfig {
    /// Bootstrap servers, `host:port` separated by commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Where to begin when there is no checkpoint.
    #[serde(default)]
    pub start: StartPosition,
    /// Consumer group that offsets are reported to, after the checkpoint that covers them. Default: the job's name.
    #[serde(default)]
    pub group: Option<String>,
    /// The column that is the key of every record, where the topic is partitioned by it with Kafka's default partitioner
    /// (murmur2 of the key's bytes). Windows grouped by this column are then computed where their partition is read,
    /// without an exchange between workers. Every record is checked: one in another partition than its key's goes to the
    /// dead letters.
    #[serde(default)]
    pub partitioned_by: Option<String>,
    /// Further client settings, by librdkafka's names (TLS, SASL, buffer sizes).
    #[serde(default)]
    pub properties: KafkaProperties,
}

/// Where a Kafka source begins when there is no checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartPosition {
    /// The first retained record.
    #[default]
    Earliest,
    /// The end at the time of the start.
    Latest,
    /// The first record at or after this time: milliseconds since 1970.
    Timestamp(i64),
    /// An offset for each partition; partitions that are not named begin at the first retained record.
    Offsets(BTreeMap<i32, i64>),
}

/// Files of JSON lines.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesSourceConfig {
    /// A file, a folder (all its files ending in `.jsonl` or `.json`), or a pattern with `*` in its last part.
    pub path: String,
}

/// Which built-in records to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatagenKind {
    /// Shop and email events of many users: `event_id, user_id, type, ts, session_id, product_id, category, price,
    /// quantity, campaign_id, url, device, country`.
    Events,
    /// Profile records of the same users: `user_id, email, first_name, country, segment, consent, updated_at`.
    Profiles,
    /// Names of the categories that events mention: `category, name`.
    Categories,
}

/// Generated records.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatagenConfig {
    /// What to generate.
    pub kind: DatagenKind,
    /// The same seed gives the same records.
    #[serde(default)]
    pub seed: u64,
    /// Number of users.
    #[serde(default = "default_users")]
    pub users: u64,
    /// Number of splits.
    #[serde(default = "default_splits")]
    pub splits: u32,
    /// Records per second over all splits; as fast as possible if absent.
    #[serde(default)]
    pub rate: Option<f64>,
    /// Number of records over all splits, after which the source ends (profiles: default one round); unbounded if absent.
    #[serde(default)]
    pub count: Option<u64>,
    /// Event time of the first record: milliseconds since 1970. Absent: the time of the job's first start.
    #[serde(default)]
    pub start_ms: Option<i64>,
    /// How far a record's event time may lag behind its place, in milliseconds.
    #[serde(default)]
    pub disorder_ms: u64,
    /// Share of records that come an hour of event time too late, between 0 and 1.
    #[serde(default)]
    pub late: f64,
    /// Share of records that are not valid JSON, between 0 and 1.
    #[serde(default)]
    pub malformed: f64,
}

fn default_users() -> u64 {
    100_000
}

fn default_splits() -> u32 {
    4
}

/// Where a sink writes to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkConfig {
    /// A Redis hash per key.
    Redis(RedisSinkConfig),
    /// A DynamoDB item per key.
    Dynamodb(DynamodbSinkConfig),
    /// Records in a Kafka topic, one transaction per checkpoint.
    Kafka(KafkaSinkConfig),
    /// JSON lines in a local file.
    Files(FilesSinkConfig),
    /// A local embedded store, readable with `tidewright get`.
    Embedded(EmbeddedSinkConfig),
    /// JSON lines on standard output, for development.
    Stdout(StdoutSinkConfig),
    /// Nowhere; for measurements.
    Blackhole(BlackholeSinkConfig),
}

/// A Redis hash per key: columns as fields, plus `_version` and `_as_of`.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisSinkConfig {
    /// `redis://[user:password@]host:port[/database]`, or `rediss://` with TLS.
    pub url: String,
    /// Key template with every key column in braces, such as `profile:{user_id}`.
    pub key: String,
    /// How long a hash lives after its last change, such as `30d`; for ever if absent.
    #[serde(default)]
    pub ttl: Option<String>,
    /// Certificates for a `rediss://` URL. The server's is always verified: it must be for the host of the URL.
    #[serde(default)]
    pub tls: Option<RedisTlsConfig>,
}

/// Certificates for a Redis server, as PEM files. They are read again for every new connection.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisTlsConfig {
    /// The authorities that may have signed the server's certificate; the system's if absent.
    #[serde(default)]
    pub ca: Option<String>,
    /// The certificate to show, and those between it and its authority, for servers that ask for one. With `key`.
    #[serde(default)]
    pub cert: Option<String>,
    /// The private key of `cert`.
    #[serde(default)]
    pub key: Option<String>,
}

impl RedisTlsConfig {
    /// The files that are named, each with its key in the job file.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let files = [("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)];
        files
            .into_iter()
            .filter_map(|(key, file)| Some((key, file.as_deref()?)))
    }
}

/// A DynamoDB item per key.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DynamodbSinkConfig {
    /// The table. Its partition key (and sort key) are the view's key columns.
    pub table: String,
    /// Endpoint of another server than AWS's own, such as DynamoDB Local.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The region; from the environment if absent.
    #[serde(default)]
    pub region: Option<String>,
    /// Creates the table (on demand billing) if it isn't there.
    #[serde(default)]
    pub create_table: bool,
    /// Writes in flight at most.
    #[serde(default = "default_in_flight")]
    pub max_in_flight: usize,
    /// How long an item lives after its last change, such as `30d` (attribute `_expires`); for ever if absent.
    #[serde(default)]
    pub ttl: Option<String>,
}

fn default_in_flight() -> usize {
    64
}

/// Records in a Kafka topic.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSinkConfig {
    /// Bootstrap servers, `host:port` separated by commas. For `dead_letter` and `late` the first Kafka source's if absent.
    #[serde(default)]
    pub brokers: Option<String>,
    /// The topic; must exist.
    pub topic: String,
    /// Further client settings, by librdkafka's names.
    #[serde(default)]
    pub properties: KafkaProperties,
}

/// JSON lines in a local file.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesSinkConfig {
    /// The file; a `.marker` file beside it holds what was delivered.
    pub path: String,
}

/// A local embedded store.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedSinkConfig {
    /// The store's file.
    pub path: String,
}

/// JSON lines on standard output.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StdoutSinkConfig {}

/// Nowhere.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlackholeSinkConfig {}

/// When a sink's rows are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// When the checkpoint that holds them is durable.
    #[default]
    ExactlyOnce,
    /// When their epoch is complete: lower latency, replays are idempotent. After a crash, a row that left before its
    /// checkpoint may stay in the store if its key is gone by the time the replay has passed it.
    Eager,
}

/// Without the values of client settings, which may be passwords.
impl fmt::Debug for KafkaSourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSourceConfig")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("start", &self.start)
            .field("group", &self.group)
            .field("partitioned_by", &self.partitioned_by)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

/// Without the values of client settings, which may be passwords.
impl fmt::Debug for KafkaSinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSinkConfig")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

/// Without the user and password in the URL.
impl fmt::Debug for RedisSinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.url.rsplit('@').next().unwrap_or_default();
        f.debug_struct("RedisSinkConfig")
            .field("url", &host)
            .field("key", &self.key)
            .field("ttl", &self.ttl)
            .field("tls", &self.tls)
            .finish()
    }
}
