//! The SQL front end: from a view's text to an optimized logical plan.
//!
//! Nothing here knows the engine's operators; [`crate::planner`] maps logical plans onto them.

pub mod batch;
mod catalog;
mod errors;
mod logical;
mod parse;
mod window_assign;
mod window_functions;

pub(crate) use self::catalog::{Catalog, Relation, SourceOf};
pub(crate) use self::errors::{locate, refuse};
pub(crate) use self::logical::plan_query;
pub(crate) use self::parse::parse;
pub(crate) use self::window_assign::WindowAssign;
pub(crate) use self::window_functions::{EVENT_TIME, WindowKind};
