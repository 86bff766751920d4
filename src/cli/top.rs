//! `tidewright top`: what jobs do, as it changes.

mod ask;
mod job_page;
mod jobs_page;
mod numbers;
mod prose;
mod table;
mod terminal;
mod view;
mod whole;

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
    sync::mpsc::{TryRecvError, channel, sync_channel},
    thread,
    time::Duration,
};

use clap::Args;

use self::ask::{LOOK_EVERY, Place, Target, keep_looking};
use self::terminal::Screen;
use self::view::{Effect, View};
use super::control::Output;
use super::failed;
use super::remote::ServerArguments;
use crate::control::socket::DEFAULT_SOCKET;

/// Arguments of `tidewright top`.
#[derive(Debug, Args)]
pub struct TopArguments {
    /// A job of a server. Without it the job that listens at the socket, if there is one, else all jobs of the server.
    #[arg(conflicts_with = "socket")]
    job: Option<String>,
    #[command(flatten)]
    server: ServerArguments,
    /// The socket of a job on this machine.
    #[arg(long, default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// How it is shown where it is no terminal: once.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How often keys are looked for, and the display follows the clock.
const TICK: Duration = Duration::from_millis(100);

/// Shows jobs until a key ends it; once, where the output is no terminal.
pub fn top(arguments: &TopArguments) -> ExitCode {
    let (place, target) = match arguments.place() {
        Ok(place) => place,
        Err(code) => return code,
    };
    let interactive =
        arguments.output == Output::Text && io::stdout().is_terminal() && io::stdin().is_terminal();
    if !interactive {
        return once(&place, target, arguments.output);
    }
    match watch(place, target) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(format!("the terminal cannot be used: {error}"), 1),
    }
}

impl TopArguments {
    fn place(&self) -> Result<(Place, Target), ExitCode> {
        let named = self.socket.as_os_str() != DEFAULT_SOCKET;
        if self.job.is_none() && (named || self.socket.exists()) {
            return Ok((Place::Socket(self.socket.clone()), Target::Socket));
        }
        let server = self.server.connect()?;
        let target = self.job.clone().map_or(Target::Jobs, Target::Job);
        Ok((Place::Server(server), target))
    }
}

/// Looks twice, so that there are rates, and prints what it has seen.
fn once(place: &Place, target: Target, output: Output) -> ExitCode {
    let mut view = View::new(target.clone());
    let mut last = None;
    for pause in [Duration::ZERO, LOOK_EVERY] {
        thread::sleep(pause);
        match place.look(&target) {
            Ok(seen) => {
                last = Some(seen.clone());
                view.see(&target, Ok(seen));
            }
            Err(unseen) => return failed(unseen.why, unseen.code),
        }
    }
    let text: Vec<_> = view
        .lines(usize::MAX)
        .iter()
        .map(|line| line.to_string())
        .collect();
    let lines: Vec<_> = text.iter().map(|line| line.trim_end()).collect();
    output.print(&last, &lines.join("\n"))
}

/// Looks on a thread of its own, so that keys are answered whatever a server does.
fn watch(place: Place, target: Target) -> io::Result<()> {
    let (targets, wanted) = channel();
    let (sender, seen) = sync_channel(1);
    let mut view = View::new(target.clone());
    let mut screen = Screen::take()?;
    thread::Builder::new()
        .name("look".to_owned())
        .spawn(move || keep_looking(&place, target, &wanted, &sender))?;
    let mut changed = true;
    loop {
        match seen.try_recv() {
            Ok((target, seen)) => {
                view.see(&target, seen);
                changed = true;
            }
            Err(TryRecvError::Empty) => {}
            // It ends only by a panic, which has said why.
            Err(TryRecvError::Disconnected) => return Err(io::Error::other("nobody looks")),
        }
        if changed {
            screen.draw(|frame| frame.render_widget(&view, frame.area()))?;
        }
        let wish = screen.wish(TICK)?;
        changed = wish.is_some();
        match wish.map(|wish| view.wish(wish)) {
            None | Some(Effect::None) => {}
            Some(Effect::End) => return Ok(()),
            Some(Effect::Look(target)) => {
                // Whoever looks lives as long as this loop.
                let _ = targets.send(target);
            }
        }
    }
}
