//! The local socket of a running job. Embedded stores lock out other processes, so their rows are read through the
//! process that writes them; savepoints and stops are asked for here.
//!
//! Every connection has a thread of its own, so that a request that takes long blocks no other; their number is bounded.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::protocol::{Answer, Request};

/// Where `run` listens and other commands ask unless told otherwise.
pub const DEFAULT_SOCKET: &str = "tidewright-data/control.sock";
/// A longer request is refused.
const REQUEST_BYTES_MAX: u64 = 64 << 10;
/// How long a client may take to ask, and the last answers when the process ends.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may take to take an answer: somebody may be paging through what a tap shows.
const TAKING_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections that are served at a time.
const CONNECTIONS_MAX: usize = 32;

/// Takes the answers to one request; false once the client is gone.
pub type Reply<'a> = &'a mut dyn FnMut(Answer) -> bool;
/// Answers requests: mostly once.
pub type Respond = Arc<dyn Fn(Request, Reply<'_>) + Send + Sync>;

/// A listening socket; its file goes away with it, once open requests have been answered.
#[derive(Debug)]
pub struct Listening {
    path: PathBuf,
    connections: Arc<Connections>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It may have been replaced by another process's; nothing is lost if it stays.
        let _ = std::fs::remove_file(&self.path);
        self.connections.wait_for_answers();
    }
}

/// The connections that are open, and how many of them wait for an answer.
#[derive(Debug, Default)]
struct Connections {
    counts: Mutex<Counts>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct Counts {
    open: usize,
    unanswered: usize,
}

impl Connections {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection, if there may be one more.
    fn open(self: &Arc<Self>) -> Option<OpenConnection> {
        let mut counts = self.counts();
        (counts.open < CONNECTIONS_MAX).then(|| {
            counts.open += 1;
            OpenConnection(self.clone())
        })
    }

    /// The process is about to end: whoever asked in time gets the answer, unless the client doesn't take it.
    fn wait_for_answers(&self) {
        let unanswered = |counts: &mut Counts| counts.unanswered > 0;
        // A poisoned lock means a panic, which has ended the process.
        drop(
            self.answered
                .wait_timeout_while(self.counts(), TIMEOUT, unanswered),
        );
    }
}

struct OpenConnection(Arc<Connections>);

impl OpenConnection {
    fn asked(&self) {
        self.0.counts().unanswered += 1;
    }

    fn answered(&self) {
        self.0.counts().unanswered -= 1;
        self.0.answered.notify_all();
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.counts().open -= 1;
    }
}

/// Listens at `path` and answers each connection on a thread of its own. A file that nobody listens at any more is replaced. Who finds
/// the file there finds somebody who answers.
///
/// # Errors
/// If the socket cannot be made, or another job listens there.
pub fn listen(path: &Path, respond: Respond) -> io::Result<Listening> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("another job listens at {}", path.display()),
        ));
    }
    let listener = bind(path)?;
    let connections = Arc::new(Connections::default());
    let accepting = connections.clone();
    thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                accept(stream, accepting.open(), respond.clone());
            }
        })?;
    Ok(Listening {
        path: path.to_owned(),
        connections,
    })
}

/// A socket has its name before it listens, and refuses connections until then: so it is bound under another name first.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let early = path.with_file_name(format!(".{}", std::process::id()));
    // What a process that was killed here left behind.
    if let Err(error) = std::fs::remove_file(&early)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(&early)?;
    if let Err(error) = std::fs::rename(&early, path) {
        // What stays is removed by the next process with this id.
        let _ = std::fs::remove_file(&early);
        return Err(error);
    }
    Ok(listener)
}

fn accept(stream: UnixStream, open: Option<OpenConnection>, respond: Respond) {
    let Some(open) = open else {
        let full = format!("{CONNECTIONS_MAX} requests are being answered: ask again later");
        // A client that goes away is not told.
        let _ = set_timeouts(&stream).and_then(|()| send(&stream, &Answer::Refused(full)));
        return;
    };
    let spawned = thread::Builder::new()
        .name("control-answer".to_owned())
        .spawn(move || {
            // One client's trouble is no other's.
            if let Err(error) = serve(&stream, &open, &respond) {
                tracing::debug!(%error, "a client of the control socket went away");
            }
        });
    if let Err(error) = spawned {
        tracing::warn!(%error, "a request to the control socket cannot be answered");
    }
}

fn set_timeouts(stream: &UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TAKING_TIMEOUT))
}

fn send(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    stream.write_all(line.as_bytes())
}

fn serve(stream: &UnixStream, open: &OpenConnection, respond: &Respond) -> io::Result<()> {
    set_timeouts(stream)?;
    let mut line = String::new();
    BufReader::new(stream.take(REQUEST_BYTES_MAX)).read_line(&mut line)?;
    let request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => {
            let refused = format!("the request is not understood: {error}");
            return send(stream, &Answer::Refused(refused));
        }
    };
    // Whoever watches gets no last answer: the end of a process waits for nobody who has stopped reading.
    let waits = !matches!(request, Request::Tap(_));
    if waits {
        open.asked();
    }
    let mut sent = Ok(());
    respond(request, &mut |answer| {
        if sent.is_ok() {
            sent = send(stream, &answer);
        }
        sent.is_ok()
    });
    if waits {
        open.answered();
    }
    sent
}

#[cfg(test)]
mod tests;
