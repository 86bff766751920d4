//! Jobs that change while they run: another shape, another file, a replay. Results are those of an undisturbed run.

mod over_rest;
mod rebuilds;
mod refusals;
mod shadow;

use std::{fs, thread, time::Duration};

use serde_json::{Value, json};

use super::{counting, submission};
use crate::{
    harness::{
        eventually::eventually,
        process::Command,
        random::Random,
        server::{Reply, Server, job_processes, pids},
    },
    shop::{LIMIT, Shop, ShopJob, watch},
};

/// A server that runs a shop's job with one worker.
fn serve(shop: &mut Shop, job: &ShopJob) -> Server {
    serve_in(shop, job, "1")
}

/// In so many processes.
fn serve_in(shop: &mut Shop, job: &ShopJob, processes: &str) -> Server {
    let folder = job.folder.path().to_str().unwrap().to_owned();
    let environment = job.environment();
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let server = Server::start(&["--allow-files", &folder], &environment);
    let submit = job.submission();
    let submit: Vec<_> = submit.iter().map(String::as_str).collect();
    let shape = ["submit", "--wait", "--processes", processes];
    let submitted = server.cli_json(&[&shape, &submit[..]].concat());
    assert_eq!(submitted["state"], "running", "{submitted}");
    shop.feed_until("a checkpoint", || (job.durable_epoch() > 0).then_some(()));
    server
}

/// Asks for a change over REST and feeds until it is over.
fn changed(shop: &mut Shop, server: &Server, job: &str, verb: &str, body: &Value) -> Value {
    let reply = server.post(&format!("/v1/jobs/{job}/{verb}"), Some(body));
    assert_eq!(reply.status, 202, "{reply:?}");
    over(shop, server, &reply)
}

fn over(shop: &mut Shop, server: &Server, reply: &Reply) -> Value {
    let operation = reply.headers["location"].to_str().unwrap();
    feed_slowly(shop, "the change is over", || {
        let operation = server.get(operation);
        (operation["state"] != "running").then_some(operation)
    })
}

/// Asks for a change on the command line and feeds until that says that it is over.
fn changed_by_command(shop: &mut Shop, server: &Server, arguments: &[&str]) -> Value {
    let mut command = Command::tidewright(&server.folder.path().join("cli"))
        .args(arguments)
        .args(["--wait", "--output", "json"])
        .env("TIDEWRIGHT_SERVER", &*server.url)
        .env("TIDEWRIGHT_TOKEN", server.admin_token())
        .start();
    let status = feed_slowly(shop, "the command ends", || command.status());
    assert!(status.success(), "{arguments:?}: {}", command.stderr());
    serde_json::from_str(&command.stdout()).unwrap()
}

/// Input goes on meanwhile, and is not used up by what takes long.
fn feed_slowly<T>(shop: &mut Shop, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    eventually(LIMIT, what, || {
        ask().or_else(|| {
            shop.feed();
            thread::sleep(Duration::from_millis(100));
            None
        })
    })
}

/// Stops the job, reads the rest of its input and compares its stores with an undisturbed job's.
fn assert_undisturbed(shop: &Shop, server: &Server, job: &ShopJob) {
    let stopped = server.cli_json(&["stop", &job.name, "--wait"]);
    assert_eq!(stopped["state"], "succeeded", "{stopped}");
    eventually(LIMIT, "no process is left", || {
        job_processes(&server.data()).is_empty().then_some(())
    });
    job.finish();
    job.contents(shop).assert_same(&shop.undisturbed(job));
}

/// Goes on from the savepoint that an operation has left, in a store that has nothing else, to the end of the input.
fn finish_from(job: &mut ShopJob, operation: &Value) {
    assert_eq!(operation["state"], "succeeded", "{operation}");
    let place = operation["savepoint"]["location"].as_str().unwrap();
    job.store_url = format!("file://{}/other", job.folder.path().display());
    let (process, status) = job.end(job.command(1).args(["--restore", place]));
    let log = process.stderr();
    assert!(status.success(), "{log}");
    assert!(log.contains("going on from the savepoint"), "{log}");
}

#[test]
fn a_job_is_rescaled_under_load_over_rest_and_on_the_command_line() {
    let Some(mut shop) = Shop::open(71) else {
        return;
    };
    let job = shop.job("rescaled");
    let server = serve(&mut shop, &job);
    let before = server.job(&job.name);
    let rescale = ["rescale", &*job.name, "--workers", "2"];
    let done = changed_by_command(&mut shop, &server, &rescale);
    assert_eq!(
        (&done["state"], &done["version"]),
        (&"succeeded".into(), &2.into()),
        "{done}"
    );
    let after = server.job(&job.name);
    assert_eq!(
        (&after["workers"], &after["state"]),
        (&2.into(), &"running".into()),
        "{after}"
    );
    assert_ne!(pids(&after), pids(&before));
    let body = json!({ "workers": 1, "processes": 2 });
    let done = changed(&mut shop, &server, &job.name, "rescale", &body);
    assert_eq!(done["state"], "succeeded", "{done}");
    let after = server.job(&job.name);
    assert_eq!(pids(&after).len(), 2, "{after}");
    assert_eq!(after["restarts"], 0, "{after}");
    let done = changed(
        &mut shop,
        &server,
        &job.name,
        "rescale",
        &json!({ "processes": 1 }),
    );
    assert_eq!(done["state"], "succeeded", "{done}");
    let versions = server.cli_json(&["versions", &job.name]);
    let origins = versions["versions"].as_array().unwrap().iter();
    let origins: Vec<_> = origins
        .map(|version| version["origin"].as_str().unwrap())
        .collect();
    assert_eq!(origins, ["submitted", "rescaled", "rescaled", "rescaled"]);
    assert_eq!(versions["versions"][3]["current"], true);
    let log = server.log(&job.name);
    assert!(log.contains("--- version 2 takes over"), "{log}");
    assert_undisturbed(&shop, &server, &job);
}

#[test]
fn a_server_that_is_killed_while_a_job_is_rescaled_brings_it_to_its_end() {
    let Some(mut shop) = Shop::open(72) else {
        return;
    };
    let job = shop.job("rescaled-killed");
    let mut server = serve(&mut shop, &job);
    let mut random = Random::new(72);
    let mut succeeded = 0;
    for round in 0..8_u64 {
        let body = json!({ "workers": 1 + (round + 1) % 2, "processes": 1 + round / 2 % 2 });
        let reply = server.post(&format!("/v1/jobs/{}/rescale", job.name), Some(&body));
        if reply.status == 422 {
            // The round before came to nothing, and this one asks for what there was before it.
            continue;
        }
        assert_eq!(reply.status, 202, "{reply:?}");
        for _ in 0..1 + round % 2 {
            shop.feed_for(Duration::from_millis(random.below(900)));
            server.kill();
            shop.feed_for(Duration::from_millis(random.below(400)));
            server.start_again();
        }
        let done = over(&mut shop, &server, &reply);
        let after = feed_slowly(&mut shop, "it runs", || {
            let job = server.job(&job.name);
            (job["state"] == "running").then_some(job)
        });
        assert_eq!(after["change"], Value::Null, "{after}");
        assert_eq!(
            pids(&after).len() as u64,
            after["process_count"].as_u64().unwrap()
        );
        assert_eq!(
            job_processes(&server.data()).len(),
            pids(&after).len(),
            "{after}"
        );
        if done["state"] == "succeeded" {
            succeeded += 1;
            assert_eq!(after["version"], done["version"], "{done}");
            assert_eq!(after["workers"], body["workers"]);
        }
    }
    assert!(succeeded > 5, "only {succeeded} of 8 came to anything");
    assert_undisturbed(&shop, &server, &job);
}

/// Gives the job's file a further sink, into hashes `copy-of-..` of Redis by one column. Its text before and after.
fn add_copy(job: &ShopJob, view: &str, key: &str) -> (String, String) {
    let path = job.folder.path().join(format!("{}.yaml", job.name));
    let old = fs::read_to_string(&path).unwrap();
    let key = format!("copy-of-{}:{{{key}}}", job.prefix());
    let copy = json!({ "from": view, "redis": { "url": "${env:REDIS_URL}", "key": key } });
    let new = old.replacen("sinks:\n", &format!("sinks:\n  copy: {copy}\n"), 1);
    assert_ne!(new, old);
    fs::write(&path, &new).unwrap();
    (old, new)
}

#[test]
fn a_job_is_upgraded_under_load_and_a_new_sink_gets_its_whole_table() {
    let Some(mut shop) = Shop::open(73) else {
        return;
    };
    let mut job = shop.job("upgraded");
    let server = serve(&mut shop, &job);
    let (old, _) = add_copy(&job, "customer", "user_id");
    let submission = job.submission();
    let arguments = [
        &["upgrade", &*job.name],
        &submission.iter().map(|a| &**a).collect::<Vec<_>>()[..],
    ]
    .concat();
    let done = changed_by_command(&mut shop, &server, &arguments);
    assert_eq!(
        (&done["state"], &done["version"]),
        (&"succeeded".into(), &2.into()),
        "{done}"
    );
    // Again, over REST, with a sink less, whose state may go.
    let body = json!({ "file": old, "set": job.set() });
    let refused = server.post(&format!("/v1/jobs/{}/upgrade", job.name), Some(&body));
    assert_eq!(refused.status, 422, "{refused:?}");
    assert_eq!(
        refused.body["type"],
        "urn:tidewright:problem:state-does-not-fit"
    );
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(
        detail.contains("copy") && detail.contains("--drop-view"),
        "{detail}"
    );
    shop.feed_for(Duration::from_millis(500));
    let stop = ["stop", &*job.name, "--savepoint"];
    let stopped = changed_by_command(&mut shop, &server, &stop);
    shop.feed_for(Duration::from_millis(300));
    finish_from(&mut job, &stopped);
    let rows = |prefix: String| {
        let rows = shop.redis.hashes(&prefix).into_iter();
        let rows = rows.map(|(key, mut row)| {
            row.retain(|name, _| !name.starts_with('_') || name == "_deleted");
            (key.strip_prefix(&prefix).unwrap().to_owned(), row)
        });
        // Deleted before the sink was there: only the older one has a mark.
        let visible = rows.filter(|(_, row)| !row.contains_key("_deleted"));
        visible.collect::<Vec<_>>()
    };
    let copied = rows(format!("copy-of-{}:", job.prefix()));
    assert!(copied.len() > 5, "{copied:?}");
    assert_eq!(copied, rows(format!("{}:customer:", job.prefix())));
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

#[test]
fn a_job_is_replayed_under_load_and_no_row_goes_back() {
    let Some(mut shop) = Shop::open(74) else {
        return;
    };
    let job = shop.keyed_job("replayed");
    let server = serve(&mut shop, &job);
    shop.feed_for(Duration::from_secs(1));
    let versions = watch::versions_in_redis(&shop, &job);
    // Input goes on, so keys come and go also in the epoch in which the replay passes what was delivered before: those that are
    // gone then are deleted.
    let body = json!({ "from": "earliest" });
    let done = changed(&mut shop, &server, &job.name, "replay", &body);
    assert_eq!(done["state"], "succeeded", "{done}");
    let log = server.log(&job.name);
    assert!(
        log.contains("a replay: keyed sinks get nothing until"),
        "{log}"
    );
    await_all_read(&shop, &job);
    shop.feed_for(Duration::from_millis(500));
    // It has published: a crash does not begin it again.
    let pid = pids(&server.job(&job.name))[0];
    crate::harness::server::kill(pid, rustix::process::Signal::KILL);
    feed_slowly(&mut shop, "it is started again", || {
        let job = server.job(&job.name);
        (job["restarts"] == 1 && job["state"] == "running").then_some(())
    });
    let log = server.log(&job.name);
    let last = log.rsplit("--- version 2 starts").next().unwrap();
    assert!(last.contains("going on from the checkpoint"), "{last}");
    let earliest = ["replay", &*job.name, "--from-earliest"];
    let done = changed_by_command(&mut shop, &server, &earliest);
    assert_eq!(done["state"], "succeeded", "{done}");
    // A replay from a time makes only a part of a table, so a row that goes away in the very epoch in which it passes what was
    // delivered before stays in its store: there is nothing new in that epoch here.
    await_all_read(&shop, &job);
    let from = ["--from-timestamp", "2025-12-31T00:00:00Z"];
    let done = server.cli_json(&[&["replay", &*job.name, "--wait"], &from[..]].concat());
    assert_eq!(done["state"], "succeeded", "{done}");
    await_all_read(&shop, &job);
    shop.feed_for(Duration::from_millis(500));
    versions.end();
    assert_undisturbed(&shop, &server, &job);
}

/// Waits until the claim that holds the job has a checkpoint of everything that was produced.
fn await_all_read(shop: &Shop, job: &ShopJob) {
    let produced: i64 = shop.produced().iter().sum::<u64>() as i64;
    eventually(LIMIT, "everything is read", || {
        let manifest = job.manifest()?;
        let splits = manifest.sources.values().flat_map(|splits| splits.values());
        let read: i64 = splits.map(|split| split.offset).sum();
        (read == produced && job.head()?.generation == manifest.generation).then_some(())
    });
}
