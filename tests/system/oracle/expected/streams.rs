//! Views without windows: projections, filters, functions, unions.

use super::cases::{check, stream, table};

#[test]
fn projections_and_filters_give_the_hand_written_rows() {
    let cases = [
        stream(
            "a filter keeps what is true, not what is null",
            "events who ts price
             a 0 1.50
             b 1 -
             c 2 25.00",
            "SELECT who, price FROM {events} WHERE price > 10",
            "c 25.00",
        ),
        stream(
            "decimals are exact",
            "events who ts price quantity
             a 0 0.10 3
             b 1 9999999999.99 2",
            "SELECT who, price * quantity AS total FROM {events}",
            "a 0.30
             b 19999999999.98",
        ),
        stream(
            "null times anything is null",
            "events who ts price quantity
             a 0 - 3
             b 1 2.00 -",
            "SELECT who, price * quantity AS total FROM {events}",
            "a null
             b null",
        ),
        stream(
            "coalesce and case choose",
            "events who ts type quantity
             a 0 buy 2
             b 1 - -",
            "SELECT who, coalesce(type, 'none') AS t, CASE WHEN quantity > 1 THEN 'many' ELSE 'few' END AS q FROM {events}",
            "a buy many
             b none few",
        ),
        stream(
            "text functions",
            "events who ts type
             anna 0 Buy",
            "SELECT upper(who) AS u, concat(who, '_', lower(type)) AS c, substr(who, 1, 2) AS s, length(who) AS l FROM {events}",
            "ANNA anna_buy an 4",
        ),
        stream(
            "times are truncated and stay times",
            "events who ts
             a 61.5
             b -0.5",
            "SELECT who, date_trunc('minute', ts) AS minute, ts FROM {events}",
            "a 00:01:00 00:01:01.500Z
             b 1969-12-31T23:59:00 1969-12-31T23:59:59.500Z",
        ),
        stream(
            "doubles keep their bits",
            "events who ts score
             a 0 0.1
             b 1 1.5
             c 2 3",
            "SELECT who, score + 0.2 AS more, score FROM {events}",
            "a 0.30000000000000004 0.1
             b 1.7 1.5
             c 3.2 3.0",
        ),
        stream(
            "equal records are as many rows",
            "events who ts
             a 0
             a 0
             a 0",
            "SELECT who FROM {events}",
            "a
             a
             a",
        ),
        stream(
            "what is not a record of the schema is left out",
            "events who ts
             a 0
             !nonsense
             !{\"who\":\"x\",\"ts\":\"soon\"}
             !{\"who\":7,\"ts\":1}
             !{\"who\":\"no time\"}
             b 1",
            "SELECT who FROM {events}",
            "a
             b",
        ),
        stream(
            "null or true is true, null or false is null",
            "events who ts ok price
             a 0 - 6.00
             b 1 - 1.00
             c 2 true 1.00
             d 3 false 1.00",
            "SELECT who FROM {events} WHERE ok OR price > 5",
            "a
             c",
        ),
        stream(
            "a row whose expression fails is left out, the others are not",
            "events who ts quantity
             a 0 4
             b 1 0
             c 2 5",
            "SELECT who, 100 / quantity AS share FROM {events}",
            "a 25
             c 20",
        ),
        stream(
            "integers do not wrap around",
            "events who ts quantity
             a 0 9223372036854775807
             b 1 1",
            "SELECT who, quantity + 1 AS next FROM {events}",
            "b 2",
        ),
    ];
    check(&cases, 6, 0);
}

const BOTH: &str = "events who ts price
    a 1 1.00
    b 2 2.00
    orders who ts amount
    a 3 3.00";

#[test]
fn unions_give_the_hand_written_rows() {
    let cases = [
        stream(
            "rows of both sides",
            BOTH,
            "SELECT who, price FROM {events} UNION ALL SELECT who, amount FROM {orders}",
            "a 1.00
             b 2.00
             a 3.00",
        ),
        stream(
            "equal rows stay",
            BOTH,
            "SELECT who FROM {events} UNION ALL SELECT who FROM {orders}",
            "a
             b
             a",
        ),
        stream(
            "each side has its filter",
            BOTH,
            "SELECT who, ts FROM {events} WHERE who = 'b' UNION ALL SELECT who, ts FROM {orders} WHERE amount > 1",
            "b 00:00:02
             a 00:00:03",
        ),
        stream(
            "three sides, one of them twice",
            BOTH,
            "SELECT who FROM {events} UNION ALL SELECT who FROM {orders} UNION ALL SELECT who FROM {orders}",
            "a
             b
             a
             a",
        ),
        stream(
            "a decimal and a bigint meet in a decimal",
            "events who ts price quantity
             a 1 1.25 7",
            "SELECT who, price FROM {events} UNION ALL SELECT who, quantity FROM {events}",
            "a 1.25
             a 7.00",
        ),
        stream(
            "rows tell where they are from",
            BOTH,
            "SELECT 'event' AS origin, who FROM {events} UNION ALL SELECT 'order', who FROM {orders}",
            "event a
             event b
             order a",
        ),
        stream(
            "a side without a column gives null",
            BOTH,
            "SELECT who, price FROM {events} UNION ALL SELECT who, NULL FROM {orders}",
            "a 1.00
             b 2.00
             a null",
        ),
        stream(
            "windows over both",
            BOTH,
            "both = SELECT who, ts FROM {events} UNION ALL SELECT who, ts FROM {orders};
             SELECT who, window_start, count(*) AS n FROM tumble({both}, INTERVAL '1 minute') GROUP BY who, window_start",
            "a 00:00:00 2
             b 00:00:00 1",
        ),
        stream(
            "a side is not late because the other one is ahead",
            "events who ts
             a 600
             orders who ts
             a 1
             a 2",
            "both = SELECT who, ts FROM {events} UNION ALL SELECT who, ts FROM {orders};
             SELECT who, window_start, count(*) AS n FROM tumble({both}, INTERVAL '1 minute') GROUP BY who, window_start",
            "a 00:00:00 2
             a 00:10:00 1",
        ),
        table(
            "rolling windows over both end at the latest time of both",
            &["who"],
            "events who ts
             a 10
             b 65
             orders who ts
             a 80",
            "both = SELECT who, ts FROM {events} UNION ALL SELECT who, ts FROM {orders};
             SELECT who, count(*) AS n FROM rolling({both}, INTERVAL '1 minute', INTERVAL '10 seconds') GROUP BY who",
            "a 1
             b 1",
        ),
    ];
    check(&cases, 0, 0);
}
