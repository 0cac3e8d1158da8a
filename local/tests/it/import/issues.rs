//! Rows that cannot be imported as they are, and databases that are refused.

use serde_json::{Value, json};

use super::{Move, execute};
use crate::harness::{
    database::TestDatabase,
    invariants,
    parlor::{COACH, OTHER_SITE, Parlor, Setup},
    sessions::SESSIONS,
};

async fn few() -> Move {
    let few = Move::new(include_str!("few.sql")).await;
    few.write_users("fastapi.csv", "1001,1,1001,阿杰,coach,\n");
    few.write_users("flask.csv", "u-1,1,,新来的,staff,approved\n");
    few
}

/// The file of `--issues`: kind, id, outcome, and the first words of the reason with the value.
async fn issues(few: &Move, service: &str, options: &[&str]) -> Vec<String> {
    let file = few.file("issues.csv");
    let options = [&["--issues", file.to_str().unwrap()], options].concat();
    few.import(service, &options).await;
    let mut reader = csv::Reader::from_path(&file).unwrap();
    let lines = reader.records().map(|line| {
        let line = line.unwrap();
        let outcome = if &line[2] == "changed" {
            "changed"
        } else {
            "left"
        };
        let reason = line[3]
            .split_once(": ")
            .map_or(&line[3], |(start, _)| start);
        format!(
            "{} {} {outcome}: {reason} [{}]",
            &line[0], &line[1], &line[4]
        )
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn each_row_that_is_changed_or_left_is_reported() {
    let few = few().await;
    let found = issues(&few, "fastapi", &["--dry-run"]).await;
    let expected = [
        "conversation 1 changed: its user has a newer conversation with the same subject []",
        "conversation 3 left: the file of users does not have its user at its site [user 7, site 1]",
        "conversation 4 left: the file of users does not have its user at its site [user 1001, site 2]",
        "conversation 5 changed: context_id is longer than 64 characters []",
        "conversation 5 changed: unknown context_type [video]",
        "conversation 6 left: Parlor does not have its site [9]",
        "job 1 left: unknown event_type [moon.full]",
        "job 2 left: it had not ended [pending]",
        "job 3 changed: payload is not an object []",
        "job 3 changed: unknown connector_type [carrier_pigeon]",
        "message 3 left: unknown role [robot]",
        "message 4 changed: NUL characters, which PostgreSQL does not store as text []",
        "message 5 changed: reference_card has not the form that clients know []",
        "message 6 left: its conversation is not imported, or was deleted in Parlor []",
        "message 7 left: its conversation is not imported, or was deleted in Parlor []",
        "message 8 left: a required value is not a time [created_at infinity]",
        "message 9 left: the row has a character or a depth that JSON does not allow []",
        "result 1 left: unknown target_id [ten]",
        "result 2 changed: the result has not the form of its app []",
        "result 3 left: the chat has no results []",
        "result 4 left: it has no result []",
        "run 1 changed: unknown trigger_type [cron]",
        "run 2 left: unknown app_type [app9_dream]",
        "run 3 left: unknown status [odd]",
        "run 4 changed: it had not ended [running]",
        "run 4 changed: its latency is not known [0]",
        "run 5 left: it is older than RUN_LOG_RETENTION_DAYS []",
        "run 6 left: Parlor does not have its site [3]",
    ];
    let expected: Vec<String> = expected
        .map(|line| line.replace("known [0]", "known []"))
        .to_vec();
    assert_eq!(found, expected);
    assert_eq!(
        issues(&few, "fastapi", &[]).await,
        expected,
        "the import reports the same"
    );

    let found = issues(&few, "flask", &[]).await;
    let expected = [
        "bot bot-1 changed: its agent does not exist []",
        "bot bot-1 changed: unknown status [sleeping]",
        "message m-1 changed: unknown content_type [html]",
        "message m-2 left: unknown sender_type [ghost]",
        "message m-3 left: its conversation does not exist []",
        "session s-1 changed: unknown status [archived]",
        "session s-2 left: its user is not in the file of users [u-9]",
        "session s-3 left: it has no bot []",
        "session s-4 left: its bot does not exist [bot-9]",
    ];
    assert_eq!(found, expected);
    check_apis(&few).await;
}

/// Words without a place in Parlor are kept, and nothing of a site is visible at another.
async fn check_apis(few: &Move) {
    let db = few.parlor.pool().await;
    let kept: Vec<Value> = sqlx::query_scalar(
        "select details from parlor_import.ids where details is not null order by kind",
    )
    .fetch_all(&db)
    .await
    .unwrap();
    assert_eq!(
        kept,
        [
            json!({ "connector_type": "carrier_pigeon" }),
            json!({ "trigger_type": "cron" })
        ]
    );
    let parlor = Parlor::start_with(Setup {
        database: Some(few.parlor.clone()),
        ..Setup::default()
    })
    .await;
    invariants::check_books(&parlor).await;
    let messages = parlor.messages(COACH, 1).await;
    assert_eq!(
        (&messages[1]["status"], &messages[1]["content"]),
        (&json!("failed"), &json!(""))
    );
    let messages = parlor.messages(COACH, 2).await;
    assert_eq!(messages[0]["referenceCard"]["title"], "a\u{fffd}b");
    let other = parlor.get(OTHER_SITE, "/api/xcx/chat/history").await;
    assert_eq!(other.ok()["total"], 0);
    let user: i64 = sqlx::query_scalar("select id from biz.users where nickname = '新来的'")
        .fetch_one(&db)
        .await
        .unwrap();
    let sessions: (i64, i64) =
        sqlx::query_as("select listed_sessions, listed_conversations from biz.users where id = $1")
            .bind(user)
            .fetch_one(&db)
            .await
            .unwrap();
    assert_eq!(sessions, (1, 1));
    assert_eq!(
        parlor.get(COACH, SESSIONS).await.ok()["sessions"],
        json!([])
    );
}

#[tokio::test]
async fn rows_that_are_added_later_are_imported_later() {
    let few = few().await;
    few.import("fastapi", &[]).await;
    few.earlier("insert into biz.ai_messages (id, conversation_id, role, content, created_at) values (20, 1, 'user', '再问', now() + interval '1 hour')").await;
    few.parlor("delete from biz.ai_messages where conversation_id = 2; delete from biz.ai_conversations where id = 2").await;
    few.earlier("insert into biz.ai_messages (id, conversation_id, role, content) values (21, 2, 'user', '已删除')").await;
    let (printed, counts) = few.import("fastapi", &[]).await;
    assert_eq!(counts["message"], [11, 4, 1, 0, 6], "{printed}");
    let texts: Vec<String> = sqlx::query_scalar(
        "select content from biz.ai_messages where conversation_id = 1 order by seq",
    )
    .fetch_all(&few.parlor.pool().await)
    .await
    .unwrap();
    assert_eq!(texts, ["你好", "", "再问"]);
}

#[tokio::test]
async fn an_id_that_parlor_has_is_replaced() {
    let few = few().await;
    few.parlor("insert into biz.ai_conversations (id, site_id, user_id, context_type) overriding system value values (1, 2, 2001, 'general')").await;
    let (printed, _) = few
        .import("fastapi", &["--ids", few.file("ids.csv").to_str().unwrap()])
        .await;
    assert!(
        printed.contains("its id is taken in Parlor: it gets a new one: 1"),
        "{printed}"
    );
    let ids = few.text("ids.csv");
    let new: Vec<&str> = ids
        .lines()
        .filter(|line| line.starts_with("conversation,1,"))
        .collect();
    assert_eq!(new.len(), 1, "{ids}");
    let owners: (i64, i64) = sqlx::query_as(
        "select (select user_id from biz.ai_conversations where id = 1), (select user_id from biz.ai_conversations where title = '旧')",
    )
    .fetch_one(&few.parlor.pool().await)
    .await
    .unwrap();
    assert_eq!(owners, (OTHER_SITE, COACH));
}

#[tokio::test]
async fn a_schema_that_differs_is_described() {
    let few = few().await;
    let (printed, _) = few.import("fastapi", &["--dry-run"]).await;
    for line in [
        "ai_messages.reference_card is json, not jsonb: converted",
        "ai_messages.tokens_used is missing: taken as null",
        "ai_messages.mood is not imported",
    ] {
        assert!(printed.contains(line), "{line}\n{printed}");
    }
    few.earlier("alter table biz.ai_messages drop column role; drop table biz.ai_cache")
        .await;
    let refused = few.refusal("fastapi", &["--dry-run"]).await;
    assert!(
        refused.contains(
            "is missing or may not be read: the column ai_messages.role, the table biz.ai_cache"
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn databases_and_users_that_are_wrong_are_refused() {
    let mut few = few().await;
    for (line, reason) in [
        ("1001,1,1001,阿杰,boss,", "unknown role"),
        ("1001,1,9001,阿杰,admin,", "a platform admin has no chats"),
        ("1001,8,1001,阿杰,coach,", "Parlor has no site 8"),
        ("1001,2,1001,阿杰,coach,", "belongs to another site"),
        (
            "1001,1,1001,阿杰,coach,\n7,1,1001,阿杰,coach,",
            "the same parlor_user_id",
        ),
        (
            "1001,1,1001,阿杰,coach,\n1001,1,1002,阿杰,coach,",
            "the same earlier_user_id",
        ),
        ("1001,1,1001,阿杰,coach,away", "status must be"),
    ] {
        few.write_users("fastapi.csv", line);
        let refused = few.refusal("fastapi", &[]).await;
        assert!(refused.contains(reason), "{reason}\n{refused}");
    }
    few.write_users("fastapi.csv", "1001,1,1001,阿杰,coach,");
    let parlor = few.parlor.clone();
    let earlier = std::mem::replace(&mut few.earlier, TestDatabase::with_demo().await);
    let refused = few.refusal("fastapi", &[]).await;
    assert!(
        refused.contains("the schema biz is Parlor's own"),
        "{refused}"
    );
    few.earlier = earlier;
    few.parlor = TestDatabase::empty().await.into();
    execute(few.parlor.url(), include_str!("earlier.sql")).await;
    let refused = few.refusal("fastapi", &[]).await;
    assert!(refused.contains("has no tables of Parlor"), "{refused}");
    drop(parlor);
}

#[tokio::test]
async fn the_file_of_users_is_made_from_what_is_found() {
    let few = few().await;
    for service in ["fastapi", "flask"] {
        let file = few.file("users.csv");
        let output = few
            .run(service, &["--write-users", file.to_str().unwrap()])
            .await;
        assert!(output.status.success(), "{output:?}");
        let expected = match service {
            "fastapi" => {
                "1001,1,1001,阿杰,coach,approved\n7,1,7,7,staff,pending\n1001,2,1001,阿杰,coach,approved\n1001,9,1001,阿杰,coach,approved\n"
            }
            _ => "u-1,,,阿杰,staff,pending\nu-9,,,gone,staff,pending\n",
        };
        let written = few.text("users.csv");
        let lines = written.split_once('\n').unwrap().1;
        let mut found: Vec<&str> = lines.lines().collect();
        let mut expected: Vec<&str> = expected.lines().collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn a_renamed_schema_of_the_same_database_is_imported() {
    let mut few = few().await;
    few.earlier("alter schema biz rename to biz_old").await;
    let migrate = tokio::process::Command::new(env!("CARGO_BIN_EXE_local"))
        .arg("migrate")
        .env("DATABASE_URL", few.earlier.url())
        .status()
        .await
        .unwrap();
    assert!(migrate.success());
    few.earlier("insert into biz.sites (id, name) values (1, '一店')")
        .await;
    few.write_users("fastapi.csv", "1001,1,1001,阿杰,coach,approved");
    few.parlor = std::mem::replace(&mut few.earlier, TestDatabase::empty().await).into();
    let output = tokio::process::Command::from(few.command("fastapi", &["--schema", "biz_old"]))
        .env_remove("IMPORT_DATABASE_URL")
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let users: (String, String) =
        sqlx::query_as("select nickname, status from biz.users where id = 1001")
            .fetch_one(&few.parlor.pool().await)
            .await
            .unwrap();
    assert_eq!(users, ("阿杰".to_owned(), "approved".to_owned()));
}
