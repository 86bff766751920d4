//! What a job's stores hold, without what differs from run to run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

/// Rows as text by store, in no particular order: sorted.
#[derive(Debug, Default)]
pub struct Contents(BTreeMap<&'static str, Vec<String>>);

impl Contents {
    /// Adds rows of a keyed store. Versions and times are each run's own; deleted rows are not there.
    pub fn hashes(
        &mut self,
        store: &'static str,
        prefix: &str,
        rows: &BTreeMap<String, BTreeMap<String, String>>,
    ) {
        let visible = rows
            .iter()
            .filter(|(_, fields)| !fields.contains_key("_deleted"));
        let lines = visible.map(|(key, fields)| {
            let fields: Vec<_> = fields
                .iter()
                .filter(|(name, _)| !name.starts_with('_'))
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let key = key.strip_prefix(prefix).unwrap_or(key);
            format!("{key}: {}", fields.join(", "))
        });
        self.lines(store, lines.collect());
    }

    /// Adds rows of an append-only store.
    pub fn lines(&mut self, store: &'static str, mut lines: Vec<String>) {
        lines.sort();
        self.0.insert(store, lines);
    }

    /// Adds the lines of a file; a file that was never needed is empty.
    ///
    /// # Panics
    /// If the file ends within a line.
    pub fn file(&mut self, store: &'static str, path: &Path) {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => panic!("{}: {error}", path.display()),
        };
        assert!(
            text.is_empty() || text.ends_with('\n'),
            "{store} ends within a line"
        );
        self.lines(store, text.lines().map(str::to_owned).collect());
    }

    /// Whatever a run proves nothing about must not go unnoticed.
    ///
    /// # Panics
    /// If any store is empty.
    pub fn assert_complete(&self) {
        for (store, rows) in &self.0 {
            assert!(
                !rows.is_empty(),
                "{store} is empty: nothing would be compared"
            );
        }
    }

    /// The first stores and rows that differ; `None` if nothing does.
    pub fn difference(&self, expected: &Self) -> Option<String> {
        let stores: BTreeSet<_> = self.0.keys().chain(expected.0.keys()).collect();
        let none = Vec::new();
        let differences: Vec<_> = stores
            .into_iter()
            .filter_map(|store| {
                let found = self.0.get(store).unwrap_or(&none);
                let wanted = expected.0.get(store).unwrap_or(&none);
                (found != wanted).then(|| describe(store, found, wanted))
            })
            .collect();
        (!differences.is_empty()).then(|| differences.join("\n"))
    }

    /// # Panics
    /// If anything differs; the message shows what.
    #[track_caller]
    pub fn assert_same(&self, expected: &Self) {
        if let Some(difference) = self.difference(expected) {
            panic!("not what an undisturbed run gives:\n{difference}");
        }
    }
}

fn describe(store: &str, found: &[String], wanted: &[String]) -> String {
    let show = |rows: Vec<&String>| {
        let first: Vec<_> = rows
            .iter()
            .take(3)
            .map(|row| format!("    {row}"))
            .collect();
        format!("{}\n{}", rows.len(), first.join("\n"))
    };
    format!(
        "{store}: {} rows instead of {}\n  too many: {}\n  missing: {}",
        found.len(),
        wanted.len(),
        show(without(found, wanted)),
        show(without(wanted, found)),
    )
}

/// Rows of `these` that `those` does not hold, each as often as it is too many.
fn without<'a>(these: &'a [String], those: &[String]) -> Vec<&'a String> {
    let mut counts = BTreeMap::<&String, usize>::new();
    for row in those {
        *counts.entry(row).or_default() += 1;
    }
    let mut rest = Vec::new();
    for row in these {
        match counts.get_mut(row) {
            Some(count) if *count > 0 => *count -= 1,
            _ => rest.push(row),
        }
    }
    rest
}

#[test]
fn one_row_too_many_or_too_few_is_a_difference() {
    let contents = |rows: &[&str]| {
        let mut contents = Contents::default();
        contents.lines("log", rows.iter().map(|row| (*row).to_owned()).collect());
        contents
    };
    let expected = contents(&["a", "b"]);
    assert!(contents(&["b", "a"]).difference(&expected).is_none());
    for wrong in [&["a"][..], &["a", "b", "b"], &["a", "c"]] {
        assert!(contents(wrong).difference(&expected).is_some(), "{wrong:?}");
    }
}
