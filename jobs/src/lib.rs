//! What a job says: from the job file to a checked plan. SQL planning lives here; nothing runs here.

pub mod job;
pub mod plan;
