//! The job under test: a source of every kind and a view of every kind.

use super::declared::{Source, View};

/// The sources that [`super::generate::Input`] writes.
pub fn sources() -> Vec<Source> {
    vec![
        Source::stream(
            "events",
            &[
                ("event_id", "string"),
                ("user_id", "string"),
                ("type", "string"),
                ("ts", "timestamp_ms"),
                ("category", "string"),
                ("price", "decimal(12,2)"),
                ("quantity", "bigint"),
                ("weight", "double"),
                ("score", "double"),
                ("rank", "int"),
                ("mobile", "boolean"),
                ("referrer", "string"),
            ],
            "ts",
            5_000,
        ),
        Source::stream(
            "orders",
            &[
                ("buyer", "string"),
                ("placed", "timestamp_ms"),
                ("amount", "decimal(12,2)"),
            ],
            "placed",
            3_000,
        ),
        Source::table(
            "profiles",
            &[
                ("user_id", "string"),
                ("segment", "string"),
                ("country", "string"),
                ("favourite", "string"),
                ("consent", "boolean"),
                ("credit", "decimal(12,2)"),
                ("trust", "double"),
            ],
            &["user_id"],
        ),
        Source::table(
            "accounts",
            &[
                ("user_id", "string"),
                ("plan", "string"),
                ("seats", "bigint"),
            ],
            &["user_id"],
        ),
        Source::table(
            "categories",
            &[
                ("category", "string"),
                ("department", "string"),
                ("floor", "int"),
            ],
            &["category"],
        ),
        Source::table(
            "stores",
            &[
                ("store_id", "string"),
                ("country", "string"),
                ("size", "bigint"),
            ],
            &["store_id"],
        ),
    ]
}

/// Views of every kind, and views on views.
pub fn views() -> Vec<View> {
    [
        stateless(),
        windows(),
        rolling(),
        enriched(),
        tables(),
        aggregates(),
    ]
    .concat()
}

fn stateless() -> Vec<View> {
    vec![
        View::stream(
            "purchases",
            "SELECT event_id, user_id, ts, upper(category) AS category, price * quantity AS amount,
                    coalesce(weight, -1.5) AS weight, rank + 1 AS next_rank
             FROM events WHERE type = 'purchase' AND (price > 20 OR price IS NULL)",
        ),
        View::stream(
            "texts",
            "SELECT event_id, concat(substr(user_id, 2, 4), '-', lower(type)) AS label, length(category) AS letters,
                    CASE WHEN mobile THEN 'phone' WHEN NOT mobile THEN 'other' ELSE 'unknown' END AS device,
                    date_trunc('minute', ts) AS minute, score / 3 AS third, abs(rank) AS size, type LIKE 'email%' AS mail
             FROM events",
        ),
        View::stream(
            "activity",
            "SELECT user_id, ts AS placed, price AS amount, 'event' AS origin FROM events WHERE quantity > 1
             UNION ALL SELECT buyer, placed, amount, 'order' FROM orders",
        ),
    ]
}

const AGGREGATES: &str = "count(*) AS events, count(price) AS priced, sum(quantity) AS quantity,
    sum(price * quantity) FILTER (WHERE type = 'purchase') AS revenue, avg(price) AS average,
    min(price) AS cheapest, max(price) AS dearest, sum(weight) AS weight, avg(weight) AS mean_weight,
    min(weight) AS lightest, max(score) AS best, avg(quantity) FILTER (WHERE mobile) AS mean_quantity,
    min(category) AS first_category, max(ts) AS last_seen, count(*) FILTER (WHERE type = 'email_click') AS clicks,
    sum(rank) AS ranks, first_value(type ORDER BY ts) AS first_type, last_value(price ORDER BY ts) AS last_price,
    last_value(category ORDER BY ts) FILTER (WHERE type = 'purchase') AS last_bought,
    first_value(score ORDER BY ts) FILTER (WHERE category IS NOT NULL) AS first_score";

fn windows() -> Vec<View> {
    let by =
        |group: &str, of: &str| format!("SELECT {group}, {AGGREGATES} FROM {of} GROUP BY {group}");
    vec![
        View::stream(
            "user_1m",
            &by("user_id, window_start, window_end", "tumble(events, INTERVAL '1 minute')"),
        ),
        View::stream(
            "category_10s",
            &by("category, window_start", "tumble(events, INTERVAL '10 seconds')"),
        )
        .rounded_by(&["category", "window_start"]),
        View::stream(
            "phones_30s",
            &by("window_end", "tumble((SELECT * FROM events WHERE mobile), INTERVAL '30 seconds')"),
        )
        .rounded_by(&["window_end"]),
        View::table(
            "patient_1m",
            &["user_id", "window_start"],
            &by("user_id, window_start", "tumble(events, INTERVAL '1 minute')"),
        )
        .late_by(60_000),
        View::stream(
            "busy_1m",
            "SELECT type, window_end, count(*) AS events FROM tumble(events, INTERVAL '1 minute')
             GROUP BY type, window_end HAVING count(*) > 25",
        ),
        View::stream(
            "both_1m",
            "SELECT origin, window_start, count(*) AS events, sum(amount) AS amount
             FROM tumble(activity, INTERVAL '1 minute') GROUP BY origin, window_start",
        ),
        View::stream(
            "bought_1m",
            "SELECT category, window_start, count(*) AS purchases, max(amount) AS most, sum(next_rank) AS ranks
             FROM tumble(purchases, INTERVAL '1 minute') GROUP BY category, window_start",
        ),
        View::stream(
            "cascade_5m",
            "SELECT window_start, window_end, count(*) AS users, sum(events) AS events, max(best) AS best,
                    sum(revenue) AS revenue
             FROM tumble(user_1m, INTERVAL '5 minutes') GROUP BY window_start, window_end",
        ),
    ]
}

fn rolling() -> Vec<View> {
    let by = |key: &str, of: &str| format!("SELECT {key}, {AGGREGATES} FROM {of} GROUP BY {key}");
    vec![
        View::table(
            "engagement",
            &["user_id"],
            &by("user_id", "rolling(events, INTERVAL '5 minutes', INTERVAL '1 minute')"),
        )
        .rounded(),
        View::table(
            "hot",
            &["category"],
            &by("category", "rolling(events, INTERVAL '30 seconds', INTERVAL '10 seconds')"),
        )
        .rounded(),
        View::table(
            "spending",
            &["user_id"],
            "SELECT user_id, sum(amount) AS amount, count(*) AS purchases, max(ts) AS last_purchase
             FROM rolling(purchases, INTERVAL '1 hour', INTERVAL '1 minute') GROUP BY user_id",
        ),
        View::table(
            "recent_activity",
            &["user_id"],
            "SELECT user_id, count(*) AS events, sum(amount) FILTER (WHERE origin = 'order') AS ordered
             FROM rolling(activity, INTERVAL '2 minutes', INTERVAL '30 seconds') GROUP BY user_id",
        ),
    ]
}

fn enriched() -> Vec<View> {
    vec![
        View::stream(
            "known",
            "SELECT e.event_id, e.user_id, e.ts, e.price, p.segment, p.credit - e.price AS rest
             FROM events e JOIN profiles p ON e.user_id = p.user_id WHERE p.consent",
        ),
        View::stream(
            "referred",
            "SELECT e.event_id, e.referrer, p.segment, p.country
             FROM events e LEFT JOIN profiles p ON e.referrer = p.user_id",
        ),
        View::stream(
            "segment_1m",
            "SELECT segment, window_end, count(*) AS events, sum(price) AS price
             FROM tumble(known, INTERVAL '1 minute') GROUP BY segment, window_end",
        ),
        View::stream(
            "floors",
            "SELECT p.event_id, p.amount, c.department, c.floor
             FROM purchases p JOIN categories c ON lower(p.category) = c.category",
        ),
    ]
}

fn tables() -> Vec<View> {
    vec![
        View::table(
            "reachable",
            &["user_id"],
            "SELECT user_id, upper(segment) AS segment, credit * 2 AS twice FROM profiles WHERE consent AND credit > 100",
        ),
        View::table(
            "members",
            &["user_id"],
            "SELECT p.user_id, p.segment, a.plan, a.seats FROM profiles p JOIN accounts a ON p.user_id = a.user_id",
        ),
        View::table(
            "maybe_members",
            &["user_id"],
            "SELECT p.user_id, p.trust, a.plan, coalesce(a.seats, 0) AS seats
             FROM profiles p LEFT JOIN accounts a ON p.user_id = a.user_id",
        ),
        View::table(
            "customer",
            &["user_id"],
            "SELECT p.user_id, p.segment, p.country, e.clicks, e.last_seen, e.dearest
             FROM profiles p LEFT JOIN engagement e ON p.user_id = e.user_id WHERE p.consent",
        ),
        View::table(
            "nearby",
            &["user_id", "store_id"],
            "SELECT p.user_id, s.store_id, s.size, p.country
             FROM profiles p JOIN stores s ON p.country = s.country WHERE s.size > 200",
        ),
        View::table(
            "maybe_nearby",
            &["user_id", "store_id"],
            "SELECT p.user_id, s.store_id, s.size FROM profiles p LEFT JOIN stores s ON p.country = s.country",
        ),
        View::table(
            "favourites",
            &["user_id"],
            "SELECT p.user_id, c.department, c.floor FROM profiles p LEFT JOIN categories c ON p.favourite = c.category",
        ),
    ]
}

fn aggregates() -> Vec<View> {
    vec![
        View::table(
            "segments",
            &["segment"],
            "SELECT segment, count(*) AS customers, sum(clicks) AS clicks, max(dearest) AS dearest, min(last_seen) AS first
             FROM customer GROUP BY segment",
        ),
        View::table(
            "countries",
            &["country"],
            "SELECT country, count(*) AS users, count(segment) AS in_segments, sum(credit) AS credit, avg(credit) AS mean,
                    min(credit) AS least, max(segment) AS last_segment, avg(trust) AS trust, sum(trust) AS trusts,
                    count(*) FILTER (WHERE consent) AS consenting
             FROM profiles GROUP BY country",
        )
        .rounded(),
        View::table(
            "departments",
            &["department"],
            "SELECT c.department, count(*) AS users, sum(p.credit) AS credit
             FROM profiles p JOIN categories c ON p.favourite = c.category GROUP BY c.department HAVING count(*) > 1",
        ),
        View::table(
            "reach",
            &["country"],
            "SELECT country, count(*) AS pairs, sum(size) AS size FROM nearby GROUP BY country",
        ),
        View::table("everybody", &[], "SELECT count(*) AS users, sum(credit) AS credit FROM profiles"),
        View::table(
            "plans",
            &["plan"],
            "SELECT plan, sum(seats) AS seats, min(seats) AS least, max(seats) AS most FROM members GROUP BY plan",
        ),
    ]
}
