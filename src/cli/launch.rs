//! `tidewright run --launch N`: all processes of a job on this machine, with one fate.
//!
//! The children are this program with the same arguments. They belong to process groups of their own, so that Ctrl-C on
//! the terminal reaches only the launcher, which passes it on; and they end with it, however it ends.

use std::{
    ffi::OsString,
    fs::File,
    io::Write,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Child, Command, ExitCode, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use super::failed;
use crate::cluster::ports::{free_loopback_ports, loopback_hosts};
use crate::runtime::epoch::wall_clock_ms;
use crate::runtime::failure::EXIT_PEER_LOST;

/// How long the others may take to end by themselves after one has failed; then they are killed.
const END_LIMIT: Duration = Duration::from_secs(8);
/// How often children and signals are looked after.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One started process.
struct Launched {
    index: usize,
    child: Child,
    status: Option<ExitStatus>,
}

/// Runs all processes and returns the exit code of the one that failed first, if any.
pub fn launch(processes: u16) -> ExitCode {
    match run(usize::from(processes)) {
        Ok(code) => code,
        Err(message) => failed(message, 1),
    }
}

fn run(processes: usize) -> Result<ExitCode, String> {
    let name = format!(
        "tidewright-hosts-{}-{}",
        std::process::id(),
        wall_clock_ms()
    );
    let hosts = std::env::temp_dir().join(name);
    let ports = free_loopback_ports(processes, std::process::id() as usize * 37)?;
    let lines = loopback_hosts(&ports);
    // Never a file that somebody else has put there.
    File::create_new(&hosts)
        .and_then(|mut file| file.write_all(lines.as_bytes()))
        .map_err(|error| format!("cannot write {}: {error}", hosts.display()))?;
    let code = start_all(processes, &hosts).and_then(watch);
    // Whoever cleans up temporary files would find it otherwise.
    let _ = std::fs::remove_file(&hosts);
    code
}

fn start_all(processes: usize, hosts: &Path) -> Result<Vec<Launched>, String> {
    let program = std::env::current_exe()
        .map_err(|error| format!("cannot find this program to start it again: {error}"))?;
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let mut all = Vec::new();
    for index in 0..processes {
        let mut command = Command::new(&program);
        command
            .args(without_launch(&arguments))
            .args(["--processes", &processes.to_string()])
            .args(["--process", &index.to_string()])
            .arg("--hosts")
            .arg(hosts)
            .args(["--launched-by", &std::process::id().to_string()])
            .process_group(0);
        match command.spawn() {
            Ok(child) => all.push(Launched {
                index,
                child,
                status: None,
            }),
            Err(error) => {
                kill_all(&mut all);
                return Err(format!("cannot start process {index}: {error}"));
            }
        }
    }
    Ok(all)
}

/// The arguments of this process but for `--launch N`.
fn without_launch(arguments: &[OsString]) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--launch" {
            rest.next();
        } else if !argument.to_string_lossy().starts_with("--launch=") {
            kept.push(argument.clone());
        }
    }
    kept
}

/// Waits for all processes, passes signals on, and ends the others soon after one has failed.
fn watch(mut all: Vec<Launched>) -> Result<ExitCode, String> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM]).map_err(|error| format!("cannot take signals: {error}"))?;
    let mut failed = Vec::new();
    let mut failed_at: Option<Instant> = None;
    while all.iter().any(|launched| launched.status.is_none()) {
        for launched in all.iter_mut().filter(|launched| launched.status.is_none()) {
            launched.status = launched
                .child
                .try_wait()
                .map_err(|error| format!("cannot wait for process {}: {error}", launched.index))?;
            if let Some(status) = launched.status.filter(|status| !status.success()) {
                failed.push((launched.index, status));
                failed_at.get_or_insert_with(Instant::now);
            }
        }
        for _ in signals.pending() {
            signal_all(&all);
        }
        if failed_at.is_some_and(|at| at.elapsed() > END_LIMIT) {
            kill_all(&mut all);
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(verdict(&failed, all.len()))
}

/// Passes a signal on: the first asks for a final checkpoint, the second ends at once.
fn signal_all(all: &[Launched]) {
    for launched in all.iter().filter(|launched| launched.status.is_none()) {
        if let Some(id) = i32::try_from(launched.child.id())
            .ok()
            .and_then(Pid::from_raw)
        {
            // An error means that it has ended, which the next look finds out.
            let _ = kill_process(id, Signal::TERM);
        }
    }
}

/// Ends what still runs, and notes how it ended: not as a failure of its own.
fn kill_all(all: &mut [Launched]) {
    for launched in all.iter_mut().filter(|launched| launched.status.is_none()) {
        // An error means that it has ended by itself.
        let _ = launched.child.kill();
        launched.status = launched.child.wait().ok();
    }
}

/// Tells which process failed. Those that only lost a peer are its victims.
fn verdict(failed: &[(usize, ExitStatus)], processes: usize) -> ExitCode {
    let is_cause = |(_, status): &&(usize, ExitStatus)| status.code() != Some(EXIT_PEER_LOST);
    let Some((index, status)) = failed.iter().find(is_cause).or(failed.first()) else {
        return ExitCode::SUCCESS;
    };
    let (how, code) = match (status.code(), status.signal()) {
        (Some(code), _) => (format!("ended with exit code {code}"), code),
        (None, Some(signal)) => (format!("was ended by signal {signal}"), 128 + signal),
        (None, None) => ("ended".to_owned(), 1),
    };
    super::failed(
        format!("process {index} of {processes} {how}, and the others ended with it"),
        u8::try_from(code).unwrap_or(1),
    )
}

/// Ends this process together with the one that has launched it.
pub fn end_with_launcher(launcher: u32) -> Result<(), String> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("cannot end with the launching process: {error}"))?;
    // It may have ended before.
    let parent = rustix::process::getppid().map(Pid::as_raw_nonzero);
    match parent.and_then(|parent| u32::try_from(parent.get()).ok()) {
        Some(parent) if parent == launcher => Ok(()),
        _ => Err("the launching process has ended".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_get_the_same_arguments_but_for_the_launch() {
        for (given, kept) in [
            (
                "run job.yaml --launch 3 --workers 2",
                "run job.yaml --workers 2",
            ),
            ("run --launch=3 job.yaml", "run job.yaml"),
        ] {
            let given: Vec<_> = given.split(' ').map(OsString::from).collect();
            let found = without_launch(&given);
            let kept: Vec<_> = kept.split(' ').map(OsString::from).collect();
            assert_eq!(found, kept);
        }
    }

    #[test]
    fn the_process_that_failed_is_told_from_those_that_lost_it() {
        let exited = |code: i32| ExitStatus::from_raw(code << 8);
        let told = |failed: &[(usize, ExitStatus)]| format!("{:?}", verdict(failed, 3));
        let code = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(told(&[]), code(0));
        assert_eq!(told(&[(0, exited(5)), (2, exited(101))]), code(101));
        assert_eq!(
            told(&[(0, exited(5)), (1, ExitStatus::from_raw(9))]),
            code(137)
        );
        assert_eq!(told(&[(0, exited(5)), (2, exited(5))]), code(5));
    }
}
