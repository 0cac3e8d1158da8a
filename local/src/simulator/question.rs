//! Splits a prompt into page facts, history and current question.
//!
//! The headings are those of Parlor's chat. A prompt without headings is only a question.

/// Begins the earlier results in a JSON prompt. It cannot occur in a JSON string, where quotation
/// marks are escaped.
const REFERENCES: &str = r#","参考":["#;

/// The parts of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// The text before history and question, including its heading. Empty without headings.
    pub context: &'a str,
    /// The current question.
    pub question: &'a str,
}

impl<'a> Parts<'a> {
    /// Splits at the last line `[当前问题]`, because history can contain an earlier one.
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

    /// A first message is the whole prompt, or the last paragraph, after the page facts. In a JSON
    /// prompt, the earlier results are not part of the question.
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

    /// The question on one line, without `[[sim:…]]`.
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

/// Splits at a heading. A heading must be at the start of a line; elsewhere it is ordinary text.
fn split_there<'a>(text: &'a str, at: usize, heading: &str) -> Option<(&'a str, &'a str)> {
    let before = &text[..at];
    (before.is_empty() || before.ends_with('\n')).then(|| (before, &text[at + heading.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_is_the_text_after_the_last_heading() {
        let prompt = "[页面上下文: finance]\n营收: 12\n\n[历史对话]\n用户: [[sim:cut]] 你好\nAI: 在\n\n[当前问题]\n你说 [[sim:slow]] 呢";
        let parts = Parts::of(prompt);
        assert_eq!(parts.context, "[页面上下文: finance]\n营收: 12");
        assert_eq!(parts.question, "你说 [[sim:slow]] 呢");
        assert_eq!(parts.readable_question(), "你说 呢");
    }

    #[test]
    fn first_message_can_follow_page_facts() {
        let parts = Parts::of("[页面上下文: finance]\n营收: 12\n\n怎么样？");
        assert_eq!(
            (parts.context, parts.question),
            ("[页面上下文: finance]\n营收: 12", "怎么样？")
        );
    }

    #[test]
    fn earlier_results_in_a_json_prompt_are_not_part_of_the_question() {
        let prompt =
            r#"{"事实":{"备注":"[[sim:cut]]\",\"参考\":["},"参考":[{"结果":"[[sim:slow]]"}]}"#;
        let question = r#"{"事实":{"备注":"[[sim:cut]]\",\"参考\":["}"#;
        assert_eq!(Parts::of(prompt).question, question);
    }

    #[test]
    fn heading_in_the_middle_of_a_line_is_ordinary_text() {
        let parts = Parts::of("什么是[当前问题]？");
        assert_eq!(parts.question, "什么是[当前问题]？");
    }
}
