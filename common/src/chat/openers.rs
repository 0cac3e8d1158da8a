//! Openers: questions with which a user may begin a chat. `settings.rs` has the view of admins.

mod settings;

use uuid::Uuid;

use crate::{
    governance::auth::Caller,
    insights::pages::Page,
    platform::{
        db::{Db, StatementTimeout},
        error::Result,
    },
};

pub use settings::{Openers, list_settings, parse_texts, set};

/// Where the chat begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Neither a page nor a bot.
    Anywhere,
    /// A page of the mini-program.
    Page(Page),
    /// A conversation with the bot of this id.
    Bot(Uuid),
}

impl Place {
    /// The columns `source_page` and `bot_id`.
    fn columns(self) -> (Option<&'static str>, Option<Uuid>) {
        match self {
            Self::Anywhere => (None, None),
            Self::Page(page) => (Some(page.name()), None),
            Self::Bot(id) => (None, Some(id)),
        }
    }
}

/// Returns the openers of the caller's site for a place, or else the default ones of all sites.
/// Without either, and for a bot of another site, there are none.
pub async fn list(db: &Db, caller: &Caller, place: Place) -> Result<Vec<String>> {
    let (page, bot_id) = place.columns();
    let texts = sqlx::query_scalar!(
        "select o.texts from biz.openers o
         where (o.site_id = $1 or o.site_id is null)
           and o.source_page is not distinct from $2 and o.bot_id is not distinct from $3
           and ($3::uuid is null or exists (
               select from biz.bots b where b.id = $3 and (b.site_id = $1 or b.site_id is null)))
         order by o.site_id nulls last limit 1",
        caller.site_id,
        page,
        bot_id,
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?;
    Ok(texts.unwrap_or_default())
}
