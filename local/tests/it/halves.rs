//! A phone whose input limit cuts an emoji in two sends half of it.

use crate::harness::parlor::{COACH, Parlor};

#[tokio::test]
async fn half_an_emoji_is_stored_as_a_replacement_character() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let path = format!("/api/xcx/chat/{chat}/messages");
    let request = parlor.request_as(COACH, "POST", &path);
    let response = request
        .header("content-type", "application/json")
        .body(r#"{"content":"加油\ud83d","clientMessageId":"\udfb1c\ud83c\udfb1"}"#)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let message = &parlor.messages(COACH, chat).await[0];
    assert_eq!(message["content"], "加油\u{fffd}");
}
