use super::*;
use crate::{
    manifest::{FileEntry, tests::sample},
    paths,
};

struct Store {
    manifests: BTreeMap<String, Manifest>,
    files: Vec<String>,
}

/// One manifest per epoch of generation 5, each with the files of the given epochs.
fn store(manifests: &[(u64, CheckpointKind, &[u64])], files: &[(u64, u64)]) -> Store {
    let file_name = |generation, epoch| paths::state(Generation(generation), Epoch(epoch), 0);
    let manifest = |(epoch, kind, files): &(u64, CheckpointKind, &[u64])| {
        let entry = |of: &u64| FileEntry::fresh(file_name(5, *of), b"", Epoch(*of));
        let manifest = Manifest {
            epoch: Epoch(*epoch),
            kind: *kind,
            files: files.iter().map(entry).collect(),
            ..sample()
        };
        (paths::manifest(Generation(5), Epoch(*epoch)), manifest)
    };
    Store {
        manifests: manifests.iter().map(manifest).collect(),
        files: files
            .iter()
            .map(|(generation, epoch)| file_name(*generation, *epoch))
            .collect(),
    }
}

/// What is deleted: epochs of manifests, (generation, epoch) of files.
fn check(store: &Store, head: u64, keep: usize, manifests: &[u64], files: &[(u64, u64)]) {
    let head = Head {
        generation: Generation(5),
        epoch: Epoch(head),
        manifest: Some(paths::manifest(Generation(5), Epoch(head))),
        holder: String::new(),
    };
    let plan = plan_retention(&RetentionFacts {
        head: &head,
        manifests: &store.manifests,
        files: &store.files,
        in_flight: &BTreeSet::from([paths::state(Generation(5), Epoch(4), 0)]),
        keep,
    });
    let origin = |name: &String| {
        paths::origin(name)
            .map(|(generation, epoch)| (generation.0, epoch.0))
            .unwrap()
    };
    let epochs: BTreeSet<u64> = plan.manifests.iter().map(|name| origin(name).1).collect();
    assert_eq!(epochs, manifests.iter().copied().collect());
    assert_eq!(
        plan.files.iter().map(origin).collect::<BTreeSet<_>>(),
        files.iter().copied().collect()
    );
}

use CheckpointKind::{Periodic, Savepoint};

#[test]
fn the_newest_checkpoints_and_all_savepoints_are_kept() {
    let manifests = [
        (10, Savepoint, &[1][..]),
        (20, Periodic, &[2]),
        (30, Periodic, &[3]),
        (40, Periodic, &[3]),
        (50, Periodic, &[3]),
    ];
    let files = [(5, 1), (5, 2), (5, 3)];
    check(&store(&manifests, &files), 50, 3, &[20], &[(5, 2)]);
    check(&store(&manifests, &files), 50, 1, &[20, 30, 40], &[(5, 2)]);
    check(&store(&manifests, &files), 50, 0, &[20, 30, 40], &[(5, 2)]);
    check(&store(&manifests, &files), 50, 9, &[], &[]);
}

#[test]
fn nothing_that_may_yet_be_published_is_deleted() {
    let manifests = [(50, Periodic, &[][..]), (60, Periodic, &[])];
    // Of a later generation; not older than HEAD; in flight; left over by a crash.
    let files = [(6, 7), (5, 50), (5, 70), (5, 4), (4, 49)];
    check(&store(&manifests, &files), 50, 1, &[], &[(4, 49)]);
}

#[test]
fn a_file_of_an_old_generation_stays_while_a_kept_manifest_names_it() {
    let manifests = [(40, Periodic, &[1][..]), (50, Periodic, &[1])];
    check(&store(&manifests, &[(5, 1)]), 50, 1, &[40], &[]);
}

#[test]
fn foreign_files_are_never_deleted() {
    let mut store = store(&[(50, Periodic, &[])], &[]);
    store.files.push("state/notes.txt".to_owned());
    check(&store, 50, 1, &[], &[]);
}
