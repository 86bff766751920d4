//! Measures how long operators are busy: timely tells when it begins and ends to run one, and which operators belong to
//! which part of the plan is known from when they were built.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use timely::dataflow::Scope;
use timely::logging::{ScheduleEvent, StartStop, TimelyEvent, TimelyEventBuilder};
use timely::worker::Worker;

use super::stats::{Counter, Stats};

/// By timely's number of an operator, where its busy time is counted.
type Meters = Rc<RefCell<Vec<Option<Counter>>>>;

/// Knows the operators of one worker.
pub struct Stages {
    worker: usize,
    stats: Arc<Stats>,
    meters: Meters,
}

impl Stages {
    /// Measures all operators that are built on this worker from now on.
    #[must_use]
    pub fn watch(worker: &Worker, stats: Arc<Stats>) -> Self {
        let meters = Meters::default();
        if let Some(mut logs) = worker.log_register() {
            let mut clock = BusyClock::new(meters.clone());
            logs.insert::<TimelyEventBuilder, _>("timely", move |_, events| {
                for (at, event) in events.iter_mut().flat_map(|events| events.drain(..)) {
                    if let TimelyEvent::Schedule(event) = event {
                        clock.take(at, event);
                    }
                }
            });
        }
        Self {
            worker: worker.index(),
            stats,
            meters,
        }
    }

    /// What was built since the last call is this operator, as people know it.
    pub fn built(&self, scope: &Scope<'_, u64>, operator: &str) {
        let mut meters = self.meters.borrow_mut();
        let end = scope.worker().peek_identifier();
        if end > meters.len() {
            let busy = self.stats.activity.busy(self.worker, operator);
            meters.resize(end, Some(busy));
        }
    }

    /// What was built since the last call is nobody's.
    pub fn skip(&self, scope: &Scope<'_, u64>) {
        self.meters
            .borrow_mut()
            .resize(scope.worker().peek_identifier(), None);
    }
}

/// Adds up the time between beginnings and ends.
struct BusyClock {
    meters: Meters,
    begun: Vec<Duration>,
}

impl BusyClock {
    fn new(meters: Meters) -> Self {
        Self {
            meters,
            begun: Vec::new(),
        }
    }

    fn take(&mut self, at: Duration, event: ScheduleEvent) {
        let meters = self.meters.borrow();
        let Some(Some(meter)) = meters.get(event.id) else {
            return;
        };
        if self.begun.len() < meters.len() {
            self.begun.resize(meters.len(), at);
        }
        match event.start_stop {
            StartStop::Start => self.begun[event.id] = at,
            StartStop::Stop => {
                let busy = at.saturating_sub(self.begun[event.id]).as_nanos();
                meter.add(u64::try_from(busy).unwrap_or(u64::MAX));
            }
        }
    }
}
