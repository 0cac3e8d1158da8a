//! Admins delete all data of a user.

use serde_json::{Value, json};

use crate::{
    chat_manage::tables_with,
    harness::{
        invariants,
        jobs::{OTHER_SITE_ADMIN, SITE_ADMIN},
        parlor::{Answer, COACH, Parlor, STAFF, answer},
        sweep,
    },
};

/// A text that is nowhere else.
const MARK: &str = "红色鲸鱼九号";

impl Parlor {
    async fn delete_data(&self, admin: i64, user: i64, query: &str) -> Answer {
        let path = format!("/api/admin/ai/users/{user}/data{query}");
        answer(self.request_as(admin, "DELETE", &path)).await
    }

    /// Sweeps when the cached approvals of the user have expired. Returns the number of users whose
    /// data is deleted.
    async fn sweep_user_data(&self) -> i32 {
        self.execute(
            "update biz.user_data_deletions set requested_at = requested_at - interval '1 minute'",
        )
        .await;
        let swept = sweep(&self.db, 180).await.unwrap();
        swept.user_data_deletions
    }

    async fn status_of(&self, user: i64) -> String {
        sqlx::query_scalar("select status from biz.users where id = $1")
            .bind(user)
            .fetch_one(&self.db)
            .await
            .unwrap()
    }
}

/// A conversation, a rating and a report of a user, all with the text.
async fn write_texts(parlor: &Parlor, user: i64) -> i64 {
    let chat = parlor.open(user, "t").await;
    let sent = parlor
        .send(user, chat, &format!("[[sim:echo]]{MARK}"))
        .await;
    let reply = &sent.ok()["aiReply"]["id"];
    let feedback = format!("/api/xcx/chat/messages/{reply}/feedback");
    let rating = json!({ "rating": "down", "comment": MARK });
    parlor.call(user, "PUT", &feedback, &rating).await.ok();
    let report =
        json!({ "subjectType": "message", "subjectId": reply, "reason": "other", "text": MARK });
    parlor
        .post(user, "/api/xcx/reports", &report)
        .await
        .created();
    chat
}

#[tokio::test]
async fn all_texts_of_a_user_are_deleted_and_the_user_returns() {
    let parlor = Parlor::start().await;
    write_texts(&parlor, COACH).await;
    // As in the runs of an earlier release.
    parlor
        .execute("update biz.ai_run_logs set conversation_id = null")
        .await;
    assert!(tables_with(&parlor, MARK).await.len() >= 4);

    let requested = parlor.delete_data(SITE_ADMIN, COACH, "").await;
    assert_eq!(requested.status, 202, "{}", requested.body);
    assert_eq!(requested.body["user_id"], COACH);
    assert_eq!(requested.body["keep_disabled"], false);
    assert_eq!(parlor.status_of(COACH).await, "disabled");
    // Another instance may still have the approval.
    assert_eq!(sweep(&parlor.db, 180).await.unwrap().user_data_deletions, 0);
    assert_eq!(parlor.sweep_user_data().await, 1);
    assert_eq!(tables_with(&parlor, MARK).await, [] as [String; 0]);
    assert_eq!(
        parlor.get(COACH, "/api/xcx/chat/history").await.ok()["total"],
        0
    );
    let reports = parlor.get(SITE_ADMIN, "/api/admin/ai/reports").await;
    assert_eq!(reports.ok()["items"][0]["text"], Value::Null);
    assert_eq!(parlor.sweep_user_data().await, 0);
    let audit = parlor
        .get(SITE_ADMIN, "/api/admin/ai/audit?action=user_data.delete")
        .await;
    assert_eq!(audit.ok()["items"][0]["object_id"], COACH.to_string());
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn another_users_texts_remain() {
    let parlor = Parlor::start().await;
    write_texts(&parlor, COACH).await;
    let chat = write_texts(&parlor, STAFF).await;
    parlor.delete_data(SITE_ADMIN, COACH, "").await;
    parlor.sweep_user_data().await;
    assert_eq!(parlor.messages(STAFF, chat).await.len(), 2);
    let mut tables = tables_with(&parlor, MARK).await;
    tables.sort();
    assert_eq!(
        tables,
        [
            "ai_conversations",
            "ai_feedback",
            "ai_messages",
            "ai_reports",
            "ai_run_logs"
        ]
    );
}

#[tokio::test]
async fn a_user_remains_disabled_if_the_request_says_so() {
    let parlor = Parlor::start().await;
    parlor.delete_data(SITE_ADMIN, COACH, "").await;
    // The repeated request changes the one in progress.
    let again = parlor
        .delete_data(SITE_ADMIN, COACH, "?keep_disabled=true")
        .await;
    assert_eq!(again.status, 202, "{}", again.body);
    assert_eq!(again.body["keep_disabled"], true);
    assert_eq!(parlor.sweep_user_data().await, 1);
    assert_eq!(parlor.status_of(COACH).await, "disabled");

    // A user who was disabled before remains so.
    parlor.delete_data(SITE_ADMIN, COACH, "").await;
    assert_eq!(parlor.sweep_user_data().await, 1);
    assert_eq!(parlor.status_of(COACH).await, "disabled");
}

#[tokio::test]
async fn data_is_deleted_when_the_last_reply_has_ended() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "[[sim:echo]]你好").await.ok();
    parlor.begin_and_die(COACH, chat, "继续", "回复").await;
    let lease = "update biz.ai_messages set lease_until = now() + interval '30 seconds' where state = 'streaming'";
    parlor.execute(lease).await;
    parlor.delete_data(SITE_ADMIN, COACH, "").await;
    assert_eq!(parlor.sweep_user_data().await, 0);
    assert_eq!(parlor.status_of(COACH).await, "disabled");
    parlor
        .execute("update biz.ai_messages set lease_until = now() - interval '1 second' where state = 'streaming'")
        .await;
    assert_eq!(parlor.sweep_user_data().await, 1);
    assert_eq!(parlor.status_of(COACH).await, "approved");
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn only_an_admin_of_the_site_deletes_data_and_never_their_own() {
    let parlor = Parlor::start().await;
    let (theirs, nobody) = (2001, 999_999);
    for (admin, user, status, code) in [
        (COACH, STAFF, 403, "forbidden"),
        (SITE_ADMIN, theirs, 404, "not_found"),
        (SITE_ADMIN, nobody, 404, "not_found"),
        (OTHER_SITE_ADMIN, COACH, 404, "not_found"),
        (SITE_ADMIN, SITE_ADMIN, 409, "conflict"),
    ] {
        let refused = parlor.delete_data(admin, user, "").await;
        let path = format!("/api/admin/ai/users/{user}/data");
        refused.refused_at(&path, status, code);
    }
    let nonsense = parlor
        .delete_data(SITE_ADMIN, COACH, "?keep_disabled=perhaps")
        .await;
    assert_eq!(nonsense.status, 422, "{}", nonsense.body);
    assert_eq!(parlor.status_of(COACH).await, "approved");
}
