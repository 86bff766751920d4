//! A shadow: the same results, and not a byte outside its own namespace.

use std::{collections::BTreeMap, fs, path::Path};

use crate::shop::{LIMIT, Shop, ShopJob};

/// Everything of the live job that a shadow could touch, byte for byte.
fn everything(shop: &Shop, job: &ShopJob) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let place = job.prefix();
    let rows = shop.redis.hashes(place).into_iter();
    all.extend(rows.map(|(key, row)| (format!("redis {key}"), format!("{row:?}"))));
    let items = shop.dynamodb.items(place).into_iter();
    all.extend(items.map(|(key, item)| (format!("dynamodb {key}"), format!("{item:?}"))));
    let records = shop.kafka.read_values(place).join("\n");
    all.insert("kafka".to_owned(), records);
    for name in ["activity", "dead", "late"] {
        for path in [format!("{name}.jsonl"), format!("{name}.jsonl.marker")] {
            let bytes = fs::read(job.folder.path().join(&path)).unwrap_or_default();
            all.insert(path, format!("{bytes:?}"));
        }
    }
    let head = fs::read(
        job.folder
            .path()
            .join("checkpoints")
            .join(&job.name)
            .join("HEAD"),
    );
    all.insert("HEAD".to_owned(), format!("{:?}", head.unwrap()));
    all.insert(
        "group".to_owned(),
        format!("{:?}", shop.committed_events(&job.name)),
    );
    all
}

fn sorted_lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_shadow_makes_the_same_results_and_touches_nothing_of_the_live_job() {
    let Some(mut shop) = Shop::open(41) else {
        return;
    };
    for _ in 0..10 {
        shop.feed();
    }
    let job = shop.job("shadowed");
    job.finish();
    let topic = format!("{}.shadow.next", job.prefix());
    shop.kafka.create_topic_named(&topic, 2);
    let before = everything(&shop, &job);
    assert!(before.len() > 50, "{} things to touch", before.len());

    let run = job.command(1).args(["--shadow", "next", "--bounded"]);
    let mut shadow = run.start();
    shadow.wait_for_success(LIMIT);
    let opening = format!("job {}.shadow.next:", job.name);
    assert!(shadow.stderr().contains(&opening), "{}", shadow.stderr());
    let after = everything(&shop, &job);
    for (what, value) in &before {
        assert_eq!(after.get(what), Some(value), "{what} was touched");
    }
    assert_eq!(after.len(), before.len(), "something is new");

    let mut live = shop.kafka.read_values(job.prefix());
    let mut shadowed = shop.kafka.read_values(&topic);
    live.sort();
    shadowed.sort();
    assert!(!live.is_empty() && live == shadowed, "Kafka");
    for name in ["activity", "dead", "late"] {
        let file = format!("{name}.jsonl");
        let live = sorted_lines(&job.folder.path().join(&file));
        let shadowed = sorted_lines(&job.folder.path().join("shadow.next").join(&file));
        assert!(!live.is_empty() && live == shadowed, "{file}");
    }
    let log = super::diff::run(&job, &["@next"], 0);
    assert!(
        log.contains("0 different, 0 only in a, 0 only in b"),
        "{log}"
    );
}

/// Each line so many times.
fn times(lines: &[String], times: usize) -> Vec<String> {
    let all = lines.iter();
    all.flat_map(|line| std::iter::repeat_n(line.clone(), times))
        .collect()
}

#[test]
fn a_shadow_made_again_begins_anew_and_says_that_what_it_has_appended_stays() {
    let Some(mut shop) = Shop::open(44) else {
        return;
    };
    for _ in 0..10 {
        shop.feed();
    }
    let job = shop.job("reshadowed");
    job.finish();
    let topic = format!("{}.shadow.next", job.prefix());
    shop.kafka.create_topic_named(&topic, 2);
    let file = job.folder.path().join("shadow.next/activity.jsonl");
    let shadow = |restore: &str| {
        let shadow = ["--shadow", "next", "--restore", restore, "--bounded"];
        let mut process = job.command(1).args(shadow).start();
        process.wait_for_success(LIMIT);
        process.stderr()
    };
    let log = shadow("none");
    assert!(!log.contains("begins anew"), "{log}");
    let once = sorted_lines(&file);
    assert!(!once.is_empty());

    // The live job stands still, so its checkpoint is older than the shadow's.
    let log = shadow("live");
    let says = format!("job {}.shadow.next: 1 worker(s)", job.name);
    assert!(log.contains(&says) && log.contains("going on"), "{log}");
    let told = |log: &str| {
        let warned = log.lines().find(|line| line.contains("begins anew"));
        let warned = warned.unwrap_or_else(|| panic!("no warning in\n{log}"));
        for place in [&*file.to_string_lossy(), &format!("the topic {topic}")] {
            assert!(warned.contains(place), "{place} is not in {warned}");
        }
    };
    told(&log);
    assert_eq!(sorted_lines(&file), once, "there is nothing new");

    let log = shadow("none");
    told(&log);
    assert_eq!(sorted_lines(&file), times(&once, 2));
    super::diff::run(&job, &["@next"], 0);

    // Without checkpoints nothing but the sink knows of its rows.
    let checkpoints = job.folder.path().join("checkpoints");
    fs::remove_dir_all(checkpoints.join(format!("{}.shadow.next", job.name))).unwrap();
    let log = shadow("none");
    assert!(
        log.contains("sink log: the store holds rows that an earlier run of this shadow"),
        "{log}"
    );
    assert_eq!(sorted_lines(&file), times(&once, 3));
}
