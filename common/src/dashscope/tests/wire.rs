//! Tests of payloads in each documented shape.

use super::super::piece::Joiner;
use super::*;

fn parse(json: &str) -> Payload {
    Payload::parse(json.as_bytes()).unwrap()
}

fn text(output: &str) -> String {
    let piece = parse(&format!(r#"{{"output":{output}}}"#)).text;
    Joiner::default().push(&piece)
}

#[test]
fn text_is_read_in_each_shape() {
    for (output, expected) in [
        (r#"{"text":"收到"}"#, "收到"),
        (r#"{"text":["收","到"]}"#, "收到"),
        (
            r#"{"text":[{"text":"收"},{"type":"image","url":"x"},7,{"text":"到"}]}"#,
            "收到",
        ),
        (r#"{"text":null}"#, ""),
        (r#"{"text":{"a":1}}"#, ""),
        (
            r#"{"text":"","workflow_message":{"message":{"content":"收到"}}}"#,
            "收到",
        ),
        (
            r#"{"workflow_message":{"message":{"content":[{"text":"收到"}]}}}"#,
            "收到",
        ),
        (r#"{"workflow_message":{"message":null}}"#, ""),
        (
            r#"{"workflow_message":{"node_type":"Start","message":{"content":"{\"city\":\"杭州\"}"}}}"#,
            "",
        ),
        (r#"{"workflow_message":"?"}"#, ""),
        (r#"{"text":"","thoughts":[{"thought":"用户"}]}"#, ""),
        ("null", ""),
        ("7", ""),
    ] {
        assert_eq!(text(output), expected, "{output}");
    }
}

#[test]
fn answer_continues_until_a_finish_reason() {
    let reason =
        |value: &str| parse(&format!(r#"{{"output":{{"finish_reason":{value}}}}}"#)).finish_reason;
    for unfinished in ["null", "\"\"", "\"null\"", "{}", "false"] {
        assert_eq!(reason(unfinished), None, "{unfinished}");
    }
    assert_eq!(reason("\"stop\"").as_deref(), Some("stop"));
    assert_eq!(reason("\"length\"").as_deref(), Some("length"));
    assert_eq!(parse(r#"{"output":{}}"#).finish_reason, None);
}

#[test]
fn payload_with_a_code_and_no_output_is_an_error() {
    for error in [
        r#"{"code":"X","message":"m","request_id":"r"}"#,
        r#"{"requestId":"r","message":"m","code":"X"}"#,
        r#"{"error":{"code":"X","message":"m","request_id":"r"}}"#,
        r#"{"error":{"code":"X","message":"m"},"requestId":"r"}"#,
        r#"{"output":null,"code":"X","message":"m","request_id":"r","usage":null}"#,
    ] {
        let payload = parse(error);
        assert!(payload.is_error(), "{error}");
        let parsed = (
            payload.code.as_deref(),
            payload.message.as_deref(),
            payload.request_id.as_deref(),
        );
        assert_eq!(parsed, (Some("X"), Some("m"), Some("r")), "{error}");
    }
    for other in [
        r#"{"output":{},"code":"200"}"#,
        r#"{"code":""}"#,
        r#"{"code":null}"#,
        "{}",
    ] {
        assert!(!parse(other).is_error(), "{other}");
    }
    assert_eq!(parse(r#"{"code":429}"#).code.as_deref(), Some("429"));
}

#[test]
fn long_message_is_cut_between_characters() {
    let payload = parse(&format!(
        r#"{{"code":"X","message":"{}"}}"#,
        "错".repeat(10_000)
    ));
    assert_eq!(payload.message.unwrap().chars().count(), MESSAGE_LENGTH);
}
