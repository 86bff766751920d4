//! What is wrong with a job file, where, and how to mend it.

use std::fmt;

use serde::Serialize;

/// A place in the job file: line and column, both from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

impl Position {
    /// The first character of the file: where nothing better is known.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The job file's name, as given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
    /// The text of the line, as written in the file.
    #[serde(skip)]
    pub source_line: Option<String>,
}

impl Diagnostic {
    fn write(&self, f: &mut fmt::Formatter<'_>, severity: &str) -> fmt::Result {
        let Self {
            file, line, column, ..
        } = self;
        writeln!(f, "{severity}: {}", self.message)?;
        let gutter = line.to_string().len();
        writeln!(f, "{:gutter$}--> {file}:{line}:{column}", "")?;
        if let Some(source) = &self.source_line {
            let before: String = source
                .chars()
                .take(column.saturating_sub(1))
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            writeln!(f, "{:gutter$} |", "")?;
            writeln!(f, "{line} | {source}")?;
            writeln!(f, "{:gutter$} | {before}^", "")?;
        }
        if let Some(help) = &self.help {
            writeln!(f, "{:gutter$} = help: {help}", "")?;
        }
        Ok(())
    }
}

/// As an error, in the manner of rustc: message, place, source line with a caret, help.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "error")
    }
}

/// Everything that is wrong with a job file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.0 {
            writeln!(f, "{diagnostic}")?;
        }
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} error{plural}", self.0.len())
    }
}

/// A [`Diagnostic`] shown as a warning.
#[derive(Clone, Copy, Debug)]
pub struct Warning<'a>(pub &'a Diagnostic);

impl fmt::Display for Warning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, "warning")
    }
}

/// Collects diagnostics, so that one run tells as much as possible.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    file: &'a str,
    text: &'a str,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

/// An error in the job file that has no file name yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub position: Position,
    pub message: String,
    pub help: Option<String>,
}

impl Fault {
    pub fn new(position: Position, message: impl Into<String>) -> Self {
        Self {
            position,
            message: message.into(),
            help: None,
        }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }
}

impl<'a> Report<'a> {
    pub fn new(file: &'a str, text: &'a str) -> Self {
        Self {
            file,
            text,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The same problem at the same place is told once.
    pub fn error(&mut self, fault: Fault) {
        let diagnostic = self.locate(fault);
        if !self.errors.contains(&diagnostic) {
            self.errors.push(diagnostic);
        }
    }

    pub fn warn(&mut self, fault: Fault) {
        let diagnostic = self.locate(fault);
        self.warnings.push(diagnostic);
    }

    /// Takes the error out of a result and notes it.
    pub fn take<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.error(fault)).ok()
    }

    pub fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// The warnings, or all errors if there are any.
    pub fn finish(mut self) -> Result<Vec<Diagnostic>, Diagnostics> {
        let by_place = |d: &Diagnostic| (d.line, d.column);
        self.errors.sort_by_key(by_place);
        self.warnings.sort_by_key(by_place);
        if self.errors.is_empty() {
            Ok(self.warnings)
        } else {
            Err(Diagnostics(self.errors))
        }
    }

    fn locate(&self, fault: Fault) -> Diagnostic {
        let Position { line, column } = fault.position;
        Diagnostic {
            file: self.file.to_owned(),
            line,
            column,
            message: fault.message,
            help: fault.help,
            source_line: self
                .text
                .lines()
                .nth(line.saturating_sub(1))
                .map(str::to_owned),
        }
    }
}

/// `did you mean ...?`, if one of the names is close to what was written.
pub(crate) fn did_you_mean<'n>(
    written: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Option<String> {
    closest(written, names).map(|name| format!("did you mean `{name}`?"))
}

fn closest<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let lower = written.to_lowercase();
    names
        .into_iter()
        .map(|name| {
            (
                strsim::damerau_levenshtein(&lower, &name.to_lowercase()),
                name,
            )
        })
        .filter(|(distance, name)| *distance <= 1 + name.chars().count() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
