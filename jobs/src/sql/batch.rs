//! The same SQL as a batch: what a test needs to compare the engine with DataFusion.
//!
//! Parse the view with [`parse`], rewrite it with [`name_arguments`], register [`WindowFunctions`] with a closure that
//! builds the batch form of a window (tumble: projects the window's bounds; rolling: a filter by the final
//! watermark) as a relation planner of a `SessionContext`, and hand it the statement. Mark the event time column of
//! the input with the field metadata [`EVENT_TIME`].

pub use super::parse::{name_arguments, parse};
pub use super::window_assign::WINDOW_COLUMNS;
pub use super::window_functions::{Build, EVENT_TIME, WindowFunctions, WindowKind};
