//! The processes of one start of a job: started together, judged together. One that is lost takes the others with it, so
//! they are one thing to the state machine.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs, io,
    path::PathBuf,
    process::{Child, Command},
};

use super::process::{Ending, ProcessId, Waiting, meaning, spawn};
use super::{OUTCOME_FINISHED, OUTCOME_GAVE_UP, OUTCOME_STOPPED, words};
use crate::cluster::ports::{free_loopback_ports, loopback_hosts};
use crate::control::folders::Folders;
use crate::control::lifecycle::{Exit, Observed};
use crate::control::logs;
use crate::control::registry::records::{Job, Replay, ReplayFrom, Version};
use crate::control::remote::TOKEN_VARIABLE;
use crate::telemetry::settings;

/// How long processes of a job wait for each other. Their ports are chosen anew at each start: one that another program
/// has taken in between costs no more than this.
const CONNECT_TIMEOUT: &str = "30s";

/// Starts processes of jobs and looks after them.
pub struct Crews {
    folders: Folders,
    /// This program: what jobs run in.
    program: PathBuf,
    /// Variables that name files from where this process is: jobs start in folders of their own.
    files: Vec<(String, PathBuf)>,
    /// Log lines as JSON.
    log_json: bool,
    /// Processes that this server has started, to be collected when they end.
    children: HashMap<i32, Child>,
    /// Where the search for free ports begins: those given out last are not taken yet, perhaps.
    ports_from: usize,
}

/// What is to be started.
pub struct Start<'a> {
    /// The job.
    pub job: &'a Job,
    /// The version of it.
    pub version: &'a Version,
    /// The number of this start.
    pub attempt: u64,
    /// What is said of it in the log.
    pub opening: String,
    /// The version's options for its first start count.
    pub first: bool,
    /// The job is taken over from the processes that run it.
    pub takes_over: bool,
}

/// Processes that run or have run.
pub struct Crew<'a> {
    /// The job.
    pub job: &'a Job,
    /// The number of their start.
    pub attempt: u64,
    /// They, by their index.
    pub processes: &'a [ProcessId],
    /// What they may use together, in bytes.
    pub memory_limit: Option<u64>,
}

impl Crews {
    /// Looks after nobody yet.
    ///
    /// # Errors
    /// If this program's own path, or the folder that it is in, cannot be had.
    pub fn new(folders: Folders, log_json: bool) -> io::Result<Self> {
        Ok(Self {
            folders,
            program: std::env::current_exe()?,
            files: settings::files()?,
            log_json,
            children: HashMap::new(),
            ports_from: std::process::id() as usize * 37,
        })
    }

    /// Starts all processes; none does anything before it is let go.
    ///
    /// # Errors
    /// If one of them cannot be started; the others are ended then.
    pub fn spawn(&mut self, start: &Start<'_>, now_ms: u64) -> io::Result<Vec<Waiting>> {
        let (job, version) = (start.job, start.version);
        let file = self.folders.write_job_file(&job.name, &version.text)?;
        self.folders
            .open_start(job.id, start.attempt, job.attempt)?;
        let working = self.folders.working(&job.name, version.shadow.as_deref());
        fs::create_dir_all(&working)?;
        let options = self.options(start)?;
        let processes = usize::from(version.processes);
        let hosts = match processes {
            1 => None,
            _ => Some(self.write_hosts(job.id, start.attempt, processes)?),
        };
        let mut started = Vec::new();
        for index in 0..processes {
            let mut command = Command::new(&self.program);
            command
                .current_dir(&working)
                .arg("run")
                .arg(&file)
                .args(&options);
            if let Some(hosts) = &hosts {
                command
                    .args(["--processes", &processes.to_string()])
                    .args(["--process", &index.to_string()])
                    .arg("--hosts")
                    .arg(hosts)
                    .args(["--connect-timeout", CONNECT_TIMEOUT]);
            }
            match self.spawn_one(command, start, index, now_ms) {
                Ok(waiting) => started.push(waiting),
                Err(error) => {
                    abandon(started);
                    return Err(error);
                }
            }
        }
        Ok(started)
    }

    /// What all processes are told besides the job file and their place.
    fn options(&self, start: &Start<'_>) -> io::Result<Vec<OsString>> {
        let (job, version) = (start.job, start.version);
        let mut options: Vec<OsString> = Vec::new();
        if let Some(shadow) = &version.shadow {
            options.extend([OsString::from("--shadow"), OsString::from(shadow)]);
        }
        if start.takes_over {
            let socket = self.folders.socket(job.id);
            options.extend([OsString::from("--take-over"), socket.into_os_string()]);
        }
        if start.first {
            let path = self.folders.offsets(&job.name);
            if let Some(Replay {
                from: ReplayFrom::Offsets(offsets),
                ..
            }) = &version.once.replay
            {
                fs::write(&path, serde_json::to_vec(offsets)?)?;
            }
            options.extend(version.once.arguments(&path));
        }
        Ok(options)
    }

    fn spawn_one(
        &self,
        mut command: Command,
        start: &Start<'_>,
        index: usize,
        now_ms: u64,
    ) -> io::Result<Waiting> {
        let (job, version) = (start.job, start.version);
        let folder = logs::of_process(&self.folders.logs(&job.name), index);
        fs::create_dir_all(&folder)?;
        logs::note(&folder, &start.opening)?;
        command
            .env_remove(TOKEN_VARIABLE)
            .envs(self.files.clone())
            .args(["--workers", &version.workers.to_string(), "--quiet"])
            .arg("--log-folder")
            .arg(&folder)
            .arg("--supervised")
            .arg(self.folders.outcome(job.id, start.attempt, index));
        if index == 0 {
            command.arg("--socket").arg(self.folders.socket(job.id));
        }
        if self.log_json {
            command.arg("--log-json");
        }
        spawn(command, &logs::path(&folder, logs::last(&folder)?), now_ms)
    }

    /// Ports that are free now, in a file that tells the processes where the others are.
    fn write_hosts(&mut self, id: u64, attempt: u64, processes: usize) -> io::Result<PathBuf> {
        let ports = free_loopback_ports(processes, self.ports_from).map_err(io::Error::other)?;
        // Those of another job, a moment later, must not be the same.
        self.ports_from = self.ports_from.wrapping_add(processes);
        let path = self.folders.hosts(id, attempt);
        fs::write(&path, loopback_hosts(&ports))?;
        Ok(path)
    }

    /// Lets processes go that have been noted, with what they need to know and nobody else may see.
    pub fn release(&mut self, started: Vec<Waiting>, message: &str) {
        for waiting in started {
            let pid = waiting.id.pid;
            self.children.insert(pid, waiting.release(message));
        }
    }

    /// They have ended, and nobody asks how any more.
    pub fn forget(&mut self, processes: &[ProcessId]) {
        for process in processes {
            self.children.remove(&process.pid);
        }
    }

    /// Looks at processes. Whether the job answers is not seen here.
    pub fn observe(&mut self, crew: &Crew<'_>) -> Observed {
        let mut seen = Observed::default();
        let mut used = 0;
        let mut worst: Option<(u8, usize, Ending)> = None;
        for (index, process) in crew.processes.iter().enumerate() {
            let Some(ending) = self.ending(crew, index, process) else {
                seen.alive += 1;
                used += process.resident_bytes().unwrap_or(0);
                continue;
            };
            let badness = badness(&ending);
            if worst.as_ref().is_none_or(|(worst, ..)| badness > *worst) {
                worst = Some((badness, index, ending));
            }
        }
        seen.ended = worst.map(|(_, index, ending)| (ending.exit, self.told(crew, index, ending)));
        if let Some(limit) = crew.memory_limit.filter(|limit| used > *limit) {
            seen.over_memory = Some(format!(
                "used {} MiB of memory, more than its limit of {} MiB",
                used >> 20,
                limit >> 20
            ));
        }
        seen
    }

    /// How a process ended, by its own account or its exit status; `None` if it runs.
    fn ending(&mut self, crew: &Crew<'_>, index: usize, process: &ProcessId) -> Option<Ending> {
        let ending = match self.children.get_mut(&process.pid).map(Child::try_wait) {
            Some(Ok(None)) => return None,
            Some(Ok(Some(status))) => meaning(status),
            Some(Err(_)) | None if process.is_alive() => return None,
            Some(Err(_)) | None => Ending::unseen(),
        };
        let outcome = self.folders.outcome(crew.job.id, crew.attempt, index);
        let exit = match fs::read_to_string(outcome).as_deref() {
            Ok(OUTCOME_FINISHED) => Exit::Finished,
            Ok(OUTCOME_STOPPED) => Exit::Stopped,
            Ok(OUTCOME_GAVE_UP) => Exit::Hopeless,
            _ => return Some(ending),
        };
        Some(Ending { exit, ..ending })
    }

    /// The last words of a process, with the end of its log.
    fn told(&self, crew: &Crew<'_>, index: usize, ending: Ending) -> String {
        let mut words = ending.how;
        if matches!(ending.exit, Exit::Failed | Exit::Hopeless) {
            let folder = logs::of_process(&self.folders.logs(&crew.job.name), index);
            if let Some(said) = words::last_error(&folder) {
                words = format!("{words}: {said}");
            }
        }
        match crew.processes.len() {
            1 => words,
            processes => format!("process {index} of {processes} {words}"),
        }
    }
}

/// Ends processes that were never let go.
pub fn abandon(started: Vec<Waiting>) {
    for waiting in started {
        let mut child = waiting.child;
        // It ends by itself without its standard input; being sure costs nothing.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Of several endings the worst is the job's, and who only lost another process is not the cause.
fn badness(ending: &Ending) -> u8 {
    match ending.exit {
        Exit::Finished => 0,
        Exit::Stopped => 1,
        Exit::Failed if ending.lost_a_peer => 2,
        Exit::Failed => 3,
        Exit::Hopeless => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_told_and_not_who_lost_it() {
        use std::os::unix::process::ExitStatusExt;
        let exited = |code: i32| meaning(std::process::ExitStatus::from_raw(code << 8));
        let killed = meaning(std::process::ExitStatus::from_raw(9));
        let lost = exited(crate::runtime::failure::EXIT_PEER_LOST);
        assert!(badness(&killed) > badness(&lost));
        assert!(badness(&exited(1)) > badness(&lost));
        assert!(badness(&exited(2)) > badness(&killed), "stays as it is");
        let stopped = Ending {
            exit: Exit::Stopped,
            ..exited(0)
        };
        assert!(badness(&lost) > badness(&stopped));
    }
}
