//! `tidewright validate` and `tidewright schema`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use tidewright_jobs::{MissingEnv, Warning, explain, explain_json, json_schema};

use super::control::Output;
use super::{EXIT_USAGE, failed, job_file};

/// Arguments of `tidewright validate`.
#[derive(Debug, Args)]
pub struct ValidateArguments {
    /// The job file.
    job: PathBuf,
    /// Replaces a value of the job file, such as `checkpoint.interval=20ms`. May be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = parse_override)]
    overrides: Vec<(String, String)>,
    /// Shows the shadow of this name: its identity, and where its sinks write.
    #[arg(long, value_name = "NAME")]
    shadow: Option<String>,
    /// How the plan is printed.
    #[arg(long, visible_alias = "format", value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// `PATH=VALUE`.
pub fn parse_override(text: &str) -> Result<(String, String), String> {
    let (path, value) = text
        .split_once('=')
        .ok_or("expected PATH=VALUE, such as checkpoint.interval=20ms")?;
    Ok((path.to_owned(), value.to_owned()))
}

/// Checks a job file without connecting to anything and prints its plan.
pub fn validate(arguments: &ValidateArguments) -> ExitCode {
    let name = arguments.job.display().to_string();
    let text = match std::fs::read_to_string(&arguments.job) {
        Ok(text) => text,
        Err(error) => return failed(format!("cannot read {name}: {error}"), EXIT_USAGE),
    };
    match job_file::compile(&name, &text, &arguments.overrides, MissingEnv::Warn) {
        Ok(compiled) => {
            for warning in &compiled.warnings {
                eprintln!("{}", Warning(warning));
            }
            let compiled = match &arguments.shadow {
                None => compiled,
                Some(name) => match compiled.shadow(name) {
                    Ok(shadow) => shadow,
                    Err(message) => return failed(message, EXIT_USAGE),
                },
            };
            match arguments.output {
                Output::Text => print!("{}", explain(&compiled)),
                Output::Json => println!("{:#}", explain_json(&compiled)),
            }
            ExitCode::SUCCESS
        }
        Err(diagnostics) => {
            eprintln!("{diagnostics}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Prints the job file's JSON Schema.
pub fn schema() -> ExitCode {
    println!("{:#}", json_schema());
    ExitCode::SUCCESS
}
