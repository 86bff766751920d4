//! Streams enriched by tables, and tables joined on their keys and on other columns.

use super::cases::{check, stream, table};

const PEOPLE: &str = "people who segment city credit
    a vip Rome 10.00
    b new - 20.00
    c - Oslo -
    events who ts price
    a 1 1.50
    x 2 2.50
    - 3 3.50
    b 4 4.50";

#[test]
fn enriched_streams_give_the_hand_written_rows() {
    let changed = "people who segment _delete
        a new -
        a vip -
        b old -
        b - true
        c old -
        c - true
        c new -
        events who ts
        a 1
        b 2
        c 3";
    let cases = [
        stream(
            "an inner join drops what has no match",
            PEOPLE,
            "SELECT e.who, e.price, p.segment FROM {events} e JOIN {people} p ON e.who = p.who",
            "a 1.50 vip
             b 4.50 new",
        ),
        stream(
            "a left join keeps it, with nulls",
            PEOPLE,
            "SELECT e.who, e.price, p.segment FROM {events} e LEFT JOIN {people} p ON e.who = p.who",
            "a 1.50 vip
             x 2.50 null
             null 3.50 null
             b 4.50 new",
        ),
        stream(
            "the last record of a key counts, and deletes do",
            changed,
            "SELECT e.who, p.segment FROM {events} e JOIN {people} p ON e.who = p.who",
            "a vip
             c new",
        ),
        stream(
            "a deleted row leaves nulls in a left join",
            changed,
            "SELECT e.who, p.segment FROM {events} e LEFT JOIN {people} p ON e.who = p.who",
            "a vip
             b null
             c new",
        ),
        stream(
            "a filter on the table's side",
            PEOPLE,
            "SELECT e.who FROM {events} e JOIN {people} p ON e.who = p.who WHERE p.credit > 15",
            "b",
        ),
        stream(
            "expressions over both sides",
            PEOPLE,
            "SELECT e.who, p.credit - e.price AS rest, concat(e.who, '/', p.city) AS place
             FROM {events} e JOIN {people} p ON e.who = p.who",
            "a 8.50 a/Rome
             b 15.50 b/",
        ),
        stream(
            "those without a match, by a left join",
            PEOPLE,
            "SELECT e.who, e.price FROM {events} e LEFT JOIN {people} p ON e.who = p.who WHERE p.who IS NULL",
            "x 2.50
             null 3.50",
        ),
        stream(
            "the stream's side may be computed",
            "people who segment
             A vip
             events who ts
             a 1
             b 2",
            "SELECT e.who, p.segment FROM {events} e JOIN {people} p ON upper(e.who) = p.who",
            "a vip",
        ),
        stream(
            "two tables one after the other",
            "people who segment
             a vip
             b new
             plans who plan seats
             a team 3
             events who ts
             a 1
             b 2",
            "SELECT e.who, p.segment, q.seats FROM {events} e JOIN {people} p ON e.who = p.who
             LEFT JOIN {plans} q ON e.who = q.who",
            "a vip 3
             b new null",
        ),
        stream(
            "windows over enriched rows",
            PEOPLE,
            "rich = SELECT e.ts, e.price, p.segment FROM {events} e LEFT JOIN {people} p ON e.who = p.who;
             SELECT segment, window_end, sum(price) AS price FROM tumble({rich}, INTERVAL '1 minute') GROUP BY segment, window_end",
            "vip 00:01:00 1.50
             new 00:01:00 4.50
             null 00:01:00 6.00",
        ),
        stream(
            "a table may come first in an inner join",
            PEOPLE,
            "SELECT p.segment, e.price FROM {people} p JOIN {events} e ON p.who = e.who",
            "vip 1.50
             new 4.50",
        ),
    ];
    check(&cases, 0, 0);
}

const MEMBERS: &str = "people who segment credit _delete
    a vip 10.00 -
    b new 20.00 -
    c old 30.00 -
    d new - -
    c - - true
    b vip 25.00 -
    plans who plan seats _delete
    a free 1 -
    b team 5 -
    c firm 9 -
    x team 2 -
    b team 6 -
    d free 1 -
    d - - true";

#[test]
fn tables_joined_on_their_keys_give_the_hand_written_rows() {
    let cases = [
        table(
            "an inner join has the keys of both",
            &["who"],
            MEMBERS,
            "SELECT p.who, p.segment, q.seats FROM {people} p JOIN {plans} q ON p.who = q.who",
            "a vip 1
             b vip 6",
        ),
        table(
            "a left join has the keys of the left",
            &["who"],
            MEMBERS,
            "SELECT p.who, p.segment, q.seats FROM {people} p LEFT JOIN {plans} q ON p.who = q.who",
            "a vip 1
             b vip 6
             d new null",
        ),
        table(
            "the other way around",
            &["who"],
            MEMBERS,
            "SELECT q.who, q.plan, p.credit FROM {plans} q LEFT JOIN {people} p ON p.who = q.who",
            "a free 10.00
             b team 25.00
             c firm null
             x team null",
        ),
        table(
            "a filter before the join",
            &["who"],
            MEMBERS,
            "SELECT p.who, q.plan FROM {people} p JOIN {plans} q ON p.who = q.who WHERE p.credit > 20",
            "b team",
        ),
        table(
            "a filter over both sides",
            &["who"],
            MEMBERS,
            "SELECT p.who FROM {people} p JOIN {plans} q ON p.who = q.who WHERE p.credit > q.seats * 5",
            "a",
        ),
        table(
            "expressions over both sides",
            &["who"],
            MEMBERS,
            "SELECT p.who, p.credit * q.seats AS worth FROM {people} p JOIN {plans} q ON p.who = q.who",
            "a 10.00
             b 150.00",
        ),
        table(
            "keys without a match, by a left join",
            &["who"],
            MEMBERS,
            "SELECT p.who FROM {people} p LEFT JOIN {plans} q ON p.who = q.who WHERE q.who IS NULL",
            "d",
        ),
        table(
            "a table with what rolls",
            &["who"],
            "people who segment
             a vip
             b new
             events who ts
             a 1
             a 70
             b 2
             x 71",
            "recent = SELECT who, count(*) AS n FROM rolling({events}, INTERVAL '1 minute', INTERVAL '10 seconds') GROUP BY who;
             SELECT p.who, p.segment, r.n FROM {people} p LEFT JOIN {recent} r ON p.who = r.who",
            "a vip 1
             b new null",
        ),
        table(
            "what rolls with a table",
            &["who"],
            "people who segment _delete
             a vip -
             b new -
             b - true
             events who ts
             a 1
             b 2",
            "recent = SELECT who, count(*) AS n FROM rolling({events}, INTERVAL '1 minute', INTERVAL '10 seconds') GROUP BY who;
             SELECT r.who, r.n, p.segment FROM {recent} r JOIN {people} p ON p.who = r.who",
            "a 1 vip",
        ),
        table(
            "a join of joins",
            &["who"],
            MEMBERS,
            "both = SELECT p.who, p.segment, q.seats FROM {people} p JOIN {plans} q ON p.who = q.who;
             SELECT b.who, b.seats, q.plan FROM {both} b JOIN {plans} q ON b.who = q.who",
            "a 1 free
             b 6 team",
        ),
    ];
    check(&cases, 0, 0);
}

const CITIES: &str = "people who city shop segment _delete
    a Rome s1 x -
    b Oslo s2 y -
    c - s9 x -
    d Rome - y -
    e Oslo s1 x -
    e Rome s3 x -
    f Bern s1 x -
    f - - - true
    shops shop city kind size _delete
    s1 Rome x 10 -
    s2 Rome y 20 -
    s3 Oslo x 30 -
    s4 Oslo y 40 -
    s4 - - - true
    s5 - x 50 -
    s2 Lima y 25 -";

#[test]
fn tables_joined_on_other_columns_give_the_hand_written_rows() {
    let cases = [
        table(
            "every pair with the same city",
            &["who", "shop"],
            CITIES,
            "SELECT p.who, s.shop, s.size FROM {people} p JOIN {shops} s ON p.city = s.city",
            "a s1 10
             d s1 10
             e s1 10
             b s3 30",
        ),
        table(
            "those without a pair stay in a left join",
            &["who", "shop"],
            CITIES,
            "SELECT p.who, s.shop FROM {people} p LEFT JOIN {shops} s ON p.city = s.city",
            "a s1
             d s1
             e s1
             b s3
             c null",
        ),
        table(
            "the other side stays",
            &["shop", "who"],
            CITIES,
            "SELECT s.shop, p.who FROM {shops} s LEFT JOIN {people} p ON p.city = s.city",
            "s1 a
             s1 d
             s1 e
             s2 null
             s3 b
             s5 null",
        ),
        table(
            "a filter of one side",
            &["who", "shop"],
            CITIES,
            "SELECT p.who, s.shop FROM {people} p JOIN {shops} s ON p.city = s.city WHERE s.size > 15",
            "b s3",
        ),
        table(
            "a filter over both sides",
            &["who", "shop"],
            CITIES,
            "SELECT p.who, s.shop FROM {people} p JOIN {shops} s ON p.city = s.city WHERE p.shop <> s.shop",
            "b s3
             e s1",
        ),
        table(
            "two equalities",
            &["who", "shop"],
            CITIES,
            "SELECT p.who, s.shop FROM {people} p JOIN {shops} s ON p.city = s.city AND p.segment = s.kind",
            "a s1
             e s1",
        ),
        table(
            "a computed side",
            &["who", "shop"],
            CITIES,
            "SELECT p.who, s.shop FROM {people} p JOIN {shops} s ON substr(p.city, 2) = substr(s.city, 2)",
            "a s1
             d s1
             e s1
             b s3",
        ),
        table(
            "a name from a small table",
            &["who"],
            CITIES,
            "SELECT p.who, s.kind, s.size FROM {people} p JOIN {shops} s ON p.shop = s.shop",
            "a x 10
             b y 25
             e x 30",
        ),
        table(
            "a name or null from a small table",
            &["who"],
            CITIES,
            "SELECT p.who, s.size FROM {people} p LEFT JOIN {shops} s ON p.shop = s.shop",
            "a 10
             b 25
             c null
             d null
             e 30",
        ),
        table(
            "a table with itself",
            &["who", "other"],
            CITIES,
            "SELECT p.who, q.who AS other FROM {people} p JOIN {people} q ON p.city = q.city WHERE p.who < q.who",
            "a d
             a e
             d e",
        ),
    ];
    check(&cases, 0, 0);
}
