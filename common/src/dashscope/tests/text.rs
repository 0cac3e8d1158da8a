//! Tests of pieces and snapshots.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::value::RawValue;

use super::*;
use crate::properties::cases;

fn frame(text: &str, tokens: Option<i64>, is_last: bool) -> FrameText {
    let raw = RawValue::from_string(format!("\"{text}\"")).unwrap();
    FrameText {
        piece: Piece::parse(&raw).unwrap(),
        source: Source::Output,
        tokens,
        is_last,
    }
}

/// The texts returned for these frames, joined with a vertical bar.
fn read_each(frames: impl IntoIterator<Item = FrameText>) -> String {
    let mut reader = TextReader::default();
    let mut texts: Vec<String> = frames.into_iter().map(|frame| reader.push(frame)).collect();
    texts.push(reader.finish());
    texts.retain(|text| !text.is_empty());
    texts.join("|")
}

/// The texts of frames with these texts and tokens so far. The last one ends the answer.
fn read(frames: &[(&str, i64)]) -> String {
    let last = frames.len() - 1;
    let frame = |(index, (text, tokens)): (usize, &(&str, i64))| {
        frame(
            text,
            Some(*tokens).filter(|tokens| *tokens > 0),
            index == last,
        )
    };
    read_each(frames.iter().enumerate().map(frame))
}

#[test]
fn snapshots_are_returned_once() {
    // Tokens grow with the new text, or are unknown.
    for tokens in [[1, 2, 3], [0, 0, 0], [2, 4, 6]] {
        let [one, two, three] = tokens;
        let frames = [("周末", one), ("周末包厢", two), ("周末包厢最满", three)];
        assert_eq!(read(&frames), "周末|包厢最满", "{tokens:?}");
    }
    // Known from the second frame on.
    assert_eq!(
        read(&[
            ("本周营业额比上周", 5),
            ("本周营业额比上周高", 6),
            ("本周营业额比上周高", 6)
        ]),
        "本周营业额比上周|高"
    );
    assert_eq!(read(&[("", 1), ("收到", 2), ("收到", 2)]), "收到");
    assert_eq!(read(&[("周末", 1), ("周末包厢", 2)]), "周末|包厢");
}

#[test]
fn repetitions_in_pieces_are_kept() {
    for tokens in [[1, 3, 3], [1, 2, 2], [0, 0, 0]] {
        let [one, two, three] = tokens;
        let frames = [("哈", one), ("哈哈", two), ("", three)];
        assert_eq!(read(&frames), "哈|哈哈", "{tokens:?}");
        assert_eq!(read(&frames[..2]), "哈|哈哈", "{tokens:?}");
    }
    assert_eq!(
        read(&[("哈", 1), ("哈哈", 3), ("哈哈哈", 6), ("！", 7)]),
        "哈|哈哈哈哈哈！"
    );
    assert_eq!(read(&[("1", 1), ("10", 3), ("5", 4)]), "1|105");
    assert_eq!(read(&[("1", 1), ("10", 3)]), "1|10");
    assert_eq!(read(&[("我", 0), ("我们", 0), ("好", 0)]), "我|我们好");
}

#[test]
fn whole_text_after_its_pieces_is_not_repeated() {
    assert_eq!(
        read(&[("本周", 1), ("营业额上升", 4), ("本周营业额上升", 4)]),
        "本周|营业额上升"
    );
    assert_eq!(
        read(&[("本周", 0), ("营业额", 0), ("本周营业额上升", 0)]),
        "本周|营业额|上升"
    );
}

#[test]
fn text_after_nodes_is_only_what_they_did_not_send() {
    let node = |id: &str, text: &str, is_last| FrameText {
        source: Source::Node(id.to_owned()),
        ..frame(text, None, is_last)
    };
    for (whole, expected) in [
        ("甲乙丙", "甲|乙|丙"),
        ("甲乙丙。", "甲|乙|丙|。"),
        // The text of the last node only.
        ("丙", "甲|乙|丙"),
        ("另一句", "甲|乙|丙|另一句"),
    ] {
        let frames = [
            node("1", "甲", false),
            node("1", "乙", false),
            node("1", "甲乙", true),
            node("2", "丙", true),
            frame(whole, Some(9), true),
        ];
        assert_eq!(read_each(frames), expected, "{whole}");
    }
}

#[test]
fn a_half_of_a_character_is_not_repeated_by_the_next_snapshot() {
    assert_eq!(
        read(&[
            (r"本月营业额排第一\ud83c", 5),
            ("本月营业额排第一🎱", 6),
            ("本月营业额排第一🎱！", 7)
        ]),
        "本月营业额排第一|🎱|！"
    );
    assert_eq!(
        read(&[(r"第一\ud83c", 2), (r"第一\ud83c", 2)]),
        "第一|\u{fffd}"
    );
}

/// Words of an answer, with one token each.
fn words() -> impl Strategy<Value = Vec<&'static str>> {
    vec(
        select(vec![
            "周末",
            "包厢",
            "最",
            "满",
            "，",
            "营业额",
            "3",
            "上升",
        ]),
        1..20,
    )
}

proptest! {
    #![proptest_config(cases(256))]

    /// Pieces are never shortened if usage shows one token for each word.
    #[test]
    fn pieces_are_kept(words in words(), stop in any::<bool>()) {
        let frames = words.iter().zip(1..).map(|(word, tokens)| (*word, tokens));
        let mut frames: Vec<(&str, i64)> = frames.collect();
        if stop {
            frames.push(("", frames.last().unwrap().1));
        }
        let text = read(&frames).replace('|', "");
        // A last frame that repeats the whole text is taken for a snapshot.
        let (last, rest) = words.split_last().unwrap();
        prop_assume!(stop || !last.starts_with(&rest.concat()));
        prop_assert_eq!(text, words.concat());
    }

    /// Snapshots of a text that does not begin with a repetition give the text once.
    #[test]
    fn snapshots_are_joined(words in words()) {
        let all = ["本月", "排"].iter().chain(&words).copied().collect::<Vec<_>>();
        let texts: Vec<String> = (1..=all.len()).map(|end| all[..end].concat()).collect();
        let mut frames: Vec<(&str, i64)> = texts.iter().map(String::as_str).zip(1..).collect();
        frames.push(*frames.last().unwrap());
        prop_assert_eq!(read(&frames).replace('|', ""), all.concat());
    }
}
