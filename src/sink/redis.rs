//! Redis: a hash per key, written by a script that compares versions.
//!
//! Columns become text fields; NULL is an absent field. Beside them stand `_version`, `_job` and `_as_of`. A deleted row leaves
//! `_version`, `_job`, `_as_of` and `_deleted` for 24 hours, so that no late write brings it back.

mod reply;
mod rows;
mod server;

use std::borrow::Cow;

use redis::{Connection, Pipeline, RedisError, RedisResult, Script, Value};
use tidewright_jobs::job::RedisSinkConfig;

pub use self::rows::RedisRows;
use self::{
    reply::Reply,
    server::{Patience, Server},
};
use super::{
    Fence, KeyedBatch, KeyedWriter, SinkContext, SinkError, WriteReport,
    cell::{Cell, Cells},
    iso8601::Timestamp,
    key::KeyTemplate,
    ttl,
    verdict::{self, TOMBSTONE_TTL_MS, field},
};
use crate::runtime::mutant::Mutant;

/// The script, with its contract in its first lines.
const COMPARE_AND_SET: &str = include_str!("redis/compare_and_set.lua");
/// Commands sent before their answers are read.
const PIPELINE_COMMANDS_MAX: usize = 512;
/// Bytes sent before answers are read: bounds the memory of both sides.
const PIPELINE_BYTES_MAX: usize = 1 << 20;

/// Writes the rows of a relation as hashes.
pub struct RedisWriter {
    context: SinkContext,
    server: Server,
    connection: Option<Connection>,
    script: Script,
    key: KeyTemplate,
    ttl_ms: i64,
}

/// Rows on their way: their commands, and whose they are.
#[derive(Default)]
struct Chunk {
    commands: Pipeline,
    rows: Vec<(usize, String)>,
    bytes: usize,
}

impl RedisWriter {
    /// A writer that connects when it first writes.
    ///
    /// # Errors
    /// [`SinkError::Fatal`] if the configuration is wrong.
    pub fn new(config: &RedisSinkConfig, context: &SinkContext) -> Result<Self, SinkError> {
        context.check_keyed()?;
        let key = KeyTemplate::parse(&config.key, &context.schema, &context.key)
            .map_err(|message| context.misconfigured(message))?;
        let ttl_ms = config.ttl.as_deref().map(ttl::parse_ms).transpose();
        Ok(Self {
            server: Server::new(config, context, "")?,
            connection: None,
            script: Script::new(&script()),
            key,
            ttl_ms: ttl_ms
                .map_err(|message| context.misconfigured(message))?
                .unwrap_or(0),
            context: context.clone(),
        })
    }

    fn connect(&mut self) -> Result<Connection, SinkError> {
        let mut connection = self.server.connect(Patience::WRITES)?;
        load_script(&mut connection).map_err(|error| self.failed(&error))?;
        Ok(connection)
    }

    fn failed(&self, error: &RedisError) -> SinkError {
        reply::of_error(self.server.place(), error)
    }

    /// Adds a row's command to a chunk.
    fn push(
        &self,
        chunk: &mut Chunk,
        batch: &KeyedBatch,
        cells: &Cells<'_>,
        row: usize,
        key: String,
    ) {
        let deleted = batch.deleted.value(row);
        let ttl_ms = if deleted {
            TOMBSTONE_TTL_MS
        } else {
            self.ttl_ms
        };
        let mut bytes = key.len();
        let command = chunk
            .commands
            .cmd("EVALSHA")
            .arg(self.script.get_hash())
            .arg(1);
        command
            .arg(key.as_str())
            .arg(batch.versions[row].to_string())
            .arg(&*self.context.job)
            .arg(ttl_ms)
            .arg(field::AS_OF)
            .arg(Timestamp(batch.as_of_ms).to_string());
        if deleted {
            command.arg(field::DELETED).arg("true");
        } else {
            for (name, value) in cells.row(row).filter(|(_, value)| *value != Cell::Null) {
                let text = value.to_string();
                bytes += name.len() + text.len();
                command.arg(name).arg(text);
            }
        }
        chunk.bytes += bytes;
        chunk.rows.push((row, key));
    }

    fn send(
        &mut self,
        chunk: &Chunk,
        cells: &Cells<'_>,
        fence: &dyn Fence,
        report: &mut WriteReport,
    ) -> Result<(), SinkError> {
        if chunk.rows.is_empty() {
            return Ok(());
        }
        fence.check()?;
        let answers = self.exchange(&chunk.commands)?;
        if answers.len() != chunk.rows.len() {
            self.connection = None;
            return Err(SinkError::Transient(format!(
                "{}: answers are missing",
                self.server.place()
            )));
        }
        for (answer, (row, key)) in answers.into_iter().zip(&chunk.rows) {
            self.take_answer(Reply::of(answer), cells, *row, key, report)?;
        }
        Ok(())
    }

    /// Sends commands and reads their answers, loading the script again where the server has lost it.
    fn exchange(&mut self, commands: &Pipeline) -> Result<Vec<Value>, SinkError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let answers = exchange_once(&mut connection, commands).and_then(|answers| {
            if !answers.iter().any(reply::is_noscript) {
                return Ok(answers);
            }
            // Rows that were written by the first attempt answer that they are already there.
            load_script(&mut connection)?;
            exchange_once(&mut connection, commands)
        });
        // A connection that failed in the middle has unread answers: it is not kept.
        let answers = answers.map_err(|error| self.failed(&error))?;
        self.connection = Some(connection);
        Ok(answers)
    }

    fn take_answer(
        &mut self,
        reply: Reply,
        cells: &Cells<'_>,
        row: usize,
        key: &str,
        report: &mut WriteReport,
    ) -> Result<(), SinkError> {
        match reply {
            Reply::Written => report.applied += 1,
            Reply::AlreadyThere => report.already_there += 1,
            Reply::WrongType(found) => report.refused.push(self.context.refused(
                cells,
                row,
                format!("the Redis key {key:?} holds a {found}, not a hash"),
            )),
            Reply::Fenced(stored) => {
                return Err(verdict::fenced(self.server.place(), key, &stored));
            }
            Reply::Foreign(owner) => {
                let owner = Some(owner.as_str()).filter(|owner| !owner.is_empty());
                return Err(verdict::foreign(
                    self.server.place(),
                    key,
                    owner,
                    &self.context.job,
                ));
            }
            Reply::Error { code, detail } => {
                // After READONLY the address may belong to another server by now: look it up again.
                self.connection = None;
                return Err(reply::of_server_error(self.server.place(), &code, &detail));
            }
        }
        Ok(())
    }
}

impl KeyedWriter for RedisWriter {
    fn write(&mut self, batch: &KeyedBatch, fence: &dyn Fence) -> Result<WriteReport, SinkError> {
        let cells = Cells::of(&batch.rows)?;
        let mut report = WriteReport::default();
        let mut chunk = Chunk::default();
        for row in 0..cells.rows() {
            match self.key.render(&cells, row) {
                Ok(key) => self.push(&mut chunk, batch, &cells, row, key),
                Err(null) => {
                    let refused = self.context.refused(&cells, row, null.to_string());
                    report.refused.push(refused);
                }
            }
            if chunk.rows.len() >= PIPELINE_COMMANDS_MAX || chunk.bytes >= PIPELINE_BYTES_MAX {
                self.send(&chunk, &cells, fence, &mut report)?;
                chunk = Chunk::default();
            }
        }
        self.send(&chunk, &cells, fence, &mut report)?;
        Ok(report)
    }
}

fn load_script(connection: &mut Connection) -> RedisResult<()> {
    redis::cmd("SCRIPT")
        .arg("LOAD")
        .arg(&*script())
        .exec(connection)
}

/// The script that compares versions, or one that does not where a test wants to be sure to notice.
fn script() -> Cow<'static, str> {
    if Mutant::Stale.is_asked_for() {
        return COMPARE_AND_SET
            .replace("version >= ARGV[1]", "false")
            .into();
    }
    COMPARE_AND_SET.into()
}

fn exchange_once(connection: &mut Connection, commands: &Pipeline) -> RedisResult<Vec<Value>> {
    use redis::ConnectionLike;
    // Packed by hand, because `Pipeline::query` turns one refused command into an error of all.
    connection.req_packed_commands(&commands.get_packed_pipeline(), 0, commands.len())
}

#[cfg(test)]
mod tests;
