//! The outbox: finds incidents, claims due deliveries, sends them and stores the results.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    Kind,
    message::{self, Message, Outcome},
};
use crate::{
    governance::apps::App,
    platform::{
        db::{Db, StatementTimeout},
        error::Result,
        public_client::PublicClient,
    },
};

/// Deliveries that are sent at once.
const BATCH: i32 = 20;
/// Another function may send a delivery again after this time. A try takes at most 5 s.
const LEASE_SECONDS: i32 = 60;
/// A delivery is given up after this number of tries.
const MAX_TRIES: i32 = 6;
/// The pause after the first failure. It doubles: the sixth try is 31 minutes after the first.
const FIRST_PAUSE_SECONDS: f64 = 60.0;
/// No batch starts later. The function must end before the next one starts.
const WORKING_TIME: Duration = Duration::from_secs(30);

/// What one invocation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Notified {
    /// New incidents.
    pub opened: i64,
    /// Incidents that recovered or are over.
    pub ended: i64,
    /// Messages that a service accepted.
    pub sent: u32,
    /// Tries that failed. They are repeated, or given up after the sixth.
    pub failed: u32,
}

/// Opens and ends incidents, and sends due deliveries.
///
/// # Errors
/// The database cannot be reached. A service that fails is no error.
pub async fn run(db: &Db, client: &PublicClient) -> Result<Notified> {
    let began = Instant::now();
    // Deliveries are sent even if the causes cannot be read.
    let incidents = incidents(db).await;
    let mut done = Notified::default();
    while began.elapsed() < WORKING_TIME {
        let claimed = claim(db).await?;
        if claimed.is_empty() {
            break;
        }
        let tries = claimed.iter().map(|claimed| claimed.send(client));
        let outcomes = join_all(tries).await;
        for (claimed, outcome) in claimed.iter().zip(outcomes) {
            if outcome.ok {
                done.sent += 1;
            } else {
                done.failed += 1;
            }
            claimed.store(db, &outcome).await?;
        }
    }
    (done.opened, done.ended) = incidents?;
    Ok(done)
}

async fn incidents(db: &Db) -> Result<(i64, i64)> {
    let apps = App::ALL.map(App::name);
    let opened = sqlx::query_scalar!(
        r#"select open_incidents($1) as "opened!""#,
        &apps as &[&str]
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    let ended = sqlx::query_scalar!(r#"select end_incidents() as "ended!""#)
        .fetch_one(db)
        .with_statement_timeout()
        .await?;
    forget(db).await?;
    Ok((opened, ended))
}

/// Deletes deliveries and ended incidents after 40 days, at most 1,000 of each.
async fn forget(db: &Db) -> Result<()> {
    sqlx::query!(
        "with old as (
             select d.id from biz.notification_deliveries d
             where d.created_at < now() - interval '40 days' order by d.created_at limit 1000
         ), over as (
             select i.id from biz.notification_incidents i
             where i.ended_at < now() - interval '40 days' order by i.ended_at limit 1000
         ), deleted as (
             delete from biz.notification_deliveries d using old where d.id = old.id
         )
         delete from biz.notification_incidents i using over where i.id = over.id"
    )
    .execute(db)
    .with_statement_timeout()
    .await?;
    Ok(())
}

/// A delivery that this function sends. It has no `Debug`, because it contains secrets.
struct Claimed {
    /// The try. A result of an earlier try changes nothing.
    tries: i32,
    kind: Kind,
    url: String,
    secret: Option<String>,
    message: Message,
}

async fn claim(db: &Db) -> Result<Vec<Claimed>> {
    let rows = sqlx::query!(
        r#"
        select d.id as "id!", d.site_id as "site_id!", d.tries as "tries!", d.event::text as "event!", d.held,
               c.kind::text as "kind!", c.name as channel, c.url as "url!", c.secret, s.name as site,
               i.kind::text as incident, i.level::text as level, i.details as "details?", i.occurrences as "occurrences?",
               to_char(i.began_at at time zone s.timezone, 'MM-DD HH24:MI') as began,
               case when d.event = 'recovered' then to_char(i.ended_at at time zone s.timezone, 'MM-DD HH24:MI') end as ended
        from claim_deliveries($1, $2, $3) d
        join biz.notification_channels c on c.id = d.channel_id and c.site_id = d.site_id
        join biz.sites s on s.id = d.site_id
        left join biz.notification_incidents i on i.id = d.incident_id and i.site_id = d.site_id
        "#,
        BATCH,
        LEASE_SECONDS,
        MAX_TRIES,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let claimed = rows.into_iter().map(|row| {
        Ok(Claimed {
            tries: row.tries,
            kind: Kind::from_sql(&row.kind, "notification_channels")?,
            url: row.url,
            secret: row.secret,
            message: Message {
                delivery_id: row.id,
                site_id: row.site_id,
                site: row.site,
                channel: row.channel,
                event: row.event,
                held: row.held.unwrap_or_default(),
                level: row.level,
                incident: row.incident,
                details: row.details.unwrap_or_default(),
                occurrences: row.occurrences.unwrap_or_default(),
                began: row.began,
                ended: row.ended,
            },
        })
    });
    claimed.collect()
}

impl Claimed {
    async fn send(&self, client: &PublicClient) -> Outcome {
        let secret = self.secret.as_deref();
        message::send(client, self.kind, &self.url, secret, &self.message).await
    }

    /// Stores the result, if no other function has claimed the delivery since.
    async fn store(&self, db: &Db, outcome: &Outcome) -> Result<()> {
        let (delivery_id, site_id) = (self.message.delivery_id, self.message.site_id);
        let pause = FIRST_PAUSE_SECONDS * f64::from(1 << (self.tries - 1).clamp(0, 10));
        let state = if outcome.ok {
            "sent"
        } else if self.tries >= MAX_TRIES {
            tracing::warn!(
                delivery_id,
                site_id,
                detail = outcome.detail,
                "a notification was given up"
            );
            "failed"
        } else {
            "pending"
        };
        sqlx::query!(
            "update biz.notification_deliveries set
                 state = $4::text, ok = $5, detail = $6, next_at = clock_timestamp() + make_interval(secs => $7)
             where id = $2 and site_id = $1 and tries = $3 and state = 'pending'",
            site_id,
            delivery_id,
            self.tries,
            state,
            outcome.ok,
            outcome.detail,
            pause,
        )
        .execute(db)
        .with_statement_timeout()
        .await?;
        Ok(())
    }
}
