//! References in texts: `${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}`.
//!
//! Resolved after parsing, on values only, so that what a variable holds can never change the file's structure.

use super::{Origin, Tree, Value};
use crate::diagnostics::{Fault, Position};

/// What a missing environment variable is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingEnv {
    /// An error: the job is about to run.
    #[default]
    Error,
    /// A warning: the job is only looked at; the reference stays as it is.
    Warn,
}

/// What went wrong with references.
#[derive(Debug, Default)]
pub(crate) struct Unresolved {
    pub errors: Vec<Fault>,
    pub warnings: Vec<Fault>,
}

/// Where references are looked up.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The value of an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// True of variables that no job file may read, set or not: they are not looked up.
    pub withheld: &'a dyn Fn(&str) -> bool,
    /// The content of a file.
    pub file: &'a dyn Fn(&str) -> std::io::Result<String>,
}

/// Looks up variables and files.
pub(crate) struct References<'a> {
    surroundings: Surroundings<'a>,
    missing: MissingEnv,
    unresolved: Unresolved,
}

/// Resolves the references in every text of the tree, except under the given top-level keys.
pub(crate) fn resolve_references(
    tree: &mut Tree,
    except: &[&str],
    surroundings: Surroundings<'_>,
    missing: MissingEnv,
) -> Unresolved {
    let mut references = References {
        surroundings,
        missing,
        unresolved: Unresolved::default(),
    };
    if let Value::Map(entries) = &mut tree.value {
        for entry in entries {
            if !except.contains(&entry.key.as_str()) {
                references.resolve_tree(&mut entry.value);
            }
        }
    }
    references.unresolved
}

impl References<'_> {
    fn resolve_tree(&mut self, tree: &mut Tree) {
        match &mut tree.value {
            Value::Text(text) if text.contains("${") => {
                if let Some((resolved, origin)) = self.resolve(text, tree.position) {
                    *text = resolved;
                    tree.origin = origin;
                }
            }
            Value::List(items) => items.iter_mut().for_each(|item| self.resolve_tree(item)),
            Value::Map(entries) => entries
                .iter_mut()
                .for_each(|entry| self.resolve_tree(&mut entry.value)),
            _ => {}
        }
    }

    fn resolve(&mut self, text: &str, position: Position) -> Option<(String, Origin)> {
        let mut resolved = String::new();
        let mut origin = Origin::Resolved;
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            resolved.push_str(&rest[..start]);
            let Some(length) = rest[start..].find('}') else {
                self.fail(
                    position,
                    "a reference `${` without its `}`".to_owned(),
                    None,
                );
                return None;
            };
            let reference = &rest[start + 2..start + length];
            match self.look_up(reference, position)? {
                Some(value) => resolved.push_str(&value),
                None => {
                    resolved.push_str(&rest[start..=start + length]);
                    origin = Origin::Missing;
                }
            }
            rest = &rest[start + length + 1..];
        }
        resolved.push_str(rest);
        Some((resolved, origin))
    }

    /// `None` after an error, `Some(None)` if the reference stays.
    fn look_up(&mut self, reference: &str, position: Position) -> Option<Option<String>> {
        match reference.split_once(':') {
            Some(("env", name)) => self.variable(name, position),
            Some(("file", path)) => self.file(path, position),
            _ => {
                let message = format!("unknown reference `${{{reference}}}`");
                let help = "write ${env:NAME}, ${env:NAME:-default} or ${file:PATH}";
                self.fail(position, message, Some(help));
                None
            }
        }
    }

    fn variable(&mut self, name: &str, position: Position) -> Option<Option<String>> {
        let (name, default) = match name.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (name, None),
        };
        let withheld = (self.surroundings.withheld)(name);
        let value = match withheld {
            true => None,
            false => (self.surroundings.env)(name),
        };
        let value = value.or_else(|| default.map(str::to_owned));
        if value.is_some() {
            return Some(value);
        }
        if withheld {
            // Also where variables may be missing: this one is missing in every run.
            let message = format!("the environment variable {name} is withheld from job files");
            let help = "it may hold a secret of whoever starts the process: use a variable of another name";
            self.fail(position, message, Some(help));
            return None;
        }
        self.not_set(name, position)
    }

    fn not_set(&mut self, name: &str, position: Position) -> Option<Option<String>> {
        let message = format!("the environment variable {name} is not set");
        let fault = Fault::new(position, message).help(format!(
            "set it, or give a default: ${{env:{name}:-default}}"
        ));
        match self.missing {
            MissingEnv::Error => {
                self.unresolved.errors.push(fault);
                None
            }
            MissingEnv::Warn => {
                self.unresolved.warnings.push(fault);
                Some(None)
            }
        }
    }

    /// The content without the line end that editors leave behind.
    fn file(&mut self, path: &str, position: Position) -> Option<Option<String>> {
        match (self.surroundings.file)(path) {
            Ok(content) => Some(Some(content.trim_end_matches(['\r', '\n']).to_owned())),
            Err(_) if self.missing == MissingEnv::Warn => {
                let message = format!("the file `{path}` cannot be read");
                self.unresolved.warnings.push(Fault::new(position, message));
                Some(None)
            }
            Err(error) => {
                self.fail(
                    position,
                    format!("the file `{path}` cannot be read: {error}"),
                    None,
                );
                None
            }
        }
    }

    fn fail(&mut self, position: Position, message: String, help: Option<&str>) {
        let fault = Fault::new(position, message).maybe_help(help.map(str::to_owned));
        self.unresolved.errors.push(fault);
    }
}
