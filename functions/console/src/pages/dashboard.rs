//! `/console`: what today cost, what failed, and what the budget says.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use chrono::{Datelike as _, NaiveDate};
use common::{
    Result,
    governance::{
        alerts::{self, Alert},
        auth::User,
        budgets::Budget,
        prices::Yuan,
        usage::{self, Calls, Health, Usage, fraction},
    },
    platform::db::Db,
};

use crate::{
    Parts,
    chart::{self, Bar},
    desk::Desk,
    format::filters,
    frame::Frame,
    session::redirect,
    texts::DashboardTexts,
};

#[derive(Template)]
#[template(path = "dashboard.html")]
struct DashboardPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static DashboardTexts,
    usage: &'a Usage,
    today: Calls,
    health: &'a [Health],
    alerts: &'a [Alert],
    /// The number of days of the charts.
    days: u16,
    calls: Vec<Bar>,
    tokens: Vec<Bar>,
    meters: Vec<Meter>,
    /// Cost by the end of the month.
    cost_forecast: Yuan,
}

impl DashboardPage<'_> {
    /// The title of the charts.
    fn last_days(&self) -> &'static str {
        if self.days == 7 {
            self.t.last_7_days
        } else {
            self.t.last_30_days
        }
    }
}

/// A bar of the budget.
struct Meter {
    text: &'static str,
    used: i64,
    limit: i64,
    /// Used divided by the limit.
    share: f64,
    /// Tokens by the end of the month.
    forecast: Option<i64>,
}

/// What a sum of this month becomes by its end, if the days to come are like those until today.
fn by_month_end(sum: i64, today: NaiveDate) -> i64 {
    let days = i64::from(today.num_days_in_month());
    sum.saturating_mul(days) / i64::from(today.day())
}

fn meters(t: &DashboardTexts, budget: &Budget, today: NaiveDate) -> Vec<Meter> {
    let meter = |text, used, limit, forecast| Meter {
        text,
        used,
        limit,
        share: fraction(used, limit),
        forecast,
    };
    let forecast = by_month_end(budget.monthly_used, today);
    vec![
        meter(t.of_day, budget.daily_used, budget.daily_limit, None),
        meter(
            t.of_month,
            budget.monthly_used,
            budget.monthly_limit,
            Some(forecast),
        ),
    ]
}

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new().route("/console", get(show))
}

/// Shows the dashboard. Users without access to the desk get the chat.
async fn show(State(db): State<Db>, user: User, desk: Result<Desk>) -> Result<Response> {
    if Desk::leads_to_chat(&user) {
        return Ok(redirect("console/chat"));
    }
    let desk = desk?;
    let days = desk.query.one_of("days", |days| match days {
        "7" => Some(7),
        "30" => Some(30),
        _ => None,
    })?;
    let days = days.unwrap_or(7);
    let usage = usage::last_days(&db, desk.scope, days).await?;
    let health = usage::health(&db, desk.scope).await?;
    let alerts = alerts::newest(&db, desk.scope).await?;
    let t = DashboardTexts::of(desk.language);
    let bars = |number: fn(&Calls) -> i64| {
        let trend = usage.trend.iter();
        let values: Vec<_> = trend
            .map(|(day, calls)| (day.to_string(), number(calls)))
            .collect();
        chart::bars(&values)
    };
    desk.show(&DashboardPage {
        frame: &desk.frame,
        t,
        today: usage.of_today(),
        days,
        calls: bars(|calls| calls.count),
        tokens: bars(|calls| calls.tokens),
        meters: meters(t, &usage.budget, usage.today),
        cost_forecast: Yuan(by_month_end(usage.budget.monthly_cost.0, usage.today)),
        usage: &usage,
        health: &health,
        alerts: &alerts,
        desk: &desk,
    })
}
