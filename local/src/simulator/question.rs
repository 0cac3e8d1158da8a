//! A prompt taken apart: page facts, history, and what is being asked now.
//!
//! The headings are those that Parlor's chat writes; a prompt without them is all question.

/// Where the earlier results begin in a prompt that is JSON. A text could not hold it: there each
/// quotation mark has a backslash.
const REFERENCES: &str = r#","参考":["#;

/// The parts of a prompt. Slices of it, nothing copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// What stands before history and question, heading included; empty without headings.
    pub context: &'a str,
    /// What is being asked now.
    pub question: &'a str,
}

impl<'a> Parts<'a> {
    /// Splits at the last line `[当前问题]`: history may quote an earlier one.
    pub fn of(prompt: &'a str) -> Self {
        let Some((before, question)) = split_at_heading(prompt, "[当前问题]") else {
            return Self::without_heading(prompt);
        };
        let context = match split_at_first_heading(before, "[历史对话]") {
            Some((context, _)) => context,
            None => before,
        };
        Self {
            context: context.trim(),
            question: question.trim(),
        }
    }

    /// A first message stands alone, or in the paragraph after the page's facts. Of a prompt that is
    /// JSON, what earlier results said is no part of the question.
    fn without_heading(prompt: &'a str) -> Self {
        if let Some((question, _)) = prompt.split_once(REFERENCES) {
            return Self {
                context: "",
                question,
            };
        }
        let paragraphs = prompt
            .rsplit_once("\n\n")
            .filter(|_| prompt.starts_with("[页面上下文"));
        let (context, question) = paragraphs.unwrap_or(("", prompt));
        Self { context, question }
    }

    /// The question as people wrote it, without `[[sim:…]]`, on one line.
    pub fn readable_question(&self) -> String {
        let text = without_scenarios(self.question);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// The text without `[[sim:…]]`.
pub(super) fn without_scenarios(text: &str) -> String {
    let mut without = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("[[sim:") {
        without.push_str(before);
        rest = after.split_once("]]").map_or("", |(_, after)| after);
    }
    without.push_str(rest);
    without
}

fn split_at_heading<'a>(text: &'a str, heading: &str) -> Option<(&'a str, &'a str)> {
    text.rmatch_indices(heading)
        .find_map(|(at, _)| split_there(text, at, heading))
}

fn split_at_first_heading<'a>(text: &'a str, heading: &str) -> Option<(&'a str, &'a str)> {
    text.match_indices(heading)
        .find_map(|(at, _)| split_there(text, at, heading))
}

/// A heading starts its line; in the middle of one it is somebody's words.
fn split_there<'a>(text: &'a str, at: usize, heading: &str) -> Option<(&'a str, &'a str)> {
    let before = &text[..at];
    (before.is_empty() || before.ends_with('\n')).then(|| (before, &text[at + heading.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_stands_after_the_last_heading() {
        let prompt = "[页面上下文: finance]\n营收: 12\n\n[历史对话]\n用户: [[sim:cut]] 你好\nAI: 在\n\n[当前问题]\n你说 [[sim:slow]] 呢";
        let parts = Parts::of(prompt);
        assert_eq!(parts.context, "[页面上下文: finance]\n营收: 12");
        assert_eq!(parts.question, "你说 [[sim:slow]] 呢");
        assert_eq!(parts.readable_question(), "你说 呢");
    }

    #[test]
    fn a_first_message_may_follow_the_facts_of_a_page() {
        let parts = Parts::of("[页面上下文: finance]\n营收: 12\n\n怎么样？");
        assert_eq!(
            (parts.context, parts.question),
            ("[页面上下文: finance]\n营收: 12", "怎么样？")
        );
    }

    #[test]
    fn earlier_results_in_a_prompt_of_facts_are_no_part_of_the_question() {
        let prompt =
            r#"{"事实":{"备注":"[[sim:cut]]\",\"参考\":["},"参考":[{"结果":"[[sim:slow]]"}]}"#;
        let question = r#"{"事实":{"备注":"[[sim:cut]]\",\"参考\":["}"#;
        assert_eq!(Parts::of(prompt).question, question);
    }

    #[test]
    fn a_heading_in_the_middle_of_a_line_is_only_text() {
        let parts = Parts::of("什么是[当前问题]？");
        assert_eq!(parts.question, "什么是[当前问题]？");
    }
}
