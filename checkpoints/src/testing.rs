//! Stores that misbehave, and the suites that stores and protocols have to pass. For tests, of this crate and of whole systems.
//!
//! Nothing here is used by a running job. Suites panic where they find a violation, like every test.

mod conformance;
mod crash;
mod faulty;
mod memory;
mod model;
mod rng;
mod unsynced;

pub use conformance::conformance;
pub use crash::{Mutant, Violation, crash_run};
pub use faulty::{Faults, Faulty};
pub use memory::MemoryStore;
pub use model::Model;
pub use rng::Rng;
pub use unsynced::{SyncStep, Unsynced, UnsyncedFilesystem};
