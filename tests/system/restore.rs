//! A checkpoint gives the same results to any number of workers, and a damaged one to none.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    harness::{
        input::{Events, Line, write_files},
        jobfile::{JobFile, events, from_files},
        process::{Command, Process},
        s3::Bucket,
    },
    shop::{LIMIT, Shop, ShopJob},
};

/// Runs the job for a while and stops it in good order.
fn run_and_stop(shop: &mut Shop, job: &ShopJob, workers: usize) {
    let before = job.durable_epoch();
    let mut process = job.start(workers);
    shop.feed_until("two checkpoints", || {
        (job.durable_epoch() > before).then_some(())
    });
    let middle = job.durable_epoch();
    shop.feed_until("two checkpoints", || {
        (job.durable_epoch() > middle).then_some(())
    });
    process.terminate();
    process.wait_for_success(LIMIT);
}

#[test]
fn two_workers_then_one_three_four_and_two_again_give_the_same_results() {
    let Some(mut shop) = Shop::open(21) else {
        return;
    };
    let job = shop.job("rescaled");
    for workers in [2, 1, 3, 4, 2] {
        run_and_stop(&mut shop, &job, workers);
        assert_eq!(job.manifest().unwrap().workers as usize, workers);
    }
    job.finish();
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

#[test]
fn checkpoints_in_an_object_store_survive_kills() {
    let Some(bucket) = Bucket::require() else {
        return;
    };
    let Some(mut shop) = Shop::open(22) else {
        return;
    };
    let url = bucket.url("jobs");
    let job = shop
        .job("object-store")
        .with_store(url, bucket.environment());
    for lifetime_ms in [900, 1_500, 700] {
        let mut process = job.start(2);
        shop.feed_for(Duration::from_millis(lifetime_ms));
        assert!(
            process.is_running(),
            "ended by itself:\n{}",
            process.stderr()
        );
        process.kill();
    }
    let process = job.finish();
    assert!(
        process.stderr().contains("going on from the checkpoint"),
        "nothing was restored:\n{}",
        process.stderr()
    );
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

/// A small job from a file into an embedded store, with two checkpoints.
struct Small {
    folder: TempDir,
    job: PathBuf,
}

impl Small {
    /// Over the first half of the input.
    fn run_once() -> Self {
        let folder = TempDir::new().unwrap();
        let input = folder.path().join("input");
        write_files(&Self::lines()[..200], &input, "events", 2);
        let job = JobFile::new("small")
            .source("events", events(from_files(&input), "5s"))
            .view(
                "engagement",
                "SELECT user_id, count(*) AS events FROM rolling(events, INTERVAL '1 hour', INTERVAL '1 minute') GROUP BY user_id",
            )
            .sink("store", json!({ "from": "engagement", "embedded": { "path": folder.path().join("store") } }))
            .checkpoints("1h", &folder.path().join("checkpoints"))
            .write(folder.path());
        let small = Self { folder, job };
        small.run().wait_for_success(LIMIT);
        small
    }

    fn run_twice() -> Self {
        let small = Self::run_once();
        small.run_with_all_input();
        small
    }

    fn run_with_all_input(&self) {
        let input = self.folder.path().join("input");
        write_files(&Self::lines(), &input, "events", 2);
        self.run().wait_for_success(LIMIT);
    }

    fn lines() -> Vec<Line> {
        let events = Events {
            count: 400,
            ..Events::default()
        };
        events.lines()
    }

    fn run(&self) -> Process {
        self.run_with(&[])
    }

    fn run_with(&self, flags: &[&str]) -> Process {
        Command::tidewright(self.folder.path())
            .arg("run")
            .arg(&self.job)
            .args(["--bounded", "--summary", "json", "--socket"])
            .arg(self.folder.path().join("socket"))
            .args(flags)
            .run(LIMIT)
    }

    fn checkpoints(&self) -> PathBuf {
        self.folder.path().join("checkpoints/small")
    }

    /// The file that was written last in a folder of the store: of the newest checkpoint.
    fn newest(&self, folder: &str) -> PathBuf {
        let files = fs::read_dir(self.checkpoints().join(folder)).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        // Two that follow each other at once have the same time; names begin with generation and epoch.
        files.sort_by_key(|path| {
            (
                fs::metadata(path).unwrap().modified().unwrap(),
                path.clone(),
            )
        });
        files.pop().unwrap()
    }

    /// A run must refuse to start, name the file, and leave everything as it is.
    fn refuses(&self, damaged: &Path) -> String {
        let head = fs::read(self.checkpoints().join("HEAD")).unwrap();
        let mut process = self.run();
        let log = process.stderr();
        assert_eq!(process.status().unwrap().code(), Some(1), "{log}");
        let name = damaged.file_name().unwrap().to_str().unwrap();
        assert!(log.contains(name), "{name} is not named:\n{log}");
        assert_eq!(
            process.stdout(),
            "",
            "there is no summary of a run that did not begin"
        );
        let now = fs::read(self.checkpoints().join("HEAD")).unwrap();
        let manifest = |head: &[u8]| {
            let line = head.split(|byte| *byte == b'\n').next().unwrap().to_vec();
            serde_json::from_slice::<serde_json::Value>(&line).unwrap()["manifest"].clone()
        };
        assert_eq!(
            manifest(&now),
            manifest(&head),
            "another checkpoint counts now"
        );
        log
    }
}

fn truncated(good: &[u8]) -> Vec<u8> {
    good[..good.len() / 2].to_vec()
}

fn with_a_flipped_bit(good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    bytes[good.len() / 2] ^= 0x10;
    bytes
}

#[test]
fn damaged_state_files_and_manifests_are_named_and_never_restored_from() {
    let small = Small::run_twice();
    for folder in ["state", "manifests"] {
        let path = small.newest(folder);
        let good = fs::read(&path).unwrap();
        for damaged in [truncated(&good), with_a_flipped_bit(&good)] {
            fs::write(&path, damaged).unwrap();
            small.refuses(&path);
        }
        fs::remove_file(&path).unwrap();
        small.refuses(&path);
        fs::write(&path, &good).unwrap();
    }
    small.run().wait_for_success(LIMIT);
}

#[test]
fn the_checkpoint_before_a_damaged_one_is_offered_and_can_be_restored() {
    let small = Small::run_twice();
    let path = small.newest("manifests");
    let damaged = with_a_flipped_bit(&fs::read(&path).unwrap());
    fs::write(&path, damaged).unwrap();
    let log = small.refuses(&path);
    let (_, offer) = log
        .split_once("--restore ")
        .expect("an offer of the checkpoint before");
    let manifest = offer.split([')', ' ', '\n']).next().unwrap();
    assert!(small.checkpoints().join(manifest) != path);
    small
        .run_with(&["--restore", manifest])
        .wait_for_success(LIMIT);
}

#[test]
fn what_an_older_checkpoint_does_not_cover_is_read_again() {
    let small = Small::run_once();
    let first = small.newest("manifests");
    small.run_with_all_input();
    let name = first.strip_prefix(small.checkpoints()).unwrap();
    let mut process = small.run_with(&["--restore", name.to_str().unwrap()]);
    process.wait_for_success(LIMIT);
    assert_eq!(process.summary()["events_in"]["events"], 200);
}

#[test]
fn a_store_whose_head_is_gone_is_never_taken_for_an_empty_one() {
    let small = Small::run_twice();
    fs::remove_file(small.checkpoints().join("HEAD")).unwrap();
    let mut process = small.run();
    let log = process.stderr();
    assert_eq!(process.status().unwrap().code(), Some(1), "{log}");
    assert!(log.contains("HEAD") && log.contains("manifests/"), "{log}");
}
