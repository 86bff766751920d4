//! The checked plan of a job: what [`crate::compile`] makes of a job file. Plain data; nothing here runs.
//!
//! A plan is a list of nodes in topological order: the inputs of a node come before it. Expressions are
//! DataFusion physical expressions over the *visible* columns of the node's input. At run time hidden columns follow
//! the visible ones (`_wm`, `_split`, `_offset` behind a source's stream rows, `_diff` behind the changes of a
//! table); filters and projections pass them on unseen.
//!
//! Aggregates, lookups and joins refer to columns only by position: whatever they need is computed by a
//! projection in front of them, so that nothing else crosses an exchange.

pub mod locality;
pub mod logic;
mod narrow;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;

use crate::job::{SinkConfig, SourceConfig};

/// The position of a node in [`Plan::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct NodeId(pub usize);

/// A job that passed every check that needs no connection.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The job's name: its identity in the checkpoint store and in every row written.
    pub name: String,
    /// Sources, in the job file's order.
    pub sources: Vec<SourcePlan>,
    /// Operators, inputs first.
    pub nodes: Vec<Node>,
    /// Views by name, in the job file's order, with the node that holds the result.
    pub views: Vec<(String, NodeId)>,
    /// Sinks, in the job file's order.
    pub sinks: Vec<SinkPlan>,
}

/// A source and the columns that the job uses of it.
#[derive(Clone, Debug)]
pub struct SourcePlan {
    /// Its name in the job file.
    pub name: String,
    /// The configuration as written, with references such as `${env:NAME}` resolved.
    pub config: SourceConfig,
    /// The columns that are decoded: those used, in the declared order (primary key and event time always).
    pub schema: SchemaRef,
    /// What the rows are.
    pub kind: SourceKind,
    /// The node that stands for this source's rows.
    pub node: NodeId,
    /// Whether rows need their position (`_split`, `_offset`): some aggregate breaks ties by it.
    pub needs_position: bool,
}

/// What the records of a source mean. Positions are in [`SourcePlan::schema`].
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// Append-only rows.
    Stream {
        /// The event time, where declared.
        event_time: Option<EventTime>,
    },
    /// Upserts and deletes by key.
    Table {
        /// The primary key's columns.
        key: Vec<usize>,
        /// The column that decides between splits; the record's Kafka timestamp otherwise.
        event_time: Option<usize>,
    },
}

/// A stream's event time declaration.
#[derive(Clone, Debug)]
pub struct EventTime {
    /// The column.
    pub column: usize,
    /// How far behind the largest event time of its split a row may be, in milliseconds.
    pub out_of_orderness_ms: i64,
    /// After how long without new records a split no longer holds the watermark, in milliseconds.
    pub idle_after_ms: Option<u64>,
}

/// One operator and the relation that it makes.
#[derive(Clone, Debug)]
pub struct Node {
    /// A name for people: the view's or source's name, and the role inside it, such as `customer/join`.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// The visible columns of its result. Only these types occur: `Boolean`, `Int32`, `Int64`, `Float64`,
    /// `Utf8View`, `Timestamp(Millisecond, None)`, `Date32`, `Decimal128`; the planner casts to them.
    pub schema: SchemaRef,
    /// What its rows mean.
    pub kind: RelationKind,
}

/// What the rows of a relation mean. Positions are in the node's schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// Append-only rows.
    Stream {
        /// The event time column, where there is exactly one.
        event_time: Option<usize>,
        /// The columns that identify a row, such as (group, window); `None` if nothing does.
        key: Option<Vec<usize>>,
        /// Whether rows carry the hidden `_wm`, `_split` and `_offset`: they come from a source unaggregated.
        positioned: bool,
    },
    /// Rows by key; its changes carry the hidden `_diff`.
    Table {
        /// The key's columns.
        key: Vec<usize>,
    },
    /// Changes whose key was projected away; only inside a plan, in front of a table aggregate or join.
    Bag,
}

/// What a node does.
#[derive(Clone, Debug)]
pub enum Op {
    /// The rows of a source: of a stream as they are, of a table as keyed changes (upserts resolved by key).
    Source {
        /// Position in [`Plan::sources`].
        source: usize,
    },
    /// Keeps the rows for which the predicate is true.
    Filter {
        /// Its input.
        input: NodeId,
        /// A boolean expression.
        predicate: Arc<dyn PhysicalExpr>,
    },
    /// Computes columns.
    Project {
        /// Its input.
        input: NodeId,
        /// One expression per column of the result.
        exprs: Vec<Arc<dyn PhysicalExpr>>,
    },
    /// `UNION ALL` of streams with equal schemas.
    Union {
        /// Its inputs.
        inputs: Vec<NodeId>,
    },
    /// Tumbling windows over a stream: a row per group and closed window.
    Window(WindowOp),
    /// Rolling windows over a stream: a table, current at every epoch.
    Rolling(RollingOp),
    /// A stream enriched by a table, as of arrival: the left's columns, then the table's.
    Lookup {
        /// The stream.
        input: NodeId,
        /// The stream's columns that are compared with the table's key, in the order of that key.
        input_key: Vec<usize>,
        /// The table.
        table: NodeId,
        /// Inner or left.
        kind: JoinKind,
    },
    /// Two tables on their whole common key: the left's columns, then the right's.
    KeyJoin {
        /// The left table.
        left: NodeId,
        /// Its key, in join order.
        left_key: Vec<usize>,
        /// The right table.
        right: NodeId,
        /// Its key, in join order.
        right_key: Vec<usize>,
        /// Inner or left.
        kind: JoinKind,
    },
    /// Two tables on other columns, by differential dataflow: the left's columns, then the right's.
    TableJoin {
        /// The left input.
        left: NodeId,
        /// Its join columns; may be empty only if the right side has a single row.
        left_on: Vec<usize>,
        /// The right input.
        right: NodeId,
        /// Its join columns.
        right_on: Vec<usize>,
        /// Inner or left.
        kind: JoinKind,
    },
    /// Aggregates of a changing table, with retractions, by differential dataflow: keys, then aggregates.
    TableAggregate {
        /// Its input.
        input: NodeId,
        /// The grouping columns.
        keys: Vec<usize>,
        /// The aggregates.
        aggregates: Vec<Aggregate>,
    },
}

/// Which rows a join keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinKind {
    /// Only matches.
    Inner,
    /// Every row of the left side; nulls where the right has no match.
    Left,
}

/// Tumbling windows. The result's columns: `groups` in order, then the aggregates.
#[derive(Clone, Debug)]
pub struct WindowOp {
    /// The input stream.
    pub input: NodeId,
    /// The event time column of the input.
    pub time: usize,
    /// The size of a window, in milliseconds.
    pub size_ms: i64,
    /// How long after its end a window still accepts rows, in milliseconds.
    pub lateness_ms: i64,
    /// The grouping columns and the window's own.
    pub groups: Vec<GroupColumn>,
    /// The aggregates.
    pub aggregates: Vec<Aggregate>,
}

/// A column of a window's GROUP BY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupColumn {
    /// A column of the input.
    Input(usize),
    /// The first instant of the window.
    WindowStart,
    /// The first instant after the window.
    WindowEnd,
}

/// Rolling windows: at watermark W a row counts while `tile_start(ts) >= tile_start(W) - size`, so the tail leaves by
/// whole tiles. The result's columns: `keys` in order, then the aggregates; its key is `keys`.
#[derive(Clone, Debug)]
pub struct RollingOp {
    /// The input stream.
    pub input: NodeId,
    /// The event time column of the input.
    pub time: usize,
    /// The length of the window, in milliseconds; a multiple of the tile.
    pub size_ms: i64,
    /// The length of a tile, in milliseconds.
    pub tile_ms: i64,
    /// The grouping columns of the input.
    pub keys: Vec<usize>,
    /// The aggregates.
    pub aggregates: Vec<Aggregate>,
}

/// One aggregate: everything it reads is a column of its input.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// The function.
    pub function: AggregateFunction,
    /// The argument's column; `None` for `count(*)`.
    pub argument: Option<usize>,
    /// A boolean column: only rows where it is true count.
    pub filter: Option<usize>,
    /// The result's type, as DataFusion gives it (cast to one of the supported types by a later projection).
    pub data_type: arrow::datatypes::DataType,
}

/// The aggregate functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AggregateFunction {
    /// Rows, or rows whose argument is not null.
    Count,
    /// The sum; null without rows.
    Sum,
    /// The mean; null without rows.
    Avg,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The value of the row with the least (event time, split, offset).
    First,
    /// The value of the row with the greatest (event time, split, offset).
    Last,
}

impl AggregateFunction {
    /// Its name in SQL, as far as it has a short one.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::First => "first",
            Self::Last => "last",
        }
    }
}

/// A sink and what it is fed from.
#[derive(Clone, Debug)]
pub struct SinkPlan {
    /// Its name in the job file.
    pub name: String,
    /// The configuration as written, with references resolved.
    pub config: SinkConfig,
    /// The relation's node; `None` for the dead letters and the late rows.
    pub input: SinkInput,
}

/// What a sink is fed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkInput {
    /// A view or source.
    Node(NodeId),
    /// Records and rows that could not be processed.
    DeadLetters,
    /// Rows that came too late.
    Late,
}
