//! Generates event streams in all formats that the reader must accept.

use std::fmt::Write as _;

use proptest::{prelude::*, sample::subsequence};
use serde_json::Value;

use Habit::{
    ByteOrderMark, CarriageReturns, Done, Events, Heartbeats, Ids, LastLineEnds, ManyLines, Spaces,
    Statuses,
};

/// An optional feature of the format. It applies to all frames or to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    ByteOrderMark,
    CarriageReturns,
    /// A space after each colon.
    Spaces,
    Ids,
    Events,
    Statuses,
    Heartbeats,
    /// The JSON of a frame on several lines.
    ManyLines,
    /// `[DONE]` at the end.
    Done,
    LastLineEnds,
}

/// The format of a stream.
#[derive(Clone, Debug)]
pub(in super::super) struct Way {
    habits: Vec<Habit>,
    /// Number of blank lines after each frame.
    blank_lines: usize,
}

pub(in super::super) fn way() -> impl Strategy<Value = Way> {
    let all = vec![
        ByteOrderMark,
        CarriageReturns,
        Spaces,
        Ids,
        Events,
        Statuses,
        Heartbeats,
        ManyLines,
        Done,
        LastLineEnds,
    ];
    let habits = subsequence(all.clone(), 0..=all.len());
    (habits, 0..3_usize).prop_map(|(habits, blank_lines)| Way {
        habits,
        blank_lines,
    })
}

impl Way {
    fn has(&self, habit: Habit) -> bool {
        self.habits.contains(&habit)
    }

    pub(in super::super) fn ends_with_done(&self) -> bool {
        self.has(Done)
    }

    /// Writes a stream of frames. A frame with a status is an error.
    pub(in super::super) fn write(&self, frames: &[(Option<u16>, Value)]) -> Vec<u8> {
        let mut text = String::new();
        let space = if self.has(Spaces) { " " } else { "" };
        for (id, (error, data)) in (1..).zip(frames) {
            if self.has(Ids) {
                writeln!(text, "id:{space}{id}").unwrap();
            }
            if self.has(Events) {
                let event = if error.is_some() { "error" } else { "result" };
                writeln!(text, "event:{space}{event}").unwrap();
            }
            if self.has(Statuses) {
                let status = error.unwrap_or(200);
                writeln!(text, ":{space}HTTP_STATUS/{status}").unwrap();
            }
            if self.has(Heartbeats) {
                writeln!(text, ":keepalive").unwrap();
            }
            let json = if self.has(ManyLines) {
                serde_json::to_string_pretty(data).unwrap()
            } else {
                data.to_string()
            };
            for line in json.lines() {
                writeln!(text, "data:{space}{line}").unwrap();
            }
            text.push_str(&"\n".repeat(self.blank_lines));
        }
        if self.has(Done) {
            writeln!(text, "data:{space}[DONE]").unwrap();
        }
        if !self.has(LastLineEnds) {
            text.truncate(text.trim_end().len());
        }
        if self.has(CarriageReturns) {
            text = text.replace('\n', "\r\n");
        }
        if self.has(ByteOrderMark) {
            text.insert(0, '\u{feff}');
        }
        text.into_bytes()
    }
}
