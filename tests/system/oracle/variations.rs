//! One input, many ways to run it: workers, epochs and checkpoints must not show in any result.

use tempfile::TempDir;

use super::{
    engine::{Oracle, Variation, run},
    generate::Input,
    relations::{sources, views},
};

fn variation(workers: u32, tick: &'static str, checkpoints: &'static str) -> Variation {
    Variation {
        workers,
        tick,
        checkpoints,
        ..Variation::default()
    }
}

fn in_processes(processes: u32, variation: Variation) -> Variation {
    Variation {
        processes,
        ..variation
    }
}

/// Hardly any key is in memory for longer than an epoch.
fn without_memory(variation: Variation) -> Variation {
    Variation {
        memory: Some("1KiB"),
        ..variation
    }
}

#[test]
fn every_view_equals_the_batch_with_any_workers_epochs_checkpoints_and_memory() {
    let input = Input {
        seed: 42,
        events: 4_000,
        users: 60,
        splits: 3,
        disorder_ms: 6_000,
        late: 0.05,
        malformed: 0.02,
    };
    let folder = TempDir::new().unwrap();
    input.write(folder.path());
    let sources: Vec<_> = sources()
        .into_iter()
        .map(|s| s.under(folder.path()))
        .collect();
    let views = views();
    let oracle = Oracle::ask(&sources, &views);
    let empty: Vec<_> = oracle
        .sizes()
        .into_iter()
        .filter(|(_, rows)| *rows == 0)
        .collect();
    assert!(empty.is_empty(), "nothing would be compared: {empty:?}");
    assert!(oracle.answer.late > 100 && oracle.accepted[0].dead > 20);
    for (number, variation) in [
        variation(1, "10ms", "100ms"),
        variation(2, "1ms", "1h"),
        variation(4, "200ms", "20ms"),
        variation(2, "10ms", "10ms"),
        without_memory(variation(1, "1ms", "10ms")),
        without_memory(variation(2, "10ms", "20ms")),
        in_processes(2, variation(2, "10ms", "20ms")),
        in_processes(3, variation(1, "1ms", "100ms")),
    ]
    .iter()
    .enumerate()
    {
        let folder = folder.path().join(format!("run-{number}"));
        let judged = run(&folder, &sources, &views, variation).and_then(|ran| {
            let moved = ran.summary["state"]["fetched"].as_u64() > Some(0);
            assert_eq!(moved, variation.memory.is_some(), "{}", ran.summary);
            oracle.judge(&views, &ran)
        });
        assert!(judged.is_ok(), "{variation:?}\n{}", judged.unwrap_err());
    }
}
