use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn row(epoch: u64, text: &str) -> Pending {
    Pending {
        epoch: Epoch(epoch),
        deleted: false,
        row: text.as_bytes().into(),
    }
}

fn gone(epoch: u64, text: &str) -> Pending {
    Pending {
        deleted: true,
        ..row(epoch, text)
    }
}

fn send_all(outbox: &mut KeyedOutbox, store: &mut BTreeMap<Vec<u8>, Pending>) {
    while let Some(chunk) = outbox.next_chunk(2) {
        for (key, pending) in chunk.rows {
            store.insert(key.to_vec(), pending);
        }
        outbox.acknowledge();
    }
}

#[test]
fn nothing_is_sent_before_its_checkpoint_is_durable() {
    let mut outbox = KeyedOutbox::new(Counter::default(), Epoch(0), false);
    outbox.put(b"a", row(1, "one"));
    assert!(outbox.next_chunk(10).is_none());
    outbox.seal(Epoch(5));
    assert!(outbox.next_chunk(10).is_none());
    outbox.set_durable(Epoch(4));
    assert!(outbox.next_chunk(10).is_none());
    outbox.set_durable(Epoch(5));
    assert_eq!(
        outbox.next_chunk(10).map(|chunk| chunk.through),
        Some(Epoch(5))
    );
    assert_eq!(outbox.delivered(), Epoch(4), "in flight is not delivered");
    outbox.acknowledge();
    assert_eq!(outbox.delivered(), Epoch(5));
}

#[test]
fn a_key_that_changes_again_before_delivery_is_sent_once() {
    let bytes = Counter::default();
    let mut outbox = KeyedOutbox::new(bytes.clone(), Epoch(0), false);
    for epoch in 1..=100 {
        outbox.put(b"a", row(epoch, "same size"));
        outbox.seal(Epoch(epoch));
        outbox.set_durable(Epoch(epoch));
    }
    assert_eq!(bytes.get(), 10, "bounded by distinct keys");
    let chunk = outbox.next_chunk(10).expect("one row waits");
    assert_eq!(
        chunk.rows,
        vec![(b"a".as_slice().into(), row(100, "same size"))]
    );
}

#[test]
fn the_gain_decides_over_the_loss_of_the_same_epoch_in_either_order() {
    for flip in [false, true] {
        let mut outbox = KeyedOutbox::new(Counter::default(), Epoch(0), false);
        let mut images = [gone(7, "old"), row(7, "new")];
        if flip {
            images.reverse();
        }
        for image in images {
            outbox.put(b"a", image);
        }
        outbox.seal(Epoch(7));
        outbox.set_durable(Epoch(7));
        let chunk = outbox.next_chunk(10).expect("one row waits");
        assert_eq!(chunk.rows[0].1, row(7, "new"));
    }
}

#[test]
fn bytes_that_are_no_entry_are_refused() {
    assert!(decode(b"").is_err());
    assert!(decode(&[ENTRY_FORMAT, 0, 1]).is_err());
    assert!(decode(&[9; 20]).is_err());
    let pending = gone(u64::MAX, "x");
    assert_eq!(decode(&encode(&pending)), Ok(pending));
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    Seal,
    Durable,
    Send,
    SendOne,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        1 => (0..6u8).prop_map(Step::Delete),
        2 => Just(Step::Seal),
        2 => Just(Step::Durable),
        1 => Just(Step::Send),
        2 => Just(Step::SendOne),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    /// Whatever happens, once everything durable is sent, the store equals the result at the durable checkpoint.
    #[test]
    fn the_store_equals_the_result_at_the_delivered_checkpoint(steps in prop::collection::vec(step(), 1..120)) {
        let bytes = Counter::default();
        let mut outbox = KeyedOutbox::new(bytes.clone(), Epoch(0), false);
        let mut now = BTreeMap::new();
        let mut at = BTreeMap::from([(Epoch(0), now.clone())]);
        let mut deltas: Vec<(Epoch, Vec<ShardDelta>)> = Vec::new();
        let (mut epoch, mut durable) = (0u64, Epoch(0));
        let mut store: BTreeMap<Vec<u8>, Pending> = BTreeMap::new();
        for step in steps {
            epoch += 1;
            match step {
                Step::Put(key, value) => {
                    outbox.put(&[key], row(epoch, &value.to_string()));
                    now.insert(vec![key], value.to_string());
                }
                Step::Delete(key) => {
                    if now.remove(&vec![key]).is_some() {
                        outbox.put(&[key], gone(epoch, ""));
                    }
                }
                Step::Seal => {
                    deltas.push((Epoch(epoch), outbox.seal(Epoch(epoch))));
                    at.insert(Epoch(epoch), now.clone());
                }
                Step::Durable => {
                    if let Some((newest, _)) = deltas.last() {
                        durable = *newest;
                        outbox.set_durable(durable);
                    }
                }
                Step::Send => send_all(&mut outbox, &mut store),
                Step::SendOne => {
                    if let Some(chunk) = outbox.next_chunk(1) {
                        for (key, pending) in chunk.rows {
                            store.insert(key.to_vec(), pending);
                        }
                        outbox.acknowledge();
                    }
                }
                Step::Crash => {
                    deltas.retain(|(epoch, _)| *epoch <= durable);
                    now = at[&durable].clone();
                    at.retain(|epoch, _| *epoch <= durable);
                    outbox = KeyedOutbox::new(Counter::default(), durable, false);
                    for (_, deltas) in &deltas {
                        for delta in deltas {
                            prop_assert_eq!(outbox.restore(delta.clone(), Epoch(0)), Ok(()));
                        }
                    }
                }
            }
            if outbox.delivered() == durable && outbox.in_flight.is_empty() && outbox.sending.is_empty() && outbox.waiting.is_empty() {
                let visible: BTreeMap<_, _> = store
                    .iter()
                    .filter(|(_, pending)| !pending.deleted)
                    .map(|(key, pending)| (key.clone(), String::from_utf8_lossy(&pending.row).into_owned()))
                    .collect();
                prop_assert_eq!(&visible, &at[&durable]);
            }
        }
    }
}
