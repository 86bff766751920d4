//! Reading the rows of an embedded store back, while no job has it open.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tidewright_jobs::job::EmbeddedSinkConfig;

use super::store::EmbeddedStore;
use crate::sink::{
    SinkContext, SinkError,
    rows::{Row, StoredRows},
};

/// Rows in a page.
const PAGE_ROWS: usize = 1000;

/// The rows of one relation.
pub struct EmbeddedRows {
    place: String,
    path: PathBuf,
    relation: String,
    store: EmbeddedStore,
    /// The last key of the page before.
    after: Option<String>,
    over: bool,
}

impl EmbeddedRows {
    /// Opens the store.
    ///
    /// # Errors
    /// If there is none, or a running job has it open.
    pub fn open(config: &EmbeddedSinkConfig, context: &SinkContext) -> Result<Self, SinkError> {
        let place = context.place(&format!("embedded {}", config.path));
        let path = Path::new(&config.path);
        if !path.exists() {
            return Err(SinkError::Fatal(format!("{place}: there is no such store")));
        }
        let store = context.stores.open(path).map_err(|error| match error {
            redb::Error::DatabaseAlreadyOpen => SinkError::Fatal(format!(
                "{place}: another process has the store open: stop the job that writes it first"
            )),
            error => SinkError::Fatal(format!("{place}: {error}")),
        })?;
        Ok(Self {
            place,
            path: path.to_owned(),
            relation: context.relation.to_string(),
            store,
            after: None,
            over: false,
        })
    }

    fn failed(&self, error: &redb::Error) -> SinkError {
        SinkError::Fatal(format!("{}: {error}", self.place))
    }
}

impl StoredRows for EmbeddedRows {
    fn page(&mut self) -> Result<Option<Vec<(String, Row)>>, SinkError> {
        if self.over {
            return Ok(None);
        }
        let page = self
            .store
            .page(&self.relation, self.after.as_deref(), PAGE_ROWS)
            .map_err(|error| self.failed(&error))?;
        self.over = page.len() < PAGE_ROWS;
        self.after = page.last().map(|(key, _)| key.clone());
        Ok(Some(
            page.into_iter()
                .map(|(key, row)| (key, texts(row)))
                .collect(),
        ))
    }

    fn get(&mut self, keys: &[String]) -> Result<Vec<Option<Row>>, SinkError> {
        let row = |key: &String| {
            let found = self.store.get(&self.relation, key);
            found
                .map(|row| row.map(texts))
                .map_err(|error| self.failed(&error))
        };
        keys.iter().map(row).collect()
    }

    fn remove_all(&mut self, may: &dyn Fn() -> Result<(), SinkError>) -> Result<(), SinkError> {
        may()?;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(SinkError::Fatal(
                format!("{}: it cannot be removed: {error}", self.place),
            )),
            _ => {
                // The shadow's folder stays while something else is in it.
                let _ = self.path.parent().map(fs::remove_dir);
                Ok(())
            }
        }
    }

    fn place(&self) -> &str {
        &self.place
    }
}

fn texts(row: Value) -> Row {
    let Value::Object(fields) = row else {
        return Row::new();
    };
    let text = |value: Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name, text(value)?)))
        .collect()
}
