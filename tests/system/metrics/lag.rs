//! Lag, against what Kafka says about it.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{SOURCE, announced, await_metrics, counting, event, run};
use crate::harness::{
    consumer_groups::{self, Committed},
    eventually::eventually,
    jobfile::JobFile,
    kafka::Kafka,
    process::{Command, Process},
    redis_server::RedisServer,
    services::unique_name,
};
use crate::shop::LIMIT;

/// What `tidewright lag` prints for programs; `None` while nobody answers.
pub fn lag(folder: &TempDir) -> Option<Value> {
    let socket = folder.path().join("socket");
    let mut asked = Command::tidewright(folder.path())
        .args(["lag", "--output", "json", "--socket"])
        .arg(socket)
        .run(LIMIT);
    let answered = asked.wait(LIMIT).success();
    answered.then(|| serde_json::from_str(&asked.stdout()).unwrap())
}

/// Position, end and difference by partition, as `lag` tells them.
fn by_partition(lag: &Value) -> BTreeMap<i32, Committed> {
    let splits = lag["splits"].as_array().unwrap().iter();
    let committed = splits.map(|split| {
        let offset = split["next_offset"].as_i64().unwrap();
        let lag = split["records_behind"].as_i64().unwrap_or(-1);
        let partition = split["split"].as_str().unwrap().parse().unwrap();
        (
            partition,
            Committed {
                offset,
                end: offset + lag,
                lag,
            },
        )
    });
    committed.collect()
}

fn running(process: &mut Process) {
    assert!(process.is_running(), "it ended:\n{}", process.stderr());
}

/// A job whose sources have to wait soon after its Redis is down.
pub fn into_redis(name: &str, kafka: &Kafka, topic: &str, redis: &RedisServer) -> JobFile {
    let sink = json!({ "from": "counts", "redis": {
        "url": redis.redis().url(), "key": format!("{name}:{{user_id}}:{{hour}}"),
    } });
    let mut job = counting(name, kafka, topic);
    job = job
        .view(
            "hours",
            "SELECT user_id, window_start AS hour, count(*) AS events
             FROM tumble(events, INTERVAL '1 second') GROUP BY user_id, window_start, window_end",
        )
        .sink("hot", json!({ "from": "hours", "redis": sink["redis"] }));
    job.key("limits", json!({ "outbox": "2KiB" }))
}

#[test]
fn lag_is_what_kafkas_own_tool_says_at_the_end_and_while_sources_wait() {
    let (Some(kafka), Some(mut redis)) = (Kafka::require(), RedisServer::start()) else {
        return;
    };
    let topic = kafka.create_topic("lag", 3);
    let name = unique_name("lag");
    let folder = TempDir::new().unwrap();
    let produce = |from: i64, to: i64| {
        kafka.produce(
            &topic,
            (from..to).map(|number| event((number % 3) as i32, number)),
        );
    };
    produce(0, 900);
    let socket = folder.path().join("socket");
    let job = into_redis(&name, &kafka, &topic, &redis);
    let mut process = run(&job, &folder, &["--socket", socket.to_str().unwrap()]);
    let mut agree = |what: &str, wanted: &dyn Fn(&BTreeMap<i32, Committed>) -> bool| {
        eventually(LIMIT, what, || {
            running(&mut process);
            let ours = by_partition(&lag(&folder)?);
            if !wanted(&ours) {
                return None;
            }
            // The commit follows the checkpoint, and what the tool sees may be older than what we see.
            let theirs = consumer_groups::describe(&kafka, &name, &topic, folder.path());
            (ours == theirs).then_some(theirs)
        })
    };
    let at_end = agree("both agree that all is read", &|ours| {
        ours.len() == 3 && ours.values().all(|partition| partition.lag == 0)
    });
    assert!(
        at_end.values().all(|partition| partition.offset == 300),
        "{at_end:?}"
    );
    redis.stop();
    produce(900, 30_900);
    let behind = agree("both agree how much waits", &|ours| {
        let ends = ours.values().map(|partition| partition.end);
        ends.sum::<i64>() == 30_900 && ours.values().any(|partition| partition.lag > 0)
    });
    // Nobody reads, but more comes.
    produce(30_900, 31_200);
    let more = agree("both agree that it is more", &|ours| {
        ours.values().map(|partition| partition.end).sum::<i64>() == 31_200
    });
    let sum = |all: &BTreeMap<i32, Committed>| all.values().map(|one| one.lag).sum::<i64>();
    assert_eq!(sum(&more), sum(&behind) + 300, "{behind:?} {more:?}");
    let waiting = lag(&folder).unwrap();
    assert_eq!(waiting["records_behind"], sum(&more));
    assert!(
        waiting["seconds_behind"].as_f64().unwrap() > 0.0,
        "{waiting}"
    );
    assert_eq!(waiting["catch_up_seconds"], Value::Null, "{waiting}");
    redis.start_again();
    let last = agree("both agree that it has caught up", &|ours| {
        ours.values().all(|partition| partition.lag == 0)
    });
    assert_eq!(last.values().map(|one| one.offset).sum::<i64>(), 31_200);
    process.terminate();
    process.wait_for_success(LIMIT);
}

/// A job that is behind, and comes nearer slowly: its store answers now and then only, so that about a hundredth of what there is
/// goes through each second.
#[test]
fn lag_that_shrinks_has_a_time_to_catch_up() {
    const EVENTS: i64 = 40_000;
    let (Some(kafka), Some(redis)) = (Kafka::require(), RedisServer::start()) else {
        return;
    };
    let topic = kafka.create_topic("shrinks", 1);
    let name = unique_name("shrinks");
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("socket");
    kafka.produce(&topic, (0..EVENTS).map(|number| event(0, number)));
    let job = into_redis(&name, &kafka, &topic, &redis);
    let file = ["--set", "limits.in_flight=8KiB"];
    let arguments = [&file[..], &["--socket", socket.to_str().unwrap()]].concat();
    let mut process = run(&job, &folder, &arguments);
    eventually(LIMIT, "it reads", || lag(&folder).map(drop));
    let begun = Instant::now();
    let told = eventually(LIMIT, "the lag is seen to shrink", || {
        running(&mut process);
        redis.suspend();
        thread::sleep(Duration::from_millis(300));
        let told = ask(&socket, &json!({ "lag": {} }))?["lag"].clone();
        redis.resume();
        // Nothing is left before there is a trend unless it is held back.
        let wanted = EVENTS as f64 * (1.0 - begun.elapsed().as_secs_f64() / 100.0);
        let behind = told["records_behind"].as_f64().unwrap_or(0.0);
        let pause = if behind > wanted { 30 } else { 2 };
        thread::sleep(Duration::from_millis(pause));
        (told["catch_up_seconds"].as_f64() > Some(0.0)).then_some(told)
    });
    let split = &told["splits"][0];
    assert_eq!(split["trend"], "shrinking", "{told}");
    assert!(split["records_behind"].as_u64() > Some(0), "{told}");
    // By the rate that was seen, and not for ever.
    let seconds = told["catch_up_seconds"].as_f64().unwrap();
    assert!(seconds.is_finite() && seconds < 3_600.0, "{told}");
    let shown = lag(&folder).unwrap();
    assert!(shown["catch_up_seconds"].is_number(), "{shown}");
    process.terminate();
    process.wait_for_success(LIMIT);
}

#[test]
fn the_split_that_holds_the_watermark_back_is_named() {
    let Some(kafka) = Kafka::require() else {
        return;
    };
    let topic = kafka.create_topic("holds", 2);
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("socket");
    // Partition 1 has come to event 3 and stays there.
    kafka.produce(&topic, [event(1, 3)]);
    kafka.produce(&topic, (0..40).map(|number| event(0, number)));
    let job = counting(&unique_name("holds"), &kafka, &topic);
    let mut process = run(&job, &folder, &["--socket", socket.to_str().unwrap()]);
    let told = eventually(LIMIT, "both are read", || {
        running(&mut process);
        let told = lag(&folder)?;
        let read = by_partition(&told);
        (read.len() == 2 && read[&0].offset == 40 && read[&1].offset == 1).then_some(told)
    });
    let watermark = 1_760_000_000_000_i64 + 30_000 - 1_000;
    for relation in told["watermarks"].as_array().unwrap() {
        assert_eq!(relation["watermark_ms"], watermark, "{told}");
        let by = json!({ "what": "split", "source": "events", "split": "1" });
        assert_eq!(relation["held_by"], by, "{told}");
    }
    let holds: Vec<_> = told["splits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|split| &split["holds_watermark"])
        .collect();
    assert_eq!(holds, [&json!(false), &json!(true)]);
    let shown = Command::tidewright(folder.path())
        .args(["lag", "--socket"])
        .arg(&socket)
        .run(LIMIT);
    let text = shown.stdout();
    assert!(text.contains("held by split 1 of events"), "{text}");
    process.terminate();
    process.wait_for_success(LIMIT);
}

/// A request to a job's socket as any client makes it.
fn ask(socket: &Path, request: &Value) -> Option<Value> {
    let mut connection = UnixStream::connect(socket).ok()?;
    writeln!(connection, "{request}").ok()?;
    let mut line = String::new();
    BufReader::new(connection).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

#[test]
fn one_process_of_a_job_answers_for_all_of_them() {
    let Some(kafka) = Kafka::require() else {
        return;
    };
    let topic = kafka.create_topic("lag-launched", 4);
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("socket");
    kafka.produce(
        &topic,
        (0..400).map(|number| event((number % 4) as i32, number)),
    );
    let job = counting(&unique_name("lag-launched"), &kafka, &topic);
    let mut process = run(
        &job,
        &folder,
        &[
            "--launch",
            "2",
            "--metrics",
            "127.0.0.1:0",
            "--socket",
            socket.to_str().unwrap(),
        ],
    );
    let read = eventually(LIMIT, "all is read by both", || {
        running(&mut process);
        let read = by_partition(&lag(&folder)?);
        let all = read.values().map(|partition| partition.offset).sum::<i64>() == 400;
        all.then_some(read)
    });
    assert!(
        read.values().all(|one| (one.offset, one.lag) == (100, 0)),
        "{read:?}"
    );
    let records = eventually(LIMIT, "both processes have reported", || {
        let answer = ask(&socket, &json!({ "metrics": {} }))?;
        let processes = answer["metrics"].as_array().unwrap().clone();
        let records = processes
            .iter()
            .map(|one| one["records_in"]["events"].as_u64());
        let records: Vec<_> = records.collect::<Option<_>>()?;
        (records.iter().sum::<u64>() == 400).then_some(records)
    });
    assert_eq!(records, [200, 200]);
    // The endpoint of each process tells only its own part.
    let url = announced(&mut process);
    await_metrics(&mut process, &url, "one half", |scrape| {
        scrape.sum("tidewright_source_records_total", &SOURCE) == 200.0
    });
    process.terminate();
    process.wait_for_success(LIMIT);
}
