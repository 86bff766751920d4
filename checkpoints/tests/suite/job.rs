//! A small job whose workers write random deltas.
use std::{collections::BTreeMap, sync::Arc};

use tidewright_checkpoints::{
    Acknowledgement, CheckpointKind, CheckpointStore, ClaimRequest, Compacted, Cut, Epoch,
    FileEntry, Publisher, ShardRange, StateFileBuilder, StateFileHeader, claim, paths,
    testing::{Model, Rng},
};

pub const JOB: &str = "test-job";

pub fn request(now_ms: u64) -> ClaimRequest {
    ClaimRequest {
        holder: tidewright_checkpoints::unique_holder("test"),
        now_ms,
        accept_missing_head: false,
    }
}

pub fn cut(epoch: u64, acknowledgements: Vec<Acknowledgement>) -> Cut {
    Cut {
        epoch: Epoch(epoch),
        kind: CheckpointKind::Periodic,
        created_ms: 0,
        workers: acknowledgements.len() as u32,
        acknowledgements,
        sources: BTreeMap::new(),
        watermarks: BTreeMap::new(),
        operators: BTreeMap::new(),
        delivered: BTreeMap::new(),
        extra: BTreeMap::new(),
    }
}

pub struct Job {
    pub store: Arc<dyn CheckpointStore>,
    pub publisher: Publisher,
    pub model: Model,
    pub epoch: u64,
}

impl Job {
    pub fn start(store: Arc<dyn CheckpointStore>) -> Self {
        let claimed = claim(&*store, &request(1)).unwrap();
        let publisher = Publisher::new(Arc::clone(&store), JOB, claimed, None);
        Self {
            store,
            publisher,
            model: Model::default(),
            epoch: 0,
        }
    }

    /// One checkpoint by so many workers; each writes up to `layers` layers.
    pub fn checkpoint(
        &mut self,
        rng: &mut Rng,
        workers: u32,
        layers: u64,
        compacted: &[Compacted],
    ) -> String {
        self.epoch += 1;
        let mut acknowledgements = Vec::new();
        for worker in 0..workers {
            let header = StateFileHeader {
                job: JOB.to_owned(),
                generation: self.publisher.head().generation,
                epoch: Epoch(self.epoch),
                worker,
                workers,
            };
            acknowledgements.push(self.write(&header, rng, layers));
        }
        let published = self
            .publisher
            .publish(cut(self.epoch, acknowledgements), compacted)
            .unwrap();
        published.name
    }

    fn write(&mut self, header: &StateFileHeader, rng: &mut Rng, layers: u64) -> Acknowledgement {
        let mut builder = StateFileBuilder::new(header);
        let shards = ShardRange::owned_by(header.worker as usize, header.workers as usize);
        for _ in 0..=rng.below(layers) {
            for (operator, delta) in self.model.change(rng, shards) {
                builder.push(&operator, &delta);
            }
        }
        let mut files = Vec::new();
        if !builder.is_empty() {
            let name = paths::state(header.generation, header.epoch, header.worker);
            let content = builder.finish();
            self.store.put(&name, &content).unwrap();
            files.push(FileEntry::fresh(name, &content, header.epoch));
        }
        Acknowledgement {
            worker: header.worker,
            epoch: header.epoch,
            files,
        }
    }
}
