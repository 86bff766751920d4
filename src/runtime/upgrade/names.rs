//! Names of operators: `VIEW/node/role`, `SOURCE/upsert`, `sink/SINK`, with `@N` behind them from the second incarnation on.

use tidewright_checkpoints::OperatorId;

/// The name under which an incarnation's state is kept.
pub(super) fn id(name: &str, incarnation: u32) -> OperatorId {
    match incarnation {
        0 => OperatorId(name.to_owned()),
        _ => OperatorId(format!("{name}@{incarnation}")),
    }
}

/// An operator's name and incarnation.
pub(super) fn split(id: &str) -> (&str, u32) {
    match id.rsplit_once('@') {
        Some((name, incarnation)) => match incarnation.parse() {
            Ok(incarnation) => (name, incarnation),
            Err(_) => (id, 0),
        },
        None => (id, 0),
    }
}

/// The view, source or sink that an operator belongs to.
pub(super) fn owner(name: &str) -> &str {
    match name.split_once('/') {
        Some(("sink", sink)) if !sink.contains('/') => sink,
        Some((owner, _)) => owner,
        None => name,
    }
}

/// An operator as users know it.
pub(super) fn told(name: &str) -> String {
    match name.split_once('/') {
        Some(("sink", sink)) if !sink.contains('/') => format!("sink {sink}"),
        Some((source, "upsert")) => format!("source {source}"),
        Some((view, _)) => format!("view {view} ({name})"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_whose_state_it_is_and_which_incarnation() {
        for (name, owner_of, shown) in [
            (
                "recent/rolling/rolling",
                "recent",
                "view recent (recent/rolling/rolling)",
            ),
            ("profiles/upsert", "profiles", "source profiles"),
            ("sink/hot", "hot", "sink hot"),
            (
                "sink/window/window",
                "sink",
                "view sink (sink/window/window)",
            ),
        ] {
            assert_eq!(owner(name), owner_of);
            assert_eq!(told(name), shown);
            for incarnation in [0, 1, 12] {
                assert_eq!(split(&id(name, incarnation).0), (name, incarnation));
            }
        }
    }
}
