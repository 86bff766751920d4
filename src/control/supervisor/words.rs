//! What a job's log says about why it ended.

use std::path::Path;

use crate::control::logs;

/// The server's own lines in a job's log begin with this.
const MARK: &str = "--- ";
/// Shown of an error at most, in lines and characters.
const LINES_MAX: usize = 30;
const CHARACTERS_MAX: usize = 4_000;
/// Looked at, in lines from the end of the log.
const TAIL_LINES: usize = 400;

/// The line that opens a run in a job's log.
#[must_use]
pub fn opening(version: u32, restarts: u64) -> String {
    match restarts {
        0 => format!("{MARK}version {version} starts"),
        _ => format!("{MARK}version {version} starts again, restart {restarts}"),
    }
}

/// The line that opens a run which takes the job over from one that goes on meanwhile.
#[must_use]
pub fn taking_over(version: u32) -> String {
    format!("{MARK}version {version} takes over")
}

/// The last error of the last run in a log, if it told one.
#[must_use]
pub fn last_error(folder: &Path) -> Option<String> {
    let mut next = logs::tail(folder, TAIL_LINES).ok()?;
    let mut text = String::new();
    loop {
        let page = logs::read(folder, next).ok()?;
        if page.text.is_empty() {
            return of_last_run(&text);
        }
        next = page.next;
        text.push_str(&page.text);
    }
}

fn of_last_run(text: &str) -> Option<String> {
    let lines: Vec<_> = text.lines().collect();
    let run = lines
        .iter()
        .rposition(|line| line.starts_with(MARK))
        .map_or(&lines[..], |mark| &lines[mark + 1..]);
    let error = run.iter().position(|line| line.starts_with("error: "))?;
    let said = run[error..].iter().take(LINES_MAX);
    let said = said.copied().collect::<Vec<_>>().join("\n");
    let said: String = said.chars().take(CHARACTERS_MAX).collect();
    let said = said.trim().trim_start_matches("error: ");
    Some(said.to_owned())
}

#[cfg(test)]
mod tests {
    use super::of_last_run;

    #[test]
    fn only_the_last_run_counts() {
        let log = "--- version 1 starts\nerror: old\n--- version 1 starts again, restart 1\nfine\nerror: new\n  at all\n";
        assert_eq!(of_last_run(log).as_deref(), Some("new\n  at all"));
        let log = "--- version 1 starts\nerror: old\n--- version 1 starts again, restart 1\nfine\n";
        assert_eq!(of_last_run(log), None);
        assert_eq!(of_last_run("error: alone").as_deref(), Some("alone"));
    }
}
