use std::{fs, path::PathBuf};

use tempfile::TempDir;
use tidewright_checkpoints::{Epoch, Generation};
use tidewright_jobs::job::FilesSinkConfig;

use super::FilesWriter;
use crate::sink::{
    AppendWriter, SinkError,
    testing::{Lost, Owner, appended, context},
};

struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("out/rows.jsonl")
    }

    fn marker(&self) -> PathBuf {
        self.folder.path().join("out/rows.jsonl.marker")
    }

    fn writer_of(&self, job: &str, generation: u64) -> FilesWriter {
        let config = FilesSinkConfig {
            path: self.path().to_str().unwrap().to_owned(),
        };
        let mut context = context(job);
        context.generation = Generation(generation);
        FilesWriter::new(&config, &context).unwrap()
    }

    fn writer(&self) -> FilesWriter {
        self.writer_of("job", 1)
    }

    fn users(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path()).unwrap();
        let rows = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        rows.map(|row| row["user_id"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[test]
fn rows_are_appended_and_the_marker_comes_back() {
    let bench = Bench::new();
    let mut writer = bench.writer();
    assert_eq!(writer.recover().unwrap(), None);
    writer.append(&appended(5, &["a", "b"]), &Owner).unwrap();
    writer.append(&appended(7, &[]), &Owner).unwrap();
    writer.append(&appended(9, &["c"]), &Owner).unwrap();
    assert_eq!(bench.writer().recover().unwrap(), Some(Epoch(9)));
    assert_eq!(bench.users(), ["a", "b", "c"]);
}

#[test]
fn what_was_written_but_not_acknowledged_is_cut_off() {
    let bench = Bench::new();
    let mut writer = bench.writer();
    writer.recover().unwrap();
    writer.append(&appended(5, &["a"]), &Owner).unwrap();
    let whole = fs::read(bench.path()).unwrap();
    // Every length that a torn second append can leave.
    let mut torn = whole.clone();
    for byte in &whole {
        torn.push(*byte);
        fs::write(bench.path(), &torn).unwrap();
        assert_eq!(bench.writer().recover().unwrap(), Some(Epoch(5)));
        assert_eq!(fs::read(bench.path()).unwrap(), whole);
    }
}

#[test]
fn a_torn_first_append_leaves_nothing() {
    let bench = Bench::new();
    bench.writer().recover().unwrap();
    fs::write(bench.path(), "{\"user_id\":").unwrap();
    assert_eq!(bench.writer().recover().unwrap(), None);
    assert_eq!(fs::read(bench.path()).unwrap(), b"");
}

fn check_refused(bench: &Bench, job: &str, expected: &str) {
    let before = fs::read(bench.path()).unwrap();
    let result = bench.writer_of(job, 1).recover();
    assert!(
        matches!(&result, Err(SinkError::Fatal(m)) if m.contains(expected)),
        "{result:?}"
    );
    assert_eq!(fs::read(bench.path()).unwrap(), before);
}

#[test]
fn a_file_that_is_not_understood_is_left_alone_with_choices() {
    let bench = Bench::new();
    let mut writer = bench.writer();
    writer.recover().unwrap();
    writer.append(&appended(5, &["a", "b"]), &Owner).unwrap();
    check_refused(
        &bench,
        "other",
        "belongs to the sink hot of the job \"job\"",
    );

    let marker = fs::read(bench.marker()).unwrap();
    for at in 0..marker.len() - 1 {
        let mut damaged = marker.clone();
        damaged[at] ^= 1;
        fs::write(bench.marker(), damaged).unwrap();
        check_refused(&bench, "job", "marker");
    }
    fs::remove_file(bench.marker()).unwrap();
    check_refused(&bench, "job", "there is no marker");

    fs::write(bench.marker(), marker).unwrap();
    fs::write(bench.path(), "x").unwrap();
    check_refused(&bench, "job", "were delivered");
}

#[test]
fn an_earlier_process_is_shut_out_by_the_recovery_of_a_later_one() {
    let bench = Bench::new();
    let mut zombie = bench.writer_of("job", 1);
    zombie.recover().unwrap();
    zombie.append(&appended(5, &["a"]), &Owner).unwrap();
    let mut owner = bench.writer_of("job", 2);
    assert_eq!(owner.recover().unwrap(), Some(Epoch(5)));
    let late = zombie.append(&appended(6, &["zombie"]), &Owner);
    assert!(matches!(late, Err(SinkError::Fenced(_))), "{late:?}");
    owner.append(&appended(6, &["b"]), &Owner).unwrap();
    assert!(matches!(zombie.recover(), Err(SinkError::Fenced(_))));
    let lost = owner.append(&appended(7, &["c"]), &Lost);
    assert!(matches!(lost, Err(SinkError::Fenced(_))));
    assert_eq!(bench.users(), ["a", "b"]);
}

#[test]
fn a_process_that_writes_at_this_moment_is_waited_for() {
    let bench = Bench::new();
    let mut writer = bench.writer();
    writer.recover().unwrap();
    let other = fs::File::open(bench.path()).unwrap();
    other.lock().unwrap();
    let busy = writer.append(&appended(5, &["a"]), &Owner);
    assert!(matches!(busy, Err(SinkError::Transient(_))), "{busy:?}");
    other.unlock().unwrap();
    assert_eq!(writer.recover().unwrap(), None);
    writer.append(&appended(5, &["a"]), &Owner).unwrap();
    assert_eq!(bench.users(), ["a"]);
}
