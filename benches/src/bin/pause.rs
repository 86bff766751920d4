//! Measures for how long the deliveries of a running job stand still while another process takes it over.
//!
//! Asks for the job's status again and again over its local socket and notes when the delivered frontier moves. Who answers does
//! not matter: the frontier is an epoch of the job, and goes on from one process to the next.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use serde::Serialize;
use serde_json::Value;
use tidewright_benches::{Result, exit};

/// Watches a job until a process with other workers has delivered, and prints the longest pause as JSON.
#[derive(Parser)]
struct Arguments {
    /// The job's socket.
    #[arg(long)]
    socket: PathBuf,
    /// The number of workers to wait for.
    #[arg(long)]
    workers: u64,
    /// How long to watch after the new workers have delivered.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Pause between two questions, in milliseconds: what is measured is exact to about this.
    #[arg(long, default_value_t = 5)]
    every_ms: u64,
    /// How long to wait for the new workers.
    #[arg(long, default_value_t = 300)]
    patience_seconds: u64,
}

#[derive(Serialize)]
struct Report {
    /// The longest time without progress before anybody took over: what is usual.
    usual_ms: f64,
    /// The longest time without progress around the change.
    pause_ms: f64,
}

fn main() -> ExitCode {
    exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    let (mut usual, mut pause) = (Duration::ZERO, Duration::ZERO);
    let mut first_workers = None;
    let mut last: Option<(u64, Instant)> = None;
    let mut changed_at: Option<Instant> = None;
    loop {
        if let Some((workers, delivered)) = ask(&arguments.socket) {
            let now = Instant::now();
            let first = *first_workers.get_or_insert(workers);
            match last {
                Some((epoch, _)) if delivered <= epoch => {}
                Some((_, at)) if changed_at.is_none() && workers == first => {
                    usual = usual.max(now - at)
                }
                Some((_, at)) => pause = pause.max(now - at),
                None => {}
            }
            if last.is_none_or(|(epoch, _)| delivered > epoch) {
                last = Some((delivered, now));
                if workers == arguments.workers && workers != first {
                    changed_at.get_or_insert(now);
                }
            }
        }
        match changed_at {
            Some(at) if at.elapsed() > Duration::from_secs(arguments.seconds) => break,
            None if started.elapsed() > Duration::from_secs(arguments.patience_seconds) => {
                return Err(format!(
                    "no process with {} workers delivered anything",
                    arguments.workers
                )
                .into());
            }
            _ => thread::sleep(Duration::from_millis(arguments.every_ms)),
        }
    }
    let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    let report = Report {
        usual_ms: ms(usual),
        pause_ms: ms(pause),
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// The workers and the delivered epoch, if anybody answers.
fn ask(socket: &Path) -> Option<(u64, u64)> {
    let connection = UnixStream::connect(socket).ok()?;
    (&connection).write_all(b"{\"status\":{}}\n").ok()?;
    let mut line = String::new();
    BufReader::new(&connection).read_line(&mut line).ok()?;
    let answer: Value = serde_json::from_str(&line).ok()?;
    let status = answer.get("status")?;
    let delivered = status["frontiers"]["delivered"]["epoch"].as_u64()?;
    Some((status["workers"].as_u64()?, delivered))
}
