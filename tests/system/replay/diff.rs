//! `tidewright diff`: what it counts, shows and exits with.

use serde_json::Value;

use crate::{
    harness::process::Command,
    shop::{LIMIT, Shop, ShopJob},
};

/// Runs `diff JOB.yaml` with these arguments; what it prints.
pub fn run(job: &ShopJob, arguments: &[&str], code: i32) -> String {
    let file = job.folder.path().join(format!("{}.yaml", job.name));
    let mut process = Command::tidewright(job.folder.path())
        .arg("diff")
        .arg(file)
        .args(arguments)
        .env("REDIS_URL", job.redis_url())
        .start();
    let status = process.wait(LIMIT);
    assert_eq!(
        status.code(),
        Some(code),
        "{arguments:?}: {}{}",
        process.stdout(),
        process.stderr()
    );
    format!("{}{}", process.stdout(), process.stderr())
}

fn parsed(job: &ShopJob, arguments: &[&str], code: i32) -> Value {
    let mut all = arguments.to_vec();
    all.extend(["--output", "json"]);
    serde_json::from_str(&run(job, &all, code)).unwrap()
}

#[test]
fn a_job_and_its_shadow_are_compared_row_by_row_and_field_by_field() {
    let Some(mut shop) = Shop::open(42) else {
        return;
    };
    let job = shop.keyed_job("compared");
    let shadow = |name: &str| {
        let mut process = job.command(1).args(["--shadow", name, "--bounded"]).start();
        process.wait_for_success(LIMIT);
    };
    job.finish();
    shadow("x");
    let same = parsed(&job, &["@x"], 0);
    assert_eq!(same["equal"], true, "{same}");
    for sink in ["hot", "totals", "store"] {
        assert!(same["sinks"][sink]["equal"].as_u64() > Some(0), "{same}");
    }

    // Another shadow reads more than the live job has.
    for _ in 0..5 {
        shop.feed();
    }
    shadow("y");
    let different = parsed(&job, &["@y", "--sink", "store", "--samples", "2"], 1);
    let store = &different["sinks"]["store"];
    assert_eq!(different["equal"], false);
    let count = |name: &str| store[name].as_u64().unwrap();
    let items = shop.dynamodb.items(job.prefix());
    let live = items
        .values()
        .filter(|item| !item.contains_key("_deleted"))
        .count() as u64;
    assert!(count("different") > 2, "{store}");
    assert_eq!(
        count("equal") + count("different") + count("only_a"),
        live,
        "{store}"
    );
    assert!(store["fields"]["events"].as_u64() > Some(0), "{store}");
    let samples = store["samples"]["different"].as_array().unwrap();
    assert_eq!(samples.len(), 2);
    let (key, values) = (
        samples[0]["key"].as_str().unwrap(),
        &samples[0]["fields"]["events"],
    );
    assert_eq!(values[0], items[key]["events"].as_str(), "{samples:?}");
    let ignored = ["events", "clicks", "last_seen"];
    let ignoring = [
        "@y", "--sink", "store", "--ignore", ignored[0], "--ignore", ignored[1], "--ignore",
        ignored[2],
    ];
    let code = i32::from(count("only_a") + count("only_b") > 0);
    let counts = parsed(&job, &ignoring, code);
    assert_eq!(counts["sinks"]["store"]["different"], 0);

    // The other way round: what only one side has changes sides.
    let file = job.folder.path().join(format!("{}.yaml", job.name));
    shop.redis
        .delete(&format!("shadow:y:{}:segment:", job.prefix()));
    let text = run(&job, &["@y", "--sink", "totals"], 1);
    assert!(
        text.contains("0 only in b") && text.contains("only in a\n"),
        "{text}"
    );
    let live = file.display().to_string();
    let log = run(&job, &[&live], 2);
    assert!(log.contains("both sides are the same"), "{log}");
    let log = run(&job, &["@y", "--sink", "cold"], 2);
    assert!(log.contains("there are: hot, totals, store"), "{log}");
    let log = run(&job, &["@a.b"], 2);
    assert!(log.contains("the name of a shadow"), "{log}");
}
