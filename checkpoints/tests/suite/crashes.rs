//! Crashes lose and reorder what was not synced; checkpoints survive them, and the test notices protocols that do not sync.

use tidewright_checkpoints::testing::{Mutant, SyncStep, crash_run};

const SEEDS: u64 = 150;

#[test]
fn what_was_durable_survives_every_crash() {
    for seed in 0..SEEDS {
        if let Err(violation) = crash_run(seed, None) {
            panic!("{violation}");
        }
    }
}

fn is_caught(mutant: Mutant) {
    let caught = (0..SEEDS).find_map(|seed| crash_run(seed, Some(mutant)).err());
    let violation = caught.unwrap_or_else(|| panic!("{mutant:?} was not caught"));
    println!("{mutant:?}: {violation}");
}

#[test]
fn leaving_out_the_sync_of_files_is_caught() {
    is_caught(Mutant::Omits(SyncStep::File));
}

#[test]
fn leaving_out_the_sync_of_directories_is_caught() {
    is_caught(Mutant::Omits(SyncStep::Directory));
}

#[test]
fn swapping_head_before_its_files_are_stored_is_caught() {
    is_caught(Mutant::HeadBeforeFiles);
}
