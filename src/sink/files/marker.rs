//! The marker beside a data file: what was delivered, and by whom.
//!
//! Two lines: a JSON object, then the xxh3-64 hash of the first line in hexadecimal.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tidewright_checkpoints::{Epoch, Generation, ids::key_hash};

/// What the marker says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Marker {
    pub(super) job: String,
    pub(super) sink: String,
    pub(super) generation: Generation,
    /// Everything up to and including this epoch is in the file; `None` before the first append.
    pub(super) epoch: Option<Epoch>,
    /// The data file's length in bytes, then.
    pub(super) length: u64,
}

/// The folder of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The marker beside a data file; `None` if there is none.
///
/// # Errors
/// `InvalidData` if it is damaged.
pub(super) fn read(data: &Path) -> io::Result<Option<Marker>> {
    let text = match std::fs::read_to_string(beside(data, ".marker")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    parse(&text).map(Some).ok_or_else(|| {
        let path = beside(data, ".marker");
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{} is damaged: its checksum is not that of its content",
                path.display()
            ),
        )
    })
}

/// Replaces the marker beside a data file, durably.
pub(super) fn write(data: &Path, marker: &Marker) -> io::Result<()> {
    let (temporary, path) = (beside(data, ".marker.new"), beside(data, ".marker"));
    let mut file = File::create(&temporary)?;
    file.write_all(render(marker)?.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, &path)?;
    sync_folder(folder_of(data))
}

fn beside(data: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(data);
    name.push(suffix);
    PathBuf::from(name)
}

fn render(marker: &Marker) -> io::Result<String> {
    let object = serde_json::to_string(marker)?;
    let checksum = key_hash(object.as_bytes());
    Ok(format!("{object}\n{checksum:016x}\n"))
}

fn parse(text: &str) -> Option<Marker> {
    let (object, checksum) = text.split_once('\n')?;
    if checksum.trim_end() != format!("{:016x}", key_hash(object.as_bytes())) {
        return None;
    }
    serde_json::from_str(object).ok()
}
