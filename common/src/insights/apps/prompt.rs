//! What the prompts of the apps that answer in JSON have in common.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use serde_json::{Value, value::RawValue};

use crate::governance::apps::App;
use crate::insights::facts::MemberFacts;

/// The most characters that are ever sent as a prompt.
pub(super) const MAX_PROMPT_CHARS: usize = 30_000;
/// Earlier results that are shown.
const MAX_REFERENCES: usize = 2;
/// Where the shortening of what is still too long begins: so many characters of a text.
const LONGEST: usize = 2_000;

/// An earlier result of the same target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reference {
    /// When it was made.
    #[serde(rename = "时间", serialize_with = "to_the_second")]
    pub created_at: DateTime<Utc>,
    /// What was answered then.
    #[serde(rename = "结果")]
    pub result: Value,
}

fn to_the_second<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// A prompt but for its facts.
pub(super) struct Prompt<'a> {
    pub app: App,
    /// What to do, and in which shape to answer.
    pub task: &'static str,
    /// Newest first.
    pub references: &'a [Reference],
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "应用")]
    app: &'static str,
    #[serde(rename = "任务要求")]
    task: &'static str,
    #[serde(rename = "事实")]
    facts: Option<&'a RawValue>,
    #[serde(rename = "参考", skip_serializing_if = "<[_]>::is_empty")]
    references: &'a [Reference],
}

impl Prompt<'_> {
    /// The prompt of facts that have no rows to spare.
    pub fn of(&self, facts: &impl Serialize) -> String {
        self.fitting(0, |_| raw(facts))
    }

    /// The prompt of facts with a member, whose oldest orders are left out where it would be too long.
    pub fn about(
        &self,
        member: &MemberFacts,
        facts: impl Fn(&MemberFacts) -> Option<Box<RawValue>>,
    ) -> String {
        self.fitting(member.orders(), |orders| {
            facts(&member.with_newest_orders(orders))
        })
    }

    /// References go first, the oldest before the newer; then rows; then the ends of texts and lists.
    fn fitting(&self, rows: usize, facts: impl Fn(usize) -> Option<Box<RawValue>>) -> String {
        let all = facts(rows);
        let most = self.references.len().min(MAX_REFERENCES);
        let with = |references: usize| self.written(all.as_deref(), references);
        if let Some(prompt) = (0..=most).rev().map(with).find(|prompt| fits(prompt)) {
            return prompt;
        }
        let prompt = |rows: usize| self.written(facts(rows).as_deref(), 0);
        let counts: Vec<usize> = (1..=rows).collect();
        let prompt = prompt(counts.partition_point(|rows| fits(&prompt(*rows))));
        if fits(&prompt) {
            return prompt;
        }
        self.shortened(facts(0).as_deref())
    }

    fn shortened(&self, facts: Option<&RawValue>) -> String {
        let mut facts: Value = facts
            .and_then(|facts| serde_json::from_str(facts.get()).ok())
            .unwrap_or_default();
        let mut longest = LONGEST;
        loop {
            shorten(&mut facts, longest);
            let prompt = self.written(raw(&facts).as_deref(), 0);
            if fits(&prompt) || longest == 0 {
                return prompt;
            }
            longest /= 2;
        }
    }

    fn written(&self, facts: Option<&RawValue>, references: usize) -> String {
        let written = Written {
            app: self.app.name(),
            task: self.task,
            facts,
            references: &self.references[..references],
        };
        serde_json::to_string(&written).unwrap_or_default()
    }
}

/// Facts as they will stand in the prompt.
pub(super) fn raw(facts: &impl Serialize) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(facts).ok()
}

fn fits(prompt: &str) -> bool {
    prompt.chars().count() <= MAX_PROMPT_CHARS
}

/// Cuts texts to so many characters, lists to an eighth as many items, and objects of more names
/// than any of ours has.
fn shorten(value: &mut Value, longest: usize) {
    match value {
        Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(longest) {
                text.truncate(end);
                text.push('…');
            }
        }
        Value::Array(items) => {
            items.truncate(longest.div_ceil(8));
            for item in items {
                shorten(item, longest);
            }
        }
        Value::Object(members) => {
            let mut kept = 0;
            members.retain(|name, _| {
                kept += 1;
                kept <= longest && name.chars().count() <= longest
            });
            for (_, value) in members {
                shorten(value, longest);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
