//! `tidewright lag JOB`.

use std::process::ExitCode;

use super::{ServerArguments, tell, told};
use crate::cli::control::{Output, lag_text};
use crate::control::remote::path_part;
use crate::metrics::lag::Lag;

/// Shows how far a server's job is behind.
pub fn lag(server: &ServerArguments, job: &str, output: Output) -> ExitCode {
    tell(server.connect().and_then(|server| {
        let path = format!("/v1/jobs/{}/lag", path_part(job));
        let lag: Lag = server.get(&path).map_err(told)?;
        Ok(output.print(&lag, &lag_text(&lag)))
    }))
}
