//! The sources, as the job file declares them and as SQL sees them.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};

use super::{Compilation, check_name};
use crate::{
    check,
    diagnostics::{Fault, Report},
    plan::SourceKind,
    planner::SourceDeclaration,
    sql::{self, Catalog, EVENT_TIME, SourceOf},
    tree::{Entry, Value},
};

impl Compilation<'_> {
    pub(super) fn sources(&mut self, report: &mut Report<'_>) -> Vec<SourceDeclaration> {
        let entries = self.section("sources", report);
        if let Some(tree) = self.tree.get("sources")
            && entries.is_empty()
            && matches!(tree.value, Value::Map(_) | Value::Null)
        {
            report.error(Fault::new(tree.position, "a job needs at least one source"));
        }
        let mut declarations = Vec::new();
        for entry in entries {
            report.take(check_name(entry).and_then(|()| check_source_name(entry)));
            match check::source(&entry.key, &entry.value, report) {
                Some(declaration) => declarations.push(declaration),
                None => self.failed.push(entry.key.clone()),
            }
        }
        declarations
    }
}

/// Checkpoints keep the outbox of a sink under `sink/NAME`, and a table's rows under `NAME/upsert`.
fn check_source_name(entry: &Entry) -> Result<(), Fault> {
    if entry.key != "sink" {
        return Ok(());
    }
    let message = "`sink` cannot be the name of a source: it is that of all sinks in checkpoints";
    Err(Fault::new(entry.key_position, message).help("choose another name"))
}

/// The sources as relations, with all their columns.
pub(super) fn catalog_of(declarations: &[SourceDeclaration]) -> Catalog {
    let mut catalog = Catalog::new();
    for (i, declaration) in declarations.iter().enumerate() {
        let (key, time) = match &declaration.kind {
            SourceKind::Stream { event_time } => (&[][..], event_time.as_ref().map(|e| e.column)),
            SourceKind::Table { key, .. } => (&key[..], None),
        };
        let fields: Vec<Field> = declaration
            .schema
            .fields()
            .iter()
            .enumerate()
            .map(|(column, field)| {
                // A record without its key is a dead letter.
                let field = Field::clone(field).with_nullable(!key.contains(&column));
                match time == Some(column) {
                    true => field.with_metadata([(EVENT_TIME.to_owned(), "1".to_owned())].into()),
                    false => field,
                }
            })
            .collect();
        let kind = SourceDeclaration::relation_kind(&declaration.kind);
        let relation = sql::Relation::new(SourceOf::Source(i), Arc::new(Schema::new(fields)), kind);
        catalog.add(&declaration.name, relation);
    }
    catalog
}
