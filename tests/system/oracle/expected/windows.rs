//! Tumbling and rolling windows over streams whose declared bound is five seconds.

use super::cases::{check, stream, table};

const COUNT_1M: &str = "SELECT who, window_start, count(*) AS n FROM tumble({events}, INTERVAL '1 minute') GROUP BY who, window_start";

#[test]
fn tumbling_windows_give_the_hand_written_rows() {
    let cases = [
        stream(
            "a window takes its first instant and not its last",
            "events who ts
             a 1
             a 59.999
             a 60",
            COUNT_1M,
            "a 00:00:00 2
             a 00:01:00 1",
        ),
        stream(
            "windows before 1970 begin at whole minutes too",
            "events who ts
             a -1
             a 0",
            "SELECT who, window_start, window_end, count(*) AS n FROM tumble({events}, INTERVAL '1 minute')
             GROUP BY who, window_start, window_end",
            "a 1969-12-31T23:59:00 00:00:00 1
             a 00:00:00 00:01:00 1",
        ),
        stream(
            "a row whose window is over comes too late",
            "events who ts
             a 10
             a 130
             a 20
             a 126",
            COUNT_1M,
            "a 00:00:00 1
             a 00:02:00 2",
        ),
        stream(
            "a window is over when the watermark is at its end, not before",
            "events who ts
             a 10
             b 64.999
             a 20
             b 65
             a 30",
            COUNT_1M,
            "a 00:00:00 2
             b 00:01:00 2",
        ),
        table(
            "lateness keeps a window open for as long",
            &["who", "window_start"],
            "events who ts
             a 10
             b 90
             a 20
             b 95
             a 30",
            COUNT_1M,
            "a 00:00:00 2
             b 00:01:00 2",
        )
        .late_by(30_000),
        stream(
            "each file has its own watermark",
            "events/1 who ts
             a 10
             a 200
             events/2 who ts
             a 20
             a 21",
            COUNT_1M,
            "a 00:00:00 3
             a 00:03:00 1",
        ),
        stream(
            "a sum without rows is null, a count is 0",
            "events who ts type price
             a 1 view 3.00
             b 2 buy 4.00
             b 3 buy -",
            "SELECT who, window_start, sum(price) FILTER (WHERE type = 'buy') AS s, count(price) AS c,
                    count(*) FILTER (WHERE type = 'buy') AS n
             FROM tumble({events}, INTERVAL '1 minute') GROUP BY who, window_start",
            "a 00:00:00 null 1 0
             b 00:00:00 4.00 1 2",
        ),
        stream(
            "means have four digits more than what they are of, the rest is cut off",
            "events who ts price quantity score
             a 1 1.00 1 0.5
             a 2 2.00 2 1.5
             a 3 2.00 - 4.0",
            "SELECT who, window_start, avg(price) AS p, avg(quantity) AS q, avg(score) AS s
             FROM tumble({events}, INTERVAL '1 minute') GROUP BY who, window_start",
            "a 00:00:00 1.666666 1.5 2.0",
        ),
        stream(
            "least and greatest skip nulls",
            "events who ts type price score
             a 1 m 3.00 -
             a 2 c -1.00 -
             a 3 - - -
             b 4 - 7.00 2.5",
            "SELECT who, window_start, min(price) AS least, max(price) AS most, min(type) AS t, max(score) AS s, max(ts) AS last
             FROM tumble({events}, INTERVAL '1 minute') GROUP BY who, window_start",
            "a 00:00:00 -1.00 3.00 c null 00:00:03
             b 00:00:00 7.00 7.00 null 2.5 00:00:04",
        ),
        stream(
            "first and last go by event time, then by place",
            "events who ts type
             a 5 x
             a 3 y
             a 3 w
             a 5 z
             a 4 v",
            "SELECT who, window_start, first_value(type ORDER BY ts) AS f, last_value(type ORDER BY ts) AS l
             FROM tumble({events}, INTERVAL '1 minute') GROUP BY who, window_start",
            "a 00:00:00 y z",
        ),
        stream(
            "first and last of chosen rows",
            "events who ts type price
             a 1 view 1.00
             a 2 buy -
             a 3 buy 3.00
             a 4 view 4.00",
            "SELECT who, window_start, first_value(price ORDER BY ts) FILTER (WHERE type = 'buy') AS f,
                    last_value(price ORDER BY ts) FILTER (WHERE type = 'buy') AS l,
                    last_value(price ORDER BY ts) FILTER (WHERE type = 'mail') AS m
             FROM tumble({events}, INTERVAL '1 minute') GROUP BY who, window_start",
            "a 00:00:00 null 3.00 null",
        ),
        stream(
            "null is a group",
            "events who ts quantity
             - 5 1
             a 6 2
             - 7 3",
            "SELECT who, window_start, sum(quantity) AS q FROM tumble({events}, INTERVAL '1 minute') GROUP BY who, window_start",
            "null 00:00:00 4
             a 00:00:00 2",
        ),
        stream(
            "one window for all",
            "events who ts
             a 5
             b 6
             c 65",
            "SELECT window_end, count(*) AS n FROM tumble({events}, INTERVAL '1 minute') GROUP BY window_end",
            "00:01:00 2
             00:02:00 1",
        ),
        stream(
            "a time a day ahead closes nothing",
            "events who ts
             a 10
             a 86410.001
             a 20
             a 86410",
            COUNT_1M,
            "a 00:00:00 2
             a 1970-01-02T00:00:00 1",
        ),
        stream(
            "conditions on aggregates are asked in the end",
            "events who ts
             a 1
             b 2
             a 3",
            "SELECT who, window_end, count(*) AS n FROM tumble({events}, INTERVAL '1 minute')
             GROUP BY who, window_end HAVING count(*) > 1",
            "a 00:01:00 2",
        ),
    ];
    check(&cases, 1, 3);
}

/// A minute in tiles of ten seconds.
const COUNT_ROLLING: &str = "SELECT who, count(*) AS n FROM rolling({events}, INTERVAL '1 minute', INTERVAL '10 seconds') GROUP BY who";

#[test]
fn rolling_windows_give_the_hand_written_rows() {
    let cases = [
        table(
            "rows of the last minute count",
            &["who"],
            "events who ts
             a 5
             a 65",
            COUNT_ROLLING,
            "a 2",
        ),
        table(
            "the tail leaves by tiles",
            &["who"],
            "events who ts
             a 5
             a 11
             a 79.999",
            COUNT_ROLLING,
            "a 2",
        ),
        table(
            "a tile stays as long as any part of it may count",
            &["who"],
            "events who ts
             a 9.999
             b 10
             c 70",
            COUNT_ROLLING,
            "b 1
             c 1",
        ),
        table(
            "a key whose rows have all left is gone",
            &["who"],
            "events who ts
             a 5
             b 90",
            COUNT_ROLLING,
            "b 1",
        ),
        table(
            "the least stays right when the old least leaves",
            &["who"],
            "events who ts price
             a 5 1.00
             a 30 9.00
             a 31 8.00
             b 80 2.00",
            "SELECT who, min(price) AS least, max(price) AS most, count(*) AS n
             FROM rolling({events}, INTERVAL '1 minute', INTERVAL '10 seconds') GROUP BY who",
            "a 8.00 9.00 2
             b 2.00 2.00 1",
        ),
        table(
            "first and last go by event time, then by place",
            &["who"],
            "events who ts type
             a 20 x
             a 18 y
             a 20 z
             a 18 w",
            "SELECT who, first_value(type ORDER BY ts) AS f, last_value(type ORDER BY ts) AS l
             FROM rolling({events}, INTERVAL '1 minute', INTERVAL '10 seconds') GROUP BY who",
            "a y z",
        ),
        table(
            "the first moves on when the old first leaves",
            &["who"],
            "events who ts type
             a 5 x
             a 40 y
             a 80 z",
            "SELECT who, first_value(type ORDER BY ts) AS f, last_value(type ORDER BY ts) AS l
             FROM rolling({events}, INTERVAL '1 minute', INTERVAL '10 seconds') GROUP BY who",
            "a y z",
        ),
        table(
            "disorder within the window counts, a left tile does not",
            &["who"],
            "events who ts
             a 100
             a 40
             a 29.999
             a 30",
            COUNT_ROLLING,
            "a 2",
        ),
        table(
            "the end is the latest time of all files",
            &["who"],
            "events/1 who ts
             a 10
             a 100
             events/2 who ts
             b 20
             b 200",
            COUNT_ROLLING,
            "b 1",
        ),
        table(
            "sums without rows are null, means of integers are doubles",
            &["who"],
            "events who ts type price quantity
             a 1 view 1.10 1
             a 2 view 2.20 2
             b 3 buy 3.30 -",
            "SELECT who, sum(price) FILTER (WHERE type = 'buy') AS s, avg(quantity) AS q, sum(price) AS all_of_it
             FROM rolling({events}, INTERVAL '1 minute', INTERVAL '10 seconds') GROUP BY who",
            "a null 1.5 3.30
             b 3.30 null 3.30",
        ),
        table(
            "a row that left does not come back with a later sum",
            &["who"],
            "events who ts price
             a 5 100.00
             b 75 1.00
             a 76 2.00",
            "SELECT who, sum(price) AS s FROM rolling({events}, INTERVAL '1 minute', INTERVAL '10 seconds') GROUP BY who",
            "a 2.00
             b 1.00",
        ),
        table(
            "several columns are a key, and null is one",
            &["who", "type"],
            "events who ts type
             a 1 x
             a 2 -
             a 3 x",
            "SELECT who, type, count(*) AS n FROM rolling({events}, INTERVAL '1 minute', INTERVAL '10 seconds') GROUP BY who, type",
            "a x 2
             a null 1",
        ),
    ];
    check(&cases, 0, 1);
}
