//! Files of JSON lines: each file is a split, read once to its end.
//!
//! The offset of a line is its position in bytes. Files are read a piece at a time, always from the one that is
//! furthest behind in event time, so that they advance together and windows close while the files are being read.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tidewright_checkpoints::ids::key_hash;
use tidewright_jobs::{
    job::FilesSourceConfig,
    plan::{SourceKind, SourcePlan},
};

use super::{
    Halt, ReaderRequest, SourceBatch, SourceError, SplitProgress, SplitReader,
    assemble::{Assembler, Deletes, Record},
    open::{ALIGN_MS, OpenContext},
    watermark::SplitClock,
};

/// A longer line is a dead letter: it would have to be held in memory whole.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// Records read from one file before the next one is chosen.
const PIECE_RECORDS: usize = 1_024;

/// Reads the files that belong to one worker.
pub struct FilesReader {
    source: Arc<str>,
    assembler: Assembler,
    files: Vec<FileSplit>,
    line: Vec<u8>,
    source_watermark: i64,
    paused: bool,
    announced: bool,
}

struct FileSplit {
    path: PathBuf,
    progress: SplitProgress,
    clock: SplitClock,
    /// Where reading ends although the file goes on.
    halt: Option<Halt>,
    /// Opened when its turn comes: a folder may hold more files than a process may open.
    reader: Option<BufReader<File>>,
}

impl FilesReader {
    /// # Errors
    /// If there is no such file, or one is not as the checkpoint left it.
    pub fn open(
        plan: &SourcePlan,
        config: &FilesSourceConfig,
        context: &OpenContext,
    ) -> Result<Self, SourceError> {
        let fail = |message: String| SourceError::new(&plan.name, &message);
        let paths = list(&config.path).map_err(fail)?;
        check_nothing_vanished(&paths, context).map_err(fail)?;
        check_numbers(&paths).map_err(fail)?;
        let mut files = Vec::new();
        for path in paths {
            let split = split_number(&path);
            if context.owns(&plan.name, split) {
                files.push(FileSplit::new(path, split, plan, context).map_err(fail)?);
            }
        }
        Ok(Self {
            source: plan.name.as_str().into(),
            assembler: Assembler::new(plan, Deletes::ByField)?,
            files,
            line: Vec::new(),
            source_watermark: i64::MIN,
            paused: false,
            announced: false,
        })
    }

    /// The unfinished file that is furthest behind, unless even that one is too far ahead of the source.
    fn next_file(&self) -> Option<usize> {
        let limit = match self.source_watermark {
            i64::MIN => i64::MAX,
            watermark => watermark.saturating_add(ALIGN_MS),
        };
        self.files
            .iter()
            .enumerate()
            .filter(|(_, file)| !file.progress.finished && !file.is_halted())
            .filter(|(_, file)| file.progress.watermark <= limit)
            .min_by_key(|(_, file)| file.progress.watermark)
            .map(|(index, _)| index)
    }

    fn read(&mut self) -> Result<Vec<SplitProgress>, SourceError> {
        let mut touched = vec![!self.announced; self.files.len()];
        self.announced = true;
        while !self.paused && !self.assembler.is_full() {
            let Some(index) = self.next_file() else { break };
            touched[index] = true;
            self.files[index]
                .read_piece(&mut self.assembler, &mut self.line)
                .map_err(|message| SourceError::new(&self.source, &message))?;
        }
        let progress = self.files.iter().zip(touched);
        Ok(progress
            .filter(|(_, touched)| *touched)
            .map(|(file, _)| file.progress.clone())
            .collect())
    }
}

impl SplitReader for FilesReader {
    fn poll(&mut self, timeout: Duration) -> Result<Option<SourceBatch>, SourceError> {
        let first = !self.announced;
        let splits = self.read()?;
        if splits.is_empty() && !first {
            std::thread::sleep(timeout);
            return Ok(None);
        }
        self.assembler.finish(splits).map(Some)
    }

    fn request(&mut self, request: ReaderRequest) {
        match request {
            ReaderRequest::Pause(paused) => self.paused = paused,
            ReaderRequest::Watermark(watermark) => self.source_watermark = watermark,
            // Nobody else keeps count of how far a file was read.
            ReaderRequest::Commit(_) => {}
        }
    }
}

impl FileSplit {
    fn new(
        path: PathBuf,
        split: u32,
        plan: &SourcePlan,
        context: &OpenContext,
    ) -> Result<Self, String> {
        let name: Arc<str> = path.to_string_lossy().into();
        let restored = context.restored_split(&name);
        let bytes = fs::metadata(&path)
            .map_err(|error| format!("file {name} cannot be read: {error}"))?
            .len();
        let next_offset = restored.map_or(0, |start| start.next_offset);
        let shrank = u64::try_from(next_offset).map_or(true, |offset| offset > bytes);
        if shrank {
            return Err(format!(
                "file {name} is shorter ({bytes} bytes) than what the checkpoint has read of it ({next_offset}): put the \
                 original file back, or start over with `--restore none`"
            ));
        }
        let bound_ms = match &plan.kind {
            SourceKind::Stream {
                event_time: Some(declared),
            } => declared.out_of_orderness_ms,
            _ => 0,
        };
        let watermark = restored.map_or(i64::MIN, |start| start.watermark);
        let mut split = Self {
            path,
            progress: SplitProgress {
                split,
                name,
                next_offset,
                watermark,
                idle: false,
                caught_up: false,
                finished: false,
                lag: None,
                timestamp: None,
            },
            clock: SplitClock::new(bound_ms, watermark),
            halt: context.halt(split),
            reader: None,
        };
        split.look_at_halt();
        Ok(split)
    }

    fn is_halted(&self) -> bool {
        self.halt
            .is_some_and(|halt| self.progress.next_offset >= halt.offset)
    }

    fn look_at_halt(&mut self) {
        if let Some(halt) = self.halt.filter(|_| self.is_halted()) {
            self.progress.caught_up = true;
            self.progress.finished |= halt.finished;
            self.progress.idle = halt.idle;
        }
    }

    fn read_piece(&mut self, assembler: &mut Assembler, line: &mut Vec<u8>) -> Result<(), String> {
        for _ in 0..PIECE_RECORDS {
            if assembler.is_full() || self.is_halted() {
                break;
            }
            let found = self
                .read_line(line)
                .map_err(|error| format!("file {}: {error}", self.progress.name))?;
            let Some(length) = found else {
                self.progress.caught_up = true;
                self.progress.finished = true;
                self.progress.lag = Some(0);
                self.reader = None;
                break;
            };
            self.take_line(assembler, line, length);
        }
        Ok(())
    }

    fn take_line(&mut self, assembler: &mut Assembler, line: &[u8], length: u64) {
        let progress = &mut self.progress;
        let offset = progress.next_offset;
        let origin = || format!("file {}, byte {offset}", progress.name);
        if length > LINE_BYTES_MAX {
            let reason = format!("the line has {length} bytes, more than {LINE_BYTES_MAX}");
            assembler.refuse(origin(), reason, line, line.len());
        } else if !line.trim_ascii().is_empty() {
            let record = Record {
                split: progress.split,
                offset,
                timestamp: None,
                key: None,
                value: Some(line.strip_suffix(b"\n").unwrap_or(line)),
            };
            assembler.push(&mut self.clock, &record, origin);
        }
        progress.next_offset += i64::try_from(length).unwrap_or(i64::MAX);
        progress.watermark = self.clock.watermark();
        self.look_at_halt();
    }

    /// Reads one line with its end and returns its length in bytes, of which `line` holds the first
    /// [`LINE_BYTES_MAX`]; `None` at the end of the file.
    fn read_line(&mut self, line: &mut Vec<u8>) -> std::io::Result<Option<u64>> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => {
                let mut file = File::open(&self.path)?;
                file.seek(SeekFrom::Start(
                    u64::try_from(self.progress.next_offset).unwrap_or(0),
                ))?;
                self.reader.insert(BufReader::with_capacity(1 << 18, file))
            }
        };
        line.clear();
        let mut length = reader
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', line)? as u64;
        if length == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            length += skip_line(reader)?;
        }
        Ok((length > 0).then_some(length))
    }
}

/// Skips to the end of the line and returns how many bytes that took.
fn skip_line(reader: &mut BufReader<File>) -> std::io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(buffer.len(), |at| at + 1);
        reader.consume(taken);
        skipped += taken as u64;
        if end.is_some() || taken == 0 {
            return Ok(skipped);
        }
    }
}

/// The number of a file's split: the low 32 bits of its name's hash.
fn split_number(path: &Path) -> u32 {
    key_hash(path.to_string_lossy().as_bytes()) as u32
}

/// The names of the files.
pub(super) fn splits(
    plan: &SourcePlan,
    config: &FilesSourceConfig,
) -> Result<Vec<String>, SourceError> {
    let paths = list(&config.path).map_err(|message| SourceError::new(&plan.name, &message))?;
    let names = paths.iter().map(|path| path.to_string_lossy().into_owned());
    Ok(names.collect())
}

/// The files that `pattern` names, in order: a file, a folder, or a pattern with `*` in its last part.
fn list(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let path = Path::new(pattern);
    let mut files = if path.is_dir() {
        entries(path, |name| {
            name.ends_with(".jsonl") || name.ends_with(".json")
        })?
    } else if path.exists() {
        vec![path.to_owned()]
    } else {
        let last = path.file_name().and_then(|name| name.to_str());
        let last = last.filter(|name| name.contains('*'));
        let wanted = last.ok_or_else(|| format!("there is no file {pattern}"))?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        entries(folder, |name| matches_pattern(wanted, name))?
    };
    files.sort();
    if files.is_empty() {
        return Err(format!("no file matches {pattern}"));
    }
    Ok(files)
}

fn entries(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, String> {
    let fail = |error| format!("folder {} cannot be read: {error}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if path.is_file() && name.is_some_and(&wanted) {
            files.push(path);
        }
    }
    Ok(files)
}

/// Whether `name` has the form of `pattern`, in which `*` stands for any characters.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(head) else {
        return false;
    };
    // The star may take any number of characters, all of them included.
    let mut ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
    ends.any(|at| matches_pattern(rest, &name[at..]))
}

fn check_nothing_vanished(paths: &[PathBuf], context: &OpenContext) -> Result<(), String> {
    for split in context.restored.iter().flatten() {
        if !paths
            .iter()
            .any(|path| path.to_string_lossy() == *split.name)
        {
            return Err(format!(
                "file {} is in the checkpoint but no longer there: put it back, or start over with `--restore none`",
                split.name
            ));
        }
    }
    Ok(())
}

fn check_numbers(paths: &[PathBuf]) -> Result<(), String> {
    let mut numbers: Vec<_> = paths
        .iter()
        .map(|path| (split_number(path), path))
        .collect();
    numbers.sort();
    for pair in numbers.windows(2) {
        if pair[0].0 == pair[1].0 {
            return Err(format!(
                "files {} and {} get the same split number: rename one of them",
                pair[0].1.display(),
                pair[1].1.display()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
