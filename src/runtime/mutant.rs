//! Deliberately broken variants, so that tests can show that they would find such a fault. Only debug builds, which the tests
//! run, know them.

use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use tidewright_checkpoints::ShardDelta;

use super::watch::STILL_MAX;

/// The variable that names the variant.
pub const MUTANT: &str = "TIDEWRIGHT_TEST_MUTANT";

/// One fault, at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Restored offsets are one too far.
    Offset,
    /// A changed entry is missing in every section of a checkpoint.
    Dirty,
    /// Rows are released when they are sealed, before their checkpoint is durable.
    Release,
    /// The durable frontier runs ahead between checkpoints.
    Capability,
    /// Redis takes older versions.
    Stale,
    /// A replay delivers before it has caught up.
    Hold,
    /// An operator panics.
    Panic,
    /// An operator waits for something that never comes.
    Hang,
    /// An operator computes for long, once.
    Labour,
}

impl Mutant {
    /// Whether the environment asks for this variant.
    #[cfg(not(debug_assertions))]
    #[must_use]
    pub const fn is_asked_for(self) -> bool {
        false
    }

    /// Whether the environment asks for this variant.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn is_asked_for(self) -> bool {
        static ASKED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        let asked = ASKED.get_or_init(|| std::env::var(MUTANT).ok());
        asked.as_deref() == Some(self.name())
    }

    #[cfg(debug_assertions)]
    const fn name(self) -> &'static str {
        match self {
            Self::Offset => "offset",
            Self::Dirty => "dirty",
            Self::Release => "release",
            Self::Capability => "capability",
            Self::Stale => "stale",
            Self::Hold => "hold",
            Self::Panic => "panic",
            Self::Hang => "hang",
            Self::Labour => "labour",
        }
    }
}

/// [`Mutant::Panic`], [`Mutant::Hang`] and [`Mutant::Labour`].
#[expect(clippy::panic, reason = "this is what the variant is for")]
pub fn disturb_if_asked() {
    if Mutant::Panic.is_asked_for() {
        panic!("an operator that fails on purpose");
    }
    while Mutant::Hang.is_asked_for() {
        thread::park();
    }
    if Mutant::Labour.is_asked_for() {
        labour();
    }
}

/// Computes for longer than a worker may do nothing.
fn labour() {
    static DONE: AtomicBool = AtomicBool::new(false);
    let since = Instant::now();
    let limit = STILL_MAX + Duration::from_secs(8);
    while !DONE.load(Ordering::Relaxed) && since.elapsed() < limit {
        black_box(since);
    }
    DONE.store(true, Ordering::Relaxed);
}

/// [`Mutant::Dirty`].
pub fn lose_an_entry_if_asked(deltas: &mut [ShardDelta]) {
    if Mutant::Dirty.is_asked_for()
        && let Some(delta) = deltas.last_mut()
    {
        delta.entries.pop();
    }
}
