//! Quotas: how many tokens a user, each user of a role, or a bot may use per day and per month at
//! a site. All quotas that concern a call apply, after the budget of the site.
//!
//! The SQL function `admit_run` enforces them when a run of a user begins. Runs without a user
//! have no quota. There are no counters: `quota_use` adds up charges and running reservations.

use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    governance::{
        audit::{self, Action},
        auth::{Admin, Role, SiteScope},
        budgets,
    },
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
    },
};

/// Whose tokens a quota limits. The fields are ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain data")]
pub enum Subject {
    User(i64),
    Role(Role),
    Bot(Uuid),
}

impl Subject {
    /// Parses the two fields that name a subject.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the name of the field.
    pub fn parse(subject_type: Option<&str>, id: Option<&str>) -> Result<Self> {
        let subject_type = subject_type.ok_or(Error::invalid("subject_type", Reason::Missing))?;
        let id = id.ok_or(Error::invalid("subject_id", Reason::Missing))?;
        let subject = match subject_type {
            "user" => id.parse().ok().map(Self::User),
            // A platform admin has no site, so it cannot chat.
            "role" => Role::parse(id)
                .filter(|role| *role != Role::Admin)
                .map(Self::Role),
            "bot" => id.parse().ok().map(Self::Bot),
            _ => return Err(Error::invalid("subject_type", Reason::Unknown)),
        };
        subject.ok_or(Error::invalid("subject_id", Reason::Unknown))
    }

    /// The words of the table: type and id.
    fn words(self) -> (&'static str, String) {
        match self {
            Self::User(id) => ("user", id.to_string()),
            Self::Role(role) => ("role", role.name().to_owned()),
            Self::Bot(id) => ("bot", id.to_string()),
        }
    }
}

/// Limits in tokens. `None`: no limit.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Limits {
    pub daily: Option<i64>,
    pub monthly: Option<i64>,
}

impl Limits {
    /// Checks the range. A limit of 0 rejects every call.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the name of the field.
    pub fn checked(self) -> Result<Self> {
        let limits = [("daily_limit", self.daily), ("monthly_limit", self.monthly)];
        for (field, limit) in limits {
            if let Some(tokens) = limit {
                budgets::check_tokens(field, tokens)?;
            }
        }
        Ok(self)
    }

    const fn are_none(self) -> bool {
        self.daily.is_none() && self.monthly.is_none()
    }
}

/// A quota, and what counts for it today and this month: charged tokens and the reservations of
/// running calls. For a role, those of the user who has used most.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Quota {
    pub site_id: i64,
    /// `user`, `role` or `bot`.
    pub subject_type: String,
    pub subject_id: String,
    pub daily_limit: Option<i64>,
    pub monthly_limit: Option<i64>,
    pub daily_used: i64,
    pub monthly_used: i64,
}

impl Quota {
    /// For the audit log.
    fn limits(&self) -> Value {
        json!({ "daily_limit": self.daily_limit, "monthly_limit": self.monthly_limit })
    }
}

/// Lists quotas by site and subject.
///
/// # Errors
/// [`Error::NotFound`] if the site does not exist.
pub async fn list(db: &Db, scope: SiteScope) -> Result<Vec<Quota>> {
    // The left join returns one row for a site without quotas.
    let rows = sqlx::query!(
        r#"
        select s.id, q.subject_type as "subject_type?: String", q.subject_id as "subject_id?", q.daily_limit as "daily_limit?",
               q.monthly_limit as "monthly_limit?", used.daily as "daily?", used.monthly as "monthly?"
        from biz.sites s
        left join lateral (select * from biz.ai_quotas a where a.site_id = s.id) q on true
        left join lateral quota_use(s.id, q.subject_type, q.subject_id, local_day(s.timezone)) used on q.subject_id is not null
        where $1::bigint is null or s.id = $1
        order by s.id, q.subject_type, q.subject_id
        "#,
        scope.site_id(),
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    if rows.is_empty() && scope.site_id().is_some() {
        return Err(Error::NotFound);
    }
    let quotas = rows.into_iter().filter_map(|row| {
        Some(Quota {
            site_id: row.id,
            subject_type: row.subject_type?,
            subject_id: row.subject_id?,
            daily_limit: row.daily_limit,
            monthly_limit: row.monthly_limit,
            daily_used: row.daily.unwrap_or_default(),
            monthly_used: row.monthly.unwrap_or_default(),
        })
    });
    Ok(quotas.collect())
}

/// Reads one quota. Without a row, both limits are `None`.
async fn read(tx: &mut PgConnection, site_id: i64, subject: Subject) -> Result<Quota> {
    let (subject_type, subject_id) = subject.words();
    sqlx::query_as!(
        Quota,
        r#"
        select s.id as site_id, $2::text as "subject_type!", $3::text as "subject_id!", q.daily_limit, q.monthly_limit,
               used.daily as "daily_used!", used.monthly as "monthly_used!"
        from biz.sites s
        cross join lateral quota_use(s.id, $2, $3, local_day(s.timezone)) used
        left join biz.ai_quotas q on q.site_id = s.id and q.subject_type = $2 and q.subject_id = $3
        where s.id = $1
        "#,
        site_id,
        subject_type,
        subject_id,
    )
    .fetch_one(tx)
    .with_statement_timeout()
    .await
}

/// A user or a bot that may have a quota at a site.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Candidate {
    /// `user` or `bot`.
    pub subject_type: String,
    pub subject_id: String,
    pub name: String,
}

/// The most users and the most bots of [`candidates`].
pub const MAX_CANDIDATES: i64 = 50;

/// Lists users and bots whose name contains a text, or whose id it is. By name, bots first, at most
/// [`MAX_CANDIDATES`] of each.
pub async fn candidates(db: &Db, site_id: i64, text: Option<&str>) -> Result<Vec<Candidate>> {
    sqlx::query_as!(
        Candidate,
        r#"
        (select 'bot' as "subject_type!", b.id::text as "subject_id!", coalesce(b.display_name, b.name) as "name!"
         from biz.bots b
         where coalesce(b.site_id, $1) = $1
           and ($2::text is null or b.id::text = $2 or strpos(lower(coalesce(b.display_name, b.name)), lower($2)) > 0)
         order by 3, 2 limit $3)
        union all
        (select 'user', u.id::text, u.nickname from biz.users u
         where u.site_id = $1 and ($2::text is null or u.id::text = $2 or strpos(lower(u.nickname), lower($2)) > 0)
         order by 3, 2 limit $3)
        "#,
        site_id,
        text,
        MAX_CANDIDATES,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await
}

/// Sets the limits of a quota, or removes it if both are `None`. They apply to the next call;
/// running calls finish. `may_replace` sees the stored quota.
///
/// # Errors
/// [`Error::NotFound`] if the site does not exist or has no such user or bot. [`Error::Outdated`]
/// if `may_replace` returns false.
pub async fn set(
    db: &Db,
    admin: &Admin,
    site_id: i64,
    subject: Subject,
    limits: Limits,
    may_replace: impl FnOnce(&Quota) -> bool + Send,
) -> Result<Quota> {
    let (user_id, bot_id) = match subject {
        Subject::User(id) => (Some(id), None),
        Subject::Bot(id) => (None, Some(id)),
        Subject::Role(_) => (None, None),
    };
    let mut tx = db.transaction().await?;
    // Locks the site, because a new quota has no row.
    let is_known = sqlx::query_scalar!(
        r#"
        select ($2::bigint is null or exists (select from biz.users u where u.id = $2 and u.site_id = s.id))
           and ($3::uuid is null or exists (select from biz.bots b where b.id = $3 and coalesce(b.site_id, s.id) = s.id)) as "is_known!"
        from biz.sites s where s.id = $1 for no key update of s
        "#,
        site_id,
        user_id,
        bot_id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    // A quota can be removed after its user has left the site.
    if !is_known && !limits.are_none() {
        return Err(Error::NotFound);
    }
    let before = read(&mut tx, site_id, subject).await?;
    if !may_replace(&before) {
        return Err(Error::Outdated);
    }
    let (subject_type, subject_id) = subject.words();
    if limits.are_none() {
        sqlx::query!(
            "delete from biz.ai_quotas where site_id = $1 and subject_type = $2::text and subject_id = $3",
            site_id,
            subject_type,
            subject_id,
        )
        .execute(&mut *tx)
        .with_statement_timeout()
        .await?;
    } else {
        sqlx::query!(
            "insert into biz.ai_quotas (site_id, subject_type, subject_id, daily_limit, monthly_limit)
             values ($1, $2::text, $3, $4, $5)
             on conflict on constraint ai_quotas_pkey do update set
                 daily_limit = excluded.daily_limit, monthly_limit = excluded.monthly_limit",
            site_id,
            subject_type,
            subject_id,
            limits.daily,
            limits.monthly,
        )
        .execute(&mut *tx)
        .with_statement_timeout()
        .await?;
    }
    let after = read(&mut tx, site_id, subject).await?;
    let details = json!({ "before": before.limits(), "after": after.limits() });
    let object_id = format!("{subject_type}/{subject_id}");
    audit::record(
        &mut tx,
        Action::SetQuota,
        site_id,
        admin.user_id,
        Some(&object_id),
        details,
    )
    .await?;
    tx.commit().await?;
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_named_by_type_and_id() {
        let parsed = |subject_type, id| Subject::parse(Some(subject_type), Some(id)).unwrap();
        assert_eq!(parsed("user", "1001"), Subject::User(1001));
        assert_eq!(parsed("role", "coach"), Subject::Role(Role::Coach));
        let bot = "00000000-0000-4000-8000-000000000001";
        assert_eq!(parsed("bot", bot).words(), ("bot", bot.to_owned()));
        for (subject_type, id, field) in [
            (None, Some("1"), "subject_type"),
            (Some("site"), Some("1"), "subject_type"),
            (Some("user"), None, "subject_id"),
            (Some("user"), Some("coach"), "subject_id"),
            (Some("user"), Some("99999999999999999999"), "subject_id"),
            (Some("role"), Some("admin"), "subject_id"),
            (Some("role"), Some("1001"), "subject_id"),
            (Some("bot"), Some("1001"), "subject_id"),
        ] {
            let refused = Subject::parse(subject_type, id).unwrap_err();
            let is_of =
                |name: &str| matches!(&refused, Error::Invalid { field, .. } if field == name);
            assert!(is_of(field), "{subject_type:?} {id:?}");
        }
    }
}
