//! Aggregates of tables: what a row gave is taken back when it changes or goes.

use super::cases::{check, table};

const PEOPLE: &str = "people who segment city credit consent _delete
    a vip Rome 10.00 true -
    b new Rome 20.00 false -
    c new Oslo -5.00 - -
    d old - - true -
    e - Oslo 40.00 true -
    f gone Bern 99.00 true -
    b vip Rome 1.50 true -
    f - - - - true
    e - Oslo 41.00 false -";

#[test]
fn aggregates_of_tables_give_the_hand_written_rows() {
    let cases = [
        table(
            "a changed row counts where it is now",
            &["segment"],
            PEOPLE,
            "SELECT segment, count(*) AS n FROM {people} GROUP BY segment",
            "vip 2
             new 1
             old 1
             null 1",
        ),
        table(
            "sums and means are taken back exactly",
            &["segment"],
            PEOPLE,
            "SELECT segment, sum(credit) AS s, avg(credit) AS m FROM {people} GROUP BY segment",
            "vip 11.50 5.750000
             new -5.00 -5.000000
             old null null
             null 41.00 41.000000",
        ),
        table(
            "the greatest goes when its row goes",
            &["city"],
            PEOPLE,
            "SELECT city, min(credit) AS least, max(credit) AS most FROM {people} GROUP BY city",
            "Rome 1.50 10.00
             Oslo -5.00 41.00
             null null null",
        ),
        table(
            "a group without rows is gone",
            &["city"],
            PEOPLE,
            "SELECT city, count(*) AS n FROM {people} WHERE city <> 'Rome' GROUP BY city",
            "Oslo 2",
        ),
        table(
            "a count of a column skips nulls",
            &["city"],
            PEOPLE,
            "SELECT city, count(*) AS n, count(segment) AS s, count(credit) AS c FROM {people} GROUP BY city",
            "Rome 2 2 2
             Oslo 2 1 2
             null 1 1 0",
        ),
        table(
            "each aggregate has its filter",
            &["city"],
            PEOPLE,
            "SELECT city, count(*) FILTER (WHERE consent) AS yes, sum(credit) FILTER (WHERE NOT consent) AS no
             FROM {people} GROUP BY city",
            "Rome 2 null
             Oslo 0 41.00
             null 1 null",
        ),
        table(
            "groups by an expression",
            &["letter"],
            PEOPLE,
            "SELECT substr(city, 1, 1) AS letter, count(*) AS n FROM {people} WHERE city IS NOT NULL GROUP BY substr(city, 1, 1)",
            "R 2
             O 2",
        ),
        table(
            "one row for all",
            &[],
            PEOPLE,
            "SELECT count(*) AS n, sum(credit) AS s FROM {people}",
            "5 47.50",
        ),
        table(
            "a condition on a count comes and goes",
            &["segment"],
            PEOPLE,
            "SELECT segment, count(*) AS n FROM {people} GROUP BY segment HAVING count(*) > 1",
            "vip 2",
        ),
        table(
            "an aggregate of a join",
            &["city"],
            "people who city
             a Rome
             b Oslo
             c Rome
             b Rome
             shops shop city size _delete
             s1 Rome 10 -
             s2 Rome 20 -
             s3 Oslo 30 -
             s2 - - true",
            "SELECT p.city, count(*) AS pairs, sum(s.size) AS size
             FROM {people} p JOIN {shops} s ON p.city = s.city GROUP BY p.city",
            "Rome 3 30",
        ),
        table(
            "text has a least and a greatest",
            &["city"],
            PEOPLE,
            "SELECT city, min(segment) AS least, max(who) AS most FROM {people} GROUP BY city",
            "Rome vip b
             Oslo new e
             null old d",
        ),
    ];
    check(&cases, 0, 0);
}
