//! The prompt of the chat: a new message, with its history unless the cloud remembers it.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Caller;

/// Goes into the run log, so that a change of wording can be told in the figures.
pub const PROMPT_VERSION: &str = "app1_chat/1";

/// The most characters that are ever sent as a prompt.
const MAX_PROMPT_CHARS: usize = 30_000;

/// A turn of the conversation so far.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Turn {
    /// `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// The message under its history, oldest turns left out first where it would be too long.
/// A first message stands alone. The message itself is never cut.
pub fn prompt_with_history(history: &[Turn], message: &str) -> String {
    const BEFORE: &str = "[历史对话]\n";
    const BETWEEN: &str = "\n[当前问题]\n";
    let mut left = MAX_PROMPT_CHARS
        .saturating_sub(message.chars().count() + BEFORE.chars().count() + BETWEEN.chars().count());
    let mut lines: Vec<String> = Vec::new();
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
    if lines.is_empty() {
        return message.to_owned();
    }
    lines.reverse();
    format!("{BEFORE}{}{BETWEEN}{message}", lines.concat())
}

/// Who is asking, for the variables of the application's prompt template.
pub fn biz_params(caller: &Caller) -> Value {
    json!({ "user_prompt_params": {
        "User_ID": caller.user_id.to_string(),
        "Role": caller.role.name(),
        "Nickname": caller.nickname,
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
        assert_eq!(prompt_with_history(&[], "你好"), "你好");
    }

    #[test]
    fn history_is_a_labelled_transcript_above_the_question() {
        let history = [turn("user", "今天营业额?"), turn("assistant", "八千。")];
        assert_eq!(
            prompt_with_history(&history, "昨天呢?"),
            "[历史对话]\n用户: 今天营业额?\nAI: 八千。\n\n[当前问题]\n昨天呢?"
        );
    }

    #[test]
    fn the_oldest_history_goes_first_and_the_message_never() {
        let history = [
            turn("user", &"旧".repeat(20_000)),
            turn("assistant", &"新".repeat(20_000)),
        ];
        let message = "问".repeat(8_000);
        let prompt = prompt_with_history(&history, &message);
        assert!(prompt.chars().count() <= MAX_PROMPT_CHARS);
        assert!(prompt.contains('新') && !prompt.contains('旧') && prompt.ends_with(&message));
    }
}
