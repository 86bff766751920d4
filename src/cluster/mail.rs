//! What processes tell each other about taps while the job runs.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{frame::Message, link::Link};

/// Something for the taps of this process.
#[derive(Debug)]
pub enum Mail {
    /// What another process says.
    From(usize, Value),
    /// Nothing more will be said here.
    End,
}

/// The other processes.
pub struct Peers(BTreeMap<usize, Arc<Link>>);

impl Peers {
    pub(super) fn new(links: BTreeMap<usize, Arc<Link>>) -> Self {
        Self(links)
    }

    /// Their indexes.
    pub fn indexes(&self) -> impl Iterator<Item = usize> {
        self.0.keys().copied()
    }

    /// Tells one of them something. Ends the process if it is lost.
    pub fn tell(&self, index: usize, what: Value) {
        if let Some(link) = self.0.get(&index) {
            link.tell(&Message::Tap(what));
        }
    }
}
