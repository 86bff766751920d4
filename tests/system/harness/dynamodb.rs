//! What is in DynamoDB Local.

use std::{collections::BTreeMap, future::Future};

use aws_sdk_dynamodb::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region},
    types::{
        AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
        ScalarAttributeType,
    },
};

use super::services::require;

/// Items by key (several key attributes joined by `|`), attributes by name.
pub type Items = BTreeMap<String, BTreeMap<String, String>>;

/// A running server.
#[derive(Clone, Debug)]
pub struct Dynamodb {
    endpoint: String,
}

impl Dynamodb {
    /// The server of the test run; `None` if there is none and there need not be.
    pub fn require() -> Option<Self> {
        require("TIDEWRIGHT_TEST_DYNAMODB").map(|endpoint| Self::at(&endpoint))
    }

    /// The server at an address, with or without `http://`.
    pub fn at(address: &str) -> Self {
        let endpoint = if address.contains("://") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        Self { endpoint }
    }

    /// `http://host:port`, as a job file wants it.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Creates a table whose partition key (and sort key) are these text attributes.
    pub fn create_table(&self, table: &str, key: &[&str]) {
        self.with_client(async |client| {
            let mut request = client
                .create_table()
                .table_name(table)
                .billing_mode(BillingMode::PayPerRequest);
            for (name, role) in key.iter().zip([KeyType::Hash, KeyType::Range]) {
                request = request
                    .attribute_definitions(
                        AttributeDefinition::builder()
                            .attribute_name(*name)
                            .attribute_type(ScalarAttributeType::S)
                            .build()
                            .unwrap(),
                    )
                    .key_schema(
                        KeySchemaElement::builder()
                            .attribute_name(*name)
                            .key_type(role)
                            .build()
                            .unwrap(),
                    );
            }
            request.send().await.unwrap();
        });
    }

    /// Puts one item of text attributes, whatever is there.
    pub fn put(&self, table: &str, attributes: &[(&str, &str)]) {
        self.with_client(async |client| {
            let mut request = client.put_item().table_name(table);
            for (name, value) in attributes {
                request = request.item(*name, AttributeValue::S((*value).to_owned()));
            }
            request.send().await.unwrap();
        });
    }

    /// Whether there is such a table.
    pub fn has_table(&self, table: &str) -> bool {
        self.with_client(async |client| {
            client
                .describe_table()
                .table_name(table)
                .send()
                .await
                .is_ok()
        })
    }

    /// All items of a table.
    pub fn items(&self, table: &str) -> Items {
        self.with_client(async |client| {
            let key = key_attributes(client, table).await;
            let mut items = Items::new();
            let mut from = None;
            loop {
                let page = client
                    .scan()
                    .table_name(table)
                    .consistent_read(true)
                    .set_exclusive_start_key(from)
                    .send()
                    .await
                    .unwrap();
                for item in page.items() {
                    let attributes: BTreeMap<_, _> = item
                        .iter()
                        .map(|(name, value)| (name.clone(), text(value)))
                        .collect();
                    let key: Vec<_> = key.iter().map(|name| attributes[name].as_str()).collect();
                    items.insert(key.join("|"), attributes);
                }
                from = page.last_evaluated_key;
                if from.is_none() {
                    return items;
                }
            }
        })
    }

    fn with_client<T>(&self, work: impl AsyncFnOnce(&Client) -> T) -> T {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(&self.endpoint)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        block_on(work(&Client::from_conf(config)))
    }
}

async fn key_attributes(client: &Client, table: &str) -> Vec<String> {
    let described = client
        .describe_table()
        .table_name(table)
        .send()
        .await
        .unwrap();
    let mut key = described.table().unwrap().key_schema().to_vec();
    key.sort_by_key(|element| element.key_type != KeyType::Hash);
    key.into_iter()
        .map(|element| element.attribute_name)
        .collect()
}

/// An attribute as text; numbers exactly as the store gives them.
fn text(value: &AttributeValue) -> String {
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.clone(),
        AttributeValue::Bool(value) => value.to_string(),
        AttributeValue::Null(_) => "null".to_owned(),
        other => format!("{other:?}"),
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
