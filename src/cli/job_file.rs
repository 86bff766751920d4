//! Job files, as every command reads them.

use tidewright_jobs::{Compiled, Diagnostics, MissingEnv, Surroundings, compile_in};

use crate::telemetry::settings;

/// Compiles a job file's text with the variables and files of this process, but for those variables that no job file may read.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn compile(
    name: &str,
    text: &str,
    overrides: &[(String, String)],
    missing: MissingEnv,
) -> Result<Compiled, Diagnostics> {
    let surroundings = Surroundings {
        env: &|name| std::env::var(name).ok(),
        withheld: &settings::is_secret,
        file: &|path| std::fs::read_to_string(path),
    };
    compile_in(name, text, overrides, surroundings, missing)
}
