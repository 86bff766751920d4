//! Deliberately broken variants, so that tests can show that they would find such a fault. Only debug builds, which the tests
//! run, know them.

use tidewright_checkpoints::ShardDelta;

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
        }
    }
}

/// [`Mutant::Panic`].
#[expect(clippy::panic, reason = "this is what the variant is for")]
pub fn panic_if_asked() {
    if Mutant::Panic.is_asked_for() {
        panic!("an operator that fails on purpose");
    }
}

/// [`Mutant::Dirty`].
pub fn lose_an_entry_if_asked(deltas: &mut [ShardDelta]) {
    if Mutant::Dirty.is_asked_for()
        && let Some(delta) = deltas.last_mut()
    {
        delta.entries.pop();
    }
}
