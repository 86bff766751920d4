//! `tidewright diff`: what two namespaces of a keyed sink hold.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use clap::{Args, ValueEnum};
use serde_json::json;
use tidewright_jobs::MissingEnv;
use tidewright_jobs::plan::{Plan, SinkPlan};

use super::validate::parse_override;
use super::{failed, job_file};
use crate::dataflow;
use crate::diff::{DiffOptions, Difference, compare};
use crate::sink::EmbeddedStores;

/// Arguments of `tidewright diff`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the same, 1 different, 2 wrong arguments or a store that cannot be read."
)]
pub struct DiffArguments {
    /// One side: JOB.yaml, or JOB.yaml@SHADOW for a shadow of it.
    a: String,
    /// The other side, in the same form; @SHADOW alone means a shadow of the first side's job.
    b: String,
    /// The sink to compare. May be repeated; all keyed sinks that both sides have if absent.
    #[arg(long = "sink", value_name = "SINK")]
    sinks: Vec<String>,
    /// A column that may differ. May be repeated.
    #[arg(long = "ignore", value_name = "COLUMN")]
    ignored: Vec<String>,
    /// How many examples of each kind of difference are shown.
    #[arg(long, default_value_t = 5, value_name = "N")]
    samples: usize,
    /// Replaces a value of both job files. May be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = parse_override)]
    overrides: Vec<(String, String)>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Form of the result.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Exit code for sides that differ.
const EXIT_DIFFERENT: u8 = 1;
/// Exit code for everything that goes wrong, as of `diff(1)`.
const EXIT_TROUBLE: u8 = 2;

/// Compares two sides and tells how they differ.
pub fn diff(arguments: &DiffArguments) -> ExitCode {
    match differences(arguments) {
        Ok(differences) => {
            match arguments.output {
                Output::Text => print!("{}", text(&arguments.a, &arguments.b, &differences)),
                Output::Json => println!("{:#}", json(&differences)),
            }
            if differences.values().all(Difference::is_empty) {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(EXIT_DIFFERENT)
            }
        }
        Err(message) => failed(message, EXIT_TROUBLE),
    }
}

fn differences(arguments: &DiffArguments) -> Result<BTreeMap<String, Difference>, String> {
    let (a, b) = (&arguments.a, &arguments.b);
    let (path, _) = split(a);
    let b = match b.strip_prefix('@') {
        Some(shadow) => format!("{path}@{shadow}"),
        None => b.clone(),
    };
    let (a, b) = (load(arguments, a)?, load(arguments, &b)?);
    let options = DiffOptions {
        ignored: arguments.ignored.iter().cloned().collect(),
        samples_max: arguments.samples,
    };
    let stores = EmbeddedStores::default();
    let mut differences = BTreeMap::new();
    for name in names(arguments, &a, &b)? {
        let open = |plan: &Plan| {
            let rows = dataflow::stored_rows(plan, sink(plan, &name)?, &stores);
            rows.map_err(|error| error.to_string())
        };
        let (mut a, mut b) = (open(&a)?, open(&b)?);
        if a.place() == b.place() {
            return Err(format!("both sides are the same: {}", a.place()));
        }
        let difference = compare(&mut *a, &mut *b, &options);
        differences.insert(name, difference.map_err(|error| error.to_string())?);
    }
    Ok(differences)
}

/// `JOB.yaml@SHADOW` in its parts; a file whose name has an `@` is taken as it is.
fn split(side: &str) -> (&str, Option<&str>) {
    match side.rsplit_once('@') {
        Some((path, shadow)) if !Path::new(side).exists() => (path, Some(shadow)),
        _ => (side, None),
    }
}

fn load(arguments: &DiffArguments, side: &str) -> Result<Plan, String> {
    let (path, shadow) = split(side);
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let compiled = job_file::compile(path, &text, &arguments.overrides, MissingEnv::Error)
        .map_err(|diagnostics| diagnostics.to_string())?;
    match shadow {
        None => Ok(compiled.plan),
        Some(name) => compiled.shadow(name).map(|compiled| compiled.plan),
    }
}

/// The sinks to compare.
fn names(arguments: &DiffArguments, a: &Plan, b: &Plan) -> Result<Vec<String>, String> {
    if !arguments.sinks.is_empty() {
        return Ok(arguments.sinks.clone());
    }
    let there = |name: &str| b.sinks.iter().any(|sink| sink.name == name);
    let keyed = a
        .sinks
        .iter()
        .filter(|sink| dataflow::is_keyed(&sink.config));
    let names: Vec<_> = keyed
        .filter(|sink| there(&sink.name))
        .map(|sink| sink.name.clone())
        .collect();
    if names.is_empty() {
        return Err(
            "both sides have no keyed sink (redis, dynamodb, embedded) in common".to_owned(),
        );
    }
    Ok(names)
}

fn sink<'p>(plan: &'p Plan, name: &str) -> Result<&'p SinkPlan, String> {
    let found = plan.sinks.iter().find(|sink| sink.name == name);
    found.ok_or_else(|| {
        let names: Vec<_> = plan.sinks.iter().map(|sink| sink.name.as_str()).collect();
        format!(
            "job {} has no sink {name}; there are: {}",
            plan.name,
            names.join(", ")
        )
    })
}

/// The result for programs.
pub fn json(differences: &BTreeMap<String, Difference>) -> serde_json::Value {
    json!({
        "equal": differences.values().all(Difference::is_empty),
        "sinks": differences,
    })
}

/// The result for people.
pub fn text(a: &str, b: &str, differences: &BTreeMap<String, Difference>) -> String {
    let mut lines = vec![format!("a = {a}, b = {b}")];
    for (sink, difference) in differences {
        lines.push(format!(
            "sink {sink}: {} equal, {} different, {} only in a, {} only in b",
            difference.equal, difference.different, difference.only_a, difference.only_b
        ));
        for (name, count) in &difference.fields {
            lines.push(format!("  {name} differs in {count}"));
        }
        for row in &difference.samples.different {
            let shown =
                |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
            let fields = row.fields.iter();
            let fields: Vec<_> = fields
                .map(|(name, (a, b))| format!("{name}: {} | {}", shown(a), shown(b)))
                .collect();
            lines.push(format!("  {}  {}", row.key, fields.join(", ")));
        }
        for (side, keys) in [
            ("a", &difference.samples.only_a),
            ("b", &difference.samples.only_b),
        ] {
            lines.extend(keys.iter().map(|key| format!("  {key}  only in {side}")));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}
