//! `tidewright state export`.

use std::{fs, fs::File, path::PathBuf, process::ExitCode};

use clap::Args;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde_json::json;

use super::super::control::Output;
use super::super::failed;
use super::{Place, get};
use crate::dataflow::read::ViewRows;

/// Arguments of `tidewright state export`.
#[derive(Debug, Args)]
pub struct ExportArguments {
    #[command(flatten)]
    place: Place,
    /// The view or table source.
    view: String,
    /// The file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    parquet: PathBuf,
    /// How the end is told: a line on standard error, or one JSON object on standard output.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Writes all rows of a view.
pub fn export(arguments: &ExportArguments) -> ExitCode {
    let rows = match get::view(&arguments.place, &arguments.view) {
        Ok(rows) => rows,
        Err(message) => return failed(message, 1),
    };
    let path = &arguments.parquet;
    let written = File::create_new(path)
        .map_err(ParquetError::from)
        .and_then(|file| {
            let written = write(&rows, file);
            if written.is_err() {
                // A part of a file is nothing; that it cannot be removed is no further error.
                let _ = fs::remove_file(path);
            }
            written
        });
    match written {
        Ok(count) => {
            let view = &arguments.view;
            match arguments.output {
                Output::Text => eprintln!("{count} rows of {view} in {}", path.display()),
                Output::Json => {
                    let file = path.display().to_string();
                    println!("{}", json!({ "view": view, "rows": count, "file": file }));
                }
            }
            ExitCode::SUCCESS
        }
        Err(error) => failed(format!("cannot write {}: {error}", path.display()), 1),
    }
}

fn write(rows: &ViewRows, file: File) -> Result<usize, ParquetError> {
    let compressed = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let durable = file.try_clone()?;
    let mut writer = ArrowWriter::try_new(file, rows.schema.clone(), Some(compressed))?;
    let mut count = 0;
    for batch in &rows.batches {
        writer.write(batch)?;
        count += batch.num_rows();
    }
    writer.close()?;
    durable.sync_all()?;
    Ok(count)
}
