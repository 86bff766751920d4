//! A job's log: numbered files in a folder, `000001.log` and up. Its process writes the last one and goes on to the next
//! when it is full; nothing is ever renamed or cut, so a reader needs no more than a number and an offset to go on where
//! it was.

pub mod joined;

use std::{
    fmt, fs,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

/// A log file of this size is full, in bytes.
pub const FILE_BYTES_MAX: u64 = 16 << 20;
/// How many files are kept.
pub const FILES_KEPT: usize = 4;
/// A reader gets at most this much at once, in bytes.
pub const PAGE_BYTES_MAX: u64 = 256 << 10;

/// A place in a log: file and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    file: u64,
    offset: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.file, self.offset)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('-')
            .and_then(|(file, offset)| Some((file.parse().ok()?, offset.parse().ok()?)));
        let (file, offset) =
            parts.ok_or("a cursor is what `next` of an earlier answer held, such as 1-4096")?;
        Ok(Self { file, offset })
    }
}

/// A part of a log.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Whole lines, if there are any.
    pub text: String,
    /// Where the next page begins.
    pub next: Cursor,
}

/// The folder of a process among a job's logs: the first one's is that of the job.
#[must_use]
pub fn of_process(folder: &Path, index: usize) -> PathBuf {
    match index {
        0 => folder.to_owned(),
        _ => folder.join(format!("process-{index}")),
    }
}

/// The path of a file.
#[must_use]
pub fn path(folder: &Path, file: u64) -> PathBuf {
    folder.join(format!("{file:06}.log"))
}

/// The numbers of all files, ascending.
///
/// # Errors
/// If the folder cannot be read; one that isn't there is empty.
pub fn files(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        files.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    files.sort_unstable();
    Ok(files)
}

/// The last file, which is written.
///
/// # Errors
/// If the folder cannot be read.
pub fn last(folder: &Path) -> io::Result<u64> {
    Ok(files(folder)?.last().copied().unwrap_or(1))
}

/// The file that comes after a full one; the oldest ones make room.
///
/// # Errors
/// If I/O fails.
pub fn next_file(folder: &Path, full: u64) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path(folder, full + 1))?;
    let files = files(folder)?;
    for old in &files[..files.len().saturating_sub(FILES_KEPT)] {
        fs::remove_file(path(folder, *old))?;
    }
    Ok(file)
}

/// Adds a line of the server's own.
///
/// # Errors
/// If I/O fails.
pub fn note(folder: &Path, line: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path(folder, last(folder)?))?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// Where the last `lines` lines begin, as far as one page reaches.
///
/// # Errors
/// If I/O fails.
pub fn tail(folder: &Path, lines: usize) -> io::Result<Cursor> {
    let files = files(folder)?;
    let file = files.last().copied().unwrap_or(1);
    let mut begin = Cursor { file, offset: 0 };
    if lines == 0 {
        if !files.is_empty() {
            begin.offset = fs::metadata(path(folder, file))?.len();
        }
        return Ok(begin);
    }
    let mut wanted = lines;
    let mut room = PAGE_BYTES_MAX;
    for file in files.into_iter().rev() {
        let mut content = fs::File::open(path(folder, file))?;
        let length = content.metadata()?.len();
        let from = length.saturating_sub(room);
        content.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        content.take(room).read_to_end(&mut bytes)?;
        // Line ends before the last byte: each has a line after it.
        let body = bytes.len().saturating_sub(1);
        let ends = bytes[..body].iter().enumerate().rev();
        let mut ends = ends.filter(|(_, byte)| **byte == b'\n');
        if let Some((end, _)) = wanted.checked_sub(1).and_then(|before| ends.nth(before)) {
            let offset = from + end as u64 + 1;
            return Ok(Cursor { file, offset });
        }
        wanted = wanted.saturating_sub(bytes.iter().filter(|byte| **byte == b'\n').count());
        room = room.saturating_sub(bytes.len() as u64);
        begin = Cursor { file, offset: from };
        if from > 0 || wanted == 0 {
            break;
        }
    }
    Ok(begin)
}

/// Whole lines from a place on, of one file; none if there are no more yet. A place whose file is gone stands for the
/// oldest line there is.
///
/// # Errors
/// If I/O fails.
pub fn read(folder: &Path, from: Cursor) -> io::Result<Page> {
    read_at_most(folder, from, PAGE_BYTES_MAX)
}

/// As [`read`], a page of at most so many bytes.
///
/// # Errors
/// If I/O fails.
pub fn read_at_most(folder: &Path, from: Cursor, bytes_max: u64) -> io::Result<Page> {
    let files = files(folder)?;
    let mut next = from;
    for file in files.iter().copied().filter(|file| *file >= from.file) {
        if file > next.file {
            next = Cursor { file, offset: 0 };
        }
        let is_last = Some(&file) == files.last();
        let bytes = lines_at(&path(folder, file), next.offset, is_last, bytes_max)?;
        next.offset += bytes.len() as u64;
        if !bytes.is_empty() {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            return Ok(Page { text, next });
        }
    }
    let text = String::new();
    Ok(Page { text, next })
}

/// At most a page, up to a line's end. The end of a file that is not written any more counts as one, and so does the end
/// of a page that a single line fills.
fn lines_at(path: &Path, offset: u64, is_last: bool, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    let filled = bytes.len() as u64 == bytes_max;
    match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(end) if is_last || filled => bytes.truncate(end + 1),
        None if is_last && !filled => bytes.clear(),
        _ => {}
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
