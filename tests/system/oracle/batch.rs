//! The views as a batch: DataFusion over the accepted records, one view after the other.
//!
//! A window function's part of the plan is built here: it replaces the scans of the streams below it by scans of the rows
//! that are not too late for this very window, then assigns each row its pane, or drops what has left the rolling window.

mod tables;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use datafusion::{
    arrow::{array::RecordBatch, compute::concat_batches},
    catalog::view::ViewTable,
    common::{
        Column, Result, TableReference,
        metadata::FieldMetadata,
        tree_node::{Transformed, TreeNode},
    },
    datasource::{MemTable, provider_as_source},
    execution::context::SessionContext,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScan},
    prelude::SessionConfig,
    sql::{
        parser::Statement,
        sqlparser::ast::{self, VisitMut, VisitorMut},
    },
};
use tidewright_jobs::batch::{
    EVENT_TIME, WINDOW_COLUMNS, WindowFunctions, WindowKind, name_arguments, parse,
};

use self::tables::{Stream, pane_bound, stream_batch};
use super::{accept::Accepted, cells::Rows, declared::View};

/// Up to where the input goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Horizon {
    /// To its end: all windows are closed, rolling ones end at the largest event time.
    End,
    /// To the offsets of a checkpoint: windows are closed by W, which is also where rolling ones end.
    Watermark,
}

/// What the engine must come to.
#[derive(Debug)]
pub struct Answer {
    pub views: BTreeMap<String, Rows>,
    /// Rows that came too late for a window, over all windows.
    pub late: usize,
}

/// Evaluates the views over the sources.
pub fn evaluate(sources: &[Accepted], views: &[View], horizon: Horizon) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut batch = Batch::new(sources, horizon);
    let mut answer = Answer {
        views: BTreeMap::new(),
        late: 0,
    };
    for view in views {
        let evaluated = runtime.block_on(batch.evaluate(view));
        let (rows, late) = evaluated.unwrap_or_else(|e| panic!("view {}: {e}", view.name));
        answer.views.insert(view.name.clone(), rows);
        answer.late += late;
    }
    answer
}

/// Relations so far.
struct Batch {
    tables: BTreeMap<String, RecordBatch>,
    streams: Arc<BTreeMap<String, Stream>>,
    /// Views that are only read through: windows above them decide which rows they see.
    plans: BTreeMap<String, LogicalPlan>,
    horizon: Horizon,
}

/// What planning a view has met.
#[derive(Default)]
struct Met {
    /// The clocks of the streams below window functions: (largest event time, W).
    clock: Option<(i64, i64)>,
    /// Plans that return the late rows of each window function.
    late: Vec<LogicalPlan>,
}

impl Batch {
    fn new(sources: &[Accepted], horizon: Horizon) -> Self {
        let mut batch = Self {
            tables: BTreeMap::new(),
            streams: Arc::default(),
            plans: BTreeMap::new(),
            horizon,
        };
        let mut streams = BTreeMap::new();
        for accepted in sources {
            let name = accepted.source.name.clone();
            let rows = stream_batch(&accepted.source, &accepted.rows);
            match Stream::of(accepted, rows.clone()) {
                Some(stream) => streams.insert(name.clone(), stream).map(drop),
                None => None,
            };
            batch.tables.insert(name, rows);
        }
        batch.streams = Arc::new(streams);
        batch
    }

    /// The view's rows and the number of its late ones.
    async fn evaluate(&mut self, view: &View) -> Result<(Rows, usize)> {
        let met = Arc::new(Mutex::new(Met::default()));
        let context = self.context(view, &met)?;
        let mut query = parse(&view.sql)?;
        name_arguments(&mut query);
        break_ties(&mut query);
        let query = ast::Statement::Query(Box::new(query));
        let statement = Statement::Statement(Box::new(query));
        let plan = context.state().statement_to_plan(statement).await?;
        let rows = collect(&context, plan.clone()).await?;
        let found = Rows::of_batch(&rows);
        let met = std::mem::take(&mut *met.lock().unwrap());
        let mut late = 0;
        for plan in met.late {
            late += collect(&context, plan).await?.num_rows();
        }
        match met.clock {
            None => self.plans.insert(view.name.clone(), plan).map(drop),
            Some(clock) => {
                let made = Stream::made_by_window(rows.clone(), clock);
                Arc::make_mut(&mut self.streams).insert(view.name.clone(), made);
                self.tables.insert(view.name.clone(), rows).map(drop)
            }
        };
        Ok((found, late))
    }

    fn context(&self, view: &View, met: &Arc<Mutex<Met>>) -> Result<SessionContext> {
        // One partition: doubles are added in the order of the rows.
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config(config);
        for (name, rows) in &self.tables {
            context.register_table(name.as_str(), mem_table(rows)?)?;
        }
        for (name, plan) in &self.plans {
            let view = ViewTable::new(plan.clone(), None);
            context.register_table(name.as_str(), Arc::new(view))?;
        }
        let build = Build {
            streams: Arc::clone(&self.streams),
            met: Arc::clone(met),
            lateness_ms: view.lateness_ms,
            horizon: self.horizon,
        };
        let functions = WindowFunctions::new(Box::new(move |kind, time, input| {
            build.window(kind, &time, input)
        }));
        context.register_relation_planner(Arc::new(functions))?;
        Ok(context)
    }
}

fn mem_table(rows: &RecordBatch) -> Result<Arc<MemTable>> {
    let table = MemTable::try_new(rows.schema(), vec![vec![rows.clone()]])?;
    Ok(Arc::new(table))
}

async fn collect(context: &SessionContext, plan: LogicalPlan) -> Result<RecordBatch> {
    let frame = context.execute_logical_plan(plan).await?;
    let schema = Arc::clone(frame.schema().inner());
    let batches = frame.collect().await?;
    let schema = batches.first().map_or(schema, RecordBatch::schema);
    Ok(concat_batches(&schema, &batches)?)
}

/// Builds the batch form of window functions.
struct Build {
    streams: Arc<BTreeMap<String, Stream>>,
    met: Arc<Mutex<Met>>,
    lateness_ms: i64,
    horizon: Horizon,
}

impl Build {
    fn window(&self, kind: WindowKind, time: &Column, input: LogicalPlan) -> Result<LogicalPlan> {
        let clock = self.clock_of(&input)?;
        let mut met = self.met.lock().unwrap();
        met.clock = Some(clock);
        let until = match self.horizon {
            Horizon::End => None,
            Horizon::Watermark => Some(clock.1),
        };
        // W is without end once every split has been read to its own.
        let rolls_at = until.map_or(clock.0, |until| until.min(clock.0));
        let late = self.over(&input, &|stream| {
            stream.rows_that(|time, wm| self.is_late(kind, time, wm))
        })?;
        met.late.push(late);
        let kept = self.over(&input, &|stream| {
            stream.rows_that(|time, wm| {
                !self.is_late(kind, time, wm)
                    && match kind {
                        WindowKind::Tumble { size_ms } => {
                            until.is_none_or(|until| pane(time, size_ms) + size_ms <= until)
                        }
                        WindowKind::Rolling { size_ms, tile_ms } => {
                            in_range(time, rolls_at, size_ms, tile_ms)
                        }
                    }
            })
        })?;
        match kind {
            WindowKind::Tumble { size_ms } => assign(kept, time, size_ms),
            WindowKind::Rolling { .. } => Ok(kept),
        }
    }

    /// DESIGN.md section 2: a pane is over at its end plus the lateness, a tile when it has left the window.
    fn is_late(&self, kind: WindowKind, time: i64, watermark: i64) -> bool {
        match kind {
            WindowKind::Tumble { size_ms } => {
                pane(time, size_ms) + size_ms + self.lateness_ms <= watermark
            }
            WindowKind::Rolling { size_ms, tile_ms } => {
                !in_range(time, watermark, size_ms, tile_ms)
            }
        }
    }

    /// The largest event time of all streams that are read here, and the least W.
    fn clock_of(&self, input: &LogicalPlan) -> Result<(i64, i64)> {
        let mut clock = (i64::MIN, i64::MAX);
        self.scans(input, &mut |scan, stream| {
            clock = (clock.0.max(stream.clock.0), clock.1.min(stream.clock.1));
            Ok(LogicalPlan::TableScan(scan))
        })?;
        Ok(clock)
    }

    /// The plan with other rows in place of every stream's.
    fn over(
        &self,
        input: &LogicalPlan,
        rows: &dyn Fn(&Stream) -> RecordBatch,
    ) -> Result<LogicalPlan> {
        self.scans(input, &mut |scan, stream| {
            let source = provider_as_source(mem_table(&rows(stream))?);
            Ok(LogicalPlan::TableScan(TableScan { source, ..scan }))
        })
    }

    fn scans(
        &self,
        input: &LogicalPlan,
        replace: &mut dyn FnMut(TableScan, &Stream) -> Result<LogicalPlan>,
    ) -> Result<LogicalPlan> {
        let replaced = input.clone().transform_up(|plan| match plan {
            LogicalPlan::TableScan(scan) => match self.streams.get(scan.table_name.table()) {
                Some(stream) => replace(scan, stream).map(Transformed::yes),
                None => Ok(Transformed::no(LogicalPlan::TableScan(scan))),
            },
            other => Ok(Transformed::no(other)),
        });
        Ok(replaced?.data)
    }
}

fn pane(time: i64, size_ms: i64) -> i64 {
    time - time.rem_euclid(size_ms)
}

fn in_range(time: i64, watermark: i64, size_ms: i64, tile_ms: i64) -> bool {
    watermark == i64::MIN || pane(time, tile_ms) >= pane(watermark, tile_ms) - size_ms
}

/// Adds the window's bounds to each row.
fn assign(input: LogicalPlan, time: &Column, size_ms: i64) -> Result<LogicalPlan> {
    let qualifier: Option<TableReference> =
        input.schema().iter().next().and_then(|(q, _)| q.cloned());
    let all = input.schema().iter().map(Column::from);
    let kept = all.filter(|column| !WINDOW_COLUMNS.contains(&column.name.as_str()));
    let mut columns: Vec<_> = kept.map(Expr::Column).collect();
    let bound = |plus_ms| pane_bound(size_ms, plus_ms).call(vec![Expr::Column(time.clone())]);
    let marked = BTreeMap::from([(EVENT_TIME.to_owned(), "1".to_owned())]);
    columns.push(bound(0).alias_qualified(qualifier.clone(), WINDOW_COLUMNS[0]));
    columns.push(bound(size_ms).alias_qualified_with_metadata(
        qualifier,
        WINDOW_COLUMNS[1],
        Some(FieldMetadata::from(marked)),
    ));
    LogicalPlanBuilder::from(input).project(columns)?.build()
}

/// `first_value(x ORDER BY ts)` becomes `first_value(x ORDER BY ts, _split, _offset)`.
fn break_ties(query: &mut ast::Query) {
    struct Rewrite;
    impl VisitorMut for Rewrite {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> std::ops::ControlFlow<()> {
            if let ast::Expr::Function(call) = expr
                && ["first_value", "last_value"].contains(&call.name.to_string().as_str())
                && let ast::FunctionArguments::List(list) = &mut call.args
            {
                for clause in &mut list.clauses {
                    if let ast::FunctionArgumentClause::OrderBy(order) = clause {
                        order.extend(["_split", "_offset"].map(|c| ast::Ident::new(c).into()));
                    }
                }
            }
            std::ops::ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Rewrite);
}
