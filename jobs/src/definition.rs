//! What gives a job's state its meaning: the columns of its sources and the SQL of its views, without connectors.
//!
//! It is kept with every checkpoint, so that state can be read where the job file is not at hand. It holds no address and
//! no secret: connectors are left out, and SQL may not refer to the environment.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    compile::compile_with,
    diagnostics::Diagnostics,
    plan::{Plan, SourceKind},
    planner::{SourceDeclaration, type_name},
    tree::MissingEnv,
    units::DurationMs,
};

/// The sources and views of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// In the job file's order.
    pub sources: Vec<SourceDefinition>,
    /// In the job file's order.
    pub views: Vec<ViewDefinition>,
    /// In the job file's order; only what they are fed from, since that decides which columns are kept.
    pub sinks: Vec<SinkDefinition>,
}

/// What the records of a source hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceDefinition {
    /// The source's name.
    pub name: String,
    /// Names and types of the declared columns; types as a job file writes them.
    pub columns: Vec<(String, String)>,
    /// The key's columns; makes it a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_key: Option<Vec<String>>,
    /// The event time's column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<String>,
}

/// A view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDefinition {
    /// The view's name.
    pub name: String,
    /// One `SELECT`.
    pub sql: String,
    /// How long a window accepts rows after its end, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lateness_ms: Option<i64>,
}

/// What a sink is fed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkDefinition {
    /// The sink's name.
    pub name: String,
    /// A source or view.
    pub from: String,
}

impl Definition {
    /// The plan that the job had, but for its connectors: nodes, expressions and fingerprints of state are the same.
    ///
    /// # Errors
    /// If this release plans the SQL no more.
    pub fn plan(&self, job: &str) -> Result<Plan, Diagnostics> {
        // JSON is YAML.
        let file = self.job_file(job).to_string();
        let env = |_: &str| None;
        let compiled = compile_with("definition", &file, &[], &env, MissingEnv::Error)?;
        Ok(compiled.plan)
    }

    /// A job file with the same sources and views, whose connectors connect to nothing.
    fn job_file(&self, job: &str) -> Value {
        let sources = self
            .sources
            .iter()
            .map(|source| (source.name.clone(), source.entry()));
        let views = self
            .views
            .iter()
            .map(|view| (view.name.clone(), view.entry()));
        let sinks = self.sinks.iter().map(|sink| {
            let entry = json!({ "from": sink.from, "blackhole": {} });
            (sink.name.clone(), entry)
        });
        json!({
            "name": job,
            "sources": sources.collect::<Map<_, _>>(),
            "views": views.collect::<Map<_, _>>(),
            "sinks": sinks.collect::<Map<_, _>>(),
        })
    }
}

impl SourceDefinition {
    pub(crate) fn of(declaration: &SourceDeclaration) -> Self {
        let name = |column: &usize| declaration.schema.field(*column).name().clone();
        let (primary_key, event_time) = match &declaration.kind {
            SourceKind::Stream { event_time } => {
                (None, event_time.as_ref().map(|time| name(&time.column)))
            }
            SourceKind::Table { key, event_time } => (
                Some(key.iter().map(name).collect()),
                event_time.as_ref().map(name),
            ),
        };
        let fields = declaration.schema.fields().iter();
        let columns = fields.map(|field| (field.name().clone(), type_name(field.data_type())));
        Self {
            name: declaration.name.clone(),
            columns: columns.collect(),
            primary_key,
            event_time,
        }
    }

    fn entry(&self) -> Value {
        let columns = self.columns.iter();
        let schema = columns.map(|(name, kind)| (name.clone(), Value::from(kind.as_str())));
        let mut entry =
            json!({ "files": { "path": "." }, "schema": schema.collect::<Map<_, _>>() });
        if let Some(key) = &self.primary_key {
            entry["primary_key"] = json!(key);
        }
        if let Some(column) = &self.event_time {
            entry["event_time"] = json!({ "column": column });
        }
        entry
    }
}

impl ViewDefinition {
    fn entry(&self) -> Value {
        match self.lateness_ms {
            None => Value::from(self.sql.as_str()),
            Some(lateness_ms) => {
                let lateness = DurationMs(u64::try_from(lateness_ms).unwrap_or(0));
                json!({ "sql": self.sql, "lateness": lateness.to_string() })
            }
        }
    }
}
