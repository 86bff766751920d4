//! What a running job tells about itself, and what follows from that.
//!
//! ```text
//!  runtime::stats ──take──> Measurements ──> exposition (Prometheus' text form, names from the catalogue)
//!  (threads count)              │
//!                               └──one a second──> vitals: a minute of them ──> lag with its trend ──> health
//! ```
//! Counting costs something per batch or activation, never per record; everything else happens when somebody asks.

pub mod catalogue;
pub mod exposition;
pub mod frontiers;
pub mod health;
pub mod lag;
pub mod measurements;
pub mod trend;
pub mod watermarks;
pub mod window;
