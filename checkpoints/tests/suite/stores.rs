//! One contract, every store.

use std::{
    collections::BTreeSet,
    env,
    io::{Read, Write},
    process::{self, Command},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tidewright_checkpoints::{
    CheckpointStore, Epoch, Generation, Head, LocalStore, StoreError, SwapError, head, paths,
    store::{self, DiskFilesystem, job_url},
    testing::{Faults, Faulty, MemoryStore, SyncStep, Unsynced, conformance},
};

fn head(epoch: u64) -> Head {
    Head {
        generation: Generation(1),
        epoch: Epoch(epoch),
        manifest: None,
        holder: "test".to_owned(),
    }
}

#[test]
fn a_local_directory_meets_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let url = job_url(&format!("file://{}/", dir.path().display()), "a/job");
    let store = store::open(&url).unwrap();
    conformance(&*store).unwrap();
    assert_eq!(
        store.location(),
        format!("file://{}/a/job", dir.path().display())
    );
}

#[test]
fn a_directory_on_the_model_of_a_disk_meets_the_contract() {
    conformance(&Unsynced::new().store().unwrap()).unwrap();
}

#[test]
fn memory_meets_the_contract() {
    conformance(&MemoryStore::default()).unwrap();
}

/// Runs on the S3 server that `TIDEWRIGHT_TEST_S3` names, such as `http://127.0.0.1:5000`. It has to let anybody create a bucket,
/// as moto does. The `AWS_*` variables cannot be changed safely in a program with threads, so the test runs itself again.
#[test]
fn an_s3_server_meets_the_contract() {
    let Ok(endpoint) = env::var("TIDEWRIGHT_TEST_S3") else {
        println!("skipped: TIDEWRIGHT_TEST_S3 names no S3 server");
        return;
    };
    if let Ok(url) = env::var(BUCKET_URL) {
        let store = store::open(&url).unwrap();
        conformance(&*store).unwrap();
        assert_eq!(store.location(), url);
        return;
    }
    let bucket = format!("contract-{}", process::id());
    create_bucket(&endpoint, &bucket);
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", "stores::an_s3_server_meets_the_contract"])
        .env(
            BUCKET_URL,
            job_url(&format!("s3://{bucket}/jobs"), "contract"),
        )
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .status()
        .unwrap();
    assert!(status.success());
}

const BUCKET_URL: &str = "TIDEWRIGHT_TEST_S3_URL";

fn create_bucket(endpoint: &str, bucket: &str) {
    let address = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let mut connection = std::net::TcpStream::connect(address).unwrap();
    write!(
        connection,
        "PUT /{bucket} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn urls_that_are_not_supported_are_explained() {
    let check = |url: &str, expected: &str| {
        let error = store::open(url).unwrap_err().to_string();
        assert!(error.contains(url) && error.contains(expected), "{error}");
    };
    check("/var/lib/tidewright", "a URL such as file:///");
    check("file://relative/path", "absolute path");
    check("gs://bucket/prefix", "gs:// is not supported");
    check("file:///proc/none/of/this", "cannot open");
}

#[test]
fn a_stopped_process_that_holds_the_lock_does_not_block_for_ever() {
    use tidewright_checkpoints::store::Filesystem;
    let dir = tempfile::tempdir().unwrap();
    let lock = dir.path().join(".lock");
    let held = DiskFilesystem
        .lock(&lock, std::time::Duration::ZERO)
        .unwrap();
    let error = DiskFilesystem
        .lock(&lock, std::time::Duration::from_millis(20))
        .unwrap_err();
    assert!(
        error.to_string().contains("another process holds"),
        "{error}"
    );
    drop(held);
    DiskFilesystem
        .lock(&lock, std::time::Duration::ZERO)
        .unwrap();
}

#[test]
fn a_damaged_head_is_an_error_and_not_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(DiskFilesystem, dir.path()).unwrap();
    store.swap_head(None, &head(1)).unwrap();
    let path = dir.path().join(paths::HEAD);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(store.head().unwrap_err().to_string().contains("HEAD"));
    assert!(matches!(
        store.swap_head(None, &head(2)),
        Err(SwapError::Store(_))
    ));
}

#[test]
fn errors_tell_whether_a_put_may_have_happened() {
    let name = paths::state(Generation(1), Epoch(1), 0);
    let mut outcomes = BTreeSet::new();
    for (operations, seed) in
        (0..8).flat_map(|operations| (0..20).map(move |seed| (operations, seed)))
    {
        let disk = Unsynced::new();
        let store = disk.store().unwrap();
        disk.fail_after(operations);
        let outcome = store.put(&name, b"content");
        disk.crash(seed);
        let found = disk.store().unwrap().get(&name);
        match outcome {
            Ok(()) => assert_eq!(found.unwrap(), b"content"),
            Err(error) if error.is_determinate() => {
                assert!(matches!(found, Err(StoreError::NotFound { .. })))
            }
            Err(_) => {
                outcomes.insert(found.is_ok());
            }
        }
    }
    assert_eq!(
        outcomes,
        BTreeSet::from([false, true]),
        "unknown outcomes go either way"
    );
}

#[test]
fn after_a_failed_sync_of_a_file_it_is_written_anew() {
    let disk = Unsynced::new();
    let store = disk.store().unwrap();
    let name = paths::manifest(Generation(1), Epoch(1));
    disk.fail_next(SyncStep::File);
    assert!(store.put(&name, b"content").unwrap_err().is_determinate());
    assert!(matches!(store.get(&name), Err(StoreError::NotFound { .. })));
    store.put(&name, b"content").unwrap();
    disk.crash(1);
    assert_eq!(disk.store().unwrap().get(&name).unwrap(), b"content");
}

#[test]
fn after_a_failed_sync_of_a_directory_nothing_is_trusted_any_more() {
    let disk = Unsynced::new();
    let store = disk.store().unwrap();
    disk.fail_next(SyncStep::Directory);
    let outcome = head::swap(&store, None, &head(1));
    assert!(
        matches!(
            outcome,
            Err(SwapError::Store(StoreError::Indeterminate { .. }))
        ),
        "{outcome:?}"
    );
    let message =
        |error: StoreError| assert!(error.to_string().contains("has to start again"), "{error}");
    message(store.put("state/1-1-w0.state", b"").unwrap_err());
    message(store.head().unwrap_err());
    message(store.list(paths::STATE).unwrap_err());
}

#[test]
fn temporary_files_of_a_crash_are_removed_after_an_hour() {
    let dir = tempfile::tempdir().unwrap();
    let open = || LocalStore::open(DiskFilesystem, dir.path()).unwrap();
    let store = open();
    let [old, new] = ["state/.tmp-1-1-1", "state/.tmp-1-1-2"].map(|name| dir.path().join(name));
    for path in [&old, &new] {
        std::fs::write(path, b"half").unwrap();
    }
    let file = std::fs::File::options().write(true).open(&old).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(4000))
        .unwrap();
    assert!(
        store.list(paths::STATE).unwrap().is_empty(),
        "temporary files are not listed"
    );
    open();
    assert_eq!((old.exists(), new.exists()), (false, true));
}

#[test]
fn swaps_are_settled_whatever_the_store_answers() {
    let faults = Faults {
        fail: 0,
        time_out_undone: 20,
        time_out_done: 20,
        delay: 5,
        delay_ms_max: 2,
    };
    for seed in 0..20 {
        let inner = Arc::new(MemoryStore::default());
        let faulty = Faulty::new(inner.clone(), faults, seed);
        let mut tag = None;
        for epoch in 1..30 {
            match head::swap(&faulty, tag.as_ref(), &head(epoch)) {
                Ok(new) => tag = Some(new),
                // Undecided after all attempts: asking again for the same swap is safe.
                Err(SwapError::Store(StoreError::Indeterminate { .. })) => {
                    tag = Some(head::swap(&*inner, tag.as_ref(), &head(epoch)).unwrap());
                }
                Err(error) => panic!("seed {seed}, epoch {epoch}: {error}"),
            }
            let (current, current_tag) = inner.head().unwrap().unwrap();
            assert_eq!(
                (current, Some(current_tag)),
                (head(epoch), tag.clone()),
                "seed {seed}"
            );
        }
    }
}
