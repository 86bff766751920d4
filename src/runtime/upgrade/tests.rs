use tidewright_checkpoints::manifest::{CheckpointKind, MANIFEST_VERSION};
use tidewright_checkpoints::{Epoch, Generation};

use super::*;

/// An operator whose form is told by `version`.
fn operator(kind: StateKind, version: u64, derives_from: &[&str]) -> Operator {
    let columns = match version {
        1 => vec![("user_id", "Utf8View"), ("n", "Int64")],
        _ => vec![("user_id", "Utf8View"), ("n", "Float64"), ("m", "Int64")],
    };
    let columns = columns
        .into_iter()
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()));
    Operator {
        fingerprint: version,
        form: OperatorForm {
            does: format!("rolling {version}d"),
            columns: columns.collect(),
            inputs: Vec::new(),
            logic: None,
        },
        kind,
        derives_from: derives_from.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// A table source, a rolling view, a join of both, a view of its own, sinks of the join.
fn job(profiles: u64, recent: u64, customer: u64, sink: u64) -> BTreeMap<String, Operator> {
    use StateKind::{Derived, Fixed, Log, Outbox};
    let joined = ["profiles", "events", "recent", "customer"];
    let operators = [
        ("profiles/upsert", operator(Fixed, profiles, &["profiles"])),
        (
            "recent/rolling/rolling",
            operator(Fixed, recent, &["events", "recent"]),
        ),
        ("customer/join/join", operator(Derived, customer, &joined)),
        (
            "other/window/window",
            operator(Fixed, 1, &["clicks", "other"]),
        ),
        ("sink/hot", operator(Outbox, sink, &[])),
        ("sink/log", operator(Log, sink, &[])),
    ];
    operators
        .map(|(name, operator)| (name.to_owned(), operator))
        .into()
}

/// A checkpoint of a job as it was decided.
fn checkpoint(now: &BTreeMap<String, Operator>, upgrade: &Upgrade) -> Manifest {
    let operators = now
        .iter()
        .map(|(name, operator)| (upgrade.id(name), operator.fingerprint));
    let mut extra = BTreeMap::new();
    upgrade.note(&mut extra);
    Manifest {
        format_version: MANIFEST_VERSION,
        job: "job".to_owned(),
        generation: Generation(1),
        epoch: Epoch(1),
        kind: CheckpointKind::Periodic,
        created_ms: 0,
        workers: 1,
        files: Vec::new(),
        sources: BTreeMap::new(),
        watermarks: BTreeMap::new(),
        operators: operators.collect(),
        delivered: BTreeMap::new(),
        extra,
    }
}

fn first(now: &BTreeMap<String, Operator>) -> Manifest {
    let upgrade = Upgrade::decide(now, None, &Allowed::default()).unwrap();
    checkpoint(now, &upgrade)
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn reset(views: &[&str]) -> Allowed {
    Allowed {
        reset: names(views),
        ..Allowed::default()
    }
}

#[test]
fn the_same_job_keeps_all_state() {
    let job = job(1, 1, 1, 1);
    let again = Upgrade::decide(&job, Some(&first(&job)), &Allowed::default()).unwrap();
    assert!(again.rebuilt.is_empty() && again.new_outboxes.is_empty() && again.notes.is_empty());
    for name in job.keys() {
        assert_eq!(again.id(name).0, *name);
    }
}

#[test]
fn an_incompatible_change_is_named_and_refused() {
    let error = Upgrade::decide(
        &job(1, 2, 1, 1),
        Some(&first(&job(1, 1, 1, 1))),
        &Allowed::default(),
    )
    .unwrap_err();
    for part in [
        "view recent (recent/rolling/rolling)",
        "it was `rolling 1d` and is `rolling 2d` now",
        "column n was Int64 and is Float64 now",
        "column m is new",
        "--reset-view recent",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}

#[test]
fn a_view_that_is_reset_begins_anew_with_what_derives_from_it_and_nothing_else() {
    let now = job(1, 2, 1, 1);
    let upgrade =
        Upgrade::decide(&now, Some(&first(&job(1, 1, 1, 1))), &reset(&["recent"])).unwrap();
    let id = |name: &str| upgrade.id(name).0;
    assert_eq!(id("recent/rolling/rolling"), "recent/rolling/rolling@1");
    assert_eq!(id("customer/join/join"), "customer/join/join@1");
    for same in ["profiles/upsert", "other/window/window", "sink/hot"] {
        assert_eq!(id(same), same);
    }
    assert_eq!(upgrade.rebuilt, names(&["customer/join/join"]));
    assert!(
        upgrade.notes[0].contains("begins empty"),
        "{:?}",
        upgrade.notes
    );
    // Once more: what the first reset left behind is not read either.
    let checkpoint = checkpoint(&now, &upgrade);
    let again = Upgrade::decide(&now, Some(&checkpoint), &reset(&["recent"])).unwrap();
    assert_eq!(
        again.id("recent/rolling/rolling").0,
        "recent/rolling/rolling@2"
    );
}

#[test]
fn what_is_made_of_other_state_is_made_again_without_asking() {
    let now = job(1, 1, 2, 2);
    let was = first(&job(1, 1, 1, 1));
    let error = Upgrade::decide(&now, Some(&was), &Allowed::default()).unwrap_err();
    assert!(
        error.contains("sink log") && error.contains("--reset-view log"),
        "{error}"
    );
    let upgrade = Upgrade::decide(&now, Some(&was), &reset(&["log"])).unwrap();
    assert_eq!(upgrade.rebuilt, names(&["customer/join/join"]));
    assert_eq!(upgrade.new_outboxes, names(&["sink/hot"]));
    assert_eq!(upgrade.notes.len(), 2, "{:?}", upgrade.notes);
}

#[test]
fn new_operators_begin_empty_or_from_their_inputs() {
    let mut before = job(1, 1, 1, 1);
    let now = before.clone();
    before.remove("customer/join/join");
    before.remove("other/window/window");
    before.remove("sink/hot");
    let upgrade = Upgrade::decide(&now, Some(&first(&before)), &Allowed::default()).unwrap();
    assert_eq!(upgrade.rebuilt, names(&["customer/join/join"]));
    assert_eq!(upgrade.new_outboxes, names(&["sink/hot"]));
    assert_eq!(upgrade.notes.len(), 1, "{:?}", upgrade.notes);
    assert!(
        upgrade.notes[0].contains("view other"),
        "{:?}",
        upgrade.notes
    );
}

#[test]
fn state_without_a_place_goes_only_if_somebody_says_so_and_never_comes_back() {
    let whole = job(1, 1, 1, 1);
    let mut less = whole.clone();
    less.remove("other/window/window");
    let was = first(&whole);
    let error = Upgrade::decide(&less, Some(&was), &Allowed::default()).unwrap_err();
    assert!(error.contains("--drop-view other"), "{error}");
    let drop = Allowed {
        dropped: names(&["other"]),
        ..Allowed::default()
    };
    let any = Allowed {
        non_restored_state: true,
        ..Allowed::default()
    };
    for allowed in [drop, any] {
        let upgrade = Upgrade::decide(&less, Some(&was), &allowed).unwrap();
        assert_eq!(upgrade.notes.len(), 1, "{:?}", upgrade.notes);
        let without = checkpoint(&less, &upgrade);
        let same = Upgrade::decide(&less, Some(&without), &Allowed::default()).unwrap();
        let back = Upgrade::decide(&whole, Some(&checkpoint(&less, &same)), &Allowed::default());
        assert_eq!(
            back.unwrap().id("other/window/window").0,
            "other/window/window@1"
        );
    }
}

#[test]
fn names_that_there_are_not_are_refused_with_those_that_there_are() {
    let job = job(1, 1, 1, 1);
    let decide = |allowed: Allowed| Upgrade::decide(&job, Some(&first(&job)), &allowed);
    let error = decide(reset(&["recnt"])).unwrap_err();
    assert!(
        error.contains("recnt") && error.contains("customer"),
        "{error}"
    );
    let drop = Allowed {
        dropped: names(&["customer"]),
        ..Allowed::default()
    };
    assert!(decide(drop).unwrap_err().contains("no such state to drop"));
}

#[test]
fn a_checkpoint_without_forms_is_compared_by_fingerprints() {
    let mut was = first(&job(1, 1, 1, 1));
    was.extra.clear();
    let same = Upgrade::decide(&job(1, 1, 1, 1), Some(&was), &Allowed::default());
    assert!(same.unwrap().notes.is_empty());
    let error = Upgrade::decide(&job(1, 2, 1, 1), Some(&was), &Allowed::default()).unwrap_err();
    assert!(
        error.contains("keys, aggregates or columns were changed"),
        "{error}"
    );
}

#[test]
fn a_table_takes_new_columns_and_keeps_its_rows() {
    let table = |columns: &[&str], does: &str, fingerprint| Operator {
        fingerprint,
        form: OperatorForm {
            does: does.to_owned(),
            columns: columns
                .iter()
                .map(|name| ((*name).to_owned(), "Utf8View".to_owned()))
                .collect(),
            inputs: Vec::new(),
            logic: None,
        },
        kind: StateKind::Rows,
        derives_from: names(&["profiles"]),
    };
    let job = |table| BTreeMap::from([("profiles/upsert".to_owned(), table)]);
    let was = first(&job(table(
        &["user_id", "segment"],
        "the latest row per (user_id)",
        1,
    )));
    let wider = job(table(
        &["user_id", "email"],
        "the latest row per (user_id)",
        2,
    ));
    let upgrade = Upgrade::decide(&wider, Some(&was), &Allowed::default()).unwrap();
    let id = upgrade.id("profiles/upsert");
    assert_eq!(id.0, "profiles/upsert@1");
    let migration = upgrade.migration(&id).unwrap();
    assert_eq!(migration.from.0, "profiles/upsert");
    assert_eq!(migration.schema().unwrap().fields().len(), 2);
    assert!(
        upgrade.notes[0].contains("column email is new"),
        "{:?}",
        upgrade.notes
    );
    assert!(
        upgrade.notes[0].contains("column segment is gone"),
        "{:?}",
        upgrade.notes
    );
    // Once it is migrated, there is nothing more to do.
    let again = Upgrade::decide(
        &wider,
        Some(&checkpoint(&wider, &upgrade)),
        &Allowed::default(),
    );
    assert_eq!(again.unwrap().migration(&id), None);
    let other_key = job(table(
        &["user_id", "segment"],
        "the latest row per (segment)",
        3,
    ));
    let error = Upgrade::decide(&other_key, Some(&was), &Allowed::default()).unwrap_err();
    assert!(
        error.contains("source profiles") && error.contains("--reset-view"),
        "{error}"
    );
}

/// The job, with what each operator holds; `rows` of the rolling view and `filter` of the join, and so of its sinks.
fn holding(rows: &str, filter: &str) -> BTreeMap<String, Operator> {
    let mut job = job(1, 1, 1, 1);
    let joined = format!("join of {rows} where {filter}");
    for (name, rows) in [
        ("recent/rolling/rolling", rows),
        ("customer/join/join", &joined),
        ("sink/hot", &joined),
        ("sink/log", &joined),
    ] {
        let operator = job.get_mut(name).unwrap();
        operator.form.logic = Some(FormLogic {
            version: 1,
            rows: rows.to_owned(),
            columns: 7,
        });
        if name == "sink/hot" {
            operator.derives_from = names(&["events", "recent", "profiles", "customer"]);
        }
    }
    job
}

#[test]
fn other_rows_are_refused_where_state_is_made_of_them_and_made_again_where_tables_are() {
    let was = first(&holding("events", "a"));
    let decide =
        |now: &BTreeMap<String, Operator>, allowed| Upgrade::decide(now, Some(&was), &allowed);
    let error = decide(&holding("clicks", "a"), Allowed::default()).unwrap_err();
    for part in [
        "view recent",
        "its rows were `events` and are `clicks` now",
        "--reset-view recent",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    let upgrade = decide(&holding("events", "b"), Allowed::default()).unwrap();
    assert_eq!(
        upgrade.id("recent/rolling/rolling").0,
        "recent/rolling/rolling"
    );
    assert_eq!(upgrade.rebuilt, names(&["customer/join/join"]));
    assert_eq!(upgrade.replaced, names(&["sink/hot"]));
    assert_eq!(upgrade.new_outboxes, names(&["sink/hot"]));
    assert_eq!(
        upgrade.id("sink/log").0,
        "sink/log",
        "what it was sent stays"
    );
    assert_eq!(upgrade.notes.len(), 3, "{:?}", upgrade.notes);
}

#[test]
fn a_store_keeps_no_key_of_a_view_that_is_reset() {
    let job = holding("events", "a");
    let upgrade = Upgrade::decide(&job, Some(&first(&job)), &reset(&["recent"])).unwrap();
    assert_eq!(upgrade.replaced, names(&["sink/hot"]));
    assert_eq!(
        upgrade.id("sink/hot").0,
        "sink/hot@1",
        "what it has not sent is of the old view"
    );
    let nothing = Upgrade::decide(&job, Some(&first(&job)), &reset(&["other"])).unwrap();
    assert!(nothing.replaced.is_empty());
}

#[test]
fn other_values_are_sent_again_and_no_key_is_looked_for() {
    let was = first(&holding("events", "a"));
    let mut now = holding("events", "a");
    for operator in now.values_mut() {
        if let Some(logic) = &mut operator.form.logic {
            logic.columns = 8;
        }
    }
    now.get_mut("recent/rolling/rolling").unwrap().form.logic = None;
    let upgrade = Upgrade::decide(&now, Some(&was), &Allowed::default()).unwrap();
    assert_eq!(upgrade.new_outboxes, names(&["sink/hot"]));
    assert!(upgrade.replaced.is_empty());
    assert!(
        upgrade.notes[0].contains("computed in another way"),
        "{:?}",
        upgrade.notes
    );
}

#[test]
fn logic_that_a_checkpoint_does_not_tell_or_tells_in_another_version_is_not_compared() {
    let now = holding("events", "a");
    let mut other = holding("clicks", "b");
    for operator in other.values_mut() {
        if let Some(logic) = &mut operator.form.logic {
            logic.version = 2;
        }
    }
    for was in [job(1, 1, 1, 1), other] {
        let upgrade = Upgrade::decide(&now, Some(&first(&was)), &Allowed::default()).unwrap();
        assert!(upgrade.notes.is_empty() && upgrade.replaced.is_empty());
    }
}

#[test]
fn what_derives_from_a_view_that_is_rebuilt_gets_new_names_and_nothing_else() {
    let was = first(&holding("events", "a"));
    let now = holding("clicks", "a");
    let allowed = Allowed {
        rebuilt: names(&["recent"]),
        ..Allowed::default()
    };
    let upgrade = Upgrade::decide(&now, Some(&was), &allowed).unwrap();
    assert_eq!(upgrade.grafted, names(&["recent/rolling/rolling"]));
    assert_eq!(
        upgrade.id("recent/rolling/rolling").0,
        "recent/rolling/rolling@1"
    );
    assert_eq!(upgrade.rebuilt, names(&["customer/join/join"]));
    assert_eq!(upgrade.replaced, names(&["sink/hot"]));
    for same in ["profiles/upsert", "other/window/window"] {
        assert_eq!(upgrade.id(same).0, same);
    }
    assert!(
        upgrade
            .notes
            .iter()
            .all(|note| !note.contains("begins empty"))
    );
    // Of another kind: the old state goes without another word, and the new one is not in any file.
    let mut other = now.clone();
    let operator = other.remove("recent/rolling/rolling").unwrap();
    other.insert("recent/window/window".to_owned(), operator);
    let upgrade = Upgrade::decide(&other, Some(&was), &allowed).unwrap();
    assert_eq!(upgrade.grafted, names(&["recent/window/window"]));
}
