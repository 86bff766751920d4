//! What must hold at every moment, looked at again and again while a test does something else.

use std::{
    collections::BTreeMap,
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{Shop, ShopJob};
use crate::harness::{kafka::Kafka, redis::Hashes};
use tidewright_checkpoints::{restore, store};

/// A thread that looks; it ends when dropped.
pub struct Watch {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Watch {
    /// Looks until it is dropped; `look` tells whether there was anything to see.
    fn start(pause: Duration, mut look: impl FnMut() -> bool + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        let thread = thread::spawn(move || {
            let mut looks = 0;
            while !ended.load(Ordering::Relaxed) {
                looks += u64::from(look());
                thread::sleep(pause);
            }
            looks
        });
        Self {
            over,
            thread: Some(thread),
        }
    }

    /// Fails the test if anything was seen that must not be, or if there was hardly anything to see.
    pub fn end(mut self) {
        self.over.store(true, Ordering::Relaxed);
        match self.thread.take().unwrap().join() {
            Ok(looks) => assert!(looks > 3, "only {looks} looks"),
            Err(seen) => panic::resume_unwind(seen),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// No row in Redis ever gets a lower version, or goes away without leaving its mark.
pub fn versions_in_redis(shop: &Shop, job: &ShopJob) -> Watch {
    let (redis, prefix) = (shop.redis.clone(), job.prefix().to_owned());
    let mut seen = BTreeMap::new();
    Watch::start(Duration::from_millis(20), move || {
        look_at_versions(redis.hashes(&prefix), &mut seen)
    })
}

/// The same of the items in DynamoDB.
pub fn versions_in_dynamodb(shop: &Shop, job: &ShopJob) -> Watch {
    let (dynamodb, table) = (shop.dynamodb.clone(), job.prefix().to_owned());
    let mut seen = BTreeMap::new();
    Watch::start(Duration::from_millis(50), move || {
        // The job makes its table; once there, it must stay.
        (!seen.is_empty() || dynamodb.has_table(&table))
            && look_at_versions(dynamodb.items(&table), &mut seen)
    })
}

/// Whether there are any rows.
fn look_at_versions(rows: Hashes, seen: &mut BTreeMap<String, String>) -> bool {
    let now: BTreeMap<_, _> = rows
        .into_iter()
        .map(|(key, mut fields)| (key, fields.remove("_version").unwrap()))
        .collect();
    for (key, before) in seen.iter() {
        let after = now
            .get(key)
            .unwrap_or_else(|| panic!("{key} is gone without a mark"));
        assert!(
            after >= before,
            "the version of {key} went back from {before} to {after}"
        );
    }
    *seen = now;
    !seen.is_empty()
}

/// What the consumer group says was read is never ahead of the last durable checkpoint.
pub fn group_offsets(shop: &Shop, job: &ShopJob) -> Watch {
    let kafka = shop.kafka.clone();
    let (name, url) = (job.name.clone(), store::job_url(&job.store_url, &job.name));
    let topics = [
        ("events", shop.events_topic.clone()),
        ("profiles", shop.profiles_topic.clone()),
    ];
    Watch::start(Duration::from_millis(50), move || {
        for (source, topic) in &topics {
            look_at_offsets(&kafka, &name, &url, source, topic);
        }
        true
    })
}

fn look_at_offsets(kafka: &Kafka, job: &str, url: &str, source: &str, topic: &str) {
    // The group first: checkpoints only move on.
    let committed = kafka.committed_offsets(job, topic);
    let store = store::open(url).unwrap();
    let head = store.head().unwrap().map(|(head, _)| head);
    let manifest = match head.and_then(|head| head.manifest) {
        None => {
            assert!(committed.is_empty(), "{committed:?} without a checkpoint");
            return;
        }
        // One that has been cleaned up meanwhile says that there is a newer one: look again.
        Some(name) => match restore::load_manifest(&*store, job, &name) {
            Ok(manifest) => manifest,
            Err(_) => return,
        },
    };
    for (partition, offset) in committed {
        let durable = manifest.sources[source][&partition.to_string()].offset;
        assert!(
            offset <= durable,
            "{source}, partition {partition}: offset {offset} is committed, the checkpoint has {durable}"
        );
    }
}
