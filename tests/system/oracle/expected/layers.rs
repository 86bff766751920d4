//! Views on views.

use super::cases::{check, stream, table};

const EVENTS: &str = "events who ts type price
    a 1 buy 1.00
    a 2 view -
    b 3 buy 2.00
    b 61 buy 4.00
    a 62 buy 8.00
    b 130 view -";

#[test]
fn views_on_views_give_the_hand_written_rows() {
    let cases = [
        stream(
            "a filter of a filter",
            EVENTS,
            "bought = SELECT who, ts, price FROM {events} WHERE type = 'buy';
             SELECT who, price FROM {bought} WHERE price > 2",
            "b 4.00
             a 8.00",
        ),
        stream(
            "windows over a filter",
            EVENTS,
            "bought = SELECT who, ts, price * 2 AS twice FROM {events} WHERE type = 'buy';
             SELECT who, window_start, sum(twice) AS s FROM tumble({bought}, INTERVAL '1 minute') GROUP BY who, window_start",
            "a 00:00:00 2.00
             b 00:00:00 4.00
             b 00:01:00 8.00
             a 00:01:00 16.00",
        ),
        stream(
            "windows over windows: a window's row has the time of its end",
            EVENTS,
            "minutes = SELECT who, window_start, window_end, count(*) AS n FROM tumble({events}, INTERVAL '1 minute')
             GROUP BY who, window_start, window_end;
             SELECT window_start, count(*) AS rows, sum(n) AS n FROM tumble({minutes}, INTERVAL '2 minutes') GROUP BY window_start",
            "00:00:00 2 3
             00:02:00 3 3",
        ),
        stream(
            "a filter of windows",
            EVENTS,
            "minutes = SELECT who, window_end, count(*) AS n FROM tumble({events}, INTERVAL '1 minute') GROUP BY who, window_end;
             SELECT who, window_end, n * 10 AS tens FROM {minutes} WHERE n > 1",
            "a 00:01:00 20",
        ),
        table(
            "a rolling window over a projection",
            &["initial"],
            EVENTS,
            "short = SELECT upper(who) AS initial, ts, coalesce(price, 0) AS price FROM {events};
             SELECT initial, count(*) AS n, sum(price) AS s FROM rolling({short}, INTERVAL '1 minute', INTERVAL '10 seconds')
             GROUP BY initial",
            "B 1 0.00",
        ),
        table(
            "an aggregate of what rolls",
            &["n"],
            "events who ts
             a 1
             b 2
             c 3
             c 4
             d 70
             d 71",
            "recent = SELECT who, count(*) AS n FROM rolling({events}, INTERVAL '1 minute', INTERVAL '10 seconds') GROUP BY who;
             SELECT n, count(*) AS people FROM {recent} GROUP BY n",
            "2 1",
        ),
        table(
            "a join with a filter of a table",
            &["who"],
            "people who segment consent
             a vip true
             b vip false
             b new true
             c new -
             plans who plan seats
             a free 1
             b team 2
             c firm 3",
            "willing = SELECT who, segment FROM {people} WHERE consent;
             SELECT w.who, w.segment, q.seats FROM {willing} w JOIN {plans} q ON w.who = q.who",
            "a vip 1
             b new 2",
        ),
        table(
            "an aggregate of an aggregate",
            &["n"],
            "people who city
             a Rome
             b Rome
             c Oslo
             d Bern
             c Rome
             e Lima",
            "cities = SELECT city, count(*) AS n FROM {people} GROUP BY city;
             SELECT n, count(*) AS cities FROM {cities} GROUP BY n",
            "3 1
             1 2",
        ),
        table(
            "a filter of an aggregate",
            &["city"],
            "people who city
             a Rome
             b Rome
             c Oslo
             b Oslo
             d Oslo",
            "cities = SELECT city, count(*) AS n FROM {people} GROUP BY city;
             SELECT city, n + 100 AS more FROM {cities} WHERE n > 1",
            "Oslo 103",
        ),
        stream(
            "a stream enriched by a view of a table",
            "people who segment consent
             a vip true
             b new false
             events who ts
             a 1
             b 2",
            "willing = SELECT who, segment FROM {people} WHERE consent;
             SELECT e.who, w.segment FROM {events} e LEFT JOIN {willing} w ON e.who = w.who",
            "a vip
             b null",
        ),
        table(
            "the whole chain: what rolls, joined, filtered, aggregated",
            &["segment"],
            "people who segment consent
             a vip true
             b vip true
             c new false
             d new true
             events who ts type
             a 1 click
             a 2 view
             a 3 click
             b 4 view
             c 5 click",
            "engagement = SELECT who, count(*) FILTER (WHERE type = 'click') AS clicks
             FROM rolling({events}, INTERVAL '1 minute', INTERVAL '10 seconds') GROUP BY who;
             customer = SELECT p.who, p.segment, e.clicks FROM {people} p LEFT JOIN {engagement} e ON p.who = e.who WHERE p.consent;
             SELECT segment, count(*) AS customers, sum(clicks) AS clicks FROM {customer} GROUP BY segment",
            "vip 2 2
             new 1 null",
        ),
    ];
    check(&cases, 0, 0);
}
