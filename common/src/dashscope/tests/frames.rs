//! Tests of the frame reader.

use super::*;
use crate::dashscope::tests::golden;

/// The frames of a body in chunks, up to the first line or frame that is too long.
pub(super) fn frames_before_limit<'a>(
    chunks: impl IntoIterator<Item = &'a [u8]>,
    limit: usize,
) -> (Vec<Frame>, Result<(), TooLong>) {
    let mut reader = FrameReader::with_limit(limit);
    let mut frames = Vec::new();
    for chunk in chunks {
        reader.push(Bytes::copy_from_slice(chunk));
        loop {
            match reader.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(too_long) => return (frames, Err(too_long)),
            }
        }
        assert!(reader.line.len() <= limit && reader.data.bytes.len() <= limit);
    }
    reader.close();
    loop {
        match reader.next() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, Ok(())),
            Err(too_long) => return (frames, Err(too_long)),
        }
    }
}

pub(super) fn read_chunks<'a>(
    chunks: impl IntoIterator<Item = &'a [u8]>,
    limit: usize,
) -> Result<Vec<Frame>, TooLong> {
    let (frames, end) = frames_before_limit(chunks, limit);
    end.map(|()| frames)
}

fn read(body: &str) -> Vec<Frame> {
    read_chunks([body.as_bytes()], LIMIT).unwrap()
}

fn data(body: &str) -> Vec<String> {
    read(body)
        .into_iter()
        .map(|frame| String::from_utf8(frame.data).unwrap())
        .collect()
}

#[test]
fn frame_has_event_status_and_data() {
    let frames = read("id:2\nevent:error\n:HTTP_STATUS/403\ndata:{\"code\":\"X\"}\n\n");
    assert_eq!(
        frames,
        [Frame {
            is_error: true,
            status: Some(403),
            data: br#"{"code":"X"}"#.to_vec()
        }]
    );
}

#[test]
fn frames_do_not_depend_on_the_stream_format() {
    let plain = "id:1\nevent:error\n:HTTP_STATUS/400\ndata:{\"a\":[1]}\n\n\
                 id:2\nevent:result\n:HTTP_STATUS/200\ndata:{\"b\":\"x\"}\n\n";
    let expected = read(plain);
    assert_eq!(expected.len(), 2);
    for (way, body) in [
        ("CRLF", plain.replace('\n', "\r\n")),
        (
            "a space after each colon",
            plain
                .replace("id:", "id: ")
                .replace("event:", "event: ")
                .replace("data:", "data: ")
                .replace(":HTTP", ": HTTP"),
        ),
        ("no blank lines", plain.replace("\n\n", "\n")),
        (
            "no blank lines and no ids",
            plain
                .replace("\n\n", "\n")
                .replace("id:1\n", "")
                .replace("id:2\n", ""),
        ),
        ("no end of the last line", plain.trim_end().to_owned()),
        ("a byte order mark", format!("\u{feff}{plain}")),
        (
            "heartbeats",
            plain
                .replace("\n\n", "\n\n:keepalive\n\n:\n")
                .replace("data", ": ping\ndata"),
        ),
        (
            "unknown fields",
            plain.replace("data", "retry:3\nwhatever\ndata"),
        ),
        ("more blank lines", plain.replace("\n\n", "\n\n\n\n")),
        (
            "data on several lines",
            plain.replace("[1]", "\ndata:[1]\ndata:"),
        ),
        ("leading blank lines", format!("\n\n{plain}")),
    ] {
        let frames = read(&body);
        let strip = |frames: &[Frame]| -> Vec<_> {
            frames
                .iter()
                .map(|frame| {
                    let data: Vec<u8> = frame
                        .data
                        .iter()
                        .copied()
                        .filter(|byte| *byte != b'\n')
                        .collect();
                    (frame.is_error, frame.status, data)
                })
                .collect()
        };
        assert_eq!(strip(&frames), strip(&expected), "{way}");
    }
}

#[test]
fn bare_data_lines_are_frames() {
    assert_eq!(
        data("data:{\"a\":1}\ndata:{\"b\":2}\ndata:[DONE]\n"),
        [r#"{"a":1}"#, r#"{"b":2}"#, "[DONE]"]
    );
}

#[test]
fn only_line_feeds_end_lines() {
    for odd in ["\u{2028}", "\u{2029}", "\u{85}", "\r", "\u{0b}", "\u{0c}"] {
        let body = format!("data:{{\"a\":\"x{odd}y\"}}\n\n");
        assert_eq!(data(&body), [format!("{{\"a\":\"x{odd}y\"}}")], "{odd:?}");
    }
}

#[test]
fn brackets_and_quotes_in_strings_do_not_end_a_frame() {
    let tricky = r#"{"a":"}\"}]\\"}"#;
    assert_eq!(
        data(&format!("data:{tricky}\ndata:{tricky}\n")),
        [tricky, tricky]
    );
}

#[test]
fn json_body_is_one_frame_in_any_layout() {
    assert_eq!(data("{\"a\":1}"), [r#"{"a":1}"#]);
    assert_eq!(
        data("  \n{\n \"a\": 1,\n \"data:\": 2\n}\n"),
        ["{\n \"a\": 1,\n \"data:\": 2\n}"]
    );
}

#[test]
fn error_frame_needs_no_data() {
    assert!(read("event:error\n\n")[0].is_error);
    assert_eq!(read(":HTTP_STATUS/503\n\n")[0].status, Some(503));
    assert_eq!(read(":HTTP_STATUS/200\n\nevent:result\n\nid:9\n\n"), []);
}

#[test]
fn incomplete_frame_is_dropped() {
    assert_eq!(read("data:{\"a\":1"), []);
    assert_eq!(read("data:{\"a\":\"}"), []);
    assert_eq!(read("{\"a\":1"), []);
}

#[test]
fn line_is_accepted_up_to_the_limit() {
    let long = format!("data:{{\"a\":\"{}\"}}\n\n", "x".repeat(5 << 20));
    assert_eq!(read(&long).len(), 1);
    let chunk = vec![b'x'; 1 << 16];
    let endless = std::iter::repeat_n(&chunk[..], 1000);
    assert!(read_chunks(endless, LIMIT).is_err());
    let lines = std::iter::repeat_n(&b"data:[[[[[[[[[[[[[[\n"[..], 1 << 20);
    assert!(read_chunks(lines, LIMIT).is_err());
}

#[test]
fn stream_cut_in_two_gives_the_same_frames() {
    for (name, body) in golden() {
        let whole = read_chunks([&body[..]], LIMIT).unwrap();
        for cut in 0..=body.len() {
            let halves: [&[u8]; 2] = body.split_at(cut).into();
            assert_eq!(
                read_chunks(halves, LIMIT).unwrap(),
                whole,
                "{name} at {cut}"
            );
        }
    }
}

#[test]
fn stream_read_byte_by_byte_gives_the_same_frames() {
    for (name, body) in golden() {
        let whole = read_chunks([&body[..]], LIMIT).unwrap();
        assert!(!whole.is_empty(), "{name}");
        assert_eq!(read_chunks(body.chunks(1), LIMIT).unwrap(), whole, "{name}");
    }
}
