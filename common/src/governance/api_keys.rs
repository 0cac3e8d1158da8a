//! Machine keys, as admins see them. `auth/keys.rs` checks them in requests.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::auth::{self, Admin, KeyScope, SiteScope};
use crate::{
    governance::{
        audit::{self, Action},
        sites,
    },
    platform::{
        clock,
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
        paging::{MAX_COUNTED, Page, PageStart, Paging},
        text,
    },
};

/// The longest name, in characters.
const MAX_NAME: usize = 100;
/// The most keys of a site, and of all sites together.
const MAX_KEYS: i64 = 50;
/// Characters of a key that lists show.
const HINT: usize = 4;

/// A key, without its text.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct ApiKey {
    pub id: i64,
    /// `None`: all sites.
    pub site_id: Option<i64>,
    pub name: String,
    /// Words of [`KeyScope`].
    pub scopes: Vec<String>,
    /// The last 4 characters.
    pub key_hint: String,
    /// The admin.
    pub created_by: i64,
    pub created_at: DateTime<Utc>,
    /// `None`: the key does not expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// Up to a minute late.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// Checked fields of a new key.
#[derive(Clone, Debug)]
pub struct NewKey {
    name: String,
    scopes: Vec<KeyScope>,
    expires_at: Option<DateTime<Utc>>,
}

impl NewKey {
    /// # Errors
    /// [`Error::Invalid`] for a missing or invalid field.
    pub fn parse(
        name: Option<&str>,
        scopes: Option<&[String]>,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<Self> {
        let name = name.ok_or(Error::invalid("name", Reason::Missing))?;
        let words = scopes.ok_or(Error::invalid("scopes", Reason::Missing))?;
        if words.is_empty() {
            return Err(Error::invalid("scopes", Reason::Empty));
        }
        let mut scopes = Vec::new();
        for word in words {
            let scope = KeyScope::parse(word).ok_or(Error::invalid("scopes", Reason::Unknown))?;
            if scopes.contains(&scope) {
                return Err(Error::invalid("scopes", Reason::Repeated));
            }
            scopes.push(scope);
        }
        if expires_at.is_some_and(|at| at <= clock::now()) {
            return Err(Error::invalid("expires_at", Reason::Past));
        }
        Ok(Self {
            name: text::checked("name", name.trim(), MAX_NAME)?,
            scopes,
            expires_at,
        })
    }
}

/// The scope of cursors of the list. A cursor is valid only in its own scope.
pub fn list_scope(scope: SiteScope) -> String {
    format!("api-keys/{scope:?}")
}

/// Lists keys, newest first. A platform admin's list includes the keys for all sites.
pub async fn list(db: &Db, scope: SiteScope, paging: &Paging<i64>) -> Result<Page<ApiKey>> {
    let (offset, before) = match paging.from {
        PageStart::Offset(offset) => (offset, i64::MAX),
        PageStart::Key(id) => (0, id),
    };
    // The left join returns one row with the total even if the page is empty.
    let rows = sqlx::query!(
        r#"
        select counted.total as "total!", k.id as "id?", k.site_id, k.name as "name?", k.scopes::text[] as scopes,
               k.hint as "hint?", k.created_by as "created_by?", k.created_at as "created_at?", k.expires_at,
               k.last_used_at
        from (select count(*) as total from (
                  select from biz.api_keys k where $1::bigint is null or k.site_id = $1 limit $2::bigint + 1) few) counted
        left join lateral (
            select * from biz.api_keys k
            where ($1::bigint is null or k.site_id = $1) and k.id < $3
            order by k.id desc limit $4 offset $5
        ) k on true
        order by k.id desc
        "#,
        scope.site_id(),
        MAX_COUNTED,
        before,
        paging.size + 1,
        offset,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let keys = rows.into_iter().filter_map(|row| {
        let key = ApiKey {
            id: row.id?,
            site_id: row.site_id,
            name: row.name?,
            scopes: row.scopes?,
            key_hint: row.hint?,
            created_by: row.created_by?,
            created_at: row.created_at?,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        };
        Some((key.id, key))
    });
    Ok(Page::counted(total, keys, paging.size, &list_scope(scope)))
}

/// Creates a key for one site or for all sites. Returns the text of the key, which is not stored.
///
/// # Errors
/// [`Error::NotFound`] if the site does not exist. [`Error::Conflict`] if it has 50 keys.
pub async fn create(
    db: &Db,
    admin: &Admin,
    scope: SiteScope,
    new: NewKey,
) -> Result<(ApiKey, SecretString)> {
    let key = auth::generate()?;
    let text = key.expose_secret();
    let scopes: Vec<&str> = new.scopes.iter().map(|scope| scope.name()).collect();
    let site_id = scope.site_id();
    let mut tx = db.transaction().await?;
    if let Some(site_id) = site_id {
        // The lock of the site makes the number of its keys exact.
        sites::lock(&mut tx, site_id).await?;
    }
    let created = sqlx::query_as!(
        ApiKey,
        r#"
        insert into biz.api_keys (site_id, name, scopes, hash, hint, created_by, expires_at)
        select $1, $2, $3::text[], $4, $5, $6, $7
        where (select count(*) from biz.api_keys where site_id = $1 or (site_id is null and $1 is null)) < $8
        returning id, site_id, name, scopes::text[] as "scopes!", hint as key_hint, created_by, created_at,
                  expires_at, last_used_at
        "#,
        site_id,
        new.name,
        &scopes as &[&str],
        auth::hash(&key),
        &text[text.len() - HINT..],
        admin.user_id,
        new.expires_at,
        MAX_KEYS,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::Conflict("the site has 50 keys"))?;
    let details =
        json!({ "name": created.name, "scopes": created.scopes, "expires_at": created.expires_at });
    let (action, object_id) = (Action::CreateApiKey, created.id.to_string());
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
    Ok((created, key))
}

/// Revokes a key. The next request with it is refused.
///
/// # Errors
/// [`Error::NotFound`], also for a key of another site.
pub async fn delete(db: &Db, admin: &Admin, scope: SiteScope, id: i64) -> Result<()> {
    let mut tx = db.transaction().await?;
    let key = sqlx::query!(
        "delete from biz.api_keys where id = $2 and ($1::bigint is null or site_id = $1)
         returning site_id, name, last_used_at",
        scope.site_id(),
        id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    let details = json!({ "name": key.name, "last_used_at": key.last_used_at });
    let (action, object_id) = (Action::DeleteApiKey, id.to_string());
    audit::record(
        &mut tx,
        action,
        key.site_id,
        admin.user_id,
        Some(&object_id),
        details,
    )
    .await?;
    tx.commit().await
}
