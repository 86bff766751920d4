//! `tidewright upgrade`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::submit::{changes, read_file};
use super::{OutputArguments, ServerArguments, operation, tell, told};
use crate::cli::upgrade_arguments::UpgradeArguments as StateArguments;
use crate::cli::validate::parse_override;
use crate::control::api::views::UpgradeView;
use crate::control::remote::path_part;
use crate::control::submission::next::UpgradeRequest;

/// Arguments of `tidewright upgrade`.
#[derive(Debug, Args)]
pub struct UpgradeJobArguments {
    /// The job.
    job: String,
    /// The new job file.
    file: PathBuf,
    /// Replaces a value of the job file, such as `checkpoint.interval=20ms`. May be repeated. Values that were set before don't
    /// count any more.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = parse_override)]
    overrides: Vec<(String, String)>,
    #[command(flatten)]
    state: StateArguments,
    /// Waits until the new version runs, or is known not to.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Gives a running job another job file.
pub fn upgrade(arguments: &UpgradeJobArguments) -> ExitCode {
    tell(try_upgrade(arguments))
}

fn try_upgrade(arguments: &UpgradeJobArguments) -> Result<ExitCode, ExitCode> {
    let (file, file_name) = read_file(&arguments.file)?;
    let allowed = arguments.state.allowed();
    let request = UpgradeRequest {
        file,
        file_name,
        set: changes(&arguments.overrides),
        reset_views: allowed.reset,
        rebuild_views: allowed.rebuilt,
        drop_views: allowed.dropped,
        allow_non_restored_state: allowed.non_restored_state,
    };
    let server = arguments.server.connect()?;
    let path = format!("/v1/jobs/{}/upgrade", path_part(&arguments.job));
    let view: UpgradeView = server.post_json(&path, &request, None).map_err(told)?;
    for warning in &view.warnings {
        eprintln!("{warning}");
    }
    let output = arguments.output.output;
    operation::follow(&server, view.operation, "upgrade", arguments.wait, output)
}
