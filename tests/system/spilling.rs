//! State larger than memory: killed and started again, with hardly any key in memory, a job leaves what an undisturbed one
//! with all of them in memory leaves.

use std::{fs, time::Duration};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    harness::{
        input::{Events, write_files},
        jobfile::{JobFile, events, from_files},
        process::Command,
        random::Random,
    },
    shop::{LIMIT, Shop},
};

const KILLS: usize = 8;

#[test]
fn kills_while_state_is_on_disk_change_nothing() {
    let Some(mut shop) = Shop::open(77) else {
        return;
    };
    let job = shop.job("spilling").with_memory("1KiB");
    let mut random = Random::new(77);
    let mut published = 0;
    for kill in 0..KILLS {
        let before = job.durable_epoch();
        let mut process = job.start(1 + kill % 2);
        shop.feed_for(Duration::from_millis(100 + random.below(1_500)));
        assert!(
            process.is_running(),
            "ended by itself:\n{}",
            process.stderr()
        );
        process.kill();
        published += usize::from(job.durable_epoch() > before);
    }
    assert!(
        published >= KILLS / 2,
        "only {published} of {KILLS} runs published a checkpoint"
    );
    let process = job.finish();
    let moved = &process.summary()["state"];
    assert!(
        moved["spilled"].as_u64() > Some(0) && moved["fetched"].as_u64() > Some(0),
        "nothing went to disk: {moved}"
    );
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
    let folder = job.folder.path().join("checkpoints/.spill");
    let left = fs::read_dir(&folder).unwrap().count();
    assert_eq!(left, 0, "files are left in {}", folder.display());
}

#[test]
fn a_folder_that_cannot_be_used_ends_the_run_with_its_name() {
    let folder = TempDir::new().unwrap();
    let input = folder.path().join("input");
    write_files(&Events::default().lines()[..10], &input, "events", 1);
    let file = JobFile::new("nowhere")
        .source("events", events(from_files(&input), "5s"))
        .view(
            "engagement",
            "SELECT user_id, count(*) AS events FROM rolling(events, INTERVAL '1 hour', INTERVAL '1 minute') GROUP BY user_id",
        )
        .sink("none", json!({ "from": "engagement", "blackhole": {} }))
        .key("state", json!({ "memory": "1MiB", "directory": "/dev/null/here" }))
        .checkpoints("50ms", &folder.path().join("checkpoints"))
        .write(folder.path());
    let mut process = Command::tidewright(folder.path())
        .arg("run")
        .arg(&file)
        .arg("--bounded")
        .run(LIMIT);
    assert!(process.status().is_some_and(|status| !status.success()));
    for part in ["/dev/null/here", "state.directory"] {
        assert!(process.stderr().contains(part), "{}", process.stderr());
    }
}
