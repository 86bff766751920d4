//! Sinks: one connector, and a relation that it can take.

use arrow::datatypes::{DataType, SchemaRef};

use super::{exactly_one, is_placeholder, not_empty, suggest, ttl};
use crate::{
    diagnostics::{Fault, Report},
    job::{
        AppendSinkSpec, DeadLetterLimit, DeadLetterSpec, Delivery, DynamodbSinkConfig,
        KafkaSinkConfig, RedisSinkConfig, SinkConfig, SinkSpec,
    },
    plan::{NodeId, RelationKind},
    tree::{Tree, read},
};

const CONNECTORS: &str = "redis, dynamodb, kafka, files, embedded, stdout, blackhole";
const APPEND_CONNECTORS: &str = "kafka, files, stdout, blackhole";

/// A relation that a sink can name.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    pub name: String,
    pub node: NodeId,
    pub schema: SchemaRef,
    pub kind: RelationKind,
    /// Two columns that say the same: the bounds of a window.
    pub twins: Option<(usize, usize)>,
}

impl Feed {
    fn key(&self) -> Option<&[usize]> {
        match &self.kind {
            RelationKind::Stream { key, .. } => key.as_deref(),
            RelationKind::Table { key } => Some(key),
            RelationKind::Bag => None,
        }
    }

    fn names(&self, columns: &[usize]) -> Vec<&str> {
        let name = |c: &usize| self.schema.field(*c).name().as_str();
        columns.iter().map(name).collect()
    }
}

/// Checks one sink. `brokers`: of the first Kafka source, for Kafka sinks that name none.
pub(crate) fn sink(
    tree: &Tree,
    feeds: &[Feed],
    failed: &[String],
    brokers: Option<&str>,
    report: &mut Report<'_>,
) -> Option<(SinkConfig, NodeId, Delivery)> {
    let spec: SinkSpec = report.take(read(tree))?;
    let (from, delivery) = (spec.from.clone(), spec.delivery);
    let mut config = report.take(exactly_one(spec.connectors(), CONNECTORS, tree.position));
    if let Some(config) = &mut config {
        check_connector(config, brokers, tree, report);
        check_delivery(config, delivery, tree, report);
    }
    let Some(feed) = feeds.iter().find(|feed| feed.name == from) else {
        if !failed.contains(&from) {
            let names: Vec<_> = feeds
                .iter()
                .map(|f| f.name.as_str())
                .chain(failed.iter().map(String::as_str))
                .collect();
            let shown = tree.shown(&["from"], &from);
            let message = format!("there is no source or view `{shown}`");
            report.error(
                Fault::new(tree.position_of(&["from"]), message).help(suggest(&from, &names)),
            );
        }
        return None;
    };
    let config = config?;
    report.take(takes(&config, feed, tree))?;
    Some((config, feed.node, delivery))
}

/// Checks where dead letters go, if anywhere, and how many are too many.
pub(crate) fn dead_letter(
    tree: &Tree,
    brokers: Option<&str>,
    report: &mut Report<'_>,
) -> Option<(Option<SinkConfig>, Option<DeadLetterLimit>)> {
    let spec: DeadLetterSpec = report.take(read(tree))?;
    let limit = spec.stop_above.map(|stop_above| DeadLetterLimit {
        stop_above,
        window_records: spec.window_records,
    });
    if spec.window_records == 0 {
        let position = tree.position_of(&["window_records"]);
        report.error(Fault::new(position, "`window_records` must be at least 1"));
    }
    let connectors = spec.connectors();
    if connectors.is_empty() && limit.is_some() {
        return Some((None, limit));
    }
    let mut config = report.take(exactly_one(connectors, APPEND_CONNECTORS, tree.position))?;
    check_connector(&mut config, brokers, tree, report);
    Some((Some(config), limit))
}

/// Checks the sink of late rows.
pub(crate) fn append_sink(
    tree: &Tree,
    brokers: Option<&str>,
    report: &mut Report<'_>,
) -> Option<SinkConfig> {
    let spec: AppendSinkSpec = report.take(read(tree))?;
    let mut config = report.take(exactly_one(
        spec.connectors(),
        APPEND_CONNECTORS,
        tree.position,
    ))?;
    check_connector(&mut config, brokers, tree, report);
    Some(config)
}

fn check_connector(
    config: &mut SinkConfig,
    brokers: Option<&str>,
    tree: &Tree,
    report: &mut Report<'_>,
) {
    let result = match config {
        SinkConfig::Redis(redis) => check_redis(redis, tree),
        SinkConfig::Dynamodb(dynamodb) => check_dynamodb(dynamodb, tree),
        SinkConfig::Kafka(kafka) => check_kafka(kafka, brokers, tree),
        SinkConfig::Files(files) => not_empty(&files.path, "the path", tree, &["files", "path"]),
        SinkConfig::Embedded(store) => {
            not_empty(&store.path, "the path", tree, &["embedded", "path"])
        }
        SinkConfig::Stdout(_) | SinkConfig::Blackhole(_) => Ok(()),
    };
    report.take(result);
}

fn check_redis(redis: &RedisSinkConfig, tree: &Tree) -> Result<(), Fault> {
    let schemes = ["redis://", "rediss://"];
    if !is_placeholder(&redis.url) && !schemes.iter().any(|s| redis.url.starts_with(s)) {
        let position = tree.position_of(&["redis", "url"]);
        return Err(Fault::new(
            position,
            "the URL does not begin with redis:// or rediss://",
        )
        .help("write redis://host:6379"));
    }
    check_redis_tls(redis, tree)?;
    ttl(redis.ttl.as_deref(), tree, &["redis", "ttl"])
}

fn check_redis_tls(redis: &RedisSinkConfig, tree: &Tree) -> Result<(), Fault> {
    if redis.url.ends_with("#insecure") {
        let position = tree.position_of(&["redis", "url"]);
        let message = "`#insecure` is not supported: the server's certificate is always verified";
        return Err(Fault::new(position, message)
            .help("name the authority of its certificate in `tls: { ca: FILE }`"));
    }
    let Some(tls) = &redis.tls else {
        return Ok(());
    };
    if redis.url.starts_with("redis://") {
        let position = tree.position_of(&["redis", "tls"]);
        let message =
            "`tls` names certificates, but a URL that begins with redis:// is without TLS";
        return Err(
            Fault::new(position, message).help("write rediss://host:6380, or leave `tls` out")
        );
    }
    for (key, file) in tls.files() {
        not_empty(file, "the path", tree, &["redis", "tls", key])?;
    }
    let lone = match (&tls.cert, &tls.key) {
        (Some(_), None) => "cert",
        (None, Some(_)) => "key",
        _ => return Ok(()),
    };
    let position = tree.position_of(&["redis", "tls", lone]);
    Err(Fault::new(position, "`cert` and `key` belong together")
        .help("name the certificate's file in `cert` and that of its private key in `key`"))
}

fn check_dynamodb(dynamodb: &DynamodbSinkConfig, tree: &Tree) -> Result<(), Fault> {
    not_empty(&dynamodb.table, "the table", tree, &["dynamodb", "table"])?;
    if dynamodb.max_in_flight == 0 {
        let position = tree.position_of(&["dynamodb", "max_in_flight"]);
        return Err(Fault::new(position, "`max_in_flight` must be at least 1"));
    }
    ttl(dynamodb.ttl.as_deref(), tree, &["dynamodb", "ttl"])
}

fn check_kafka(
    kafka: &mut KafkaSinkConfig,
    brokers: Option<&str>,
    tree: &Tree,
) -> Result<(), Fault> {
    not_empty(&kafka.topic, "the topic", tree, &["kafka", "topic"])?;
    if kafka.brokers.is_none() {
        kafka.brokers = brokers.map(str::to_owned);
    }
    match kafka.brokers {
        Some(_) => Ok(()),
        None => Err(Fault::new(
            tree.position_of(&["kafka"]),
            "the key `brokers` is missing here, and there is no Kafka source to take it from",
        )
        .help("write brokers: \"host:9092\"")),
    }
}

fn check_delivery(config: &SinkConfig, delivery: Delivery, tree: &Tree, report: &mut Report<'_>) {
    let appends = matches!(config, SinkConfig::Kafka(_) | SinkConfig::Files(_));
    if delivery == Delivery::Eager && appends {
        let message =
            "`delivery: eager` needs a keyed sink: a replay would append rows a second time";
        let help = "leave `delivery` out, or write to redis, dynamodb or embedded";
        report.error(Fault::new(tree.position_of(&["delivery"]), message).help(help));
    }
}

/// Whether the connector can take the relation's rows.
fn takes(config: &SinkConfig, feed: &Feed, tree: &Tree) -> Result<(), Fault> {
    match config {
        SinkConfig::Redis(redis) => {
            let key = keyed(feed, "redis", tree)?;
            check_template(&redis.key, key, feed, tree)
        }
        SinkConfig::Dynamodb(_) => {
            let key = keyed(feed, "dynamodb", tree)?;
            check_item_key(key, feed, tree)
        }
        SinkConfig::Embedded(_) => keyed(feed, "embedded", tree).map(|_| ()),
        _ => Ok(()),
    }
}

fn keyed<'f>(feed: &'f Feed, connector: &str, tree: &Tree) -> Result<&'f [usize], Fault> {
    feed.key().ok_or_else(|| {
        let name = &feed.name;
        let why = "it is a stream whose columns do not identify a row";
        let help = format!(
            "select the whole key (the GROUP BY columns with window_start or window_end), or write `{name}` to kafka or files"
        );
        let message = format!("`{connector}` writes rows by key, and `{name}` has none: {why}");
        Fault::new(tree.position_of(&["from"]), message).help(help)
    })
}

/// The template names all key columns and no others; a window's bounds stand for each other.
fn check_template(template: &str, key: &[usize], feed: &Feed, tree: &Tree) -> Result<(), Fault> {
    let position = tree.position_of(&["redis", "key"]);
    let key_names = feed.names(key);
    let example: Vec<_> = key_names.iter().map(|name| format!("{{{name}}}")).collect();
    let help = format!(
        "the key of `{}` is ({}): write {}:{}",
        feed.name,
        key_names.join(", "),
        feed.name,
        example.join(":")
    );
    let fault = |message: String| Fault::new(position, message).help(help.clone());
    let named = placeholders(template)
        .ok_or_else(|| fault("a brace in the key template has no partner".to_owned()))?;
    let mut missing = key.to_vec();
    for name in named {
        let column = feed.schema.index_of(name).map_err(|_| {
            let shown = tree.shown(&["redis", "key"], name);
            fault(format!("`{}` has no column `{shown}`", feed.name))
        })?;
        let same = |key: usize| {
            key == column
                || feed
                    .twins
                    .is_some_and(|(a, b)| (a, b) == (key, column) || (b, a) == (key, column))
        };
        if !key.iter().any(|k| same(*k)) {
            return Err(fault(format!(
                "`{name}` is not a key column: rows of one key would be written under several"
            )));
        }
        missing.retain(|k| !same(*k));
    }
    match feed.names(&missing)[..] {
        [] => Ok(()),
        ref names => Err(fault(format!(
            "the key template does not name {}",
            names.join(", ")
        ))),
    }
}

/// The names in braces; `None` if a brace has no partner.
fn placeholders(template: &str) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    let mut rest = template;
    while let Some(open) = rest.find(['{', '}']) {
        let inner = rest[open..].strip_prefix('{')?;
        let close = inner.find(['{', '}'])?;
        if !inner[close..].starts_with('}') {
            return None;
        }
        names.push(&inner[..close]);
        rest = &inner[close + 1..];
    }
    Some(names)
}

fn check_item_key(key: &[usize], feed: &Feed, tree: &Tree) -> Result<(), Fault> {
    let position = tree.position_of(&["from"]);
    let names = feed.names(key);
    if key.is_empty() || key.len() > 2 {
        let message = format!(
            "a DynamoDB key has one or two columns, that of `{}` has {}: ({})",
            feed.name,
            key.len(),
            names.join(", ")
        );
        let help = "make one column of several in a view on top, with concat(..) AS id .. GROUP BY, or write to redis";
        return Err(Fault::new(position, message).help(help));
    }
    for (column, name) in key.iter().zip(names) {
        if matches!(feed.schema.field(*column).data_type(), DataType::Boolean) {
            let message = format!("`{name}` is a boolean: a DynamoDB key is text or a number");
            return Err(
                Fault::new(position, message).help("CAST it to VARCHAR or BIGINT in the view")
            );
        }
    }
    Ok(())
}
