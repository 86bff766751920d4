//! What every checkpoint store has to do.

use std::{error::Error, thread};

use crate::{
    head::{self, Head, Tag},
    ids::{Epoch, Generation},
    paths,
    store::{CheckpointStore, StoreError, SwapError},
};

/// Checks an empty store against the contract of [`CheckpointStore`].
///
/// # Errors
/// Whatever the store reports where it should work.
///
/// # Panics
/// Where the store violates the contract.
pub fn conformance(store: &dyn CheckpointStore) -> Result<(), Box<dyn Error>> {
    objects_are_kept_listed_and_deleted(store)?;
    head_moves_only_from_the_expected_tag(store)?;
    of_concurrent_swaps_one_wins(store)?;
    Ok(())
}

fn objects_are_kept_listed_and_deleted(store: &dyn CheckpointStore) -> Result<(), StoreError> {
    let name = paths::state(Generation(1), Epoch(2), 0);
    let other = paths::state(Generation(1), Epoch(3), 0);
    let manifest = paths::manifest(Generation(1), Epoch(2));
    assert!(
        matches!(store.get(&name), Err(StoreError::NotFound { .. })),
        "missing object"
    );
    assert!(store.list(paths::STATE)?.is_empty(), "empty folder");
    let large: Vec<u8> = (0..3_000_000u32)
        .map(|number| (number % 251) as u8)
        .collect();
    store.put(&name, &large)?;
    store.put(&other, b"")?;
    store.put(&manifest, b"first")?;
    store.put(&manifest, b"second")?;
    assert!(store.get(&name)? == large, "content of a large object");
    assert_eq!(store.get(&other)?, b"", "an empty object");
    let end = large.len();
    for part in [0..1, 0..end, 1_000_000..2_500_000, end - 1..end, 7..7] {
        let range = part.start as u64..part.end as u64;
        assert!(
            store.get_range(&name, range)? == large[part.clone()],
            "{part:?}"
        );
    }
    let end = end as u64;
    for beyond in [end - 1..end + 1, end + 1..end + 2] {
        assert!(
            store.get_range(&name, beyond).is_err(),
            "more than there is"
        );
    }
    let missing = paths::state(Generation(1), Epoch(9), 0);
    assert!(
        matches!(
            store.get_range(&missing, 0..1),
            Err(StoreError::NotFound { .. })
        ),
        "a part of a missing object"
    );
    assert_eq!(store.get(&manifest)?, b"second", "an object put again");
    let listed = store.list(paths::STATE)?;
    let names: Vec<_> = listed.iter().map(|listed| listed.name.clone()).collect();
    assert_eq!(names, [name.clone(), other.clone()], "names in a folder");
    assert_eq!(listed[0].bytes, large.len() as u64, "listed size");
    assert!(listed[0].modified_ms > 1_600_000_000_000, "listed time");
    assert_eq!(store.list(paths::MANIFESTS)?.len(), 1, "folders are apart");
    store.delete(&name)?;
    store.delete(&name)?;
    assert!(
        matches!(store.get(&name), Err(StoreError::NotFound { .. })),
        "deleted object"
    );
    assert_eq!(
        store.list(paths::STATE)?.len(),
        1,
        "deleted object in the list"
    );
    Ok(())
}

fn numbered(epoch: u64, holder: &str) -> Head {
    Head {
        generation: Generation(1),
        epoch: Epoch(epoch),
        manifest: Some(paths::manifest(Generation(1), Epoch(epoch))),
        holder: holder.to_owned(),
    }
}

fn head_moves_only_from_the_expected_tag(store: &dyn CheckpointStore) -> Result<(), SwapError> {
    let (first, second, third) = (numbered(1, "a"), numbered(2, "a"), numbered(3, "b"));
    let lost = |outcome: Result<Tag, SwapError>| matches!(outcome, Err(SwapError::Lost { .. }));
    assert!(store.head()?.is_none(), "no HEAD at first");
    let unknown = Tag("\"0123456789abcdef0123456789abcdef\"".to_owned());
    assert!(
        lost(store.swap_head(Some(&unknown), &first)),
        "a tag without HEAD"
    );
    let tag_one = store.swap_head(None, &first)?;
    assert!(lost(store.swap_head(None, &second)), "HEAD created twice");
    assert!(
        lost(store.swap_head(Some(&unknown), &second)),
        "a tag never seen"
    );
    let tag_two = store.swap_head(Some(&tag_one), &second)?;
    assert!(lost(store.swap_head(Some(&tag_one), &third)), "an old tag");
    assert_eq!(
        store.head()?,
        Some((second.clone(), tag_two.clone())),
        "HEAD after a swap"
    );
    let again = head::swap(store, Some(&tag_one), &second)?;
    assert_eq!(again, tag_two, "a swap that had happened, sent again");
    Ok(())
}

/// Each thread moves HEAD on by one epoch, again and again: every win must count.
fn of_concurrent_swaps_one_wins(store: &dyn CheckpointStore) -> Result<(), Box<dyn Error>> {
    const THREADS: usize = 4;
    const WINS: u64 = 5;
    let start = store.head()?.map_or(0, |(head, _)| head.epoch.0);
    let advance = |holder: String| -> Result<(), SwapError> {
        let mut wins = 0;
        while wins < WINS {
            let (epoch, tag) = match store.head()? {
                Some((head, tag)) => (head.epoch.0, Some(tag)),
                None => (0, None),
            };
            match head::swap(store, tag.as_ref(), &numbered(epoch + 1, &holder)) {
                Ok(_) => wins += 1,
                Err(SwapError::Lost { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    let outcomes: Vec<_> = thread::scope(|scope| {
        let spawn = |thread| {
            let advance = &advance;
            scope.spawn(move || advance(format!("thread {thread}")))
        };
        let threads: Vec<_> = (0..THREADS).map(spawn).collect();
        threads
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect()
    });
    for outcome in outcomes {
        outcome.map_err(|_| "a thread panicked")??;
    }
    let end = store.head()?.map_or(0, |(head, _)| head.epoch.0);
    assert_eq!(
        end,
        start + THREADS as u64 * WINS,
        "wins of concurrent swaps"
    );
    Ok(())
}
