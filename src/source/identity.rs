//! Which topic a source reads: a topic that was deleted and created anew has the same name and another identity, and its
//! offsets mean other records.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// The key of identities in the manifests' further contents.
const TOPICS: &str = "topics";

/// A topic, as the brokers tell it from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id: text of the brokers' own making.
    pub id: String,
}

/// The topics that a job's sources read, by source. The readers of a process share them.
#[derive(Debug, Default)]
pub struct Topics(Mutex<BTreeMap<String, Topic>>);

/// What a reader finds out about its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// It is the topic of the checkpoint, or nothing is known of that one.
    Same,
    /// It is another one: this was the id.
    Another(String),
}

impl Topics {
    /// Those of a checkpoint. Manifests of earlier releases name none.
    ///
    /// # Errors
    /// If what the manifest holds is not understood.
    pub fn of(extra: &BTreeMap<String, serde_json::Value>) -> Result<Self, String> {
        let Some(topics) = extra.get(TOPICS) else {
            return Ok(Self::default());
        };
        let topics = BTreeMap::<String, Topic>::deserialize(topics).map_err(|error| {
            format!("the checkpoint's list of topics is not understood: {error}")
        })?;
        Ok(Self(Mutex::new(topics)))
    }

    /// Forgets a source: it is read anew.
    pub fn forget(&self, source: &str) {
        self.lock().remove(source);
    }

    /// Compares a source's topic with the known one. A source that was pointed at a topic of another name is not judged.
    #[must_use]
    pub fn meet(&self, source: &str, topic: &Topic) -> Meeting {
        match self.lock().get(source) {
            Some(known) if known.name == topic.name && known.id != topic.id => {
                Meeting::Another(known.id.clone())
            }
            _ => Meeting::Same,
        }
    }

    /// From now on this is the source's topic.
    pub fn note(&self, source: &str, topic: Topic) {
        self.lock().insert(source.to_owned(), topic);
    }

    /// Writes them into a manifest.
    pub fn keep(&self, extra: &mut BTreeMap<String, serde_json::Value>) {
        let topics = self.lock();
        // Names and ids have a JSON form.
        if let (false, Ok(kept)) = (topics.is_empty(), serde_json::to_value(&*topics)) {
            extra.insert(TOPICS.to_owned(), kept);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Topic>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, id: &str) -> Topic {
        Topic {
            name: name.to_owned(),
            id: id.to_owned(),
        }
    }

    #[test]
    fn a_topic_of_the_same_name_with_another_id_is_another() {
        let topics = Topics::default();
        assert_eq!(topics.meet("events", &topic("t", "1")), Meeting::Same);
        topics.note("events", topic("t", "1"));
        assert_eq!(topics.meet("events", &topic("t", "1")), Meeting::Same);
        assert_eq!(
            topics.meet("events", &topic("t", "2")),
            Meeting::Another("1".to_owned())
        );
        assert_eq!(topics.meet("events", &topic("u", "2")), Meeting::Same);
        assert_eq!(topics.meet("clicks", &topic("t", "2")), Meeting::Same);
        topics.forget("events");
        assert_eq!(topics.meet("events", &topic("t", "2")), Meeting::Same);
    }

    #[test]
    fn a_manifest_keeps_them_and_old_ones_have_none() {
        let mut extra = BTreeMap::new();
        Topics::of(&extra).unwrap().keep(&mut extra);
        assert!(extra.is_empty());
        let topics = Topics::default();
        topics.note("events", topic("t", "1"));
        topics.keep(&mut extra);
        let again = Topics::of(&extra).unwrap();
        assert_eq!(
            again.meet("events", &topic("t", "2")),
            Meeting::Another("1".to_owned())
        );
        extra.insert(TOPICS.to_owned(), "odd".into());
        assert!(Topics::of(&extra).is_err());
    }
}
