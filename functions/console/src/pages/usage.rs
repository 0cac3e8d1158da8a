//! `/console/usage`: usage by day, app, user, bot or model.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use common::{
    Result,
    governance::{
        prices::Yuan,
        usage::{self, GroupBy, Item, UsageQuery},
    },
    platform::{clock, db::Db},
};

use crate::{
    Parts,
    chart::{self, Bar},
    desk::Desk,
    format::{filters, in_url},
    frame::Frame,
    pages::exports,
    texts::UsageTexts,
};

/// Rows that are always visible, unless they are days.
const TOP: usize = 10;
/// The most rows and bars of a page. More would make the page too large.
const MOST: usize = 100;

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new().route("/console/usage", get(show))
}

#[derive(Template)]
#[template(path = "usage.html")]
struct UsagePage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static UsageTexts,
    tabs: Vec<Tab>,
    /// The heading of the first column.
    title: &'static str,
    /// The first and the last day.
    from: String,
    to: String,
    group_by: GroupBy,
    top: Vec<Row>,
    others: Vec<Row>,
    /// Rows that are not on the page.
    left_out: usize,
    total: Item,
    bars: Vec<Bar>,
    csv: String,
}

struct Tab {
    text: &'static str,
    link: String,
    is_current: bool,
}

/// An item with its name and its runs.
struct Row {
    name: String,
    /// The link to the runs. None for runs without a user, bot or model.
    runs: Option<String>,
    item: Item,
}

/// The first and the last day of the list, as [`UsageQuery`] defines them.
fn days(desk: &Desk) -> (String, String) {
    let to = match desk.value("date_to") {
        "" => desk.time(clock::now()).chars().take(10).collect(),
        to => to.to_owned(),
    };
    let from = match desk.value("date_from") {
        "" => format!("{}-01", to.chars().take(7).collect::<String>()),
        from => from.to_owned(),
    };
    (from, to)
}

fn row(desk: &Desk, t: &UsageTexts, group_by: GroupBy, item: Item) -> Row {
    let (from, to) = days(desk);
    let filter = item.key.as_ref().map(|key| {
        let key = in_url(key);
        let name = match group_by {
            GroupBy::Day => return format!("runs?date_from={key}&date_to={key}"),
            GroupBy::App => "app_type",
            GroupBy::User => "user_id",
            GroupBy::Bot => "bot_id",
            GroupBy::Model => "model_id",
        };
        let (from, to) = (in_url(&from), in_url(&to));
        format!("runs?{name}={key}&date_from={from}&date_to={to}")
    });
    let none = if group_by == GroupBy::User {
        t.no_user
    } else {
        t.none
    };
    let key = item.key.as_deref().unwrap_or(none);
    let name = match &item.label {
        Some(label) if label != key => format!("{label} ({key})"),
        _ => desk.word(key).to_owned(),
    };
    Row {
        name,
        runs: filter.map(|runs| desk.to(runs)),
        item,
    }
}

fn total(items: &[Item]) -> Item {
    let sum = |part: fn(&Item) -> i64| items.iter().map(part).sum();
    Item {
        key: None,
        label: None,
        calls: sum(|item| item.calls),
        successes: sum(|item| item.successes),
        failures: sum(|item| item.failures),
        tokens_in: sum(|item| item.tokens_in),
        tokens_out: sum(|item| item.tokens_out),
        tokens: sum(|item| item.tokens),
        cost: Yuan(sum(|item| item.cost.0)),
        unpriced_calls: sum(|item| item.unpriced_calls),
    }
}

async fn show(State(db): State<Db>, desk: Desk) -> Result<Response> {
    let query = UsageQuery::parse(desk.scope, &desk.query)?;
    let group_by = query.group_by;
    let items = usage::by(&db, query).await?;
    let t = UsageTexts::of(desk.language);
    let total = total(&items);
    let left_out = items.len().saturating_sub(MOST);
    let mut rows: Vec<Row> = items
        .into_iter()
        // Days ascend. The newest are shown.
        .skip(if group_by == GroupBy::Day {
            left_out
        } else {
            0
        })
        .take(MOST)
        .map(|item| row(&desk, t, group_by, item))
        .collect();
    let charted = if group_by == GroupBy::Day { MOST } else { TOP };
    let bars: Vec<_> = rows
        .iter()
        // Background jobs would make the bars of all users tiny.
        .filter(|row| group_by != GroupBy::User || row.item.key.is_some())
        .take(charted)
        .map(|row| (row.name.clone(), row.item.tokens))
        .collect();
    let others = if group_by == GroupBy::Day {
        rows.reverse();
        Vec::new()
    } else {
        rows.split_off(rows.len().min(TOP))
    };
    let tabs = GroupBy::ALL.map(|by| Tab {
        text: desk.word(by.name()),
        link: desk.with("group_by", by.name()),
        is_current: by == group_by,
    });
    let current = tabs.iter().find(|tab| tab.is_current);
    let (from, to) = days(&desk);
    desk.show(&UsagePage {
        frame: &desk.frame,
        t,
        title: current.map_or("", |tab| tab.text),
        tabs: tabs.into(),
        from,
        to,
        group_by,
        top: rows,
        others,
        left_out,
        total,
        bars: chart::bars(&bars),
        csv: exports::link(&desk, "usage.csv", &[]),
        desk: &desk,
    })
}
