use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;
use crate::cluster::{
    frame::{Frame, FrameReader, header, kind},
    tls::TlsFiles,
};

/// The two ends of a connection, by TLS if both sides have it.
fn pair(tls: [Option<&Tls>; 2]) -> [io::Result<Transport>; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let address = listener.local_addr().expect("has an address");
    thread::scope(|scope| {
        let dialed = scope
            .spawn(move || Transport::dialed(TcpStream::connect(address)?, tls[0], "127.0.0.1"));
        let accepted = listener
            .accept()
            .and_then(|(socket, _)| Transport::accepted(socket, tls[1]));
        [dialed.join().expect("no panic"), accepted]
    })
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("signs itself")
}

fn tls(folder: &Path, authority: &CertifiedIssuer<'_, KeyPair>, host: &str) -> Tls {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, authority).expect("signs");
    let write = |name: &str, pem: String| {
        let path = folder.join(name);
        fs::write(&path, pem).expect("writes");
        path
    };
    let files = TlsFiles {
        ca: write("ca.pem", authority.pem()),
        cert: write("cert.pem", certificate.pem()),
        key: write("key.pem", key.serialize_pem()),
    };
    Tls::load(&files).expect("fits")
}

const FRAMES: usize = 400;

/// Sends frames of many sizes, as fast as it goes.
fn flood(mut outgoing: Outgoing) {
    for number in 0..FRAMES {
        let content = vec![number as u8; number * 191];
        let head = header(kind::DATA, content.len());
        outgoing.send(&head, &content).expect("sends");
    }
    outgoing.send(&header(kind::END, 0), &[]).expect("sends");
}

fn drain(incoming: Incoming) {
    let mut frames = FrameReader::new(incoming, Duration::from_secs(60));
    for number in 0..FRAMES {
        let frame = frames.next().expect("a frame");
        assert_eq!(frame, Frame::Data(vec![number as u8; number * 191]));
    }
    assert_eq!(frames.next().expect("a frame"), Frame::End);
}

/// More than all buffers on the way hold, in both directions at once: whoever waited for the other would wait for ever.
fn both_ways(ends: [io::Result<Transport>; 2]) {
    let [left, right] = ends.map(|end| end.expect("connected").split().expect("splits"));
    thread::scope(|scope| {
        for (incoming, outgoing) in [left, right] {
            scope.spawn(move || flood(outgoing));
            scope.spawn(move || {
                // The writers fill everything first.
                thread::sleep(Duration::from_millis(100));
                drain(incoming);
            });
        }
    });
}

#[test]
fn both_sides_may_send_at_once_without_waiting_for_each_other() {
    both_ways(pair([None, None]));
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), authority());
    let ours = tls(folder.path(), &authority, "127.0.0.1");
    both_ways(pair([Some(&ours), Some(&ours)]));
}

#[test]
fn what_was_deciphered_during_the_handshake_is_not_lost() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), authority());
    let ours = tls(folder.path(), &authority, "127.0.0.1");
    let [dialed, accepted] = pair([Some(&ours), Some(&ours)]).map(|end| end.expect("connected"));
    let (mut dialed, mut accepted) = (dialed, accepted);
    dialed.write_all(b"hello, and more").expect("writes");
    dialed.flush().expect("flushes");
    let mut hello = [0; 5];
    accepted.read_exact(&mut hello).expect("reads");
    let (mut incoming, _outgoing) = accepted.split().expect("splits");
    let mut rest = [0; 10];
    incoming.read_exact(&mut rest).expect("reads");
    assert_eq!((&hello, &rest), (b"hello", b", and more"));
}

#[test]
fn certificates_of_other_authorities_and_hosts_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, theirs) = (authority(), authority());
    let good = tls(folder.path(), &ours, "127.0.0.1");
    let foreign = tls(folder.path(), &theirs, "127.0.0.1");
    let misplaced = tls(folder.path(), &ours, "other.example");
    let error = pair([Some(&good), Some(&foreign)])[0]
        .as_ref()
        .err()
        .map(ToString::to_string);
    assert!(error.is_some_and(|error| error.contains("certificate")));
    let error = pair([Some(&good), Some(&misplaced)])[0]
        .as_ref()
        .err()
        .map(ToString::to_string);
    assert!(error.is_some_and(|error| error.contains("other.example")));
    // The side that was dialed learns the other one's place only later.
    let [_, accepted] = pair([Some(&misplaced), Some(&good)]);
    let accepted = accepted.expect("the authority is right");
    assert!(accepted.check_name("other.example").is_ok());
    let error = accepted.check_name("127.0.0.1").expect_err("another host");
    assert!(error.contains("not for 127.0.0.1"), "{error}");
    assert!(pair([Some(&foreign), Some(&good)])[1].is_err());
}

#[test]
fn a_side_without_tls_is_refused_by_one_with_it() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), authority());
    let ours = tls(folder.path(), &authority, "127.0.0.1");
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let address = listener.local_addr().expect("has an address");
    let since = Instant::now();
    let plain = thread::spawn(move || {
        let mut plain = TcpStream::connect(address).expect("connects");
        plain
            .write_all(b"tidewright-mesh2 without TLS")
            .expect("writes");
    });
    let (socket, _) = listener.accept().expect("accepts");
    assert!(Transport::accepted(socket, Some(&ours)).is_err());
    assert!(since.elapsed() < Duration::from_secs(30));
    plain.join().expect("no panic");
}
