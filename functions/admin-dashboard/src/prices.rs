//! `GET` and `PUT /api/admin/ai/prices`: the price list of models, for all sites.

use axum::{
    extract::State,
    http::header::ETAG,
    response::{IntoResponse, Response},
};
use chrono::NaiveDate;
use common::{
    Result,
    governance::{
        auth::{PlatformAdmin, SiteScope},
        prices::{self, NewTier, Price, Tier},
    },
    platform::db::Db,
    web::{AdminProblem, BodyFailures, Failures, HeaderText, IfMatch, Json, etag_of},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The whole price list.
#[derive(Serialize, ToSchema)]
pub(crate) struct Prices {
    items: Vec<PriceView>,
}

/// The price of a model from a day on, until the day of its next price.
#[derive(Serialize, ToSchema)]
#[schema(as = Price)]
pub(crate) struct PriceView {
    /// As DashScope reports it, such as `qwen-plus`.
    model: String,
    /// The first day, in the time zone of each site.
    valid_from: NaiveDate,
    /// Ascending. Empty in the response to a removal.
    tiers: Vec<TierView>,
    /// For `If-Match`. Null in the response to a removal.
    #[schema(required)]
    etag: Option<String>,
}

/// The prices for calls whose input has at most this number of tokens.
#[derive(Serialize, ToSchema)]
#[schema(as = PriceTier)]
struct TierView {
    /// Input tokens of the model in one run, inclusive. Null in the last tier.
    #[schema(required)]
    up_to_input_tokens: Option<i64>,
    /// In CNY, such as `0.8`.
    input_per_million: String,
    output_per_million: String,
}

impl From<&Price> for PriceView {
    fn from(price: &Price) -> Self {
        Self {
            model: price.model.clone(),
            valid_from: price.valid_from,
            tiers: price.tiers.iter().map(TierView::from).collect(),
            etag: (!price.tiers.is_empty()).then(|| etag_of(&price.version())),
        }
    }
}

impl From<&Tier> for TierView {
    fn from(tier: &Tier) -> Self {
        Self {
            up_to_input_tokens: tier.up_to_input_tokens,
            input_per_million: tier.input_per_million.short(),
            output_per_million: tier.output_per_million.short(),
        }
    }
}

/// Lists the prices by model, newest first.
#[utoipa::path(
    get, path = "/api/admin/ai/prices", tag = "admin", security(("bearer" = [])),
    responses(
        (status = 200, body = Prices),
        Failures<AdminProblem>,
    ),
)]
pub(crate) async fn list_prices(State(db): State<Db>, _scope: SiteScope) -> Result<Json<Prices>> {
    let found = prices::list(&db).await?;
    Ok(Json(Prices {
        items: found.iter().map(PriceView::from).collect(),
    }))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = PriceBody)]
pub(crate) struct Body {
    /// As DashScope reports it. At most 100 characters.
    #[schema(required, max_length = 100)]
    model: Option<String>,
    /// `YYYY-MM-DD`.
    #[schema(required, value_type = Option<NaiveDate>)]
    valid_from: Option<String>,
    /// Ascending; only the last one has no `up_to_input_tokens`. At most 10. Empty removes the
    /// price.
    #[schema(required, max_items = 10)]
    tiers: Option<Vec<TierBody>>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = PriceTierBody)]
struct TierBody {
    #[schema(minimum = 1)]
    up_to_input_tokens: Option<i64>,
    /// In CNY, a decimal string with at most 6 decimals, at most 100,000.
    #[schema(required)]
    input_per_million: Option<String>,
    #[schema(required)]
    output_per_million: Option<String>,
}

impl From<TierBody> for NewTier {
    fn from(body: TierBody) -> Self {
        Self {
            up_to_input_tokens: body.up_to_input_tokens,
            input_per_million: body.input_per_million,
            output_per_million: body.output_per_million,
        }
    }
}

/// Sets the price of a model from a day on. Only for platform admins.
///
/// It applies to runs that end afterwards and began on that day or later. Costs of runs that have
/// ended do not change.
#[utoipa::path(
    put, path = "/api/admin/ai/prices", tag = "admin", security(("bearer" = [])),
    params(("If-Match" = Option<String>, Header, description = "`etag` of the price to replace")),
    request_body = Body,
    responses(
        (status = 200, body = PriceView, headers(("ETag" = String))),
        BodyFailures<AdminProblem>,
        (status = 412, body = AdminProblem, description = "The stored price is another version"),
    ),
)]
pub(crate) async fn set_price(
    State(db): State<Db>,
    admin: PlatformAdmin,
    headers: HeaderText,
    Json(body): Json<Body>,
) -> Result<Response> {
    let tiers = body.tiers.map(|tiers| tiers.into_iter().map(NewTier::from));
    let tiers = tiers.map(Iterator::collect);
    let price = Price::parse(body.model.as_deref(), body.valid_from.as_deref(), tiers)?;
    let if_match = IfMatch::of(&headers)?;
    prices::set(&db, &admin, &price, |version| if_match.allows(version)).await?;
    let view = PriceView::from(&price);
    let etag = view.etag.clone().map(|etag| [(ETAG, etag)]);
    Ok((etag, Json(view)).into_response())
}
