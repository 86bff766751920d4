//! Arithmetic that fails instead of wrapping around.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DataFusionError, ScalarValue};
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, Literal, NegativeExpr};

/// The same expression with checked `+`, `-`, `*` and negation. DataFusion's own wrap unless told
/// otherwise; division and casts fail already.
pub(super) fn checked(
    expr: &Arc<dyn PhysicalExpr>,
    input: &Schema,
) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    let transformed = expr.clone().transform_up(|node| {
        if let Some(binary) = node.downcast_ref::<BinaryExpr>()
            && matches!(
                binary.op(),
                Operator::Plus | Operator::Minus | Operator::Multiply
            )
        {
            return Ok(Transformed::yes(
                Arc::new(binary.clone().with_fail_on_overflow(true)) as _,
            ));
        }
        if let Some(negative) = node.downcast_ref::<NegativeExpr>()
            && let Some(zero) = integer_zero(&negative.arg().data_type(input)?)
        {
            let (zero, argument) = (Arc::new(Literal::new(zero)), negative.arg().clone());
            let difference = BinaryExpr::new(zero, Operator::Minus, argument);
            return Ok(Transformed::yes(
                Arc::new(difference.with_fail_on_overflow(true)) as _,
            ));
        }
        Ok(Transformed::no(node))
    })?;
    Ok(transformed.data)
}

/// Only the least integer cannot be negated: a decimal within its digits always can.
fn integer_zero(data_type: &DataType) -> Option<ScalarValue> {
    match data_type {
        DataType::Int32 => Some(ScalarValue::Int32(Some(0))),
        DataType::Int64 => Some(ScalarValue::Int64(Some(0))),
        _ => None,
    }
}
