//! What SQL can name: relations and functions.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::{
    Constraint, Constraints, Result, TableReference, config::ConfigOptions, plan_err,
};
use datafusion_expr::{
    AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, TableProviderFilterPushDown, TableSource,
    WindowUDF,
    planner::{ContextProvider, ExprPlanner, RelationPlanner},
};

use super::window_functions::WindowFunctions;
use crate::plan::RelationKind;

/// What a relation's rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceOf {
    /// A source, by position.
    Source(usize),
    /// A view, by position.
    View(usize),
}

/// A source or view that SQL can scan.
#[derive(Debug)]
pub(crate) struct Relation {
    pub of: SourceOf,
    pub schema: SchemaRef,
    pub kind: RelationKind,
    constraints: Option<Constraints>,
}

impl Relation {
    pub fn new(of: SourceOf, schema: SchemaRef, kind: RelationKind) -> Self {
        let constraints = match &kind {
            RelationKind::Table { key } if !key.is_empty() => {
                let key = Constraint::PrimaryKey(key.clone());
                Some(Constraints::new_unverified(vec![key]))
            }
            _ => None,
        };
        Self {
            of,
            schema,
            kind,
            constraints,
        }
    }
}

impl TableSource for Relation {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn constraints(&self) -> Option<&Constraints> {
        self.constraints.as_ref()
    }

    /// A filter may enter the scan of a stream. It must never enter a table's: the update that leaves the filter is
    /// a delete.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = match self.kind {
            RelationKind::Stream { .. } => TableProviderFilterPushDown::Exact,
            _ => TableProviderFilterPushDown::Unsupported,
        };
        Ok(vec![support; filters.len()])
    }
}

/// Relations and functions, for DataFusion's SQL planner.
pub(crate) struct Catalog {
    relations: HashMap<String, Arc<Relation>>,
    scalars: HashMap<String, Arc<ScalarUDF>>,
    aggregates: HashMap<String, Arc<AggregateUDF>>,
    expr_planners: Vec<Arc<dyn ExprPlanner>>,
    relation_planners: Vec<Arc<dyn RelationPlanner>>,
    pub options: Arc<ConfigOptions>,
}

impl Catalog {
    pub fn new() -> Self {
        let mut scalars = HashMap::new();
        for function in datafusion_functions::all_default_functions() {
            for name in function
                .aliases()
                .iter()
                .chain([&function.name().to_owned()])
            {
                scalars.insert(name.clone(), Arc::clone(&function));
            }
        }
        let mut aggregates = HashMap::new();
        for function in datafusion_functions_aggregate::all_default_aggregate_functions() {
            for name in function
                .aliases()
                .iter()
                .chain([&function.name().to_owned()])
            {
                aggregates.insert(name.clone(), Arc::clone(&function));
            }
        }
        let mut options = ConfigOptions::default();
        options.sql_parser.collect_spans = true;
        options.optimizer.filter_null_join_keys = true;
        options
            .optimizer
            .enable_physical_uncorrelated_scalar_subquery = false;
        Self {
            relations: HashMap::new(),
            scalars,
            aggregates,
            expr_planners: vec![
                Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
                Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
                Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
                Arc::new(datafusion_functions_aggregate::planner::AggregateFunctionPlanner),
            ],
            relation_planners: vec![Arc::new(WindowFunctions::streaming())],
            options: Arc::new(options),
        }
    }

    pub fn add(&mut self, name: &str, relation: Relation) {
        self.relations.insert(name.to_owned(), Arc::new(relation));
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Relation>> {
        self.relations.get(name)
    }

    /// The names of all relations, in order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.relations.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

impl ContextProvider for Catalog {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.relations.get(name.table()) {
            Some(relation) => Ok(Arc::clone(relation) as Arc<dyn TableSource>),
            None => plan_err!("table '{name}' not found"),
        }
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relation_planners
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expr_planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalars.get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregates.get(name).cloned()
    }

    fn get_window_meta(&self, _: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.scalars.keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.aggregates.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
