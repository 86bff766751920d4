use std::{fs, os::unix::fs::symlink};

use super::*;

struct Place {
    _root: tempfile::TempDir,
    job: PathBuf,
    allowed: PathBuf,
    outside: PathBuf,
    files: AllowedFiles,
}

fn place() -> Place {
    let root = tempfile::tempdir().unwrap();
    let [job, allowed, outside] = ["job", "allowed", "outside"].map(|name| {
        let folder = root.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    });
    Place {
        files: AllowedFiles::new(std::slice::from_ref(&allowed)).unwrap(),
        _root: root,
        job,
        allowed,
        outside,
    }
}

#[test]
fn relative_paths_and_allowed_folders_are_open_and_nothing_else_is() {
    let place = place();
    let check = |path: &str| place.files.check(&place.job, path);
    let below = |folder: &Path, name: &str| folder.join(name).to_str().unwrap().to_owned();
    assert!(check("new/file.jsonl").is_ok());
    assert!(check("./tidewright-data/x").is_ok());
    assert!(check("probe").is_ok());
    assert!(check(&below(&place.allowed, "deep/new.jsonl")).is_ok());
    for wrong in [
        "../outside/secret".to_owned(),
        "a/../../outside/secret".to_owned(),
        below(&place.outside, "secret"),
        below(&place.allowed, "../outside/secret"),
        "/etc/passwd".to_owned(),
        // Not even its own: paths that depend on where the server's folder is don't belong into a job file.
        below(&place.job, "x"),
    ] {
        let reason = check(&wrong).unwrap_err();
        assert!(reason.contains("--allow-files"), "{wrong}: {reason}");
    }
}

#[test]
fn links_out_of_a_folder_are_not_followed() {
    let place = place();
    symlink(&place.outside, place.job.join("link")).unwrap();
    symlink(place.outside.join("new"), place.job.join("dangling")).unwrap();
    assert!(place.files.check(&place.job, "link/secret").is_err());
    assert!(place.files.check(&place.job, "dangling").is_err());
}

#[test]
fn savepoints_are_read_below_jobs_folders_and_allowed_ones_and_nowhere_else() {
    let place = place();
    symlink(&place.outside, place.job.join("link")).unwrap();
    let check = |url: &str| place.files.check_savepoint(&place.job, url);
    let at = |folder: &Path, name: &str| format!("file://{}", folder.join(name).display());
    for fine in [
        "s3://bucket/savepoint".to_owned(),
        at(&place.job, "one/savepoints/7-8"),
        at(&place.allowed, "savepoint"),
    ] {
        assert_eq!(check(&fine), Ok(()), "{fine}");
    }
    for wrong in [
        at(&place.outside, "savepoint"),
        at(&place.job, "../outside/savepoint"),
        at(&place.job, "link/savepoint"),
        "file://one/savepoints/7-8".to_owned(),
        "file:///etc".to_owned(),
    ] {
        let reason = check(&wrong).unwrap_err();
        assert!(reason.contains("--allow-files"), "{wrong}: {reason}");
    }
    let reason = check("/etc").unwrap_err();
    assert!(reason.contains("file:///path"), "{reason}");
}

/// What is refused of a job with this source, sink and store.
fn refusals(place: &Place, source: &str, sink: &str, store: &str) -> Vec<String> {
    let text = format!(
        "name: job\nsources:\n  events:\n    {source}\n    schema: {{ user_id: string, ts: timestamp_ms }}\n    \
         event_time: {{ column: ts }}\nviews:\n  counts: |\n    SELECT user_id, window_start, count(*) AS visits\n    \
         FROM tumble(events, INTERVAL '1 minute') GROUP BY user_id, window_start\nsinks:\n  out: {{ from: counts, {sink} }}\n\
         checkpoint: {{ store: \"{store}\" }}\n"
    );
    let compiled = tidewright_jobs::compile("job.yaml", &text, &[], &|_| None)
        .unwrap_or_else(|error| panic!("{error}"));
    place.files.refusals(&place.job, &compiled)
}

#[test]
fn every_way_to_name_a_file_is_checked() {
    let place = place();
    let fine = "files: { path: in.jsonl }";
    assert_eq!(
        refusals(&place, fine, "files: { path: out.jsonl }", "file://./here"),
        Vec::<String>::new()
    );
    let kafka = |property: &str| {
        format!("kafka: {{ brokers: \"localhost:9092\", topic: t, properties: {{ {property} }} }}")
    };
    let secure = kafka("security.protocol: ssl, ssl.ca.location: ca.pem");
    assert_eq!(
        refusals(&place, &secure, "stdout: {}", "s3://b/p"),
        Vec::<String>::new()
    );
    for (source, sink, store, says) in [
        (
            "files: { path: /etc/passwd }",
            "stdout: {}",
            "s3://b/p",
            "source events",
        ),
        (
            fine,
            "files: { path: /elsewhere/x }",
            "s3://b/p",
            "sink out",
        ),
        (
            fine,
            "embedded: { path: /elsewhere/x }",
            "s3://b/p",
            "sink out",
        ),
        (
            fine,
            "redis: { url: \"rediss://h\", key: \"{user_id}:{window_start}\", tls: { ca: /etc/ca.pem } }",
            "s3://b/p",
            "sink out: tls.ca",
        ),
        (
            fine,
            "stdout: {}",
            "file:///elsewhere/x",
            "checkpoint.store",
        ),
        (
            &kafka("ssl.key.location: /etc/key"),
            "stdout: {}",
            "s3://b/p",
            "ssl.key.location",
        ),
        (
            &kafka("plugin.library.paths: x"),
            "stdout: {}",
            "s3://b/p",
            "runs code",
        ),
        (
            fine,
            &kafka("sasl.kerberos.kinit.cmd: reboot"),
            "s3://b/p",
            "runs code",
        ),
    ] {
        let refused = refusals(&place, source, sink, store);
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(refused[0].contains(says), "{refused:?}");
    }
}
