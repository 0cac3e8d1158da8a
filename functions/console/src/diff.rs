//! What changed between two results, line by line.

use similar::{ChangeTag, TextDiff};

/// A line of a result or of the previous one.
pub(crate) struct Line {
    pub change: ChangeTag,
    pub text: String,
}

/// The lines of two results, with those in which they differ.
pub(crate) fn compare(old: &str, new: &str) -> Vec<Line> {
    let diff = TextDiff::from_lines(old, new);
    let lines = diff.iter_all_changes().map(|change| Line {
        change: change.tag(),
        text: change.value().trim_end().to_owned(),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_are_marked() {
        let lines = compare("a\nb\nc\n", "a\nB\nc\n");
        let lines: Vec<_> = lines
            .iter()
            .map(|line| (line.change, &*line.text))
            .collect();
        assert_eq!(
            lines,
            [
                (ChangeTag::Equal, "a"),
                (ChangeTag::Delete, "b"),
                (ChangeTag::Insert, "B"),
                (ChangeTag::Equal, "c"),
            ]
        );
    }
}
