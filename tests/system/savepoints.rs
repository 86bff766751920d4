//! Savepoints under load: complete or absent, and whatever goes on from one leaves what an undisturbed run leaves.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    crash_points::CRASH_AT,
    harness::{
        crew::Crew, eventually::eventually, process::Process, redis_server::free_port, s3::Bucket,
    },
    shop::{LIMIT, Shop, ShopJob},
};

/// The JSON object that a command has printed.
#[track_caller]
fn answer(process: &mut Process) -> Value {
    process.wait_for_success(LIMIT);
    process.summary()
}

fn status(job: &ShopJob) -> Value {
    answer(&mut job.ask(&["status"]).start())
}

fn published(job: &ShopJob) -> u64 {
    status(job)["checkpoints"]["count"].as_u64().unwrap()
}

/// Feeds until the run has published some more checkpoints.
fn feed_checkpoints(shop: &mut Shop, job: &ShopJob, count: u64) {
    let before = published(job);
    shop.feed_until("checkpoints", || {
        (published(job) >= before + count).then_some(())
    });
}

/// Waits until the run has read all that was produced.
fn await_all_read(shop: &Shop, job: &ShopJob) {
    let [events, profiles] = shop.produced();
    eventually(LIMIT, "everything is read", || {
        let read = status(job)["events_in"].clone();
        let all = read["events"] == events && read["profiles"] == profiles;
        all.then_some(())
    });
}

/// Feeds while a request is answered; gives what it printed.
fn ask_under_load(shop: &mut Shop, job: &ShopJob, request: &[&str]) -> Value {
    let mut asked = job.ask(request).start();
    shop.feed_until("an answer", || asked.status());
    answer(&mut asked)
}

fn location(taken: &Value) -> String {
    taken["location"].as_str().unwrap().to_owned()
}

/// Runs the job from a place to the end of what has been produced.
fn restore_and_finish(job: &ShopJob, place: &str, workers: usize) -> Process {
    let (process, status) = job.end(job.command(workers).args(["--restore", place]));
    assert!(status.success(), "{}", process.stderr());
    let log = process.stderr();
    assert!(log.contains("going on from the savepoint"), "{log}");
    process
}

#[test]
fn a_running_job_tells_how_it_is_doing() {
    let Some(mut shop) = Shop::open(30) else {
        return;
    };
    let job = shop.job("status");
    let mut process = job.await_start(job.listening(2).start());
    feed_checkpoints(&mut shop, &job, 2);
    let status = eventually(LIMIT, "everything is delivered", || {
        let status = status(&job);
        (status["frontiers"]["delivered"]["epoch"].as_u64() > Some(0)).then_some(status)
    });
    assert_eq!(status["job"], job.name.as_str());
    assert_eq!(status["pid"], process.id());
    assert_eq!(status["state"], "running");
    assert_eq!(status["workers"], 2);
    assert!(status["events_in"]["events"].as_u64() > Some(0), "{status}");
    let frontier = |name: &str| status["frontiers"][name]["epoch"].as_u64().unwrap();
    let order = ["delivered", "durable", "computed", "ingested"].map(frontier);
    assert!(order.is_sorted(), "{status}");
    let published = status["checkpoints"]["last_published_ms"].as_u64();
    let ingested = status["frontiers"]["ingested"]["wall_clock_ms"].as_u64();
    let apart = published.unwrap().abs_diff(ingested.unwrap());
    assert!(apart < LIMIT.as_millis() as u64, "{status}");
    let stopping = answer(&mut job.ask(&["stop"]).start());
    assert!(stopping["stopping"]["generation"].is_u64(), "{stopping}");
    process.wait_for_success(LIMIT);
}

#[test]
fn a_savepoint_under_load_disturbs_nothing_and_gives_any_number_of_workers_the_same_results() {
    let Some(mut shop) = Shop::open(31) else {
        return;
    };
    let job = shop.keyed_job("savepoint");
    let keep_one = ["--set", "checkpoint.keep=1"];
    let mut process = job.await_start(job.listening(2).args(keep_one).start());
    feed_checkpoints(&mut shop, &job, 3);
    let taken = ask_under_load(&mut shop, &job, &["savepoint"]);
    let place = location(&taken);
    assert!(
        place.contains(&format!("{}/savepoints/", job.name)),
        "{place}"
    );
    let files = folder_bytes(place.strip_prefix("file://").unwrap());
    assert_eq!(taken["bytes"].as_u64(), Some(files));
    // Retention runs every sixteen checkpoints, and keeps one.
    feed_checkpoints(&mut shop, &job, 40);
    process.terminate();
    process.wait_for_success(LIMIT);
    job.finish();
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
    for workers in [1, 2, 4] {
        let process = restore_and_finish(&job, &place, workers);
        let read = process.summary()["events_in"]["events"].as_u64();
        assert!(read > Some(40), "what came behind the savepoint is read");
        assert!(read < Some(shop.produced()[0]), "what was before it is not");
        job.contents(&shop).assert_same(&shop.undisturbed(&job));
    }
}

fn folder_bytes(folder: impl AsRef<Path>) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.metadata().unwrap() {
            folder if folder.is_dir() => folder_bytes(entry.path()),
            file => file.len(),
        })
        .sum()
}

#[test]
fn a_job_stopped_with_a_savepoint_goes_on_in_another_store_exactly_once() {
    let Some(mut shop) = Shop::open(32) else {
        return;
    };
    let mut job = shop.job("moved");
    let mut process = job.await_start(job.listening(2).start());
    feed_checkpoints(&mut shop, &job, 3);
    let taken = ask_under_load(&mut shop, &job, &["stop", "--savepoint"]);
    let place = location(&taken);
    process.wait_for_success(LIMIT);
    assert!(process.stderr().contains(&place), "{}", process.stderr());
    let summary = process.summary();
    assert_eq!(
        summary["durable_epoch"], taken["epoch"],
        "nothing counts that is not in the savepoint"
    );
    job.store_url = format!("file://{}/other", job.folder.path().display());
    let restored = job.listening(4).args(["--restore", &place]).start();
    let mut process = job.await_start(restored);
    feed_checkpoints(&mut shop, &job, 2);
    fs::remove_dir_all(place.strip_prefix("file://").unwrap()).unwrap();
    feed_checkpoints(&mut shop, &job, 2);
    process.kill();
    let process = job.finish();
    let log = process.stderr();
    assert!(log.contains("going on from the checkpoint"), "{log}");
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

#[test]
fn a_drained_job_has_closed_its_windows() {
    let Some(mut shop) = Shop::open(33) else {
        return;
    };
    let job = shop.job("drained");
    let mut process = job.await_start(job.listening(2).start());
    feed_checkpoints(&mut shop, &job, 3);
    await_all_read(&shop, &job);
    let [events, _] = shop.produced();
    let taken = ask_under_load(&mut shop, &job, &["stop", "--drain", "--savepoint"]);
    process.wait_for_success(LIMIT);
    // What was fed after the request may have been read or not: the run's own numbers say how far it came.
    let read = process.summary()["events_in"]["events"].as_u64().unwrap();
    assert!(read >= events, "{read} of {events}");
    let inspected = answer(
        &mut job
            .tidewright()
            .args(["state", "inspect", &location(&taken), "--output", "json"])
            .start(),
    );
    for splits in inspected["sources"].as_object().unwrap().values() {
        for split in splits.as_object().unwrap().values() {
            assert_eq!(split["finished"], true, "{inspected}");
        }
    }
    let windows = &inspected["operators"].as_array().unwrap();
    let windows = windows.iter().find(|operator| {
        let id = operator["operator"].as_str().unwrap();
        id.starts_with("activity/")
    });
    let windows = windows.unwrap_or_else(|| panic!("no windows: {inspected}"));
    assert_eq!(windows["entries"], 0, "all windows are closed");
    let (process, status) = job.end(job.command(1).args(["--restore", &location(&taken)]));
    assert!(status.success(), "{}", process.stderr());
    assert!(
        process.stderr().contains("its input had ended"),
        "{}",
        process.stderr()
    );
}

#[test]
fn what_a_drained_job_leaves_is_what_a_bounded_run_leaves() {
    let Some(mut shop) = Shop::open(34) else {
        return;
    };
    let job = shop.job("drained-all");
    let mut process = job.await_start(job.listening(2).start());
    feed_checkpoints(&mut shop, &job, 10);
    await_all_read(&shop, &job);
    let stopping = answer(&mut job.ask(&["stop", "--drain"]).start());
    assert!(stopping["stopping"].is_object(), "{stopping}");
    process.wait_for_success(LIMIT);
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

#[test]
fn savepoints_live_in_object_stores_too() {
    let Some(bucket) = Bucket::require() else {
        return;
    };
    let Some(mut shop) = Shop::open(35) else {
        return;
    };
    let mut job = shop
        .job("bucket")
        .with_store(bucket.url("jobs"), bucket.environment());
    let mut process = job.await_start(job.listening(2).start());
    feed_checkpoints(&mut shop, &job, 2);
    let to = bucket.url("kept/first");
    let taken = ask_under_load(&mut shop, &job, &["savepoint", "--to", &to]);
    assert_eq!(location(&taken), to);
    let taken = ask_under_load(&mut shop, &job, &["stop", "--savepoint"]);
    process.wait_for_success(LIMIT);
    for place in [&to, &location(&taken)] {
        let inspect = ["state", "inspect", place, "--output", "json"];
        let report = answer(&mut job.tidewright().args(inspect).start());
        assert_eq!(report["job"], job.name.as_str());
        assert_eq!(report["kind"], "savepoint");
    }
    // Out of the object store into a folder.
    job.store_url = format!("file://{}/other", job.folder.path().display());
    restore_and_finish(&job, &location(&taken), 1);
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

#[test]
fn a_job_killed_while_it_copies_leaves_no_savepoint_and_one_killed_after_it_leaves_one() {
    let Some(mut shop) = Shop::open(36) else {
        return;
    };
    for (crash, complete) in [("before-savepoint", false), ("savepoint-written", true)] {
        let job = shop.keyed_job("interrupted");
        let mut process = job.await_start(job.listening(2).env(CRASH_AT, crash).start());
        feed_checkpoints(&mut shop, &job, 2);
        let place = job.folder.path().join(crash);
        let place = place.to_str().unwrap();
        let mut asked = job.ask(&["savepoint", "--to", place]).start();
        shop.feed_until("a crash", || process.status());
        assert!(process.was_killed(), "{}", process.stderr());
        let status = asked.wait(LIMIT);
        assert!(!status.success(), "{}", asked.stdout());
        assert!(
            asked.stderr().contains("ended before it answered"),
            "{}",
            asked.stderr()
        );
        if complete {
            restore_and_finish(&job, place, 2);
        } else {
            let head = job.head();
            let restored = job.command(1).args(["--restore", place]);
            let (process, status) = job.end(restored);
            assert_eq!(status.code(), Some(1), "{}", process.stderr());
            let log = process.stderr();
            assert!(log.contains("interrupted") && log.contains(place), "{log}");
            assert_eq!(job.head(), head, "the job was not even claimed");
        }
        job.finish();
        job.contents(&shop).assert_same(&shop.undisturbed(&job));
    }
}

#[test]
fn a_job_that_cannot_deliver_stops_and_its_savepoint_holds_what_waits() {
    let Some(mut shop) = Shop::open(39) else {
        return;
    };
    let mut job = shop.keyed_job("undelivered");
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let start = job.listening(2).env("REDIS_URL", nobody).start();
    let mut process = job.await_start(start);
    feed_checkpoints(&mut shop, &job, 3);
    let taken = ask_under_load(&mut shop, &job, &["stop", "--savepoint"]);
    process.wait_for_success(LIMIT);
    let log = process.stderr();
    assert!(log.contains("some rows are not delivered yet"), "{log}");
    job.store_url = format!("file://{}/other", job.folder.path().display());
    restore_and_finish(&job, &location(&taken), 1);
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

#[test]
fn places_that_cannot_hold_a_savepoint_are_refused_and_the_job_goes_on() {
    let Some(mut shop) = Shop::open(37) else {
        return;
    };
    let job = shop.keyed_job("refused");
    let mut process = job.await_start(job.listening(1).start());
    feed_checkpoints(&mut shop, &job, 1);
    let refused = |request: &[&str], says: &str| {
        let mut asked = job.ask(request).run(LIMIT);
        let log = asked.stderr();
        assert_eq!(asked.status().unwrap().code(), Some(1), "{log}");
        assert!(log.contains(says), "nothing is said of {says}:\n{log}");
    };
    let own = format!("{}/{}", job.store_url, job.name);
    refused(
        &["savepoint", "--to", &own],
        "the checkpoint store of a job",
    );
    refused(
        &["savepoint", "--to", "gs://bucket/place"],
        "only file:// and s3:// are",
    );
    let occupied = "/proc/no-folder";
    refused(&["stop", &format!("--savepoint={occupied}")], occupied);
    assert!(process.is_running());
    assert_eq!(status(&job)["state"], "running");
    let place = job.folder.path().join("mine");
    let place = place.to_str().unwrap();
    ask_under_load(&mut shop, &job, &["savepoint", "--to", place]);
    refused(
        &["savepoint", "--to", place],
        "a savepoint is there already",
    );
    process.terminate();
    process.wait_for_success(LIMIT);
}

#[test]
fn a_damaged_savepoint_is_named_by_its_file_and_never_started_from() {
    let Some(mut shop) = Shop::open(38) else {
        return;
    };
    let job = shop.keyed_job("damaged");
    let mut process = job.await_start(job.listening(2).start());
    feed_checkpoints(&mut shop, &job, 2);
    let taken = ask_under_load(&mut shop, &job, &["stop", "--savepoint"]);
    process.wait_for_success(LIMIT);
    let place = location(&taken);
    let folder = Path::new(place.strip_prefix("file://").unwrap());
    let states = fs::read_dir(folder.join("state")).unwrap();
    let mut files: Vec<_> = states.map(|file| file.unwrap().path()).collect();
    files.push(folder.join("savepoint.json"));
    for file in files {
        let good = fs::read(&file).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        for damaged in [flipped, good[..good.len() / 2].to_vec()] {
            fs::write(&file, damaged).unwrap();
            let (process, status) = job.end(job.command(1).args(["--restore", &place]));
            let log = process.stderr();
            assert_eq!(status.code(), Some(1), "{log}");
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(log.contains(name) && log.contains(&place), "{log}");
        }
        fs::write(&file, good).unwrap();
    }
    restore_and_finish(&job, &place, 1);
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

#[test]
fn a_savepoint_of_two_processes_is_restored_in_one_and_one_of_one_in_two() {
    let Some(mut shop) = Shop::open(38) else {
        return;
    };
    let job = shop.keyed_job("savepoint-crew");
    let folder = job.folder.path();
    let mut crew = Crew::start(folder, 2, || job.listening(1)).await_begin(LIMIT);
    feed_checkpoints(&mut shop, &job, 3);
    let of_two = location(&ask_under_load(&mut shop, &job, &["savepoint"]));
    shop.feed();
    crew.0[1].terminate();
    crew.wait_for_success(LIMIT);
    let restored = job.listening(1).args(["--restore", &of_two]);
    let mut process = job.await_start(restored.start());
    feed_checkpoints(&mut shop, &job, 3);
    let of_one = location(&ask_under_load(&mut shop, &job, &["savepoint"]));
    shop.feed();
    process.terminate();
    process.wait_for_success(LIMIT);
    let restored = || job.command(1).args(["--bounded", "--restore", &of_one]);
    let mut crew = Crew::start(folder, 2, restored);
    crew.wait_for_success(LIMIT);
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}
