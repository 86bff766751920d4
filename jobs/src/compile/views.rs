//! Plans the views, one after the other, and puts their errors at the right place of the job file.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion_common::DataFusionError;
use datafusion_sql::sqlparser::ast::{self, Visit, Visitor};

use crate::{
    check::suggest,
    definition::ViewDefinition,
    diagnostics::{Fault, Position, Report},
    job::DetailedView,
    planner::{Mapper, PlannedView},
    sql::{Catalog, locate, parse, plan_query},
    tree::{Entry, Tree, Value, read},
};

pub(super) struct Views<'t> {
    catalog: Catalog,
    text: &'t str,
    pub planned: Vec<PlannedView>,
    /// Names of relations that views read.
    pub read: BTreeSet<String>,
}

/// A view's SQL with its place in the file.
struct Query<'t> {
    sql: String,
    tree: &'t Tree,
    lateness_ms: Option<i64>,
}

impl<'t> Views<'t> {
    pub fn new(catalog: Catalog, text: &'t str) -> Self {
        Self {
            catalog,
            text,
            planned: Vec::new(),
            read: BTreeSet::new(),
        }
    }

    pub fn plan(
        &mut self,
        entries: &[Entry],
        mapper: &mut Mapper<'_>,
        failed: &mut Vec<String>,
        report: &mut Report<'_>,
    ) {
        for entry in entries {
            report.take(super::check_name(entry));
            if self.catalog.get(&entry.key).is_some() {
                let message = format!("`{}` is a source already", entry.key);
                report.error(
                    Fault::new(entry.key_position, message).help("give the view another name"),
                );
                continue;
            }
            if self.plan_view(entry, mapper, failed, report).is_none() {
                failed.push(entry.key.clone());
            }
        }
    }

    /// `None` after an error, or if the view reads a relation that failed.
    fn plan_view(
        &mut self,
        entry: &Entry,
        mapper: &mut Mapper<'_>,
        failed: &[String],
        report: &mut Report<'_>,
    ) -> Option<()> {
        let query = report.take(query_of(&entry.value))?;
        report.take(self.check_text(&query))?;
        let parsed = report.take(parse(&query.sql).map_err(|e| self.fault(&query, &e)))?;
        let names = relations_of(&parsed);
        let depends_on_failed = names.iter().any(|name| failed.contains(name));
        self.read.extend(names);
        if depends_on_failed {
            return None;
        }
        let plan = plan_query(&self.catalog, parsed).map_err(|e| self.fault(&query, &e));
        let view = PlannedView {
            name: entry.key.clone(),
            plan: report.take(plan)?,
            lateness_ms: query.lateness_ms,
        };
        let relation = mapper.map_view(&view).map_err(|e| self.fault(&query, &e));
        self.catalog.add(&entry.key, report.take(relation)?);
        self.planned.push(view);
        Some(())
    }

    fn check_text(&self, query: &Query<'_>) -> Result<(), Fault> {
        let position = query.tree.position;
        if self.is_folded(position) {
            return Err(
                Fault::new(position, "SQL in a folded block (`>`) loses its lines")
                    .help("use a literal block: `|`"),
            );
        }
        if let Some(at) = query.sql.find("${") {
            let (line, column) = line_and_column(&query.sql, at);
            return Err(Fault::new(
                self.place(query, line, column),
                "references are not resolved inside SQL",
            )
            .help("SQL is part of the job: write the value itself"));
        }
        Ok(())
    }

    /// Whether a scalar is a block marked with `>`: it begins on a line of its own, and the mark stands before it.
    fn is_folded(&self, position: Position) -> bool {
        let Some((before, rest)) = self.line(position) else {
            return false;
        };
        let lines = self.text.lines().take(position.line - 1);
        let previous = lines.filter(|line| !line.trim().is_empty()).last();
        let mark = previous.and_then(|line| line.split_once(": "));
        let folded = mark.is_some_and(|(_, value)| value.trim_start().starts_with('>'));
        rest.starts_with('>') || (before.trim().is_empty() && folded)
    }

    fn fault(&self, query: &Query<'_>, error: &DataFusionError) -> Fault {
        let mut fault = locate(&query.sql, error);
        let unknown = fault
            .message
            .strip_prefix("table '")
            .and_then(|rest| rest.strip_suffix("' not found"));
        if let Some(name) = unknown {
            fault.help = Some(suggest(name, &self.catalog.names()));
            fault.message = format!("there is no source or view '{name}' before this view");
        }
        Fault {
            position: self.place(query, fault.line, fault.column),
            message: fault.message,
            help: fault.help,
        }
    }

    /// From a place in the SQL text to the place in the file.
    ///
    /// YAML tells where a scalar begins: at its quote, at its first character, or at the mark of a block, whose text
    /// begins on a later line and has an indentation cut off.
    fn place(&self, query: &Query<'_>, line: usize, column: usize) -> Position {
        let start = query.tree.position;
        let Some((before, rest)) = self.line(start) else {
            return start;
        };
        let marked = rest.starts_with(['|', '>']);
        let quoted = rest.starts_with(['"', '\'']);
        if !marked && (quoted || !before.trim().is_empty()) {
            let quote = usize::from(quoted);
            return match line {
                1 => Position {
                    line: start.line,
                    column: start.column + quote + column - 1,
                },
                _ => Position {
                    line: start.line + line - 1,
                    column,
                },
            };
        }
        let lines: Vec<&str> = self.text.lines().collect();
        let after_mark = start.line.min(lines.len());
        let first = match marked {
            true => (after_mark..lines.len())
                .find(|i| !lines[*i].trim().is_empty())
                .unwrap_or(start.line - 1),
            false => start.line - 1,
        };
        let indent = lines[first].len() - lines[first].trim_start().len();
        Position {
            line: first + line,
            column: indent + column,
        }
    }

    /// The line of a position, before it and from it on.
    fn line(&self, position: Position) -> Option<(&'t str, &'t str)> {
        let line = self.text.lines().nth(position.line - 1)?;
        let at = line
            .char_indices()
            .nth(position.column - 1)
            .map_or(line.len(), |(at, _)| at);
        Some(line.split_at(at))
    }
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count() + 1)
}

fn query_of(tree: &Tree) -> Result<Query<'_>, Fault> {
    match &tree.value {
        Value::Text(sql) => Ok(Query {
            sql: sql.clone(),
            tree,
            lateness_ms: None,
        }),
        Value::Map(_) => {
            let view: DetailedView = read(tree)?;
            Ok(Query {
                sql: view.sql,
                tree: tree.get("sql").unwrap_or(tree),
                lateness_ms: view
                    .lateness
                    .map(|d| i64::try_from(d.0).unwrap_or(i64::MAX)),
            })
        }
        _ => Err(Fault::new(
            tree.position,
            format!("a view is SQL text, this is {}", tree.describe()),
        )
        .help("write `name: |` and the SELECT on the next line, indented")),
    }
}

/// A view that has been checked.
pub(super) fn definition(entry: &Entry) -> Option<ViewDefinition> {
    let query = query_of(&entry.value).ok()?;
    Some(ViewDefinition {
        name: entry.key.clone(),
        sql: query.sql,
        lateness_ms: query.lateness_ms,
    })
}

/// The names that a query reads. Names of CTEs among them do no harm.
fn relations_of(query: &ast::Query) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl Names {
        fn add(&mut self, expr: &ast::Expr) {
            if let ast::Expr::Identifier(name) = expr {
                self.0.insert(name.value.to_lowercase());
            }
        }
    }
    impl Visitor for Names {
        type Break = ();
        fn pre_visit_table_factor(&mut self, factor: &ast::TableFactor) -> ControlFlow<()> {
            if let ast::TableFactor::Table { name, args, .. } = factor {
                match args {
                    None => {
                        self.0.insert(name.to_string().to_lowercase());
                    }
                    Some(arguments) => {
                        if let Some(ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(first))) =
                            arguments.args.first()
                        {
                            self.add(first);
                        }
                    }
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(BTreeSet::new());
    let _ = query.visit(&mut names);
    names.0
}
