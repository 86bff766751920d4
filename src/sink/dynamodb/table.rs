//! The table: checked before the first write, created if the job says so.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::{
    Client,
    error::{DisplayErrorContext, SdkError},
    operation::{create_table::CreateTableError, describe_table::DescribeTableError},
    types::{
        AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
        TableDescription, TableStatus, TimeToLiveSpecification,
    },
};
use tidewright_jobs::job::DynamodbSinkConfig;

use super::{
    failure::{self, Failure},
    item,
};
use crate::sink::{SinkContext, SinkError, verdict::field};

const CREATION_TIME_MAX: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The table that the sink needs.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    name: String,
    /// Partition key, then sort key if there is one.
    key: Vec<(String, ScalarAttributeType)>,
    create: bool,
}

impl Wanted {
    /// The table for a relation.
    pub(super) fn of(context: &SinkContext, config: &DynamodbSinkConfig) -> Self {
        let key = context.key.iter().map(|column| {
            let field = context.schema.field(*column);
            (field.name().clone(), item::key_type(field.data_type()))
        });
        Self {
            name: config.table.clone(),
            key: key.collect(),
            create: config.create_table,
        }
    }
}

/// Checks that the table is there with the right key; creates it if wanted.
pub(super) async fn ensure(client: &Client, wanted: &Wanted, place: &str) -> Result<(), SinkError> {
    match describe(client, &wanted.name, place).await? {
        Some(table) => check_key(&table, wanted, place)?,
        None if wanted.create => create(client, wanted, place).await?,
        None => {
            return Err(SinkError::Fatal(format!(
                "{place}: the table does not exist. Create it with the key {}, or set create_table: true",
                describe_key(&wanted.key)
            )));
        }
    }
    Ok(())
}

/// The table, if there is one.
pub(super) async fn describe(
    client: &Client,
    name: &str,
    place: &str,
) -> Result<Option<TableDescription>, SinkError> {
    match client.describe_table().table_name(name).send().await {
        Ok(answer) => Ok(answer.table),
        Err(error) => match error.as_service_error() {
            Some(DescribeTableError::ResourceNotFoundException(_)) => Ok(None),
            _ => Err(sink_error(place, failure::of(&error))),
        },
    }
}

/// Deletes a table, and waits until it is gone.
pub(super) async fn delete(client: &Client, name: &str, place: &str) -> Result<(), SinkError> {
    let sent = client.delete_table().table_name(name).send().await;
    sent.map_err(|error| sink_error(place, failure::of(&error)))?;
    let begun = Instant::now();
    while begun.elapsed() < CREATION_TIME_MAX {
        if describe(client, name, place).await?.is_none() {
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Err(SinkError::Transient(format!(
        "{place}: the table is still being deleted"
    )))
}

fn check_key(table: &TableDescription, wanted: &Wanted, place: &str) -> Result<(), SinkError> {
    let key_type = |name: &str| {
        let mut definitions = table.attribute_definitions().iter();
        definitions
            .find(|definition| definition.attribute_name() == name)
            .map(|definition| definition.attribute_type().clone())
    };
    let mut found: Vec<(String, ScalarAttributeType)> = table
        .key_schema()
        .iter()
        .filter_map(|part| {
            Some((
                part.attribute_name().to_owned(),
                key_type(part.attribute_name())?,
            ))
        })
        .collect();
    let mut expected = wanted.key.clone();
    let by_name = |a: &(String, ScalarAttributeType), b: &(String, _)| a.0.cmp(&b.0);
    found.sort_by(by_name);
    expected.sort_by(by_name);
    if found == expected {
        return Ok(());
    }
    Err(SinkError::Fatal(format!(
        "{place}: the table's key is {}, the view's is {}. Choices: another table, or a view with that key",
        describe_key(&found),
        describe_key(&wanted.key)
    )))
}

fn describe_key(key: &[(String, ScalarAttributeType)]) -> String {
    let parts: Vec<_> = key
        .iter()
        .map(|(name, kind)| format!("{name} ({kind})"))
        .collect();
    parts.join(", ")
}

async fn create(client: &Client, wanted: &Wanted, place: &str) -> Result<(), SinkError> {
    let mut request = client
        .create_table()
        .table_name(&wanted.name)
        .billing_mode(BillingMode::PayPerRequest);
    for ((name, kind), role) in wanted.key.iter().zip([KeyType::Hash, KeyType::Range]) {
        let unbuilt = |error| SinkError::Fatal(format!("{place}: {error}"));
        let definition = AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(kind.clone());
        let part = KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(role);
        request = request
            .attribute_definitions(definition.build().map_err(unbuilt)?)
            .key_schema(part.build().map_err(unbuilt)?);
    }
    if let Err(error) = request.send().await {
        // Another writer of this sink may have been quicker.
        if !matches!(
            error.as_service_error(),
            Some(CreateTableError::ResourceInUseException(_))
        ) {
            return Err(sink_error(place, failure::of(&error)));
        }
    }
    wait_until_active(client, wanted, place).await?;
    if let Err(error) = enable_expiry(client, wanted).await {
        tracing::warn!(
            table = wanted.name,
            %error,
            "the table was created without time to live, so that marks of deleted rows stay"
        );
    }
    Ok(())
}

async fn wait_until_active(client: &Client, wanted: &Wanted, place: &str) -> Result<(), SinkError> {
    let begun = Instant::now();
    while begun.elapsed() < CREATION_TIME_MAX {
        let table = describe(client, &wanted.name, place).await?;
        if let Some(table) =
            table.filter(|table| table.table_status() == Some(&TableStatus::Active))
        {
            return check_key(&table, wanted, place);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Err(SinkError::Transient(format!(
        "{place}: the table is still being created"
    )))
}

async fn enable_expiry(client: &Client, wanted: &Wanted) -> Result<(), String> {
    let expiry = TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name(field::EXPIRES)
        .build()
        .map_err(|error| error.to_string())?;
    let request = client
        .update_time_to_live()
        .table_name(&wanted.name)
        .time_to_live_specification(expiry);
    match request.send().await {
        Ok(_) => Ok(()),
        Err(error) => Err(describe_error(&error)),
    }
}

fn describe_error<E, R>(error: &SdkError<E, R>) -> String
where
    E: std::error::Error + 'static,
    R: std::fmt::Debug,
{
    DisplayErrorContext(error).to_string()
}

pub(super) fn sink_error(place: &str, failure: Failure) -> SinkError {
    match failure {
        Failure::Refused(message) | Failure::Fatal(message) => {
            SinkError::Fatal(format!("{place}: {message}"))
        }
        Failure::Transient(message) => SinkError::Transient(format!("{place}: {message}")),
    }
}
