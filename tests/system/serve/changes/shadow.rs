//! Shadows: replays beside the live job.

use super::*;
use crate::harness::checkpoints::Checkpoints;

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
    let produced: i64 = shop.produced().iter().sum::<u64>() as i64;
    for of in [&job.name, &name, &other] {
        let checkpoints = Checkpoints::of(&job.store_url, of);
        eventually(LIMIT, "everything is read", || {
            (checkpoints.read() == produced).then_some(())
        });
        let stopped = server.cli_json(&["stop", of, "--wait"]);
        assert_eq!(stopped["state"], "succeeded", "{stopped}");
    }
    let file = job.folder.path().join(format!("{}.yaml", job.name));
    for shadow in ["@next", "@rest"] {
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
    // The live job was not touched.
    let versions = server.cli_json(&["versions", &job.name]);
    assert_eq!(versions["versions"].as_array().unwrap().len(), 1);
}
