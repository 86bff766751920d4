use arrow::array::AsArray;
use arrow::datatypes::{Decimal128Type, TimeUnit, TimestampMillisecondType};
use tidewright_jobs::compile;

use super::*;
use crate::sink::SinkError;

const JOB: &str = "
name: shop
sources:
  events:
    kafka: { brokers: 'b:1', topic: events, start: START }
    schema: { user_id: string, ts: timestamp_ms }
    event_time: { column: ts, out_of_orderness: 5s }
  profiles:
    files: { path: profiles.jsonl }
    primary_key: [user_id]
    schema: { user_id: string, segment: string }
views:
  minutes: |
    SELECT user_id, window_start, count(*) AS n FROM tumble(events, INTERVAL '1 minute')
    GROUP BY user_id, window_start
  recent: |
    SELECT user_id, count(*) AS n FROM rolling(events, INTERVAL '1 hour', INTERVAL '1 minute') GROUP BY user_id
  customer: |
    SELECT p.user_id, p.segment, r.n FROM profiles p LEFT JOIN recent r ON p.user_id = r.user_id
sinks:
  minutes: { from: minutes, embedded: { path: a } }
  recent: { from: recent, embedded: { path: b } }
  profiles: { from: profiles, embedded: { path: c } }
  customer: { from: customer, embedded: { path: d } }
  log: { from: events, files: { path: e } }
";

fn whole(start: &str, restored: bool) -> Vec<String> {
    let job = JOB.replace("START", start);
    let plan = compile("shop.yaml", &job, &[], &|_| None).unwrap().plan;
    made_whole(&plan, restored).into_iter().collect()
}

#[test]
fn tables_that_are_remade_whole_are_replaced_and_nothing_else() {
    let tables = ["customer", "profiles", "recent"];
    assert_eq!(whole("earliest", true), tables);
    assert_eq!(whole("latest", true), tables, "their content is in state");
    assert_eq!(whole("earliest", false), tables);
    assert_eq!(whole("latest", false), ["profiles"]);
}

struct Nowhere;

impl StoredRows for Nowhere {
    fn page(&mut self) -> Result<Option<Vec<(String, Row)>>, SinkError> {
        Ok(None)
    }

    fn get(&mut self, _: &[String]) -> Result<Vec<Option<Row>>, SinkError> {
        Ok(Vec::new())
    }

    fn remove_all(&mut self, _: &dyn Fn() -> Result<(), SinkError>) -> Result<(), SinkError> {
        unreachable!("nothing is removed here")
    }

    fn place(&self) -> &str {
        "nowhere"
    }
}

fn row(fields: &[(&str, &str)]) -> Row {
    let fields = fields.iter();
    fields
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn a_key_is_read_back_from_the_text_that_stores_hold() {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    let schema = Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("at", time, true),
        Field::new("price", DataType::Decimal128(12, 2), true),
        Field::new("note", DataType::Utf8View, true),
    ]);
    let mut read = ReadBack {
        schema: schema.into(),
        key: vec![1, 2],
        reading: Reading::Losses,
    };
    let at = crate::sink::iso8601::Timestamp(1_767_225_600_123).to_string();
    let rows = vec![
        row(&[
            ("at", &at),
            ("price", "-12.30"),
            ("n", "7"),
            ("_version", "1"),
        ]),
        row(&[("other_key", "u1")]),
    ];
    let batch = read.rows(rows.clone(), &Nowhere).unwrap();
    assert_eq!(batch.num_rows(), 1, "a row of another key cannot be named");
    let at = batch.column(1).as_primitive::<TimestampMillisecondType>();
    assert_eq!(at.value(0), 1_767_225_600_123);
    let price = batch.column(2).as_primitive::<Decimal128Type>();
    assert_eq!(price.value(0), -1_230);
    assert_eq!(batch.column_by_name(DIFF).unwrap().len(), 1);
    read.reading = Reading::Gains;
    let batch = read.rows(rows, &Nowhere).unwrap();
    let n = batch
        .column(0)
        .as_primitive::<arrow::datatypes::Int64Type>();
    assert!(n.value(0) == 7 && batch.column(3).is_null(0));
    let odd = vec![row(&[("at", "yesterday"), ("price", "1")])];
    let error = read.rows(odd, &Nowhere).unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
}
