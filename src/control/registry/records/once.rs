//! What only the first start of a version does.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::Path,
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What only the first start of a version does: later ones go on from what it has published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Once {
    /// Its Kafka sources begin here; with nothing in state, if nothing else is said of that.
    #[serde(default)]
    pub replay: Option<Replay>,
    /// It begins with the savepoint at this URL.
    #[serde(default)]
    pub restore: Option<String>,
    /// It is a shadow, and begins with the latest checkpoint of its job.
    #[serde(default)]
    pub restore_live: bool,
    /// Append sinks may receive rows again.
    #[serde(default)]
    pub allow_duplicates: bool,
    /// Views and sources that begin anew.
    #[serde(default)]
    pub reset_views: BTreeSet<String>,
    /// Views that are made again from retained records while the version before goes on.
    #[serde(default)]
    pub rebuild_views: BTreeSet<String>,
    /// Views, sources and sinks whose state may go.
    #[serde(default)]
    pub drop_views: BTreeSet<String>,
    /// Any state may go that has no place in the job file.
    #[serde(default)]
    pub allow_non_restored_state: bool,
}

/// Where a replay begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The position.
    pub from: ReplayFrom,
    /// Only these sources; if empty, those that the position makes sense for.
    pub sources: BTreeSet<String>,
}

/// A position in every topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplayFrom {
    /// The first retained record.
    Earliest,
    /// The end at the time of the start. Tables begin as the job file says.
    Latest,
    /// The first record at or after this time: milliseconds since 1970. Tables begin as the job file says.
    Timestamp(i64),
    /// Offsets by source and partition; others begin as the job file says.
    Offsets(BTreeMap<String, BTreeMap<i32, i64>>),
}

impl Once {
    /// Its first start is like any other.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// It begins with something else than the job's latest checkpoint.
    #[must_use]
    pub fn begins_elsewhere(&self) -> bool {
        self.replay.is_some() || self.restore.is_some() || self.restore_live
    }

    /// The same for `tidewright run`. `offsets`: a file for them.
    #[must_use]
    pub fn arguments(&self, offsets: &Path) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        match (&self.restore, &self.replay) {
            _ if self.restore_live => add(&["--restore", "live"]),
            (Some(savepoint), _) => add(&["--restore", savepoint]),
            (None, Some(_)) => add(&["--restore", "none"]),
            (None, None) => {}
        }
        if let Some(replay) = &self.replay {
            match &replay.from {
                ReplayFrom::Earliest => add(&["--from-earliest"]),
                ReplayFrom::Latest => add(&["--from-latest"]),
                ReplayFrom::Timestamp(ms) => add(&[&format!("--from-timestamp={ms}")]),
                ReplayFrom::Offsets(_) => add(&["--from-offsets", &offsets.to_string_lossy()]),
            }
            for source in &replay.sources {
                add(&["--from-sources", source]);
            }
        }
        if self.allow_duplicates {
            add(&["--allow-duplicates"]);
        }
        for view in &self.reset_views {
            add(&["--reset-view", view]);
        }
        for view in &self.rebuild_views {
            add(&["--rebuild-view", view]);
        }
        for view in &self.drop_views {
            add(&["--drop-view", view]);
        }
        if self.allow_non_restored_state {
            add(&["--allow-non-restored-state"]);
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_first_start_does_becomes_arguments_of_run() {
        let arguments = |once: &Once| {
            let arguments = once.arguments(Path::new("o.json"));
            let arguments = arguments.iter().map(|word| word.to_string_lossy());
            arguments.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(arguments(&Once::default()), "");
        let replay = |from| Once {
            replay: Some(Replay {
                from,
                sources: ["a".to_owned(), "b".to_owned()].into(),
            }),
            ..Once::default()
        };
        let rest = "--from-sources a --from-sources b";
        for (from, said) in [
            (ReplayFrom::Earliest, "--from-earliest"),
            (ReplayFrom::Latest, "--from-latest"),
            (ReplayFrom::Timestamp(-7), "--from-timestamp=-7"),
            (
                ReplayFrom::Offsets(BTreeMap::new()),
                "--from-offsets o.json",
            ),
        ] {
            let expected = format!("--restore none {said} {rest}");
            assert_eq!(arguments(&replay(from)), expected);
        }
        let upgrade = Once {
            reset_views: ["x".to_owned()].into(),
            rebuild_views: ["z".to_owned()].into(),
            drop_views: ["y".to_owned()].into(),
            allow_non_restored_state: true,
            allow_duplicates: true,
            ..Once::default()
        };
        assert_eq!(
            arguments(&upgrade),
            "--allow-duplicates --reset-view x --rebuild-view z --drop-view y --allow-non-restored-state"
        );
        let restored = Once {
            restore: Some("s3://bucket/savepoint".to_owned()),
            ..Once::default()
        };
        assert!(restored.begins_elsewhere() && !restored.is_none());
        assert_eq!(arguments(&restored), "--restore s3://bucket/savepoint");
        let live = Once {
            restore_live: true,
            ..replay(ReplayFrom::Latest)
        };
        assert!(live.begins_elsewhere());
        let expected = format!("--restore live --from-latest {rest}");
        assert_eq!(arguments(&live), expected);
        // What an earlier release has noted says nothing of that.
        let old = serde_json::to_string(&upgrade).unwrap();
        let old = old.replace("\"restore_live\":false,", "");
        assert_ne!(old, serde_json::to_string(&upgrade).unwrap());
        assert_eq!(serde_json::from_str::<Once>(&old).unwrap(), upgrade);
        let json = serde_json::to_string(&replay(ReplayFrom::Offsets(BTreeMap::from([(
            "a".to_owned(),
            BTreeMap::from([(0, 5)]),
        )]))))
        .unwrap();
        let read: Once = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
    }
}
