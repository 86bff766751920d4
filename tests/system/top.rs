//! `tidewright top`, without a terminal and on one.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    harness::{
        eventually::eventually,
        process::{Command, Process},
        server::{Server, kill},
    },
    serve::{counting, submission},
    shop::LIMIT,
    tap::Busy,
};

/// What a command that ends by itself has printed.
#[track_caller]
fn printed(mut process: Process) -> String {
    process.wait_for_success(LIMIT);
    process.stdout()
}

fn of_socket(busy: &Busy) -> Command {
    let command = Command::tidewright(busy.folder.path()).arg("top");
    command.arg("--socket").arg(busy.socket())
}

#[test]
fn without_a_terminal_a_job_is_shown_once() {
    let busy = Busy::start();
    let text = printed(of_socket(&busy).run(LIMIT));
    for part in [
        "busy  running",
        "/s, ",
        "frontiers",
        "SINK",
        "nowhere",
        "events / 0",
        "OPERATOR",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert!(!text.contains('\x1b'), "{text:?}");
    let json = printed(of_socket(&busy).args(["--output", "json"]).run(LIMIT));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(
        json["measured"]["records_in"]["events"].as_u64() > Some(0),
        "{json}"
    );
}

#[test]
fn a_servers_jobs_are_shown_together_and_one_by_one() {
    let server = Server::start(&[], &[]);
    server.post("/v1/jobs", Some(&submission(&counting("watched", None))));
    server.await_state("watched", "running");
    let list = printed(server.cli(&["top"]));
    let row = list
        .lines()
        .find(|line| line.starts_with("watched"))
        .unwrap();
    assert!(row.contains("running"), "{list}");
    let one = printed(server.cli(&["top", "watched"]));
    assert!(one.contains("version 1") && one.contains("counts"), "{one}");
}

#[test]
fn what_cannot_be_shown_has_its_exit_code() {
    let mut server = Server::start(&[], &[]);
    let token = server.admin_token();
    let folder = server.folder.path().join("cli");
    let url = server.url.clone();
    let code = |token: &str, job: &[&str]| {
        let mut top = Command::tidewright(&folder)
            .arg("top")
            .args(job)
            .env("TIDEWRIGHT_SERVER", &*url)
            .env("TIDEWRIGHT_TOKEN", token)
            .run(LIMIT);
        let status = top.status().unwrap();
        (status.code(), top.stderr())
    };
    for (token, job, expected) in [
        (&*token, &["nobody"][..], 4),
        ("nonsense", &[], 8),
        ("nonsense", &["nobody"], 8),
    ] {
        let (found, log) = code(token, job);
        assert_eq!(found, Some(expected), "{job:?}: {log}");
    }
    server.kill();
    let (found, log) = code(&token, &["nobody"]);
    assert_eq!(found, Some(6), "{log}");
}

/// The processes whose command line has this part.
fn processes(part: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_one = |pid: &i32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command)
            .replace('\0', " ")
            .starts_with(part)
    };
    pids.filter(is_one).collect()
}

#[test]
fn a_terminal_is_drawn_on_and_given_back_when_a_signal_ends_it() {
    let busy = Busy::start();
    let program = env!("CARGO_BIN_EXE_tidewright");
    let top = format!("{program} top --socket {}", busy.socket().display());
    // `script` gives its command a terminal.
    let mut terminal = Command::program("script", busy.folder.path())
        .args(["-q", "-e", "-c"])
        .arg(format!("stty cols 80 rows 24; exec {top}"))
        .arg("/dev/null")
        .env("TERM", "xterm")
        .start();
    eventually(LIMIT, "the job is drawn", || {
        assert!(
            terminal.is_running(),
            "{}{}",
            terminal.stdout(),
            terminal.stderr()
        );
        terminal.stdout().contains("frontiers").then_some(())
    });
    let entered = terminal.stdout().contains("\x1b[?1049h");
    assert!(entered, "it draws on a screen of its own");
    for pid in processes(&top) {
        kill(pid, Signal::TERM);
    }
    let status = terminal.wait(LIMIT);
    let drawn = terminal.stdout();
    assert!(status.success(), "{status}: {drawn}");
    let (_, end) = drawn
        .rsplit_once("\x1b[?1049l")
        .expect("its screen is left");
    assert!(end.contains("\x1b[?25h"), "the cursor is back: {end:?}");
}
