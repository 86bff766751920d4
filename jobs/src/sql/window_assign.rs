//! The logical node of a window function: rows of its input, each in a window.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashSet},
    fmt,
    sync::Arc,
};

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion_common::{DFSchema, DFSchemaRef, Result, TableReference, plan_err};
use datafusion_expr::{Expr, UserDefinedLogicalNodeCore, logical_plan::LogicalPlan};

use super::window_functions::{EVENT_TIME, WindowKind};

/// The columns that a tumbling window adds.
pub const WINDOW_COLUMNS: [&str; 2] = ["window_start", "window_end"];

/// The rows of the input with their window's bounds. A rolling window adds no columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WindowAssign {
    pub kind: WindowKind,
    pub time: Expr,
    pub input: LogicalPlan,
    pub schema: DFSchemaRef,
}

impl PartialOrd for WindowAssign {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.kind.partial_cmp(&other.kind)
    }
}

impl WindowAssign {
    pub fn try_new(kind: WindowKind, time: Expr, input: LogicalPlan) -> Result<Self> {
        let metadata = input.schema().as_arrow().metadata().clone();
        let fields = match kind {
            WindowKind::Rolling { .. } => qualified(&input),
            WindowKind::Tumble { .. } => windowed(qualified(&input)),
        };
        let schema = Arc::new(DFSchema::new_with_metadata(fields, metadata)?);
        Ok(Self {
            kind,
            time,
            input,
            schema,
        })
    }

    fn added_columns(&self) -> usize {
        match self.kind {
            WindowKind::Tumble { .. } => WINDOW_COLUMNS.len(),
            WindowKind::Rolling { .. } => 0,
        }
    }
}

type QualifiedField = (Option<TableReference>, FieldRef);

fn qualified(plan: &LogicalPlan) -> Vec<QualifiedField> {
    let fields = plan.schema().iter();
    fields.map(|(q, f)| (q.cloned(), f.clone())).collect()
}

/// The input's own window columns give way to the new ones (they would be ambiguous in cascades), and the event time of
/// a windowed row is its window's end.
fn windowed(input: Vec<QualifiedField>) -> Vec<QualifiedField> {
    let qualifier = input.first().and_then(|(q, _)| q.clone());
    let mut fields: Vec<QualifiedField> = input
        .into_iter()
        .filter(|(_, f)| !WINDOW_COLUMNS.contains(&f.name().as_str()))
        .map(|(q, f)| (q, unmarked(&f)))
        .collect();
    let timestamp = DataType::Timestamp(TimeUnit::Millisecond, None);
    let start = Field::new(WINDOW_COLUMNS[0], timestamp.clone(), false);
    let end = Field::new(WINDOW_COLUMNS[1], timestamp, false)
        .with_metadata([(EVENT_TIME.to_owned(), "1".to_owned())].into());
    fields.push((qualifier.clone(), Arc::new(start)));
    fields.push((qualifier, Arc::new(end)));
    fields
}

fn unmarked(field: &FieldRef) -> FieldRef {
    if !field.metadata().contains_key(EVENT_TIME) {
        return Arc::clone(field);
    }
    let mut metadata = field.metadata().clone();
    metadata.remove(EVENT_TIME);
    Arc::new(field.as_ref().clone().with_metadata(metadata))
}

impl UserDefinedLogicalNodeCore for WindowAssign {
    fn name(&self) -> &str {
        "WindowAssign"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.time.clone()]
    }

    /// Windows are assigned row by row, so any other filter may pass below.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        WINDOW_COLUMNS.map(str::to_owned).into()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowAssign: {:?} ON {}", self.kind, self.time)
    }

    fn with_exprs_and_inputs(
        &self,
        mut exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        match (exprs.pop(), inputs.pop()) {
            (Some(time), Some(input)) => Self::try_new(self.kind, time, input),
            _ => plan_err!("WindowAssign has one expression and one input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let passed = self.schema.fields().len() - self.added_columns();
        let input = self.input.schema();
        let mut needed = BTreeSet::new();
        for column in output_columns.iter().filter(|column| **column < passed) {
            let (qualifier, field) = self.schema.qualified_field(*column);
            needed.insert(input.index_of_column_by_name(qualifier, field.name())?);
        }
        if let Expr::Column(time) = &self.time {
            needed.insert(input.index_of_column(time).ok()?);
        }
        Some(vec![needed.into_iter().collect()])
    }
}
