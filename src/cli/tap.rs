//! `tidewright tap`: rows as they pass, a line of JSON each.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use super::control::Output;
use super::remote::{self, ServerArguments};
use super::{EXIT_NOT_FOUND, failed};
use crate::control::api::tap::{LIMIT_MAX, SECONDS_MAX, TapSummary};
use crate::control::api::views::JobView;
use crate::control::client;
use crate::control::lifecycle::JobState;
use crate::control::protocol::{Answer, Request, TapEnd, TapRequest};
use crate::control::remote::{Remote, RemoteError, path_part};
use crate::control::socket::DEFAULT_SOCKET;
use crate::runtime::tap::{RATE_DEFAULT, RATE_MAX};

/// Arguments of `tidewright tap`.
#[derive(Debug, Args)]
pub struct TapArguments {
    /// The view or source.
    relation: String,
    /// A job of a server. Without it, the job that listens at the socket.
    #[arg(long, conflicts_with = "socket")]
    job: Option<String>,
    /// Ends after so many rows; without it, when you end it or the job ends.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Shows one row of so many.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Shows at most so many rows a second.
    #[arg(long, value_name = "N", default_value_t = RATE_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(RATE_MAX)))]
    rate: u32,
    #[command(flatten)]
    server: ServerArguments,
    /// The running job's socket.
    #[arg(long, default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// How the end is told: rows are lines of JSON in any case, and `json` adds a last one that says how many were left out.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How long a server may take for an answer that it ends by itself after [`SECONDS_MAX`].
const ANSWER_LIMIT: Duration = Duration::from_secs(SECONDS_MAX + 30);

/// Shows rows.
pub fn tap(arguments: &TapArguments) -> ExitCode {
    let mut shown = Showing {
        lines_left: arguments.limit,
        left_out: 0,
    };
    let ended = match &arguments.job {
        Some(job) => arguments.of_server(job, &mut shown),
        None => arguments.of_socket(&mut shown),
    };
    match ended {
        Ok(Some(ended)) => {
            match arguments.output {
                Output::Text => eprintln!("{}", shown.closing(ended)),
                Output::Json => return arguments.output.print(&shown.summary(ended), ""),
            }
            ExitCode::SUCCESS
        }
        // Nobody reads any more.
        Ok(None) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

/// Whether a server's job, which refuses a tap, has not come to its end: enough are open, or it is between two processes.
fn goes_on(server: &Remote, job: &str) -> Result<bool, ExitCode> {
    use JobState as State;
    let path = format!("/v1/jobs/{}", path_part(job));
    let job: JobView = server.get(&path).map_err(remote::told)?;
    let states = [State::Created, State::Running, State::Restarting];
    Ok(states.contains(&job.state))
}

/// What has been shown so far.
struct Showing {
    lines_left: Option<u64>,
    left_out: u64,
}

impl Showing {
    /// False once nobody reads any more.
    fn show<'a>(&mut self, lines: impl Iterator<Item = &'a str>) -> bool {
        let mut stdout = io::stdout().lock();
        let write = || {
            for line in lines {
                writeln!(stdout, "{line}")?;
                self.lines_left = self.lines_left.map(|left| left.saturating_sub(1));
            }
            stdout.flush()
        };
        write().is_ok()
    }

    fn summary(&self, ended: TapEnd) -> TapSummary {
        TapSummary {
            left_out: self.left_out,
            ended,
        }
    }

    fn closing(&self, ended: TapEnd) -> String {
        let mut closing = match ended {
            TapEnd::Job => "the job has ended".to_owned(),
            TapEnd::Limit | TapEnd::Time => "that was all".to_owned(),
        };
        if self.left_out > 0 {
            let left_out = self.left_out;
            closing += &format!(
                "; {left_out} more rows passed: --rate and --every say how many are shown"
            );
        }
        closing
    }
}

impl TapArguments {
    /// Shows rows of the job at the socket; gives why it ended, or nothing if nobody reads any more.
    fn of_socket(&self, showing: &mut Showing) -> Result<Option<TapEnd>, ExitCode> {
        let request = Request::Tap(TapRequest {
            relation: self.relation.clone(),
            limit: self.limit,
            seconds: None,
            every: self.every,
            rate: self.rate,
        });
        let mut asked = client::ask(&self.socket, &request).map_err(|error| failed(error, 1))?;
        let mut first = true;
        loop {
            let tapped = match asked.answer(Some(client::TIMEOUT)) {
                Ok(Answer::Tapped(tapped)) => tapped,
                Ok(Answer::NotFound(message)) => return Err(failed(message, EXIT_NOT_FOUND)),
                Ok(Answer::Refused(message)) => return Err(failed(message, 1)),
                Ok(other) => return Err(failed(client::unexpected(&other), 1)),
                // A job that ends waits for nobody who watches.
                Err(client::ClientError::Silent(error))
                    if !first && error.kind() == io::ErrorKind::UnexpectedEof =>
                {
                    return Ok(Some(TapEnd::Job));
                }
                Err(error) => return Err(failed(error, 1)),
            };
            first = false;
            showing.left_out = tapped.left_out;
            if !showing.show(tapped.lines.iter().map(String::as_str)) {
                return Ok(None);
            }
            if tapped.ended.is_some() {
                return Ok(tapped.ended);
            }
        }
    }

    /// The same of a server's job. A server ends each answer after a while: then it is asked again.
    fn of_server(&self, job: &str, showing: &mut Showing) -> Result<Option<TapEnd>, ExitCode> {
        let server = self.server.connect()?;
        let mut first = true;
        loop {
            let (mut is_read, mut summary) = (true, None);
            let path = self.path(job, showing.lines_left);
            let answered = server.get_lines(&path, ANSWER_LIMIT, |line| {
                match serde_json::from_str::<TapSummary>(line) {
                    Ok(last) => summary = Some(last),
                    Err(_) => is_read = showing.show(std::iter::once(line)),
                }
                is_read
            });
            match answered {
                Ok(()) => {}
                // It was there before.
                Err(RemoteError::Refused(problem)) if !first && problem.status == 409 => {
                    return match goes_on(&server, job)? {
                        true => Err(remote::told(RemoteError::Refused(problem))),
                        false => Ok(Some(TapEnd::Job)),
                    };
                }
                Err(error) => return Err(remote::told(error)),
            }
            if !is_read {
                return Ok(None);
            }
            let Some(summary) = summary else {
                let error = RemoteError::NotUnderstood("it has no last line".to_owned());
                return Err(remote::told(error));
            };
            first = false;
            showing.left_out += summary.left_out;
            if summary.ended == TapEnd::Job {
                return Ok(Some(TapEnd::Job));
            }
            if showing.lines_left == Some(0) {
                return Ok(Some(TapEnd::Limit));
            }
        }
    }

    fn path(&self, job: &str, left: Option<u64>) -> String {
        format!(
            "/v1/jobs/{}/tap/{}?limit={}&seconds={SECONDS_MAX}&every={}&rate={}",
            path_part(job),
            path_part(&self.relation),
            left.unwrap_or(LIMIT_MAX).min(LIMIT_MAX),
            self.every,
            self.rate
        )
    }
}
