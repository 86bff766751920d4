use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tidewright_checkpoints::Epoch;

use super::{BreakerState, Delivery, DeliveryEvent, Driver, DriverOptions, Rejected, Work};
use crate::{
    dead_letter::{Cause, DeadLetter},
    sink::{
        AppendBatch, AppendWriter, Fence, KeyedBatch, KeyedWriter, SinkError, WriteReport, Writer,
        testing::{Owner, appended, keyed},
    },
};

/// What the next calls of a scripted store do; afterwards it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Fails without effect.
    Fail,
    /// Does it, and then fails.
    DoAndFail,
    /// Says that another has the job.
    Fence,
}

/// A store in memory that survives its writers.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    faults: VecDeque<Fault>,
    failing_for_ever: bool,
    appended: Vec<u64>,
    marker: Option<Epoch>,
    recoveries: usize,
    keyed_writes: usize,
}

impl Store {
    fn failing(faults: &[Fault]) -> Self {
        let store = Self::default();
        store.0.lock().unwrap().faults.extend(faults);
        store
    }

    fn call(&self, mut effect: impl FnMut(&mut Contents)) -> Result<WriteReport, SinkError> {
        let mut contents = self.0.lock().unwrap();
        let down = || Err(SinkError::Transient("down".to_owned()));
        if contents.failing_for_ever {
            return down();
        }
        match contents.faults.pop_front() {
            Some(Fault::Fail) => return down(),
            Some(Fault::Fence) => return Err(SinkError::Fenced("lost".to_owned())),
            Some(Fault::DoAndFail) => {
                effect(&mut contents);
                return down();
            }
            None => effect(&mut contents),
        }
        Ok(WriteReport {
            applied: 1,
            ..WriteReport::default()
        })
    }
}

impl KeyedWriter for Store {
    fn write(&mut self, _: &KeyedBatch, _: &dyn Fence) -> Result<WriteReport, SinkError> {
        self.call(|contents| contents.keyed_writes += 1)
    }
}

impl AppendWriter for Store {
    fn recover(&mut self) -> Result<Option<Epoch>, SinkError> {
        let mut contents = self.0.lock().unwrap();
        contents.recoveries += 1;
        Ok(contents.marker)
    }

    fn append(&mut self, batch: &AppendBatch, _: &dyn Fence) -> Result<WriteReport, SinkError> {
        self.call(|contents| {
            contents.appended.push(batch.through.0);
            contents.marker = Some(batch.through);
        })
    }

    fn refusals(&self, _: &AppendBatch) -> Result<Vec<DeadLetter>, SinkError> {
        Ok(vec![DeadLetter {
            relation: "r".into(),
            origin: String::new(),
            cause: Cause::Refused,
            reason: "too large".to_owned(),
            payload: Vec::new(),
        }])
    }
}

fn options(delivered: Option<u64>) -> DriverOptions {
    DriverOptions {
        sink: "hot".into(),
        capacity: 2,
        delivered: delivered.map(Epoch),
        accept_lost_marker: false,
    }
}

fn start(writer: Writer, options: DriverOptions) -> (Driver, Arc<AtomicU64>) {
    let wakes = Arc::new(AtomicU64::new(0));
    let count = wakes.clone();
    let wake = move || {
        count.fetch_add(1, Ordering::SeqCst);
    };
    (
        Driver::start(writer, Arc::new(Owner), options, wake).unwrap(),
        wakes,
    )
}

fn keyed_delivery(id: u64) -> Delivery {
    Delivery {
        id,
        work: Work::Keyed(keyed(1, id, &[("a", Some(1))])),
    }
}

fn append_delivery(id: u64) -> Delivery {
    Delivery {
        id,
        work: Work::Append(appended(id, &["a", "b"])),
    }
}

fn event(driver: &Driver) -> DeliveryEvent {
    driver
        .event_within(Duration::from_secs(20))
        .expect("an event")
}

fn delivered(driver: &Driver, expected: u64) -> WriteReport {
    match event(driver) {
        DeliveryEvent::Delivered { id, report } if id == expected => report,
        other => panic!("{other:?}, expected {expected}"),
    }
}

fn recovered(driver: &Driver, expected: Option<u64>) {
    match event(driver) {
        DeliveryEvent::Recovered { marker } if marker == expected.map(Epoch) => {}
        other => panic!("{other:?}, expected {expected:?}"),
    }
}

fn keyed_writer(store: &Store) -> Writer {
    Writer::Keyed(Box::new(store.clone()))
}

fn append_writer(store: &Store) -> Writer {
    Writer::Append(Box::new(store.clone()))
}

#[test]
fn batches_are_delivered_in_order_and_the_worker_is_woken_for_each() {
    let store = Store::default();
    let (driver, wakes) = start(keyed_writer(&store), options(None));
    for id in 1..=5 {
        driver.try_deliver(keyed_delivery(id)).unwrap();
        delivered(&driver, id);
    }
    let status = driver.status();
    assert_eq!((status.batches_delivered(), status.rows_applied()), (5, 5));
    driver.close();
    assert_eq!(wakes.load(Ordering::SeqCst), 5);
}

#[test]
fn a_store_that_is_down_is_tried_until_it_works_and_the_breaker_tells() {
    let store = Store::default();
    store.0.lock().unwrap().failing_for_ever = true;
    let (driver, _) = start(keyed_writer(&store), options(None));
    driver.try_deliver(keyed_delivery(1)).unwrap();
    let status = driver.status();
    while status.breaker() != BreakerState::Open {
        std::thread::sleep(Duration::from_millis(5));
    }
    let failing = status.failing().unwrap();
    assert_eq!(failing.error, "down");
    assert!(failing.since <= std::time::SystemTime::now());
    assert!(driver.try_event().is_none());
    store.0.lock().unwrap().failing_for_ever = false;
    delivered(&driver, 1);
    assert_eq!(
        (
            status.breaker(),
            status.failing().map(|failing| failing.error)
        ),
        (BreakerState::Closed, None)
    );
    assert!(status.failed_attempts() >= 3);
}

#[test]
fn an_append_whose_answer_was_lost_is_not_made_twice() {
    let store = Store::failing(&[Fault::Fail, Fault::DoAndFail, Fault::Fail]);
    let (driver, _) = start(append_writer(&store), options(None));
    recovered(&driver, None);
    driver.try_deliver(append_delivery(5)).unwrap();
    let report = delivered(&driver, 5);
    assert_eq!(
        (report.applied, report.already_there, report.refused.len()),
        (0, 1, 1)
    );
    driver.try_deliver(append_delivery(6)).unwrap();
    assert_eq!(delivered(&driver, 6).applied, 1);
    let contents = store.0.lock().unwrap();
    assert_eq!(contents.appended, [5, 6]);
    assert_eq!(contents.recoveries, 4);
}

#[test]
fn what_the_marker_covers_after_a_restart_is_skipped() {
    let store = Store::default();
    store.0.lock().unwrap().marker = Some(Epoch(7));
    let (driver, _) = start(append_writer(&store), options(Some(6)));
    recovered(&driver, Some(7));
    for (id, applied) in [(6, 0), (7, 0)] {
        driver.try_deliver(append_delivery(id)).unwrap();
        assert_eq!(delivered(&driver, id).applied, applied);
    }
    driver.try_deliver(append_delivery(8)).unwrap();
    assert_eq!(delivered(&driver, 8).applied, 1);
    assert_eq!(store.0.lock().unwrap().appended, [8]);
}

#[test]
fn a_marker_that_is_missing_or_behind_the_manifest_is_an_error_with_choices() {
    for marker in [None, Some(Epoch(3))] {
        let store = Store::default();
        store.0.lock().unwrap().marker = marker;
        let (driver, _) = start(append_writer(&store), options(Some(6)));
        match event(&driver) {
            DeliveryEvent::Failed(SinkError::Fatal(message)) => {
                assert!(message.contains("--allow-duplicates"), "{message}");
            }
            other => panic!("{other:?}"),
        }
        let accepting = DriverOptions {
            accept_lost_marker: true,
            ..options(Some(6))
        };
        let (driver, _) = start(append_writer(&store), accepting);
        recovered(&driver, marker.map(|epoch| epoch.0));
    }
}

#[test]
fn being_fenced_ends_the_sink() {
    let store = Store::failing(&[Fault::Fence]);
    let (driver, _) = start(keyed_writer(&store), options(None));
    driver.try_deliver(keyed_delivery(1)).unwrap();
    assert!(matches!(
        event(&driver),
        DeliveryEvent::Failed(SinkError::Fenced(_))
    ));
    assert!(driver.event_within(Duration::from_secs(20)).is_none());
    let rejected = driver.try_deliver(keyed_delivery(2));
    assert!(matches!(rejected, Err(Rejected::Ended(_))), "{rejected:?}");
}

#[test]
fn closing_does_not_wait_for_a_store_that_is_down() {
    let store = Store::default();
    store.0.lock().unwrap().failing_for_ever = true;
    let (driver, _) = start(keyed_writer(&store), options(None));
    // One is being tried, two wait.
    for id in 1..=3 {
        while let Err(Rejected::Full(_)) = driver.try_deliver(keyed_delivery(id)) {
            std::thread::yield_now();
        }
    }
    let full = driver.try_deliver(keyed_delivery(4));
    assert!(matches!(full, Err(Rejected::Full(_))), "{full:?}");
    let status = driver.status();
    while status.breaker() != BreakerState::Open {
        std::thread::sleep(Duration::from_millis(5));
    }
    let begun = std::time::Instant::now();
    driver.close();
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(store.0.lock().unwrap().keyed_writes, 0);
}

#[test]
fn a_batch_of_the_other_kind_is_an_error() {
    let (driver, _) = start(keyed_writer(&Store::default()), options(None));
    driver.try_deliver(append_delivery(1)).unwrap();
    assert!(matches!(
        event(&driver),
        DeliveryEvent::Failed(SinkError::Fatal(_))
    ));
}
