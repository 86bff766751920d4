//! Runs the engine over files and reads what it wrote.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{
    accept::{Accepted, accept, splits_of},
    batch::{Answer, Horizon, evaluate},
    cells::{Column, Rows},
    compare::{difference, fold},
    declared::{Relation, Source, View, job},
};
use crate::harness::process::Command;

/// Far more than any run here takes, on a loaded machine too.
const LIMIT: Duration = Duration::from_secs(120);

/// How a run is made; no result may depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variation {
    pub processes: u32,
    /// Of each process.
    pub workers: u32,
    pub tick: &'static str,
    pub checkpoints: &'static str,
    /// How much state is in memory; `None`: all of it.
    pub memory: Option<&'static str>,
}

impl Default for Variation {
    fn default() -> Self {
        Self {
            processes: 1,
            workers: 1,
            tick: "10ms",
            checkpoints: "100ms",
            memory: None,
        }
    }
}

/// What a run has left behind.
pub struct Ran {
    pub output: PathBuf,
    pub summary: Value,
}

/// Runs a job of these sources and views to the end of its input. The error is for people.
pub fn run(
    folder: &Path,
    sources: &[Source],
    views: &[View],
    variation: &Variation,
) -> Result<Ran, String> {
    let output = folder.join("output");
    fs::create_dir_all(&output).unwrap();
    let file = job("oracle", sources, views, &output)
        .checkpoints(variation.checkpoints, &folder.join("checkpoints"))
        .write(folder);
    let mut command = Command::tidewright(folder)
        .arg("run")
        .arg(&file)
        .args(["--bounded", "--quiet", "--summary", "json"])
        .args(["--workers", &variation.workers.to_string()])
        .args(["--set", &format!("epoch.tick={}", variation.tick)]);
    if let Some(memory) = variation.memory {
        // The less is read at once, the more epochs and checkpoints there are, and the more often keys come and go.
        command = command
            .args(["--set", &format!("state.memory={memory}")])
            .args(["--set", "limits.in_flight=16KiB"]);
    }
    if variation.processes > 1 {
        command = command.args(["--launch", &variation.processes.to_string()]);
    }
    let mut process = command.run(LIMIT);
    match process.status() {
        Some(status) if status.success() => Ok(Ran {
            output,
            summary: process.summary(),
        }),
        status => Err(format!(
            "the run ended with {status:?}:\n{}",
            process.stderr()
        )),
    }
}

impl Ran {
    /// What a view's sink holds in the end, in the form of `columns`.
    pub fn rows(&self, view: &View, columns: &[Column]) -> Result<Rows, String> {
        let path = self.output.join(format!("{}.jsonl", view.name));
        match &view.result {
            Relation::Stream => Rows::of_file(&path, columns),
            Relation::Table(key) => {
                let deleted = Column {
                    name: "_deleted".to_owned(),
                    is_double: false,
                };
                let columns = [columns, &[deleted]].concat();
                Rows::of_file(&path, &columns).map(|changelog| fold(changelog, key))
            }
        }
    }

    /// Lines in a file of the output.
    pub fn lines(&self, name: &str) -> usize {
        let path = self.output.join(format!("{name}.jsonl"));
        fs::read_to_string(path).unwrap_or_default().lines().count()
    }
}

/// The whole input of a job, and what must come of it.
pub struct Oracle {
    pub accepted: Vec<Accepted>,
    pub answer: Answer,
}

impl Oracle {
    pub fn ask(sources: &[Source], views: &[View]) -> Self {
        let accepted = sources.iter().map(|source| {
            let splits = splits_of(source);
            let ended: BTreeSet<_> = splits.iter().map(|split| split.name.clone()).collect();
            accept(source, &splits, &ended)
        });
        let accepted: Vec<_> = accepted.collect();
        let answer = evaluate(&accepted, views, Horizon::End);
        Self { accepted, answer }
    }

    /// Compares a run's results and counts; the error tells all that differs.
    pub fn judge(&self, views: &[View], ran: &Ran) -> Result<(), String> {
        let mut wrong = Vec::new();
        for view in views {
            let expected = &self.answer.views[&view.name];
            match ran.rows(view, &expected.columns) {
                Ok(found) => wrong.extend(difference(view, expected, &found)),
                Err(error) => wrong.push(format!("view {}: {error}", view.name)),
            }
        }
        let mut count = |what: &str, expected: usize, found: u64| {
            if expected as u64 != found {
                wrong.push(format!("{what}: {expected} expected, {found} found"));
            }
        };
        let dead = self.accepted.iter().map(|accepted| accepted.dead).sum();
        let number = |value: &Value| value.as_u64().unwrap_or(u64::MAX);
        count(
            "dead letters counted",
            dead,
            number(&ran.summary["dead_lettered"]),
        );
        count(
            "dead letters written",
            dead,
            ran.lines("dead_letter") as u64,
        );
        count(
            "late rows counted",
            self.answer.late,
            number(&ran.summary["late"]),
        );
        count(
            "late rows written",
            self.answer.late,
            ran.lines("late") as u64,
        );
        for Accepted {
            source, records, ..
        } in &self.accepted
        {
            let found = number(&ran.summary["events_in"][&source.name]);
            count(&format!("records of {}", source.name), *records, found);
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(wrong.join("\n")),
        }
    }

    /// The rows of each view, to see that a test means something.
    pub fn sizes(&self) -> BTreeMap<&str, usize> {
        let views = self.answer.views.iter();
        views
            .map(|(name, rows)| (name.as_str(), rows.rows.len()))
            .collect()
    }
}
