//! A note of staff about a member.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use super::found;
use crate::platform::{db::Db, error::Result};

/// One note about a member.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct NoteFacts {
    #[serde(rename(serialize = "日期"))]
    day: NaiveDate,
    #[serde(rename(serialize = "记录人"))]
    author: String,
    #[serde(rename(serialize = "内容"))]
    content: String,
    /// The member of the note.
    #[serde(skip_serializing)]
    pub member_id: i64,
}

/// A note of a site, if it was written on or before the site's business date.
///
/// # Errors
/// [`crate::Error::NotFound`] if the site has no such note, or if it was written later.
pub async fn note(db: &Db, site_id: i64, note_id: i64) -> Result<NoteFacts> {
    let facts = sqlx::query_scalar!(
        r#"
        select jsonb_build_object(
            'day', local_day(s.timezone, n.written_at), 'author', n.author_name, 'content', n.content,
            'member_id', n.member_id) as "facts!: Json<NoteFacts>"
        from dws.member_note n join biz.sites s on s.id = n.site_id
        where n.site_id = $1 and n.note_id = $2 and local_day(s.timezone, n.written_at) <= site_today(s.id)
        "#,
        site_id,
        note_id,
    );
    found(facts.fetch_optional(db)).await
}
