//! Channels: where the notifications of a site are sent. Address and secret are write-only.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use reqwest::Url;
use serde_json::{Value, json};

use crate::{
    governance::{
        audit::{self, Action},
        auth::SiteScope,
        sites,
    },
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
        paging::{MAX_COUNTED, Page, PageStart, Paging},
        public_client::{PublicClient, is_public, literal},
        text,
        words::words,
    },
};

/// The longest name, in characters.
const MAX_NAME: usize = 100;
/// The longest address and secret, in characters.
const MAX_SECRET: usize = 2_000;
/// The largest hourly cap.
const MAX_HOURLY_CAP: i32 = 1_000;
/// The most channels of a site.
const MAX_CHANNELS: i64 = 50;

words! {
    /// The service of a channel.
    pub enum Kind {
        /// A robot of a `WeCom` group.
        Wecom = "wecom",
        /// A robot of a `DingTalk` group.
        Dingtalk = "dingtalk",
        /// A robot of a Feishu or Lark group.
        Feishu = "feishu",
        /// Any HTTPS server.
        Webhook = "webhook",
    }
}

words! {
    /// How urgent a notification is.
    pub enum Level {
        Info = "info",
        Warning = "warning",
        Critical = "critical",
    }
}

impl Kind {
    /// The official hosts of the service. Empty: any public host.
    const fn hosts(self) -> &'static [&'static str] {
        match self {
            Self::Wecom => &["qyapi.weixin.qq.com"],
            Self::Dingtalk => &["oapi.dingtalk.com"],
            Self::Feishu => &["open.feishu.cn", "open.larksuite.com"],
            Self::Webhook => &[],
        }
    }

    /// Checks an address without resolving its host.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the address is not HTTPS, contains a port or credentials, is of
    /// another host than the service's, or names an IP address that is not public.
    pub(super) fn parse_url(self, text: &str) -> Result<Url> {
        let url = Url::parse(text)
            .ok()
            .filter(|url| url.scheme() == "https" && url.port().is_none())
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .ok_or(Error::invalid("url", Reason::NotHttps))?;
        let host = url.host_str().unwrap_or_default();
        if !self.hosts().is_empty() && !self.hosts().contains(&host) {
            return Err(Error::invalid("url", Reason::NotOfService));
        }
        if literal(host).is_some_and(|address: IpAddr| !is_public(address)) {
            return Err(Error::invalid("url", Reason::NotPublic));
        }
        Ok(url)
    }
}

/// Scheme and host of an address, and the last four characters if at least twelve precede them.
fn url_hint(url: &str) -> String {
    let parsed = Url::parse(url).ok();
    let host = parsed.as_ref().and_then(Url::host_str).unwrap_or_default();
    let rest: Vec<char> = parsed
        .as_ref()
        .map(|url| format!("{}{}", url.path(), url.query().unwrap_or_default()))
        .unwrap_or_default()
        .chars()
        .collect();
    let end = match rest.len() {
        16.. => rest[rest.len() - 4..].iter().collect(),
        _ => String::new(),
    };
    format!("https://{host}/…{end}")
}

/// A channel without its secrets.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Channel {
    pub id: i64,
    pub site_id: i64,
    /// A word of [`Kind`].
    pub kind: String,
    pub name: String,
    /// Host and end of the address. `None`: there is no address, and nothing is sent.
    pub url_hint: Option<String>,
    /// A word of [`Level`].
    pub level: String,
    pub hourly_cap: i32,
    pub muted_until: Option<DateTime<Utc>>,
    pub enabled: bool,
    /// Increases with each change by an admin, not with deliveries.
    pub version: i64,
    pub last_delivery: Option<LastDelivery>,
}

/// The newest try of any delivery of a channel.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct LastDelivery {
    pub at: DateTime<Utc>,
    pub ok: bool,
    pub detail: String,
}

/// A row of a channel. It has no `Debug`, because it contains secrets.
struct Row {
    id: i64,
    site_id: i64,
    kind: String,
    name: String,
    url: Option<String>,
    secret: Option<String>,
    level: String,
    hourly_cap: i32,
    muted_until: Option<DateTime<Utc>>,
    enabled: bool,
    version: i64,
}

impl Row {
    fn without_secrets(self, last_delivery: Option<LastDelivery>) -> Channel {
        Channel {
            id: self.id,
            site_id: self.site_id,
            kind: self.kind,
            name: self.name,
            url_hint: self.url.as_deref().map(url_hint),
            level: self.level,
            hourly_cap: self.hourly_cap,
            muted_until: self.muted_until,
            enabled: self.enabled,
            version: self.version,
            last_delivery,
        }
    }
}

/// The fields of a request, unchecked. For `url` and `secret`, `None` keeps the stored value, and
/// `Some(None)` removes it.
#[derive(Clone, Default)]
#[expect(missing_docs, reason = "plain data")]
pub struct Fields {
    pub kind: Option<String>,
    pub name: Option<String>,
    pub url: Option<Option<String>>,
    pub secret: Option<Option<String>>,
    pub level: Option<String>,
    pub hourly_cap: Option<i32>,
    pub muted_until: Option<DateTime<Utc>>,
    pub enabled: Option<bool>,
}

/// Checked fields.
struct Settings {
    kind: Kind,
    name: String,
    url: Option<String>,
    secret: Option<String>,
    level: Level,
    hourly_cap: i32,
    muted_until: Option<DateTime<Utc>>,
    enabled: bool,
}

impl Settings {
    /// `url` and `secret` are the stored ones.
    fn parse(fields: Fields, url: Option<String>, secret: Option<String>) -> Result<Self> {
        let kind = fields.kind.ok_or(Error::invalid("kind", Reason::Missing))?;
        let kind = Kind::parse(&kind).ok_or(Error::invalid("kind", Reason::Unknown))?;
        let name = fields.name.ok_or(Error::invalid("name", Reason::Missing))?;
        let name = text::checked("name", name.trim(), MAX_NAME)?;
        let url = given("url", fields.url)?.unwrap_or(url);
        // A stored address is checked, too: the kind may be another one.
        url.as_deref().map(|url| kind.parse_url(url)).transpose()?;
        let secret = given("secret", fields.secret)?.unwrap_or(secret);
        let level = fields.level.as_deref().unwrap_or(Level::Warning.name());
        let hourly_cap = fields.hourly_cap.unwrap_or(20);
        if !(1..=MAX_HOURLY_CAP).contains(&hourly_cap) {
            let range = Reason::OutOfRange(1, MAX_HOURLY_CAP.into());
            return Err(Error::invalid("hourly_cap", range));
        }
        Ok(Self {
            kind,
            name,
            url,
            secret,
            level: Level::parse(level).ok_or(Error::invalid("level", Reason::Unknown))?,
            hourly_cap,
            muted_until: fields.muted_until,
            enabled: fields.enabled.unwrap_or(true),
        })
    }

    /// What the audit log stores: everything but address and secret.
    fn audited(&self) -> Value {
        json!({
            "kind": self.kind.name(),
            "name": self.name,
            "level": self.level.name(),
            "hourly_cap": self.hourly_cap,
            "muted_until": self.muted_until,
            "enabled": self.enabled,
        })
    }
}

#[expect(clippy::option_option, reason = "null and a missing field differ")]
fn given(field: &'static str, value: Option<Option<String>>) -> Result<Option<Option<String>>> {
    let check = |value: String| text::checked(field, value.trim(), MAX_SECRET);
    value.map(|value| value.map(check).transpose()).transpose()
}

/// Filters of the list.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct ChannelQuery {
    pub scope: SiteScope,
}

impl ChannelQuery {
    /// The scope of cursors of this list. A cursor is valid only in its own scope.
    pub fn cursor_scope(&self) -> String {
        format!("channels/{:?}", self.scope)
    }
}

/// Lists channels, ordered by site and id.
pub async fn list(
    db: &Db,
    query: &ChannelQuery,
    paging: &Paging<(i64, i64)>,
) -> Result<Page<Channel>> {
    let (offset, (after_site, after_id)) = match paging.from {
        PageStart::Offset(offset) => (offset, (0, 0)),
        PageStart::Key(key) => (0, key),
    };
    // The left join returns one row with the total even if the page is empty.
    let rows = sqlx::query!(
        r#"
        select counted.total as "total!", c.id as "id?", c.site_id as "site_id?", c.kind::text as kind, c.name as "name?",
               c.url, c.level::text as level, c.hourly_cap as "hourly_cap?", c.muted_until, c.enabled as "enabled?",
               c.version as "version?", d.tried_at, d.ok, d.detail
        from (select count(*) as total from (
                  select from biz.notification_channels c where $1::bigint is null or c.site_id = $1
                  limit $2::bigint + 1) few) counted
        left join lateral (
            select * from biz.notification_channels c
            where ($1::bigint is null or c.site_id = $1) and (c.site_id, c.id) > ($3, $4)
            order by c.site_id, c.id limit $5 offset $6
        ) c on true
        left join lateral (
            select d.tried_at, d.ok, d.detail from biz.notification_deliveries d
            where d.channel_id = c.id and d.tried_at is not null and d.ok is not null
            order by d.tried_at desc limit 1
        ) d on true
        order by c.site_id, c.id
        "#,
        query.scope.site_id(),
        MAX_COUNTED,
        after_site,
        after_id,
        paging.size + 1,
        offset,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let channels = rows.into_iter().filter_map(|row| {
        let last_delivery = row.tried_at.zip(row.ok).map(|(at, ok)| LastDelivery {
            at,
            ok,
            detail: row.detail.unwrap_or_default(),
        });
        let channel = Row {
            id: row.id?,
            site_id: row.site_id?,
            kind: row.kind?,
            name: row.name?,
            url: row.url,
            secret: None,
            level: row.level?,
            hourly_cap: row.hourly_cap?,
            muted_until: row.muted_until,
            enabled: row.enabled?,
            version: row.version?,
        };
        let key = (channel.site_id, channel.id);
        Some((key, channel.without_secrets(last_delivery)))
    });
    let scope = query.cursor_scope();
    Ok(Page::counted(total, channels, paging.size, &scope))
}

/// Creates a channel.
///
/// # Errors
/// [`Error::Invalid`] for a missing or invalid field. [`Error::NotFound`] if the site does not
/// exist. [`Error::Conflict`] if the site has 50 channels.
pub async fn create(db: &Db, site_id: i64, user_id: i64, fields: Fields) -> Result<Channel> {
    if !matches!(fields.url, Some(Some(_))) {
        return Err(Error::invalid("url", Reason::Missing));
    }
    let settings = Settings::parse(fields, None, None)?;
    let mut tx = db.transaction().await?;
    // The lock of the site makes the number of its channels exact.
    sites::lock(&mut tx, site_id).await?;
    let stored = sqlx::query_as!(
        Row,
        r#"
        insert into biz.notification_channels (
            site_id, kind, name, url, secret, level, hourly_cap, muted_until, enabled)
        select $1, $2::text, $3, $4, $5, $6::text, $7, $8, $9
        where (select count(*) from biz.notification_channels where site_id = $1) < $10
        returning id, site_id, kind as "kind: String", name, url, secret, level as "level: String", hourly_cap, muted_until,
                  enabled, version
        "#,
        site_id,
        settings.kind.name(),
        settings.name,
        settings.url,
        settings.secret,
        settings.level.name(),
        settings.hourly_cap,
        settings.muted_until,
        settings.enabled,
        MAX_CHANNELS,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::Conflict("the site has 50 channels"))?;
    let object_id = stored.id.to_string();
    let details = json!({ "after": settings.audited() });
    let action = Action::CreateChannel;
    audit::record(&mut tx, action, site_id, user_id, Some(&object_id), details).await?;
    tx.commit().await?;
    Ok(stored.without_secrets(None))
}

/// Replaces the settings of a channel. `may_replace` sees the stored version.
///
/// # Errors
/// [`Error::NotFound`], also for a channel of another site. [`Error::Outdated`] if `may_replace`
/// returns false. [`Error::Invalid`] for a missing or invalid field.
pub async fn set(
    db: &Db,
    site_id: i64,
    user_id: i64,
    id: i64,
    fields: Fields,
    may_replace: impl FnOnce(i64) -> bool + Send,
) -> Result<Channel> {
    let (url_is_given, secret_is_given) = (fields.url.is_some(), fields.secret.is_some());
    // Invalid fields are refused before the database is asked.
    Settings::parse(fields.clone(), None, None)?;
    let mut tx = db.transaction().await?;
    let before = sqlx::query_as!(
        Row,
        r#"
        select id, site_id, kind as "kind: String", name, url, secret, level as "level: String", hourly_cap, muted_until,
               enabled, version
        from biz.notification_channels where id = $2 and site_id = $1 for no key update
        "#,
        site_id,
        id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    if !may_replace(before.version) {
        return Err(Error::Outdated);
    }
    let settings = Settings::parse(fields, before.url, before.secret)?;
    let stored = sqlx::query_as!(
        Row,
        r#"
        update biz.notification_channels set
            kind = $3::text, name = $4, url = $5, secret = $6, level = $7::text, hourly_cap = $8, muted_until = $9,
            enabled = $10, version = version + 1
        where id = $2 and site_id = $1
        returning id, site_id, kind as "kind: String", name, url, secret, level as "level: String", hourly_cap, muted_until,
                  enabled, version
        "#,
        site_id,
        id,
        settings.kind.name(),
        settings.name,
        settings.url,
        settings.secret,
        settings.level.name(),
        settings.hourly_cap,
        settings.muted_until,
        settings.enabled,
    )
    .fetch_one(&mut *tx)
    .with_statement_timeout()
    .await?;
    let details = json!({
        "before": {
            "kind": before.kind,
            "name": before.name,
            "level": before.level,
            "hourly_cap": before.hourly_cap,
            "muted_until": before.muted_until,
            "enabled": before.enabled,
        },
        "after": settings.audited(),
        "url_is_given": url_is_given,
        "secret_is_given": secret_is_given,
    });
    let (action, object_id) = (Action::SetChannel, id.to_string());
    audit::record(&mut tx, action, site_id, user_id, Some(&object_id), details).await?;
    let last_delivery = sqlx::query_as!(
        LastDelivery,
        r#"
        select tried_at as "at!", ok as "ok!", coalesce(detail, '') as "detail!"
        from biz.notification_deliveries
        where channel_id = $2 and site_id = $1 and tried_at is not null and ok is not null
        order by tried_at desc limit 1
        "#,
        site_id,
        id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?;
    tx.commit().await?;
    Ok(stored.without_secrets(last_delivery))
}

/// Deletes a channel and its deliveries.
///
/// # Errors
/// [`Error::NotFound`], also for a channel of another site.
pub async fn delete(db: &Db, site_id: i64, user_id: i64, id: i64) -> Result<()> {
    let mut tx = db.transaction().await?;
    let name = sqlx::query_scalar!(
        "delete from biz.notification_channels where id = $2 and site_id = $1 returning name",
        site_id,
        id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    let (action, object_id) = (Action::DeleteChannel, id.to_string());
    let details = json!({ "name": name });
    audit::record(&mut tx, action, site_id, user_id, Some(&object_id), details).await?;
    tx.commit().await
}

/// Checks the address of a channel and queues a test message. Returns the id of the delivery.
///
/// The test message ignores level, mute and hourly cap. If one is waiting, its id is returned.
///
/// # Errors
/// [`Error::NotFound`], also for a channel of another site. [`Error::Invalid`] if the channel has
/// no address, or its address is refused. All addresses that are not public, and names that cannot
/// be resolved, have the same error, so that the route is no port scanner.
/// [`Error::Conflict`] if the channel is disabled.
pub async fn test(
    db: &Db,
    client: &PublicClient,
    site_id: i64,
    user_id: i64,
    id: i64,
) -> Result<i64> {
    let row = sqlx::query!(
        r#"select kind as "kind: String", url, enabled from biz.notification_channels
           where id = $2 and site_id = $1"#,
        site_id,
        id,
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    let url = row.url.ok_or(Error::invalid("url", Reason::Missing))?;
    let kind = Kind::from_sql(&row.kind, "notification_channels")?;
    let url = kind.parse_url(&url)?;
    if !row.enabled {
        return Err(Error::Conflict("the channel is disabled"));
    }
    client
        .check(&url)
        .await
        .map_err(|_| Error::invalid("url", Reason::NotPublic))?;
    let mut tx = db.transaction().await?;
    let delivery_id = sqlx::query_scalar!(
        "insert into biz.notification_deliveries as d (site_id, channel_id, event)
         select c.site_id, c.id, 'test' from biz.notification_channels c
         where c.id = $2 and c.site_id = $1
         on conflict (channel_id) where event = 'test' and state = 'pending'
         do update set event = excluded.event
         returning d.id",
        site_id,
        id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    let (action, object_id) = (Action::TestChannel, id.to_string());
    let details = json!({ "delivery_id": delivery_id });
    audit::record(&mut tx, action, site_id, user_id, Some(&object_id), details).await?;
    tx.commit().await?;
    Ok(delivery_id)
}

#[cfg(test)]
mod tests;
