//! What a connection to the server may take.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    harness::{eventually::eventually, server::Server},
    shop::LIMIT,
};

/// As the server's listener has them.
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: usize = 256;

fn connect(server: &Server) -> TcpStream {
    let address = server.url.strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// The first line of what comes back; empty if the connection is closed without an answer.
fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut part = [0; 1024];
    while !bytes.contains(&b'\n') {
        match stream.read(&mut part) {
            // It may be reset, if not all was read that was sent.
            Ok(0) => break,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the server says nothing: {error}"),
            Ok(length) => bytes.extend(&part[..length]),
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

/// What a request with these headers brings.
fn asked(server: &Server, headers: &str) -> String {
    let mut stream = connect(server);
    let head = format!("GET /v1/jobs HTTP/1.1\r\nhost: here\r\n{headers}\r\n");
    // A server that has refused it already may read no more of it.
    let _ = stream.write_all(head.as_bytes());
    answer(&mut stream)
}

#[test]
fn a_head_with_too_many_or_too_large_headers_is_refused() {
    let server = Server::start(&[], &[]);
    let some = |count: usize| -> String {
        (0..count)
            .map(|number| format!("x-{number}: 1\r\n"))
            .collect()
    };
    let large = |bytes: usize| format!("x-large: {}\r\n", "x".repeat(bytes));
    // `host` is one of them. Without a token the request is refused as such, so it was understood.
    for fine in [some(HEADERS_MAX - 1), large(HEAD_BYTES_MAX / 2)] {
        let line = asked(&server, &fine);
        assert!(line.contains(" 401 "), "{line}");
    }
    let line = asked(&server, &some(HEADERS_MAX));
    assert!(line.contains(" 431 "), "too many: {line}");
    let line = asked(&server, &large(HEAD_BYTES_MAX * 2));
    // Closed with bytes unread, the connection may be reset before its answer is seen.
    assert!(
        line.contains(" 431 ") || line.is_empty(),
        "too large: {line}"
    );
    let line = asked(&server, "");
    assert!(line.contains(" 401 "), "it goes on answering: {line}");
}

#[test]
fn a_head_that_does_not_come_is_not_waited_for() {
    let server = Server::start(&[], &[]);
    let mut slow = connect(&server);
    let begun = Instant::now();
    slow.write_all(b"GET /v1/jobs HTTP/1.1\r\nhost: here\r\n")
        .unwrap();
    let line = answer(&mut slow);
    assert!(line.is_empty() || line.contains(" 408 "), "{line}");
    let took = begun.elapsed();
    // Nobody else has closed it: it had its time.
    assert!(took > HEAD_TIMEOUT / 2, "closed after {took:?}");
}

#[test]
fn more_connections_than_there_may_be_are_closed_at_once_and_the_others_stay() {
    let server = Server::start(&[], &[]);
    let mut held: Vec<_> = (0..CONNECTIONS_MAX).map(|_| connect(&server)).collect();
    let mut refused = connect(&server);
    assert_eq!(answer(&mut refused), "", "one too many is served");
    let head = b"GET /v1/jobs HTTP/1.1\r\nhost: here\r\n\r\n";
    let last = held.last_mut().unwrap();
    last.write_all(head).unwrap();
    let line = answer(last);
    assert!(line.contains(" 401 "), "{line}");
    drop(held);
    eventually(LIMIT, "there is room again", || {
        let mut stream = connect(&server);
        let _ = stream.write_all(head);
        answer(&mut stream).contains(" 401 ").then_some(())
    });
}
