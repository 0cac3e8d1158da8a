//! Generates conversations and runs for measurements, and updates all counters. Rows are inserted
//! with `COPY`: ten million of each take minutes.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
};

use chrono::{DateTime, Duration, FixedOffset, NaiveDate, Utc};
use common::{
    governance::{apps::App, usage::BOUNDS},
    platform::{clock, functions},
};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{
    ConnectOptions as _, Executor as _, PgConnection,
    postgres::{PgConnectOptions, PgCopyIn},
};

/// Site and user of the generated conversations.
const USERS: [(i64, i64); 6] = [
    (1, 1001),
    (1, 1002),
    (1, 1003),
    (1, 1004),
    (2, 2001),
    (2, 2004),
];
/// Messages per conversation.
const MESSAGES_EACH: i64 = 20;
/// Runs are spread over so many days, including today.
const DAYS: i64 = 90;
/// Bytes per `COPY` message.
const CHUNK: usize = 1 << 20;

/// The bot of half of the sessions, and the model of most runs.
const BOT: &str = "00000000-0000-4000-8000-000000000001";
const MODEL: &str = "qwen-plus";

const QUESTION: &str = "今天店里生意怎么样？";
const ANSWER: &str = "比上周同期高一成，主要来自晚间的包厢。";

/// Adds conversations, and runs of the last 90 days with their usage. Raises the budgets of the two
/// sites above that usage, so that new requests are not refused.
///
/// # Errors
/// If a statement fails.
pub async fn fill(url: &SecretString, messages: i64, runs: i64) -> Result<(), sqlx::Error> {
    let options: PgConnectOptions = url.expose_secret().parse()?;
    let options = options.options([("search_path", functions::SEARCH_PATH)]);
    let mut session = options.connect().await?;
    session.execute("set statement_timeout = 0").await?;
    let now = clock::now();
    if messages > 0 {
        converse(&mut session, now, messages).await?;
    }
    if runs > 0 {
        let mut counted = BTreeMap::new();
        log(&mut session, now, runs, &mut counted).await?;
        count(&mut session, &counted).await?;
    }
    session
        .execute("vacuum analyze biz.ai_conversations")
        .await?;
    session.execute("vacuum analyze biz.ai_messages").await?;
    session.execute("vacuum analyze biz.ai_run_logs").await?;
    session.execute("vacuum analyze biz.ai_usage_daily").await?;
    session.execute("vacuum analyze biz.ai_usage_days").await?;
    Ok(())
}

/// A buffer of rows in the text format of `COPY`.
struct Rows<'a> {
    copy: PgCopyIn<&'a mut PgConnection>,
    text: String,
}

impl<'a> Rows<'a> {
    async fn into(session: &'a mut PgConnection, table: &'static str) -> Result<Self, sqlx::Error> {
        Ok(Self {
            copy: session.copy_in_raw(table).await?,
            text: String::with_capacity(CHUNK + 4096),
        })
    }

    /// Values must not contain a tab or a line feed. A backslash is only allowed in [`NULL`].
    async fn push(&mut self, values: &[&(dyn Display + Sync)]) -> Result<(), sqlx::Error> {
        for (place, value) in values.iter().enumerate() {
            let end = if place + 1 == values.len() {
                '\n'
            } else {
                '\t'
            };
            write!(self.text, "{value}{end}").ok();
        }
        if self.text.len() >= CHUNK {
            self.copy.send(self.text.as_bytes()).await?;
            self.text.clear();
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), sqlx::Error> {
        self.copy.send(self.text.as_bytes()).await?;
        self.copy.finish().await.map(drop)
    }
}

/// A null in the text format of `COPY`.
const NULL: &str = "\\N";

/// Reserves `ids` consecutive ids of the table's sequence and returns the first.
async fn reserve(session: &mut PgConnection, table: &str, ids: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "select setval(s, nextval(s) + $2 - 1) - $2 + 1 from (select pg_get_serial_sequence($1, 'id')::regclass) t (s)",
    )
    .bind(table)
    .bind(ids)
    .fetch_one(session)
    .await
}

async fn converse(
    session: &mut PgConnection,
    now: DateTime<Utc>,
    messages: i64,
) -> Result<(), sqlx::Error> {
    let conversations = (messages / MESSAGES_EACH).max(1);
    let first = reserve(session, "biz.ai_conversations", conversations).await?;
    let first_message = reserve(session, "biz.ai_messages", conversations * MESSAGES_EACH).await?;
    let conversation = |n: i64| {
        let (site, user) = USERS[usize::try_from(n).unwrap_or_default() % USERS.len()];
        // The last conversation was one minute ago.
        (site, user, now - Duration::minutes(conversations - n))
    };
    let mut rows = Rows::into(
        session,
        "copy biz.ai_conversations (id, site_id, user_id, context_type, context_id, title, message_count, last_message_id,
                                    last_message_role, last_message_preview, last_message_at, last_active_at, created_at) from stdin",
    )
    .await?;
    for n in 0..conversations {
        let (site, user, at) = conversation(n);
        let at = at.to_rfc3339();
        rows.push(&[
            &(first + n),
            &site,
            &user,
            &"customer",
            &(10_001 + n % 400),
            &QUESTION,
            &MESSAGES_EACH,
            &(first_message + (n + 1) * MESSAGES_EACH - 1),
            &"assistant",
            &ANSWER,
            &at,
            &at,
            &at,
        ])
        .await?;
    }
    rows.finish().await?;
    let mut rows = Rows::into(
        session,
        "copy biz.ai_messages (id, conversation_id, site_id, user_id, seq, role, content, created_at, finished_at) from stdin",
    )
    .await?;
    for n in 0..conversations {
        let (site, user, at) = conversation(n);
        let at = at.to_rfc3339();
        for seq in 1..=MESSAGES_EACH {
            let (role, content) = if seq % 2 == 1 {
                ("user", QUESTION)
            } else {
                ("assistant", ANSWER)
            };
            let id = first_message + n * MESSAGES_EACH + seq - 1;
            rows.push(&[
                &id,
                &(first + n),
                &site,
                &user,
                &seq,
                &role,
                &content,
                &at,
                &at,
            ])
            .await?;
        }
    }
    rows.finish().await?;
    for (place, (site, user)) in (0..).zip(USERS) {
        let users = i64::try_from(USERS.len()).unwrap_or(1);
        sqlx::query("update biz.users set listed_conversations = listed_conversations + $3 where site_id = $1 and id = $2")
            .bind(site)
            .bind(user)
            .bind((conversations - place + users - 1) / users)
            .execute(&mut *session)
            .await?;
    }
    Ok(())
}

/// A generated run.
struct Run {
    app: App,
    trigger: &'static str,
    status: &'static str,
    tokens: i64,
    latency_ms: i64,
}

impl Run {
    /// Half of the runs are chats. About 3 % fail or are stopped.
    fn random(chance: &mut fastrand::Rng) -> Self {
        let app = match chance.u8(0..100) {
            0..50 => App::Chat,
            50..70 => App::Finance,
            70..75 => App::FinanceArea,
            75..80 => App::Clue,
            80..85 => App::Analysis,
            85..90 => App::Tactics,
            90..93 => App::NoteAnalysis,
            93..97 => App::CustomerAnalysis,
            97.. => App::ClueConsolidated,
        };
        let triggers = match app {
            App::Chat => ["chat", "chat", "chat", "session"],
            App::Finance | App::FinanceArea => ["prewarm"; 4],
            _ => ["event", "event", "batch", "manual"],
        };
        let trigger = triggers[chance.usize(0..4)];
        let status = match chance.u16(0..1000) {
            0..15 => "failed",
            15..20 => "timeout",
            20..23 => "circuit_open",
            23..25 => "budget_exceeded",
            25..30 => "stopped",
            _ => "success",
        };
        let was_sent = !matches!(status, "circuit_open" | "budget_exceeded");
        Self {
            app,
            trigger,
            status,
            tokens: if was_sent { chance.i64(50..1_500) } else { 0 },
            // Most are fast, a few are slow.
            latency_ms: if was_sent {
                200 + chance.i64(0..60) * chance.i64(0..60)
            } else {
                0
            },
        }
    }

    fn is_success(&self) -> bool {
        matches!(self.status, "success" | "stopped")
    }

    /// True if a request was sent to DashScope.
    fn was_sent(&self) -> bool {
        self.latency_ms > 0
    }

    /// Only chats have it.
    fn first_token_ms(&self) -> Option<i64> {
        (self.app == App::Chat && self.is_success()).then_some(self.latency_ms / 3)
    }

    fn is_alert(&self) -> bool {
        matches!(self.status, "failed" | "timeout" | "circuit_open")
    }

    fn error_code(&self) -> &'static str {
        match self.status {
            "failed" => "upstream_error",
            "timeout" => "upstream_timeout",
            "circuit_open" => "circuit_open",
            "budget_exceeded" => "budget_exceeded",
            _ => NULL,
        }
    }
}

/// Adds a call to its bucket.
fn add_to(buckets: &mut Vec<i64>, ms: i64) {
    let place = BOUNDS.partition_point(|bound| *bound <= ms);
    buckets.resize(buckets.len().max(place + 1), 0);
    buckets[place] += 1;
}

/// Counters of one site, day and app.
#[derive(Default)]
struct Counters {
    calls: i64,
    successes: i64,
    tokens: i64,
    latency_sum_ms: i64,
    latency_max_ms: i64,
    /// The column `latency_buckets`.
    latency: Vec<i64>,
    first_token_max_ms: i64,
    /// The column `first_token_buckets`.
    first_token: Vec<i64>,
    last: (&'static str, DateTime<Utc>),
}

impl Counters {
    fn add(&mut self, run: &Run, at: DateTime<Utc>) {
        self.last = (run.status, at);
        if !run.was_sent() {
            return;
        }
        self.calls += 1;
        self.successes += i64::from(run.is_success());
        self.tokens += run.tokens;
        self.latency_sum_ms += run.latency_ms;
        self.latency_max_ms = self.latency_max_ms.max(run.latency_ms);
        add_to(&mut self.latency, run.latency_ms);
        if let Some(first_token_ms) = run.first_token_ms() {
            self.first_token_max_ms = self.first_token_max_ms.max(first_token_ms);
            add_to(&mut self.first_token, first_token_ms);
        }
    }
}

type Usage = BTreeMap<(i64, NaiveDate, App), Counters>;

async fn log(
    session: &mut PgConnection,
    now: DateTime<Utc>,
    runs: i64,
    counted: &mut Usage,
) -> Result<(), sqlx::Error> {
    session.execute(include_str!("bulk.sql")).await?;
    let mut rows = Rows::into(
        session,
        "copy biz.ai_run_logs (site_id, user_id, app_type, trigger_type, member_id, status, alert_status, prompt_version, request_prompt,
                               response_text, tokens_in, tokens_out, tokens_used, local_day, first_token_ms, latency_ms, attempts,
                               error_code, error_message, refusals, bot_id, model_id, created_at, finished_at) from stdin",
    )
    .await?;
    // A fixed seed: the same runs on every machine.
    let mut chance = fastrand::Rng::with_seed(runs.unsigned_abs());
    let shanghai =
        FixedOffset::east_opt(8 * 3600).unwrap_or_else(|| FixedOffset::east_opt(0).expect("UTC"));
    let span = Duration::days(DAYS) - Duration::hours(24);
    for n in 0..runs {
        let run = Run::random(&mut chance);
        let (site, user) = if chance.u8(0..10) < 7 {
            (1, 1001)
        } else {
            (2, 2001)
        };
        let back = i128::from(span.num_milliseconds()) * i128::from(runs - n) / i128::from(runs);
        let at = now - Duration::milliseconds(i64::try_from(back).unwrap_or_default());
        let day = at.with_timezone(&shanghai).date_naive();
        counted
            .entry((site, day, run.app))
            .or_default()
            .add(&run, at);
        let is_chat = run.app == App::Chat;
        let member = 10_001 + n % 400;
        let alert = match (run.is_alert(), n % 3) {
            (false, _) => NULL,
            (_, 0) => "pending",
            (_, 1) => "acknowledged",
            (_, _) => "ignored",
        };
        let (user, member): (&(dyn Display + Sync), &(dyn Display + Sync)) = if is_chat {
            (&user, &NULL)
        } else {
            (&NULL, &member)
        };
        let latency = run.latency_ms;
        let first_token = run.first_token_ms();
        let (spoken, tokens_in, ended) = (
            run.is_success(),
            run.tokens / 3,
            at + Duration::milliseconds(latency),
        );
        rows.push(&[
            &site,
            user,
            &run.app.name(),
            &run.trigger,
            member,
            &run.status,
            &alert,
            &run.app.prompt_version(),
            &QUESTION,
            if spoken { &ANSWER } else { &NULL },
            &tokens_in,
            &(run.tokens - tokens_in),
            &run.tokens,
            &day,
            first_token
                .as_ref()
                .map_or(&NULL as &(dyn Display + Sync), |ms| ms),
            &latency,
            &i32::from(run.was_sent()),
            &run.error_code(),
            if run.is_success() { &NULL } else { &"made up" },
            if run.was_sent() { &NULL } else { &1 },
            if run.trigger == "session" && n % 2 == 0 {
                &BOT
            } else {
                &NULL
            },
            match n % 10 {
                _ if !run.is_success() => &NULL,
                0 => &"qwen-max",
                _ => &MODEL,
            },
            &at.to_rfc3339(),
            &ended.to_rfc3339(),
        ])
        .await?;
    }
    rows.finish().await
}

/// Adds the runs to the usage tables and raises the budgets.
async fn count(session: &mut PgConnection, counted: &Usage) -> Result<(), sqlx::Error> {
    for ((site, day, app), counters) in counted {
        sqlx::query(
            "insert into biz.ai_usage_daily as u (site_id, day, app_type, calls, unpriced_calls, successes, failures, tokens, latency_sum_ms,
                                                  latency_max_ms, latency_buckets, first_token_max_ms, first_token_buckets,
                                                  last_status, last_call_at)
             values ($1, $2, $3, $4, $4, $5, $4 - $5, $6, $7, $8, $9, $10, $11, $12, $13)
             on conflict on constraint ai_usage_daily_pkey do update set
                 calls = u.calls + excluded.calls, unpriced_calls = u.unpriced_calls + excluded.unpriced_calls, successes = u.successes + excluded.successes,
                 failures = u.failures + excluded.failures, tokens = u.tokens + excluded.tokens,
                 latency_sum_ms = u.latency_sum_ms + excluded.latency_sum_ms,
                 latency_max_ms = greatest(u.latency_max_ms, excluded.latency_max_ms),
                 latency_buckets = add_up(u.latency_buckets, excluded.latency_buckets),
                 first_token_max_ms = greatest(u.first_token_max_ms, excluded.first_token_max_ms),
                 first_token_buckets = add_up(u.first_token_buckets, excluded.first_token_buckets),
                 last_status = excluded.last_status, last_call_at = excluded.last_call_at",
        )
        .bind(site)
        .bind(day)
        .bind(app.name())
        .bind(counters.calls)
        .bind(counters.successes)
        .bind(counters.tokens)
        .bind(counters.latency_sum_ms)
        .bind(counters.latency_max_ms)
        .bind(&counters.latency)
        .bind(counters.first_token_max_ms)
        .bind(&counters.first_token)
        .bind(counters.last.0)
        .bind(counters.last.1)
        .execute(&mut *session)
        .await?;
    }
    session
        .execute(
            "insert into biz.ai_usage_days (site_id, day, tokens)
             select site_id, day, sum(tokens + reserved_tokens) from biz.ai_usage_daily group by site_id, day
             on conflict on constraint ai_usage_days_pkey do update set tokens = excluded.tokens",
        )
        .await?;
    session
        .execute(
            "insert into biz.ai_budgets (site_id, daily_limit, monthly_limit)
             select u.site_id, max(u.tokens) * 20, sum(u.tokens) * 20 from biz.ai_usage_daily u group by u.site_id
             on conflict on constraint ai_budgets_site_id_key do update set
                 daily_limit = greatest(biz.ai_budgets.daily_limit, excluded.daily_limit),
                 monthly_limit = greatest(biz.ai_budgets.monthly_limit, excluded.monthly_limit)",
        )
        .await?;
    Ok(())
}
