//! Shadows: the same job under an identity of its own, with every sink in a namespace of its own.
//!
//! A shadow shares nothing with the live job but its input: its name, and so its checkpoints, consumer groups and the job
//! written into every row, are `JOB.shadow.NAME`, which no job file can have as its name.

use std::path::Path;

use crate::{
    compile::Compiled,
    job::{SinkConfig, SourceConfig},
};

/// The longest name of a shadow, in characters: names of tables and topics made from it must stay within their limits.
const NAME_MAX: usize = 40;

impl Compiled {
    /// Makes it a shadow of itself.
    ///
    /// Redis keys get the prefix `shadow:NAME:`; DynamoDB tables (which are created) and Kafka topics (which must exist) the
    /// suffix `.shadow.NAME`; files and embedded stores go into a folder `shadow.NAME` beside the live ones, because only
    /// one process can have an embedded store open.
    ///
    /// # Errors
    /// If the name has other characters than letters, digits, `-` and `_`, or too many.
    pub fn shadow(mut self, name: &str) -> Result<Self, String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_plain) {
            return Err(format!(
                "the name of a shadow must be 1 to {NAME_MAX} letters, digits, `-` and `_`"
            ));
        }
        let suffixed = |text: &str| format!("{text}.shadow.{name}");
        self.plan.name = suffixed(&self.plan.name);
        for source in &mut self.plan.sources {
            if let SourceConfig::Kafka(kafka) = &mut source.config {
                // By default the group is the job's name.
                kafka.group = kafka.group.as_deref().map(suffixed);
            }
        }
        for sink in &mut self.plan.sinks {
            match &mut sink.config {
                SinkConfig::Redis(redis) => redis.key = format!("shadow:{name}:{}", redis.key),
                SinkConfig::Dynamodb(dynamodb) => {
                    dynamodb.table = suffixed(&dynamodb.table);
                    dynamodb.create_table = true;
                }
                SinkConfig::Kafka(kafka) => kafka.topic = suffixed(&kafka.topic),
                SinkConfig::Files(files) => files.path = aside(&files.path, name),
                SinkConfig::Embedded(store) => store.path = aside(&store.path, name),
                SinkConfig::Stdout(_) | SinkConfig::Blackhole(_) => {}
            }
        }
        Ok(self)
    }
}

/// The path in a folder of the shadow's own.
fn aside(path: &str, name: &str) -> String {
    let path = Path::new(path);
    let file = path.file_name().unwrap_or_default();
    let folder = path.parent().unwrap_or(Path::new(""));
    let aside = folder.join(format!("shadow.{name}")).join(file);
    aside.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use crate::{compile, explain};

    const JOB: &str = "
name: shop
sources:
  profiles:
    kafka: { brokers: 'b:1', topic: profiles, group: readers }
    primary_key: [user_id]
    schema: { user_id: string, segment: string }
  events:
    kafka: { brokers: 'b:1', topic: events }
    schema: { user_id: string }
sinks:
  hot: { from: profiles, redis: { url: 'redis://h', key: 'profile:{user_id}' } }
  store: { from: profiles, dynamodb: { table: profiles } }
  local: { from: profiles, embedded: { path: data/store.redb } }
  history: { from: events, kafka: { brokers: 'b:1', topic: history } }
  log: { from: events, files: { path: /var/log/events.jsonl } }
  out: { from: events, stdout: {} }
dead_letter: { files: { path: dead.jsonl } }
";

    #[test]
    fn a_shadow_shares_no_name_with_the_live_job() {
        let live = compile("shop.yaml", JOB, &[], &|_| None).unwrap();
        let text = format!("{}{:?}", explain(&live), live.plan.sources);
        let shadow = live.shadow("next").unwrap();
        assert_eq!(shadow.plan.name, "shop.shadow.next");
        let shadowed = format!("{}{:?}", explain(&shadow), shadow.plan.sources);
        for (live, shadow) in [
            ("job shop\n", "job shop.shadow.next\n"),
            ("key profile:{user_id}", "key shadow:next:profile:{user_id}"),
            ("table profiles,", "table profiles.shadow.next,"),
            ("data/store.redb", "data/shadow.next/store.redb"),
            ("topic history,", "topic history.shadow.next,"),
            ("/var/log/events.jsonl", "/var/log/shadow.next/events.jsonl"),
            (" dead.jsonl", " shadow.next/dead.jsonl"),
            ("Some(\"readers\")", "Some(\"readers.shadow.next\")"),
        ] {
            assert!(text.contains(live), "{live} is not in\n{text}");
            assert!(shadowed.contains(shadow), "{shadow} is not in\n{shadowed}");
            assert!(!shadowed.contains(live), "{live} is in\n{shadowed}");
        }
    }

    #[test]
    fn odd_names_are_refused() {
        for name in ["", "a.b", "a:b", "a/b", &"x".repeat(41)] {
            let live = compile("shop.yaml", JOB, &[], &|_| None).unwrap();
            assert!(live.shadow(name).is_err(), "{name}");
        }
    }
}
