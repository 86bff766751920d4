//! From syntax tree to optimized logical plan.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_expr::logical_plan::LogicalPlan;
use datafusion_optimizer::{
    Analyzer, Optimizer, OptimizerContext, OptimizerRule,
    decorrelate_predicate_subquery::DecorrelatePredicateSubquery,
    eliminate_cross_join::EliminateCrossJoin, eliminate_duplicated_expr::EliminateDuplicatedExpr,
    eliminate_filter::EliminateFilter, eliminate_outer_join::EliminateOuterJoin,
    extract_equijoin_predicate::ExtractEquijoinPredicate,
    filter_null_join_keys::FilterNullJoinKeys, optimize_projections::OptimizeProjections,
    optimize_unions::OptimizeUnions, push_down_filter::PushDownFilter,
    replace_distinct_aggregate::ReplaceDistinctWithAggregate,
    scalar_subquery_to_join::ScalarSubqueryToJoin, simplify_expressions::SimplifyExpressions,
};
use datafusion_sql::{
    planner::{ParserOptions, SqlToRel},
    sqlparser::ast,
};

use super::catalog::Catalog;

/// Plans, type-checks and optimizes a query.
pub(crate) fn plan_query(catalog: &Catalog, query: ast::Query) -> Result<LogicalPlan> {
    let options = ParserOptions::from(&catalog.options.sql_parser);
    let planner = SqlToRel::new_with_options(catalog, options);
    let plan = planner.sql_statement_to_plan(ast::Statement::Query(Box::new(query)))?;
    let plan = Analyzer::new().execute_and_check(plan, &catalog.options, |_, _| {})?;
    // Without a start time now() is not folded into a constant; the planner then refuses it.
    let context = OptimizerContext::new_with_config_options(Arc::clone(&catalog.options))
        .without_query_execution_start_time()
        .with_max_passes(8);
    Optimizer::with_rules(stream_rules()).optimize(plan, &context, |_, _| {})
}

/// The rules that hold for unbounded, changing input. Left out on purpose: SingleDistinctToGroupBy (breaks windowed
/// distinct counts), everything about limits, UnionsToFilter, RewriteSetComparison; and CommonSubexprEliminate: an
/// aggregation's projection computes equal columns once anyway, and a second projection in front costs more than it saves.
fn stream_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateFilter::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(FilterNullJoinKeys::default()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(OptimizeProjections::new()),
    ]
}
