use std::collections::BTreeMap;
use std::sync::{Mutex, mpsc::channel};

use arrow::record_batch::RecordBatch;
use timely::dataflow::operators::Inspect;

use super::*;
use crate::runtime::clock::{JobClock, tests::plan};
use crate::runtime::clock_operator::{ClockSettings, clock};
use crate::runtime::context::Place;
use crate::source::SplitProgress;

const TICK: Duration = Duration::from_millis(10);
const LASTS: Duration = Duration::from_millis(500);

fn settings(worker: usize, origin: Instant, stop: &Arc<AtomicBool>) -> SourceSettings {
    SourceSettings {
        worker,
        start: 1,
        origin,
        tick: TICK,
        checkpoint_interval: LASTS,
        in_flight_bytes_max: usize::MAX,
        outbox_bytes_max: u64::MAX,
        tells_fullness: false,
        tables_first: false,
        begins_from_state: false,
        stop: stop.clone(),
        drain: Arc::default(),
        savepoints: Arc::default(),
        hold: Arc::new(Hold::of(None, None, &BTreeSet::new()).unwrap()),
        append_sinks: BTreeSet::new(),
    }
}

/// What the reader of one split, which does not end, brings.
fn records(split: u32) -> SourceBatch {
    SourceBatch {
        rows: RecordBatch::new_empty(plan().sources[0].schema.clone()),
        dead_letters: Vec::new(),
        splits: vec![SplitProgress {
            split,
            name: split.to_string().into(),
            next_offset: 1,
            watermark: 0,
            idle: false,
            caught_up: false,
            finished: false,
            lag: None,
            timestamp: None,
        }],
        records: 1,
        bytes: 1,
        ingested_at: Instant::now(),
    }
}

/// What two workers close while both bring records all the time: by epoch the workers.
fn closed_by_two() -> BTreeMap<u64, BTreeSet<usize>> {
    let closed = Arc::new(Mutex::new(BTreeMap::<u64, BTreeSet<usize>>::new()));
    let (stop, origin) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let seen = closed.clone();
    let done = timely::execute(timely::Config::process(2), move |worker| {
        let index = worker.index();
        let (sender, batches) = channel();
        let (reader, _requests) = channel();
        let local = Local::default();
        let closed = seen.clone();
        let wake = worker.dataflow(|scope| {
            let port = SourcePort {
                source: 0,
                batches,
                is_table: false,
                records: Counter::default(),
                judge: None,
                ends: SplitEnds::default(),
                reader,
            };
            let streams = source(
                scope,
                settings(index, origin, &stop),
                vec![port],
                local.clone(),
                ProbeHandle::new(),
                Arc::new(Stats::new(&plan())),
            );
            let controls = streams.controls.inspect_core(move |event| {
                if let Ok((stamp, _)) = event {
                    let mut closed = closed.lock().unwrap();
                    for epoch in stamp.iter() {
                        closed.entry(*epoch).or_default().insert(index);
                    }
                }
            });
            let settings = ClockSettings {
                clock: JobClock::new(&plan(), 2, None),
                sources: Vec::new(),
                replay: None,
                ending: None,
                place: Place {
                    process: 0,
                    processes: 1,
                    threads: 2,
                },
                known: None,
            };
            clock(controls, local.clone(), settings);
            scope.activator_for(streams.address.into())
        });
        // The second worker's epochs begin in the middle of the first one's.
        let split = u32::try_from(index).unwrap();
        std::thread::sleep(TICK / 2 * split);
        while origin.elapsed() < LASTS {
            // The first worker may have ended the job already.
            let _ = sender.send(records(split));
            wake.activate();
            worker.step_or_park(Some(Duration::from_millis(1)));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        wake.activate();
    });
    for worker in done.unwrap().join() {
        worker.unwrap();
    }
    Arc::into_inner(closed).unwrap().into_inner().unwrap()
}

#[test]
fn workers_close_their_epochs_under_the_same_numbers() {
    let closed = closed_by_two();
    let both = closed.values().filter(|workers| workers.len() == 2).count();
    assert!(closed.len() > 10, "{}", closed.len());
    assert!(both * 2 > closed.len(), "{both} of {}", closed.len());
}
