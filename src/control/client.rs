//! Asks a running job over its local socket.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use super::protocol::{Answer, Request};

/// How long a running job may take for a request that it answers at once.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// A request that brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no job answers at {path}: {source}. Start one in this folder with `tidewright demo` or `tidewright run`, or name \
         its socket with --socket"
    )]
    Absent {
        /// Where.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The job ended, or took too long.
    #[error("the job did not answer: {0}")]
    Silent(#[from] io::Error),
    /// The answer comes from another release, or from something else.
    #[error("the job's answer is not understood: {0}")]
    NotUnderstood(#[from] serde_json::Error),
}

/// A request under way: its answers can be read one by one.
#[derive(Debug)]
pub struct Asked {
    answers: BufReader<UnixStream>,
}

impl Asked {
    /// The next answer. `timeout`: how long to wait for it; `None` for as long as the job lives.
    ///
    /// # Errors
    /// [`ClientError::Silent`] if the job ends or is too slow.
    pub fn answer(&mut self, timeout: Option<Duration>) -> Result<Answer, ClientError> {
        self.answers.get_ref().set_read_timeout(timeout)?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            let ended = "it ended before it answered";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, ended).into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

/// Sends a request.
///
/// # Errors
/// [`ClientError`] if there is no job or it does not listen.
pub fn ask(socket: &Path, request: &Request) -> Result<Asked, ClientError> {
    let connection = UnixStream::connect(socket).map_err(|source| ClientError::Absent {
        path: socket.display().to_string(),
        source,
    })?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    (&connection).write_all(line.as_bytes())?;
    Ok(Asked {
        answers: BufReader::new(connection),
    })
}

/// Sends a request that is answered once and at once.
///
/// # Errors
/// As [`ask`].
pub fn ask_once(socket: &Path, request: &Request) -> Result<Answer, ClientError> {
    ask(socket, request)?.answer(Some(TIMEOUT))
}

/// The message for an answer that does not fit the request.
#[must_use]
pub fn unexpected(answer: &Answer) -> String {
    format!("the job's answer is not understood: {answer:?}")
}
