//! What the processes of a job have measured, as one.

use std::collections::BTreeMap;

use crate::metrics::measurements::{Measurements, Sink};

/// What is the same for the whole job is the first process's; all others add what they count.
pub(super) fn whole(processes: Vec<Measurements>) -> Option<Measurements> {
    let mut processes = processes.into_iter();
    let first = processes.next()?;
    Some(processes.fold(first, |mut whole, process| {
        add(&mut whole.records_in, process.records_in);
        add(&mut whole.view_rows, process.view_rows);
        add(&mut whole.late_rows, process.late_rows);
        whole.dead_letters.extend(process.dead_letters);
        whole.operators.extend(process.operators);
        for sink in process.sinks {
            match whole.sinks.iter_mut().find(|known| known.sink == sink.sink) {
                Some(known) => add_sink(known, &sink),
                None => whole.sinks.push(sink),
            }
        }
        whole.workers += process.workers;
        whole.running &= process.running;
        whole.state_spilled += process.state_spilled;
        whole.state_fetched += process.state_fetched;
        whole.cpu_seconds += process.cpu_seconds;
        whole.resident_bytes += process.resident_bytes;
        whole
    }))
}

fn add(counts: &mut BTreeMap<String, u64>, more: BTreeMap<String, u64>) {
    for (name, count) in more {
        *counts.entry(name).or_default() += count;
    }
}

/// The worst that a process knows about the store counts.
fn add_sink(known: &mut Sink, sink: &Sink) {
    known.rows += sink.rows;
    known.outbox_rows += sink.outbox_rows;
    known.outbox_bytes += sink.outbox_bytes;
    known.refused_rows += sink.refused_rows;
    known.breaker = known.breaker.max(sink.breaker);
    let since = known
        .failing_since_ms
        .into_iter()
        .chain(sink.failing_since_ms);
    known.failing_since_ms = since.min();
    if known.error.is_none() {
        known.error.clone_from(&sink.error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::measurements::Breaker;

    fn process(rows: u64, breaker: Breaker) -> Measurements {
        Measurements {
            workers: 2,
            running: true,
            records_in: BTreeMap::from([("events".to_owned(), rows)]),
            sinks: vec![Sink {
                sink: "hot".to_owned(),
                rows,
                breaker,
                ..Sink::default()
            }],
            ..Measurements::default()
        }
    }

    #[test]
    fn processes_add_up_and_the_worst_of_a_store_counts() {
        let processes = vec![process(3, Breaker::Closed), process(4, Breaker::Open)];
        let whole = whole(processes).expect("there are processes");
        assert_eq!((whole.workers, whole.records_in["events"]), (4, 7));
        let [sink] = &whole.sinks[..] else {
            panic!("{:?}", whole.sinks);
        };
        assert_eq!((sink.rows, sink.breaker), (7, Breaker::Open));
        assert!(super::whole(Vec::new()).is_none());
    }
}
