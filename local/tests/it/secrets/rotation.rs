//! Secrets that are rotated under load. A warm instance gets no notification: it reads a secret
//! again when the known value is refused.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use common::platform::secrets::RotatingSecret;
use futures_util::future::{join_all, try_join_all};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::time::timeout;

use super::*;
use crate::harness::{cloud::with_body, moto::Front, parlor::Setup};

const STRANGER: &str = "a secret that no function has";
const NEWEST: &str = "the secret that will be rotated in";

/// Functions with one process each, so that its cached secrets can be observed.
async fn single(parlor: &Parlor, aws: &[(String, String)], arns: &[(&str, &str)]) -> Emulator {
    let mut specs = specs(parlor).await;
    for spec in &mut specs {
        spec.max_instances = 1;
    }
    start(specs, aws, arns)
}

async fn statuses(emulator: &Emulator, event: &Value, times: usize) -> Vec<u16> {
    join_all((0..times).map(|_| status(emulator, event))).await
}

/// An unknown path needs no database. The request only starts an instance.
async fn warm(emulator: &Emulator, function: &str) {
    let mut event = recorded_of("chat-history", COACH);
    event["path"] = "/none".into();
    let outcome = emulator.invoke(function, &event).await.unwrap();
    assert_eq!(outcome.into_http().await.unwrap().status(), 404);
}

#[tokio::test]
async fn old_and_new_tokens_are_valid_during_a_rotation_under_load() {
    let (parlor, moto) = (Parlor::start().await, Moto::start().await);
    let arn = create(&moto, "jwt", json!({ "SecretString": PREVIOUS_SECRET })).await;
    let emulator = functions(&parlor, &moto, &[("JWT_SECRET_ARN", &arn)]).await;
    let (old, new) = (signed_with(PREVIOUS_SECRET), signed_with(SECRET));
    assert_eq!(statuses(&emulator, &old, 4).await, [200; 4]);

    let rotation = async {
        put(&moto, &arn, SECRET).await;
        // From here on, the business backend signs with the new secret.
        for _ in 0..10 {
            assert_eq!(statuses(&emulator, &new, 4).await, [200; 4]);
        }
    };
    let before = async {
        for _ in 0..20 {
            assert_eq!(statuses(&emulator, &old, 4).await, [200; 4]);
        }
    };
    tokio::join!(rotation, before);
    assert_eq!(status(&emulator, &signed_with(STRANGER)).await, 401);
}

#[tokio::test]
async fn many_invalid_tokens_cause_one_extra_read_of_the_secret() {
    let (parlor, moto) = (Parlor::start().await, Moto::start().await);
    let front = Front::of(&moto).await;
    let arn = create(&moto, "jwt", json!({ "SecretString": SECRET })).await;
    let emulator = single(&parlor, &front.variables(), &[("JWT_SECRET_ARN", &arn)]).await;
    assert_eq!(status(&emulator, &signed_with(SECRET)).await, 200);
    // The current and the previous version. The previous one does not exist.
    assert_eq!(front.requests(), 2);
    let bad = signed_with(STRANGER);
    for _ in 0..10 {
        assert_eq!(statuses(&emulator, &bad, 50).await, [401; 50]);
    }
    assert_eq!(front.requests(), 4);
    assert_eq!(status(&emulator, &signed_with(SECRET)).await, 200);
}

#[tokio::test]
async fn a_token_refused_for_another_reason_causes_no_read() {
    let (parlor, moto) = (Parlor::start().await, Moto::start().await);
    let front = Front::of(&moto).await;
    let arn = create(&moto, "jwt", json!({ "SecretString": SECRET })).await;
    let emulator = single(&parlor, &front.variables(), &[("JWT_SECRET_ARN", &arn)]).await;
    assert_eq!(status(&emulator, &signed_with(SECRET)).await, 200);
    let before = front.requests();
    let unsigned =
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMDAxIiwiZXhwIjo5OTk5OTk5OTk5LCJ0eXBlIjoiYWNjZXNzIn0.";
    for token in ["nothing like a token", "a.b.c", unsigned] {
        let mut event = signed_with(SECRET);
        event["multiValueHeaders"]["Authorization"] = json!([format!("Bearer {token}")]);
        event["headers"]["Authorization"] = format!("Bearer {token}").into();
        assert_eq!(status(&emulator, &event).await, 401, "{token}");
    }
    assert_eq!(front.requests(), before);
}

#[tokio::test]
async fn a_silent_secrets_manager_does_not_change_the_error() {
    let (parlor, moto) = (Parlor::start().await, Moto::start().await);
    let front = Front::of(&moto).await;
    let arn = create(&moto, "jwt", json!({ "SecretString": SECRET })).await;
    let emulator = single(&parlor, &front.variables(), &[("JWT_SECRET_ARN", &arn)]).await;
    assert_eq!(status(&emulator, &signed_with(SECRET)).await, 200);
    front.stop_responding();
    let bad = signed_with(STRANGER);
    let refused = timeout(Duration::from_secs(10), statuses(&emulator, &bad, 20)).await;
    assert_eq!(refused.unwrap(), [401; 20]);
    assert_eq!(status(&emulator, &signed_with(SECRET)).await, 200);
    for line in emulator.logs("chat-history").unwrap() {
        assert!(!line.contains(SECRET) && !line.contains("eyJ"), "{line}");
    }
}

#[tokio::test]
async fn an_invalid_new_secret_is_not_used() {
    let (parlor, moto) = (Parlor::start().await, Moto::start().await);
    let arn = create(&moto, "jwt", json!({ "SecretString": SECRET })).await;
    let emulator = single(&parlor, &moto.variables(), &[("JWT_SECRET_ARN", &arn)]).await;
    assert_eq!(status(&emulator, &signed_with(SECRET)).await, 200);
    put(&moto, &arn, "short").await;
    assert_eq!(status(&emulator, &signed_with(NEWEST)).await, 401);
    assert_eq!(status(&emulator, &signed_with(SECRET)).await, 200);
}

#[tokio::test]
async fn rotating_the_dashscope_key_loses_no_reply() {
    let (parlor, moto) = (Parlor::start().await, Moto::start().await);
    let arn = create(&moto, "key", json!({ "SecretString": "sk-the-old-one" })).await;
    let emulator = functions(&parlor, &moto, &[("DASHSCOPE_API_KEY_SECRET_ARN", &arn)]).await;
    parlor.simulator.take_only_key(Some("sk-the-old-one"));
    let chats = [1, 2, 3, 4].map(|task| task.to_string());
    let chats = join_all(chats.iter().map(|task| parlor.open(COACH, task))).await;
    let emulator = &emulator;
    let replies = |round: usize| {
        join_all(chats.iter().map(|chat| async move {
            let content = format!("[[sim:echo]]{chat}: 第 {round} 次");
            let body = json!({ "chatId": chat, "content": content });
            let event = with_body(recorded_of("chat-stream", COACH), &body);
            let outcome = emulator.invoke("chat-stream", &event).await.unwrap();
            let response = outcome.into_http().await.unwrap();
            let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
            let body = String::from_utf8(body.unwrap().to_vec()).unwrap();
            assert!(body.contains("event: done"), "{body}");
        }))
    };
    replies(1).await;
    put(&moto, &arn, "sk-the-new-one").await;
    // Both keys are valid for a while, then only the new one.
    replies(2).await;
    parlor.simulator.take_only_key(Some("sk-the-new-one"));
    let calls = parlor.simulator.calls_count();
    replies(3).await;
    let instances = emulator.instances("chat-stream").unwrap().len();
    assert!(
        parlor.simulator.calls_count() - calls <= chats.len() + instances,
        "each instance reads the key once"
    );
    replies(4).await;

    parlor.settled().await;
    let (runs, failed): (i64, i64) = sqlx::query_as(
        "select count(*), count(*) filter (where status <> 'success') from biz.ai_run_logs",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert_eq!((runs, failed), (16, 0));
    for line in emulator.logs("chat-stream").unwrap() {
        assert!(!line.contains("sk-the"), "{line}");
    }
}

/// A database role of the test, with all rights.
struct DatabaseRole {
    name: String,
    database: Arc<TestDatabase>,
}

impl DatabaseRole {
    async fn new(password: &str) -> Self {
        let database = Arc::new(TestDatabase::new().await);
        let name = reqwest::Url::parse(database.url()).unwrap();
        let name = format!("role_of_{}", name.path().trim_start_matches('/'));
        let role = Self { name, database };
        role.alter("create", password).await;
        role
    }

    /// Changes the password. Open connections stay open.
    async fn change(&self, password: &str) {
        self.alter("alter", password).await;
    }

    async fn alter(&self, verb: &str, password: &str) {
        let name = &self.name;
        let statement = format!("{verb} role {name} superuser login password '{password}'");
        let pool = self.database.pool().await;
        pool.execute(AssertSqlSafe(statement)).await.unwrap();
        pool.close().await;
    }

    fn url(&self, password: &str) -> String {
        let mut url = reqwest::Url::parse(self.database.url()).unwrap();
        url.set_username(&self.name).unwrap();
        url.set_password(Some(password)).unwrap();
        url.to_string()
    }
}

#[tokio::test]
async fn a_new_connection_uses_the_rotated_password() {
    let (role, moto) = (DatabaseRole::new("first").await, Moto::start().await);
    let parlor = Parlor::start_with(Setup {
        database: Some(Arc::clone(&role.database)),
        ..Setup::default()
    })
    .await;
    let front = Front::of(&moto).await;
    let value = json!({ "SecretString": role.url("first") });
    let arn = create(&moto, "database", value).await;
    let arns = [("DATABASE_URL_SECRET_ARN", &*arn)];
    let emulator = single(&parlor, &front.variables(), &arns).await;
    warm(&emulator, "chat-history").await;
    assert_eq!(front.requests(), 1);

    // The function knows the old password and has no connection yet.
    role.change("second").await;
    put(&moto, &arn, &role.url("second")).await;
    let event = signed_with(SECRET);
    assert_eq!(statuses(&emulator, &event, 8).await, [200; 8]);
    assert_eq!(front.requests(), 2);
}

/// A `Parlor` that reads its database URL from `url`.
async fn with_url(role: &DatabaseRole, url: &Arc<Mutex<Option<String>>>) -> Parlor {
    let first = url.lock().unwrap().clone().unwrap();
    let source = Arc::clone(url);
    let read = move || {
        let url = source.lock().unwrap().clone();
        async move {
            url.map(SecretString::from)
                .ok_or_else(|| "no such secret".into())
        }
    };
    let pause = Duration::ZERO;
    Parlor::start_with(Setup {
        database: Some(Arc::clone(&role.database)),
        renewable_url: Some(RotatingSecret::new(
            first.into(),
            "DATABASE_URL",
            pause,
            read,
        )),
        ..Setup::default()
    })
    .await
}

#[tokio::test]
async fn requests_succeed_while_the_database_password_is_rotated() {
    let role = DatabaseRole::new("first").await;
    let url = Arc::new(Mutex::new(Some(role.url("first"))));
    let parlor = with_url(&role, &url).await;
    let db = &parlor.tools.db;
    for password in ["second", "third", "fourth"] {
        let mut open = try_join_all((0..2).map(|_| db.acquire())).await.unwrap();
        role.change(password).await;
        *url.lock().unwrap() = Some(role.url(password));
        // One request uses an open connection, the other must open a new one. Both succeed.
        let answers = join_all((0..2).map(|_| parlor.get(COACH, "/api/xcx/chat/history"))).await;
        for answer in answers {
            answer.ok();
        }
        for connection in &mut open {
            connection.execute("select 1").await.unwrap();
        }
        // The next rotation starts without connections.
        drop(open);
        for connection in try_join_all((0..db.size()).map(|_| db.acquire()))
            .await
            .unwrap()
        {
            connection.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_unavailable_password_is_a_503_until_it_can_be_read() {
    let role = DatabaseRole::new("first").await;
    let url = Arc::new(Mutex::new(Some(role.url("first"))));
    let parlor = with_url(&role, &url).await;
    role.change("second").await;
    let history = || parlor.get(COACH, "/api/xcx/chat/history");
    // The password has changed, and the secret has not changed yet.
    history().await.refused(503, "unavailable");
    *url.lock().unwrap() = None;
    let refused = timeout(Duration::from_secs(10), join_all((0..4).map(|_| history()))).await;
    for answer in refused.unwrap() {
        answer.refused(503, "unavailable");
    }
    *url.lock().unwrap() = Some(role.url("second"));
    until("the new password is read", async || {
        (history().await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn all_secrets_of_a_function_are_fetched_concurrently() {
    let (parlor, moto) = (Parlor::start().await, Moto::start().await);
    let database = json!({ "SecretString": parlor.database.url() });
    let database = create(&moto, "database", database).await;
    let jwt = create(&moto, "jwt", json!({ "SecretString": SECRET })).await;
    let key = create(&moto, "key", json!({ "SecretString": "sk-test" })).await;
    let arns = [
        ("DATABASE_URL_SECRET_ARN", &*database),
        ("JWT_SECRET_ARN", &jwt),
        ("DASHSCOPE_API_KEY_SECRET_ARN", &key),
    ];
    for (function, secrets) in [
        ("admin-dashboard", 3),
        ("admin-jobs", 3),
        ("admin-runs", 3),
        ("cache-invalidate", 3),
        ("chat-history", 3),
        ("chat-messages", 4),
        ("chat-sessions", 3),
        ("chat-stream", 4),
        ("job-worker", 2),
    ] {
        let front = Front::of(&moto).await;
        // No secret is returned before all are requested.
        front.respond_together(secrets);
        let emulator = functions_with(&parlor, &front.variables(), &arns).await;
        let answered = timeout(Duration::from_secs(10), async {
            if function == "job-worker" {
                let outcome = emulator.invoke(function, &json!({})).await.unwrap();
                assert!(matches!(outcome, Outcome::Response(_)), "{outcome:?}");
            } else {
                warm(&emulator, function).await;
            }
        });
        answered
            .await
            .unwrap_or_else(|_| panic!("{function} reads its secrets one after another"));
        assert_eq!(front.requests(), secrets, "{function}");
    }
}
