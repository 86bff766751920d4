use super::*;
use crate::compile;

const SOURCES: &str = "
name: shop
sources:
  events:
    files: { path: events.jsonl }
    schema: { user_id: string, type: string, ts: timestamp_ms, price: 'decimal(12,2)', quantity: bigint }
    event_time: { column: ts, out_of_orderness: 5s }
  profiles:
    files: { path: profiles.jsonl }
    primary_key: [user_id]
    schema: { user_id: string, segment: string, consent: boolean, age: int }
views:
";

/// What the last view holds: its rows, its columns.
#[track_caller]
fn logic(views: &[(&str, &str)]) -> Logic {
    let mut file = SOURCES.to_owned();
    for (name, sql) in views {
        file.push_str(&format!("  {name}: |\n    {}\n", sql.replace('\n', " ")));
    }
    let last = views.last().unwrap().0;
    file.push_str(&format!(
        "sinks:\n  out: {{ from: {last}, blackhole: {{}} }}\n"
    ));
    let plan = compile("shop.yaml", &file, &[], &|_| None).unwrap().plan;
    let node = plan.views.iter().find(|(view, _)| view == last).unwrap().1;
    plan.logic()[node.0].clone()
}

fn view(sql: &str) -> Logic {
    logic(&[("v", sql)])
}

const REVENUE: &str = "
    SELECT user_id, sum(price * quantity) FILTER (WHERE type = 'purchase') AS revenue
    FROM rolling(events, INTERVAL '1 hour', INTERVAL '1 minute') WHERE quantity > 1 GROUP BY user_id";

/// Whoever changes these texts, or takes up a DataFusion that does, makes every job be refused that goes on from a checkpoint
/// of a release before, unless `VERSION` moves on.
#[test]
fn texts_of_version_1_are_these() {
    assert_eq!(VERSION, 1);
    for (logic, rows, columns) in [
        (
            view("SELECT user_id, upper(segment) AS s FROM profiles WHERE consent AND age > 17"),
            "profiles where (profiles.age > Int32:'17') and profiles.consent",
            "profiles.user_id; upper(profiles.segment)",
        ),
        (
            view(REVENUE),
            "rolling(3600000 ms by events.ts, every 60000 ms) of (events where (events.quantity > Int64:'1')) per (events.user_id)",
            "events.user_id; sum((events.price * cast(events.quantity as Decimal128(20, 0)))) where (events.type = Utf8View:'purchase')",
        ),
    ] {
        assert_eq!(logic.rows(), rows);
        assert_eq!(logic.columns.join("; "), columns);
    }
}

#[test]
fn what_means_the_same_has_the_same_text() {
    let one = view("SELECT user_id, segment FROM profiles WHERE consent AND age > 17");
    for same in [
        view("SELECT user_id, segment FROM profiles p WHERE p.age > 17 AND p.consent"),
        logic(&[
            (
                "adults",
                "SELECT user_id, segment, consent, age FROM profiles WHERE age > 17",
            ),
            ("v", "SELECT user_id, segment FROM adults WHERE consent"),
        ]),
    ] {
        assert_eq!(same, one);
    }
    let events = "SELECT user_id, type, ts, price, quantity FROM events WHERE quantity > 1";
    let revenue = REVENUE
        .replace("rolling(events", "rolling(big")
        .replace("WHERE quantity > 1 ", "");
    assert_eq!(logic(&[("big", events), ("v", &revenue)]), view(REVENUE));
}

#[test]
fn every_change_of_what_a_view_holds_is_in_its_text() {
    let revenue = view(REVENUE);
    for (what, with) in [
        ("quantity > 1", "quantity > 2"),
        ("WHERE quantity > 1", ""),
        ("GROUP BY", "AND type <> 'x' GROUP BY"),
        ("'1 hour'", "'2 hours'"),
    ] {
        let other = view(&REVENUE.replace(what, with));
        assert_ne!(other.rows(), revenue.rows(), "{with}");
    }
    for (what, with) in [
        ("price * quantity", "price"),
        ("= 'purchase'", "<> 'purchase'"),
        ("sum", "max"),
    ] {
        let other = view(&REVENUE.replace(what, with));
        assert_eq!(other.rows(), revenue.rows(), "{with}");
        assert_ne!(other.columns, revenue.columns, "{with}");
    }
    // Also where the change is in a view that it reads, on either side of a join.
    let join = |filter: &str, kind: &str| {
        let people = format!("SELECT user_id, segment FROM profiles WHERE {filter}");
        let join = format!(
            "SELECT p.user_id, p.segment, r.revenue FROM people p {kind} JOIN r ON p.user_id = r.user_id"
        );
        logic(&[("people", &people), ("r", REVENUE), ("v", &join)])
    };
    let joined = join("consent", "LEFT");
    assert_ne!(join("age > 3", "LEFT").rows(), joined.rows());
    assert_ne!(join("consent", "").rows(), joined.rows());
}

#[test]
fn views_upon_views_do_not_grow_without_bound() {
    let names: Vec<String> = (0..25).map(|level| format!("v{level}")).collect();
    let mut views = vec![("v0", "SELECT user_id, age AS n FROM profiles".to_owned())];
    for pair in names.windows(2) {
        let sql = format!("SELECT user_id, n + n * n - n AS n FROM {}", pair[0]);
        views.push((&pair[1], sql));
    }
    let views: Vec<_> = views
        .iter()
        .map(|(name, sql)| (*name, sql.as_str()))
        .collect();
    let columns = logic(&views).columns;
    assert!(
        columns.iter().all(|column| column.len() <= INLINE_MAX),
        "{columns:?}"
    );
}
