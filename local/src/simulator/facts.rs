//! Finds the facts in a prompt: labels and their values.

use serde_json::Value;

/// Most facts that are returned. No reply uses more.
const MOST: usize = 64;

/// A labelled value, such as `营收` and `12,800 元`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    pub label: String,
    pub value: String,
}

/// The facts in the first JSON value of the text. Without JSON, those in its lines (`label: value`).
pub(super) fn find(text: &str) -> Vec<Fact> {
    let mut facts = Vec::new();
    match json_in(text) {
        Some(json) => flatten("", &json, &mut facts),
        None => facts.extend(text.lines().filter_map(from_line)),
    }
    facts.truncate(MOST);
    facts
}

/// The first complete, non-empty JSON object in the text, or array with an object.
pub(super) fn json_in(text: &str) -> Option<Value> {
    text.match_indices(['{', '['])
        .take(16)
        .find_map(|(start, _)| {
            let mut values =
                serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
            let value = values.next()?.ok()?;
            let is_useful = match &value {
                Value::Object(map) => !map.is_empty(),
                Value::Array(list) => list.iter().any(Value::is_object),
                _ => false,
            };
            is_useful.then_some(value)
        })
}

fn flatten(label: &str, value: &Value, facts: &mut Vec<Fact>) {
    if facts.len() >= MOST {
        return;
    }
    let mut add = |value: String| {
        facts.push(Fact {
            label: label.to_owned(),
            value,
        });
    };
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| flatten(key, value, facts)),
        Value::Array(list) => list.iter().for_each(|value| flatten(label, value, facts)),
        Value::Number(number) if !label.ends_with("id") => add(number.to_string()),
        Value::String(text)
            if !label.ends_with("id") && (1..=60).contains(&text.chars().count()) =>
        {
            add(text.clone());
        }
        _ => {}
    }
}

fn from_line(line: &str) -> Option<Fact> {
    let line = line.trim().trim_start_matches(['-', '*', '•', ' ']);
    let (label, value) = line.split_once(['：', ':'])?;
    let (label, value) = (label.trim(), value.trim());
    let fits = !line.starts_with('[')
        && (1..=20).contains(&label.chars().count())
        && (1..=60).contains(&value.chars().count());
    fits.then(|| Fact {
        label: label.to_owned(),
        value: value.to_owned(),
    })
}

impl Fact {
    /// True if the value contains a digit.
    pub fn is_figure(&self) -> bool {
        self.value
            .chars()
            .any(|character| character.is_ascii_digit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(label: &str, value: &str) -> Fact {
        Fact {
            label: label.into(),
            value: value.into(),
        }
    }

    #[test]
    fn facts_are_found_in_lines_and_in_json() {
        let lines = find("[页面上下文: finance]\n- 今日营收：12,800 元\n客流: 56\n没有标签");
        assert_eq!(lines, [fact("今日营收", "12,800 元"), fact("客流", "56")]);
        let json =
            find(r#"[系统] 事实 {"member_id": 7, "member": {"nickname": "李雷"}, "visits": 3}"#);
        assert_eq!(json, [fact("nickname", "李雷"), fact("visits", "3")]);
    }
}
