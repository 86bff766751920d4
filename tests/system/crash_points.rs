//! Killed before and after every step of a checkpoint and of a delivery, a job leaves what an undisturbed run leaves.

use crate::shop::Shop;

/// Names a step at which a debug build kills itself, and which passage of it.
pub const CRASH_AT: &str = "TIDEWRIGHT_TEST_CRASH_AT";

/// Runs one job into one crash after the other, then to its end.
fn survives(seed: u64, crashes: &[&str]) {
    let Some(mut shop) = Shop::open(seed) else {
        return;
    };
    let job = shop.job("crash-points");
    for (number, crash) in crashes.iter().enumerate() {
        let mut process = job.command(1 + number % 2).env(CRASH_AT, crash).start();
        let what = format!("a crash at {crash}");
        let status = shop.feed_until(&what, || process.status());
        assert!(
            process.was_killed(),
            "{crash}: {status} instead\n{}",
            process.stderr()
        );
    }
    job.finish();
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

#[test]
fn crashes_around_every_step_of_a_checkpoint_change_nothing() {
    survives(
        1,
        &[
            "before-encode:2",
            "checkpoint-encoded:3",
            "checkpoint-written:2",
            "before-manifest:3",
            "manifest-written:1",
            // Claiming the job swaps HEAD too: the first passage is before anything is read.
            "before-head-swap:1",
            "before-head-swap:3",
            "head-swapped:1",
            "head-swapped:4",
            "checkpoint-written:6",
            "before-head-swap:9",
        ],
    );
}

/// What a name leads to, and whether there is one, is not durable before its folder is.
#[test]
fn crashes_while_a_state_file_is_made_durable_change_nothing() {
    survives(
        4,
        &[
            "state-file-written:2",
            "state-file-synced:2",
            "state-file-renamed:2",
            "state-folder-synced:2",
            "state-file-renamed:5",
            "state-file-synced:4",
            "state-file-written:5",
        ],
    );
}

#[test]
fn crashes_around_every_step_of_a_delivery_change_nothing() {
    survives(
        2,
        &[
            "before-send-keyed:2",
            "after-send-keyed:3",
            "acknowledged-keyed:4",
            "before-send-append:2",
            "after-send-append:3",
            "acknowledged-append:4",
            "kafka-sent:2",
            "kafka-committed:2",
            "kafka-sent:4",
            "after-send-keyed:12",
        ],
    );
}

#[test]
fn crashes_around_every_step_of_an_append_to_a_file_change_nothing() {
    survives(
        3,
        &[
            "file-written:2",
            "before-truncate:1",
            "file-synced:2",
            "after-truncate:1",
            "file-marked:3",
            "file-synced:5",
            "before-truncate:1",
            "after-truncate:1",
        ],
    );
}
