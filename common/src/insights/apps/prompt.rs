//! Common parts of the prompts of applications that return JSON.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use serde_json::{Value, value::RawValue};

use super::Definition;
use crate::insights::facts::MemberFacts;

/// Length limit of a prompt, in characters.
pub(crate) const MAX_PROMPT_CHARS: usize = 30_000;
/// Number of earlier results in a prompt.
const MAX_REFERENCES: usize = 2;
/// The first limit, in characters per text, when facts are shortened. Halved until the prompt fits.
const LONGEST: usize = 2_000;

/// An earlier result of the same target.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "plain data")]
pub struct Reference {
    #[serde(rename = "时间", serialize_with = "to_the_second")]
    pub created_at: DateTime<Utc>,
    /// The checked answer.
    #[serde(rename = "结果")]
    pub result: Value,
}

fn to_the_second<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// A prompt without its facts.
pub(super) struct Prompt<'a> {
    definition: &'static Definition,
    references: &'a [Reference],
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

impl<'a> Prompt<'a> {
    /// The references are newest first.
    pub fn new(definition: &'static Definition, references: &'a [Reference]) -> Self {
        Self {
            definition,
            references,
        }
    }

    /// The prompt with facts that cannot have fewer rows.
    pub fn of(&self, facts: &impl Serialize) -> String {
        self.shortened_to_fit(0, |_| raw(facts))
    }

    /// The prompt with facts about a member. The oldest orders are omitted if it is too long.
    pub fn about(
        &self,
        member: &MemberFacts,
        facts: impl Fn(&MemberFacts) -> Option<Box<RawValue>>,
    ) -> String {
        self.shortened_to_fit(member.orders(), |orders| {
            facts(&member.with_newest_orders(orders))
        })
    }

    /// Shortens a prompt until it fits: omits references, the oldest first; then rows; then cuts
    /// texts and lists.
    fn shortened_to_fit(
        &self,
        rows: usize,
        facts: impl Fn(usize) -> Option<Box<RawValue>>,
    ) -> String {
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
            app: self.definition.app.name(),
            task: self.definition.task,
            facts,
            references: &self.references[..references],
        };
        serde_json::to_string(&written).unwrap_or_default()
    }
}

/// Facts as they are written in the prompt.
pub(super) fn raw(facts: &impl Serialize) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(facts).ok()
}

fn fits(prompt: &str) -> bool {
    prompt.chars().count() <= MAX_PROMPT_CHARS
}

/// Cuts each text to `longest` characters and each list to an eighth as many items. Removes fields
/// of an object after the first `longest`, and fields with longer names.
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
