//! Agents: the DashScope applications of bots. They belong to no site. Platform admins write them.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    governance::{
        apps::check_id,
        audit::{self, Action},
        auth::PlatformAdmin,
    },
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
        paging::{MAX_COUNTED, Page, Paging, Start},
        text,
    },
};

/// The longest name, in characters.
const MAX_NAME: usize = 100;

/// The scope of cursors of the list. A cursor is valid only in its own scope.
pub const LIST_SCOPE: &str = "agents";

/// An agent. Of application ids, only the last 4 characters are shown.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Agent {
    pub id: Uuid,
    pub name: String,
    /// `None`: bots with this agent do not reply.
    pub application_id_hint: Option<String>,
    pub fallback_hint: Option<String>,
}

impl Agent {
    fn audited(&self) -> Value {
        json!({
            "name": self.name,
            "application_id_hint": self.application_id_hint,
            "fallback_hint": self.fallback_hint,
        })
    }
}

/// Checked fields of a request. An id that is `None` stays; `Some(None)` removes it.
#[derive(Clone, Debug)]
#[expect(clippy::option_option, reason = "null and a missing field differ")]
pub struct AgentChange {
    name: String,
    application_id: Option<Option<String>>,
    fallback_application_id: Option<Option<String>>,
}

impl AgentChange {
    /// # Errors
    /// [`Error::Invalid`] for a missing name, or an invalid name or id.
    pub fn parse(
        name: Option<&str>,
        application_id: Option<Option<String>>,
        fallback_application_id: Option<Option<String>>,
    ) -> Result<Self> {
        let name = name.ok_or(Error::invalid("name", Reason::Missing))?;
        check_id("application_id", application_id.as_ref())?;
        check_id("fallback_application_id", fallback_application_id.as_ref())?;
        Ok(Self {
            name: text::checked("name", name.trim(), MAX_NAME)?,
            application_id,
            fallback_application_id,
        })
    }
}

/// Lists agents, newest first.
pub async fn list(db: &Db, paging: &Paging<(i64, Uuid)>) -> Result<Page<Agent>> {
    let start = Start::of(paging.from);
    // The left join returns one row with the total even if the page is empty.
    let rows = sqlx::query!(
        r#"
        select counted.total as "total!", a.id as "id?", a.name as "name?", right(a.app_id, 4) as application_id_hint,
               right(a.fallback_application_id, 4) as fallback_hint, a.created_at as "created_at?"
        from (select count(*) as total from (
                  select from biz.agents a where a.deleted_at is null limit $1::bigint + 1) few) counted
        left join lateral (
            select * from biz.agents a
            where a.deleted_at is null
              and ($2::timestamptz is null or (a.created_at, a.id) < ($2, $3::uuid))
            order by a.created_at desc, a.id desc limit $4 offset $5
        ) a on true
        order by a.created_at desc, a.id desc
        "#,
        MAX_COUNTED,
        start.before,
        start.before_id,
        paging.size + 1,
        start.offset,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let agents = rows.into_iter().filter_map(|row| {
        let agent = Agent {
            id: row.id?,
            name: row.name?,
            application_id_hint: row.application_id_hint,
            fallback_hint: row.fallback_hint,
        };
        Some(((row.created_at?.timestamp_micros(), agent.id), agent))
    });
    Ok(Page::counted(total, agents, paging.size, LIST_SCOPE))
}

/// Creates an agent.
pub async fn create(db: &Db, admin: &PlatformAdmin, new: AgentChange) -> Result<Agent> {
    let mut tx = db.transaction().await?;
    let created = sqlx::query_as!(
        Agent,
        "insert into biz.agents (name, app_id, fallback_application_id) values ($1, $2, $3)
         returning id, name, right(app_id, 4) as application_id_hint, right(fallback_application_id, 4) as fallback_hint",
        new.name,
        new.application_id.flatten(),
        new.fallback_application_id.flatten(),
    )
    .fetch_one(&mut *tx)
    .with_statement_timeout()
    .await?;
    let (object_id, details) = (
        created.id.to_string(),
        json!({ "after": created.audited() }),
    );
    let action = Action::CreateAgent;
    audit::record(
        &mut tx,
        action,
        None,
        admin.user_id,
        Some(&object_id),
        details,
    )
    .await?;
    tx.commit().await?;
    Ok(created)
}

/// Replaces the name of an agent, and the ids that are given. They apply to the next reply.
/// `may_replace` sees the stored agent.
///
/// # Errors
/// [`Error::NotFound`]. [`Error::Outdated`] if `may_replace` returns false.
pub async fn set(
    db: &Db,
    admin: &PlatformAdmin,
    id: Uuid,
    change: AgentChange,
    may_replace: impl FnOnce(&Agent) -> bool + Send,
) -> Result<Agent> {
    let mut tx = db.transaction().await?;
    let before = sqlx::query_as!(
        Agent,
        "select id, name, right(app_id, 4) as application_id_hint, right(fallback_application_id, 4) as fallback_hint
         from biz.agents where id = $1 and deleted_at is null for no key update",
        id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    if !may_replace(&before) {
        return Err(Error::Outdated);
    }
    let after = sqlx::query_as!(
        Agent,
        "update biz.agents set name = $2, app_id = case when $3 then $4 else app_id end,
             fallback_application_id = case when $5 then $6 else fallback_application_id end
         where id = $1
         returning id, name, right(app_id, 4) as application_id_hint, right(fallback_application_id, 4) as fallback_hint",
        id,
        change.name,
        change.application_id.is_some(),
        change.application_id.flatten(),
        change.fallback_application_id.is_some(),
        change.fallback_application_id.flatten(),
    )
    .fetch_one(&mut *tx)
    .with_statement_timeout()
    .await?;
    let details = json!({ "before": before.audited(), "after": after.audited() });
    let (action, object_id) = (Action::SetAgent, id.to_string());
    audit::record(
        &mut tx,
        action,
        None,
        admin.user_id,
        Some(&object_id),
        details,
    )
    .await?;
    tx.commit().await?;
    Ok(after)
}

/// Deletes an agent. Its row remains for the conversations that began with it. They can be read,
/// but get no more replies.
///
/// # Errors
/// [`Error::NotFound`]. [`Error::Conflict`] if a bot uses the agent.
pub async fn delete(db: &Db, admin: &PlatformAdmin, id: Uuid) -> Result<()> {
    let mut tx = db.transaction().await?;
    // Waits for transactions that give the agent to a bot: they lock its row.
    let name = sqlx::query_scalar!(
        "update biz.agents set deleted_at = clock_timestamp() where id = $1 and deleted_at is null returning name",
        id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    let is_used = sqlx::query_scalar!(
        r#"select exists (select from biz.bots b where b.agent_id = $1 and b.deleted_at is null) as "is_used!""#,
        id,
    )
    .fetch_one(&mut *tx)
    .with_statement_timeout()
    .await?;
    if is_used {
        return Err(Error::Conflict("bots use the agent"));
    }
    let (action, object_id) = (Action::DeleteAgent, id.to_string());
    let details = json!({ "name": name });
    audit::record(
        &mut tx,
        action,
        None,
        admin.user_id,
        Some(&object_id),
        details,
    )
    .await?;
    tx.commit().await
}
