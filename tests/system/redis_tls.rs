//! Redis behind TLS: rows get there and are read back, certificates may be renewed, and what is wrong with them is told.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{
        certificates::Authority,
        eventually::eventually,
        input::{Events, write_files},
        jobfile::{JobFile, events, from_files},
        process::{Command, Process},
        redis_server::{RedisServer, free_port},
    },
    shop::LIMIT,
};

const COUNTS: &str = "SELECT user_id, count(*) AS events FROM rolling(events, INTERVAL '1 hour', INTERVAL '1 minute') GROUP BY user_id";
const HOST: &str = "127.0.0.1";

/// A server with TLS that asks for certificates, beside a port without TLS for the test's own eyes.
struct Secured {
    folder: TempDir,
    authority: Authority,
    server: RedisServer,
    port: u16,
}

impl Secured {
    fn open() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let authority = Authority::new(folder.path(), "house");
        let (cert, key) = authority.certificate(HOST);
        let files = [
            ("--tls-cert-file", cert),
            ("--tls-key-file", key),
            ("--tls-ca-cert-file", authority.ca()),
        ];
        let port = free_port();
        let mut options = vec!["--tls-port".to_owned(), port.to_string()];
        for (option, path) in files {
            options.extend([option.to_owned(), path.display().to_string()]);
        }
        options.extend(["--tls-auth-clients".to_owned(), "yes".to_owned()]);
        Some(Self {
            server: RedisServer::start_with(&options)?,
            folder,
            authority,
            port,
        })
    }

    fn url(&self) -> String {
        format!("rediss://{HOST}:{}", self.port)
    }

    /// What a job file says of the certificates when all is well.
    fn tls(&self) -> Value {
        let (cert, key) = self.client();
        json!({ "ca": self.authority.ca(), "cert": cert, "key": key })
    }

    /// A certificate for the job. Its name is nobody's host.
    fn client(&self) -> (PathBuf, PathBuf) {
        self.authority.certificate("a-job.example")
    }

    /// Events by user, as they stand in Redis.
    fn counts(&self, prefix: &str) -> BTreeMap<String, String> {
        let hashes = self.server.redis().hashes(prefix).into_iter();
        let count = |(key, mut hash): (String, BTreeMap<String, String>)| {
            (
                key[prefix.len()..].to_owned(),
                hash.remove("events").unwrap(),
            )
        };
        hashes.map(count).collect()
    }
}

fn job(folder: &Path, name: &str, redis: Value) -> JobFile {
    let input = folder.join("input");
    if !input.exists() {
        write_files(&Events::default().lines(), &input, "events", 2);
    }
    JobFile::new(name)
        .source("events", events(from_files(&input), "5s"))
        .view("counts", COUNTS)
        .sink("hot", json!({ "from": "counts", "redis": redis }))
        .checkpoints("50ms", &folder.join("checkpoints"))
}

fn run(job: &JobFile, folder: &Path, arguments: &[&str]) -> Process {
    Command::tidewright(folder)
        .arg("run")
        .arg(job.write(folder))
        .args(["--bounded", "--summary", "json"])
        .args(arguments)
        .start()
}

#[test]
fn rows_are_written_compared_and_sent_again_over_mutual_tls() {
    let Some(secured) = Secured::open() else {
        return;
    };
    let folder = secured.folder.path();
    let redis = secured.server.redis();
    let plain = json!({ "url": redis.url(), "key": "plain:{user_id}" });
    run(&job(folder, "plain", plain), folder, &[]).wait_for_success(LIMIT);
    let expected = secured.counts("plain:");
    assert!(expected.len() > 10, "{expected:?}");

    let sink = json!({ "url": secured.url(), "key": "tls:{user_id}", "tls": secured.tls() });
    let job = job(folder, "secured", sink);
    run(&job, folder, &[]).wait_for_success(LIMIT);
    assert_eq!(secured.counts("tls:"), expected);

    run(&job, folder, &["--shadow", "x"]).wait_for_success(LIMIT);
    let mut diff = Command::tidewright(folder)
        .arg("diff")
        .arg(job.write(folder))
        .args(["@x", "--output", "json"])
        .run(LIMIT);
    diff.wait_for_success(LIMIT);
    let found: Value = serde_json::from_str(&diff.stdout()).unwrap();
    assert_eq!(found["sinks"]["hot"]["equal"], expected.len(), "{found}");

    redis.delete("tls:");
    run(&job, folder, &["--resync", "hot"]).wait_for_success(LIMIT);
    assert_eq!(secured.counts("tls:"), expected);
}

#[test]
fn certificates_that_were_renewed_are_taken_at_the_next_connection() {
    let Some(mut secured) = Secured::open() else {
        return;
    };
    let folder = secured.folder.path().to_owned();
    let key = "renewed:{user_id}";
    let job = JobFile::new("renewed")
        .source(
            "events",
            json!({
                "datagen": { "kind": "events", "users": 50, "rate": 500 },
                "event_time": { "column": "ts" },
            }),
        )
        .view("counts", COUNTS)
        .sink(
            "hot",
            json!({ "from": "counts", "redis": { "url": secured.url(), "key": key, "tls": secured.tls() } }),
        )
        .checkpoints("50ms", &folder.join("checkpoints"));
    let mut process = Command::tidewright(&folder)
        .arg("run")
        .arg(job.write(&folder))
        .start();
    eventually(LIMIT, "rows in Redis", || {
        (!secured.counts("renewed:").is_empty()).then_some(())
    });

    // The server first: until the job's files follow, each side refuses the other's certificate.
    secured.server.stop();
    let old = fs::read(secured.authority.ca()).unwrap();
    let (cert, key) = secured.client();
    let client = [&cert, &key].map(|path| (path.clone(), fs::read(path).unwrap()));
    secured.authority = Authority::new(&folder, "house");
    secured.authority.certificate(HOST);
    let ca = secured.authority.ca();
    let new = fs::read(&ca).unwrap();
    secured.server.start_again();
    fs::write(&ca, old).unwrap();
    for (path, bytes) in client {
        fs::write(path, bytes).unwrap();
    }
    secured.server.redis().delete("renewed:");
    eventually(LIMIT, "the refusal in the log", || {
        assert!(process.is_running(), "{}", process.stderr());
        process
            .stderr()
            .contains("of no authority in tls.ca")
            .then_some(())
    });
    fs::write(&ca, new).unwrap();
    secured.client();
    eventually(LIMIT, "rows in Redis again", || {
        assert!(process.is_running(), "{}", process.stderr());
        (!secured.counts("renewed:").is_empty()).then_some(())
    });
    process.terminate();
    process.wait_for_success(LIMIT);
}

#[test]
fn what_is_wrong_with_a_certificate_is_told_and_ends_the_start() {
    let Some(secured) = Secured::open() else {
        return;
    };
    let folder = secured.folder.path();
    let other = Authority::new(folder, "other");
    let (cert, key) = secured.client();
    let ca = secured.authority.ca();
    let by_name = secured.url().replace(HOST, "localhost");
    let good = secured.tls();
    let with = |name: &str, value: &Path| {
        let mut tls = good.clone();
        tls[name] = json!(value);
        tls
    };
    let (_, strange_key) = other.certificate("b-job.example");
    let url = &secured.url();
    for (url, tls, says) in [
        (url, with("ca", &other.ca()), "of no authority in tls.ca"),
        (
            url,
            json!({ "ca": ca }),
            "the server wants to see a certificate",
        ),
        (url, json!({}), "of no authority that this system knows"),
        (&by_name, good.clone(), "not for the host localhost"),
        (
            url,
            with("ca", Path::new("/no/ca.pem")),
            "tls.ca /no/ca.pem cannot be used",
        ),
        (url, with("ca", &key), "holds no certificate"),
        (
            url,
            with("key", &strange_key),
            "is not the key of the certificate",
        ),
        (url, with("key", &cert), "tls.key"),
    ] {
        let sink = json!({ "url": url, "key": "wrong:{user_id}", "tls": tls });
        let mut process = Command::tidewright(folder)
            .arg("run")
            .arg(job(folder, "wrong", sink).write(folder))
            .arg("--bounded")
            // The system's own certificates differ from machine to machine.
            .env("SSL_CERT_FILE", other.ca())
            .start();
        let code = process.wait(LIMIT).code();
        let log = process.stderr();
        assert_eq!(code, Some(1), "{log}");
        assert!(
            log.contains("sink hot") && log.contains(says),
            "not {says}:\n{log}"
        );
        assert!(!log.contains("panicked"), "{log}");
    }
    assert!(secured.counts("wrong:").is_empty());
}

#[test]
fn a_url_with_tls_at_a_port_without_it_says_so() {
    let Some(secured) = Secured::open() else {
        return;
    };
    let folder = secured.folder.path();
    let url = secured
        .server
        .redis()
        .url()
        .replace("redis://", "rediss://");
    let sink = json!({ "url": url, "key": "deaf:{user_id}", "tls": secured.tls() });
    let process = run(&job(folder, "deaf", sink), folder, &[]);
    // Whether the server says at once that it understands nothing, or waits for the end of a line, depends on what the
    // client's greeting happens to contain.
    eventually(LIMIT, "the hint", || {
        let log = process.stderr();
        log.contains("without TLS the url begins with redis://")
            .then_some(())
    });
}

#[test]
fn a_url_without_tls_at_a_port_with_it_says_so() {
    let Some(secured) = Secured::open() else {
        return;
    };
    let folder = secured.folder.path();
    let url = secured.url().replace("rediss://", "redis://");
    let sink = json!({ "url": url, "key": "mute:{user_id}" });
    let mut process = run(&job(folder, "mute", sink), folder, &[]);
    eventually(LIMIT, "the hint", || {
        process
            .stderr()
            .contains("the url begins with rediss://")
            .then_some(())
    });
    thread::sleep(Duration::from_millis(200));
    assert!(
        process.is_running(),
        "a server that drops connections is waited for"
    );
}
