//! Splits text into pieces like the tokens of a model.

use fastrand::Rng;

/// The text that `slow` and `long` repeat.
const FILLER: &str = "今天的台球厅人气不错，老会员陆续到店。建议先看预约，再安排教练；\
    晚场客流较多，可以提前准备球桌和茶水。会员复购靠的是服务，记得回访最近没来的客人。";

/// Splits into pieces of one to four characters. A piece ends after a punctuation mark.
pub(super) fn split(text: &str, rng: &mut Rng) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut room = rng.usize(1..=4);
    for character in text.chars() {
        piece.push(character);
        room -= 1;
        if room == 0 || "，。；：！？\n".contains(character) {
            pieces.push(std::mem::take(&mut piece));
            room = rng.usize(1..=4);
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

/// Returns `count` pieces of two characters. Each counts as one token.
pub(super) fn filler(count: usize) -> Vec<String> {
    let mut characters = FILLER.chars().cycle();
    (0..count)
        .map(|_| characters.by_ref().take(2).collect())
        .collect()
}

/// Returns a text of exactly `bytes` bytes.
pub(super) fn huge(bytes: usize) -> String {
    let mut text = "数据".repeat(bytes / 6);
    text.push_str(&"x".repeat(bytes % 6));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_original_text() {
        let text = "好的，\u{2028}今天🎱来了 12 位\r\n会员e\u{301}。";
        let pieces = split(text, &mut Rng::with_seed(7));
        assert_eq!(pieces.concat(), text);
        assert!(
            pieces
                .iter()
                .all(|piece| (1..=4).contains(&piece.chars().count()))
        );
    }

    #[test]
    fn filler_and_huge_have_the_requested_size() {
        assert_eq!(filler(3000).len(), 3000);
        assert_eq!(huge(1 << 20).len(), 1 << 20);
    }
}
