use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;
use tidewright_jobs::job::SourceConfig;
use tidewright_operators::batch;

use super::*;
use crate::source::{
    SplitStart, open,
    testing::{BOUND_MS, Read, context, stream, table},
};

const DAY_MS: i64 = 86_400_000;

fn source(path: &Path) -> SourceConfig {
    SourceConfig::Files(FilesSourceConfig {
        path: path.to_string_lossy().into_owned(),
    })
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn read_stream(path: &Path, restored: Option<Vec<SplitStart>>) -> Read {
    let mut reader = open(&stream(source(path), None), &context(restored)).unwrap();
    let mut read = Read::default();
    read.until_finished(&mut *reader);
    read
}

fn open_error(path: &Path, restored: Option<Vec<SplitStart>>) -> String {
    let opened = open(&stream(source(path), None), &context(restored));
    opened.err().unwrap().to_string()
}

#[test]
fn lines_become_rows_with_their_byte_positions() {
    let lines = "{\"user_id\":\"a\",\"ts\":100}\n\n{\"user_id\":\"b\",\"ts\":90}\r\n{\"ts\":120,\"user_id\":\"c\"}";
    let folder = folder(&[("in.jsonl", lines)]);
    let read = read_stream(folder.path(), None);
    assert_eq!(
        read.texts("user_id"),
        ["a", "b", "c"].map(|user| Some(user.into()))
    );
    assert_eq!(read.integers(batch::OFFSET), [0, 26, 51]);
    let before = 100 - BOUND_MS;
    assert_eq!(read.integers(batch::WATERMARK), [i64::MIN, before, before]);
    let progress = read.progress().remove(0);
    assert_eq!(progress.next_offset, lines.len() as i64);
    assert_eq!(
        (progress.watermark, progress.caught_up),
        (120 - BOUND_MS, true)
    );
}

#[test]
fn bad_lines_become_dead_letters_and_the_rest_goes_on() {
    let far = 200 + 2 * DAY_MS;
    let lines = format!(
        "{{\"user_id\":\"a\",\"ts\":200}}\n{{\"user_id\":\n{{\"user_id\":\"b\"}}\n{{\"user_id\":\"c\",\"ts\":{far}}}\n\
         {{\"user_id\":\"d\",\"ts\":201}}\n"
    );
    let folder = folder(&[("in.jsonl", &lines)]);
    let read = read_stream(&folder.path().join("in.jsonl"), None);
    assert_eq!(
        read.texts("user_id"),
        ["a", "d"].map(|user| Some(user.into()))
    );
    assert_eq!(read.integers(batch::WATERMARK), [i64::MIN, 200 - BOUND_MS]);
    let dead = read.dead_letters();
    assert_eq!(dead.len(), 3);
    assert_eq!(read.records(), 5);
    assert_eq!(dead[0].payload, b"{\"user_id\":");
    assert!(
        dead[0].origin.ends_with("in.jsonl, byte 25"),
        "{}",
        dead[0].origin
    );
    assert_eq!(&*dead[0].relation, "events");
    assert!(
        dead[1].reason.contains("`ts`") && dead[1].reason.contains("null"),
        "{}",
        dead[1].reason
    );
    assert!(
        dead[2].reason.contains("24 hours ahead"),
        "{}",
        dead[2].reason
    );
}

#[test]
fn a_lines_delete_field_deletes_from_a_table() {
    let lines = "{\"user_id\":\"a\",\"segment\":\"x\",\"updated_at\":7}\n\
                 {\"user_id\":\"a\",\"segment\":\"gone\",\"updated_at\":9,\"_delete\":true}\n\
                 {\"user_id\":\"b\",\"_delete\":false}\n{\"segment\":\"nobody\"}\n{\"user_id\":null,\"_delete\":true}\n";
    let folder = folder(&[("in.json", lines)]);
    let mut reader = open(&table(source(folder.path())), &context(None)).unwrap();
    let mut read = Read::default();
    read.until_finished(&mut *reader);
    assert_eq!(read.ops(), [1, -1, 1]);
    assert_eq!(read.texts("segment"), [Some("x".into()), None, None]);
    assert_eq!(read.integers(batch::VERSION_TIME), [7, 9, 0]);
    assert_eq!(read.dead_letters().len(), 2, "rows without a key");
    assert!(read.batches[0].rows.column_by_name("_delete").is_none());
}

#[test]
fn files_are_chosen_by_name_and_unknown_ones_are_an_error() {
    let folder = folder(&[
        ("a1.jsonl", "{}\n"),
        ("a2.jsonl", "{}\n"),
        ("b.csv", "x"),
        ("c.json", "{}"),
    ]);
    let names = |pattern: &str| {
        let paths = list(&folder.path().join(pattern).to_string_lossy());
        paths.map(|paths| {
            let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
            names.map(ToOwned::to_owned).collect::<Vec<_>>()
        })
    };
    assert_eq!(names("").unwrap(), ["a1.jsonl", "a2.jsonl", "c.json"]);
    assert_eq!(names("a*").unwrap(), ["a1.jsonl", "a2.jsonl"]);
    assert_eq!(
        names("*.json*").unwrap(),
        ["a1.jsonl", "a2.jsonl", "c.json"]
    );
    assert_eq!(names("b.csv").unwrap(), ["b.csv"]);
    assert!(names("d*").is_err() && names("d").is_err());
    assert!(matches_pattern("a*b*c", "a-b-b-c") && !matches_pattern("a*b", "a-b-c"));
    assert!(matches_pattern("*", "") && matches_pattern("a*", "a") && !matches_pattern("a*a", "a"));
}

#[test]
fn a_file_that_shrank_or_vanished_is_an_error_that_names_the_choices() {
    let folder = folder(&[("in.jsonl", "{\"user_id\":\"a\",\"ts\":1}\n")]);
    let mut starts = read_stream(folder.path(), None).starts();
    starts[0].next_offset += 1;
    let error = open_error(folder.path(), Some(starts.clone()));
    assert!(
        error.contains("in.jsonl is shorter") && error.contains("--restore none"),
        "{error}"
    );
    fs::rename(
        folder.path().join("in.jsonl"),
        folder.path().join("other.jsonl"),
    )
    .unwrap();
    let error = open_error(folder.path(), Some(starts));
    assert!(error.contains("no longer there"), "{error}");
}

#[test]
fn every_file_is_read_by_exactly_one_worker() {
    let files: Vec<_> = (0..9).map(|file| format!("{file}.jsonl")).collect();
    let line = "{\"user_id\":\"a\",\"ts\":1}\n";
    let files: Vec<_> = files.iter().map(|name| (name.as_str(), line)).collect();
    let folder = folder(&files);
    let mut splits = Vec::new();
    for worker in 0..3 {
        let context = OpenContext {
            worker,
            workers: 3,
            ..context(None)
        };
        let mut reader = open(&stream(source(folder.path()), None), &context).unwrap();
        let first = reader.poll(Duration::ZERO).unwrap().unwrap();
        splits.extend(first.splits.into_iter().map(|split| split.name));
    }
    splits.sort();
    splits.dedup();
    assert_eq!(splits.len(), 9);
}

#[test]
fn files_far_ahead_of_the_source_wait_for_it() {
    let late = 3 * ALIGN_MS;
    let rows: String = (0..3_000)
        .map(|row| format!("{{\"user_id\":\"a\",\"ts\":{}}}\n", late + row))
        .collect();
    let folder = folder(&[("ahead.jsonl", &rows)]);
    let mut reader = open(&stream(source(folder.path()), None), &context(None)).unwrap();
    reader.request(ReaderRequest::Watermark(0));
    let mut read = Read::default();
    for _ in 0..3 {
        read.batches
            .extend(reader.poll(Duration::from_millis(1)).unwrap());
    }
    assert_eq!(
        read.records(),
        PIECE_RECORDS as u64,
        "one piece shows how far ahead it is"
    );
    reader.request(ReaderRequest::Watermark(late));
    read.until_finished(&mut *reader);
    assert_eq!(read.records(), 3_000);
}

#[test]
fn a_paused_reader_reads_nothing() {
    let folder = folder(&[("in.jsonl", "{\"user_id\":\"a\",\"ts\":1}\n")]);
    let mut reader = open(&stream(source(folder.path()), None), &context(None)).unwrap();
    reader.request(ReaderRequest::Pause(true));
    let first = reader.poll(Duration::ZERO).unwrap().unwrap();
    assert_eq!((first.rows.num_rows(), first.splits.len()), (0, 1));
    assert!(reader.poll(Duration::ZERO).unwrap().is_none());
    reader.request(ReaderRequest::Pause(false));
    let mut read = Read::default();
    read.until_finished(&mut *reader);
    assert_eq!(read.records(), 1);
}

#[test]
fn an_endless_line_is_cut_for_the_dead_letters() {
    let long = "x".repeat(LINE_BYTES_MAX as usize + 5);
    let folder = folder(&[(
        "in.jsonl",
        &format!("{long}\n{{\"user_id\":\"a\",\"ts\":1}}"),
    )]);
    let read = read_stream(folder.path(), None);
    assert_eq!(read.dead_letters()[0].payload.len() as u64, LINE_BYTES_MAX);
    assert_eq!(read.integers(batch::OFFSET), [long.len() as i64 + 1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn going_on_from_any_line_gives_the_rest_of_the_same_rows(
        times in prop::collection::vec(0..100_000i64, 1..40),
        cut in 0..40usize,
    ) {
        let lines: Vec<_> = times.iter().map(|ts| format!("{{\"user_id\":\"a\",\"ts\":{ts}}}\n")).collect();
        let folder = folder(&[("in.jsonl", &lines.concat())]);
        let whole = read_stream(folder.path(), None);
        let (offsets, stamps) = (whole.integers(batch::OFFSET), whole.integers(batch::WATERMARK));
        let cut = cut.min(times.len() - 1);
        let start = SplitStart { next_offset: offsets[cut], watermark: stamps[cut], ..whole.starts().remove(0) };
        let rest = read_stream(folder.path(), Some(vec![start]));
        prop_assert_eq!(rest.integers(batch::OFFSET), &offsets[cut..]);
        prop_assert_eq!(rest.integers(batch::WATERMARK), &stamps[cut..]);
    }
}

#[test]
fn a_file_with_a_halt_is_read_to_there_and_is_what_it_was_there() {
    let line = "{\"user_id\":\"a\",\"ts\":1}\n";
    let folder = folder(&[("in.jsonl", &line.repeat(5))]);
    let number = split_number(&folder.path().join("in.jsonl"));
    for finished in [false, true] {
        let halt = Halt {
            offset: 2 * line.len() as i64,
            finished,
            idle: false,
        };
        let context = OpenContext {
            until: Some([(number, halt)].into()),
            ..context(None)
        };
        let mut reader = open(&stream(source(folder.path()), None), &context).unwrap();
        let mut read = Read::default();
        for _ in 0..3 {
            read.batches
                .extend(reader.poll(Duration::from_millis(1)).unwrap());
        }
        assert_eq!(read.records(), 2);
        let progress = read.progress().remove(0);
        assert_eq!(progress.next_offset, halt.offset);
        assert_eq!((progress.caught_up, progress.finished), (true, finished));
    }
}
