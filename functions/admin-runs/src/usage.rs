//! `GET /api/admin/ai/usage`: usage by day, app, user, bot or model, as JSON or CSV.

use axum::{
    extract::State,
    http::header::VARY,
    response::{IntoResponse, Response},
};
use common::{
    Result,
    governance::usage::{self, Item, UsageQuery},
    platform::db::Db,
    web::{
        AdminProblem, ItemFailures, Json, ListFormat, OrKey, QueryText, ScopeAndActor, UsageRead,
        table,
    },
};
use futures_util::stream;
use serde::Serialize;
use utoipa::ToSchema;

/// All items. The list has no pages.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageList {
    items: Vec<UsageItem>,
}

/// Usage of one day, app, user, bot or model.
#[derive(Serialize, ToSchema)]
struct UsageItem {
    /// The day, app, user id, bot id or model. Null for runs without a user, bot or model.
    #[schema(required)]
    key: Option<String>,
    /// The name for people: a nickname, the name of a bot, else the key.
    #[schema(required)]
    label: Option<String>,
    /// Calls that have ended, without rejected calls. A call with several models counts for the one
    /// that used most tokens.
    calls: i64,
    successes: i64,
    failures: i64,
    /// As DashScope reported them.
    tokens_in: i64,
    tokens_out: i64,
    /// Tokens that the budget counts: also the reservation for each try that may have cost tokens
    /// but reported no usage.
    tokens: i64,
    /// In CNY, such as `0.012345`. Without the calls of `unpriced_calls`.
    cost: String,
    /// Calls whose cost is not known.
    unpriced_calls: i64,
}

impl From<Item> for UsageItem {
    fn from(item: Item) -> Self {
        Self {
            key: item.key,
            label: item.label,
            calls: item.calls,
            successes: item.successes,
            failures: item.failures,
            tokens_in: item.tokens_in,
            tokens_out: item.tokens_out,
            tokens: item.tokens,
            cost: item.cost.to_string(),
            unpriced_calls: item.unpriced_calls,
        }
    }
}

/// Lists usage by day (ascending), app, user, bot or model (most tokens first).
///
/// Days are calendar days in the site's time zone, also in the sandbox. For all sites together they
/// are days in Shanghai. With `Accept: text/csv`, the columns are the fields of an item. Machine
/// keys need the scope `usage:read`.
#[utoipa::path(
    get, path = "/api/admin/ai/usage", tag = "admin", security(("bearer" = [])),
    params(
        ("site_id" = Option<i64>, Query, description = "Default: all sites of the admin together", minimum = 1),
        ("group_by" = Option<String>, Query, description = "`day` (default), `app`, `user`, `bot` or `model`"),
        ("date_from" = Option<String>, Query, description = "First day (`YYYY-MM-DD` in the site's time zone) or an RFC 3339 instant of it. Default: first day of the month of the last day"),
        ("date_to" = Option<String>, Query, description = "Last day (`YYYY-MM-DD` in the site's time zone) or an RFC 3339 instant of it. Default: today. At most 400 days"),
    ),
    responses(
        (status = 200, content((UsageList = "application/json"), (String = "text/csv"))),
        ItemFailures<AdminProblem>,
    ),
)]
pub(crate) async fn show_usage(
    State(db): State<Db>,
    OrKey(reader, ..): OrKey<ScopeAndActor, UsageRead>,
    query: QueryText,
    format: ListFormat,
) -> Result<Response> {
    let list = UsageQuery::parse(reader.scope, &query)?;
    if format == ListFormat::Csv {
        let items = usage::export(&db, list, reader.actor).await?;
        return Ok(table::respond(stream::iter([Ok(items)])));
    }
    let items = usage::by(&db, list).await?;
    let items = items.into_iter().map(UsageItem::from).collect();
    Ok(([(VARY, "accept")], Json(UsageList { items })).into_response())
}
