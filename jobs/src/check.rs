//! Checks of the job file's sections, each against what it names.

mod sinks;
mod sources;

use crate::{
    diagnostics::{Fault, Position, did_you_mean},
    tree::Tree,
    units::DurationMs,
};

pub(crate) use self::sinks::{Feed, append_sink, dead_letter, sink};
pub(crate) use self::sources::source;

/// Whether a text holds a reference that could not be resolved, so that its form cannot be checked.
fn is_placeholder(text: &str) -> bool {
    text.contains("${")
}

fn exactly_one<T>(mut connectors: Vec<T>, names: &str, position: Position) -> Result<T, Fault> {
    match (connectors.pop(), connectors.len()) {
        (Some(connector), 0) => Ok(connector),
        (None, _) => Err(Fault::new(position, "a connector is missing here")
            .help(format!("name exactly one of {names}"))),
        _ => Err(
            Fault::new(position, "there is more than one connector here")
                .help(format!("name exactly one of {names}")),
        ),
    }
}

fn not_empty(text: &str, what: &str, tree: &Tree, path: &[&str]) -> Result<(), Fault> {
    match text.trim() {
        "" => Err(Fault::new(
            tree.position_of(path),
            format!("{what} is empty"),
        )),
        _ => Ok(()),
    }
}

fn ttl(text: Option<&str>, tree: &Tree, path: &[&str]) -> Result<(), Fault> {
    let Some(text) = text.filter(|text| !is_placeholder(text)) else {
        return Ok(());
    };
    match DurationMs::parse(text) {
        Some(ttl) if ttl.0 >= 1_000 => Ok(()),
        _ => Err(Fault::new(
            tree.position_of(path),
            "the time to live is not a duration of a second or more",
        )
        .help("write a number and a unit, such as 30d or 12h")),
    }
}

/// `did you mean`, or else all names.
pub(crate) fn suggest(written: &str, names: &[&str]) -> String {
    did_you_mean(written, names.iter().copied())
        .unwrap_or_else(|| format!("there are: {}", names.join(", ")))
}
