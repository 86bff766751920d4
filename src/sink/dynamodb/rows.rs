//! Reading items back: Scan, and BatchGetItem by key.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, KeysAndAttributes, ScalarAttributeType},
};
use tidewright_jobs::job::DynamodbSinkConfig;
use tokio::runtime::Runtime;

use super::{
    Item, client, failure, item,
    table::{self, sink_error},
};
use crate::sink::{
    SinkContext, SinkError,
    rows::{Row, StoredRows, is_live},
    verdict::field,
};

/// Keys in one BatchGetItem: the service's limit.
const BATCH_KEYS_MAX: usize = 100;
/// How long to wait before keys are asked for again that the service left out.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How often keys are asked for before the service counts as out of order.
const ATTEMPTS_MAX: u32 = 50;

/// The items of one sink.
pub struct DynamodbRows {
    context: SinkContext,
    place: String,
    table: String,
    runtime: Runtime,
    client: Client,
    /// Partition key, then sort key if there is one.
    key: Vec<(String, ScalarAttributeType)>,
    /// Where the scan goes on.
    from: Option<Item>,
    over: bool,
}

impl DynamodbRows {
    /// Makes a client; nothing is asked yet.
    ///
    /// # Errors
    /// If its runtime cannot be started.
    pub fn open(config: &DynamodbSinkConfig, context: &SinkContext) -> Result<Self, SinkError> {
        let place = context.place(&format!("dynamodb table {}", config.table));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| {
                SinkError::Fatal(format!("{place}: cannot start its runtime: {error}"))
            })?;
        let client = runtime.block_on(client::connect(config));
        let key = context.key.iter().map(|column| {
            let field = context.schema.field(*column);
            (field.name().clone(), item::key_type(field.data_type()))
        });
        Ok(Self {
            key: key.collect(),
            context: context.clone(),
            place,
            table: config.table.clone(),
            runtime,
            client,
            from: None,
            over: false,
        })
    }

    /// The key of a row: the value of the only key attribute, or a JSON array of two.
    fn key_of(&self, row: &Row) -> Option<String> {
        let values: Option<Vec<&str>> = self
            .key
            .iter()
            .map(|(name, _)| row.get(name).map(String::as_str))
            .collect();
        match values?.as_slice() {
            [value] => Some((*value).to_owned()),
            values => serde_json::to_string(values).ok(),
        }
    }

    fn key_item(&self, key: &str) -> Result<Item, SinkError> {
        let values = match self.key.len() {
            1 => vec![key.to_owned()],
            _ => serde_json::from_str(key)
                .map_err(|error| SinkError::Fatal(format!("{}: key {key}: {error}", self.place)))?,
        };
        let attributes = self.key.iter().zip(values);
        Ok(attributes
            .map(|((name, kind), value)| {
                let value = match kind {
                    ScalarAttributeType::N => AttributeValue::N(value),
                    _ => AttributeValue::S(value),
                };
                (name.clone(), value)
            })
            .collect())
    }

    fn live(&self, item: &Item) -> Option<(String, Row)> {
        let row: Row = item
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect();
        let key = self.key_of(&row)?;
        is_live(&row, &self.context.job).then_some((key, row))
    }

    /// Another job that has items in the table.
    fn other_job(&self) -> Result<Option<String>, SinkError> {
        let mut from = None;
        loop {
            let sent = self
                .client
                .scan()
                .table_name(&self.table)
                .projection_expression("#job")
                .expression_attribute_names("#job", field::JOB)
                .consistent_read(true)
                .set_exclusive_start_key(from)
                .send();
            let page = self
                .runtime
                .block_on(sent)
                .map_err(|error| sink_error(&self.place, failure::of(&error)))?;
            let mut owners = page
                .items()
                .iter()
                .map(|item| item.get(field::JOB).map(text).unwrap_or_default());
            if let Some(other) = owners.find(|owner| **owner != *self.context.job) {
                return Ok(Some(other));
            }
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(None);
            }
        }
    }

    /// The items of some keys; those that the service leaves out are asked for again.
    fn batch(&self, keys: &[String], found: &mut HashMap<String, Row>) -> Result<(), SinkError> {
        let keys: Result<Vec<_>, _> = keys.iter().map(|key| self.key_item(key)).collect();
        let mut wanted = keys?;
        for _ in 0..ATTEMPTS_MAX {
            let request = KeysAndAttributes::builder()
                .set_keys(Some(wanted))
                .consistent_read(true)
                .build()
                .map_err(|error| SinkError::Fatal(format!("{}: {error}", self.place)))?;
            let sent = self
                .client
                .batch_get_item()
                .request_items(&self.table, request)
                .send();
            let answer = self
                .runtime
                .block_on(sent)
                .map_err(|error| sink_error(&self.place, failure::of(&error)))?;
            let items = answer
                .responses()
                .and_then(|tables| tables.get(&self.table));
            found.extend(
                items
                    .into_iter()
                    .flatten()
                    .filter_map(|item| self.live(item)),
            );
            let left = answer
                .unprocessed_keys()
                .and_then(|tables| tables.get(&self.table));
            wanted = left.map(|left| left.keys().to_vec()).unwrap_or_default();
            if wanted.is_empty() {
                return Ok(());
            }
            std::thread::sleep(RETRY_PAUSE);
        }
        let message = format!(
            "{}: keys are left out again and again: it is throttled",
            self.place
        );
        Err(SinkError::Transient(message))
    }
}

impl StoredRows for DynamodbRows {
    fn page(&mut self) -> Result<Option<Vec<(String, Row)>>, SinkError> {
        if self.over {
            return Ok(None);
        }
        let sent = self
            .client
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .set_exclusive_start_key(self.from.take())
            .send();
        let page = self
            .runtime
            .block_on(sent)
            .map_err(|error| sink_error(&self.place, failure::of(&error)))?;
        let rows = page.items().iter().filter_map(|item| self.live(item));
        let rows = rows.collect();
        self.from = page.last_evaluated_key;
        self.over = self.from.is_none();
        Ok(Some(rows))
    }

    fn get(&mut self, keys: &[String]) -> Result<Vec<Option<Row>>, SinkError> {
        let mut found = HashMap::new();
        for keys in keys.chunks(BATCH_KEYS_MAX) {
            self.batch(keys, &mut found)?;
        }
        Ok(keys.iter().map(|key| found.remove(key)).collect())
    }

    fn remove_all(&mut self, may: &dyn Fn() -> Result<(), SinkError>) -> Result<(), SinkError> {
        if let Some(other) = self.other_job()? {
            return Err(SinkError::Fatal(format!(
                "{}: the table has items of {other:?} as well, so it stays: delete it when nobody needs them",
                self.place
            )));
        }
        may()?;
        let deleted = table::delete(&self.client, &self.table, &self.place);
        self.runtime.block_on(deleted)
    }

    fn exists(&mut self) -> Result<bool, SinkError> {
        let described = table::describe(&self.client, &self.table, &self.place);
        self.runtime
            .block_on(described)
            .map(|table| table.is_some())
    }

    fn place(&self) -> &str {
        &self.place
    }
}

/// An attribute as text. Only what [`item`] writes occurs in rows of ours.
fn text(value: &AttributeValue) -> String {
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.clone(),
        AttributeValue::Bool(value) => value.to_string(),
        other => format!("{other:?}"),
    }
}
