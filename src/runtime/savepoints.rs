//! Savepoints of a running job: asked for from outside, cut like any checkpoint, and copied on threads of their own.
//!
//! ```text
//! request ─> waiting ──marker of worker 0──> cut at an epoch ──a checkpoint of it, or a later one, is published──> copied
//! ```
//! Every published checkpoint at or after the marker holds all that had been read when the savepoint was asked for, so
//! whichever is published first is taken. Its files are pinned until they are copied: clean-up leaves them alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use serde::{Deserialize, Serialize};
use tidewright_checkpoints::manifest::Manifest;
use tidewright_checkpoints::store::CheckpointStore;
use tidewright_checkpoints::{paths, savepoint, store};

use super::crash::with_crash_points;

/// A complete savepoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavepointTaken {
    /// The URL of its folder: what `--restore` takes.
    pub location: String,
    /// The epoch of its cut.
    pub epoch: u64,
    /// The size of all its files, in bytes.
    pub bytes: u64,
}

/// The savepoint, or why there is none.
pub type Outcome = Result<SavepointTaken, String>;

/// Which checkpoint a savepoint is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The next one.
    Next,
    /// The job's final one.
    Final,
}

/// All savepoints of a job, from being asked for to being complete.
#[derive(Debug, Default)]
pub struct Savepoints {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Wanted>,
    /// With the epoch of the marker.
    cut: Vec<(u64, Wanted)>,
    copying: Vec<JoinHandle<()>>,
    /// By the number of the copy that needs them.
    pinned: BTreeMap<u64, BTreeSet<String>>,
    copies: u64,
    /// The epoch of the job's last marker: no other one follows.
    last_marker: Option<u64>,
    /// The checkpoint of that marker, once it is published, for those who ask now.
    last: Option<Published>,
    ended: bool,
    at_end: Option<Outcome>,
}

/// A published checkpoint and where its files are.
#[derive(Clone, Debug)]
struct Published {
    manifest: Manifest,
    store: Arc<dyn CheckpointStore>,
}

#[derive(Debug)]
struct Wanted {
    to: Option<String>,
    moment: Moment,
    answer: Sender<Outcome>,
}

/// Checks that a savepoint can be made at a place, before a job stops for it.
///
/// # Errors
/// What is wrong with the place.
pub fn check_place(url: &str) -> Result<(), String> {
    let target = store::open(url).map_err(|error| error.to_string())?;
    savepoint::check_free(&*target).map_err(|error| error.to_string())
}

impl Savepoints {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a savepoint at a URL, or below the job's store. The answer comes when it is complete.
    #[must_use]
    pub fn request(self: &Arc<Self>, to: Option<String>, moment: Moment) -> Receiver<Outcome> {
        let (answer, outcome) = channel();
        let wanted = Wanted { to, moment, answer };
        let mut state = self.state();
        if state.ended {
            wanted.answer(Err("the job has ended".to_owned()));
        } else if let Some(last) = state.last.clone() {
            self.start_copy(&mut state, last, vec![wanted]);
        } else if let Some(epoch) = state.last_marker {
            state.cut.push((epoch, wanted));
        } else {
            state.waiting.push(wanted);
        }
        outcome
    }

    /// A marker is wanted now.
    #[must_use]
    pub fn is_due(&self) -> bool {
        let next = |wanted: &Wanted| wanted.moment == Moment::Next;
        self.state().waiting.iter().any(next)
    }

    /// Worker 0 has put a marker into an epoch: the last one of the job, or another.
    pub fn cut_at(&self, epoch: u64, last: bool) {
        let mut state = self.state();
        state.last_marker = last.then_some(epoch);
        let (now, later) = mem::take(&mut state.waiting)
            .into_iter()
            .partition(|wanted| last || wanted.moment == Moment::Next);
        state.waiting = later;
        let now: Vec<Wanted> = now;
        state
            .cut
            .extend(now.into_iter().map(|wanted| (epoch, wanted)));
    }

    /// A checkpoint has been published: starts to copy it for those that wait for it. Its files are pinned on return.
    pub fn published(self: &Arc<Self>, manifest: &Manifest, store: &Arc<dyn CheckpointStore>) {
        let mut state = self.state();
        let (now, later) = mem::take(&mut state.cut)
            .into_iter()
            .partition(|(epoch, _)| *epoch <= manifest.epoch.0);
        state.cut = later;
        let now: Vec<(u64, Wanted)> = now;
        let published = Published {
            manifest: manifest.clone(),
            store: store.clone(),
        };
        if state
            .last_marker
            .is_some_and(|last| last <= manifest.epoch.0)
        {
            state.last = Some(published.clone());
        }
        let wanted: Vec<_> = now.into_iter().map(|(_, wanted)| wanted).collect();
        if !wanted.is_empty() {
            self.start_copy(&mut state, published, wanted);
        }
    }

    fn start_copy(self: &Arc<Self>, state: &mut State, from: Published, wanted: Vec<Wanted>) {
        let copy = Copy {
            number: state.copies,
            savepoints: self.clone(),
            from,
            wanted,
        };
        state.copies += 1;
        let files = copy.from.manifest.files.iter();
        let files = files.map(|file| file.name.clone()).collect();
        state.pinned.insert(copy.number, files);
        let spawned = thread::Builder::new()
            .name("savepoint".to_owned())
            .spawn(move || copy.run());
        match spawned {
            Ok(copying) => state.copying.push(copying),
            // The requests went with the closure: who waits hears that nobody will answer.
            Err(error) => {
                tracing::error!(%error, "cannot start the thread that copies a savepoint");
            }
        }
    }

    /// Files that must not be deleted now.
    #[must_use]
    pub fn pinned(&self) -> BTreeSet<String> {
        self.state().pinned.values().flatten().cloned().collect()
    }

    /// The job has ended: waits until what was cut is copied, refuses the rest, and tells what became of the savepoint that the
    /// job stopped with.
    pub fn finish(&self) -> Option<Outcome> {
        let mut state = self.state();
        state.ended = true;
        let copying = mem::take(&mut state.copying);
        let cut = mem::take(&mut state.cut).into_iter();
        let waiting = mem::take(&mut state.waiting).into_iter();
        for wanted in waiting.chain(cut.map(|(_, wanted)| wanted)) {
            wanted.answer(Err("the job has ended".to_owned()));
        }
        drop(state);
        for copy in copying {
            // A panic has ended the process already.
            let _ = copy.join();
        }
        self.state().at_end.take()
    }
}

impl Wanted {
    fn answer(&self, outcome: Outcome) {
        // Who asked may have gone.
        let _ = self.answer.send(outcome);
    }
}

/// One published checkpoint that becomes one savepoint for each place that was asked for.
struct Copy {
    number: u64,
    savepoints: Arc<Savepoints>,
    from: Published,
    wanted: Vec<Wanted>,
}

impl Copy {
    fn run(self) {
        let mut done: BTreeMap<String, Outcome> = BTreeMap::new();
        for wanted in &self.wanted {
            let location = wanted.to.clone().unwrap_or_else(|| self.default_place());
            let outcome = done
                .entry(location)
                .or_insert_with_key(|location| self.copy(location));
            if let Err(error) = outcome {
                tracing::error!("no savepoint was made: {error}");
            }
            if wanted.moment == Moment::Final {
                self.savepoints.state().at_end = Some(outcome.clone());
            }
            wanted.answer(outcome.clone());
        }
        self.savepoints.state().pinned.remove(&self.number);
    }

    fn default_place(&self) -> String {
        let Manifest {
            generation, epoch, ..
        } = self.from.manifest;
        paths::savepoint(&self.from.store.location(), generation, epoch)
    }

    fn copy(&self, location: &str) -> Outcome {
        let target = store::open(location).map_err(|error| error.to_string())?;
        let target = with_crash_points(target);
        let Published { manifest, store } = &self.from;
        let bytes =
            savepoint::write(&**store, manifest, &*target).map_err(|error| error.to_string())?;
        Ok(SavepointTaken {
            location: location.to_owned(),
            epoch: manifest.epoch.0,
            bytes,
        })
    }
}

#[cfg(test)]
mod tests;
