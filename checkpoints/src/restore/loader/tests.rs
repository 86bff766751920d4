use std::sync::Mutex;

use super::*;
use crate::{
    head::{Head, Tag},
    ids::{Epoch, Generation},
    manifest::tests::sample,
    section::{Entry, ShardDelta},
    shard_range::ShardRange,
    state_file::{StateFileBuilder, StateFileHeader, StateFileProblem},
    store::{Listed, SwapError},
    testing::MemoryStore,
};

const JOB: &str = "personalization";
const NAME: &str = "manifests/1-9.json";

fn operator(name: &str) -> OperatorId {
    OperatorId(name.to_owned())
}

/// A file in which each of these shards of both operators has a value of so many bytes.
fn file(shards: &[u16], value_bytes: usize) -> Vec<u8> {
    let mut builder = StateFileBuilder::new(&StateFileHeader {
        job: JOB.to_owned(),
        generation: Generation(1),
        epoch: Epoch(9),
        worker: 0,
        workers: 1,
    });
    for (name, byte) in [("users", 1), ("items", 2)] {
        for shard in shards {
            let entry = Entry {
                key: shard.to_le_bytes().as_slice().into(),
                sub_key: 0,
                value: Some(vec![byte; value_bytes].as_slice().into()),
            };
            let delta = ShardDelta {
                shard: Shard(*shard),
                drops: Vec::new(),
                entries: vec![entry],
            };
            builder.push(&operator(name), &delta);
        }
    }
    builder.finish()
}

/// Publishes a checkpoint of these files.
fn publish(store: &dyn CheckpointStore, files: &[(&str, Vec<u8>)]) {
    let mut manifest = sample();
    manifest.epoch = Epoch(9);
    let entry =
        |(name, bytes): &(&str, Vec<u8>)| FileEntry::fresh((*name).to_owned(), bytes, Epoch(9));
    manifest.files = files.iter().map(entry).collect();
    for (name, bytes) in files {
        store.put(name, bytes).unwrap();
    }
    store.put(NAME, &manifest.to_bytes().unwrap()).unwrap();
    let before = store.head().unwrap().map(|(_, tag)| tag);
    let head = Head {
        generation: Generation(1),
        epoch: Epoch(9),
        manifest: Some(NAME.to_owned()),
        holder: "test".to_owned(),
    };
    store.swap_head(before.as_ref(), &head).unwrap();
}

/// Counts what is read of state files.
#[derive(Debug, Default)]
struct Counting {
    inner: MemoryStore,
    read: Mutex<Vec<u64>>,
}

impl Counting {
    fn bytes_read(&self) -> u64 {
        self.read.lock().unwrap().iter().sum()
    }
}

impl CheckpointStore for Counting {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.put(name, bytes)
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let bytes = self.inner.get(name)?;
        if name != NAME {
            self.read.lock().unwrap().push(bytes.len() as u64);
        }
        Ok(bytes)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.read.lock().unwrap().push(range.end - range.start);
        self.inner.get_range(name, range)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete(name)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(folder)
    }

    fn head(&self) -> Result<Option<(Head, Tag)>, StoreError> {
        self.inner.head()
    }

    fn swap_head(&self, expected: Option<&Tag>, new: &Head) -> Result<Tag, SwapError> {
        self.inner.swap_head(expected, new)
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

/// The second quarter of the shards of one operator.
fn second_quarter() -> Loader {
    let owned: Owned =
        Box::new(|operator, shard| operator.0 == "users" && (256..512).contains(&shard.0));
    Loader::new(Some(owned), None)
}

fn all() -> Vec<u16> {
    (0..1024).collect()
}

#[test]
fn of_a_large_file_only_what_is_owned_is_read_and_nothing_else_is_taken_for_empty() {
    let store = Counting::default();
    let content = file(&all(), 2_000);
    let length = content.len() as u64;
    publish(&store, &[("state/a", content)]);
    let restored = second_quarter().load(&store, JOB, NAME).unwrap();
    assert!(store.bytes_read() < length / 6, "{}", store.bytes_read());
    let whole = Loader::of_all().load(&store, JOB, NAME).unwrap();
    let deltas = |restored: &Restored, name: &str, shards: Range<u16>| {
        let operator = operator(name);
        let deltas = restored.deltas(&operator, ShardRange::from(shards));
        deltas.collect::<Result<Vec<_>, _>>()
    };
    let owned = deltas(&restored, "users", 256..512).unwrap();
    assert_eq!(owned.len(), 256);
    assert_eq!(owned, deltas(&whole, "users", 256..512).unwrap());
    for (name, shards) in [
        ("users", 255..256),
        ("users", 512..513),
        ("items", 300..301),
    ] {
        let error = deltas(&restored, name, shards.clone()).unwrap_err();
        let shard = Shard(shards.start);
        assert_eq!(error.problem, StateFileProblem::NotRead { shard });
    }
}

#[test]
fn what_is_used_of_a_file_is_verified() {
    let store = MemoryStore::default();
    let content = file(&all(), 2_000);
    publish(&store, &[("state/a", content.clone())]);
    let damaged = |at: usize| {
        store.damage("state/a", |bytes| bytes[at] ^= 1);
        let loaded = second_quarter().load(&store, JOB, NAME);
        store.damage("state/a", |bytes| bytes[at] ^= 1);
        loaded.map(drop).map_err(|error| error.to_string())
    };
    // The header, an owned section, the footer and the trailer.
    let section = content.len() / 2 * 3 / 8;
    for (at, part) in [
        (20, "header"),
        (section, "section of users, shard 3"),
        (content.len() - 1_000, "footer"),
        (content.len() - 1, "end"),
    ] {
        let error = damaged(at).unwrap_err();
        assert!(error.contains("state/a") && error.contains(part), "{error}");
    }
    // Whoever owns the second operator finds this.
    assert_eq!(damaged(content.len() * 3 / 4), Ok(()));
    // A sound file, but not the one that the manifest means.
    store.damage("state/a", |bytes| *bytes = file(&all()[1..], 2_000));
    let error = second_quarter().load(&store, JOB, NAME).unwrap_err();
    assert!(error.to_string().contains("state/a"), "{error}");
    let reordered: Vec<u16> = (0..1024).rev().collect();
    store.damage("state/a", |bytes| *bytes = file(&reordered, 2_000));
    let error = second_quarter().load(&store, JOB, NAME).unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error}");
}

#[test]
fn files_are_read_once_and_forgotten_when_no_manifest_names_them() {
    let store = MemoryStore::default();
    let mut loader = Loader::of_all();
    assert_eq!(
        loader.catch_up(&store, JOB).unwrap(),
        0,
        "no checkpoint yet"
    );
    let content = |shard: u16| file(&[shard], 1);
    publish(&store, &[("state/a", content(1)), ("state/b", content(2))]);
    assert_eq!(loader.catch_up(&store, JOB).unwrap(), 2);
    assert_eq!(loader.catch_up(&store, JOB).unwrap(), 0);
    publish(&store, &[("state/b", content(2)), ("state/c", content(3))]);
    assert_eq!(loader.catch_up(&store, JOB).unwrap(), 1);
    // What is in memory is used although the store has lost it; what was forgotten is not.
    store.delete("state/b").unwrap();
    let restored = loader.load(&store, JOB, NAME).unwrap();
    assert_eq!(restored.shards(), BTreeSet::from([Shard(2), Shard(3)]));
    publish(&store, &[("state/a", content(1))]);
    store.delete("state/a").unwrap();
    assert_eq!(loader.catch_up(&store, JOB).unwrap(), 1, "gone meanwhile");
    assert!(loader.load(&store, JOB, NAME).is_err());
    assert!(loader.catch_up(&store, "another job").is_err());
}

#[test]
fn files_of_a_loader_with_a_folder_are_not_in_memory() {
    let store = MemoryStore::default();
    publish(&store, &[("state/a", file(&all(), 2_000))]);
    let folder = tempfile::tempdir().unwrap();
    let owned: Owned = Box::new(|_, shard| shard.0 % 512 == 7);
    let mut loader = Loader::new(Some(owned), Some(folder.path()));
    let restored = loader.load(&store, JOB, NAME).unwrap();
    let items = operator("items");
    for shard in [7, 519] {
        let deltas = restored.deltas(&items, ShardRange::from(shard..shard + 1));
        let deltas: Vec<_> = deltas.collect::<Result<_, _>>().unwrap();
        assert_eq!(deltas.len(), 1);
        assert_eq!(deltas[0].shard, Shard(shard));
    }
}
