//! `tidewright serve`.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Args;
use tidewright_jobs::units::DurationMs;

use super::{EXIT_USAGE, failed};
use crate::control::lifecycle::Policy;
use crate::control::listener::TlsFiles;
use crate::control::remote::DEFAULT_ADDRESS;
use crate::control::server::{self, ServerOptions};
use crate::resident;
use crate::telemetry::{self, Origin, Settings};

/// Arguments of `tidewright serve`.
#[derive(Debug, Args)]
pub struct ServeArguments {
    /// Where everything is kept: the registry, and a folder for each job.
    #[arg(long, value_name = "DIR", default_value = "tidewright-data/server")]
    data: PathBuf,
    /// Where the API is served. Addresses that other machines can reach need TLS.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = DEFAULT_ADDRESS)]
    listen: SocketAddr,
    /// The certificate chain for TLS, as a PEM file.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's key, as a PEM file.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// What terminates TLS in front of this server, such as `nginx`: lets it listen without TLS at any address.
    #[arg(long, value_name = "NAME")]
    tls_terminated_by: Option<String>,
    /// Lets jobs use files below this folder. May be repeated. Without it jobs use their own folders alone.
    #[arg(long, value_name = "DIR")]
    allow_files: Vec<PathBuf>,
    /// From a job's first failure to its restart; doubles with each further failure.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    restart_delay: DurationMs,
    /// The longest delay of a restart.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    restart_delay_max: DurationMs,
    /// After this time without a failure a job's next one counts as its first.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    stable_after: DurationMs,
    /// How long a job may take for its final checkpoint before it is killed.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    stop_patience: DurationMs,
}

fn duration(text: &str) -> Result<DurationMs, String> {
    DurationMs::parse(text)
        .ok_or_else(|| "expected a duration with its unit, such as 500ms, 10s or 1m".to_owned())
}

/// Runs the control plane until it is interrupted.
pub fn serve(arguments: ServeArguments, log_json: bool) -> ExitCode {
    let tls = arguments
        .tls_certificate
        .zip(arguments.tls_key)
        .map(|(certificate, key)| TlsFiles { certificate, key });
    let options = ServerOptions {
        data: arguments.data,
        listen: arguments.listen,
        tls,
        tls_terminated_by: arguments.tls_terminated_by,
        allow_files: arguments.allow_files,
        policy: Policy {
            restart_delay_ms: arguments.restart_delay.0,
            restart_delay_max_ms: arguments.restart_delay_max.0,
            stable_after_ms: arguments.stable_after.0,
            stop_patience_ms: arguments.stop_patience.0,
        },
        log_json,
    };
    let exported = Settings::from_environment();
    let exported = exported.and_then(|settings| telemetry::start(settings, Origin::Server));
    if let Err(message) = exported {
        return failed(message, EXIT_USAGE);
    }
    resident::forget_start();
    match server::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error, 1),
    }
}
