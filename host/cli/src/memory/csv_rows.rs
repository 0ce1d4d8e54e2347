//! Rows of Okta's System Log as CSV, as its console exports them, in the form of its API.
//!
//! Invariant: a column's name is the path of the member that it becomes: `client.ip_address` is
//! `ipAddress` in `client`. An empty cell is absent. A column whose path has a number
//! (`target0.id`) is left out: nothing is learned from it.

use serde_json::{Map, Value};

/// Reads all rows: the line of each, and its JSON.
///
/// # Errors
/// Why the file is no CSV with a header, with the line.
pub fn read(text: &str) -> Result<Vec<(u64, String)>, String> {
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|error| error.to_string())?;
    let paths: Vec<Option<Vec<String>>> = headers.iter().map(path).collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        let mut row = Map::new();
        for (path, cell) in paths.iter().zip(&record) {
            if let Some(path) = path.as_ref().filter(|_| !cell.is_empty()) {
                set(&mut row, path, cell);
            }
        }
        rows.push((line, Value::Object(row).to_string()));
    }
    Ok(rows)
}

/// The path of a column's member.
fn path(name: &str) -> Option<Vec<String>> {
    let name = name.trim();
    if name.eq_ignore_ascii_case("timestamp") {
        return Some(vec!["published".to_owned()]);
    }
    let mut path: Vec<String> = name.split('.').map(camel).collect();
    if path.iter().any(|part| part.is_empty() || part.bytes().any(|byte| byte.is_ascii_digit())) {
        return None;
    }
    // `security_context.as.number` and `security_context.as_number` are both in use.
    if path.len() == 3 && path.get(1).is_some_and(|part| part == "as") {
        let last = path.pop().unwrap_or_default();
        path.pop();
        path.push(camel(&format!("as_{last}")));
    }
    Some(path)
}

/// `raw_user_agent` as `rawUserAgent`.
fn camel(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut is_upper = false;
    for letter in name.chars() {
        match letter {
            '_' => is_upper = true,
            letter if is_upper => {
                text.extend(letter.to_uppercase());
                is_upper = false;
            }
            letter => text.push(letter),
        }
    }
    text
}

fn set(row: &mut Map<String, Value>, path: &[String], cell: &str) {
    match path {
        [] => {}
        [name] => {
            row.entry(name.clone()).or_insert_with(|| value(name, cell));
        }
        [name, rest @ ..] => {
            let inner = row.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Some(inner) = inner.as_object_mut() {
                set(inner, rest, cell);
            }
        }
    }
}

/// The value of a cell: text, except where Okta's API has a number or a truth value.
fn value(name: &str, cell: &str) -> Value {
    let is_other = matches!(name, "lat" | "lon" | "asNumber" | "isProxy");
    let cell_value = if is_other { &*cell.to_ascii_lowercase() } else { cell };
    let parsed = is_other.then(|| serde_json::from_str::<Value>(cell_value).ok()).flatten();
    parsed
        .filter(|value| value.is_number() || value.is_boolean())
        .unwrap_or_else(|| Value::String(cell.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_become_the_members_of_the_api() {
        let text = "timestamp,uuid,event_type,actor.id,client.user_agent.raw_user_agent,\
                    client.geographical_context.geolocation.lat,security_context.as.number,\
                    security_context.is_proxy,target0.id,outcome.reason\n\
                    2026-11-20T07:01:11.123Z,u1,user.session.start,00u1,\"Mozilla/5.0 (X11, y)\",\
                    42.34,64500,FALSE,x,\n";
        let rows = read(text).unwrap();
        let [(line, row)] = rows.as_slice() else { panic!("one row: {rows:?}") };
        let row: Value = serde_json::from_str(row).unwrap();
        let expected = json!({
            "published": "2026-11-20T07:01:11.123Z", "uuid": "u1",
            "eventType": "user.session.start", "actor": {"id": "00u1"},
            "client": {
                "userAgent": {"rawUserAgent": "Mozilla/5.0 (X11, y)"},
                "geographicalContext": {"geolocation": {"lat": 42.34}},
            },
            "securityContext": {"asNumber": 64_500, "isProxy": false},
        });
        assert_eq!((*line, row), (2, expected));
    }

    #[test]
    fn a_row_of_another_length_is_named_by_its_line() {
        assert!(read("uuid,event_type\na,b\nc\n").unwrap_err().contains("line: 3"));
    }
}
