//! An upgrade that makes a view again while the job goes on.

use super::*;

/// Lets a view of the job's file look twice as far back: its state does not fit any more.
fn lengthen(job: &ShopJob) {
    let path = job.folder.path().join(format!("{}.yaml", job.name));
    let old = fs::read_to_string(&path).unwrap();
    let new = old.replacen("INTERVAL '5 minutes'", "INTERVAL '10 minutes'", 1);
    assert_ne!(new, old);
    fs::write(&path, new).unwrap();
}

#[test]
fn a_view_is_rebuilt_by_an_upgrade_under_load_of_a_job_in_two_processes() {
    let Some(mut shop) = Shop::open(76) else {
        return;
    };
    let job = shop.job("rebuilt");
    let server = serve_in(&mut shop, &job, "2");
    let versions = watch::versions_in_redis(&shop, &job);
    lengthen(&job);
    let submission = job.submission();
    let submission: Vec<_> = submission.iter().map(|word| &**word).collect();
    let upgrade = |more: &[&'static str]| -> Vec<String> {
        let words = [&["upgrade", &*job.name], &submission[..], more].concat();
        words.into_iter().map(str::to_owned).collect()
    };
    for (more, says) in [
        (vec![], "--rebuild-view engagement"),
        (
            vec!["--rebuild-view", "engagment"],
            "there is no view engagment",
        ),
    ] {
        let words = upgrade(&more);
        let words: Vec<_> = words.iter().map(|word| &**word).collect();
        let mut refused = server.cli(&words);
        assert_eq!(refused.status().unwrap().code(), Some(2));
        assert!(refused.stderr().contains(says), "{}", refused.stderr());
    }
    let words = upgrade(&["--rebuild-view", "engagement"]);
    let words: Vec<_> = words.iter().map(|word| &**word).collect();
    let done = changed_by_command(&mut shop, &server, &words);
    assert_eq!(
        (&done["state"], &done["version"]),
        (&"succeeded".into(), &2.into()),
        "{done}"
    );
    assert_eq!(pids(&server.job(&job.name)).len(), 2);
    let log = server.log(&job.name);
    for sink in ["sink hot:", "sink totals:", "sink store:"] {
        assert!(log.contains(sink), "{sink} is not in\n{log}");
    }
    shop.feed_for(Duration::from_millis(500));
    versions.end();
    let stopped = server.cli_json(&["stop", &job.name, "--wait"]);
    assert_eq!(stopped["state"], "succeeded", "{stopped}");
    job.finish();
    let like = shop.job("rebuilt-like");
    lengthen(&like);
    like.finish();
    job.contents(&shop).assert_same(&like.contents(&shop));
}
