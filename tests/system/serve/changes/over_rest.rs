//! Over REST alone, while input comes: another file, and a stop that leaves a savepoint.

use super::*;
use crate::shop::contents::Contents;

#[test]
fn a_job_is_upgraded_and_stopped_with_a_savepoint_over_rest_under_load() {
    let Some(mut shop) = Shop::open(76) else {
        return;
    };
    let mut job = shop.job("over-rest");
    let server = serve(&mut shop, &job);
    let (_, new) = add_copy(&job, "segments", "segment");
    let body = json!({ "file": new, "set": job.set() });
    let done = changed(&mut shop, &server, &job.name, "upgrade", &body);
    assert_eq!(
        (&done["state"], &done["version"]),
        (&"succeeded".into(), &2.into()),
        "{done}"
    );
    let after = server.job(&job.name);
    assert_eq!(
        (&after["state"], &after["version"], &after["restarts"]),
        (&"running".into(), &2.into(), &0.into()),
        "{after}"
    );
    shop.feed_for(Duration::from_millis(500));
    let body = json!({ "savepoint": true });
    let stopped = changed(&mut shop, &server, &job.name, "stop", &body);
    assert_eq!(server.job(&job.name)["state"], "suspended");
    assert!(job_processes(&server.data()).is_empty());
    // What comes while nothing runs is read behind the savepoint.
    shop.feed_for(Duration::from_millis(300));
    finish_from(&mut job, &stopped);
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
    let rows = |prefix: &str| {
        let mut contents = Contents::default();
        contents.hashes("redis", prefix, &shop.redis.hashes(prefix));
        contents
    };
    let copied = rows(&format!("copy-of-{}:", job.prefix()));
    copied.assert_complete();
    copied.assert_same(&rows(&format!("{}:segment:", job.prefix())));
}
