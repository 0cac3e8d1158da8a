//! The lists of words, for admins.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::words::{MAX_WORD, MAX_WORDS, normalise};
use crate::{
    governance::{
        audit::{self, Action},
        auth::{Admin, SiteScope},
        sites,
    },
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
        paging::{MAX_COUNTED, Page, Paging, Start, TimeKey},
    },
};

/// Most characters of a word as it is written.
const MAX_WRITTEN: usize = 200;

/// A word that blocks texts.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Word {
    pub id: i64,
    /// `None`: in force at all sites.
    pub site_id: Option<i64>,
    pub word: String,
    /// The admin.
    pub created_by: i64,
    pub created_at: DateTime<Utc>,
}

/// The lists that an admin reads.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct WordQuery {
    pub scope: SiteScope,
}

impl WordQuery {
    /// The scope of cursors of this list. A cursor is valid only in its own scope.
    pub fn cursor_scope(&self) -> String {
        format!("moderation-words/{:?}", self.scope)
    }
}

/// Lists words, newest first: those of the sites, and those in force at all sites.
pub async fn list(db: &Db, query: &WordQuery, paging: &Paging<TimeKey>) -> Result<Page<Word>> {
    let start = Start::of(paging.from);
    // The left join returns one row with the total even if the page is empty. 0 is the list of all
    // sites.
    let rows = sqlx::query!(
        r#"
        with lists (id) as materialized (
            select s.id from biz.sites s where $1::bigint is null or s.id = $1 union all select 0
        ), counted (total) as (
            select count(*) from (
                select from lists l cross join lateral (
                    select from biz.moderation_words w where coalesce(w.site_id, 0) = l.id
                    order by w.created_at desc limit $2
                ) each
                limit $2
            ) few
        )
        select counted.total as "total!", w.id as "id?", w.site_id as "site_id?", w.word as "word?",
               w.created_by as "created_by?", w.created_at as "created_at?"
        from counted left join lateral (
            select each.* from lists l cross join lateral (
                select * from biz.moderation_words w
                where coalesce(w.site_id, 0) = l.id
                  and (w.created_at, w.id) < (coalesce($3, 'infinity'::timestamptz), coalesce($4::bigint, 0))
                order by w.created_at desc, w.id desc limit $5::bigint + $6::bigint
            ) each
            order by each.created_at desc, each.id desc limit $5 offset $6
        ) w on true
        order by w.created_at desc, w.id desc
        "#,
        query.scope.site_id(),
        MAX_COUNTED + 1,
        start.before,
        start.before_id,
        paging.size + 1,
        start.offset,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let words = rows.into_iter().filter_map(|row| {
        let word = Word {
            id: row.id?,
            site_id: row.site_id,
            word: row.word?,
            created_by: row.created_by?,
            created_at: row.created_at?,
        };
        Some(((word.created_at.timestamp_micros(), word.id), word))
    });
    Ok(Page::counted(
        total,
        words,
        paging.size,
        &query.cursor_scope(),
    ))
}

/// Adds a word to the list of a site, or to that of all sites. It is in force within 30 s.
///
/// # Errors
/// [`Error::Invalid`] if the word is missing, too long, or nothing but spaces and punctuation.
/// [`Error::NotFound`] if the site does not exist. [`Error::Conflict`] if the list has the word or
/// is full.
pub async fn create(db: &Db, admin: &Admin, scope: SiteScope, word: Option<&str>) -> Result<Word> {
    let (word, normal) = parse(word)?;
    let site_id = scope.site_id();
    let mut tx = db.transaction().await?;
    if let Some(site_id) = site_id {
        sites::keep(&mut tx, site_id).await?;
    }
    let words = sqlx::query_scalar!(
        r#"select count(*) as "words!" from biz.moderation_words where coalesce(site_id, 0) = coalesce($1::bigint, 0)"#,
        site_id,
    )
    .fetch_one(&mut *tx)
    .with_statement_timeout()
    .await?;
    if words >= MAX_WORDS {
        return Err(Error::Conflict("the list is full"));
    }
    let created = sqlx::query_as!(
        Word,
        "insert into biz.moderation_words (site_id, word, normal, created_by) values ($1, $2, $3, $4)
         on conflict on constraint moderation_words_normal_key do nothing
         returning id, site_id, word, created_by, created_at",
        site_id,
        word,
        normal,
        admin.user_id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::Conflict("the list has this word"))?;
    audit::record(
        &mut tx,
        Action::CreateModerationWord,
        site_id,
        admin.user_id,
        Some(&created.id.to_string()),
        json!({ "word": created.word }),
    )
    .await?;
    tx.commit().await?;
    Ok(created)
}

/// The word as it is written, and as it is compared.
fn parse(word: Option<&str>) -> Result<(&str, String)> {
    const FIELD: &str = "word";
    let word = word.ok_or(Error::invalid(FIELD, Reason::Missing))?.trim();
    if word.contains('\0') {
        return Err(Error::invalid(FIELD, Reason::Nul));
    }
    if word.chars().count() > MAX_WRITTEN {
        return Err(Error::invalid(FIELD, Reason::TooLong(MAX_WRITTEN)));
    }
    let normal = normalise(word);
    match normal.chars().count() {
        0 => Err(Error::invalid(FIELD, Reason::Empty)),
        1..=MAX_WORD => Ok((word, normal)),
        _ => Err(Error::invalid(FIELD, Reason::TooLong(MAX_WORD))),
    }
}

/// Deletes a word. It is no longer in force within 30 s.
///
/// # Errors
/// [`Error::NotFound`] if the sites have no such word. [`Error::Forbidden`] if a site admin deletes
/// a word of all sites.
pub async fn delete(db: &Db, admin: &Admin, scope: SiteScope, id: i64) -> Result<()> {
    let mut tx = db.transaction().await?;
    let word = sqlx::query!(
        "select site_id, word from biz.moderation_words where id = $1 for update",
        id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    match (scope, word.site_id) {
        (SiteScope::All, _) => {}
        (SiteScope::One(site_id), Some(of)) if site_id == of => {}
        (SiteScope::One(_), None) if !admin.is_of_platform() => return Err(Error::Forbidden),
        (SiteScope::One(_), _) => return Err(Error::NotFound),
    }
    sqlx::query!("delete from biz.moderation_words where id = $1", id)
        .execute(&mut *tx)
        .with_statement_timeout()
        .await?;
    audit::record(
        &mut tx,
        Action::DeleteModerationWord,
        word.site_id,
        admin.user_id,
        Some(&id.to_string()),
        json!({ "word": word.word }),
    )
    .await?;
    tx.commit().await
}
