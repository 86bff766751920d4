//! Expressions as text, with the columns that they name replaced by what those are.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr,
    Literal, NegativeExpr, NotExpr, TryCastExpr,
};
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};

/// The parts of a predicate that all have to hold.
pub(super) fn conditions(
    predicate: &Arc<dyn PhysicalExpr>,
    columns: &[String],
    into: &mut BTreeSet<String>,
) {
    match predicate.downcast_ref::<BinaryExpr>() {
        Some(both) if *both.op() == Operator::And => {
            conditions(both.left(), columns, into);
            conditions(both.right(), columns, into);
        }
        _ => drop(into.insert(text(predicate, columns))),
    }
}

/// An expression over columns that are these.
pub(super) fn text(expr: &Arc<dyn PhysicalExpr>, columns: &[String]) -> String {
    let of = |expr: &Arc<dyn PhysicalExpr>| text(expr, columns);
    let list = |exprs: &[Arc<dyn PhysicalExpr>]| -> String {
        exprs.iter().map(of).collect::<Vec<_>>().join(", ")
    };
    if let Some(column) = expr.downcast_ref::<Column>() {
        columns
            .get(column.index())
            .map_or_else(|| "?".to_owned(), Clone::clone)
    } else if let Some(literal) = expr.downcast_ref::<Literal>() {
        let value = literal.value();
        match value.is_null() {
            true => format!("{}:null", value.data_type()),
            false => format!("{}:{}", value.data_type(), quoted(&value.to_string())),
        }
    } else if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        format!(
            "({} {} {})",
            of(binary.left()),
            binary.op(),
            of(binary.right())
        )
    } else if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        format!("cast({} as {})", of(cast.expr()), cast.cast_type())
    } else if let Some(cast) = expr.downcast_ref::<TryCastExpr>() {
        format!("try_cast({} as {})", of(cast.expr()), cast.cast_type())
    } else if let Some(not) = expr.downcast_ref::<NotExpr>() {
        format!("not {}", of(not.arg()))
    } else if let Some(negative) = expr.downcast_ref::<NegativeExpr>() {
        format!("-{}", of(negative.arg()))
    } else if let Some(null) = expr.downcast_ref::<IsNullExpr>() {
        format!("({} is null)", of(null.arg()))
    } else if let Some(null) = expr.downcast_ref::<IsNotNullExpr>() {
        format!("({} is not null)", of(null.arg()))
    } else if let Some(within) = expr.downcast_ref::<InListExpr>() {
        let not = if within.negated() { "not " } else { "" };
        format!("({} {not}in ({}))", of(within.expr()), list(within.list()))
    } else if let Some(like) = expr.downcast_ref::<LikeExpr>() {
        let not = if like.negated() { "not " } else { "" };
        let like_how = if like.case_insensitive() {
            "ilike"
        } else {
            "like"
        };
        format!(
            "({} {not}{like_how} {})",
            of(like.expr()),
            of(like.pattern())
        )
    } else if let Some(case) = expr.downcast_ref::<CaseExpr>() {
        case_text(case, &of)
    } else if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() {
        format!("{}({})", function.name(), list(function.args()))
    } else {
        // No expression that the planner makes today; its own words and its parts tell it from others.
        let parts: Vec<_> = expr.children().into_iter().map(of).collect();
        format!("[{expr}]({})", parts.join(", "))
    }
}

fn case_text(case: &CaseExpr, of: &dyn Fn(&Arc<dyn PhysicalExpr>) -> String) -> String {
    let mut words = vec!["case".to_owned()];
    words.extend(case.expr().map(of));
    for (when, then) in case.when_then_expr() {
        words.push(format!("when {} then {}", of(when), of(then)));
    }
    words.extend(case.else_expr().map(|other| format!("else {}", of(other))));
    words.push("end".to_owned());
    words.join(" ")
}

/// Text in quotes, so that no text of a literal looks like something else.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
