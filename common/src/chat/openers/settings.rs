//! Openers, as admins see and change them.

use serde_json::json;
use uuid::Uuid;

use super::Place;
use crate::{
    governance::{
        audit::{self, Action},
        auth::{Admin, SiteScope},
    },
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
        text,
    },
};

/// The most texts of a place.
const MAX_TEXTS: usize = 6;
/// The longest text, in characters.
const MAX_TEXT: usize = 200;

/// The openers of a place, at one site or by default at all sites.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Openers {
    /// `None`: the default of all sites.
    pub site_id: Option<i64>,
    /// A word of [`crate::insights::pages::Page`].
    pub source_page: Option<String>,
    pub bot_id: Option<Uuid>,
    pub texts: Vec<String>,
}

/// Checks the texts of a request. None removes the openers of the place.
///
/// # Errors
/// [`Error::Invalid`] if they are missing, more than 6, empty or too long.
pub fn parse_texts(texts: Option<&[String]>) -> Result<Vec<String>> {
    let texts = texts.ok_or(Error::invalid("texts", Reason::Missing))?;
    if texts.len() > MAX_TEXTS {
        return Err(Error::invalid("texts", Reason::TooMany(MAX_TEXTS)));
    }
    let texts = texts.iter();
    texts
        .map(|line| text::checked("texts", line.trim(), MAX_TEXT))
        .collect()
}

/// Lists the openers of a site, or all of them with the defaults first.
pub async fn list_settings(db: &Db, scope: SiteScope) -> Result<Vec<Openers>> {
    sqlx::query_as!(
        Openers,
        "select o.site_id, o.source_page, o.bot_id, o.texts from biz.openers o
         where $1::bigint is null or o.site_id = $1
         order by o.site_id nulls first, o.source_page nulls first, o.bot_id nulls first",
        scope.site_id(),
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await
}

/// Replaces the openers of a place. Without texts, they are removed. `may_replace` sees the stored
/// openers, which have no texts if nothing is stored.
///
/// # Errors
/// [`Error::NotFound`] if the site does not exist or has no such bot. [`Error::Outdated`] if
/// `may_replace` returns false.
pub async fn set(
    db: &Db,
    admin: &Admin,
    scope: SiteScope,
    place: Place,
    texts: Vec<String>,
    may_replace: impl FnOnce(&Openers) -> bool + Send,
) -> Result<Openers> {
    let (site_id, (page, bot_id)) = (scope.site_id(), place.columns());
    let mut tx = db.transaction().await?;
    // A lock needs a row, and the openers may not exist yet. So lock their site and their bot.
    let is_known = sqlx::query_scalar!(
        r#"
        with site as (
            select from biz.sites s where s.id = $1 for no key update
        ), bot as (
            select from biz.bots b
            where b.id = $2 and b.deleted_at is null and ($1 is null or b.site_id is null or b.site_id = $1)
            for no key update
        )
        select ($1::bigint is null or exists (select from site))
           and ($2::uuid is null or exists (select from bot)) as "is_known!"
        "#,
        site_id,
        bot_id,
    )
    .fetch_one(&mut *tx)
    .with_statement_timeout()
    .await?;
    if !is_known {
        return Err(Error::NotFound);
    }
    let stored = sqlx::query_scalar!(
        "select texts from biz.openers o
         where o.site_id is not distinct from $1 and o.source_page is not distinct from $2
           and o.bot_id is not distinct from $3 for no key update",
        site_id,
        page,
        bot_id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?;
    let mut openers = Openers {
        site_id,
        source_page: page.map(str::to_owned),
        bot_id,
        texts: stored.unwrap_or_default(),
    };
    if !may_replace(&openers) {
        return Err(Error::Outdated);
    }
    let details = json!({
        "source_page": page, "bot_id": bot_id, "before": openers.texts, "after": texts,
    });
    if texts.is_empty() {
        sqlx::query!(
            "delete from biz.openers o
             where o.site_id is not distinct from $1 and o.source_page is not distinct from $2
               and o.bot_id is not distinct from $3",
            site_id,
            page,
            bot_id,
        )
        .execute(&mut *tx)
        .with_statement_timeout()
        .await?;
    } else {
        sqlx::query!(
            "insert into biz.openers (site_id, source_page, bot_id, texts) values ($1, $2, $3, $4)
             on conflict on constraint openers_place_key do update set texts = excluded.texts",
            site_id,
            page,
            bot_id,
            &texts,
        )
        .execute(&mut *tx)
        .with_statement_timeout()
        .await?;
    }
    audit::record(
        &mut tx,
        Action::SetOpeners,
        site_id,
        admin.user_id,
        None,
        details,
    )
    .await?;
    tx.commit().await?;
    openers.texts = texts;
    Ok(openers)
}
