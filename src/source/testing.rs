//! Plans and contexts for the tests of the connectors.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{
    array::AsArray,
    datatypes::{DataType, Field, Int8Type, Int64Type, Schema, TimeUnit},
};
use tidewright_jobs::{
    job::SourceConfig,
    plan::{EventTime, NodeId, SourceKind, SourcePlan},
};
use tidewright_operators::batch;

use super::{OpenContext, SourceBatch, SplitEnds, SplitProgress, SplitReader, SplitStart};
use crate::dead_letter::DeadLetter;

pub(super) const BOUND_MS: i64 = 5;

fn plan(config: SourceConfig, kind: SourceKind, fields: Vec<Field>) -> SourcePlan {
    SourcePlan {
        name: "events".into(),
        config,
        schema: Arc::new(Schema::new(fields)),
        kind,
        node: NodeId(0),
        needs_position: true,
    }
}

/// A stream of `user_id, ts, quantity` by event time.
pub(super) fn stream(config: SourceConfig, idle_after_ms: Option<u64>) -> SourcePlan {
    let fields = vec![
        Field::new("user_id", DataType::Utf8View, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("quantity", DataType::Int64, true),
    ];
    let event_time = EventTime {
        column: 1,
        out_of_orderness_ms: BOUND_MS,
        idle_after_ms,
    };
    plan(
        config,
        SourceKind::Stream {
            event_time: Some(event_time),
        },
        fields,
    )
}

/// A table of `user_id, segment, updated_at` by `user_id`.
pub(super) fn table(config: SourceConfig) -> SourcePlan {
    let fields = vec![
        Field::new("user_id", DataType::Utf8View, false),
        Field::new("segment", DataType::Utf8View, true),
        Field::new("updated_at", DataType::Int64, true),
    ];
    plan(
        config,
        SourceKind::Table {
            key: vec![0],
            event_time: Some(2),
        },
        fields,
    )
}

pub(super) fn context(restored: Option<Vec<SplitStart>>) -> OpenContext {
    OpenContext {
        until: None,
        job: "job".into(),
        worker: 0,
        workers: 1,
        bounded: false,
        restored,
        moved: false,
        topics: Default::default(),
        now_ms: 1_760_000_000_000,
        ends: SplitEnds::default(),
    }
}

/// What a reader has brought so far.
#[derive(Default)]
pub(super) struct Read {
    pub(super) batches: Vec<SourceBatch>,
}

impl Read {
    /// Polls until `done`, for half a minute at most.
    pub(super) fn until(
        &mut self,
        reader: &mut dyn SplitReader,
        mut done: impl FnMut(&Self) -> bool,
    ) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done(self) {
            assert!(
                Instant::now() < deadline,
                "nothing comes: {:?}",
                self.progress()
            );
            self.batches
                .extend(reader.poll(Duration::from_millis(20)).unwrap());
        }
    }

    pub(super) fn until_finished(&mut self, reader: &mut dyn SplitReader) {
        self.until(reader, |read| {
            !read.batches.is_empty() && read.progress().iter().all(|split| split.finished)
        });
    }

    /// The last progress of every split.
    pub(super) fn progress(&self) -> Vec<SplitProgress> {
        let mut last = std::collections::BTreeMap::new();
        for split in self.batches.iter().flat_map(|batch| &batch.splits) {
            last.insert(split.split, split.clone());
        }
        last.into_values().collect()
    }

    /// The checkpoint of what was read.
    pub(super) fn starts(&self) -> Vec<SplitStart> {
        let starts = self.progress().into_iter().map(|split| SplitStart {
            name: split.name,
            next_offset: split.next_offset,
            watermark: split.watermark,
            idle: split.idle,
        });
        starts.collect()
    }

    pub(super) fn records(&self) -> u64 {
        self.batches.iter().map(|batch| batch.records).sum()
    }

    pub(super) fn dead_letters(&self) -> Vec<&DeadLetter> {
        self.batches
            .iter()
            .flat_map(|batch| &batch.dead_letters)
            .collect()
    }

    fn column<T>(&self, name: &str, values: impl Fn(&arrow::array::ArrayRef) -> Vec<T>) -> Vec<T> {
        let batches = self.batches.iter();
        batches
            .flat_map(|batch| values(batch.rows.column_by_name(name).unwrap()))
            .collect()
    }

    pub(super) fn integers(&self, name: &str) -> Vec<i64> {
        self.column(name, |array| {
            array.as_primitive::<Int64Type>().values().to_vec()
        })
    }

    pub(super) fn texts(&self, name: &str) -> Vec<Option<String>> {
        self.column(name, |array| {
            let texts = array.as_string_view().iter();
            texts.map(|text| text.map(ToOwned::to_owned)).collect()
        })
    }

    pub(super) fn ops(&self) -> Vec<i8> {
        self.column(batch::OP, |array| {
            array.as_primitive::<Int8Type>().values().to_vec()
        })
    }
}
