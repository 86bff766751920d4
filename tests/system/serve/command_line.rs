//! The commands that ask a server, and where a server may be.

use std::fs;

use serde_json::json;

use super::counting;
use crate::{
    harness::{eventually::eventually, process::Command, server::Server},
    shop::LIMIT,
};

fn write(server: &Server, name: &str) -> String {
    let path = server.folder.path().join(format!("{name}.yaml"));
    fs::write(&path, counting(name, None)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_job_is_submitted_watched_and_ended_from_the_command_line() {
    let server = Server::start(&[], &[]);
    let file = write(&server, "watched");
    let set = "sources.events.datagen.rate=100";
    let submitted = server.cli_json(&[
        "submit",
        &file,
        "--name",
        "renamed",
        "--workers",
        "2",
        "--set",
        set,
        "--memory-limit",
        "8GiB",
        "--wait",
    ]);
    assert_eq!(submitted["state"], "running", "{submitted}");
    assert_eq!(submitted["memory_limit_bytes"], json!(8_u64 << 30));
    let list = server.cli(&["list"]).stdout();
    assert!(
        list.contains("renamed") && list.contains("running"),
        "{list}"
    );
    let status = server.cli(&["status", "renamed"]).stdout();
    assert!(
        status.contains("version 1") || status.contains("2 worker(s)"),
        "{status}"
    );
    let logs = server.cli(&["logs", "renamed"]).stdout();
    assert!(logs.contains("--- version 1 starts"), "{logs}");
    eventually(LIMIT, "a checkpoint is listed", || {
        let list = server.cli_json(&["checkpoints", "renamed"]);
        (list["checkpoints"].as_array().unwrap().len() > 1).then_some(())
    });
    let canceled = server.cli_json(&["cancel", "renamed", "--wait"]);
    assert_eq!(canceled["state"], "succeeded", "{canceled}");
}

#[test]
fn followed_logs_go_on_over_restarts() {
    let server = Server::start(&[], &[]);
    let file = write(&server, "followed");
    server.cli_json(&["submit", &file, "--wait"]);
    let mut following = Command::tidewright(&server.folder.path().join("cli"))
        .args(["logs", "followed", "--follow", "--tail", "0"])
        .env("TIDEWRIGHT_SERVER", &*server.url)
        .env("TIDEWRIGHT_TOKEN", server.admin_token())
        .start();
    server.cli_json(&["stop", "followed", "--wait"]);
    server.cli_json(&["submit", &file, "--wait"]);
    eventually(LIMIT, "the new lines come", || {
        assert!(following.is_running(), "{}", following.stderr());
        following
            .stdout()
            .contains("--- version 2 starts")
            .then_some(())
    });
    assert!(!following.stdout().contains("--- version 1 starts"));
    following.kill();
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let mut server = Server::start(&[], &[]);
    let code = |server: &Server, arguments: &[&str]| {
        let mut process = server.cli(arguments);
        let log = process.stderr();
        (process.status().unwrap().code().unwrap(), log)
    };
    assert_eq!(code(&server, &["status", "nobody"]).0, 4);
    assert_eq!(code(&server, &["submit", "no-such-file.yaml"]).0, 2);
    let mut denied = Command::tidewright(server.folder.path())
        .arg("list")
        .env("TIDEWRIGHT_SERVER", &*server.url)
        .env("TIDEWRIGHT_TOKEN", "nonsense")
        .run(LIMIT);
    assert_eq!(denied.status().unwrap().code(), Some(8));
    let token = server.admin_token();
    server.kill();
    let (exit, log) = code(&server, &["list"]);
    assert_eq!(exit, 6, "{log}");
    assert!(
        log.contains("tidewright serve") && !log.contains(&token),
        "{log}"
    );
}

#[test]
fn other_machines_reach_a_server_only_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let serve = |arguments: &[&str]| {
        Command::tidewright(folder.path())
            .args(["serve", "--listen", "0.0.0.0:0", "--data"])
            .arg(folder.path().join("s"))
            .args(arguments)
    };
    let mut refused = serve(&[]).run(LIMIT);
    assert_eq!(refused.status().unwrap().code(), Some(1));
    let log = refused.stderr();
    assert!(
        log.contains("--tls-certificate") && log.contains("--tls-terminated-by"),
        "{log}"
    );
    let mut allowed = serve(&["--tls-terminated-by", "a proxy"]).start();
    eventually(LIMIT, "the server listens", || {
        assert!(allowed.is_running(), "{}", allowed.stderr());
        allowed.stderr().contains("serving at").then_some(())
    });
    allowed.terminate();
    allowed.wait_for_success(LIMIT);
}

#[test]
fn commands_reach_a_server_over_tls_if_they_trust_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = Server::start(
        &[
            "--tls-certificate",
            certificate.to_str().unwrap(),
            "--tls-key",
            key.to_str().unwrap(),
        ],
        &[],
    );
    let url = server.url.replace("127.0.0.1", "localhost");
    assert!(url.starts_with("https://"), "{url}");
    let list = |trusted: bool| {
        let mut command = Command::tidewright(&server.folder.path().join("cli"))
            .args(["list", "--output", "json"])
            .env("TIDEWRIGHT_SERVER", &*url)
            .env("TIDEWRIGHT_TOKEN", server.admin_token());
        if trusted {
            command = command.env("SSL_CERT_FILE", &certificate);
        }
        command.run(LIMIT)
    };
    let mut trusting = list(true);
    assert!(
        trusting.status().unwrap().success(),
        "{}",
        trusting.stderr()
    );
    assert_eq!(trusting.stdout().trim(), r#"{"jobs":[]}"#);
    let mut doubting = list(false);
    assert_eq!(
        doubting.status().unwrap().code(),
        Some(6),
        "{}",
        doubting.stderr()
    );
}

#[test]
fn completions_know_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let process = Command::tidewright(folder.path())
            .args(["completions", shell])
            .run(LIMIT);
        let script = process.stdout();
        assert!(
            [
                "submit",
                "checkpoints",
                "rescale",
                "upgrade",
                "replay",
                "remove",
                "versions"
            ]
            .iter()
            .all(|command| script.contains(command)),
            "{shell}"
        );
    }
}
