//! What Kafka's own tool says about a consumer group.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    kafka::Kafka,
    process::{Command, find_program},
};

/// What a group has committed of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    pub end: i64,
    pub lag: i64,
}

/// A group's partitions of a topic. From `kafka-consumer-groups` where it is among the packages that `scripts/services` has
/// installed; where Kafka runs in a container, from the broker itself.
pub fn describe(
    kafka: &Kafka,
    group: &str,
    topic: &str,
    folder: &Path,
) -> BTreeMap<i32, Committed> {
    match jars().filter(|_| find_program("java").is_some()) {
        Some(jars) => by_tool(kafka, group, topic, folder, &jars),
        None => by_broker(kafka, group, topic),
    }
}

/// The folder with Kafka's tools.
fn jars() -> Option<PathBuf> {
    let cache = env::var_os("TIDEWRIGHT_CACHE").map(PathBuf::from);
    let cache =
        cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache/tidewright")))?;
    let has_tools = |folder: &PathBuf| {
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        files.into_iter().any(|file| {
            file.file_name()
                .to_string_lossy()
                .starts_with("kafka-tools-")
        })
    };
    let folders = fs::read_dir(cache)
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    folders.into_iter().find(has_tools)
}

fn by_tool(
    kafka: &Kafka,
    group: &str,
    topic: &str,
    folder: &Path,
    jars: &Path,
) -> BTreeMap<i32, Committed> {
    let tool = Command::program("java", folder)
        .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp"])
        .arg(format!("{}/*", jars.display()))
        .arg("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand")
        .args([
            "--bootstrap-server",
            kafka.brokers(),
            "--describe",
            "--group",
            group,
        ])
        .run(Duration::from_secs(60));
    let text = tool.stdout();
    let heading = text.lines().find(|line| line.starts_with("GROUP"));
    let Some(heading) = heading else {
        // Nothing is committed yet.
        return BTreeMap::new();
    };
    let headings: Vec<_> = heading.split_whitespace().collect();
    let column = |name: &str| headings.iter().position(|found| *found == name).unwrap();
    let (partition, offset) = (column("PARTITION"), column("CURRENT-OFFSET"));
    let (end, lag) = (column("LOG-END-OFFSET"), column("LAG"));
    let row = |line: &str| {
        let cells: Vec<_> = line.split_whitespace().collect();
        let number = |column: usize| cells.get(column)?.parse::<i64>().ok();
        let committed = Committed {
            offset: number(offset)?,
            end: number(end)?,
            lag: number(lag)?,
        };
        (cells[column("TOPIC")] == topic).then_some((number(partition)? as i32, committed))
    };
    text.lines()
        .filter(|line| line.starts_with(group))
        .filter_map(row)
        .collect()
}

fn by_broker(kafka: &Kafka, group: &str, topic: &str) -> BTreeMap<i32, Committed> {
    let ends = kafka.end_offsets(topic);
    let committed = kafka.committed_offsets(group, topic).into_iter();
    let partitions = committed.map(|(partition, offset)| {
        let end = ends[&partition];
        let lag = end - offset;
        (partition, Committed { offset, end, lag })
    });
    partitions.collect()
}
