//! Users read how many tokens they have used.

use serde_json::json;

use crate::harness::parlor::{COACH, Parlor, STAFF};

#[tokio::test]
async fn a_user_reads_only_their_own_tokens() {
    let parlor = Parlor::start().await;
    let own = async |user| parlor.get(user, "/api/xcx/usage").await.ok().clone();
    let nothing = json!({ "tokens": 0, "limit": null });
    assert_eq!(
        own(COACH).await,
        json!({ "day": nothing, "month": nothing })
    );
    let chat = parlor.open(COACH, "t").await;
    for _ in 0..2 {
        parlor.send(COACH, chat, "[[sim:say:好]]在吗").await.ok();
    }
    let charged: i64 = sqlx::query_scalar("select sum(tokens)::bigint from biz.ai_usage_daily")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert!(charged > 0);
    let tokens = json!({ "tokens": charged, "limit": null });
    assert_eq!(own(COACH).await, json!({ "day": tokens, "month": tokens }));
    assert_eq!(own(STAFF).await["month"], nothing);

    // Deleting the conversation does not give tokens back.
    let path = format!("/api/xcx/chat/{chat}");
    let deleted = parlor.request_as(COACH, "DELETE", &path).send().await;
    assert_eq!(deleted.unwrap().status(), 204);
    assert_eq!(own(COACH).await["month"], tokens);

    // Usage of another month.
    parlor
        .execute(
            "update biz.ai_usage_details set day = date_trunc('month', day) - interval '1 day'",
        )
        .await;
    assert_eq!(own(COACH).await["month"], nothing);
}
