//! What a stored version says about a row that wants to be written: one pure decision for all keyed stores.

use super::SinkError;

/// Characters of a version's text that hold the generation.
pub const GENERATION_DIGITS: usize = 15;
/// Characters of a version's text.
pub const VERSION_DIGITS: usize = 36;
/// How long the mark of a deleted row stays: longer than any earlier writer can still be under way.
pub const TOMBSTONE_TTL_MS: i64 = 24 * 3_600_000;

/// Fields that a store holds beside a row's columns.
pub mod field {
    /// The row's version.
    pub const VERSION: &str = "_version";
    /// The job that wrote the row.
    pub const JOB: &str = "_job";
    /// When the row's latest input was ingested.
    pub const AS_OF: &str = "_as_of";
    /// Marks a deleted row.
    pub const DELETED: &str = "_deleted";
    /// When the store may remove the row: seconds since 1970.
    pub const EXPIRES: &str = "_expires";
    /// All of them: no column may have such a name.
    pub const RESERVED: [&str; 5] = [VERSION, JOB, AS_OF, DELETED, EXPIRES];
}

/// What is to be done with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The store has nothing, or something older: write.
    Apply,
    /// The store has this version or a newer one of the same generation.
    AlreadyThere,
    /// A greater generation has written: this process has lost the job.
    Fenced,
    /// Another job owns the key, or somebody who writes no versions.
    Foreign,
}

/// What a store holds under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    /// `_version`, if there is one.
    pub version: Option<&'a str>,
    /// `_job`, if there is one.
    pub job: Option<&'a str>,
}

/// Compares what is stored with the version and job of a row that wants to be written.
#[must_use]
pub fn judge(stored: Option<Stored<'_>>, version: &str, job: &str) -> Verdict {
    let Some(stored) = stored else {
        return Verdict::Apply;
    };
    let Some(stored_version) = stored.version.filter(|text| is_version(text)) else {
        return Verdict::Foreign;
    };
    if stored.job != Some(job) {
        return Verdict::Foreign;
    }
    if stored_version < version {
        Verdict::Apply
    } else if stored_version.get(..GENERATION_DIGITS) == version.get(..GENERATION_DIGITS) {
        Verdict::AlreadyThere
    } else {
        Verdict::Fenced
    }
}

fn is_version(text: &str) -> bool {
    text.len() == VERSION_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The error for [`Verdict::Fenced`].
#[must_use]
pub fn fenced(place: &str, key: &str, stored_version: &str) -> SinkError {
    let generation = stored_version
        .get(..GENERATION_DIGITS)
        .unwrap_or(stored_version);
    SinkError::Fenced(format!(
        "{place}: key {key:?} was written by generation {}, a later claim of this job",
        generation.trim_start_matches('0')
    ))
}

/// The error for [`Verdict::Foreign`].
#[must_use]
pub fn foreign(place: &str, key: &str, stored_job: Option<&str>, job: &str) -> SinkError {
    let choices = "write under other keys, into another database or table, or remove what is there";
    SinkError::Fatal(match stored_job {
        None => format!(
            "{place}: key {key:?} belongs to something that writes no versions, not to {job:?}. Choices: {choices}"
        ),
        Some(other) => format!(
            "{place}: key {key:?} belongs to the job {other:?}, not to {job:?}: a row stays with the job that wrote it first, also \
             where another one goes on with that job's state. Choices: {choices}; or, if {job:?} is to take the place of {other:?}, \
             stop {other:?} and run this under its name (`name` in the job file, or submit --name {other})"
        ),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidewright_checkpoints::{Epoch, Generation};

    use super::{GENERATION_DIGITS, Stored, VERSION_DIGITS, Verdict, judge};
    use crate::sink::Version;

    fn version(generation: u64, epoch: u64, sequence: u32) -> Version {
        Version {
            generation: Generation(generation),
            epoch: Epoch(epoch),
            sequence,
        }
    }

    fn check(stored: Option<(Option<String>, Option<&str>)>, expected: Verdict) {
        let stored = stored.as_ref().map(|(version, job)| Stored {
            version: version.as_deref(),
            job: *job,
        });
        let mine = version(5, 100, 2).to_string();
        assert_eq!(judge(stored, &mine, "job"), expected, "{stored:?}");
    }

    #[test]
    fn a_stored_version_decides() {
        let stored = |g, e, s| Some((Some(version(g, e, s).to_string()), Some("job")));
        check(None, Verdict::Apply);
        check(stored(5, 100, 1), Verdict::Apply);
        check(stored(5, 99, 900), Verdict::Apply);
        check(stored(4, 999_999, 0), Verdict::Apply);
        check(stored(5, 100, 2), Verdict::AlreadyThere);
        check(stored(5, 101, 0), Verdict::AlreadyThere);
        check(stored(6, 1, 0), Verdict::Fenced);
    }

    #[test]
    fn what_another_wrote_is_never_overwritten() {
        check(
            Some((Some(version(1, 1, 1).to_string()), Some("other"))),
            Verdict::Foreign,
        );
        check(
            Some((Some(version(1, 1, 1).to_string()), None)),
            Verdict::Foreign,
        );
        check(Some((None, None)), Verdict::Foreign);
        check(Some((Some("7".to_owned()), Some("job"))), Verdict::Foreign);
    }

    proptest! {
        #[test]
        fn the_text_of_versions_orders_as_the_versions_do(
            a in (0u64..10_u64.pow(15), 0u64..10_u64.pow(15), 0u32..1_000_000),
            b in (0u64..10_u64.pow(15), 0u64..10_u64.pow(15), 0u32..1_000_000),
        ) {
            let (a, b) = (version(a.0, a.1, a.2), version(b.0, b.1, b.2));
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
            prop_assert_eq!(a.to_string().len(), VERSION_DIGITS);
            prop_assert_eq!(a.to_string()[..GENERATION_DIGITS].parse::<u64>().unwrap(), a.generation.0);
        }
    }
}
