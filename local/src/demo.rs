//! Demo data: two sites with staff, bots and business data.

mod bulk;

use std::time::Duration;

use common::{
    governance::{
        apps::App,
        auth::{self, Role, User},
    },
    insights::apps::{Definition, Validity},
    platform::db::Db,
};
use secrecy::SecretString;
use uuid::{Uuid, uuid};

pub use bulk::fill;

/// Validity of a printed token.
const TOKEN_VALID_FOR: Duration = Duration::from_secs(12 * 3600);

/// The demo users: id, site, nickname, role and status.
const USERS: [(i64, Option<i64>, &str, Role, &str); 10] = [
    (1001, Some(1), "阿杰", Role::Coach, "approved"),
    (1002, Some(1), "小雅", Role::Staff, "approved"),
    (1003, Some(1), "王店长", Role::Manager, "approved"),
    (1004, Some(1), "陈管理", Role::SiteAdmin, "approved"),
    (1005, Some(1), "新来的教练", Role::Coach, "pending"),
    (1006, Some(1), "离职员工", Role::Staff, "disabled"),
    (1007, Some(1), "周督导", Role::Viewer, "approved"),
    (2001, Some(2), "阿豪", Role::Coach, "approved"),
    (2004, Some(2), "李管理", Role::SiteAdmin, "approved"),
    (9001, None, "平台管理员", Role::Admin, "approved"),
];

/// Id, name, and whether deleted: the agent of most demo bots, and a deleted agent.
const AGENTS: [(Uuid, &str, bool); 2] = [
    (AGENT, "对话", false),
    (
        uuid!("00000000-0000-4000-8000-00000000a002"),
        "旧对话",
        true,
    ),
];
const AGENT: Uuid = uuid!("00000000-0000-4000-8000-00000000a001");
/// The DashScope app id of the agents, which the simulator knows.
const AGENT_APP_ID: &str = "app1_chat";

/// A demo bot.
struct Bot {
    id: Uuid,
    /// `None`: available on all sites.
    site_id: Option<i64>,
    name: &'static str,
    display_name: Option<&'static str>,
    is_active: bool,
    /// The only user with access. `None`: all users have access.
    granted_to: Option<i64>,
    agent_id: Option<Uuid>,
}

/// The demo bots, one for each case of access: public, granted, disabled, without an agent, of one
/// site, with a deleted agent.
const BOTS: [Bot; 6] = [
    Bot {
        id: uuid!("00000000-0000-4000-8000-000000000001"),
        site_id: None,
        name: "xiaotai",
        display_name: Some("小台"),
        is_active: true,
        granted_to: None,
        agent_id: Some(AGENT),
    },
    Bot {
        id: uuid!("00000000-0000-4000-8000-000000000002"),
        site_id: Some(1),
        name: "manager-assistant",
        display_name: Some("店长助手"),
        is_active: true,
        granted_to: Some(1003),
        agent_id: Some(AGENT),
    },
    Bot {
        id: uuid!("00000000-0000-4000-8000-000000000003"),
        site_id: None,
        name: "retired",
        display_name: Some("停用的助手"),
        is_active: false,
        granted_to: None,
        agent_id: Some(AGENT),
    },
    Bot {
        id: uuid!("00000000-0000-4000-8000-000000000004"),
        site_id: None,
        name: "unfinished",
        display_name: None,
        is_active: true,
        granted_to: None,
        agent_id: None,
    },
    Bot {
        id: uuid!("00000000-0000-4000-8000-000000000005"),
        site_id: Some(2),
        name: "night-club",
        display_name: Some("夜场助手"),
        is_active: true,
        granted_to: None,
        agent_id: Some(AGENT),
    },
    Bot {
        id: uuid!("00000000-0000-4000-8000-000000000006"),
        site_id: None,
        name: "orphan",
        display_name: Some("旧助手"),
        is_active: true,
        granted_to: None,
        agent_id: Some(AGENTS[1].0),
    },
];

/// A demo user by id.
pub fn user(id: i64) -> Option<User> {
    let &(id, site_id, nickname, role, status) = USERS.iter().find(|user| user.0 == id)?;
    Some(User {
        id,
        site_id,
        nickname: nickname.to_owned(),
        role,
        approved: status == "approved",
    })
}

/// All demo users.
pub fn users() -> impl Iterator<Item = User> {
    USERS.iter().filter_map(|&(id, ..)| user(id))
}

/// A token for a user, valid 12 hours.
pub fn token(secret: &SecretString, user: &User) -> Option<String> {
    auth::sign(secret, user, TOKEN_VALID_FOR)
}

/// Inserts the demo sites, users, agents and bots. Existing rows are not changed.
///
/// # Errors
/// If a statement fails.
pub async fn load(db: &Db) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "insert into biz.sites (id, name) values (1, '星空台球·旗舰店'), (2, '夜场俱乐部') on conflict do nothing",
    )
    .execute(db)
    .await?;
    for (id, site_id, nickname, role, status) in USERS {
        sqlx::query(
            "insert into biz.users (id, site_id, nickname, role, status) values ($1, $2, $3, $4, $5) on conflict do nothing",
        )
        .bind(id)
        .bind(site_id)
        .bind(nickname)
        .bind(role.name())
        .bind(status)
        .execute(db)
        .await?;
    }
    load_bots(db).await
}

async fn load_bots(db: &Db) -> Result<(), sqlx::Error> {
    for (id, name, is_deleted) in AGENTS {
        sqlx::query(
            "insert into biz.agents (id, name, app_id, deleted_at) values ($1, $2, $3, case when $4 then now() end) on conflict do nothing",
        )
        .bind(id)
        .bind(name)
        .bind(AGENT_APP_ID)
        .bind(is_deleted)
        .execute(db)
        .await?;
    }
    for bot in BOTS {
        sqlx::query(
            "insert into biz.bots (id, site_id, name, display_name, status, access, agent_id) values ($1, $2, $3, $4, $5, $6, $7) \
             on conflict do nothing",
        )
        .bind(bot.id)
        .bind(bot.site_id)
        .bind(bot.name)
        .bind(bot.display_name)
        .bind(if bot.is_active { "active" } else { "disabled" })
        .bind(if bot.granted_to.is_some() { "granted" } else { "public" })
        .bind(bot.agent_id)
        .execute(db)
        .await?;
        if let Some(user_id) = bot.granted_to {
            sqlx::query("insert into biz.bot_grants (bot_id, user_id) values ($1, $2) on conflict do nothing")
                .bind(bot.id)
                .bind(user_id)
                .execute(db)
                .await?;
        }
    }
    Ok(())
}

/// Adds the business data of the two sites since the last call, at most 90 days.
///
/// # Errors
/// If a statement fails.
pub async fn load_business(db: &Db) -> Result<(), sqlx::Error> {
    // Statements that are sent together run in one transaction.
    sqlx::raw_sql(concat!(
        include_str!("demo/random.sql"),
        include_str!("demo/business.sql"),
    ))
    .execute(db)
    .await?;
    Ok(())
}

/// Adds chats, jobs, results and runs of the last 30 days. Does not change a database that has a
/// chat, a job or a run.
///
/// # Errors
/// If a statement fails.
pub async fn load_history(db: &Db) -> common::platform::error::Result<()> {
    let mut tx = db.transaction().await?;
    let is_used: bool = sqlx::query_scalar(
        "select exists (select from biz.ai_conversations) or exists (select from biz.ai_trigger_jobs)
             or exists (select from biz.ai_run_logs)",
    )
    .fetch_one(&mut *tx)
    .await?;
    if is_used {
        return Ok(());
    }
    // The pool may limit the time of a statement, and a slow computer may need longer.
    sqlx::raw_sql("set local statement_timeout = 0")
        .execute(&mut *tx)
        .await?;
    sqlx::raw_sql(include_str!("demo/bulk.sql"))
        .execute(&mut *tx)
        .await?;
    sqlx::raw_sql(
        "create temp table app (name text, prompt_version text, valid_days integer, example text) on commit drop",
    )
    .execute(&mut *tx)
    .await?;
    for app in App::ALL {
        let definition = app.definition();
        sqlx::query("insert into app values ($1, $2, $3, $4)")
            .bind(app.name())
            .bind(app.prompt_version())
            .bind(
                definition.map_or(0, |definition| match definition.validity {
                    Validity::Day => 0,
                    Validity::Days(days) => days,
                }),
            )
            .bind(definition.map(Definition::example))
            .execute(&mut *tx)
            .await?;
    }
    sqlx::raw_sql(concat!(
        include_str!("demo/random.sql"),
        include_str!("demo/history.sql"),
    ))
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}
