//! How many processes run a job makes no difference to what its stores hold.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidewright::sink::embedded::EmbeddedStores;

use super::{command, over_files, start};
use crate::{
    harness::crew::Crew,
    shop::{LIMIT, Shop, ShopJob},
};

/// Runs processes to the end of what has been produced.
fn finish(job: &ShopJob, processes: usize, workers: usize) -> Crew {
    let command = || job.command(workers).arg("--bounded");
    let mut crew = Crew::start(job.folder.path(), processes, command);
    crew.wait_for_success(LIMIT);
    crew
}

#[test]
fn two_and_three_processes_give_the_results_of_one() {
    let Some(mut shop) = Shop::open(31) else {
        return;
    };
    for _ in 0..40 {
        shop.feed();
    }
    let jobs = [(2, 2), (3, 1)].map(|(processes, workers)| {
        let job = shop.job("cluster");
        let crew = finish(&job, processes, workers);
        (job, crew, processes, workers)
    });
    for (job, crew, processes, workers) in &jobs {
        let undisturbed = shop.undisturbed(job);
        job.contents(&shop).assert_same(&undisturbed);
        assert_eq!(
            job.manifest().unwrap().workers as usize,
            processes * workers
        );
        let summary = crew.0[0].summary();
        assert_eq!(summary["processes"], *processes as u64);
        // 41 pieces of 40 events.
        assert_eq!(summary["events_in"]["events"], 41 * 40);
        for process in &crew.0[1..] {
            assert_eq!(process.stdout(), "", "one summary for the job");
        }
    }
}

#[test]
fn a_checkpoint_of_two_processes_restores_in_one_and_back() {
    let Some(mut shop) = Shop::open(32) else {
        return;
    };
    let job = shop.job("rescaled");
    for (processes, workers) in [(2, 1), (1, 1), (2, 2), (1, 3), (3, 1)] {
        let before = job.durable_epoch();
        let mut crew = if processes == 1 {
            Crew(vec![job.start(workers)])
        } else {
            start(&job, processes, workers)
        };
        shop.feed_until("a checkpoint", || {
            (job.durable_epoch() > before).then_some(())
        });
        let middle = job.durable_epoch();
        shop.feed_until("another one", || {
            (job.durable_epoch() > middle).then_some(())
        });
        // Whoever is asked, the job stops as a whole.
        crew.0[processes - 1].terminate();
        crew.wait_for_success(LIMIT);
        let manifest = job.manifest().unwrap();
        assert_eq!(manifest.workers as usize, processes * workers);
    }
    job.finish();
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

#[test]
fn a_job_stops_with_a_final_checkpoint_also_when_all_processes_are_asked_at_once() {
    let Some(mut shop) = Shop::open(33) else {
        return;
    };
    let job = shop.job("stopped");
    let mut crew = start(&job, 3, 1);
    shop.feed_until("a checkpoint", || (job.durable_epoch() > 0).then_some(()));
    // One event in a hundred is malformed: enough of them that there are dead letters.
    while shop.produced()[0] < 1_000 {
        shop.feed();
    }
    crew.0.iter().for_each(|process| process.terminate());
    crew.wait_for_success(LIMIT);
    let manifest = job.manifest().unwrap();
    assert_eq!(format!("{:?}", manifest.kind), "Final");
    job.finish();
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

/// The rows of an embedded store, without what differs from run to run.
fn rows(path: &Path) -> BTreeMap<String, Value> {
    let store = EmbeddedStores::default().open(path).unwrap();
    let users = (0..50).map(crate::harness::input::user_id);
    let rows: BTreeMap<_, _> = users
        .filter_map(|user| {
            let mut row = store.get("counts", &user).unwrap()?;
            row.as_object_mut()?
                .retain(|name, _| !name.starts_with('_'));
            Some((user, row))
        })
        .collect();
    assert_eq!(rows.len() as u64, store.count("counts").unwrap());
    rows
}

/// Its file is open in one process only.
#[test]
fn an_embedded_store_gets_the_rows_of_all_processes_and_survives_rescaling() {
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let stores = [&folders[0], &folders[1]].map(|folder| folder.path().join("store"));
    for (folder, store) in folders.iter().zip(&stores) {
        let sink = json!({ "from": "counts", "embedded": { "path": store } });
        let job = over_files(folder.path(), "embedded", sink);
        let bounded = || command(&job, folder.path()).arg("--bounded");
        if folder.path() == folders[0].path() {
            bounded()
                .arg("--workers")
                .arg("2")
                .run(LIMIT)
                .wait_for_success(LIMIT);
        } else {
            Crew::start(folder.path(), 2, bounded).wait_for_success(LIMIT);
            bounded()
                .arg("--workers")
                .arg("3")
                .run(LIMIT)
                .wait_for_success(LIMIT);
            Crew::start(folder.path(), 3, bounded).wait_for_success(LIMIT);
        }
    }
    let expected = rows(&stores[0]);
    assert!(expected.len() > 20, "{} rows", expected.len());
    assert_eq!(rows(&stores[1]), expected);
}
