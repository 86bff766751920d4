//! Gathers the columns that an operator reads, and makes the projection in front of it.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::{
    DFSchema, DataFusionError, Result, ScalarValue,
    tree_node::{Transformed, TransformedResult, TreeNode},
};
use datafusion_expr::{
    Cast, Expr, ExprSchemable, execution_props::ExecutionProps,
    physical_planning_context::PhysicalPlanningContext,
};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr, expressions};

use super::{
    relation::{Relation, Slot, span_of},
    types::supported_type,
};
use crate::sql::refuse;

/// Columns computed over a relation; equal ones are computed once.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub exprs: Vec<Arc<dyn PhysicalExpr>>,
    pub fields: Vec<Field>,
    /// Where each column of the node that is passed on unchanged comes to be.
    places: HashMap<usize, usize>,
    computed: HashMap<Expr, usize>,
}

impl Columns {
    /// All logical columns of a relation, in order, under their names.
    pub fn all_of(relation: &Relation, node_schema: &SchemaRef) -> Result<Self> {
        let mut columns = Self::default();
        for (position, slot) in relation.slots.iter().enumerate() {
            let name = relation.schema.field(position).name();
            match slot {
                Slot::Column(column) => columns.append(*column, name, node_schema),
                _ => return Err(refuse(WINDOW_COLUMN, None)),
            };
        }
        Ok(columns)
    }

    /// A column of the node; if it is there already, its place.
    pub fn pass(&mut self, column: usize, node_schema: &SchemaRef) -> usize {
        match self.places.get(&column) {
            Some(place) => *place,
            None => self.append(column, node_schema.field(column).name(), node_schema),
        }
    }

    /// A column of the node, in a new place.
    pub fn append(&mut self, column: usize, name: &str, node_schema: &SchemaRef) -> usize {
        let place = self.fields.len();
        let field = node_schema.field(column);
        self.exprs
            .push(Arc::new(expressions::Column::new(field.name(), column)));
        self.fields
            .push(Field::new(name, field.data_type().clone(), true));
        self.places.entry(column).or_insert(place);
        place
    }

    /// The value of an expression; if it is there already, its place.
    pub fn add(
        &mut self,
        expr: &Expr,
        relation: &Relation,
        node_schema: &SchemaRef,
    ) -> Result<usize> {
        if let Some(column) = relation.column_of(expr) {
            return Ok(self.pass(column, node_schema));
        }
        let expr = expr.clone().unalias();
        if let Some(place) = self.computed.get(&expr) {
            return Ok(*place);
        }
        let name = expr.schema_name().to_string();
        let place = self.compute(&expr, &name, relation, node_schema)?;
        self.computed.insert(expr, place);
        Ok(place)
    }

    /// The value of an expression, in a new place under a name.
    pub fn compute(
        &mut self,
        expr: &Expr,
        name: &str,
        relation: &Relation,
        node_schema: &SchemaRef,
    ) -> Result<usize> {
        let (physical, data_type) = compile(expr, relation, node_schema)?;
        self.exprs.push(physical);
        self.fields.push(Field::new(name, data_type, true));
        Ok(self.fields.len() - 1)
    }

    /// Where a column of the node is among these.
    pub fn place_of(&self, column: usize) -> Option<usize> {
        self.places.get(&column).copied()
    }

    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.fields.clone()))
    }

    /// Whether these are just the node's columns.
    pub fn is_identity(&self, node_schema: &SchemaRef) -> bool {
        self.fields.len() == node_schema.fields().len()
            && self.exprs.iter().enumerate().all(|(i, expr)| {
                expr.downcast_ref::<expressions::Column>()
                    .is_some_and(|column| column.index() == i)
                    && self.fields[i].name() == node_schema.field(i).name()
            })
    }
}

const WINDOW_COLUMN: &str = "window_start and window_end exist only after the aggregation: use them in its GROUP BY and SELECT list, and \
     compute with them in a view on top";

/// The physical expression over the node's columns, and its type, which is one of the supported ones.
pub(crate) fn compile(
    expr: &Expr,
    relation: &Relation,
    node_schema: &SchemaRef,
) -> Result<(Arc<dyn PhysicalExpr>, DataType)> {
    let expr = expr.clone().unalias();
    let logical_type = expr.get_type(&relation.schema)?;
    let data_type =
        supported_type(&logical_type).ok_or_else(|| unsupported(&expr, &logical_type))?;
    let mut expr = with_node_types(expr, relation, node_schema)?;
    if data_type != logical_type {
        expr = cast(expr, data_type.clone());
    }
    let schema = node_types(relation, node_schema)?;
    let physical = create_physical_expr(
        &expr,
        &schema,
        &ExecutionProps::new(),
        &PhysicalPlanningContext::default(),
    )?;
    Ok((with_slots(physical, relation)?, data_type))
}

fn unsupported(expr: &Expr, data_type: &DataType) -> DataFusionError {
    let message = match data_type {
        DataType::Null => format!("`{expr}` has no type: write CAST(NULL AS type)"),
        other => format!(
            "`{expr}` is of type {other}, which a column cannot have: use boolean, int, bigint, double, string, \
             timestamp, date or decimal (up to 38 digits)"
        ),
    };
    refuse(message, span_of(expr))
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    match expr {
        // A literal is converted now, not for every batch.
        Expr::Literal(value, metadata) => match value.cast_to(&data_type) {
            Ok(value) => Expr::Literal(value, metadata),
            Err(_) => Expr::Cast(Cast::new(
                Box::new(Expr::Literal(value, metadata)),
                data_type,
            )),
        },
        other => Expr::Cast(Cast::new(Box::new(other), data_type)),
    }
}

/// Where a node's column has another type than the logical one (an inner result of type `Utf8` travels as `Utf8View`),
/// the expression is given what its planning assumed.
fn with_node_types(expr: Expr, relation: &Relation, node_schema: &SchemaRef) -> Result<Expr> {
    expr.transform_up(|e| {
        let Expr::Column(column) = &e else {
            return Ok(Transformed::no(e));
        };
        let position = relation.schema.index_of_column(column)?;
        let Slot::Column(slot) = relation.slots[position] else {
            return Err(refuse(WINDOW_COLUMN, column.spans().first()));
        };
        let assumed = relation.schema.field(position).data_type();
        if assumed == node_schema.field(slot).data_type() {
            return Ok(Transformed::no(e));
        }
        let assumed = assumed.clone();
        Ok(Transformed::yes(Expr::Cast(Cast::new(
            Box::new(e),
            assumed,
        ))))
    })
    .data()
}

/// The logical schema with the types that the node's columns have.
fn node_types(relation: &Relation, node_schema: &SchemaRef) -> Result<DFSchema> {
    let fields = relation
        .schema
        .iter()
        .zip(&relation.slots)
        .map(|((qualifier, field), slot)| {
            let mut field = Field::clone(field);
            if let Slot::Column(column) = slot {
                field = field.with_data_type(node_schema.field(*column).data_type().clone());
            }
            (qualifier.cloned(), Arc::new(field))
        })
        .collect();
    DFSchema::new_with_metadata(fields, HashMap::new())
}

/// From logical positions to the node's; integer arithmetic becomes checked, so that an overflow fails its row instead
/// of wrapping around.
fn with_slots(
    physical: Arc<dyn PhysicalExpr>,
    relation: &Relation,
) -> Result<Arc<dyn PhysicalExpr>> {
    physical
        .transform(|e| {
            if let Some(binary) = e.downcast_ref::<expressions::BinaryExpr>() {
                let checked = binary.clone().with_fail_on_overflow(true);
                return Ok(Transformed::yes(Arc::new(checked) as Arc<dyn PhysicalExpr>));
            }
            let Some(column) = e.downcast_ref::<expressions::Column>() else {
                return Ok(Transformed::no(e));
            };
            let Slot::Column(slot) = relation.slots[column.index()] else {
                return Err(refuse(WINDOW_COLUMN, None));
            };
            let moved = expressions::Column::new(column.name(), slot);
            Ok(Transformed::yes(Arc::new(moved) as Arc<dyn PhysicalExpr>))
        })
        .data()
}

/// Whether an expression is a literal that is not null.
pub(crate) fn is_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if *value != ScalarValue::Null && !value.is_null())
}
