//! The logs of all processes of a job as one: each line says whose it is. Lines of one process are in order; those of
//! different ones come as they are read.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{Cursor, PAGE_BYTES_MAX, Page, of_process, read_at_most, tail};

/// However many processes there are, each gets at least so much of a page, in bytes.
const SHARE_BYTES_MIN: u64 = 16 << 10;

/// A place in each log, by process. A log that came later begins at its first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursors(Vec<Cursor>);

impl fmt::Display for Cursors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(Cursor::to_string).collect();
        f.write_str(&all.join("."))
    }
}

impl FromStr for Cursors {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = text.split('.').map(str::parse);
        Ok(Self(all.collect::<Result<_, _>>()?))
    }
}

/// The logs of all processes that there ever were.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let all = (0..).map(|index| of_process(folder, index));
    // The first one's may not be there yet.
    all.enumerate()
        .take_while(|(index, folder)| *index == 0 || folder.is_dir())
        .map(|(_, folder)| folder)
        .collect()
}

/// Where the last `lines` lines of each process begin.
///
/// # Errors
/// If I/O fails.
pub fn tails(folder: &Path, lines: usize) -> io::Result<Cursors> {
    let all = folders(folder);
    let all = all.iter().map(|folder| tail(folder, lines));
    Ok(Cursors(all.collect::<io::Result<_>>()?))
}

/// Whole lines of every process from a place on, each with its process where there is more than one.
///
/// # Errors
/// If I/O fails.
pub fn read(folder: &Path, from: &Cursors) -> io::Result<(String, Cursors)> {
    let folders = folders(folder);
    let share = (PAGE_BYTES_MAX / folders.len() as u64).max(SHARE_BYTES_MIN);
    let (mut text, mut next) = (String::new(), Vec::new());
    for (index, own) in folders.iter().enumerate() {
        let first = Cursor { file: 1, offset: 0 };
        let from = from.0.get(index).copied().unwrap_or(first);
        let Page {
            text: lines,
            next: then,
        } = read_at_most(own, from, share)?;
        next.push(then);
        if folders.len() == 1 {
            text = lines;
        } else {
            text.extend(lines.lines().map(|line| format!("[{index}] {line}\n")));
        }
    }
    Ok((text, Cursors(next)))
}

#[cfg(test)]
mod tests {
    use super::super::note;
    use super::*;

    #[test]
    fn one_process_is_read_as_it_is_and_several_are_labelled_and_followed() {
        let folder = tempfile::tempdir().unwrap();
        let own = |index| {
            let own = of_process(folder.path(), index);
            std::fs::create_dir_all(&own).unwrap();
            own
        };
        note(&own(0), "alone").unwrap();
        let from: Cursors = tails(folder.path(), 10).unwrap();
        let (text, from) = read(folder.path(), &from).unwrap();
        assert_eq!(text, "alone\n");
        // A second process begins: none of its lines is lost to who follows.
        note(&own(1), "new").unwrap();
        note(&own(0), "old").unwrap();
        let from: Cursors = from.to_string().parse().unwrap();
        let (text, from) = read(folder.path(), &from).unwrap();
        assert_eq!(text, "[0] old\n[1] new\n");
        let (text, again) = read(folder.path(), &from).unwrap();
        assert_eq!((&*text, &again), ("", &from));
        let (text, _) = read(folder.path(), &tails(folder.path(), 1).unwrap()).unwrap();
        assert_eq!(text, "[0] old\n[1] new\n");
        assert!("1-2.x".parse::<Cursors>().is_err());
    }
}
