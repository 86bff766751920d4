//! `--set path=value`: replaces or adds one value before the file is checked.

use super::{Entry, Origin, Tree, Value};
use crate::diagnostics::{Fault, did_you_mean};

/// Sets the value at a dotted path, such as `checkpoint.interval`. The last part may be new (whether it is a known key
/// is checked with everything else); under `sources`, `views` and `sinks` only what is there can be changed.
pub(crate) fn apply_override(
    tree: &mut Tree,
    path: &str,
    value: &str,
    top_level_keys: &[&str],
) -> Result<(), Fault> {
    let parts: Vec<&str> = path.split('.').collect();
    let unknown = |tree: &Tree, part: &str, names: Vec<&str>| {
        let known = format!("there are: {}", names.join(", "));
        Fault::new(
            tree.position,
            format!("--set {path}: there is no `{part}` to set"),
        )
        .help(did_you_mean(part, names.iter().copied()).unwrap_or(known))
    };
    if !top_level_keys.contains(&parts[0]) {
        return Err(unknown(tree, parts[0], top_level_keys.to_vec()));
    }
    let mut new = Tree::parse(value).unwrap_or(Tree {
        position: tree.position,
        value: Value::Text(value.to_owned()),
        origin: Origin::Resolved,
    });
    let named = ["sources", "views", "sinks"].contains(&parts[0]);
    let mut at = tree;
    for (depth, part) in parts.iter().enumerate() {
        let last = depth + 1 == parts.len();
        let is_new = at.get(part).is_none();
        if is_new && named && depth == 1 {
            let names = at.entries().iter().map(|e| e.key.as_str()).collect();
            return Err(unknown(at, part, names));
        }
        let position = at.position;
        if !matches!(at.value, Value::Map(_)) {
            // `start: latest` gives way to `start.timestamp=..`
            at.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut at.value else {
            return Ok(());
        };
        let index = match entries.iter().position(|entry| entry.key == *part) {
            Some(index) => index,
            None => {
                entries.push(Entry {
                    key: (*part).to_owned(),
                    key_position: position,
                    value: Tree {
                        position,
                        value: Value::Map(Vec::new()),
                        origin: Origin::Resolved,
                    },
                });
                entries.len() - 1
            }
        };
        at = &mut entries[index].value;
        if last {
            relocate(&mut new, at);
            *at = new;
            return Ok(());
        }
    }
    Ok(())
}

/// Places inside the override's text mean nothing in the file: everything is where it takes effect.
fn relocate(new: &mut Tree, old: &Tree) {
    new.position = old.position;
    new.origin = Origin::Resolved;
    match &mut new.value {
        Value::List(items) => items.iter_mut().for_each(|item| relocate(item, old)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| {
            entry.key_position = old.position;
            relocate(&mut entry.value, old);
        }),
        _ => {}
    }
}
