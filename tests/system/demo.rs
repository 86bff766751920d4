//! What the README shows first: the demo and its profile, with no server at all.

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{
    checkpoints::Checkpoints,
    eventually::eventually,
    process::{Command, Process},
};

const LIMIT: Duration = Duration::from_secs(60);
/// The user of the README.
const USER: &str = "u0000042";
/// One who does a lot: some events in a hundred are theirs.
const BUSY_USER: &str = "u0007919";
/// What a debug build on a busy machine can do as well.
const RATE: &str = "4000";

/// A folder with nothing in it, where the demo is started.
struct Demo {
    folder: TempDir,
}

impl Demo {
    fn start(&self) -> Process {
        Command::tidewright(self.folder.path())
            .args(["demo", "--rate", RATE])
            .start()
    }

    /// Calls what the running demo says, for a user.
    fn follow_hint(&self, demo: &mut Process, user: &str) -> Command {
        let hint = eventually(LIMIT, "the demo says what to try", || {
            assert!(demo.is_running(), "ended early:\n{}", demo.stderr());
            let log = demo.stderr();
            // Only whole lines: the last one may still be written.
            let (lines, _) = log.rsplit_once('\n')?;
            let mut said = lines
                .lines()
                .filter_map(|line| line.strip_prefix("in a second terminal: "));
            said.next().map(str::to_owned)
        });
        let program = hint.strip_suffix(&format!(" get customer {USER}"));
        let program = program.unwrap_or_else(|| panic!("another hint: {hint}"));
        Command::program(program, self.folder.path()).args(["get", "customer", user])
    }

    /// A user's profile, once there is one.
    fn profile(&self, demo: &mut Process, user: &str) -> Value {
        eventually(LIMIT, "a profile", || {
            let mut asked = self.follow_hint(demo, user).start();
            let status = asked.wait(LIMIT);
            // Not there yet, or nobody listens yet.
            status.success().then(|| {
                let profile = serde_json::from_str(&asked.stdout());
                profile.unwrap_or_else(|error| panic!("{error}: {}", asked.stdout()))
            })
        })
    }

    /// How many events of the busy user are counted, once it is more than this. A demo that had begun anew would count from
    /// nothing.
    fn events_after(&self, demo: &mut Process, before: i64) -> i64 {
        eventually(LIMIT, &format!("more than {before} events"), || {
            let profile = self.profile(demo, BUSY_USER);
            let counted = profile["events_30d"].as_i64().unwrap();
            assert!(counted >= before, "{counted} events after {before}");
            (counted > before).then_some(counted)
        })
    }

    /// Ctrl-C, and the epoch of the final checkpoint that the demo tells at its end.
    fn stop(&self, mut demo: Process) -> u64 {
        demo.interrupt();
        demo.wait_for_success(LIMIT);
        let log = demo.stderr();
        let told = log
            .lines()
            .find_map(|line| line.split_once("final checkpoint at epoch "));
        let (before, epoch) = told.unwrap_or_else(|| panic!("no end is told:\n{log}"));
        assert!(before.starts_with("stopped after "), "{before}");
        // What could not be delivered in time would be told behind it.
        let epoch = epoch.split(';').next().unwrap().parse().unwrap();
        let manifest = self.checkpoints().latest().unwrap();
        assert_eq!(manifest.epoch.0, epoch);
        epoch
    }

    fn checkpoints(&self) -> Checkpoints {
        let folder = self.folder.path().display();
        let url = format!("file://{folder}/tidewright-data/demo/checkpoints");
        Checkpoints::of(&url, "demo")
    }
}

/// A profile has the view's columns and says how fresh it is.
fn assert_is_profile(profile: &Value) {
    assert_eq!(profile["user_id"], USER);
    assert!(profile["email"].as_str().unwrap().contains('@'));
    assert_eq!(profile["_version"].as_str().unwrap().len(), 36);
    let as_of = profile["_as_of"].as_str().unwrap();
    assert!(as_of.starts_with("20") && as_of.ends_with('Z'), "{as_of}");
}

#[test]
fn the_demo_shows_a_profile_and_goes_on_where_it_was_stopped() {
    let demo = Demo {
        folder: TempDir::new().unwrap(),
    };
    let mut first = demo.start();
    eventually(LIMIT, "progress", || {
        let log = first.stderr();
        assert!(first.is_running(), "ended early:\n{log}");
        let moves = |line: &str| line.contains(" events/s, ") && !line.starts_with("0 ");
        log.lines().any(moves).then_some(())
    });
    let opening = first.stderr();
    assert!(opening.contains("nothing restored"), "{opening}");
    assert_is_profile(&demo.profile(&mut first, USER));
    let one_line = demo
        .follow_hint(&mut first, USER)
        .args(["--output", "json"])
        .run(LIMIT);
    assert_eq!(one_line.stdout().lines().count(), 1);
    assert_is_profile(&one_line.summary());
    let counted = demo.events_after(&mut first, 0);
    let epoch = demo.stop(first);
    let read = demo.checkpoints().read();

    let mut second = demo.start();
    demo.events_after(&mut second, counted);
    assert_is_profile(&demo.profile(&mut second, USER));
    let opening = second.stderr();
    let goes_on = format!("going on from the checkpoint of epoch {epoch} ");
    assert!(opening.contains(&goes_on), "{opening}");
    assert!(demo.stop(second) > epoch);
    assert!(demo.checkpoints().read() > read);
}

#[test]
fn a_plan_is_told_as_json_too() {
    let folder = TempDir::new().unwrap();
    let job = concat!(env!("CARGO_MANIFEST_DIR"), "/jobs/demo.yaml");
    let plans = ["--output", "--format"].map(|option| {
        let mut validated = Command::tidewright(folder.path())
            .args(["validate", job, option, "json"])
            .run(LIMIT);
        validated.wait_for_success(LIMIT);
        serde_json::from_str::<Value>(&validated.stdout()).unwrap()
    });
    assert!(plans[0].to_string().contains("engagement_30d"));
    assert_eq!(plans[0], plans[1]);
}
