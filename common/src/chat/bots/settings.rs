//! Bots, as admins see and change them.

use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    governance::{
        audit::{self, Action},
        auth::{Admin, SiteScope},
        sites,
    },
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
        paging::{MAX_COUNTED, Page, Paging, Start},
        text,
        words::words,
    },
};

/// The longest name, in characters.
const MAX_NAME: usize = 100;
/// The longest URL of a picture, in characters.
const MAX_AVATAR: usize = 2_000;
/// The most users in `grants`.
const MAX_GRANTS: usize = 1_000;

words! {
    /// Whether users may use a bot.
    pub enum Status {
        Active = "active",
        Disabled = "disabled",
    }
}

words! {
    /// Who may use a bot.
    pub enum Access {
        /// All users of its site, or of all sites.
        Public = "public",
        /// The users in `grants`.
        Granted = "granted",
    }
}

/// A bot with its settings.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct BotSettings {
    pub id: Uuid,
    /// `None`: a bot of all sites.
    pub site_id: Option<i64>,
    pub name: String,
    /// `None`: users see `name`.
    pub display_name: Option<String>,
    pub avatar: Option<String>,
    /// A word of [`Status`].
    pub status: String,
    /// A word of [`Access`].
    pub access: String,
    /// `None`: the bot does not reply.
    pub agent_id: Option<Uuid>,
    /// Ids of users, ascending. They matter only with [`Access::Granted`].
    pub grants: Vec<i64>,
}

impl BotSettings {
    fn audited(&self) -> Value {
        json!({
            "name": self.name,
            "display_name": self.display_name,
            "avatar": self.avatar,
            "status": self.status,
            "access": self.access,
            "agent_id": self.agent_id,
            "grants": self.grants,
        })
    }
}

/// The fields of a request, unchecked.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "plain data")]
pub struct BotFields {
    pub name: Option<String>,
    pub display_name: Option<String>,
    pub avatar: Option<String>,
    /// `None` keeps the stored one.
    pub status: Option<String>,
    /// `None` keeps the stored one.
    pub access: Option<String>,
    pub agent_id: Option<Uuid>,
    pub grants: Vec<i64>,
}

/// Checked fields.
struct Change {
    name: String,
    display_name: Option<String>,
    avatar: Option<String>,
    status: Option<Status>,
    access: Option<Access>,
    agent_id: Option<Uuid>,
    grants: Vec<i64>,
}

impl Change {
    fn parse(fields: BotFields) -> Result<Self> {
        let optional = |field, value: Option<String>, most| {
            let value = value.as_deref().map(str::trim);
            value
                .map(|value| text::checked(field, value, most))
                .transpose()
        };
        let name = fields.name.ok_or(Error::invalid("name", Reason::Missing))?;
        let status = fields
            .status
            .as_deref()
            .map(|word| Status::parse(word).ok_or(Error::invalid("status", Reason::Unknown)));
        let access = fields
            .access
            .as_deref()
            .map(|word| Access::parse(word).ok_or(Error::invalid("access", Reason::Unknown)));
        let mut grants = fields.grants;
        if grants.len() > MAX_GRANTS {
            return Err(Error::invalid("grants", Reason::TooMany(MAX_GRANTS)));
        }
        grants.sort_unstable();
        grants.dedup();
        Ok(Self {
            name: text::checked("name", name.trim(), MAX_NAME)?,
            display_name: optional("display_name", fields.display_name, MAX_NAME)?,
            avatar: optional("avatar", fields.avatar, MAX_AVATAR)?,
            status: status.transpose()?,
            access: access.transpose()?,
            agent_id: fields.agent_id,
            grants,
        })
    }
}

/// The scope of cursors of the list. A cursor is valid only in its own scope.
pub fn list_scope(scope: SiteScope) -> String {
    format!("bots/{scope:?}")
}

/// Lists bots, newest first: those of the sites, and those of all sites. With one site, `grants`
/// has only users of the site.
pub async fn list_settings(
    db: &Db,
    scope: SiteScope,
    paging: &Paging<(i64, Uuid)>,
) -> Result<Page<BotSettings>> {
    let start = Start::of(paging.from);
    // The left join returns one row with the total even if the page is empty.
    let rows = sqlx::query!(
        r#"
        select counted.total as "total!", b.id as "id?", b.site_id, b.name as "name?", b.display_name, b.avatar,
               b.status as "status?", b.access as "access?", b.agent_id, b.created_at as "created_at?",
               array(select g.user_id from biz.bot_grants g join biz.users u on u.id = g.user_id
                     where g.bot_id = b.id and ($1::bigint is null or u.site_id = $1) order by g.user_id) as "grants!"
        from (select count(*) as total from (
                  select from biz.bots b
                  where b.deleted_at is null and ($1::bigint is null or b.site_id is null or b.site_id = $1)
                  limit $2::bigint + 1) few) counted
        left join lateral (
            select * from biz.bots b
            where b.deleted_at is null and ($1::bigint is null or b.site_id is null or b.site_id = $1)
              and ($3::timestamptz is null or (b.created_at, b.id) < ($3, $4::uuid))
            order by b.created_at desc, b.id desc limit $5 offset $6
        ) b on true
        order by b.created_at desc, b.id desc
        "#,
        scope.site_id(),
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
    let bots = rows.into_iter().filter_map(|row| {
        let bot = BotSettings {
            id: row.id?,
            site_id: row.site_id,
            name: row.name?,
            display_name: row.display_name,
            avatar: row.avatar,
            status: row.status?,
            access: row.access?,
            agent_id: row.agent_id,
            grants: row.grants,
        };
        Some(((row.created_at?.timestamp_micros(), bot.id), bot))
    });
    Ok(Page::counted(total, bots, paging.size, &list_scope(scope)))
}

/// Creates a bot of a site, or of all sites.
///
/// # Errors
/// [`Error::Invalid`] for a missing or invalid field, an unknown agent, or users of another site.
/// [`Error::NotFound`] if the site does not exist.
pub async fn create(
    db: &Db,
    admin: &Admin,
    scope: SiteScope,
    fields: BotFields,
) -> Result<BotSettings> {
    let new = Change::parse(fields)?;
    let site_id = scope.site_id();
    let mut tx = db.transaction().await?;
    if let Some(site_id) = site_id {
        sites::keep(&mut tx, site_id).await?;
    }
    check_references(&mut tx, site_id, &new).await?;
    let status = new.status.unwrap_or(Status::Active);
    let access = new.access.unwrap_or(Access::Public);
    let id = sqlx::query_scalar!(
        "insert into biz.bots (site_id, name, display_name, avatar, status, access, agent_id)
         values ($1, $2, $3, $4, $5, $6, $7) returning id",
        site_id,
        new.name,
        new.display_name,
        new.avatar,
        status.name(),
        access.name(),
        new.agent_id,
    )
    .fetch_one(&mut *tx)
    .with_statement_timeout()
    .await?;
    set_grants(&mut tx, id, &new.grants).await?;
    let created = BotSettings {
        id,
        site_id,
        name: new.name,
        display_name: new.display_name,
        avatar: new.avatar,
        status: status.name().to_owned(),
        access: access.name().to_owned(),
        agent_id: new.agent_id,
        grants: new.grants,
    };
    let (object_id, details) = (id.to_string(), json!({ "after": created.audited() }));
    let action = Action::CreateBot;
    audit::record(
        &mut tx,
        action,
        site_id,
        admin.user_id,
        Some(&object_id),
        details,
    )
    .await?;
    tx.commit().await?;
    Ok(created)
}

/// Replaces the settings of a bot. They apply to the next message. `site_id` is the site that the
/// request names. `may_replace` sees the stored bot.
///
/// # Errors
/// [`Error::NotFound`], also for a bot of another site. [`Error::Forbidden`] if a site admin
/// changes a bot of all sites, or names another site than the bot's. [`Error::Conflict`] if a
/// platform admin names another site. [`Error::Outdated`] if `may_replace` returns false.
/// [`Error::Invalid`] as [`create`].
pub async fn set(
    db: &Db,
    admin: &Admin,
    scope: SiteScope,
    id: Uuid,
    site_id: Option<Option<i64>>,
    fields: BotFields,
    may_replace: impl FnOnce(&BotSettings) -> bool + Send,
) -> Result<BotSettings> {
    let change = Change::parse(fields)?;
    let mut tx = db.transaction().await?;
    let before = find(&mut tx, admin, scope, id).await?;
    if site_id.is_some_and(|named| named != before.site_id) {
        return Err(if admin.is_of_platform() {
            Error::Conflict("the site of a bot cannot change")
        } else {
            Error::Forbidden
        });
    }
    if !may_replace(&before) {
        return Err(Error::Outdated);
    }
    check_references(&mut tx, before.site_id, &change).await?;
    let status = change
        .status
        .map_or(&*before.status, |status| status.name());
    let access = change
        .access
        .map_or(&*before.access, |access| access.name());
    sqlx::query!(
        "update biz.bots set name = $2, display_name = $3, avatar = $4, status = $5, access = $6, agent_id = $7
         where id = $1",
        id,
        change.name,
        change.display_name,
        change.avatar,
        status,
        access,
        change.agent_id,
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    set_grants(&mut tx, id, &change.grants).await?;
    let after = BotSettings {
        id,
        site_id: before.site_id,
        name: change.name,
        display_name: change.display_name,
        avatar: change.avatar,
        status: status.to_owned(),
        access: access.to_owned(),
        agent_id: change.agent_id,
        grants: change.grants,
    };
    let details = json!({ "before": before.audited(), "after": after.audited() });
    let (action, object_id) = (Action::SetBot, id.to_string());
    audit::record(
        &mut tx,
        action,
        after.site_id,
        admin.user_id,
        Some(&object_id),
        details,
    )
    .await?;
    tx.commit().await?;
    Ok(after)
}

/// Deletes a bot and its openers. The bot is disabled, and its row remains, so that its
/// conversations can be read.
///
/// # Errors
/// [`Error::NotFound`], also for a bot of another site. [`Error::Forbidden`] if a site admin
/// deletes a bot of all sites.
pub async fn delete(db: &Db, admin: &Admin, scope: SiteScope, id: Uuid) -> Result<()> {
    let mut tx = db.transaction().await?;
    let before = find(&mut tx, admin, scope, id).await?;
    sqlx::query!(
        "update biz.bots set status = 'disabled', deleted_at = clock_timestamp() where id = $1",
        id,
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    sqlx::query!("delete from biz.openers where bot_id = $1", id)
        .execute(&mut *tx)
        .with_statement_timeout()
        .await?;
    let (object_id, details) = (id.to_string(), json!({ "before": before.audited() }));
    let action = Action::DeleteBot;
    audit::record(
        &mut tx,
        action,
        before.site_id,
        admin.user_id,
        Some(&object_id),
        details,
    )
    .await?;
    tx.commit().await
}

/// Locks a bot that the admin may change, and reads it.
async fn find(
    tx: &mut PgConnection,
    admin: &Admin,
    scope: SiteScope,
    id: Uuid,
) -> Result<BotSettings> {
    let bot = sqlx::query_as!(
        BotSettings,
        r#"
        select b.id, b.site_id, b.name, b.display_name, b.avatar, b.status, b.access, b.agent_id,
               array(select g.user_id from biz.bot_grants g where g.bot_id = b.id order by g.user_id) as "grants!"
        from biz.bots b
        where b.id = $1 and b.deleted_at is null for no key update
        "#,
        id,
    )
    .fetch_optional(tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    match (scope, bot.site_id) {
        (SiteScope::All, _) => Ok(bot),
        (SiteScope::One(site_id), Some(of)) if site_id == of => Ok(bot),
        (SiteScope::One(_), None) if !admin.is_of_platform() => Err(Error::Forbidden),
        (SiteScope::One(_), _) => Err(Error::NotFound),
    }
}

/// Checks agent and users. Locks the agent, so that it is not deleted before the bot is stored.
async fn check_references(
    tx: &mut PgConnection,
    site_id: Option<i64>,
    change: &Change,
) -> Result<()> {
    if let Some(agent_id) = change.agent_id {
        sqlx::query!(
            "select from biz.agents where id = $1 and deleted_at is null for share",
            agent_id,
        )
        .fetch_optional(&mut *tx)
        .with_statement_timeout()
        .await?
        .ok_or(Error::invalid("agent_id", Reason::Unknown))?;
    }
    let known = sqlx::query_scalar!(
        r#"select count(*) as "known!" from biz.users u
           where u.id = any($2) and u.site_id is not null and ($1::bigint is null or u.site_id = $1)"#,
        site_id,
        &change.grants,
    )
    .fetch_one(tx)
    .with_statement_timeout()
    .await?;
    if usize::try_from(known) == Ok(change.grants.len()) {
        Ok(())
    } else {
        Err(Error::invalid("grants", Reason::Unknown))
    }
}

async fn set_grants(tx: &mut PgConnection, id: Uuid, grants: &[i64]) -> Result<()> {
    sqlx::query!(
        "delete from biz.bot_grants where bot_id = $1 and user_id <> all($2)",
        id,
        grants,
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    sqlx::query!(
        "insert into biz.bot_grants (bot_id, user_id) select $1, unnest($2::bigint[]) on conflict do nothing",
        id,
        grants,
    )
    .execute(tx)
    .with_statement_timeout()
    .await?;
    Ok(())
}
