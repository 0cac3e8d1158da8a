//! Percentiles of latencies, estimated from counts by bucket.

use chrono::NaiveDate;

use crate::{
    governance::{apps::App, auth::SiteScope},
    platform::{
        dates::DateRange,
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
    },
};

/// Days of a list without `date_from`, including the last day.
const DAYS: i32 = 7;

/// The longest range of a list, in days.
const MOST_DAYS: i32 = 400;

/// Lower bounds of the buckets from the second on, in milliseconds. The first bucket is 0 ms.
///
/// Up to 9 ms a bucket is one value. From 10 ms on, there are five buckets per doubling. So the
/// width of a bucket is at most 20 % of its lower bound. The last bucket begins at 327,680 ms. The
/// SQL function `latency_bounds` has the same bounds.
pub const BOUNDS: [i64; 85] = bounds();

const fn bounds() -> [i64; 85] {
    let mut bounds = [0; 85];
    let (mut place, mut bound, mut width) = (0, 1, 1);
    while place < bounds.len() {
        bounds[place] = bound;
        bound += width;
        place += 1;
        // From 10 ms on, the width doubles with every five buckets.
        if place >= 9 && (place - 9).is_multiple_of(5) {
            width *= 2;
        }
    }
    bounds
}

/// Latencies or times to the first token of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Number of calls per bucket of [`BOUNDS`].
    buckets: Vec<i64>,
    /// The slowest call, in milliseconds.
    max_ms: i64,
}

impl Latency {
    pub(super) fn new(buckets: Vec<i64>, max_ms: i64) -> Self {
        Self { buckets, max_ms }
    }

    pub(super) fn add(&mut self, other: &Self) {
        let places = self.buckets.len().max(other.buckets.len());
        self.buckets.resize(places, 0);
        for (all, one) in self.buckets.iter_mut().zip(&other.buckets) {
            *all += one;
        }
        self.max_ms = self.max_ms.max(other.max_ms);
    }

    /// Number of calls. Rejected calls are not counted.
    pub fn calls(&self) -> i64 {
        self.buckets.iter().sum()
    }

    /// The nearest-rank percentile in milliseconds. `None` if there was no call.
    ///
    /// The error is at most 10 % up to 327,680 ms. The result is never above the slowest call.
    pub fn percentile(&self, percent: u8) -> Option<i64> {
        let calls = self.calls();
        let rank = (calls * i64::from(percent) + 99) / 100;
        if rank == calls {
            return (calls > 0).then_some(self.max_ms);
        }
        let mut below = 0;
        let place = self.buckets.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some(self.estimate(place))
    }

    /// The harmonic mean of the smallest and the largest possible latency in a bucket. Of all
    /// estimates it has the smallest relative error.
    fn estimate(&self, place: usize) -> i64 {
        let bound = |place: usize| BOUNDS.get(place).copied();
        let first = place.checked_sub(1).and_then(bound).unwrap_or(0);
        let last = bound(place).map_or(self.max_ms, |next| self.max_ms.min(next - 1));
        let both = first + last;
        if both == 0 {
            return 0;
        }
        ((2 * first * last + both / 2) / both).min(self.max_ms)
    }
}

/// Calls of an app on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayOfApp {
    /// The calendar day of the site's time zone, or of Shanghai for all sites together.
    pub day: NaiveDate,
    /// A word of [`App`].
    pub app: String,
    /// From the request to the end of the answer.
    pub latency: Latency,
    /// From the request to the first text. Only chats have it.
    pub first_token: Latency,
}

/// Selects the latencies of a list.
#[derive(Clone, Copy, Debug)]
pub struct LatencyQuery {
    /// One site or all sites together.
    pub scope: SiteScope,
    /// `None`: all apps that had a call in the range.
    pub app: Option<App>,
    /// Open ends are today and six days before the last day. At most 400 days.
    pub dates: DateRange,
}

/// Lists latencies by day, then app, in ascending order. Days without a call are included.
///
/// # Errors
/// [`Error::NotFound`] if the site does not exist, [`Error::Invalid`] if the range is too long.
pub async fn by_day(db: &Db, query: LatencyQuery) -> Result<Vec<DayOfApp>> {
    // The left joins return one row with the length of the range even if there was no call.
    let rows = sqlx::query!(
        r#"
        with days as materialized (
            select greatest(first_day, last_day - $8::integer + 1) as first_day, last_day, last_day - first_day + 1 as length
            from zone_of($1) zone
            cross join date_range($1, $2, $3, $4, $5) asked
            cross join lateral (select least(local_day(zone, asked.ended_at - interval '1 microsecond'), local_day(zone)) as last_day) ended
            cross join lateral (
                select case when isfinite(asked.began_at) then local_day(zone, asked.began_at) else last_day - $7::integer + 1 end as first_day
            ) began
            where $1::bigint is null or exists (select from biz.sites s where s.id = $1)
        ), used as materialized (
            select l.* from days cross join lateral latencies($1, $6, days.first_day, days.last_day) l
        ), apps as (
            select app_type from used union select $6 where $6::text is not null
        )
        select days.length as "length!", d.day::date as "day?", apps.app_type as "app_type?", u.max_ms as "max_ms?", u.buckets as "buckets?",
               u.first_token_max_ms as "first_token_max_ms?", u.first_token_buckets as "first_token_buckets?"
        from days
        left join apps on true
        left join lateral generate_series(days.first_day, days.last_day, interval '1 day') d (day) on true
        left join used u on u.day = d.day and u.app_type = apps.app_type
        order by d.day, apps.app_type
        "#,
        query.scope.site_id(),
        query.dates.from_day(),
        query.dates.from_at(),
        query.dates.to_day(),
        query.dates.to_at(),
        query.app.map(App::name),
        DAYS,
        MOST_DAYS,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let first = rows.first().ok_or(Error::NotFound)?;
    if first.length > MOST_DAYS {
        let reason = Reason::TooManyDays(i64::from(MOST_DAYS));
        return Err(Error::invalid("date_from", reason));
    }
    let items = rows.into_iter().filter_map(|row| {
        Some(DayOfApp {
            day: row.day?,
            app: row.app_type?,
            latency: Latency::new(
                row.buckets.unwrap_or_default(),
                row.max_ms.unwrap_or_default(),
            ),
            first_token: Latency::new(
                row.first_token_buckets.unwrap_or_default(),
                row.first_token_max_ms.unwrap_or_default(),
            ),
        })
    });
    Ok(items.collect())
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(counts: &[(i64, i64)], max_ms: i64) -> Latency {
        let mut buckets = vec![0; BOUNDS.len() + 1];
        for (ms, calls) in counts {
            buckets[BOUNDS.partition_point(|bound| bound <= ms)] += calls;
        }
        Latency::new(buckets, max_ms)
    }

    #[test]
    fn without_a_call_there_is_no_percentile() {
        assert_eq!(Latency::default().percentile(95), None);
        assert_eq!(latency(&[], 0).percentile(95), None);
    }

    #[test]
    fn the_highest_rank_is_the_slowest_call() {
        assert_eq!(
            latency(&[(3_000, 8), (6_252, 1)], 6_252).percentile(95),
            Some(6_252)
        );
        assert_eq!(
            latency(&[(200_000, 1)], 200_000).percentile(50),
            Some(200_000)
        );
    }

    #[test]
    fn the_percentile_is_in_the_bucket_of_its_rank() {
        let calls = latency(&[(100, 95), (4_100, 5)], 4_200);
        assert_eq!(
            (calls.percentile(95), calls.percentile(96)),
            (Some(103), Some(4_147))
        );
        assert_eq!(latency(&[(0, 10), (5, 10)], 5).percentile(50), Some(0));
    }

    #[test]
    fn rows_of_the_previous_release_never_exceed_their_known_maximum() {
        assert_eq!(latency(&[(6_000, 20)], 5_000).percentile(50), Some(5_000));
    }
}
