//! `tidewright state get`.

use std::process::ExitCode;

use clap::Args;

use super::super::control::Output;
use super::super::{EXIT_NOT_FOUND, failed};
use super::Place;
use crate::dataflow::read::{self, ViewRows};
use crate::state::{self, row};

/// Arguments of `tidewright state get`.
#[derive(Debug, Args)]
pub struct GetArguments {
    #[command(flatten)]
    place: Place,
    /// The view or table source.
    view: String,
    /// The row's key, or its first columns; several are joined by `|`.
    key: String,
    /// How rows are shown: a line of JSON each in any case.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Shows the rows of a key, one JSON object a line.
pub fn get(arguments: &GetArguments) -> ExitCode {
    // Rows are for people and programs alike.
    let (Output::Text | Output::Json) = arguments.output;
    let rows = match view(&arguments.place, &arguments.view) {
        Ok(rows) => rows,
        Err(message) => return failed(message, 1),
    };
    match row::find(&rows, &arguments.key) {
        Ok(found) if found.is_empty() => {
            let message = format!(
                "{} has no row with the key {}",
                arguments.view, arguments.key
            );
            failed(message, EXIT_NOT_FOUND)
        }
        Ok(found) => {
            found.iter().for_each(|row| println!("{row}"));
            ExitCode::SUCCESS
        }
        Err(error) => failed(format!("{}: {error}", arguments.view), 1),
    }
}

/// The rows of a view in a checkpoint.
pub fn view(place: &Place, view: &str) -> Result<ViewRows, String> {
    let opened = state::open(&place.path).map_err(|error| error.to_string())?;
    let plan = opened.plan().map_err(|error| error.to_string())?;
    read::rows(&plan, &opened.restored, view).map_err(|error| error.to_string())
}
