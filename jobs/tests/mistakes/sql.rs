//! What is wrong with a view.

use super::{Cases, SOURCES};

#[test]
fn sql_that_cannot_be_parsed_or_resolved() {
    let mut cases = Cases::default();
    cases.sql("SELEC user_id FROM events", "20:5 it begins with SELECT");
    cases.sql("SELECT user_id FROM events;", "20:31 without a semicolon");
    cases.sql("SELECT user_id FROM events WHERE", "20:37 Expected");
    cases.sql("SELECT user_id,\n  prise\nFROM events", "21:7 'prise'");
    cases.sql(
        "SELECT user_id FROM evnts",
        "20:25 no source or view 'evnts' .. did you mean `events`?",
    );
    cases.sql("SELECT uper(user_id) FROM events", "20:12 'uper'");
    cases.sql(
        "SELECT user_id FROM events WHERE quantity + true > 1",
        "20:5 incompatible types .. has type Int64; has type Boolean",
    );
    cases.file(
        &format!("{SOURCES}  v: >-\n    SELECT user_id\n    FROM events\n"),
        "20:5 folded block",
    );
    cases.file(
        &format!("{SOURCES}  v: [1]\n"),
        "19:6 a view is SQL text, this is a list",
    );
    cases.file(
        &format!("{SOURCES}  v: SELECT prise FROM events\n"),
        "19:13 'prise'",
    );
    cases.file(
        &format!("{SOURCES}  v: \"SELECT prise FROM events\"\n"),
        "19:14 'prise'",
    );
    cases.file(
        &format!("{SOURCES}  v: {{ sql: SELECT prise FROM events }}\n"),
        "19:20 'prise'",
    );
    cases.file(
        &format!("{SOURCES}  v: {{ sql: SELECT user_id FROM events, latness: 5s }}\n"),
        "19:41 unknown key `latness` .. did you mean `lateness`?",
    );
    cases.file(
        &format!("{SOURCES}  events: SELECT user_id FROM clicks\n"),
        "19:3 `events` is a source already",
    );
}

#[test]
fn windows() {
    let mut cases = Cases::default();
    cases.sql(
        "SELECT user_id, count(*) AS n FROM events GROUP BY user_id",
        "20:56 needs a window: FROM tumble",
    );
    cases.sql(
        "SELECT DISTINCT user_id FROM events",
        "20:12 not supported yet: DISTINCT",
    );
    cases.sql(
        "SELECT user_id, count(*) AS n FROM tumble(events, INTERVAL '1 minute') GROUP BY user_id",
        "20:85 must name window_start or window_end",
    );
    cases.sql(
        "SELECT user_id, window_start FROM tumble(events, INTERVAL '1 minute')",
        "20:21 must be aggregated",
    );
    cases.sql(
        "SELECT user_id, window_start, count(*) AS n FROM tumble(clicks, INTERVAL '1 minute') GROUP BY user_id, window_start",
        "20:61 has no event time",
    );
    cases.sql(
        "SELECT user_id, window_start, count(*) AS n FROM tumble(profiles, INTERVAL '1 minute') GROUP BY user_id, window_start",
        "20:61 has no event time",
    );
    cases.sql(
        "SELECT user_id, window_start, count(*) AS n FROM tumble(events) GROUP BY user_id, window_start",
        "20:54 tumble takes 2 arguments, 1 given",
    );
    cases.sql(
        "SELECT user_id, window_start, count(*) AS n FROM tumble(events, 60) GROUP BY user_id, window_start",
        "20:69 positive interval",
    );
    cases.sql(
        "SELECT user_id, count(*) AS n FROM rolling(events, INTERVAL '1 hour', INTERVAL '7 minutes') GROUP BY user_id",
        "20:84 must be a multiple of the step",
    );
    cases.sql(
        "SELECT user_id, window_start, count(*) AS n FROM hop(events, INTERVAL '1 minute', INTERVAL '5 minutes') GROUP BY user_id, window_start",
        "20:54 not supported yet: hop",
    );
    cases.sql(
        "SELECT user_id, window_start, count(*) AS n FROM session(events, INTERVAL '1 minute') GROUP BY user_id, window_start",
        "20:54 not supported yet: session",
    );
    cases.sql(
        "SELECT e.user_id, p.segment FROM events e JOIN profiles FOR SYSTEM_TIME AS OF e.ts p ON e.user_id = p.user_id",
        "20:61 not supported yet: FOR SYSTEM_TIME",
    );
    cases.file(
        &format!("{SOURCES}  v: {{ sql: SELECT user_id FROM events, lateness: 5s }}\n"),
        "19:13 `lateness` is for views with tumble",
    );
    let patient = "SELECT user_id, window_end, count(*) AS n FROM tumble(events, INTERVAL '1 minute') GROUP BY user_id, window_end";
    cases.file(
        &format!(
            "{SOURCES}  w: {{ sql: \"{patient}\", lateness: 5s }}\n  v: SELECT user_id, sum(n) AS n FROM w GROUP BY user_id\n"
        ),
        "20:6 over windows with `lateness`",
    );
    cases.file(
        &format!(
            "{SOURCES}  w: {{ sql: \"{patient}\", lateness: 5s }}\n  v: SELECT w.user_id, w.window_end, p.age FROM w JOIN profiles p ON w.user_id = p.user_id WHERE w.n > 1\n"
        ),
        "20:51 over windows with `lateness`",
    );
}

#[test]
fn aggregates() {
    let mut cases = Cases::default();
    let window = |call: &str| {
        format!(
            "SELECT user_id, {call} AS x FROM rolling(events, INTERVAL '1 hour', INTERVAL '1 minute') GROUP BY user_id"
        )
    };
    cases.sql(
        &window("count(DISTINCT type)"),
        "20:36 not supported yet: count(DISTINCT ..)",
    );
    cases.sql(
        &window("stddev(quantity)"),
        "20:28 not supported yet: stddev(..); there are count, sum",
    );
    cases.sql(
        &window("last_value(type)"),
        "20:32 needs ORDER BY the event time",
    );
    cases.sql(
        &window("last_value(type ORDER BY quantity)"),
        "20:32 needs ORDER BY the event time",
    );
    cases.sql(
        &window("last_value(type ORDER BY ts DESC)"),
        "20:32 needs ORDER BY the event time, ascending",
    );
    cases.sql(&window("sum(type)"), "20:21 sum");
    cases.sql(
        "SELECT segment, last_value(age ORDER BY age) AS a FROM profiles GROUP BY segment",
        "20:32 over a table",
    );
    cases.sql(
        "SELECT user_id, count(*) OVER (PARTITION BY user_id) AS n FROM events",
        "20:49 not supported yet: OVER",
    );
}

#[test]
fn joins() {
    let mut cases = Cases::default();
    cases.sql(
        "SELECT a.user_id FROM events a JOIN clicks b ON a.user_id = b.user_id",
        "20:53 not supported yet: a join of two streams",
    );
    cases.sql(
        "SELECT e.user_id, p.title FROM events e JOIN segments p ON e.ts > CAST('2020-01-01' AS TIMESTAMP)",
        "20:45 a stream joins a table by the table's whole key (segment)",
    );
    cases.sql(
        "SELECT e.user_id, p.age FROM events e JOIN profiles p ON e.user_id = p.segment",
        "20:62 a stream joins a table by the table's whole key (user_id)",
    );
    cases.sql(
        "SELECT p.user_id, s.segment FROM profiles p JOIN segments s ON p.age > 3",
        "20:49 at least one equality",
    );
    cases.sql(
        "SELECT p.user_id, e.type FROM profiles p LEFT JOIN events e ON p.user_id = e.user_id",
        "20:68 the stream must be on the left",
    );
    cases.sql(
        "SELECT p.user_id, s.segment FROM profiles p RIGHT JOIN segments s ON p.segment = s.segment",
        "20:74 RIGHT JOIN; swap the sides",
    );
    cases.sql(
        "SELECT p.user_id, s.segment FROM profiles p FULL JOIN segments s ON p.segment = s.segment",
        "20:73 FULL JOIN",
    );
    cases.sql(
        "SELECT p.user_id, s.title FROM profiles p LEFT JOIN segments s ON p.segment = s.segment AND p.age > length(s.title)",
        "20:71 a LEFT JOIN with conditions beyond equalities",
    );
    cases.sql(
        "SELECT p.user_id FROM profiles p WHERE p.segment IN (SELECT segment FROM segments)",
        "20:44 not supported yet: IN (SELECT ..)",
    );
    cases.sql("SELECT title FROM segments", "20:5 its rows need a key");
    cases.sql(
        "SELECT p.user_id, s.segment, p.segment FROM profiles p JOIN segments s ON p.segment = s.segment",
        "20:25 two columns are named 'segment'",
    );
}

#[test]
fn what_has_no_meaning_on_unbounded_input() {
    let mut cases = Cases::default();
    cases.sql(
        "SELECT user_id FROM events ORDER BY ts",
        "20:41 ORDER BY has no meaning",
    );
    cases.sql(
        "SELECT user_id FROM events LIMIT 5",
        "20:32 LIMIT has no meaning",
    );
    cases.sql(
        "SELECT user_id, now() AS at FROM events",
        "20:21 now() is not a function of the input",
    );
    cases.sql(
        "SELECT user_id, random() AS r FROM events",
        "20:21 random() is not a function of the input",
    );
    cases.sql(
        "SELECT user_id FROM profiles UNION ALL SELECT user_id FROM profiles",
        "20:34 UNION ALL is for streams",
    );
    cases.sql("SELECT 1 AS one", "20:5 must read a source");
    cases.sql(
        "SELECT user_id AS _id FROM events",
        "20:23 the column name '_id' is reserved",
    );
    cases.sql("SELECT user_id, NULL AS x FROM events", "20:21 has no type");
    cases.sql(
        "SELECT user_id, INTERVAL '1 minute' AS x FROM events",
        "20:21 which a column cannot have",
    );
}
