//! The prompt of the chat: a new message, with its history unless the cloud remembers it.

use serde_json::{Value, json};

use super::prompt::MAX_PROMPT_CHARS;
/// Goes into the run log, so that a change of wording can be told in the figures.
pub const PROMPT_VERSION: &str = "app1_chat/2";

/// A turn of the conversation so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// What a question is asked about: a page of the mini-program and what it shows.
#[derive(Clone, Copy, Debug)]
pub struct PageFacts<'a> {
    /// As clients spell it.
    pub page: &'a str,
    /// JSON.
    pub facts: &'a str,
}

/// The message under the page's facts and its history, oldest turns left out first where it would be
/// too long, and the page's facts before any. Where there is neither, it stands alone. The message
/// itself is never cut.
pub fn prompt(page: Option<PageFacts<'_>>, history: &[Turn], message: &str) -> String {
    const HISTORY: &str = "[历史对话]\n";
    const QUESTION: &str = "[当前问题]\n";
    let mut left =
        MAX_PROMPT_CHARS.saturating_sub(message.chars().count() + QUESTION.chars().count());
    let page = page.map(|PageFacts { page, facts }| format!("[页面上下文: {page}]\n{facts}\n\n"));
    let page = page
        .filter(|page| page.chars().count() <= left)
        .unwrap_or_default();
    left -= page.chars().count();

    let mut lines: Vec<String> = Vec::new();
    // The heading, and the empty line below.
    left = left.saturating_sub(HISTORY.chars().count() + 1);
    for turn in history.iter().rev() {
        let speaker = if turn.role == "user" { "用户" } else { "AI" };
        let line = format!("{speaker}: {}\n", turn.content);
        let chars = line.chars().count();
        if chars > left {
            break;
        }
        left -= chars;
        lines.push(line);
    }
    lines.reverse();
    match (page.is_empty(), lines.is_empty()) {
        (true, true) => message.to_owned(),
        (false, true) => format!("{page}{QUESTION}{message}"),
        (_, false) => format!("{page}{HISTORY}{}\n{QUESTION}{message}", lines.concat()),
    }
}

/// Who is asking, for the variables of the application's prompt template.
pub fn biz_params(user_id: i64, role: &str, nickname: &str) -> Value {
    json!({ "user_prompt_params": {
        "User_ID": user_id.to_string(),
        "Role": role,
        "Nickname": nickname,
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(role: &str, content: &str) -> Turn {
        Turn {
            role: role.into(),
            content: content.into(),
        }
    }

    #[test]
    fn a_first_message_stands_alone() {
        assert_eq!(prompt(None, &[], "你好"), "你好");
    }

    #[test]
    fn history_is_a_labelled_transcript_above_the_question() {
        let history = [turn("user", "今天营业额?"), turn("assistant", "八千。")];
        assert_eq!(
            prompt(None, &history, "昨天呢?"),
            "[历史对话]\n用户: 今天营业额?\nAI: 八千。\n\n[当前问题]\n昨天呢?"
        );
    }

    #[test]
    fn what_a_page_shows_stands_first() {
        let page = Some(PageFacts {
            page: "board-finance",
            facts: r#"{"营收":8000}"#,
        });
        assert_eq!(
            prompt(page, &[], "怎么样?"),
            "[页面上下文: board-finance]\n{\"营收\":8000}\n\n[当前问题]\n怎么样?"
        );
        assert_eq!(
            prompt(page, &[turn("user", "在吗")], "怎么样?"),
            "[页面上下文: board-finance]\n{\"营收\":8000}\n\n[历史对话]\n用户: 在吗\n\n[当前问题]\n怎么样?"
        );
    }

    #[test]
    fn a_page_that_shows_too_much_is_left_out_and_the_message_never() {
        let facts = "多".repeat(29_000);
        let page = Some(PageFacts {
            page: "board-coach",
            facts: &facts,
        });
        let message = "问".repeat(8_000);
        assert_eq!(prompt(page, &[], &message), message);
    }

    #[test]
    fn the_oldest_history_goes_first_and_the_message_never() {
        let history = [
            turn("user", &"旧".repeat(20_000)),
            turn("assistant", &"新".repeat(20_000)),
        ];
        let message = "问".repeat(8_000);
        let prompt = prompt(None, &history, &message);
        assert!(prompt.chars().count() <= MAX_PROMPT_CHARS);
        assert!(prompt.contains('新') && !prompt.contains('旧') && prompt.ends_with(&message));
    }
}
