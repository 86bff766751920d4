//! Reading hashes back: SCAN by prefix, HGETALL in pipelines.

use std::collections::HashSet;

use redis::{Connection, ConnectionLike, FromRedisValue, Pipeline, Value, cmd};
use tidewright_checkpoints::ids::key_hash;
use tidewright_jobs::job::RedisSinkConfig;

use super::{
    reply,
    server::{Patience, Server},
};
use crate::sink::{
    SinkContext, SinkError,
    key::KeyTemplate,
    rows::{Row, StoredRows, is_live},
    verdict::field,
};

/// Keys looked at in one step of a scan.
const SCAN_COUNT: usize = 1000;

/// The hashes of one sink.
pub struct RedisRows {
    context: SinkContext,
    place: String,
    connection: Connection,
    template: KeyTemplate,
    /// Where the scan goes on; `None` after its end.
    cursor: Option<u64>,
    /// Hashes of the keys that the scan has returned, because it may return a key again.
    seen: HashSet<u64>,
}

impl RedisRows {
    /// Connects.
    ///
    /// # Errors
    /// If the configuration is wrong or the server does not answer.
    pub fn open(config: &RedisSinkConfig, context: &SinkContext) -> Result<Self, SinkError> {
        let template = KeyTemplate::parse(&config.key, &context.schema, &context.key)
            .map_err(|message| context.misconfigured(message))?;
        let mut server = Server::new(config, context, &format!(", key {}", config.key))?;
        let connection = server.connect(Patience::READS)?;
        Ok(Self {
            context: context.clone(),
            place: server.place().to_owned(),
            connection,
            template,
            cursor: Some(0),
            seen: HashSet::new(),
        })
    }

    /// The next keys that begin as the sink's do, each once; `None` after the last.
    fn scan(&mut self) -> Result<Option<Vec<String>>, SinkError> {
        let Some(cursor) = self.cursor else {
            return Ok(None);
        };
        let (next, mut keys): (u64, Vec<String>) = cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(format!("{}*", literally(self.template.prefix())))
            .arg("COUNT")
            .arg(SCAN_COUNT)
            .arg("TYPE")
            .arg("hash")
            .query(&mut self.connection)
            .map_err(|error| reply::of_error(&self.place, &error))?;
        self.cursor = (next != 0).then_some(next);
        keys.retain(|key| self.seen.insert(key_hash(key.as_bytes())));
        Ok(Some(keys))
    }

    /// Those of some keys whose hashes are the job's.
    fn owned(&mut self, keys: Vec<String>) -> Result<Vec<String>, SinkError> {
        if keys.is_empty() {
            return Ok(keys);
        }
        let mut reads = Pipeline::new();
        for key in &keys {
            reads.cmd("HGET").arg(key).arg(field::JOB);
        }
        let owners: Vec<Option<String>> = reads
            .query(&mut self.connection)
            .map_err(|error| reply::of_error(&self.place, &error))?;
        let owned = keys.into_iter().zip(owners);
        let owned = owned.filter(|(_, owner)| owner.as_deref() == Some(&*self.context.job));
        Ok(owned.map(|(key, _)| key).collect())
    }

    /// The hashes under full keys, where they are rows of this sink.
    fn read(&mut self, keys: &[String]) -> Result<Vec<Option<Row>>, SinkError> {
        // A step of a scan may find nothing, and a pipeline of nothing is an error of the client.
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut reads = Pipeline::new();
        for key in keys {
            reads.cmd("HGETALL").arg(key);
        }
        let answers = self
            .connection
            .req_packed_commands(&reads.get_packed_pipeline(), 0, reads.len())
            .map_err(|error| reply::of_error(&self.place, &error))?;
        if answers.len() != keys.len() {
            let message = format!("{}: answers are missing", self.place);
            return Err(SinkError::Transient(message));
        }
        let rows = keys.iter().zip(answers).map(|(key, answer)| match answer {
            // Something else than a hash is no row of anybody's.
            Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(None),
            Value::ServerError(error) => Err(reply::of_server_error(
                &self.place,
                error.code(),
                error.details().unwrap_or_default(),
            )),
            answer => {
                let row = Row::from_redis_value(answer).map_err(|error| {
                    SinkError::Fatal(format!(
                        "{}: the hash {key:?} is not text: {error}",
                        self.place
                    ))
                })?;
                Ok(self.is_ours(key, &row).then_some(row))
            }
        });
        rows.collect()
    }

    /// Another sink of the job may have keys with the same beginning: a row of this one has the columns that make its key.
    fn is_ours(&self, key: &str, row: &Row) -> bool {
        let schema = &self.context.schema;
        let value = |column: usize| row.get(schema.field(column).name()).map(String::as_str);
        is_live(row, &self.context.job) && self.template.render_texts(value).as_deref() == Some(key)
    }
}

impl StoredRows for RedisRows {
    fn page(&mut self) -> Result<Option<Vec<(String, Row)>>, SinkError> {
        let Some(keys) = self.scan()? else {
            return Ok(None);
        };
        let rows = self.read(&keys)?;
        let prefix = self.template.prefix().len();
        let found = keys.into_iter().zip(rows);
        let found = found.filter_map(|(key, row)| Some((key[prefix..].to_owned(), row?)));
        Ok(Some(found.collect()))
    }

    fn get(&mut self, keys: &[String]) -> Result<Vec<Option<Row>>, SinkError> {
        let prefix = self.template.prefix();
        let keys: Vec<String> = keys.iter().map(|key| format!("{prefix}{key}")).collect();
        self.read(&keys)
    }

    fn remove_all(&mut self, may: &dyn Fn() -> Result<(), SinkError>) -> Result<(), SinkError> {
        self.cursor = Some(0);
        self.seen.clear();
        while let Some(keys) = self.scan()? {
            let keys = self.owned(keys)?;
            if keys.is_empty() {
                continue;
            }
            may()?;
            cmd("UNLINK")
                .arg(&keys)
                .exec(&mut self.connection)
                .map_err(|error| reply::of_error(&self.place, &error))?;
        }
        Ok(())
    }

    fn place(&self) -> &str {
        &self.place
    }
}

/// A text as a pattern that matches nothing else.
fn literally(text: &str) -> String {
    let mut pattern = String::new();
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}
