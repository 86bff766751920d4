//! The hidden columns behind a batch's visible ones.
//!
//! A source's stream rows end in `_wm`, and with positions also in `_split`, `_offset`. Changes of a table end in
//! `_diff`. Rows that an operator made (closed windows) carry none: they are never late.
//! Records of a table *source*, before keys are resolved, end in `_op`, `_ts`, `_split`, `_offset`.

/// `Int64`: the watermark of the row's split just before the row, in milliseconds; `i64::MIN` before the first.
pub const WATERMARK: &str = "_wm";
/// `UInt32`: the number of the row's split.
pub const SPLIT: &str = "_split";
/// `Int64`: the row's offset in its split.
pub const OFFSET: &str = "_offset";
/// `Int8`: +1 for a row that a table gains in this epoch, -1 for one that it loses. Per key and epoch a keyed table
/// has at most one of each; a changed row is a loss of the old and a gain of the new image.
pub const DIFF: &str = "_diff";
/// `Int8`: +1 for an upsert, -1 for a delete (only key columns hold values). Records of a table source.
pub const OP: &str = "_op";
/// `Int64`: what decides between splits: the declared event time, else the record's timestamp, in milliseconds.
pub const VERSION_TIME: &str = "_ts";
