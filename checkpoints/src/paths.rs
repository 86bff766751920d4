//! The names of everything in a job's checkpoint store, formatted and parsed here and nowhere else.
//!
//! ```text
//! HEAD                                                       which manifest counts, and who holds the job
//! manifests/{generation}-{epoch}.json                        one per published checkpoint
//! state/{generation}-{epoch}-w{worker}.state                 one per worker and checkpoint
//! state/{generation}-{first}-{last}-s{start}-{end}.state     merged files: epochs first..=last, shards start..end
//! ```
//!
//! A savepoint is a folder of its own, with `savepoint.json` in the place of HEAD and manifests, and the same names of state
//! files; unless told otherwise it is made below the job's folder, which keeps it out of every list of that job's files:
//!
//! ```text
//! savepoints/{generation}-{epoch}/savepoint.json
//! savepoints/{generation}-{epoch}/state/...
//! ```
//!
//! Every name carries the generation of the process that wrote it, so a process that lost the job can never overwrite
//! a file of its successor.

use crate::{
    ids::{Epoch, Generation},
    shard_range::ShardRange,
};

/// The name of the object that moves by compare-and-swap only.
pub const HEAD: &str = "HEAD";
/// The folder of manifests.
pub const MANIFESTS: &str = "manifests/";
/// The folder of state files.
pub const STATE: &str = "state/";

/// The manifest of a savepoint, in the savepoint's folder.
pub const SAVEPOINT: &str = "savepoint.json";

/// Where the savepoints of a job are made unless told otherwise: the URL of a folder below the job's.
#[must_use]
pub fn savepoint(job: &str, generation: Generation, epoch: Epoch) -> String {
    format!(
        "{}/savepoints/{generation}-{epoch}",
        job.trim_end_matches('/')
    )
}

/// The name of a manifest.
#[must_use]
pub fn manifest(generation: Generation, epoch: Epoch) -> String {
    format!("{MANIFESTS}{generation}-{epoch}.json")
}

/// The name of the state file that a worker writes for a checkpoint.
#[must_use]
pub fn state(generation: Generation, epoch: Epoch, worker: u32) -> String {
    format!("{STATE}{generation}-{epoch}-w{worker}.state")
}

/// The name of a file that compaction makes of the files of the epochs `first..=last`, for a range of shards.
#[must_use]
pub fn merged(generation: Generation, first: Epoch, last: Epoch, shards: ShardRange) -> String {
    let ShardRange { start, end } = shards;
    format!("{STATE}{generation}-{first}-{last}-s{start}-{end}.state")
}

/// Who wrote a file and for which epoch (the last one, for merged files), or `None` for foreign names.
#[must_use]
pub fn origin(name: &str) -> Option<(Generation, Epoch)> {
    if let Some(rest) = name.strip_prefix(MANIFESTS) {
        let [generation, epoch] = split(rest.strip_suffix(".json")?)?;
        return Some((Generation(number(generation)?), Epoch(number(epoch)?)));
    }
    let rest = name.strip_prefix(STATE)?.strip_suffix(".state")?;
    let (generation, epoch) = if let Some([generation, epoch, worker]) = split(rest) {
        number(worker.strip_prefix('w')?)?;
        (generation, epoch)
    } else {
        let [generation, first, last, start, end] = split(rest)?;
        let digits = [first, start.strip_prefix('s')?, end];
        digits.into_iter().map(number).collect::<Option<Vec<_>>>()?;
        (generation, last)
    };
    Some((Generation(number(generation)?), Epoch(number(epoch)?)))
}

fn split<const N: usize>(text: &str) -> Option<[&str; N]> {
    text.split('-').collect::<Vec<_>>().try_into().ok()
}

fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_who_wrote_them_and_for_which_epoch() {
        let (generation, epoch) = (Generation(1_763_900_000_123), Epoch(1_763_900_000_999));
        let names = [
            manifest(generation, epoch),
            state(generation, epoch, 3),
            merged(generation, Epoch(7), epoch, ShardRange::ALL),
        ];
        assert_eq!(names[0], "manifests/1763900000123-1763900000999.json");
        assert_eq!(names[1], "state/1763900000123-1763900000999-w3.state");
        assert_eq!(
            names[2],
            "state/1763900000123-7-1763900000999-s0-65536.state"
        );
        for name in names {
            assert_eq!(origin(&name), Some((generation, epoch)), "{name}");
        }
    }

    #[test]
    fn foreign_names_are_not_understood() {
        let foreign = [
            "HEAD",
            "notes.txt",
            "manifests/1.json",
            "manifests/1-2-3.json",
            "manifests/+1-2.json",
            "state/1-2-3.state",
            "state/1-2-w3.json",
            "state/1-2-3-4-5.state",
            "state/--w.state",
            "",
        ];
        for name in foreign {
            assert_eq!(origin(name), None, "{name}");
        }
    }
}
