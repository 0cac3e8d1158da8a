//! Bots of the session API, as users see them. `settings.rs` has the view of admins.

mod settings;

use uuid::Uuid;

use crate::{
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::Result,
    },
};

pub use settings::{
    Access, BotFields, BotSettings, Status, create, delete, list_scope, list_settings, set,
};

/// A bot with which a user can start a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain data")]
pub struct Bot {
    pub id: Uuid,
    /// The name that operators use.
    pub name: String,
    /// The name that users see. Falls back to `name`.
    pub display_name: String,
    /// URL of a picture.
    pub avatar: Option<String>,
    /// `active` or `disabled`.
    pub status: String,
}

impl Bot {
    /// Builds a bot from a left join. `None` if the join found no bot.
    pub(crate) fn joined(
        id: Option<Uuid>,
        name: Option<String>,
        display_name: Option<String>,
        avatar: Option<String>,
        status: Option<String>,
    ) -> Option<Self> {
        Some(Self {
            id: id?,
            name: name?,
            display_name: display_name?,
            avatar,
            status: status?,
        })
    }
}

/// The bots that the caller may use and that have an agent, ordered by name.
pub async fn list(db: &Db, caller: &Caller) -> Result<Vec<Bot>> {
    sqlx::query_as!(
        Bot,
        r#"
        select b.id, b.name, coalesce(b.display_name, b.name) as "display_name!", b.avatar, b.status
        from biz.bots b
        join biz.agents a on a.id = b.agent_id and a.deleted_at is null and a.app_id is not null
        where (b.site_id = $1 or b.site_id is null) and bot_access(b, $1, $2) = 'allowed'
        order by b.name, b.id
        "#,
        caller.site_id,
        caller.user_id,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await
}
