use std::sync::{Barrier, mpsc::channel};

use super::*;
use crate::control::client;

fn get(relation: &str) -> Request {
    Request::Get {
        relation: relation.to_owned(),
        key: "u1".to_owned(),
    }
}

fn row(relation: &str) -> Answer {
    Answer::Row(serde_json::json!({"relation": relation, "key": "u1"}))
}

fn echo() -> Respond {
    Arc::new(|request, reply: Reply<'_>| {
        reply(match request {
            Request::Get { relation, key } => {
                Answer::Row(serde_json::json!({"relation": relation, "key": key}))
            }
            other => Answer::Refused(format!("{other:?}")),
        });
    })
}

#[test]
fn requests_are_answered_and_nonsense_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/control.sock");
    let listening = listen(&path, echo()).expect("listens");
    let answer = client::ask_once(&path, &get("customer")).expect("is answered");
    assert_eq!(answer, row("customer"));
    let mut connection = UnixStream::connect(&path).expect("somebody listens");
    connection.write_all(b"nonsense\n").expect("writes");
    let mut line = String::new();
    BufReader::new(connection)
        .read_line(&mut line)
        .expect("answers");
    let answer = serde_json::from_str(&line).expect("is an answer");
    assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
    assert!(listen(&path, echo()).is_err(), "the place is taken");
    drop(listening);
    assert!(!path.exists());
    let absent = client::ask_once(&path, &get("customer"));
    assert!(matches!(absent, Err(client::ClientError::Absent { .. })));
}

#[test]
fn a_request_that_takes_long_blocks_no_other_and_is_answered_before_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control.sock");
    let (go_on, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let respond: Respond = Arc::new(move |request, reply: Reply<'_>| match request {
        Request::Get { relation, .. } => {
            reply(row(&relation));
        }
        _ => {
            reply(Answer::NotFound("soon".to_owned()));
            let wait = wait.lock().expect("one long request at a time");
            wait.recv().expect("the test goes on");
            reply(row("long"));
        }
    });
    let listening = listen(&path, respond).expect("listens");
    let mut long = client::ask(&path, &Request::Status {}).expect("is sent");
    let first = long.answer(Some(client::TIMEOUT)).expect("accepted");
    assert_eq!(first, Answer::NotFound("soon".to_owned()));
    let other = client::ask_once(&path, &get("short")).expect("is answered meanwhile");
    assert_eq!(other, row("short"));
    go_on.send(()).expect("somebody waits");
    drop(listening);
    assert_eq!(long.answer(None).expect("before the end"), row("long"));
}

#[test]
fn whoever_answers_is_told_that_the_client_has_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control.sock");
    let (noticed, notice) = channel::<()>();
    let respond: Respond = Arc::new(move |_, reply: Reply<'_>| {
        while reply(row("again")) {}
        // The test may have failed already.
        let _ = noticed.send(());
    });
    let _listening = listen(&path, respond).expect("listens");
    let mut asked = client::ask(&path, &get("again")).expect("is sent");
    assert_eq!(asked.answer(None).expect("is answered"), row("again"));
    drop(asked);
    let noticed = notice.recv_timeout(Duration::from_secs(60));
    assert_eq!(noticed, Ok(()));
}

#[test]
fn who_finds_the_socket_is_never_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for round in 0..500 {
        let path = folder.path().join(round.to_string());
        let looking = Arc::new(Barrier::new(2));
        let client = thread::spawn({
            let (path, looking) = (path.clone(), looking.clone());
            move || {
                looking.wait();
                loop {
                    match UnixStream::connect(&path) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        found => return found.map(drop),
                    }
                }
            }
        });
        looking.wait();
        let _listening = listen(&path, echo()).expect("listens");
        let connected = client.join().expect("does not panic");
        assert!(connected.is_ok(), "round {round}: {connected:?}");
    }
}

#[test]
fn a_place_that_cannot_be_taken_is_left_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("taken");
    std::fs::create_dir(&path).expect("a folder");
    assert!(listen(&path, echo()).is_err(), "a folder is there");
    let entries = std::fs::read_dir(folder.path()).expect("can be read");
    let names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert_eq!(names, [path]);
}
