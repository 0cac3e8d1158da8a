//! Usage and health of the apps. Read from daily counters, because the run log has millions of
//! rows.

mod counters;
mod latency;

pub use counters::{GroupBy, Item, OwnUsage, UsageQuery, by, export, own};
pub use latency::{BOUNDS, DayOfApp, Latency, LatencyQuery, by_day as latency_by_day};

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate, Utc};
use serde::Deserialize;
use sqlx::types::Json;

use crate::{
    governance::{
        apps::App,
        auth::SiteScope,
        budgets::{self, Budget},
        prices::Yuan,
    },
    platform::{
        db::{Db, StatementTimeout},
        error::Result,
    },
};

/// Calls of one or more apps on one or more days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls that have ended. Refusals by budget or circuit are not calls.
    pub count: i64,
    /// Calls that ended as `success` or `stopped`.
    pub successes: i64,
    /// Tokens charged to the budget.
    pub tokens: i64,
    /// Of the calls whose cost is known.
    pub cost: Yuan,
    /// Calls whose cost is not known.
    pub unpriced: i64,
}

impl Calls {
    /// From 0 to 1, rounded to 4 decimals. 0 if there was no call.
    pub fn success_rate(&self) -> f64 {
        fraction(self.successes, self.count)
    }

    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.successes += other.successes;
        self.tokens += other.tokens;
        self.cost.0 += other.cost.0;
        self.unpriced += other.unpriced;
    }
}

/// `part / whole`, rounded to 4 decimals. 0 if `whole` is 0.
pub fn fraction(part: i64, whole: i64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "rounded to 4 decimals anyway")]
    let fraction = part as f64 / whole as f64;
    (fraction * 10_000.0).round() / 10_000.0
}

/// `sum / calls`, rounded to 2 decimals. 0 if there was no call.
fn average(sum: i64, calls: i64) -> f64 {
    if calls == 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "rounded to 2 decimals anyway")]
    let average = sum as f64 / calls as f64;
    (average * 100.0).round() / 100.0
}

/// Usage of one site or of all sites together, over the last days.
#[derive(Clone, Debug)]
pub struct Usage {
    /// The calendar day of the site's time zone, or of Shanghai for all sites together.
    pub today: NaiveDate,
    /// Calls per day, in ascending order, including days without a call.
    pub trend: Vec<(NaiveDate, Calls)>,
    /// Calls per app over these days, most calls first. Apps without a call are left out.
    pub by_app: Vec<(String, Calls)>,
    /// Sum of the latencies of today's calls, in milliseconds.
    latency_sum: i64,
    /// Latency of today's calls.
    pub latency: Latency,
    /// Time to the first token of today's chats.
    pub first_token: Latency,
    /// The current budget.
    pub budget: Budget,
}

impl Usage {
    /// All calls of today.
    pub fn of_today(&self) -> Calls {
        self.trend
            .last()
            .map(|(_, calls)| *calls)
            .unwrap_or_default()
    }

    /// Average latency of today's calls in milliseconds, rounded to 2 decimals. 0 without calls.
    pub fn average_latency(&self) -> f64 {
        average(self.latency_sum, self.latency.calls())
    }

    /// All calls of these days.
    pub fn of_all_days(&self) -> Calls {
        let mut all = Calls::default();
        for (_, calls) in &self.trend {
            all.add(*calls);
        }
        all
    }
}

/// Returns the usage of the last days and the budget. `days` includes today and is at most 30.
///
/// # Errors
/// [`crate::Error::NotFound`] if the site does not exist.
pub async fn last_days(db: &Db, scope: SiteScope, days: u16) -> Result<Usage> {
    // The left join returns one row with the day and the budget even if there was no call.
    let rows = sqlx::query!(
        r#"
        with today (day) as materialized (
            select local_day(zone_of($1))
        ), used as (
            select u.day, u.app_type, sum(u.calls)::bigint as calls, sum(u.successes)::bigint as successes, sum(u.tokens)::bigint as tokens,
                   sum(u.latency_sum_ms)::bigint as latency, sum(u.cost)::bigint as cost, sum(u.unpriced_calls)::bigint as unpriced
            -- Lateral with a limit, so that the plan always uses the index for the days of a site.
            from today cross join biz.sites s cross join lateral (
                select * from biz.ai_usage_daily u
                where u.site_id = s.id and u.day between today.day - $2::integer + 1 and today.day
                order by u.day limit 1000
            ) u
            where $1::bigint is null or s.id = $1
            group by u.day, u.app_type
        )
        select today.day as "today!", b.daily_used, b.daily_limit, b.monthly_used, b.monthly_limit, b.updated_by, b.updated_at,
               b.daily_cost, b.daily_cost_limit, b.monthly_cost, b.monthly_cost_limit, b.daily_cap, b.monthly_cap,
               used.day as "day?", used.app_type as "app_type?", used.calls as "calls?", used.successes as "successes?",
               used.tokens as "tokens?", used.latency as "latency?", used.cost as "cost?", used.unpriced as "unpriced?", l.max_ms as "max_ms?", l.buckets as "buckets?",
               l.first_token_max_ms as "first_token_max_ms?", l.first_token_buckets as "first_token_buckets?"
        from today cross join budget_of($1) b left join used on true
        left join latencies($1, null, today.day, today.day) l on l.day = used.day and l.app_type = used.app_type
        "#,
        scope.site_id(),
        i32::from(days),
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let first = rows.first().ok_or(crate::Error::NotFound)?;
    let today = first.today;
    let budget = budgets::Row {
        daily_used: first.daily_used,
        daily_limit: first.daily_limit,
        monthly_used: first.monthly_used,
        monthly_limit: first.monthly_limit,
        daily_cost: first.daily_cost,
        daily_cost_limit: first.daily_cost_limit,
        monthly_cost: first.monthly_cost,
        monthly_cost_limit: first.monthly_cost_limit,
        daily_cap: first.daily_cap,
        monthly_cap: first.monthly_cap,
        updated_by: first.updated_by,
        updated_at: first.updated_at,
    }
    .try_into()?;

    let days = (0..days)
        .rev()
        .filter_map(|ago| today.checked_sub_days(Days::new(ago.into())));
    let mut trend: BTreeMap<NaiveDate, Calls> = days.map(|day| (day, Calls::default())).collect();
    let mut by_app: BTreeMap<String, Calls> = BTreeMap::new();
    let mut latency_sum = 0;
    let (mut latency, mut first_token) = (Latency::default(), Latency::default());
    for row in rows {
        let (Some(day), Some(app)) = (row.day, row.app_type) else {
            continue;
        };
        let calls = Calls {
            count: row.calls.unwrap_or_default(),
            successes: row.successes.unwrap_or_default(),
            tokens: row.tokens.unwrap_or_default(),
            cost: Yuan(row.cost.unwrap_or_default()),
            unpriced: row.unpriced.unwrap_or_default(),
        };
        trend.entry(day).or_default().add(calls);
        by_app.entry(app).or_default().add(calls);
        if day == today {
            latency_sum += row.latency.unwrap_or_default();
            latency.add(&Latency::new(
                row.buckets.unwrap_or_default(),
                row.max_ms.unwrap_or_default(),
            ));
            first_token.add(&Latency::new(
                row.first_token_buckets.unwrap_or_default(),
                row.first_token_max_ms.unwrap_or_default(),
            ));
        }
    }
    let mut by_app: Vec<_> = by_app
        .into_iter()
        .filter(|(_, calls)| calls.count > 0)
        .collect();
    by_app.sort_by_key(|(_, calls)| std::cmp::Reverse(calls.count));
    Ok(Usage {
        today,
        trend: trend.into_iter().collect(),
        by_app,
        latency_sum,
        latency,
        first_token,
        budget,
    })
}

/// The health of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// A word of [`App`].
    pub app: String,
    /// The status of its last call at the requested sites.
    pub last_status: Option<String>,
    /// When that call began.
    pub last_call_at: Option<DateTime<Utc>>,
    /// `closed`, `open` or `half_open`. All sites share a circuit. An app may have several
    /// applications, such as the bots of `app1_chat`. Then it is the circuit that is open longest.
    pub circuit: String,
    /// When the next call is allowed, if the circuit is not closed.
    pub retry_at: Option<DateTime<Utc>>,
    /// Feedback of users in the last 90 days, by version of the prompt. Only the newest 2,000 of
    /// each site are counted.
    pub thumbs: Json<Vec<Thumbs>>,
}

/// Feedback on the texts that one version of a prompt made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "plain data")]
pub struct Thumbs {
    /// `None` if the run is not known.
    pub prompt_version: Option<String>,
    pub up: i64,
    pub down: i64,
}

/// Returns the health of each app.
pub async fn health(db: &Db, scope: SiteScope) -> Result<Vec<Health>> {
    let apps: Vec<String> = App::ALL.map(|app| app.name().to_owned()).into();
    sqlx::query_as!(
        Health,
        r#"
        with thumbs as materialized (
            select v.app_type,
                   jsonb_agg(jsonb_build_object('prompt_version', v.prompt_version, 'up', v.up, 'down', v.down)
                             order by v.prompt_version) as versions
            from (
                select f.app_type, f.prompt_version, count(*) filter (where f.rating = 'up') as up,
                       count(*) filter (where f.rating = 'down') as down
                from biz.sites s cross join lateral (
                    -- The order makes the plan use the index of the site.
                    select f.app_type::text, f.prompt_version, f.rating from biz.ai_feedback f
                    where f.site_id = s.id and f.created_at > now() - interval '90 days'
                    order by f.created_at desc limit 2000
                ) f
                where $1::bigint is null or s.id = $1
                group by f.app_type, f.prompt_version
            ) v
            group by v.app_type
        )
        select a.app_type as "app!", last.last_status as "last_status?", last.last_call_at as "last_call_at?",
               coalesce(k.state, 'closed') as "circuit!", k.retry_at as "retry_at?",
               coalesce((select t.versions from thumbs t where t.app_type = a.app_type), '[]') as "thumbs!: Json<Vec<Thumbs>>"
        from unnest($2::text[]) with ordinality as a (app_type, place)
        left join lateral (
            select k.state, k.retry_at from biz.ai_circuits k
            where k.app_type = a.app_type and k.app_id <> '' and k.state <> 'closed'
            order by k.retry_at desc limit 1
        ) k on true
        left join lateral (
            select of_site.* from biz.sites s cross join lateral (
                select u.last_status, u.last_call_at from biz.ai_usage_daily u
                where u.site_id = s.id and u.app_type = a.app_type and u.last_call_at is not null
                order by u.day desc limit 1
            ) of_site
            where $1::bigint is null or s.id = $1
            order by of_site.last_call_at desc limit 1
        ) last on true
        order by a.place
        "#,
        scope.site_id(),
        &apps,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_has_four_decimals_and_is_0_of_0() {
        assert_eq!(fraction(1, 3).to_string(), "0.3333");
        assert_eq!(fraction(2, 3).to_string(), "0.6667");
        assert_eq!(fraction(0, 0).to_string(), "0");
        assert_eq!(fraction(7, 7).to_string(), "1");
    }

    #[test]
    fn the_average_has_two_decimals_and_is_0_without_calls() {
        assert_eq!(average(1_000, 3).to_string(), "333.33");
        assert_eq!(average(0, 0).to_string(), "0");
    }
}
