//! Facts in a prompt: what a figure or a name is called, and what it says.

use serde_json::Value;

/// More than any answer mentions.
const MOST: usize = 64;

/// A labelled value, such as `营收` and `12,800 元`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    pub label: String,
    pub value: String,
}

/// Facts in the JSON that the text holds, or else in its lines (`label: value`).
pub(super) fn find(text: &str) -> Vec<Fact> {
    let mut facts = Vec::new();
    match json_in(text) {
        Some(json) => flatten("", &json, &mut facts),
        None => facts.extend(text.lines().filter_map(from_line)),
    }
    facts.truncate(MOST);
    facts
}

/// The first whole JSON object or array in the text.
pub(super) fn json_in(text: &str) -> Option<Value> {
    text.match_indices(['{', '['])
        .take(16)
        .find_map(|(start, _)| {
            let mut values =
                serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
            let value = values.next()?.ok()?;
            let holds_something = match &value {
                Value::Object(map) => !map.is_empty(),
                Value::Array(list) => list.iter().any(Value::is_object),
                _ => false,
            };
            holds_something.then_some(value)
        })
}

fn flatten(label: &str, value: &Value, facts: &mut Vec<Fact>) {
    if facts.len() >= MOST {
        return;
    }
    let mut say = |value: String| {
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
        Value::Number(number) if !label.ends_with("id") => say(number.to_string()),
        Value::String(text)
            if !label.ends_with("id") && (1..=60).contains(&text.chars().count()) =>
        {
            say(text.clone());
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
    /// Whether its value is a figure.
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
    fn facts_stand_in_lines_or_in_json() {
        let lines = find("[页面上下文: finance]\n- 今日营收：12,800 元\n客流: 56\n没有标签");
        assert_eq!(lines, [fact("今日营收", "12,800 元"), fact("客流", "56")]);
        let json =
            find(r#"[系统] 事实 {"member_id": 7, "member": {"nickname": "李雷"}, "visits": 3}"#);
        assert_eq!(json, [fact("nickname", "李雷"), fact("visits", "3")]);
    }
}
