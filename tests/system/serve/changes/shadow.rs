//! Shadows: replays beside the live job.

use super::*;
use crate::harness::checkpoints::Checkpoints;

/// Waits until a job has a checkpoint of everything that was produced.
fn await_everything(shop: &Shop, job: &ShopJob, name: &str) {
    let produced: i64 = shop.produced().iter().sum::<u64>() as i64;
    let checkpoints = Checkpoints::of(&job.store_url, name);
    eventually(LIMIT, "everything is read", || {
        (checkpoints.read() == produced).then_some(())
    });
}

fn stop_with_everything(shop: &Shop, server: &Server, job: &ShopJob, name: &str) {
    await_everything(shop, job, name);
    let stopped = server.cli_json(&["stop", name, "--wait"]);
    assert_eq!(stopped["state"], "succeeded", "{stopped}");
}

/// A job and its shadow have the same rows in all keyed stores.
fn assert_same_rows(job: &ShopJob, shadow: &str) {
    let file = job.folder.path().join(format!("{}.yaml", job.name));
    let mut diff = job
        .tidewright()
        .arg("diff")
        .arg(&file)
        .arg(shadow)
        .env("REDIS_URL", job.redis_url())
        .run(LIMIT);
    assert!(
        diff.status().unwrap().success(),
        "{shadow}: {}\n{}",
        diff.stdout(),
        diff.stderr()
    );
}

#[test]
fn a_shadow_over_rest_or_on_the_command_line_is_a_job_of_its_own_that_makes_the_same_rows() {
    let Some(mut shop) = Shop::open(75) else {
        return;
    };
    let job = shop.keyed_job("shaded");
    let server = serve(&mut shop, &job);
    let replay = ["replay", &*job.name, "--from-earliest", "--shadow", "next"];
    let done = changed_by_command(&mut shop, &server, &replay);
    let [name, other] = ["next", "rest"].map(|shadow| format!("{}.shadow.{shadow}", job.name));
    assert_eq!(
        (&done["state"], &done["job"]),
        (&"succeeded".into(), &json!(name)),
        "{done}"
    );
    let body = json!({ "from": "earliest", "shadow": "rest" });
    let done = changed(&mut shop, &server, &job.name, "replay", &body);
    assert_eq!(
        (&done["state"], &done["job"]),
        (&"succeeded".into(), &json!(other)),
        "{done}"
    );
    let list = server.cli(&["list"]).stdout();
    assert!(list.contains(&name) && list.contains(&other), "{list}");
    let shadow = server.job(&name);
    assert_eq!(shadow["shadow_of"], job.name, "{shadow}");
    // A crash of it goes on from its own checkpoint.
    crate::harness::server::kill(pids(&shadow)[0], rustix::process::Signal::KILL);
    feed_slowly(&mut shop, "it is started again", || {
        let job = server.job(&name);
        (job["restarts"] == 1 && job["state"] == "running").then_some(())
    });
    let body = json!({ "workers": 2 });
    let done = changed(&mut shop, &server, &name, "rescale", &body);
    assert_eq!(done["state"], "succeeded", "{done}");
    for of in [&job.name, &name, &other] {
        stop_with_everything(&shop, &server, &job, of);
    }
    for shadow in ["@next", "@rest"] {
        assert_same_rows(&job, shadow);
    }
    // The live job was not touched.
    let versions = server.cli_json(&["versions", &job.name]);
    assert_eq!(versions["versions"].as_array().unwrap().len(), 1);
}

#[test]
fn a_shadow_begins_with_the_state_of_its_job_and_does_so_again_when_it_is_made_again() {
    let Some(mut shop) = Shop::open(78) else {
        return;
    };
    let job = shop.keyed_job("stateful");
    // The shadow has as many processes.
    let server = serve_in(&mut shop, &job, "2");
    let name = format!("{}.shadow.next", job.name);
    let words = "--shadow next --restore latest --wait".split(' ');
    let replay: Vec<_> = ["replay", &*job.name].into_iter().chain(words).collect();
    for version in 1..=2 {
        shop.feed_for(Duration::from_millis(500));
        await_everything(&shop, &job, &job.name);
        let before: u64 = shop.produced().iter().sum();
        let done = server.cli_json(&replay);
        shop.feed();
        assert_eq!(
            (&done["state"], &done["job"], &done["version"]),
            (&"succeeded".into(), &json!(name), &version.into()),
            "{done}"
        );
        stop_with_everything(&shop, &server, &job, &name);
        let log = server.log(&name);
        let start = format!("--- version {version} starts");
        let last = log.rsplit(&*start).next().unwrap();
        // It has checkpoints of its own the second time, and begins with the job's all the same.
        let from = format!("(generation {})", job.head().unwrap().generation);
        assert!(
            last.contains("going on from the checkpoint of epoch") && last.contains(&from),
            "{last}"
        );
        let new = shop.produced().iter().sum::<u64>() - before;
        let read = events_read(last);
        assert!(read > 0 && read <= new, "{read} of {new}: {last}");
    }
    stop_with_everything(&shop, &server, &job, &job.name);
    assert_same_rows(&job, "@next");
}

/// What a run has read of all sources, as the last line of its log says.
fn events_read(log: &str) -> u64 {
    let (before, _) = log.rsplit_once(" events, final checkpoint").unwrap();
    let count = before.rsplit(' ').next().unwrap();
    count.parse().unwrap()
}

#[test]
fn a_replay_from_the_end_reads_only_what_comes() {
    let Some(mut shop) = Shop::open(79) else {
        return;
    };
    let job = shop.keyed_job("ended");
    let server = serve(&mut shop, &job);
    shop.feed_for(Duration::from_millis(500));
    let name = format!("{}.shadow.late", job.name);
    let late = ["replay", &*job.name, "--from-latest", "--shadow", "late"];
    // Nothing comes meanwhile.
    let done = server.cli_json(&[&late[..], &["--wait"]].concat());
    assert_eq!(done["state"], "succeeded", "{done}");
    await_everything(&shop, &job, &name);
    let before = shop.produced()[0];
    shop.feed();
    let [events, profiles] = shop.produced();
    stop_with_everything(&shop, &server, &job, &name);
    let read = events_read(&server.log(&name));
    // A table is read from its beginning.
    assert!(read > profiles, "{read} of {profiles} profiles");
    assert!(read <= profiles + events - before, "{read}");
    let body = json!({ "from": "latest" });
    let done = changed(&mut shop, &server, &job.name, "replay", &body);
    assert_eq!(done["state"], "succeeded", "{done}");
    let log = server.log(&job.name);
    let last = log.rsplit("--- version 2 starts").next().unwrap();
    assert!(last.contains("nothing restored"), "{last}");
}
