//! The local socket of a running job: one JSON request and one JSON answer, a line each. Embedded stores lock out other
//! processes, so their rows are read through the process that writes them.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// Where `run` listens and `get` asks unless told otherwise.
pub const DEFAULT_SOCKET: &str = "tidewright-data/control.sock";
/// A longer request is refused.
const REQUEST_BYTES_MAX: u64 = 64 << 10;
/// How long a client may take to ask.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A row of an embedded store.
    Get {
        /// The sink, or the view that it is fed from.
        relation: String,
        /// The key as text.
        key: String,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The row.
    Row(serde_json::Value),
    /// There is no such row.
    NotFound(String),
    /// The request makes no sense here.
    Refused(String),
}

/// Answers requests.
pub type Respond = Arc<dyn Fn(Request) -> Answer + Send + Sync>;

/// A listening socket; its file goes away with it.
#[derive(Debug)]
pub struct Listening {
    path: PathBuf,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It may have been replaced by another process's; nothing is lost if it stays.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Listens at `path` and answers on a thread of its own. A file that nobody listens at any more is replaced.
///
/// # Errors
/// If the socket cannot be made, or another job listens there.
pub fn listen(path: &Path, respond: Respond) -> io::Result<Listening> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if path.exists() {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("another job listens at {}", path.display()),
            ));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            for connection in listener.incoming().flatten() {
                // One client's trouble is no other's.
                if let Err(error) = serve(&connection, &respond) {
                    tracing::debug!(%error, "a client of the control socket went away");
                }
            }
        })?;
    Ok(Listening {
        path: path.to_owned(),
    })
}

fn serve(connection: &UnixStream, respond: &Respond) -> io::Result<()> {
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    let mut line = String::new();
    BufReader::new(connection.take(REQUEST_BYTES_MAX)).read_line(&mut line)?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => respond(request),
        Err(error) => Answer::Refused(format!("the request is not understood: {error}")),
    };
    let mut answer = serde_json::to_string(&answer)?;
    answer.push('\n');
    let mut connection = connection;
    connection.write_all(answer.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(path: &Path, line: &str) -> Answer {
        let mut connection = UnixStream::connect(path).expect("somebody listens");
        connection.write_all(line.as_bytes()).expect("writes");
        let mut answer = String::new();
        BufReader::new(connection)
            .read_line(&mut answer)
            .expect("answers");
        serde_json::from_str(&answer).expect("is an answer")
    }

    #[test]
    fn requests_are_answered_and_nonsense_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/control.sock");
        let respond: Respond = Arc::new(|Request::Get { relation, key }| {
            Answer::Row(serde_json::json!({"relation": relation, "key": key}))
        });
        let listening = listen(&path, respond.clone()).expect("listens");
        let answer = ask(
            &path,
            "{\"get\":{\"relation\":\"customer\",\"key\":\"u1\"}}\n",
        );
        assert_eq!(
            answer,
            Answer::Row(serde_json::json!({"relation": "customer", "key": "u1"}))
        );
        assert!(matches!(ask(&path, "nonsense\n"), Answer::Refused(_)));
        assert!(listen(&path, respond).is_err(), "the place is taken");
        drop(listening);
        assert!(!path.exists());
    }
}
