//! Lists of conversations, sessions and messages, with few and with many rows.

use std::time::{Duration, Instant};

use common::{
    chat::{
        conversations,
        messages::{self, Order},
        sessions::{self, SessionQuery},
    },
    governance::auth::{Caller, Role as UserRole},
    platform::{
        db::Db,
        paging::{GroupedKey, MAX_PAGE_SIZE, PageStart, Paging, TimeKey, write_cursor},
    },
};
use local::postgres::Binaries;
use sqlx::Executor as _;

use crate::{
    Result,
    bench_database::{self, BenchDatabase},
    child::Child,
    machine::LowStealSampler,
    progress,
    report::{Figure, Section},
    stats::Samples,
};

const REQUESTS: usize = 2_000;
const WARM_UP: usize = 200;
/// The user whose lists are read.
const USER: i64 = 200_001;
/// The deepest page.
const DEEP: i64 = 10_000;
// Page sizes: the defaults of the first two lists, and the maximum for sessions.
const HISTORY_PAGE: i64 = 20;
const MESSAGES_PAGE: i64 = 50;
const SESSIONS_PAGE: i64 = MAX_PAGE_SIZE;
/// Most sessions of the user. More are not realistic, because sessions are created by hand.
const MAX_SESSIONS: i64 = 2_000;

pub async fn measure(postgres: &Binaries, most: i64, seconds: u64) -> Result<Section> {
    let bench = BenchDatabase::new(postgres, false)?;
    let mut figures = Vec::new();
    let mut notes = Vec::new();
    let mut sampler = LowStealSampler::default();
    for (name, most) in [("few", 10_000), ("many", most)] {
        let (url, db) = bench.create(name).await?;
        progress(format!("lists, loading up to {most} messages"));
        let data = Data::load(&db, most, Duration::from_secs(seconds)).await?;
        progress(format!("lists, {} messages", data.messages));
        let upstream = "http://127.0.0.1:1/api/v1".to_owned();
        let parlor = Child::parlor(&url, &upstream)?;
        for page in data.pages(&db).await? {
            let (served, floor) = sampler
                .run(async || page.measure(&parlor, &db).await)
                .await?;
            let what = format!("{}, {} messages", page.what, thousands(data.messages));
            let median = Figure::new(format!("{what}, p50"), served.median(), "ms");
            figures.push(page.list.with_target(median).floor(floor.median()));
            figures.push(
                Figure::new(format!("{what}, p99"), served.at(0.99), "ms")
                    .target(5.0)
                    .floor(floor.at(0.99)),
            );
        }
        let size: String =
            sqlx::query_scalar("select pg_size_pretty(pg_total_relation_size('biz.ai_messages'))")
                .fetch_one(&db)
                .await?;
        notes.push(format!(
            "{} messages in {} conversations. The user has {} conversations, of which {} are with \
             bots, and another one with {} messages. The messages have {size} with indexes.",
            thousands(data.messages),
            thousands(data.conversations),
            thousands(data.own_conversations),
            thousands(data.sessions),
            thousands(data.long_conversation),
        ));
    }
    notes.push(sampler.note());
    Ok(Section {
        title: "Lists",
        conditions: format!(
            "`GET /api/xcx/chat/history` (CHAT-1), `GET /api/xcx/chat/{{chatId}}/messages` (CHAT-2a) \
             and `GET /api/chat/sessions?limit={SESSIONS_PAGE}` over HTTP. Each page gets {REQUESTS} \
             requests over a kept connection, one at a time, after {WARM_UP} for warm-up. The deep \
             page uses a cursor: page {DEEP}, or the second last if there are fewer. The floor is the \
             SQL statement of the list, interleaved with the requests."
        ),
        figures,
        notes,
    })
}

/// The loaded data.
struct Data {
    messages: i64,
    conversations: i64,
    own_conversations: i64,
    sessions: i64,
    long_conversation: i64,
    long_id: i64,
}

/// A page that is measured.
struct Page {
    what: String,
    path: String,
    list: List,
}

enum List {
    History(Paging<GroupedKey>),
    Messages(i64, Paging<i64>),
    Sessions(SessionQuery),
}

impl List {
    /// Runs the statement of the list and returns the number of items.
    async fn read(&self, db: &Db, caller: &Caller) -> Result<usize> {
        Ok(match self {
            Self::History(paging) => conversations::list(db, caller, paging).await?.items.len(),
            Self::Messages(id, paging) => {
                let page = messages::list(db, caller, *id, Order::Ascending, paging).await?;
                page.items.len()
            }
            Self::Sessions(query) => sessions::list(db, caller, query).await?.items.len(),
        })
    }

    /// The field of the response that has the items.
    fn member(&self) -> &'static str {
        match self {
            Self::History(_) | Self::Messages(..) => "items",
            Self::Sessions(_) => "sessions",
        }
    }

    fn size(&self) -> i64 {
        match self {
            Self::History(paging) => paging.size,
            Self::Messages(_, paging) => paging.size,
            Self::Sessions(query) => query.limit,
        }
    }

    /// Sets the target of the median. A page of the maximum size has none.
    fn with_target(&self, figure: Figure) -> Figure {
        match self {
            Self::History(_) | Self::Messages(..) => figure.target(1.0),
            Self::Sessions(_) => figure,
        }
    }
}

impl Data {
    /// Loads at most `most` messages. A tenth are in conversations of one user with two messages
    /// each; at most half of these conversations are with bots. Another tenth are in one long
    /// conversation of this user. The rest are in conversations of other users, 50 messages each.
    async fn load(db: &Db, most: i64, patience: Duration) -> Result<Self> {
        let own_conversations = (most / 20).min(200_000);
        let between_sessions = (own_conversations / MAX_SESSIONS).max(2);
        let sessions = own_conversations / between_sessions;
        let long_conversation = (most / 10).min(600_000);
        // One connection, without checks of foreign keys and without a statement timeout.
        let mut session = db.acquire().await?.detach();
        session
            .execute("set session_replication_role = replica")
            .await?;
        session.execute("set statement_timeout = 0").await?;
        sqlx::query(
            "insert into biz.users (id, site_id, nickname, role, status, listed_conversations, listed_sessions)
             select n, $2, 'coach ' || n, 'coach', 'approved', case n when $1 then $3 + 1 else 0 end, case n when $1 then $4 else 0 end
             from generate_series($1, $1 + 1000) n",
        )
        .bind(USER)
        .bind(bench_database::SITE)
        .bind(own_conversations)
        .bind(sessions)
        .execute(&mut session)
        .await?;
        let (_, long_id) = converse(&mut session, USER, 1, 1, long_conversation, None).await?;
        let every = Some(between_sessions);
        converse(&mut session, USER, 1, own_conversations, 2, every).await?;
        let mut data = Self {
            messages: long_conversation + own_conversations * 2,
            conversations: own_conversations + 1,
            own_conversations,
            sessions,
            long_conversation,
            long_id,
        };
        let began = Instant::now();
        while data.messages < most && began.elapsed() < patience {
            let batch = ((most - data.messages) / 50).clamp(1, 10_000);
            converse(&mut session, USER + 1, 1000, batch, 50, None).await?;
            data.messages += batch * 50;
            data.conversations += batch;
        }
        session
            .execute("vacuum analyze biz.ai_conversations, biz.ai_messages, biz.users")
            .await?;
        // Writes the loaded data now, so that no checkpoint runs during the measurement.
        session.execute("checkpoint").await?;
        Ok(data)
    }

    async fn pages(&self, db: &Db) -> Result<Vec<Page>> {
        let caller = caller();
        let first = Paging {
            page: 1,
            size: HISTORY_PAGE,
            from: PageStart::Offset(0),
        };
        let mut pages = vec![Page {
            what: "history, page 1".into(),
            path: "/api/xcx/chat/history".into(),
            list: List::History(first),
        }];

        let page = DEEP.min(self.own_conversations / HISTORY_PAGE - 1);
        let key: GroupedKey = sqlx::query_as(
            "select pinned, (extract(epoch from last_active_at) * 1000000)::bigint, id from biz.ai_conversations
             where site_id = $1 and user_id = $2 and message_count > 0
             order by pinned desc, last_active_at desc, id desc offset $3 limit 1",
        )
        .bind(bench_database::SITE)
        .bind(USER)
        .bind((page - 1) * HISTORY_PAGE - 1)
        .fetch_one(db)
        .await?;
        let cursor = write_cursor(&key, &conversations::list_scope(&caller)).ok_or("no cursor")?;
        pages.push(Page {
            what: format!("history, cursor page {page}"),
            path: format!("/api/xcx/chat/history?cursor={cursor}"),
            list: List::History(Paging {
                from: PageStart::Key(key),
                ..first
            }),
        });

        let id = self.long_id;
        let path = format!("/api/xcx/chat/{id}/messages");
        let first = Paging {
            page: 1,
            size: MESSAGES_PAGE,
            from: PageStart::Offset(0),
        };
        let page = DEEP.min(self.long_conversation / MESSAGES_PAGE - 1);
        let key = (page - 1) * MESSAGES_PAGE;
        let scope = messages::list_scope(&caller, id, Order::Ascending);
        let cursor = write_cursor(&key, &scope).ok_or("no cursor")?;
        pages.push(Page {
            what: "messages, page 1".into(),
            path: path.clone(),
            list: List::Messages(id, first),
        });
        pages.push(Page {
            what: format!("messages, cursor page {page}"),
            path: format!("{path}?cursor={cursor}"),
            list: List::Messages(
                id,
                Paging {
                    from: PageStart::Key(key),
                    ..first
                },
            ),
        });
        pages.extend(self.session_pages(db).await?);
        Ok(pages)
    }

    async fn session_pages(&self, db: &Db) -> Result<[Page; 2]> {
        let path = format!("/api/chat/sessions?limit={SESSIONS_PAGE}");
        let first = SessionQuery {
            status: None,
            bot_id: None,
            limit: SESSIONS_PAGE,
            from: PageStart::Offset(0),
        };
        // The second last page, but at least page 2.
        let page = (self.sessions / SESSIONS_PAGE - 1).max(2);
        let key: TimeKey = sqlx::query_as(
            "select (extract(epoch from last_active_at) * 1000000)::bigint, id from biz.ai_conversations
             where site_id = $1 and user_id = $2 and bot_id is not null
             order by last_active_at desc, id desc offset $3 limit 1",
        )
        .bind(bench_database::SITE)
        .bind(USER)
        .bind((page - 1) * SESSIONS_PAGE - 1)
        .fetch_one(db)
        .await?;
        let scope = SessionQuery::scope(&caller(), None, None);
        let cursor = write_cursor(&key, &scope).ok_or("no cursor")?;
        Ok([
            Page {
                what: format!("{SESSIONS_PAGE} sessions, page 1"),
                path: path.clone(),
                list: List::Sessions(first.clone()),
            },
            Page {
                what: format!("{SESSIONS_PAGE} sessions, cursor page {page}"),
                path: format!("{path}&cursor={cursor}"),
                list: List::Sessions(SessionQuery {
                    from: PageStart::Key(key),
                    ..first
                }),
            },
        ])
    }
}

/// Inserts `conversations` with `messages` messages each, one minute apart. They belong to `users`
/// users from `user` on, in rotation. Every `between_sessions`th one is with one of the demo bots,
/// in rotation. Returns the first and the last id.
async fn converse(
    session: &mut sqlx::PgConnection,
    user: i64,
    users: i64,
    conversations: i64,
    messages: i64,
    between_sessions: Option<i64>,
) -> Result<(i64, i64)> {
    let made: (i64, i64) = sqlx::query_as(
        "with bots as (
             select b.id, b.agent_id, row_number() over (order by b.id) - 1 as place, count(*) over () as bots
             from biz.bots b join biz.agents a on a.id = b.agent_id and a.deleted_at is null
             where b.site_id is null or b.site_id = $1
         ), made as (
             insert into biz.ai_conversations
                 (site_id, user_id, context_type, context_id, bot_id, agent_id, title, message_count, last_active_at)
             select $1, $2 + n % $3, case when b.id is null then 'customer' else 'bot' end, n::text, b.id, b.agent_id,
                    '今天店里生意怎么样？', $5, now() - make_interval(mins => n::integer)
             from generate_series(1, $4) n
             left join bots b on n % $6 = 0 and n / $6 % b.bots = b.place
             returning id, user_id, last_active_at
         ), said as (
             insert into biz.ai_messages (conversation_id, site_id, user_id, seq, role, content, created_at, finished_at)
             select c.id, $1, c.user_id, s, case s % 2 when 1 then 'user' else 'assistant' end,
                    case s % 2 when 1 then '今天店里生意怎么样？'
                               else '今天的营业额比上周同期高一成，主要来自晚间的包厢；周末的预订也已经过半，可以提前安排人手。' end,
                    c.last_active_at, c.last_active_at
             from made c cross join generate_series(1, $5) s
         )
         select min(id), max(id) from made",
    )
    .bind(bench_database::SITE)
    .bind(user)
    .bind(users)
    .bind(conversations)
    .bind(messages)
    .bind(between_sessions)
    .fetch_one(&mut *session)
    .await?;
    sqlx::query(
        "update biz.ai_conversations c set
             (last_message_id, last_message_role, last_message_preview, last_message_at) = (
                 select m.id, m.role, left(m.content, 100), m.created_at from biz.ai_messages m
                 where m.conversation_id = c.id order by m.seq desc limit 1)
         where id between $1 and $2",
    )
    .bind(made.0)
    .bind(made.1)
    .execute(session)
    .await?;
    Ok(made)
}

impl Page {
    /// Measures requests over HTTP and the SQL statement, interleaved.
    async fn measure(&self, parlor: &Child, db: &Db) -> Result<(Samples, Samples)> {
        let http = reqwest::Client::new();
        let url = format!("{}{}", parlor.url, self.path);
        let token = bench_database::token(USER)?;
        let caller = caller();
        let (mut served, mut floor) = (Samples::default(), Samples::default());
        for round in 0..WARM_UP + REQUESTS {
            let began = Instant::now();
            let response = http.get(&url).bearer_auth(&token).send().await?;
            let body = response.error_for_status()?.bytes().await?;
            let over_http = began.elapsed();

            let began = Instant::now();
            let items = self.list.read(db, &caller).await;
            let alone = began.elapsed();
            if round == 0 {
                let page: serde_json::Value = serde_json::from_slice(&body)?;
                let shown = page[self.list.member()].as_array().map_or(0, Vec::len);
                if items? != shown || i64::try_from(shown)? != self.list.size() {
                    return Err(format!("{}: unexpected number of items", self.what).into());
                }
            }
            if round >= WARM_UP {
                served.push(over_http);
                floor.push(alone);
            }
        }
        Ok((served, floor))
    }
}

fn caller() -> Caller {
    Caller {
        site_id: bench_database::SITE,
        user_id: USER,
        nickname: "coach".into(),
        role: UserRole::Coach,
    }
}

fn thousands(number: i64) -> String {
    match number {
        1_000_000.. => format!("{}.{} million", number / 1_000_000, number / 100_000 % 10),
        10_000.. => format!("{} thousand", number / 1000),
        _ => number.to_string(),
    }
}
