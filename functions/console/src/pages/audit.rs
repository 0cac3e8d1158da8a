//! `/console/audit`: which admin changed what.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use common::{
    Result,
    governance::audit::{self, Action, AuditQuery, Entry},
    platform::{
        db::Db,
        paging::{Page, Paging},
    },
    web::hide_texts,
};
use serde_json::{Map, Value};

use crate::{
    Parts,
    desk::Desk,
    format::{Choice, filters},
    frame::Frame,
    names::Names,
    pages::exports,
    texts::AuditTexts,
};

/// Rows of a page.
const PAGE_SIZE: i64 = 50;
/// The most values of a row. The table as CSV has all.
const MOST_VALUES: usize = 12;
/// The most characters of a value.
const MOST_CHARACTERS: usize = 120;

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new().route("/console/audit", get(show))
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static AuditTexts,
    actions: Vec<Choice>,
    found: Page<Row>,
    names: Names,
    csv: String,
}

/// A change with its values.
struct Row {
    /// The page of the changed object.
    object: Option<String>,
    values: Vec<Change>,
    is_cut: bool,
    entry: Entry,
}

/// A value of a change.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    name: String,
    /// Only of a value that had another one.
    before: Option<String>,
    after: String,
}

impl Row {
    fn of(desk: &Desk, mut entry: Entry) -> Self {
        if desk.texts.are_hidden() {
            hide_texts(&mut entry.details);
        }
        let mut values = changes(&entry.details);
        let is_cut = values.len() > MOST_VALUES;
        values.truncate(MOST_VALUES);
        Self {
            object: object(&entry),
            is_cut,
            values,
            entry,
        }
    }
}

/// The page of the object of a change, if it has one.
fn object(entry: &Entry) -> Option<String> {
    let id = entry.object_id.as_deref()?;
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    let folder = match entry.action.split('.').next()? {
        "run" | "alert" if is_id => "runs",
        "trigger_job" if is_id => "jobs",
        _ => return None,
    };
    Some(format!("{folder}/{id}"))
}

/// The values of a change: `before` and `after` side by side if they differ, and all others.
fn changes(details: &Value) -> Vec<Change> {
    let Value::Object(members) = details else {
        return Vec::new();
    };
    let of = |name| {
        let mut found = Map::new();
        flatten(String::new(), members.get(name), &mut found);
        found
    };
    let (before, after) = (of("before"), of("after"));
    let mut changes: Vec<Change> = before
        .keys()
        .chain(after.keys().filter(|name| !before.contains_key(*name)))
        .map(|name| (name, before.get(name), after.get(name)))
        .filter(|(_, before, after)| before != after)
        .map(|(name, before, after)| Change {
            name: name.clone(),
            before: Some(text(before)),
            after: text(after),
        })
        .collect();
    let mut others = Map::new();
    for (name, value) in members {
        if name != "before" && name != "after" {
            flatten(name.clone(), Some(value), &mut others);
        }
    }
    changes.extend(others.iter().map(|(name, value)| Change {
        name: name.clone(),
        before: None,
        after: text(Some(value)),
    }));
    changes
}

/// Adds the values of an object with the path to each, such as `cap.daily_limit`.
fn flatten(path: String, value: Option<&Value>, into: &mut Map<String, Value>) {
    match value {
        Some(Value::Object(members)) => {
            for (name, member) in members {
                let path = match &*path {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                flatten(path, Some(member), into);
            }
        }
        Some(value) => {
            into.insert(path, value.clone());
        }
        None => {}
    }
}

fn text(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => return "–".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    match text.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

async fn show(State(db): State<Db>, desk: Desk) -> Result<Response> {
    let list = AuditQuery::parse(desk.scope, &desk.query)?;
    let paging = Paging::parse_bounded(&desk.query, PAGE_SIZE, &list.cursor_scope())?;
    let found = audit::list(&db, &list, &paging).await?;
    paging.reaches(&found)?;
    let names = Names::load(&db, found.items.iter().map(|entry| entry.user_id)).await?;
    desk.show(&AuditPage {
        names,
        frame: &desk.frame,
        t: AuditTexts::of(desk.language),
        actions: desk.choices("action", Action::ALL.map(Action::name)),
        found: found.map(|entry| Row::of(&desk, entry)),
        csv: exports::link(&desk, "audit.csv", &[]),
        desk: &desk,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_that_changed_stand_side_by_side() {
        let details = json!({
            "before": { "limit": 1, "same": 2, "cap": { "daily": null } },
            "after": { "limit": 3, "same": 2, "cap": { "daily": 9 } },
            "model": "qwen-plus",
        });
        let changed = |name: &str, before: Option<&str>, after: &str| Change {
            name: name.to_owned(),
            before: before.map(str::to_owned),
            after: after.to_owned(),
        };
        let mut found = changes(&details);
        found.sort_by(|one, other| one.name.cmp(&other.name));
        assert_eq!(
            found,
            [
                changed("cap.daily", Some("–"), "9"),
                changed("limit", Some("1"), "3"),
                changed("model", None, "qwen-plus"),
            ]
        );
        assert_eq!(changes(&Value::Null), []);
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let long = Value::String("长".repeat(MOST_CHARACTERS + 1));
        let cut = text(Some(&long));
        assert_eq!(cut.chars().count(), MOST_CHARACTERS + 1);
        assert!(cut.ends_with("长…"));
    }
}
