//! Properties of the frame reader: the frames do not depend on the chunks.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::tests::{frames_before_limit, read_chunks};
use super::*;
use crate::dashscope::tests::{golden, way};
use crate::properties::{cases, cuts, json};

const SMALL: usize = 256;

/// Parts of event streams, to be combined at random.
const ALL: &[&str] = &[
    "id:",
    "event:",
    "error",
    "result",
    "data:",
    ":",
    ":HTTP_STATUS/",
    "200",
    "500",
    " ",
    "x",
    "\r",
    "\n",
    "\n",
    "\n\n",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    "\ndata:{}",
    "\u{feff}",
    "收",
];

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn recorded_payload_gives_the_same_frames_for_any_cuts(
        (name, body) in select(golden()),
        cuts in cuts(),
    ) {
        let whole = read_chunks([&body[..]], LIMIT).unwrap();
        prop_assert!(!whole.is_empty(), "{}", name);
        prop_assert_eq!(read_chunks(cuts.of(&body), LIMIT).unwrap(), whole, "{}", name);
    }

    #[test]
    fn frames_are_unchanged_in_any_stream_format(
        data in vec(json(&["output", "text", "code"]).prop_map(|value| serde_json::json!({ "a": value })), 0..5),
        way in way(),
        cuts in cuts(),
    ) {
        let written: Vec<(Option<u16>, Value)> = data.into_iter().map(|data| (None, data)).collect();
        let body = way.write(&written);
        let mut frames = read_chunks(cuts.of(&body), LIMIT).unwrap();
        if way.ends_with_done() {
            let done = frames.pop();
            prop_assert_eq!(done.map(|frame| frame.data), Some(b"[DONE]".to_vec()));
        }
        let read: Vec<Value> = frames
            .iter()
            .map(|frame| serde_json::from_slice(&frame.data).unwrap())
            .collect();
        prop_assert_eq!(read, written.into_iter().map(|(_, data)| data).collect::<Vec<_>>());
        prop_assert!(frames.iter().all(|frame| !frame.is_error && matches!(frame.status, None | Some(200))));
    }

    #[test]
    fn any_bytes_end_without_panic_and_within_the_limit(
        chunks in vec(vec(any::<u8>(), 0..200), 0..50),
    ) {
        let (frames, _) = frames_before_limit(chunks.iter().map(Vec::as_slice), SMALL);
        let lines = chunks.concat().split(|byte| *byte == b'\n').count();
        prop_assert!(frames.len() <= lines);
    }

    #[test]
    fn random_stream_gives_the_same_frames_for_any_cuts(
        words in vec(select(ALL), 0..150),
        cuts in cuts(),
    ) {
        let body = words.concat();
        let whole = frames_before_limit([body.as_bytes()], SMALL);
        let cut = frames_before_limit(cuts.of(body.as_bytes()), SMALL);
        prop_assert_eq!(&cut.0, &whole.0);
        prop_assert_eq!(cut.1.is_ok(), whole.1.is_ok());
        prop_assert!(whole.0.len() <= body.split('\n').count());
    }
}
