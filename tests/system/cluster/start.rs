//! Finding each other: who is missing, who does not belong, and who may not be trusted.

use std::{
    fs,
    io::Write,
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;

use super::{PEER_LOST, assert_ended, command, endless, over_files};
use crate::{
    harness::{
        certificates::Authority,
        crew::{self, Crew},
        eventually::eventually,
        process::Process,
    },
    shop::LIMIT,
};

const USAGE: i32 = 2;
const FAILED: i32 = 1;

#[test]
fn a_missing_process_is_named_while_it_is_waited_for_and_at_the_limit() {
    let folder = TempDir::new().unwrap();
    let job = endless(folder.path());
    let addresses = crew::addresses(3);
    let hosts = crew::write_hosts(folder.path(), &addresses);
    let since = Instant::now();
    let mut crew = Crew(
        [0, 2]
            .map(|index| {
                crew::as_process(command(&job, folder.path()), index, 3, &hosts)
                    .args(["--connect-timeout", "7s"])
                    .start()
            })
            .into(),
    );
    let missing = format!("process 1 ({})", addresses[1]);
    for process in &mut crew.0 {
        assert_ended(process, &[PEER_LOST], &["7 s", &missing]);
    }
    assert!(since.elapsed() >= Duration::from_secs(7));
    let log = crew.0[0].stderr();
    assert!(log.contains(&format!("waiting for {missing}")), "{log}");
    assert!(
        !folder.path().join("checkpoints/endless/HEAD").exists(),
        "nobody has claimed the job"
    );
}

#[test]
fn a_process_with_another_job_file_or_other_options_is_turned_away_with_the_difference() {
    let folder = TempDir::new().unwrap();
    let job = endless(folder.path());
    let hosts = crew::write_hosts(folder.path(), &crew::addresses(2));
    let process = |index| crew::as_process(command(&job, folder.path()), index, 2, &hosts);
    let mut first = process(0).args(["--connect-timeout", "40s"]).start();
    for (options, difference) in [
        (["--set", "checkpoint.interval=70ms"], "the job file"),
        (
            ["--workers", "2"],
            "--workers is 2 at process 1 but 1 at process 0",
        ),
        (
            ["--restore", "none"],
            "--restore is none at process 1 but latest at process 0",
        ),
    ] {
        let mut second = process(1).args(options).run(LIMIT);
        assert_ended(
            &mut second,
            &[FAILED],
            &["turned this process away", difference],
        );
        assert!(first.is_running(), "{}", first.stderr());
        assert!(first.stderr().contains(difference), "{}", first.stderr());
    }
    // The right one is still welcome.
    let second = process(1).start();
    let mut crew = Crew(vec![first, second]).await_begin(LIMIT);
    crew.0[0].terminate();
    crew.wait_for_success(LIMIT);
}

#[test]
fn strangers_at_the_door_keep_nobody_waiting() {
    let folder = TempDir::new().unwrap();
    let job = endless(folder.path());
    let addresses = crew::addresses(2);
    let hosts = crew::write_hosts(folder.path(), &addresses);
    let process = |index| crew::as_process(command(&job, folder.path()), index, 2, &hosts);
    let first = process(0).start();
    let mut silent = eventually(LIMIT, "a listener", || {
        TcpStream::connect(&addresses[0]).ok()
    });
    let mut web = TcpStream::connect(&addresses[0]).unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    web.write_all(request).unwrap();
    let mut crew = Crew(vec![first, process(1).start()]).await_begin(LIMIT);
    // It may be gone: then it has not been waited for either.
    let _ = silent.write_all(b"x");
    crew.0[1].terminate();
    crew.wait_for_success(LIMIT);
}

#[test]
fn another_checkpoint_store_is_noticed_before_anything_is_read() {
    let folder = TempDir::new().unwrap();
    let job = endless(folder.path());
    let hosts = crew::write_hosts(folder.path(), &crew::addresses(2));
    let processes = [0, 1].map(|index| {
        let store = format!("file://{}/store-{index}", folder.path().display());
        crew::as_process(command(&job, folder.path()), index, 2, &hosts)
            .args(["--checkpoint-store", &store])
            .start()
    });
    let mut crew = Crew(processes.into());
    assert_ended(
        &mut crew.0[1],
        &[FAILED],
        &["store-1", "must share one store"],
    );
    assert_ended(
        &mut crew.0[0],
        &[PEER_LOST],
        &["process 1 (", "must share one store"],
    );
}

#[test]
fn mistakes_in_the_arguments_are_told_before_anybody_is_called() {
    let folder = TempDir::new().unwrap();
    let job = endless(folder.path());
    let hosts = |text: &str| crew::write_hosts(folder.path(), &[text.to_owned()]);
    for (index, text, says) in [
        (
            0,
            "127.0.0.1:7071\n10.1.2.3:7071",
            &["10.1.2.3:7071 is not a loopback address", "--tls-ca"][..],
        ),
        (
            0,
            "127.0.0.1:7071\nworker-1.example:7071",
            &["worker-1.example:7071 is not a loopback"],
        ),
        (
            0,
            "127.0.0.1:7071",
            &["lists 1 process(es)", "--processes says 2"],
        ),
        (0, "127.0.0.1:7071\nnonsense", &["line 2", "host:port"]),
        (
            2,
            "127.0.0.1:7071\n127.0.0.1:7072",
            &["--process 2", "from 0 to 1"],
        ),
    ] {
        let command = crew::as_process(command(&job, folder.path()), index, 2, &hosts(text));
        assert_ended(&mut command.run(LIMIT), &[USAGE], says);
    }
    let mut half = command(&job, folder.path())
        .args(["--processes", "2"])
        .run(LIMIT);
    assert_ended(&mut half, &[USAGE], &["required arguments"]);
    assert!(half.stderr().contains("--hosts"), "{}", half.stderr());
}

/// Starts two processes, each with the certificates of its authority for its host.
fn with_tls(folder: &Path, authorities: [(&Authority, &str); 2]) -> [Process; 2] {
    let sink = json!({ "from": "counts", "files": { "path": folder.join("out.jsonl") } });
    let job = over_files(folder, "secured", sink);
    let hosts = crew::write_hosts(folder, &crew::addresses(2));
    let mut index = 0;
    authorities.map(|(authority, host)| {
        let process = crew::as_process(command(&job, folder), index, 2, &hosts)
            .arg("--bounded")
            .args(["--connect-timeout", "8s"])
            .args(authority.arguments(host))
            .start();
        index += 1;
        process
    })
}

#[test]
fn processes_of_one_authority_talk_tls_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let ours = Authority::new(folder.path(), "ours");
    let mut crew =
        Crew(with_tls(folder.path(), [(&ours, "127.0.0.1"), (&ours, "127.0.0.1")]).into());
    crew.wait_for_success(LIMIT);
    assert_eq!(crew.0[0].summary()["events_in"]["events"], 4_000);
    let rows = fs::read_to_string(folder.path().join("out.jsonl")).unwrap();
    assert!(rows.lines().count() >= 40, "a row per user");
}

#[test]
fn a_certificate_of_another_authority_or_another_host_is_refused() {
    for (foreign, host, told) in [
        (true, "127.0.0.1", "certificate"),
        (
            false,
            "other.example",
            "its certificate is not for 127.0.0.1",
        ),
    ] {
        let folder = TempDir::new().unwrap();
        let ours = Authority::new(folder.path(), "ours");
        let theirs = Authority::new(folder.path(), "theirs");
        let second = if foreign { &theirs } else { &ours };
        let mut crew = with_tls(folder.path(), [(&ours, "127.0.0.1"), (second, host)]);
        assert_ended(&mut crew[1], &[FAILED], &["process 0 (", told]);
        assert_ended(&mut crew[0], &[PEER_LOST], &["process 1 ("]);
        let claimed = folder.path().join("checkpoints/secured/HEAD").exists();
        assert!(!claimed, "nobody may claim the job");
    }
}

#[test]
fn a_process_without_tls_is_not_let_in() {
    let folder = TempDir::new().unwrap();
    let job = endless(folder.path());
    let ours = Authority::new(folder.path(), "ours");
    let hosts = crew::write_hosts(folder.path(), &crew::addresses(2));
    let mut processes = [true, false].map(|tls| {
        let index = usize::from(!tls);
        let arguments = if tls {
            ours.arguments("127.0.0.1")
        } else {
            vec![]
        };
        crew::as_process(command(&job, folder.path()), index, 2, &hosts)
            .args(["--connect-timeout", "5s"])
            .args(arguments)
            .start()
    });
    for process in &mut processes {
        assert_ended(process, &[PEER_LOST], &["in vain"]);
    }
}
