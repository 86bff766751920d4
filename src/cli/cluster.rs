//! Arguments of `tidewright run` that spread a job over several processes.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use clap::Args;
use tidewright_checkpoints::ids::key_hash;
use tidewright_jobs::units::DurationMs;

use crate::cluster::{ClusterOptions, Hosts, Tls, TlsFiles};

/// Which process this is, and where the others are.
#[derive(Debug, Args)]
#[command(next_help_heading = "More than one process")]
pub struct ClusterArguments {
    /// How many processes run this job; each is started with the same job file and options.
    #[arg(long, value_name = "N", requires_all = ["process", "hosts"], value_parser = clap::value_parser!(u16).range(1..=256))]
    processes: Option<u16>,
    /// Which of them this one is: 0 to N-1.
    #[arg(long, value_name = "I", requires_all = ["processes", "hosts"])]
    pub process: Option<u16>,
    /// A file with one host:port per line: line I is where process I can be reached.
    #[arg(long, value_name = "FILE", requires_all = ["processes", "process"])]
    hosts: Option<PathBuf>,
    /// Starts N processes on this machine, connected over loopback, and ends when they have ended.
    #[arg(long, value_name = "N", conflicts_with_all = ["processes", "process", "hosts"], value_parser = clap::value_parser!(u16).range(1..=256))]
    pub launch: Option<u16>,
    /// How long to wait for the other processes at the start.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    connect_timeout: Duration,
    /// The authority whose certificates all processes have (PEM). With it, every connection is TLS, and both sides are checked.
    #[arg(long, value_name = "FILE", requires_all = ["tls_cert", "tls_key"])]
    tls_ca: Option<PathBuf>,
    /// This process's certificate (PEM), valid for its host in the hosts file.
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_cert"])]
    tls_key: Option<PathBuf>,
    /// The launching process, with which this one ends.
    #[arg(long, hide = true)]
    pub launched_by: Option<u32>,
}

fn duration(text: &str) -> Result<Duration, String> {
    DurationMs::parse(text)
        .map(|ms| Duration::from_millis(ms.0))
        .ok_or_else(|| "expected a duration such as 60s or 2m".to_owned())
}

impl ClusterArguments {
    /// This process is one of several but not the first.
    pub fn follows(&self) -> bool {
        self.process.is_some_and(|process| process > 0)
    }

    /// How many processes run the job.
    pub fn count(&self) -> u16 {
        self.processes.unwrap_or(1)
    }

    /// What the job needs to find the others; nothing if there are none. `agreed` must be the same in all of them.
    pub fn options(
        &self,
        agreed: BTreeMap<String, String>,
    ) -> Result<Option<ClusterOptions>, String> {
        let (Some(processes), Some(process), Some(hosts)) =
            (self.processes, self.process, &self.hosts)
        else {
            return Ok(None);
        };
        if process >= processes {
            return Err(format!(
                "--process {process} is not one of {processes} processes: they are numbered from 0 to {}",
                processes - 1
            ));
        }
        let hosts = Hosts::read(hosts, usize::from(processes))?;
        let tls = self.tls()?;
        if tls.is_none()
            && let Some(host) = hosts.beyond_loopback()
        {
            return Err(format!(
                "{host} is not a loopback address, and without TLS processes may only talk on one machine: whoever reaches the \
                 port could read and change the job's data. Give every process a certificate (--tls-ca, --tls-cert, --tls-key)"
            ));
        }
        if processes == 1 {
            return Ok(None);
        }
        Ok(Some(ClusterOptions {
            index: usize::from(process),
            hosts,
            tls,
            connect_timeout: self.connect_timeout,
            agreed,
        }))
    }

    fn tls(&self) -> Result<Option<Tls>, String> {
        let (Some(ca), Some(cert), Some(key)) = (&self.tls_ca, &self.tls_cert, &self.tls_key)
        else {
            return Ok(None);
        };
        let files = TlsFiles {
            ca: ca.clone(),
            cert: cert.clone(),
            key: key.clone(),
        };
        Tls::load(&files).map(Some)
    }
}

/// What tells one job file with its overrides from another: secrets and addresses that stand in the environment don't count.
pub fn fingerprint(text: &str, overrides: &[(String, String)]) -> String {
    format!(
        "{:016x}",
        key_hash(format!("{text}\n{overrides:?}").as_bytes())
    )
}
