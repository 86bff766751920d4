use super::*;

fn folder_of(files: &[(u64, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (number, text) in files {
        fs::write(path(folder.path(), *number), text).unwrap();
    }
    folder
}

/// All text from a place on, as a reader gets it who asks again until there is no more.
fn all(folder: &Path, from: Cursor) -> (String, Cursor) {
    let (mut text, mut next) = (String::new(), from);
    loop {
        let page = read(folder, next).unwrap();
        next = page.next;
        if page.text.is_empty() {
            return (text, next);
        }
        text.push_str(&page.text);
    }
}

#[test]
fn the_tail_goes_back_over_files_as_far_as_asked() {
    let folder = folder_of(&[(3, "a\nb\n"), (4, "c\nd\n"), (5, "e\n")]);
    for (lines, expected) in [
        (0, ""),
        (1, "e\n"),
        (2, "d\ne\n"),
        (3, "c\nd\ne\n"),
        (4, "b\nc\nd\ne\n"),
        (5, "a\nb\nc\nd\ne\n"),
        (99, "a\nb\nc\nd\ne\n"),
    ] {
        let from = tail(folder.path(), lines).unwrap();
        assert_eq!(all(folder.path(), from).0, expected, "{lines}");
    }
}

#[test]
fn a_reader_goes_on_where_it_was_and_never_sees_half_a_line() {
    let folder = folder_of(&[(1, "one\ntw")]);
    let (text, next) = all(folder.path(), tail(folder.path(), 10).unwrap());
    assert_eq!(text, "one\n");
    fs::write(path(folder.path(), 1), "one\ntwo\n").unwrap();
    let (text, next) = all(folder.path(), next);
    assert_eq!(text, "two\n");
    fs::write(path(folder.path(), 2), "three\n").unwrap();
    let (text, next) = all(folder.path(), next);
    assert_eq!(text, "three\n");
    assert_eq!(next.to_string().parse(), Ok(next));
    // Two files on, what the cursor names is gone.
    fs::remove_file(path(folder.path(), 1)).unwrap();
    fs::remove_file(path(folder.path(), 2)).unwrap();
    fs::write(path(folder.path(), 3), "four\n").unwrap();
    assert_eq!(all(folder.path(), next).0, "four\n");
}

#[test]
fn full_files_make_room_for_new_ones() {
    let folder = folder_of(&[(1, "1\n"), (2, "2\n"), (3, "3\n"), (4, "4\n")]);
    let mut file = next_file(folder.path(), 4).unwrap();
    file.write_all(b"5\n").unwrap();
    assert_eq!(files(folder.path()).unwrap(), [2, 3, 4, 5]);
    note(folder.path(), "6").unwrap();
    let last = fs::read_to_string(path(folder.path(), 5)).unwrap();
    assert_eq!(last, "5\n6\n");
}

#[test]
fn long_lines_and_long_logs_come_in_pages() {
    let long = format!("{}\n", "x".repeat(PAGE_BYTES_MAX as usize + 10));
    let text = format!("{long}{}", "short line\n".repeat(60_000));
    let folder = folder_of(&[(1, &text)]);
    let begin = Cursor { file: 1, offset: 0 };
    let page = read(folder.path(), begin).unwrap();
    assert_eq!(page.text.len() as u64, PAGE_BYTES_MAX);
    assert_eq!(all(folder.path(), begin).0, text);
}

#[test]
fn a_log_that_is_not_there_yet_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let from = tail(&nowhere, 10).unwrap();
    assert_eq!(all(&nowhere, from).0, "");
}
