//! Users, as admins see them. The operator's own system creates them.

use std::collections::HashMap;

use serde_json::json;

use super::auth::{Admin, Role, SiteScope};
use crate::{
    governance::audit::{self, Action},
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
        paging::{MAX_COUNTED, Page, PageStart, Paging},
        words::words,
    },
};

words! {
    /// Whether a user may call the API. A change applies within 30 s.
    pub enum Status {
        /// Not approved yet.
        Pending = "pending",
        Approved = "approved",
        Disabled = "disabled",
    }
}

/// A user.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct User {
    pub id: i64,
    /// `None`: a platform admin.
    pub site_id: Option<i64>,
    pub nickname: String,
    /// A word of [`Role`].
    pub role: String,
    /// A word of [`Status`].
    pub status: String,
    /// True if the user has a `WeChat` openid, which `msgSecCheck` needs.
    pub openid_set: bool,
}

/// What an admin changes.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// A role of a site.
    pub role: Role,
    /// Disabling ends access within 30 s.
    pub status: Status,
}

impl Change {
    /// Parses the fields of a request.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a missing or unknown word, and for the role of a platform admin, who
    /// has no site.
    pub fn parse(role: Option<&str>, status: Option<&str>) -> Result<Self> {
        let role = role.ok_or(Error::invalid("role", Reason::Missing))?;
        let role = Role::parse(role).filter(|role| *role != Role::Admin);
        let status = status.ok_or(Error::invalid("status", Reason::Missing))?;
        Ok(Self {
            role: role.ok_or(Error::invalid("role", Reason::Unknown))?,
            status: Status::parse(status).ok_or(Error::invalid("status", Reason::Unknown))?,
        })
    }
}

/// The nicknames of users, by id. Ids of deleted users are left out.
pub async fn nicknames(db: &Db, ids: &[i64]) -> Result<HashMap<i64, String>> {
    let rows = sqlx::query!(
        "select id, nickname from biz.users where id = any ($1)",
        ids
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.nickname)).collect())
}

/// The scope of cursors of the list. A cursor is valid only in its own scope.
pub fn list_scope(scope: SiteScope) -> String {
    format!("users/{scope:?}")
}

/// Lists users, ordered by id. A platform admin's list includes the platform admins.
pub async fn list(db: &Db, scope: SiteScope, paging: &Paging<i64>) -> Result<Page<User>> {
    let (offset, after) = match paging.from {
        PageStart::Offset(offset) => (offset, 0),
        PageStart::Key(id) => (0, id),
    };
    // The left join returns one row with the total even if the page is empty.
    let rows = sqlx::query!(
        r#"
        select counted.total as "total!", u.id as "id?", u.site_id, u.nickname as "nickname?", u.role as "role?",
               u.status as "status?", u.openid is not null as "openid_set!"
        from (select count(*) as total from (
                  select from biz.users u where $1::bigint is null or u.site_id = $1 limit $2::bigint + 1) few) counted
        left join lateral (
            select * from biz.users u
            where ($1::bigint is null or u.site_id = $1) and u.id > $3
            order by u.id limit $4 offset $5
        ) u on true
        order by u.id
        "#,
        scope.site_id(),
        MAX_COUNTED,
        after,
        paging.size + 1,
        offset,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let users = rows.into_iter().filter_map(|row| {
        let user = User {
            id: row.id?,
            site_id: row.site_id,
            nickname: row.nickname?,
            role: row.role?,
            status: row.status?,
            openid_set: row.openid_set,
        };
        Some((user.id, user))
    });
    Ok(Page::counted(total, users, paging.size, &list_scope(scope)))
}

/// Changes role and status of a user of a site. `may_replace` sees the stored user.
///
/// # Errors
/// [`Error::NotFound`], also for a user of another site. [`Error::Outdated`] if `may_replace`
/// returns false. [`Error::Conflict`] if admins change themselves: they could lose their access.
pub async fn set(
    db: &Db,
    admin: &Admin,
    site_id: i64,
    id: i64,
    change: Change,
    may_replace: impl FnOnce(&User) -> bool + Send,
) -> Result<User> {
    let mut tx = db.transaction().await?;
    let before = sqlx::query_as!(
        User,
        r#"select id, site_id, nickname, role, status, openid is not null as "openid_set!" from biz.users
           where site_id = $1 and id = $2 for no key update"#,
        site_id,
        id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    if !may_replace(&before) {
        return Err(Error::Outdated);
    }
    if id == admin.user_id {
        return Err(Error::Conflict("admins cannot change themselves"));
    }
    sqlx::query!(
        "update biz.users set role = $3::text, status = $4::text where id = $2 and site_id = $1",
        site_id,
        id,
        change.role.name(),
        change.status.name(),
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    let details = json!({
        "before": { "role": before.role, "status": before.status },
        "after": { "role": change.role.name(), "status": change.status.name() },
    });
    let (action, object_id) = (Action::SetUser, id.to_string());
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
    Ok(User {
        role: change.role.name().to_owned(),
        status: change.status.name().to_owned(),
        ..before
    })
}
