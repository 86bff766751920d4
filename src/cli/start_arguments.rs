//! The flags that say where Kafka sources begin.

use std::path::{Path, PathBuf};

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use clap::Args;

use crate::job::{SourceOffsets, StartFrom, StartOverride};

/// Where Kafka sources begin, instead of what the job file says.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where Kafka sources begin")]
pub struct StartArguments {
    /// At the first retained record.
    #[arg(long, group = "position")]
    from_earliest: bool,
    /// At the ends seen at the start. Tables are read as the job file says, unless --from-sources names them.
    #[arg(long, group = "position")]
    from_latest: bool,
    /// At the first record at or after this time: RFC 3339, or milliseconds since 1970. Tables as with --from-latest.
    #[arg(long, group = "position", value_name = "TIME", value_parser = parse_time)]
    from_timestamp: Option<i64>,
    /// At the offsets in this file: {"SOURCE": {"PARTITION": OFFSET}}. Others begin as if the flag were not there.
    #[arg(long, group = "position", value_name = "FILE")]
    from_offsets: Option<PathBuf>,
    /// Only these sources, with commas between them.
    #[arg(
        long,
        value_name = "SOURCES",
        value_delimiter = ',',
        requires = "position"
    )]
    from_sources: Vec<String>,
}

impl StartArguments {
    /// What the flags say; `None` without any.
    ///
    /// # Errors
    /// If the file of offsets cannot be read.
    pub fn start(&self) -> Result<Option<StartOverride>, String> {
        let from = if self.from_earliest {
            StartFrom::Earliest
        } else if self.from_latest {
            StartFrom::Latest
        } else if let Some(time_ms) = self.from_timestamp {
            StartFrom::Timestamp(time_ms)
        } else if let Some(path) = &self.from_offsets {
            StartFrom::Offsets(read_offsets(path)?)
        } else {
            return Ok(None);
        };
        Ok(Some(StartOverride {
            from,
            only: self.from_sources.iter().cloned().collect(),
        }))
    }
}

/// The offsets in a file.
pub fn read_offsets(path: &Path) -> Result<SourceOffsets, String> {
    let place = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {place}: {error}"))?;
    serde_json::from_str(&text).map_err(|error| {
        format!(
            "{place} is not a file of offsets: {error}. It holds an offset for each partition, by source: \
             {{\"events\": {{\"0\": 1200, \"1\": 1187}}}}"
        )
    })
}

/// Milliseconds since 1970, as a number or in RFC 3339.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(time_ms) = text.parse() {
        return Ok(time_ms);
    }
    string_to_timestamp_nanos(text)
        .map(|nanos| nanos.div_euclid(1_000_000))
        .map_err(|_| {
            "expected a time such as 2026-11-23T08:00:00Z, or milliseconds since 1970".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_or_milliseconds() {
        for text in [
            "1767225600000",
            "2026-01-01T00:00:00Z",
            "2026-01-01T01:00:00+01:00",
        ] {
            assert_eq!(parse_time(text), Ok(1_767_225_600_000), "{text}");
        }
        assert!(parse_time("yesterday").is_err());
    }

    #[test]
    fn a_file_of_offsets_names_sources_and_partitions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("offsets.json");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_offsets(&path)
        };
        let offsets = read(r#"{"events": {"0": 12, "3": 7}}"#).unwrap();
        assert_eq!(offsets["events"], [(0, 12), (3, 7)].into());
        for wrong in ["[]", r#"{"events": {"first": 1}}"#, r#"{"events": 3}"#] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("offsets.json"), "{error}");
        }
        assert!(read_offsets(Path::new("/nowhere/x")).is_err());
    }
}
