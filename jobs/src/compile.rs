//! From a job file's text to a checked plan.

mod settings;
mod sinks;
mod sources;
mod views;

use std::collections::BTreeSet;

pub use self::settings::{CheckpointSettings, JobSettings, StateSettings};
use self::{settings::settings, sinks::Sinks, sources::catalog_of, views::Views};
use crate::{
    check::suggest,
    definition::{Definition, SinkDefinition, SourceDefinition},
    diagnostics::{Diagnostic, Diagnostics, Fault, Report},
    job::TOP_LEVEL_KEYS,
    plan::Plan,
    planner::{Mapper, SourceDeclaration, map_views},
    tree::{Entry, MissingEnv, Surroundings, Tree, Value, apply_override, resolve_references},
};

/// A job that passed every check that needs no connection.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What runs.
    pub plan: Plan,
    /// How it runs.
    pub job: JobSettings,
    /// What gives its state its meaning.
    pub definition: Definition,
    /// What looks wrong but does no harm.
    pub warnings: Vec<Diagnostic>,
}

/// Compiles a job file. `overrides` are (dotted path, value) pairs of `--set`; `env` looks up environment variables.
///
/// # Errors
/// Everything that is wrong with the file, each with its place and how to mend it. No message holds a resolved value.
pub fn compile(
    file_name: &str,
    text: &str,
    overrides: &[(String, String)],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Compiled, Diagnostics> {
    compile_with(file_name, text, overrides, env, MissingEnv::Error)
}

/// Like [`compile`]; with [`MissingEnv::Warn`] variables (and files) that references name may be missing: the
/// reference then stays in the configuration as it is written, so the plan can be looked at but not run.
///
/// # Errors
/// Like [`compile`].
pub fn compile_with(
    file_name: &str,
    text: &str,
    overrides: &[(String, String)],
    env: &dyn Fn(&str) -> Option<String>,
    missing_env: MissingEnv,
) -> Result<Compiled, Diagnostics> {
    let surroundings = Surroundings {
        env,
        withheld: &|_| false,
        file: &|path| std::fs::read_to_string(path),
    };
    compile_in(file_name, text, overrides, surroundings, missing_env)
}

/// Like [`compile_with`], with a say in which variables and files are read.
///
/// # Errors
/// Like [`compile`].
pub fn compile_in(
    file_name: &str,
    text: &str,
    overrides: &[(String, String)],
    surroundings: Surroundings<'_>,
    missing_env: MissingEnv,
) -> Result<Compiled, Diagnostics> {
    let mut report = Report::new(file_name, text);
    let compiled = load(text, overrides, surroundings, missing_env, &mut report)
        .and_then(|tree| Compilation::new(&tree, text).run(&mut report));
    let warnings = report.finish()?;
    match compiled {
        Some((plan, job, definition)) => Ok(Compiled {
            plan,
            job,
            definition,
            warnings,
        }),
        // Only errors end a compilation early, and those have returned above.
        None => Err(Diagnostics(warnings)),
    }
}

/// The tree with overrides and references; `None` if it is no map.
fn load(
    text: &str,
    overrides: &[(String, String)],
    surroundings: Surroundings<'_>,
    missing_env: MissingEnv,
    report: &mut Report<'_>,
) -> Option<Tree> {
    let mut tree = report.take(Tree::parse(text))?;
    if !matches!(tree.value, Value::Map(_)) {
        let message = format!("a job file is a map, this is {}", tree.describe());
        report.error(Fault::new(tree.position, message).help("begin with `name: my_job`"));
        return None;
    }
    for (path, value) in overrides {
        report.take(apply_override(&mut tree, path, value, &TOP_LEVEL_KEYS));
    }
    let unresolved = resolve_references(&mut tree, &["views"], surroundings, missing_env);
    unresolved
        .errors
        .into_iter()
        .for_each(|fault| report.error(fault));
    unresolved
        .warnings
        .into_iter()
        .for_each(|fault| report.warn(fault));
    Some(tree)
}

struct Compilation<'t> {
    tree: &'t Tree,
    text: &'t str,
    /// Names whose section is wrong: what refers to them is not reported again.
    failed: Vec<String>,
    /// Names of sources and views that something reads.
    read: BTreeSet<String>,
}

impl<'t> Compilation<'t> {
    fn new(tree: &'t Tree, text: &'t str) -> Self {
        Self {
            tree,
            text,
            failed: Vec::new(),
            read: BTreeSet::new(),
        }
    }

    fn run(mut self, report: &mut Report<'_>) -> Option<(Plan, JobSettings, Definition)> {
        self.check_top_level(report);
        let name = self.name(report);
        let declarations = self.sources(report);
        let mut mapper = Mapper::exploring(&declarations);
        let mut views = Views::new(catalog_of(&declarations), self.text);
        views.plan(
            self.section("views", report),
            &mut mapper,
            &mut self.failed,
            report,
        );
        self.read.append(&mut views.read);
        let mut used = mapper.asked().to_vec();
        for (declaration, used) in declarations.iter().zip(&mut used) {
            used.extend(declaration.needed_columns());
            if self.is_sink_input(&declaration.name) {
                used.extend(0..declaration.schema.fields().len());
            }
        }
        let mapped = match map_views(&declarations, &used, &views.planned) {
            Ok(mapped) => mapped,
            Err(error) => {
                let message = format!("the plan cannot be narrowed to its used columns: {error}");
                report.error(Fault::new(self.tree.position, message));
                return None;
            }
        };
        let Sinks {
            sinks,
            delivery,
            dead_letter_limit,
        } = self.sinks(&mapped, report);
        let job = settings(
            self.tree,
            name.as_deref().unwrap_or("job"),
            delivery,
            dead_letter_limit,
            report,
        );
        self.warn_unused(report);
        if report.has_errors() {
            return None;
        }
        let plan = Plan {
            name: name?,
            sources: mapped.sources,
            nodes: mapped.nodes,
            views: mapped.views,
            sinks,
        };
        Some((plan, job?, self.definition(&declarations)))
    }

    fn definition(&self, declarations: &[SourceDeclaration]) -> Definition {
        let entries = |section| self.tree.get(section).map_or(&[][..], Tree::entries);
        let sink = |entry: &Entry| {
            Some(SinkDefinition {
                name: entry.key.clone(),
                from: entry.value.get("from")?.text()?.to_owned(),
            })
        };
        Definition {
            sources: declarations.iter().map(SourceDefinition::of).collect(),
            views: entries("views")
                .iter()
                .filter_map(views::definition)
                .collect(),
            sinks: entries("sinks").iter().filter_map(sink).collect(),
        }
    }

    fn check_top_level(&self, report: &mut Report<'_>) {
        for entry in self.tree.entries() {
            if !TOP_LEVEL_KEYS.contains(&entry.key.as_str()) {
                let message = format!("unknown key `{}`", entry.key);
                let help = suggest(&entry.key, &TOP_LEVEL_KEYS);
                report.error(Fault::new(entry.key_position, message).help(help));
            }
        }
        for key in ["name", "sources"] {
            if self.tree.get(key).is_none() {
                let message = format!("the key `{key}` is missing");
                report.error(Fault::new(self.tree.position, message));
            }
        }
    }

    fn name(&self, report: &mut Report<'_>) -> Option<String> {
        let tree = self.tree.get("name")?;
        let is_plain = |name: &&str| {
            !name.is_empty()
                && name.len() <= 100
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        let name = tree.text().filter(is_plain);
        if name.is_none() {
            let message = "the job's name must be 1 to 100 letters, digits, `-` and `_`";
            report.error(Fault::new(tree.position, message));
        }
        name.map(str::to_owned)
    }

    /// The named entries of a section; a section that is no map is an error.
    fn section(&self, key: &str, report: &mut Report<'_>) -> &'t [Entry] {
        let Some(tree) = self.tree.get(key) else {
            return &[];
        };
        if !matches!(tree.value, Value::Map(_) | Value::Null) {
            let message = format!("`{key}` is a map of names, this is {}", tree.describe());
            report.error(Fault::new(tree.position, message));
        }
        tree.entries()
    }

    fn warn_unused(&self, report: &mut Report<'_>) {
        for (section, what) in [("sources", "source"), ("views", "view")] {
            for entry in self.section(section, report) {
                if !self.read.contains(&entry.key) {
                    let message =
                        format!("the {what} `{}` is not used by any view or sink", entry.key);
                    report.warn(Fault::new(entry.key_position, message));
                }
            }
        }
    }
}

/// Names are SQL identifiers, keys in metrics and parts of file names.
fn check_name(entry: &Entry) -> Result<(), Fault> {
    let mut chars = entry.key.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_lowercase());
    let rest = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if first && rest && !["dead_letter", "late"].contains(&entry.key.as_str()) {
        return Ok(());
    }
    let message = format!("`{}` cannot be a name here", entry.key);
    Err(Fault::new(entry.key_position, message)
        .help("use lower-case letters, digits and _, beginning with a letter (dead_letter and late are taken)"))
}
