//! `tidewright get`: asks the running job over its local socket.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use super::failed;
use crate::control::socket::{Answer, DEFAULT_SOCKET, Request};

/// Arguments of `tidewright get`.
#[derive(Debug, Args)]
pub struct GetArguments {
    /// The sink, or the view that it is fed from.
    relation: String,
    /// The row's key; several columns are joined by `|`.
    key: String,
    /// The running job's socket.
    #[arg(long, default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// Exit code if there is no such row.
const EXIT_NOT_FOUND: u8 = 4;
/// How long the running job may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Shows one row as JSON.
pub fn get(arguments: &GetArguments) -> ExitCode {
    let request = Request::Get {
        relation: arguments.relation.clone(),
        key: arguments.key.clone(),
    };
    match ask(&arguments.socket, &request) {
        Ok(Answer::Row(row)) => {
            println!("{row:#}");
            ExitCode::SUCCESS
        }
        Ok(Answer::NotFound(message)) => failed(message, EXIT_NOT_FOUND),
        Ok(Answer::Refused(message)) => failed(message, super::EXIT_USAGE),
        Err(message) => failed(message, 1),
    }
}

fn ask(socket: &PathBuf, request: &Request) -> Result<Answer, String> {
    let connection = UnixStream::connect(socket).map_err(|error| {
        format!(
            "no job answers at {}: {error}. Start one in this folder with `tidewright demo` or `tidewright run`, or name \
             its socket with --socket",
            socket.display()
        )
    })?;
    let exchange = || -> std::io::Result<String> {
        connection.set_read_timeout(Some(TIMEOUT))?;
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        (&connection).write_all(line.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(&connection).read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|error| format!("the job did not answer: {error}"))?;
    serde_json::from_str(&answer)
        .map_err(|error| format!("the job's answer is not understood: {error}"))
}
