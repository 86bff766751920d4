//! `tumble(..)` and `rolling(..)` in FROM: planned by us, over any relation (source, view, CTE or subquery).

use std::{fmt, sync::Arc};

use datafusion_common::{Column, DFSchema, Result, ScalarValue};
use datafusion_expr::{
    Expr,
    logical_plan::{Extension, LogicalPlan},
    planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning},
};
use datafusion_sql::sqlparser::ast::{self, Spanned};

use super::{
    parse::{WINDOW_FUNCTIONS, at},
    window_assign::WindowAssign,
};

/// Key of the field metadata that marks the event time column. It survives projections, aliases, CTEs and unions.
pub const EVENT_TIME: &str = "tidewright.event_time";

/// A window function and its intervals in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd)]
pub enum WindowKind {
    /// Windows of one size, side by side from the epoch 1970.
    Tumble {
        /// Their size.
        size_ms: i64,
    },
    /// One window that ends now; its tail leaves by tiles.
    Rolling {
        /// Its length, a multiple of the tile.
        size_ms: i64,
        /// The length of a tile.
        tile_ms: i64,
    },
}

/// What a window function over (time column, input) becomes.
pub type Build = dyn Fn(WindowKind, Column, LogicalPlan) -> Result<LogicalPlan> + Send + Sync;

/// Plans window functions. Engine and batch oracle share it and differ only in what it builds.
pub struct WindowFunctions {
    build: Box<Build>,
}

impl WindowFunctions {
    /// With what a window function becomes.
    #[must_use]
    pub fn new(build: Box<Build>) -> Self {
        Self { build }
    }

    /// For the engine: a [`WindowAssign`] node.
    pub(crate) fn streaming() -> Self {
        Self::new(Box::new(|kind, time, input| {
            let node = WindowAssign::try_new(kind, Expr::Column(time), input)?;
            Ok(LogicalPlan::Extension(Extension {
                node: Arc::new(node),
            }))
        }))
    }
}

impl fmt::Debug for WindowFunctions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WindowFunctions")
    }
}

impl RelationPlanner for WindowFunctions {
    fn plan_relation(
        &self,
        relation: ast::TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some(call) = Call::of(&relation, context) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let (kind, input_expr) = call.check(context)?;
        let input = context.plan(relation_of(&call, input_expr)?)?;
        let time = event_time_of(&input).ok_or_else(|| {
            let message = format!(
                "{}: `{input_expr}` has no event time (or more than one): declare `event_time` for its source, and keep \
                 that column in the SELECT list of the views between",
                call.function
            );
            at(message, input_expr.span())
        })?;
        let plan = (self.build)(kind, time, input)?;
        let planned = PlannedRelation::new(plan, call.alias.cloned());
        Ok(RelationPlanning::Planned(Box::new(planned)))
    }
}

/// A call of a window function.
struct Call<'a> {
    function: String,
    name: &'a ast::Ident,
    arguments: &'a [ast::FunctionArg],
    alias: Option<&'a ast::TableAlias>,
}

impl<'a> Call<'a> {
    fn of(relation: &'a ast::TableFactor, context: &dyn RelationPlannerContext) -> Option<Self> {
        let ast::TableFactor::Table {
            name,
            args: Some(arguments),
            alias,
            ..
        } = relation
        else {
            return None;
        };
        let [ast::ObjectNamePart::Identifier(name)] = &name.0[..] else {
            return None;
        };
        let function = context.normalize_ident(name.clone());
        WINDOW_FUNCTIONS
            .contains(&function.as_str())
            .then_some(Self {
                function,
                name,
                arguments: &arguments.args,
                alias: alias.as_ref(),
            })
    }

    /// The window and the expression that names the relation.
    fn check(
        &self,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<(WindowKind, &'a ast::Expr)> {
        let (usage, count) = match self.function.as_str() {
            "tumble" => ("tumble(relation, INTERVAL '1 minute')", 2),
            "rolling" => ("rolling(relation, INTERVAL '7 days', INTERVAL '1 hour')", 3),
            function => {
                let message =
                    format!("not supported yet: {function}(..); there are tumble and rolling");
                return Err(at(message, self.name.span));
            }
        };
        let function = &self.function;
        let mut expressions = Vec::new();
        for argument in self.arguments {
            match argument {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(e)) => expressions.push(e),
                other => {
                    let message =
                        format!("{function}: unexpected argument `{other}`; usage: {usage}");
                    return Err(at(message, other.span()));
                }
            }
        }
        if expressions.len() != count {
            let given = expressions.len();
            let message =
                format!("{function} takes {count} arguments, {given} given; usage: {usage}");
            return Err(at(message, self.name.span));
        }
        let size_ms = self.interval(expressions[1], context)?;
        let kind = if count == 2 {
            WindowKind::Tumble { size_ms }
        } else {
            let tile_ms = self.interval(expressions[2], context)?;
            if size_ms % tile_ms != 0 {
                let message = "rolling: the length must be a multiple of the step";
                return Err(at(message, expressions[2].span()));
            }
            WindowKind::Rolling { size_ms, tile_ms }
        };
        Ok((kind, expressions[0]))
    }

    fn interval(&self, expr: &ast::Expr, context: &mut dyn RelationPlannerContext) -> Result<i64> {
        let planned = context.sql_to_expr(expr.clone(), &DFSchema::empty())?;
        interval_ms(&planned).filter(|ms| *ms > 0).ok_or_else(|| {
            let message = format!(
                "{}: `{expr}` must be a positive interval of whole milliseconds without months, such as INTERVAL '1 minute'",
                self.function
            );
            at(message, expr.span())
        })
    }
}

fn relation_of(call: &Call<'_>, expr: &ast::Expr) -> Result<ast::TableFactor> {
    let named = |parts: Vec<ast::Ident>| ast::TableFactor::Table {
        name: ast::ObjectName::from(parts),
        alias: None,
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    };
    match expr {
        ast::Expr::Identifier(name) => Ok(named(vec![name.clone()])),
        ast::Expr::CompoundIdentifier(parts) => Ok(named(parts.clone())),
        ast::Expr::Subquery(query) => Ok(ast::TableFactor::Derived {
            lateral: false,
            subquery: query.clone(),
            alias: None,
            sample: None,
        }),
        other => {
            let message = format!(
                "{}: the first argument must be a relation or a subquery in parentheses, not `{other}`",
                call.function
            );
            Err(at(message, other.span()))
        }
    }
}

/// The one event time column of a relation.
fn event_time_of(plan: &LogicalPlan) -> Option<Column> {
    let mut marked = plan
        .schema()
        .iter()
        .filter(|(_, field)| field.metadata().contains_key(EVENT_TIME))
        .map(Column::from);
    let first = marked.next();
    if marked.next().is_some() { None } else { first }
}

fn interval_ms(expr: &Expr) -> Option<i64> {
    const DAY_MS: i64 = 86_400_000;
    match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(v)), _)
            if v.months == 0 && v.nanoseconds % 1_000_000 == 0 =>
        {
            i64::from(v.days)
                .checked_mul(DAY_MS)?
                .checked_add(v.nanoseconds / 1_000_000)
        }
        Expr::Literal(ScalarValue::IntervalDayTime(Some(v)), _) => i64::from(v.days)
            .checked_mul(DAY_MS)?
            .checked_add(i64::from(v.milliseconds)),
        _ => None,
    }
}
