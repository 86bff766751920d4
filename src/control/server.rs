//! The control plane's server: registry, supervisor and API put together.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use tokio::{net::TcpListener, sync::oneshot};

use super::api::{self, Api};
use super::files::AllowedFiles;
use super::folders::{Folders, write_private};
use super::healths::Healths;
use super::lifecycle::Policy;
use super::listener::{self, TlsFiles};
use super::registry::records::Role;
use super::registry::{Registry, tokens};
use super::scrape;
use super::supervisor::{Supervisor, now_ms};
use crate::metrics::exposition::Exposition;
use crate::telemetry;

/// How a server is run.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where everything is kept.
    pub data: PathBuf,
    /// Where the API is served.
    pub listen: SocketAddr,
    /// With TLS.
    pub tls: Option<TlsFiles>,
    /// What terminates TLS in front of it.
    pub tls_terminated_by: Option<String>,
    /// Folders that jobs may use.
    pub allow_files: Vec<PathBuf>,
    /// Times of restarts and stops.
    pub policy: Policy,
    /// It and its jobs log as JSON.
    pub log_json: bool,
}

/// A server that could not begin; the message says what, where and how to mend it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ServerError(String);

impl ServerError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Requests under way may take this long when the server ends.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the server until SIGINT or SIGTERM. Jobs go on without it.
///
/// # Errors
/// If it cannot begin.
pub fn run(options: ServerOptions) -> Result<(), ServerError> {
    listener::check_exposure(
        options.listen,
        options.tls.as_ref(),
        options.tls_terminated_by.as_deref(),
    )
    .map_err(ServerError)?;
    let tls = options.tls.as_ref().map(listener::tls_acceptor);
    let tls = tls
        .transpose()
        .map_err(|error| ServerError(format!("TLS cannot be used: {error}")))?;
    let allowed = AllowedFiles::new(&options.allow_files)
        .map_err(|error| ServerError(format!("--allow-files: {error}")))?;
    let folders = Folders::open(&options.data).map_err(|error| {
        let data = options.data.display();
        ServerError(format!("the folder {data} cannot be used: {error}"))
    })?;
    let registry = Arc::new(Registry::open(&folders.registry()).map_err(ServerError::of)?);
    first_token(&registry, &folders)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(ServerError::of)?;
    let listening = runtime.block_on(TcpListener::bind(options.listen));
    let listening = listening.map_err(|error| {
        let address = options.listen;
        ServerError(format!(
            "cannot listen at {address}: {error}. Name another place with --listen"
        ))
    })?;
    let address = listening.local_addr().map_err(ServerError::of)?;
    let ended = end_on_signals()?;
    let wake = Supervisor::start(
        registry.clone(),
        folders.clone(),
        allowed.clone(),
        options.policy,
        options.log_json,
    )
    .map_err(ServerError::of)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let begun = format!(
        "serving at {scheme}://{address}, data in {}; the first admin token is in {}",
        options.data.display(),
        folders.admin_token().display()
    );
    say(&begun, options.log_json);
    let known = (registry.clone(), folders.clone());
    telemetry::export_metrics(move || own_metrics(&known.0, &known.1)).map_err(ServerError)?;
    let healths = Healths::watch(registry.clone(), folders.clone()).map_err(ServerError::of)?;
    let router = api::router(Api::new(registry, folders, allowed, wake, healths));
    runtime.spawn(listener::serve(listening, tls, router));
    // Nobody can be left to send the signal's news: then there is no more to wait for either.
    let _ = runtime.block_on(ended);
    runtime.shutdown_timeout(END_PATIENCE);
    let ended = "the server ends; jobs go on, and the next server looks after them again";
    say(ended, options.log_json);
    Ok(())
}

/// Nothing while the registry cannot be read, which every request finds out as well.
fn own_metrics(registry: &Registry, folders: &Folders) -> Exposition {
    let jobs = registry.jobs().unwrap_or_default();
    scrape::own(&jobs, folders)
}

/// Tells whoever looks at standard error, where the log is as well.
fn say(text: &str, log_json: bool) {
    match log_json {
        true => tracing::info!("{text}"),
        false => eprintln!("{text}"),
    }
}

/// A server without tokens could never be used: the first one goes into a file that only the server's user can read.
fn first_token(registry: &Registry, folders: &Folders) -> Result<(), ServerError> {
    if !registry.tokens().map_err(ServerError::of)?.is_empty() {
        return Ok(());
    }
    let secret = tokens::new_secret();
    let path = folders.admin_token();
    // First the file: a token that is registered but was never written down would lock everybody out.
    write_private(&path, &format!("{secret}\n"))
        .map_err(|error| ServerError(format!("cannot write {}: {error}", path.display())))?;
    registry
        .add_token("admin", Role::Admin, &secret, now_ms())
        .map_err(ServerError::of)?;
    Ok(())
}

fn end_on_signals() -> Result<oneshot::Receiver<()>, ServerError> {
    let (ended, receiver) = oneshot::channel();
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(ServerError::of)?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if signals.forever().next().is_some() {
                // The receiver waits as long as the server runs.
                let _ = ended.send(());
            }
        })
        .map_err(ServerError::of)?;
    Ok(receiver)
}
