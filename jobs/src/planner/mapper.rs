//! Walks a logical plan and makes nodes.

use std::{collections::BTreeSet, sync::Arc};

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::{
    Expr,
    logical_plan::{LogicalPlan, Projection},
};

use super::{
    Mapped, PlannedView, SourceDeclaration,
    columns::{Columns, compile},
    relation::{Relation, Slot, Window, check_expressions, moved_kind, span_of},
};
use crate::{
    plan::{Node, NodeId, Op, RelationKind, SourcePlan},
    sql::{self, EVENT_TIME, SourceOf, refuse},
};

/// Makes the nodes of all views of a job.
#[derive(Debug)]
pub(crate) struct Mapper<'s> {
    pub(super) declarations: &'s [SourceDeclaration],
    /// Per source the columns that are decoded.
    pub(super) kept: Vec<BTreeSet<usize>>,
    /// Per source the columns that scans have asked for.
    pub(super) asked: Vec<BTreeSet<usize>>,
    sources: Vec<SourcePlan>,
    pub(super) nodes: Vec<Node>,
    /// Per node two columns that say the same: the bounds of a window.
    pub(super) twins: Vec<Option<(usize, usize)>>,
    pub(super) views: Vec<(NodeId, Vec<usize>)>,
    pub(super) current: View,
}

/// The view that is being mapped.
#[derive(Debug, Default)]
pub(super) struct View {
    name: String,
    pub lateness_ms: i64,
    pub lateness_used: bool,
    first_node: usize,
}

impl<'s> Mapper<'s> {
    pub fn new(declarations: &'s [SourceDeclaration], kept: Vec<BTreeSet<usize>>) -> Self {
        let mut mapper = Self {
            declarations,
            asked: vec![BTreeSet::new(); declarations.len()],
            kept,
            sources: Vec::new(),
            nodes: Vec::new(),
            twins: Vec::new(),
            views: Vec::new(),
            current: View::default(),
        };
        for (source, declaration) in declarations.iter().enumerate() {
            let node = NodeId(mapper.nodes.len());
            let plan = declaration.narrowed(&mapper.kept[source], node, false);
            mapper.nodes.push(SourceDeclaration::as_node(source, &plan));
            mapper.twins.push(None);
            mapper.sources.push(plan);
        }
        mapper
    }

    /// A mapper that sees all columns: to find out which are used.
    pub fn exploring(declarations: &'s [SourceDeclaration]) -> Self {
        let all = declarations
            .iter()
            .map(|d| (0..d.schema.fields().len()).collect())
            .collect();
        Self::new(declarations, all)
    }

    /// Per source the columns that the views mapped so far use.
    pub fn asked(&self) -> &[BTreeSet<usize>] {
        &self.asked
    }

    pub fn finish(self, planned: &[PlannedView]) -> Mapped {
        let names = planned.iter().map(|view| view.name.clone());
        Mapped {
            views: names.zip(self.views.iter().map(|view| view.0)).collect(),
            sources: self.sources,
            nodes: self.nodes,
            twins: self.twins,
        }
    }

    /// Maps one view; returns what later views see of it.
    pub fn map_view(&mut self, view: &PlannedView) -> Result<sql::Relation> {
        self.current = View {
            name: view.name.clone(),
            lateness_ms: view.lateness_ms.unwrap_or(0),
            lateness_used: false,
            first_node: self.nodes.len(),
        };
        let relation = self.map(&view.plan)?;
        if relation.window.is_some() {
            let message = "the rows of a window function must be aggregated: GROUP BY your key and, for tumble, window_start \
                           or window_end";
            return Err(refuse(message, None));
        }
        if view.lateness_ms.is_some() && !self.current.lateness_used {
            let message = "`lateness` is for views with tumble(..): there is none in this one";
            return Err(refuse(message, None));
        }
        let logical = Arc::clone(&relation.schema);
        check_names(&logical)?;
        let origins = relation.origins.clone();
        let node = self.result_of(relation)?;
        self.views.push((node, origins));
        Ok(self.relation_of_view(node, &logical))
    }

    /// A node of this view's own that holds exactly the SELECT list.
    fn result_of(&mut self, relation: Relation) -> Result<NodeId> {
        let schema = self.schema(relation.node);
        let own = relation.node.0 >= self.current.first_node;
        let node = if own && relation.is_whole(&schema) {
            relation.node
        } else if own && relation.is_renamed(&schema) && makes_rows(&self.nodes[relation.node.0].op)
        {
            self.rename(relation.node, &relation.schema);
            relation.node
        } else {
            let columns = Columns::all_of(&relation, &schema)?;
            self.push_project(relation.node, columns)
        };
        match self.nodes[node.0].kind {
            RelationKind::Bag => Err(refuse(
                "this view changes, so its rows need a key: select the key columns of its tables, or GROUP BY",
                None,
            )),
            _ => Ok(node),
        }
    }

    /// Gives the columns of a node the names of the SELECT list.
    fn rename(&mut self, node: NodeId, names: &DFSchema) {
        let node = &mut self.nodes[node.0];
        let fields: Vec<Field> = node
            .schema
            .fields()
            .iter()
            .zip(names.fields())
            .map(|(field, name)| Field::clone(field).with_name(name.name()))
            .collect();
        node.schema = Arc::new(Schema::new(fields));
    }

    fn relation_of_view(&self, node: NodeId, logical: &DFSchema) -> sql::Relation {
        let result = &self.nodes[node.0];
        let marked = match &result.kind {
            RelationKind::Stream { event_time, .. } => *event_time,
            _ => None,
        };
        let fields: Vec<Field> = result
            .schema
            .fields()
            .iter()
            .enumerate()
            .map(|(i, field)| {
                let nullable = logical.field(i).is_nullable();
                let field = Field::new(field.name(), field.data_type().clone(), nullable);
                if marked == Some(i) {
                    field.with_metadata([(EVENT_TIME.to_owned(), "1".to_owned())].into())
                } else {
                    field
                }
            })
            .collect();
        let of = SourceOf::View(self.views.len() - 1);
        sql::Relation::new(of, Arc::new(Schema::new(fields)), result.kind.clone())
    }

    pub(super) fn map(&mut self, plan: &LogicalPlan) -> Result<Relation> {
        check_expressions(plan)?;
        match plan {
            LogicalPlan::TableScan(scan) => self.map_scan(scan),
            LogicalPlan::SubqueryAlias(alias) => Ok(Relation {
                schema: Arc::clone(plan.schema()),
                ..self.map(&alias.input)?
            }),
            LogicalPlan::Filter(filter) => {
                let input = self.map(&filter.input)?;
                self.filter(input, &filter.predicate)
            }
            LogicalPlan::Projection(projection) => self.map_projection(projection),
            LogicalPlan::Extension(extension) => self.map_window(extension),
            LogicalPlan::Aggregate(aggregate) => self.map_aggregate(aggregate),
            LogicalPlan::Join(join) => self.map_join(join),
            LogicalPlan::Union(union) => self.map_union(union, plan),
            LogicalPlan::Sort(sort) => Err(refuse(
                "ORDER BY has no meaning for a result that never ends",
                sort.expr.first().and_then(|s| span_of(&s.expr)),
            )),
            LogicalPlan::Limit(_) => Err(refuse(
                "LIMIT has no meaning for a result that never ends",
                None,
            )),
            LogicalPlan::Window(window) => Err(refuse(
                "not supported yet: OVER (..); aggregate over tumble(..) or rolling(..)",
                window.window_expr.first().and_then(span_of),
            )),
            LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => Err(refuse(
                "a view must read a source or another view (a condition that is never true leaves nothing to read)",
                None,
            )),
            other => {
                let text = other.display().to_string();
                let name = text.split(':').next().unwrap_or("this").to_owned();
                Err(refuse(
                    format!("not supported: {name} over unbounded input"),
                    None,
                ))
            }
        }
    }

    pub(super) fn filter(&mut self, input: Relation, predicate: &Expr) -> Result<Relation> {
        let schema = self.schema(input.node);
        let (predicate, _) = compile(predicate, &input, &schema)?;
        let kind = self.nodes[input.node.0].kind.clone();
        let twins = self.twins[input.node.0];
        let op = Op::Filter {
            input: input.node,
            predicate,
        };
        let node = self.push("filter", op, schema, kind, twins);
        Ok(Relation { node, ..input })
    }

    fn map_projection(&mut self, projection: &Projection) -> Result<Relation> {
        let input = self.map(&projection.input)?;
        let slots: Vec<_> = projection.expr.iter().map(|e| input.slot_of(e)).collect();
        if let Some(slots) = slots.iter().copied().collect() {
            return Ok(Relation {
                schema: Arc::clone(&projection.schema),
                slots,
                ..input
            });
        }
        let node_schema = self.schema(input.node);
        let mut columns = Columns::default();
        let mut moved = Vec::new();
        for ((expr, slot), field) in projection
            .expr
            .iter()
            .zip(slots)
            .zip(projection.schema.fields())
        {
            moved.push(match slot {
                Some(Slot::Column(column)) => {
                    Slot::Column(columns.append(column, field.name(), &node_schema))
                }
                Some(other) => other,
                None => Slot::Column(columns.compute(expr, field.name(), &input, &node_schema)?),
            });
        }
        let window = input.window.map(|window| Window {
            time: columns.pass(window.time, &node_schema),
            ..window
        });
        Ok(Relation {
            node: self.push_project(input.node, columns),
            schema: Arc::clone(&projection.schema),
            slots: moved,
            window,
            origins: input.origins,
        })
    }

    /// Marks the one source whose positions break ties; refuses where there is none.
    pub(super) fn need_position(&mut self, relation: &Relation) -> std::result::Result<(), String> {
        let positioned = matches!(
            self.nodes[relation.node.0].kind,
            RelationKind::Stream {
                positioned: true,
                ..
            }
        );
        match relation.origins[..] {
            [source] if positioned => {
                self.sources[source].needs_position = true;
                Ok(())
            }
            _ => Err(
                "not supported yet: rows of closed windows or of a union have no order among equal times; take the \
                      first or last over one source's rows"
                    .to_owned(),
            ),
        }
    }

    /// Refuses windows with lateness as input of a derived view. Such a view is rebuilt from its inputs' rows after a
    /// restart, and closed windows are no longer in state by then.
    pub(super) fn refuse_forgotten_rows(&self, node: NodeId) -> Result<()> {
        match &self.nodes[node.0].op {
            Op::Filter { input, .. } | Op::Project { input, .. } => {
                self.refuse_forgotten_rows(*input)
            }
            Op::Window(window) if window.lateness_ms > 0 => Err(refuse(
                "not supported yet: aggregates and joins on other columns than the key over windows with `lateness`; leave \
                 the lateness out, or aggregate a view of the same windows without it",
                None,
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn schema(&self, node: NodeId) -> SchemaRef {
        Arc::clone(&self.nodes[node.0].schema)
    }

    pub(super) fn project_if_needed(&mut self, input: NodeId, columns: Columns) -> NodeId {
        if columns.is_identity(&self.schema(input)) {
            input
        } else {
            self.push_project(input, columns)
        }
    }

    pub(super) fn push_project(&mut self, input: NodeId, columns: Columns) -> NodeId {
        let twins = self.twins[input.0];
        let kind = moved_kind(&self.nodes[input.0].kind, twins, |c| columns.place_of(c));
        let moved_twins =
            twins.and_then(|(a, b)| Some((columns.place_of(a)?, columns.place_of(b)?)));
        let schema = columns.schema();
        let op = Op::Project {
            input,
            exprs: columns.exprs,
        };
        self.push("project", op, schema, kind, moved_twins)
    }

    /// Adds a node under a name that stays the same as long as the view's shape does.
    pub(super) fn push(
        &mut self,
        role: &str,
        op: Op,
        schema: SchemaRef,
        kind: RelationKind,
        twins: Option<(usize, usize)>,
    ) -> NodeId {
        let base = format!("{}/{role}", self.current.name);
        let own = &self.nodes[self.current.first_node..];
        let same = |node: &&Node| node.name.split('#').next() == Some(base.as_str());
        let name = match own.iter().filter(same).count() {
            0 => base,
            n => format!("{base}#{}", n + 1),
        };
        self.nodes.push(Node {
            name,
            op,
            schema,
            kind,
        });
        self.twins.push(twins);
        NodeId(self.nodes.len() - 1)
    }
}

/// Whether an operator makes batches of its own schema, instead of passing its input's on.
fn makes_rows(op: &Op) -> bool {
    !matches!(op, Op::Source { .. } | Op::Filter { .. } | Op::Union { .. })
}

/// The names of a view's columns are what sinks write: each once, none of the reserved ones.
fn check_names(schema: &DFSchema) -> Result<()> {
    let mut seen = BTreeSet::new();
    for field in schema.fields() {
        let name = field.name();
        if name.starts_with('_') {
            let message = format!(
                "the column name '{name}' is reserved: names that begin with _ are the engine's own"
            );
            return Err(refuse(message, None));
        }
        if !seen.insert(name) {
            let message = format!("two columns are named '{name}': rename one with AS");
            return Err(refuse(message, None));
        }
    }
    Ok(())
}
