//! JSON lines in one local file, with a marker file beside it.
//!
//! Order of an append: write the lines behind the marker's length, sync the data, then replace the marker (temporary file,
//! sync, rename, sync of the folder). What lies behind the marker's length was never acknowledged, so recovery cuts it off. The
//! first marker is written before the first line: so a file with data and no marker is somebody else's.
//!
//! A short exclusive lock on the data file during recovery and append keeps an earlier process out: it waits for the lock, then
//! finds a marker of a greater generation.

mod marker;

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Seek, SeekFrom, Write},
    path::PathBuf,
};

use tidewright_checkpoints::Epoch;
use tidewright_jobs::job::FilesSinkConfig;

use self::marker::Marker;
use super::{
    AppendBatch, AppendWriter, Fence, SinkContext, SinkError, WriteReport, cell::Cells, json,
};
use crate::runtime::crash::crash_point;

/// Appends rows to a file.
pub struct FilesWriter {
    context: SinkContext,
    place: String,
    path: PathBuf,
    file: Option<File>,
}

/// Holds the lock on the data file.
struct Locked<'a>(&'a File);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // The system releases the lock anyway when the file is closed.
        let _ = self.0.unlock();
    }
}

impl FilesWriter {
    /// A writer that touches the file when it recovers.
    ///
    /// # Errors
    /// [`SinkError::Fatal`] if the relation's rows change.
    pub fn new(config: &FilesSinkConfig, context: &SinkContext) -> Result<Self, SinkError> {
        context.check_append()?;
        Ok(Self {
            place: context.place(&format!("file {}", config.path)),
            path: PathBuf::from(&config.path),
            file: None,
            context: context.clone(),
        })
    }

    fn open_file(&self) -> Result<File, SinkError> {
        let folder = marker::folder_of(&self.path);
        std::fs::create_dir_all(folder).map_err(|e| self.transient("create the folder", &e))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path);
        let file = file.map_err(|e| self.transient("open the file", &e))?;
        // The new name must survive a crash, or a marker would stand beside no file.
        marker::sync_folder(folder).map_err(|e| self.fatal("sync the folder", &e))?;
        Ok(file)
    }

    fn lock<'f>(&self, file: &'f File) -> Result<Locked<'f>, SinkError> {
        match file.try_lock() {
            Ok(()) => Ok(Locked(file)),
            Err(TryLockError::WouldBlock) => Err(SinkError::Transient(format!(
                "{}: another process is writing",
                self.place
            ))),
            Err(TryLockError::Error(error)) => Err(self.transient("lock the file", &error)),
        }
    }

    /// The marker, checked against this job and generation.
    fn read_marker(&self) -> Result<Option<Marker>, SinkError> {
        let found = marker::read(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => self.fatal("read the marker", &error),
            _ => self.transient("read the marker", &error),
        })?;
        let Some(found) = found else { return Ok(None) };
        if *found.job != *self.context.job || *found.sink != *self.context.sink {
            return Err(SinkError::Fatal(format!(
                "{}: belongs to the sink {} of the job {:?}. Choices: another path, or move file and marker away",
                self.place, found.sink, found.job
            )));
        }
        if found.generation > self.context.generation {
            return Err(SinkError::Fenced(format!(
                "{}: generation {}, a later claim of this job, has written",
                self.place, found.generation
            )));
        }
        Ok(Some(found))
    }

    fn write_marker(&self, epoch: Option<Epoch>, length: u64) -> Result<(), SinkError> {
        let marker = Marker {
            job: self.context.job.to_string(),
            sink: self.context.sink.to_string(),
            generation: self.context.generation,
            epoch,
            length,
        };
        // After a failed sync nobody knows what is on the disk: the process ends and recovers.
        marker::write(&self.path, &marker).map_err(|e| self.fatal("write the marker", &e))
    }

    fn claim(&self, file: &File) -> Result<Option<Epoch>, SinkError> {
        let length = file
            .metadata()
            .map_err(|e| self.transient("read the length", &e))?
            .len();
        let found = self.read_marker()?;
        let (epoch, keep) = match &found {
            Some(marker) => (marker.epoch, marker.length),
            None if length == 0 => (None, 0),
            None => {
                return Err(SinkError::Fatal(format!(
                    "{}: holds {length} bytes and there is no marker beside it, so it is not known what was delivered. \
                     Choices: another path, move the file away, or put its .marker file back",
                    self.place
                )));
            }
        };
        if length < keep {
            return Err(SinkError::Fatal(format!(
                "{}: holds {length} bytes, but the marker says that {keep} were delivered. Choices: put the whole file \
                 back, or move file and marker away and start the sink anew",
                self.place
            )));
        }
        if length > keep {
            crash_point("before-truncate");
            file.set_len(keep)
                .and_then(|()| file.sync_all())
                .map_err(|e| self.fatal("cut off what was not acknowledged", &e))?;
            crash_point("after-truncate");
        }
        self.write_marker(epoch, keep)?;
        Ok(epoch)
    }

    fn append_lines(&self, mut file: &File, through: Epoch, lines: &str) -> Result<(), SinkError> {
        let Some(marker) = self.read_marker()? else {
            return Err(self.fatal("find the marker", &io::Error::from(io::ErrorKind::NotFound)));
        };
        if !lines.is_empty() {
            file.seek(SeekFrom::Start(marker.length))
                .and_then(|_| file.write_all(lines.as_bytes()))
                .map_err(|e| self.transient("write", &e))?;
            crash_point("file-written");
            file.sync_data().map_err(|e| self.fatal("sync", &e))?;
            crash_point("file-synced");
        }
        self.write_marker(Some(through), marker.length + lines.len() as u64)?;
        crash_point("file-marked");
        Ok(())
    }

    fn transient(&self, what: &str, error: &io::Error) -> SinkError {
        SinkError::Transient(format!("{}: cannot {what}: {error}", self.place))
    }

    fn fatal(&self, what: &str, error: &io::Error) -> SinkError {
        SinkError::Fatal(format!("{}: cannot {what}: {error}", self.place))
    }
}

impl AppendWriter for FilesWriter {
    fn recover(&mut self) -> Result<Option<Epoch>, SinkError> {
        let file = self.open_file()?;
        let marker = {
            let _locked = self.lock(&file)?;
            self.claim(&file)?
        };
        self.file = Some(file);
        Ok(marker)
    }

    fn append(&mut self, batch: &AppendBatch, fence: &dyn Fence) -> Result<WriteReport, SinkError> {
        let Some(file) = self.file.take() else {
            return Err(SinkError::Transient(format!(
                "{}: not recovered yet",
                self.place
            )));
        };
        let mut lines = String::new();
        for rows in &batch.rows {
            let cells = Cells::of(rows)?;
            for row in 0..cells.rows() {
                json::write_row(&mut lines, &cells, row);
                lines.push('\n');
            }
        }
        fence.check()?;
        {
            let _locked = self.lock(&file)?;
            self.append_lines(&file, batch.through, &lines)?;
        }
        self.file = Some(file);
        Ok(WriteReport {
            applied: batch.row_count(),
            ..WriteReport::default()
        })
    }
}

#[cfg(test)]
mod tests;
