//! Tests: input as a real source makes it, a runtime in miniature that drives operators through epochs, checkpoints
//! and restores, and aggregates computed the naive way.

mod drive;
mod input;
mod naive;
mod shown;

pub(crate) use self::drive::{Emitted, drive, drive_partition_local, limited, no_memory, trim};
pub(crate) use self::input::{
    Cut, EpochRows, KEY, Row, TIME, batch, input, partitioned_by_key, schema,
};
pub(crate) use self::naive::{aggregate_fields, aggregates, naive};
pub(crate) use self::shown::{all_cells, cells, late_rows};
