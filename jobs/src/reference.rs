//! The job file's reference: its JSON Schema for editors, and a page for people, both from the types that read it.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::job::JobFile;

/// The JSON Schema of a job file.
#[must_use]
pub fn json_schema() -> Value {
    schemars::schema_for!(JobFile).to_value()
}

const INTRODUCTION: &str = "\
# The job file

<!-- Generated from the types in jobs/src/job.rs; a test compares it. -->

A job file is YAML. Every value may hold references, resolved when the job starts: `${env:NAME}`,
`${env:NAME:-default}` and `${file:PATH}`; SQL may not. `--set path=value` changes one value for one run, such as
`--set checkpoint.interval=20ms`.

Durations are written `100ms`, `5s`, `1m`, `1h` or `30d`; sizes `512KiB`, `64MiB` or `1GiB`; shares `5%` or `0.1%`.
";

const SQL: &str = "\
## SQL

A view is one `SELECT` over sources and the views before it. Its relation is a *stream* (rows are only added) or a *table*
(rows are changed by key). `tidewright validate` shows which, and the key.

| Form | Makes |
|---|---|
| `SELECT .. FROM relation WHERE ..` | the same kind of relation; a table must keep its key columns |
| `FROM tumble(stream, INTERVAL '1 minute') GROUP BY .., window_start, window_end` | a stream: one row per group and closed window, with `window_end` as its event time; with `lateness`, a table |
| `FROM rolling(stream, INTERVAL '7 days', INTERVAL '1 hour') GROUP BY ..` | a table, current at every moment; old rows leave by the step |
| `a UNION ALL b` | a stream, of two streams |
| `stream JOIN table ON` the table's whole key | a stream, each row with the table's row as of its arrival |
| `table JOIN table`, `table LEFT JOIN table` | a table, kept up to date |
| `FROM table GROUP BY ..` | a table, with retractions |

Aggregates: `count`, `sum`, `avg`, `min`, `max`, and over streams `first_value(x ORDER BY ts)` and
`last_value(x ORDER BY ts)` by event time; each may have `FILTER (WHERE ..)`. Scalar functions are DataFusion's, if they
depend on nothing but their arguments.
";

/// The reference page `docs/job-file.md`.
#[must_use]
pub fn reference_markdown() -> String {
    let schema = json_schema();
    let mut page = INTRODUCTION.to_owned();
    // Writing to a String cannot fail.
    let _ = section(&mut page, "Top level", &schema);
    if let Some(Value::Object(definitions)) = schema.get("$defs") {
        for (name, definition) in definitions {
            let _ = section(&mut page, &title(name), definition);
        }
    }
    page.push('\n');
    page.push_str(SQL);
    page
}

fn section(page: &mut String, title: &str, schema: &Value) -> std::fmt::Result {
    writeln!(page, "\n## {title}\n")?;
    if let Some(text) = description(schema) {
        writeln!(page, "{text}\n")?;
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        keys(page, properties, schema)?;
    }
    let variants = ["oneOf", "anyOf"]
        .iter()
        .find_map(|k| schema.get(*k)?.as_array());
    if let Some(variants) = variants {
        choices(page, variants)?;
    }
    Ok(())
}

/// A row for every key of a map.
fn keys(page: &mut String, properties: &Map<String, Value>, schema: &Value) -> std::fmt::Result {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    writeln!(
        page,
        "| Key | Type | Default | Meaning |\n|---|---|---|---|"
    )?;
    for (key, property) in properties {
        let default = match property.get("default") {
            _ if required.contains(&key.as_str()) => "required".to_owned(),
            None | Some(Value::Null) => "-".to_owned(),
            Some(Value::String(text)) => format!("`{text}`"),
            Some(Value::Object(map)) if map.is_empty() => "none".to_owned(),
            Some(value) => format!("`{value}`"),
        };
        let meaning = description(property).unwrap_or_default();
        writeln!(
            page,
            "| `{key}` | {} | {default} | {meaning} |",
            type_of(property)
        )?;
    }
    Ok(())
}

/// A row for every form that a value can have.
fn choices(page: &mut String, variants: &[Value]) -> std::fmt::Result {
    writeln!(page, "| Form | Meaning |\n|---|---|")?;
    for variant in variants {
        let meaning = description(variant).unwrap_or_default();
        writeln!(page, "| {} | {meaning} |", form(variant))?;
    }
    Ok(())
}

fn form(variant: &Value) -> String {
    let tagged = variant.get("properties").and_then(Value::as_object);
    match (
        variant.get("const").and_then(Value::as_str),
        tagged.and_then(|p| p.iter().next()),
    ) {
        (Some(name), _) => format!("`{name}`"),
        (None, Some((key, content))) => format!("`{key}:` {}", type_of(content)),
        (None, None) => type_of(variant),
    }
}

fn type_of(schema: &Value) -> String {
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let name = title(target.rsplit('/').next().unwrap_or(target));
        let anchor = name.to_lowercase().replace(' ', "-");
        return format!("[{}](#{anchor})", name.to_lowercase());
    }
    let options = ["anyOf", "oneOf"]
        .iter()
        .find_map(|k| schema.get(*k)?.as_array());
    if let Some(options) = options {
        let real = options
            .iter()
            .filter(|o| o.get("type") != Some(&Value::from("null")));
        return real.map(type_of).collect::<Vec<_>>().join(" or ");
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        let kinds = [("KiB", "size"), ("%", "share")];
        let kind = kinds.iter().find(|(unit, _)| pattern.contains(unit));
        return kind.map_or("duration", |(_, kind)| kind).to_owned();
    }
    match simple_type(schema) {
        "array" => format!(
            "list of {}",
            schema.get("items").map_or_else(String::new, type_of)
        ),
        "object" => match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) => format!("map of names to {}", type_of(values)),
            _ => "map".to_owned(),
        },
        "string" => "text".to_owned(),
        other => other.to_owned(),
    }
}

/// The type, or the one that stands beside `null`.
fn simple_type(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(name)) => name,
        Some(Value::Array(names)) => {
            let mut names = names.iter().filter_map(Value::as_str);
            names.find(|name| *name != "null").unwrap_or("text")
        }
        _ => "text",
    }
}

/// On one line, fit for a table.
fn description(schema: &Value) -> Option<String> {
    let text = schema.get("description")?.as_str()?;
    Some(
        text.split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .replace('|', "\\|"),
    )
}

/// `KafkaSourceConfig` becomes `Kafka source`.
fn title(type_name: &str) -> String {
    let name = ["Config", "Spec"]
        .iter()
        .find_map(|suffix| type_name.strip_suffix(suffix));
    let mut title = String::new();
    for (i, c) in name.unwrap_or(type_name).chars().enumerate() {
        match c.is_uppercase() && i > 0 {
            true => title.extend([' ', c.to_ascii_lowercase()]),
            false => title.push(c),
        }
    }
    title
}
