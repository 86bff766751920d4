//! A control plane under test, the processes of its jobs, and an HTTP client that hides nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use reqwest::{Method, header::HeaderMap};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    eventually::eventually,
    process::{Command, Process},
};

const LIMIT: Duration = Duration::from_secs(60);

/// A server with a folder of its own. Its jobs are ended with it.
pub struct Server {
    pub folder: TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    process: Option<Process>,
    pub url: String,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The text as JSON; null if it is none.
    pub body: Value,
}

impl Reply {
    pub fn media_type(&self) -> &str {
        let value = self.headers.get("content-type");
        value.map_or("", |value| value.to_str().unwrap())
    }
}

impl Server {
    /// Starts one that tries again quickly.
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        let environment = environment.iter();
        let mut server = Self {
            folder: TempDir::new().unwrap(),
            arguments: arguments.collect(),
            environment: environment
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            process: None,
            url: String::new(),
        };
        server.start_again();
        server
    }

    /// Where it keeps everything.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Starts it, for the first time or after [`Self::kill`].
    pub fn start_again(&mut self) {
        let mut process = self.command().start();
        self.url = eventually(LIMIT, "the server listens", || {
            let log = process.stderr();
            assert!(process.is_running(), "the server ended:\n{log}");
            let (_, rest) = log.split_once("serving at ")?;
            Some(rest.split_once(',')?.0.to_owned())
        });
        self.process = Some(process);
    }

    /// The command that starts it.
    pub fn command(&self) -> Command {
        let mut command = Command::tidewright(self.folder.path())
            .arg("serve")
            .arg("--data")
            .arg(self.data())
            .env("RUST_LOG", "info");
        for (option, value) in [
            ("--listen", "127.0.0.1:0"),
            ("--restart-delay", "50ms"),
            ("--restart-delay-max", "400ms"),
        ] {
            if !self.arguments.iter().any(|argument| argument == option) {
                command = command.args([option, value]);
            }
        }
        for (name, value) in &self.environment {
            command = command.env(name, value);
        }
        command.args(&self.arguments)
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    /// `kill -9` of the server alone.
    pub fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    pub fn admin_token(&self) -> String {
        let token = fs::read_to_string(self.data().join("admin.token")).unwrap();
        token.trim().to_owned()
    }

    /// A command of the command line, as the admin, run to its end.
    pub fn cli(&self, arguments: &[&str]) -> Process {
        self.cli_command(arguments).run(LIMIT)
    }

    /// The same, not started yet.
    pub fn cli_command(&self, arguments: &[&str]) -> Command {
        Command::tidewright(&self.folder.path().join("cli"))
            .args(arguments)
            .env("TIDEWRIGHT_SERVER", &*self.url)
            .env("TIDEWRIGHT_TOKEN", self.admin_token())
    }

    /// A command that must succeed, and the JSON that it prints.
    #[track_caller]
    pub fn cli_json(&self, arguments: &[&str]) -> Value {
        let mut process = self.cli(&[arguments, &["--output", "json"]].concat());
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let status = process.status().unwrap();
        assert!(status.success(), "{arguments:?}: {status}\n{stderr}");
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}:\n{stdout}"))
    }

    /// A request with this token.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Reply {
        let exchange = async {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let mut request = client
                .request(method, format!("{}{path}", self.url))
                .timeout(LIMIT);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            let response = request.send().await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let bytes = response.bytes().await.unwrap();
            Reply {
                status,
                headers,
                text: String::from_utf8_lossy(&bytes).into_owned(),
                body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            }
        };
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(exchange)
    }

    /// Reads something as the admin.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let reply = self.ask("GET", path, Some(&self.admin_token()), &[], None);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.body
    }

    /// Asks for a change as the admin.
    pub fn post(&self, path: &str, body: Option<&Value>) -> Reply {
        self.ask("POST", path, Some(&self.admin_token()), &[], body)
    }

    /// Reads text as the admin.
    #[track_caller]
    pub fn text(&self, path: &str) -> String {
        let reply = self.ask("GET", path, Some(&self.admin_token()), &[], None);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.text
    }

    pub fn job(&self, name: &str) -> Value {
        self.get(&format!("/v1/jobs/{name}"))
    }

    /// Waits until a job is in a state.
    pub fn await_state(&self, name: &str, state: &str) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let job = self.job(name);
            if job["state"] == state {
                return job;
            }
            let log = self.log(name);
            assert!(
                Instant::now() < deadline,
                "{name} did not become {state}: {job}\n{log}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A job's whole log, as its files have it.
    pub fn log(&self, name: &str) -> String {
        let folder = self.data().join("jobs").join(name).join("logs");
        let entries = fs::read_dir(folder).into_iter().flatten();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        // Those of further processes are in folders of their own.
        files.retain(|path| path.is_file());
        files.sort();
        let text = files.iter().map(|file| fs::read_to_string(file).unwrap());
        text.collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // First the server, or it would start jobs again.
        self.process = None;
        for pid in job_processes(&self.data()) {
            kill(pid, Signal::KILL);
        }
    }
}

/// The processes of a job, as the server shows it.
pub fn pids(job: &Value) -> Vec<i32> {
    let processes = job["processes"].as_array().unwrap();
    let pids = processes
        .iter()
        .map(|process| process["pid"].as_i64().unwrap() as i32);
    pids.collect()
}

/// The processes of a server's jobs, whoever looks after them.
pub fn job_processes(data: &Path) -> Vec<i32> {
    let mark = format!("{}/run/", data.display());
    let is_one = |pid: &i32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&mark)
    };
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(is_one).collect()
}

/// Sends a signal; a process that has ended already is none.
pub fn kill(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}
