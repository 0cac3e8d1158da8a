//! Parlor as its clients see it. The methods call the API.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    serve::ListenerExt as _,
};
use common::{
    chat::{
        messages::SendLimits,
        replies::{ChatLimits, Replies},
        session_replies,
    },
    dashscope::{self, DashScope},
    governance::{
        apps::{App, AppIds},
        auth::{JwtSecrets, User},
        notice::Notice,
    },
    insights::{
        insight::Insights,
        jobs::{JobLimits, PrewarmSchedule, Worked, Worker},
    },
    moderation::Moderation,
    platform::{
        db::{self, DatabaseConfig, Db},
        env::Env,
        http_client,
        secrets::RotatingSecret,
        sqs::JobQueue,
    },
    web::{AllowedOrigins, Cors},
};
use console::SessionRules;
use http_body_util::BodyExt as _;
use local::{
    demo,
    gateway::{self, AppState},
    robots::Robots,
    simulator::{self, Simulator},
};
use reqwest::{Method, RequestBuilder};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use super::{
    database::TestDatabase,
    events::{EventStream, SseEvent},
    faces,
    wire::Wire,
};

/// The current signing secret.
pub const SECRET: &str = "a secret for tests, and for nothing else";
/// The previous signing secret, still accepted.
pub const PREVIOUS_SECRET: &str = "the secret before that one, still accepted";

/// A coach of site 1.
pub const COACH: i64 = 1001;
/// A colleague of the coach at site 1.
pub const STAFF: i64 = 1002;
/// A coach of site 2.
pub const OTHER_SITE: i64 = 2001;

/// The running product.
pub struct Parlor {
    pub address: String,
    /// The state of its routers, for tests that call them without a socket.
    pub tools: AppState,
    /// Runs jobs only when a test calls it.
    pub worker: Worker,
    pub simulator: Simulator,
    /// What the channels of notifications reach.
    pub robots: Robots,
    pub db: Db,
    pub database: Arc<TestDatabase>,
    http: reqwest::Client,
}

/// A response with its body.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

/// Options that a test may change before the start.
pub struct Setup {
    pub env: Vec<(&'static str, String)>,
    /// Overrides the database URL, for a proxy in front of the database.
    pub database_url: Option<String>,
    /// Like `database_url`, but the URL may change while the product runs.
    pub renewable_url: Option<RotatingSecret<SecretString>>,
    pub database: Option<Arc<TestDatabase>>,
    /// Overrides the URL of the simulator, which then receives no calls.
    pub dashscope_url: Option<String>,
    pub max_connections: u32,
    pub behind_proxy: bool,
    pub timeouts: dashscope::Timeouts,
    pub retries: dashscope::Retries,
    pub app_ids: Vec<(String, &'static str)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            env: Vec::new(),
            database_url: None,
            renewable_url: None,
            database: None,
            dashscope_url: None,
            max_connections: 8,
            behind_proxy: false,
            timeouts: dashscope::Timeouts::default(),
            retries: dashscope::Retries {
                delays: vec![Duration::from_millis(5); 3],
                ..Default::default()
            },
            app_ids: App::ALL.map(|app| (app.variable(), app.name())).to_vec(),
        }
    }
}

impl Parlor {
    pub async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    /// Starts Parlor with a [`Wire`] between it and its database.
    pub async fn wired(setup: Setup) -> (Self, Wire) {
        let database = Arc::new(TestDatabase::with_demo().await);
        let wire = Wire::before(database.url()).await;
        let parlor = Self::start_with(Setup {
            database_url: Some(wire.url.clone()),
            database: Some(database),
            ..setup
        })
        .await;
        (parlor, wire)
    }

    pub async fn start_with(setup: Setup) -> Self {
        let database = match setup.database {
            Some(database) => database,
            None => Arc::new(TestDatabase::with_demo().await),
        };
        let simulator = Simulator::start(
            (Ipv4Addr::LOCALHOST, 0).into(),
            simulator::Options::default(),
        )
        .await
        .unwrap();
        let url = setup
            .database_url
            .unwrap_or_else(|| database.url().to_owned());
        let url = setup
            .renewable_url
            .unwrap_or_else(|| SecretString::from(url).into());
        let db = db::connect_lazy(&DatabaseConfig {
            url,
            max_connections: setup.max_connections,
            behind_proxy: setup.behind_proxy,
        })
        .unwrap();
        let own = Db::from(database.pool().await);
        if !database.has_demo_data {
            demo::load(&own).await.unwrap();
        }

        let mut client = dashscope::Config::new("sk-test".into());
        client.base_url = setup.dashscope_url.unwrap_or_else(|| simulator.base_url());
        client.timeouts = setup.timeouts;
        client.retries = setup.retries;
        // Tests send faster than people. The rate limits are tested in `limits.rs`.
        let mut env = vec![
            ("CHAT_RATE_PER_MINUTE", "10000".to_owned()),
            ("CHAT_MAX_STREAMS", "1000".to_owned()),
        ];
        env.extend(setup.env);
        let env = Env::from_pairs(env);
        let dashscope = DashScope::new(client).unwrap();
        let app_ids = AppIds::from_env(&Env::from_pairs(setup.app_ids));
        let moderation = Moderation::from_env(&env, &db).await.unwrap();
        let worker = session_replies::worker(
            db.clone(),
            dashscope.clone(),
            app_ids.clone(),
            JobLimits::from_env(&env).unwrap(),
            JobQueue::none(),
            moderation.clone(),
        );
        let limits = ChatLimits::from_env(&env).unwrap();
        let insights = Insights::new(
            db.clone(),
            app_ids.clone(),
            JobLimits::reserved_tokens(&env).unwrap(),
            JobQueue::none(),
        );
        let ids = app_ids.clone();
        let replies = Replies::new(db.clone(), dashscope, ids, limits, moderation.clone());
        let secrets = JwtSecrets::new(&SECRET.into(), Some(&PREVIOUS_SECRET.into())).unwrap();
        let robots = Robots::start().await.unwrap();
        let tools = AppState {
            db,
            secrets: secrets.into(),
            replies,
            insights,
            queue: JobQueue::none(),
            limits: SendLimits::from_env(&env).unwrap(),
            moderation,
            client: robots.client.clone(),
            ids: app_ids,
            notice: Notice::from_env(&env).unwrap(),
            schedule: PrewarmSchedule::default(),
            cors: Cors::from_env(&env).unwrap(),
            session: SessionRules::local(AllowedOrigins::from_env(&env).unwrap()),
        };
        let app = gateway::app(&tools);
        let address = serve(app).await;
        Self {
            address,
            tools,
            worker,
            simulator,
            robots,
            db: own,
            database,
            http: self::client(),
        }
    }

    /// Runs the jobs that are due.
    pub async fn work(&self) -> Worked {
        self.worker.run(None).await
    }

    /// A request without a token.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.http.request(
            method.parse::<Method>().unwrap(),
            format!("{}{path}", self.address),
        )
    }

    /// A request of a demo user.
    pub fn request_as(&self, user: i64, method: &str, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(token(user))
    }

    pub async fn get(&self, user: i64, path: &str) -> Answer {
        answer(self.request_as(user, "GET", path)).await
    }

    pub async fn post(&self, user: i64, path: &str, body: &Value) -> Answer {
        answer(self.request_as(user, "POST", path).json(body)).await
    }

    /// Opens (CHAT-2b) a conversation about a task. Returns its id.
    pub async fn open(&self, user: i64, context_id: &str) -> i64 {
        let page = self
            .get(
                user,
                &format!("/api/xcx/chat/messages?contextType=task&contextId={context_id}"),
            )
            .await;
        page.ok()["chatId"].as_i64().unwrap()
    }

    /// Sends a message and waits for its reply (CHAT-3).
    pub async fn send(&self, user: i64, chat: i64, content: &str) -> Answer {
        self.post(
            user,
            &format!("/api/xcx/chat/{chat}/messages"),
            &json!({ "content": content }),
        )
        .await
    }

    /// Sends a message whose reply is streamed (CHAT-4).
    pub async fn stream(&self, user: i64, chat: i64, content: &str) -> EventStream {
        self.stream_body(user, &json!({ "chatId": chat, "content": content }))
            .await
    }

    /// Like [`Self::stream`], but the simulator pauses after `pieces` pieces of text. Returns the
    /// stream and the events read so far.
    pub async fn stream_held(
        &self,
        user: i64,
        chat: i64,
        content: &str,
        pieces: usize,
    ) -> (EventStream, Vec<SseEvent>) {
        self.simulator.hold_after(pieces);
        let mut stream = self.stream(user, chat, content).await;
        let mut events = vec![stream.expect("start").await];
        for _ in 0..pieces {
            events.push(stream.expect("message").await);
        }
        (stream, events)
    }

    pub async fn stream_body(&self, user: i64, body: &Value) -> EventStream {
        let response = self
            .request_as(user, "POST", "/api/xcx/chat/stream")
            .json(body)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        EventStream::new(response)
    }

    /// Sends a message and reads its whole stream.
    pub async fn stream_to_end(&self, user: i64, chat: i64, content: &str) -> Vec<SseEvent> {
        self.stream(user, chat, content).await.rest().await
    }

    /// All messages of a conversation, oldest first (CHAT-2a).
    pub async fn messages(&self, user: i64, chat: i64) -> Vec<Value> {
        let page = self
            .get(
                user,
                &format!("/api/xcx/chat/{chat}/messages?page_size=100"),
            )
            .await;
        page.ok()["items"].as_array().unwrap().clone()
    }

    /// Leaves a dead reply: begins it, stores `stored` as its text and expires its lease. Returns
    /// the reply's id.
    pub async fn begin_and_die(&self, user: i64, chat: i64, content: &str, stored: &str) -> Value {
        let id: i64 = sqlx::query_scalar(
            "select message_id from begin_reply((select site_id from biz.users where id = $1), $1, $2,
                 row($3, $3, null), 'app1_chat', row(0.6, 30000, 0, 2000), 10000, 10000, 30, row(3000, 50, 20))",
        )
        .bind(user)
        .bind(chat)
        .bind(content)
        .fetch_one(&self.db)
        .await
        .unwrap();
        sqlx::query(
            "with dead as (
                 update biz.ai_messages set lease_until = now() - interval '1 second' where id = $1 returning id, site_id)
             insert into biz.ai_reply_segments (message_id, site_id, from_char, text)
             select id, site_id, 0, $2 from dead where $2 <> ''",
        )
        .bind(id)
        .bind(stored)
        .execute(&self.db)
        .await
        .unwrap();
        id.into()
    }

    /// The newest run as JSON.
    pub async fn last_run(&self) -> Value {
        sqlx::query_scalar(
            "select to_jsonb(r) from biz.ai_run_logs r order by created_at desc, id desc limit 1",
        )
        .fetch_one(&self.db)
        .await
        .unwrap()
    }

    /// Today's counters of a site's app.
    pub async fn usage(&self, site: i64) -> Value {
        sqlx::query_scalar("select to_jsonb(u) from biz.ai_usage_daily u where site_id = $1")
            .bind(site)
            .fetch_one(&self.db)
            .await
            .unwrap()
    }

    /// Recomputes `ai_usage_days` after a test has changed `ai_usage_daily` directly.
    pub async fn sum_up_usage_days(&self) {
        sqlx::query(
            "insert into biz.ai_usage_days (site_id, day, tokens)
             select site_id, day, sum(tokens + reserved_tokens) from biz.ai_usage_daily group by site_id, day
             on conflict on constraint ai_usage_days_pkey do update set tokens = excluded.tokens",
        )
        .execute(&self.db)
        .await
        .unwrap();
    }

    /// Waits until no reply is being made, because a reply may outlive its request.
    pub async fn settled(&self) {
        super::until("replies end", async || {
            let running: i64 = sqlx::query_scalar(
                "select (select count(*) from biz.ai_messages where state = 'streaming')
                      + (select count(*) from biz.ai_run_logs where status = 'running')",
            )
            .fetch_one(&self.db)
            .await
            .unwrap();
            (running == 0).then_some(())
        })
        .await;
    }
}

impl Answer {
    /// The body of a 201 response.
    #[track_caller]
    pub fn created(&self) -> &Value {
        assert_eq!(self.status, 201, "{}", self.body);
        &self.body
    }

    /// The body of a 200 response.
    #[track_caller]
    pub fn ok(&self) -> &Value {
        assert_eq!(self.status, 200, "{}", self.body);
        &self.body
    }

    /// Checks an error response of the mini-program API: its status, its code and the common
    /// fields.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> &Value {
        assert_eq!(
            (self.status.as_u16(), self.body["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.body
        );
        faces::check("/api/xcx", &self.headers, &self.body);
        &self.body
    }

    /// Like [`Self::refused`], for the API that `path` belongs to.
    #[track_caller]
    pub fn refused_at(&self, path: &str, status: u16, code: &str) -> &Value {
        assert_eq!(
            (self.status.as_u16(), self.body["code"].as_str()),
            (status, Some(code)),
            "{path}: {}",
            self.body
        );
        faces::check(path, &self.headers, &self.body);
        &self.body
    }
}

/// An HTTP client. `reqwest::Client::new` would read the root certificates of the system.
pub fn client() -> reqwest::Client {
    http_client::client().unwrap().build().unwrap()
}

/// Serves `app` until the test ends. Returns its URL.
pub async fn serve(app: Router) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    // Without `TCP_NODELAY`, the second event of a stream waits about 40 ms for an acknowledgement.
    let listener = listener.tap_io(|connection| {
        connection.set_nodelay(true).ok();
    });
    #[expect(clippy::disallowed_methods, reason = "the server of a test")]
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// Sends a request and reads the response. A body that is not JSON becomes a string.
pub async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer {
        status,
        headers,
        body,
    }
}

/// Calls a router directly, without a socket.
pub async fn answer_of(app: Router, request: Request<Body>) -> Answer {
    let response = app.oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer {
        status,
        headers,
        body,
    }
}

/// A token of a demo user.
pub fn token(user: i64) -> String {
    token_of(&demo::user(user).unwrap())
}

/// A token of any user.
pub fn token_of(user: &User) -> String {
    demo::token(&SECRET.into(), user).unwrap()
}
