//! What is durable and what may be trusted: the checkpoint side of Tidewright.
//!
//! This crate knows state files, manifests, the job's HEAD and the stores that hold them. It knows nothing of
//! timely, Kafka, Arrow or SQL. Decisions are pure functions over observed facts; I/O executes them.
//!
//! ```
//! # use std::{collections::BTreeMap, error::Error, sync::Arc};
//! use tidewright_checkpoints::{
//!     Acknowledgement, CheckpointKind, CheckpointStore, ClaimRequest, Cut, Entry, Epoch, FileEntry, OperatorId,
//!     Publisher, Shard, ShardDelta, ShardRange, StateFileBuilder, StateFileHeader, Which, claim, paths, restore,
//!     testing::MemoryStore, unique_holder,
//! };
//! # fn main() -> Result<(), Box<dyn Error>> {
//! // Whoever held the job before is fenced from here on.
//! let store: Arc<dyn CheckpointStore> = Arc::new(MemoryStore::default());
//! let holder = unique_holder("example");
//! let claimed = claim(&*store, &ClaimRequest { holder, now_ms: 1_763_900_000_000, accept_missing_head: false })?;
//! let generation = claimed.generation();
//! assert!(restore::load(&*store, "clicks", &Which::Latest)?.is_none());
//! let mut publisher = Publisher::new(Arc::clone(&store), "clicks", claimed, None);
//!
//! // A worker writes the changes of its operators at the checkpoint's epoch.
//! let epoch = Epoch(1_763_900_000_100);
//! let header = StateFileHeader { job: "clicks".into(), generation, epoch, worker: 0, workers: 1 };
//! let operator = OperatorId("per_user/window".into());
//! let entry = Entry { key: b"u42".as_slice().into(), sub_key: 60_000, value: Some(b"7".as_slice().into()) };
//! let delta = ShardDelta { shard: Shard::of_key(b"u42"), drops: vec![], entries: vec![entry] };
//! let mut builder = StateFileBuilder::new(&header);
//! builder.push(&operator, &delta);
//! let (name, content) = (paths::state(generation, epoch, 0), builder.finish());
//! store.put(&name, &content)?;
//!
//! // When all workers have acknowledged, HEAD moves: the epoch is durable.
//! publisher.publish(
//!     Cut {
//!         epoch,
//!         kind: CheckpointKind::Periodic,
//!         created_ms: epoch.0,
//!         workers: 1,
//!         acknowledgements: vec![Acknowledgement { worker: 0, epoch, files: vec![FileEntry::fresh(name, &content, epoch)] }],
//!         sources: BTreeMap::new(),
//!         watermarks: BTreeMap::new(),
//!         operators: BTreeMap::from([(operator.clone(), 1)]),
//!         delivered: BTreeMap::new(),
//!         extra: BTreeMap::new(),
//!     },
//!     &[],
//! )?;
//!
//! let restored = restore::load(&*store, "clicks", &Which::Latest)?.ok_or("no checkpoint")?;
//! let deltas = restored.deltas(&operator, ShardRange::ALL).collect::<Result<Vec<_>, _>>()?;
//! assert_eq!(deltas, [delta]);
//! # Ok(())
//! # }
//! ```

pub mod claim;
pub mod codec;
pub mod compaction;
pub mod graft;
pub mod head;
pub mod ids;
pub mod lease;
pub mod manifest;
pub mod paths;
pub mod publish;
pub mod restore;
pub mod retention;
pub mod savepoint;
pub mod scratch;
pub mod sealed;
pub mod section;
pub mod shard_merge;
pub mod shard_range;
pub mod small_bytes;
pub mod state_file;
pub mod store;
pub mod testing;

pub use claim::{ClaimError, ClaimRequest, Claimed, claim, unique_holder};
pub use compaction::{Compacted, CompactionJob, plan_compaction};
pub use head::{Head, Tag};
pub use ids::{Epoch, Generation, OperatorId, SHARDS, Shard};
pub use lease::{Lease, LeaseError};
pub use manifest::{CheckpointKind, FileEntry, Manifest, SplitState};
pub use publish::{Acknowledgement, Cut, PublishError, Published, Publisher};
pub use restore::{RestoreError, Restored, Which};
pub use retention::Cleaner;
pub use section::{Entry, ShardDelta, SubKeyRange};
pub use shard_range::ShardRange;
pub use small_bytes::SmallBytes;
pub use state_file::{StateFile, StateFileBuilder, StateFileError, StateFileHeader};
pub use store::{CheckpointStore, Listed, LocalStore, StoreError, SwapError};
