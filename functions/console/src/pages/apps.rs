//! `/console/apps`: what each app calls, its state, and the prices of models.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use common::{
    Error, Result,
    governance::{
        apps::{self, App, AppChange, AppIds, AppSettings, FlowStreamMode},
        auth::{Admin, PlatformAdmin},
        prices::{self, NewTier, Price},
        usage::{self, Health},
    },
    platform::{db::Db, error::Reason},
    web::{FormText, QueryText},
};
use serde_json::Value;

use crate::{
    Parts,
    desk::Desk,
    format::{self, filters, in_url},
    frame::Frame,
    session::redirect,
    texts::AppsTexts,
};

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new()
        .route("/console/apps", get(show).post(change))
        .route("/console/apps/prices", get(show_prices).post(change_price))
}

#[derive(Template)]
#[template(path = "apps.html")]
struct AppsPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static AppsTexts,
    rows: Vec<Row>,
    /// Sites with settings of their own. Only on the page about all sites.
    own: Vec<i64>,
    modes: [&'static str; FlowStreamMode::ALL.len()],
    has_forms: bool,
}

/// An app in the table.
struct Row {
    app: AppSettings,
    health: Option<Health>,
    fields: Fields,
    version: String,
    /// True if the form of this app failed.
    has_failed: bool,
}

/// The fields of the form, as the user typed them or as they are stored. Whole application ids are
/// never shown.
#[derive(Default)]
struct Fields {
    application_id: String,
    fallback_application_id: String,
    enabled: String,
    has_thoughts: String,
    flow_stream_mode: String,
    first_token_seconds: String,
    max_per_second: String,
    rag_options: String,
}

impl Fields {
    fn of(app: &AppSettings) -> Self {
        fn text(value: Option<&impl ToString>) -> String {
            value.map_or_else(String::new, ToString::to_string)
        }
        Self {
            enabled: text(app.enabled.as_ref()),
            has_thoughts: text(app.has_thoughts.as_ref()),
            flow_stream_mode: text(app.flow_stream_mode.as_ref()),
            first_token_seconds: text(app.first_token_seconds.as_ref()),
            max_per_second: text(app.max_per_second.as_ref()),
            rag_options: text(app.rag_options.as_ref()),
            ..Self::default()
        }
    }

    fn typed(form: &QueryText) -> Result<Self> {
        let field = |name| Ok::<_, Error>(form.text(name)?.unwrap_or_default().to_owned());
        Ok(Self {
            application_id: field("application_id")?,
            fallback_application_id: field("fallback_application_id")?,
            enabled: field("enabled")?,
            has_thoughts: field("has_thoughts")?,
            flow_stream_mode: field("flow_stream_mode")?,
            first_token_seconds: field("first_token_seconds")?,
            max_per_second: field("max_per_second")?,
            rag_options: field("rag_options")?,
        })
    }
}

/// Changes with each change of the settings.
fn version(app: &AppSettings) -> String {
    // The others are no settings of the row.
    format::version(&AppSettings {
        called_hint: None,
        circuit: String::new(),
        last_call_at: None,
        ..app.clone()
    })
}

/// True if the app has settings that it does not inherit.
fn has_own_settings(app: &AppSettings) -> bool {
    app.application_id_hint.is_some()
        || app.fallback_hint.is_some()
        || app.enabled.is_some()
        || app.rag_options.is_some()
        || app.flow_stream_mode.is_some()
        || app.has_thoughts.is_some()
        || app.first_token_seconds.is_some()
        || app.max_per_second.is_some()
}

async fn show(State(db): State<Db>, State(ids): State<AppIds>, desk: Desk) -> Result<Response> {
    page(&db, &ids, &desk, None).await
}

/// Shows the page. `form` is the form that failed.
async fn page(db: &Db, ids: &AppIds, desk: &Desk, form: Option<&QueryText>) -> Result<Response> {
    let found = apps::list(db, desk.scope, ids).await?;
    let health = usage::health(db, desk.scope).await?;
    let mut own: Vec<i64> = found
        .iter()
        .filter(|app| desk.shows_all_sites() && has_own_settings(app))
        .filter_map(|app| app.site_id)
        .collect();
    own.dedup();
    let failed = form.map(|form| form.text("app_type")).transpose()?;
    let rows = found
        .into_iter()
        // The page about all sites shows their defaults.
        .filter(|app| app.site_id.is_none() || !desk.shows_all_sites())
        .map(|app| {
            let form = form.filter(|_| failed.flatten() == Some(&*app.app_type));
            Ok(Row {
                health: health.iter().find(|of| of.app == app.app_type).cloned(),
                fields: form.map_or_else(|| Ok(Fields::of(&app)), Fields::typed)?,
                version: version(&app),
                has_failed: form.is_some(),
                app,
            })
        });
    desk.show(&AppsPage {
        frame: &desk.frame,
        t: AppsTexts::of(desk.language),
        rows: rows.collect::<Result<_>>()?,
        own,
        modes: FlowStreamMode::ALL.map(FlowStreamMode::name),
        has_forms: desk.may_change(),
        desk,
    })
}

/// Changes the settings of an app at a site. A platform admin without a site changes the defaults.
async fn change(
    State(db): State<Db>,
    State(ids): State<AppIds>,
    mut desk: Desk,
    admin: Admin,
    form: FormText,
) -> Result<Response> {
    match set(&db, &ids, &desk, &admin, &form).await {
        Ok(()) => Ok(redirect(&desk.to("apps"))),
        Err(error) => {
            desk.fail(error)?;
            page(&db, &ids, &desk, Some(&form)).await
        }
    }
}

async fn set(db: &Db, ids: &AppIds, desk: &Desk, admin: &Admin, form: &QueryText) -> Result<()> {
    let app = form.one_of("app_type", App::parse)?;
    let app = app.ok_or(Error::invalid("app_type", Reason::Missing))?;
    let id = |name, removes| {
        let removed = form.text(removes)?.map(|_| None);
        let new = form.text(name)?.map(|id| Some(id.to_owned()));
        Ok::<_, Error>(new.or(removed))
    };
    let flag = |name| form.one_of(name, |word| word.parse::<bool>().ok());
    let number = |name, most| {
        let number = form.integer(name, 1, most)?;
        Ok::<_, Error>(number.and_then(|number| i32::try_from(number).ok()))
    };
    let rag_options = form.text("rag_options")?.map(|text| {
        serde_json::from_str::<Value>(text).map_err(|_| Error::invalid("rag_options", Reason::Type))
    });
    let change = AppChange {
        application_id: id("application_id", "remove_application_id")?,
        fallback_application_id: id("fallback_application_id", "remove_fallback")?,
        enabled: flag("enabled")?,
        rag_options: rag_options.transpose()?,
        flow_stream_mode: form.one_of("flow_stream_mode", FlowStreamMode::parse)?,
        has_thoughts: flag("has_thoughts")?,
        first_token_seconds: number("first_token_seconds", 600)?,
        max_per_second: number("max_per_second", 100)?,
    };
    let known = form.text("version")?;
    let known = known.ok_or(Error::invalid("version", Reason::Missing))?;
    let site_id = admin.scope(desk.scope.site_id())?.site_id();
    apps::set(db, admin, site_id, app, &change.checked()?, ids, |stored| {
        known == version(stored)
    })
    .await?;
    Ok(())
}

#[derive(Template)]
#[template(path = "prices.html")]
struct PricesPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static AppsTexts,
    prices: Vec<PriceRow>,
    /// The form of a new price.
    new: Vec<TierFields>,
    is_new_failed: bool,
    model: String,
    valid_from: String,
}

struct PriceRow {
    /// The runs of the model.
    runs: String,
    version: String,
    fields: Vec<TierFields>,
    /// True if the form of this price failed.
    has_failed: bool,
    price: Price,
}

/// The fields of a tier. Their names end with the number of the tier.
struct TierFields {
    names: &'static [&'static str; 3],
    up_to: String,
    input: String,
    output: String,
}

/// The names of the fields of each tier: bound, input price and output price.
const TIERS: [[&str; 3]; 10] = [
    ["up_to_1", "input_1", "output_1"],
    ["up_to_2", "input_2", "output_2"],
    ["up_to_3", "input_3", "output_3"],
    ["up_to_4", "input_4", "output_4"],
    ["up_to_5", "input_5", "output_5"],
    ["up_to_6", "input_6", "output_6"],
    ["up_to_7", "input_7", "output_7"],
    ["up_to_8", "input_8", "output_8"],
    ["up_to_9", "input_9", "output_9"],
    ["up_to_10", "input_10", "output_10"],
];
/// Tiers of the form of a new price.
const NEW_TIERS: usize = 3;

/// The fields of the tiers of a price, with some for more tiers.
fn fields(price: &Price) -> Vec<TierFields> {
    let shown = (price.tiers.len() + 2).min(TIERS.len());
    let tiers = price.tiers.iter().map(Some);
    let tiers = TIERS[..shown]
        .iter()
        .zip(tiers.chain(std::iter::repeat(None)));
    tiers
        .map(|(names, tier)| TierFields {
            names,
            up_to: tier
                .and_then(|tier| tier.up_to_input_tokens)
                .map_or_else(String::new, |bound| bound.to_string()),
            input: tier.map_or_else(String::new, |tier| tier.input_per_million.short()),
            output: tier.map_or_else(String::new, |tier| tier.output_per_million.short()),
        })
        .collect()
}

/// The fields that the user typed, at least those of a new price.
fn typed(form: Option<&QueryText>) -> Result<Vec<TierFields>> {
    let field = |name| {
        let text = form.map(|form| form.text(name)).transpose()?.flatten();
        Ok::<_, Error>(text.unwrap_or_default().to_owned())
    };
    let all = TIERS.iter().map(|names| {
        let [up_to, input, output] = *names;
        Ok(TierFields {
            names,
            up_to: field(up_to)?,
            input: field(input)?,
            output: field(output)?,
        })
    });
    let mut all: Vec<TierFields> = all.collect::<Result<_>>()?;
    let is_empty = |tier: &TierFields| tier.input.is_empty() && tier.output.is_empty();
    while all.len() > NEW_TIERS && all.last().is_some_and(is_empty) {
        all.pop();
    }
    Ok(all)
}

async fn show_prices(State(db): State<Db>, desk: Desk) -> Result<Response> {
    price_page(&db, &desk, None).await
}

/// Shows the prices. `form` is the form that failed.
async fn price_page(db: &Db, desk: &Desk, form: Option<&QueryText>) -> Result<Response> {
    let text = |form: Option<&QueryText>, name| {
        let text = form.map(|form| form.text(name)).transpose()?.flatten();
        Ok::<_, Error>(text.unwrap_or_default().to_owned())
    };
    // Only the form of a stored price has a version.
    let is_change = !text(form, "version")?.is_empty();
    let (changed, new) = if is_change {
        (form, None)
    } else {
        (None, form)
    };
    let (model, valid_from) = (text(changed, "model")?, text(changed, "valid_from")?);
    let found = prices::list(db).await?;
    let rows = found.into_iter().map(|price| {
        let has_failed = price.model == model && price.valid_from.to_string() == valid_from;
        Ok(PriceRow {
            runs: format!("runs?model_id={}", in_url(&price.model)),
            version: price.version(),
            fields: if has_failed {
                typed(changed)?
            } else {
                fields(&price)
            },
            has_failed,
            price,
        })
    });
    desk.show(&PricesPage {
        frame: &desk.frame,
        t: AppsTexts::of(desk.language),
        prices: rows.collect::<Result<_>>()?,
        new: typed(new)?,
        is_new_failed: new.is_some(),
        model: text(new, "model")?,
        valid_from: text(new, "valid_from")?,
        desk,
    })
}

/// Sets or removes a price, for all sites.
async fn change_price(
    State(db): State<Db>,
    mut desk: Desk,
    admin: PlatformAdmin,
    form: FormText,
) -> Result<Response> {
    match set_price(&db, &admin, &form).await {
        Ok(()) => Ok(redirect(&desk.to("apps/prices"))),
        Err(error) => {
            desk.fail(error)?;
            price_page(&db, &desk, Some(&form)).await
        }
    }
}

async fn set_price(db: &Db, admin: &PlatformAdmin, form: &QueryText) -> Result<()> {
    let mut tiers = Vec::new();
    if form.text("remove")?.is_none() {
        for [up_to, input, output] in TIERS {
            let tier = NewTier {
                up_to_input_tokens: form.integer(up_to, 1, i64::MAX)?,
                input_per_million: form.text(input)?.map(str::to_owned),
                output_per_million: form.text(output)?.map(str::to_owned),
            };
            let is_given = tier.up_to_input_tokens.is_some()
                || tier.input_per_million.is_some()
                || tier.output_per_million.is_some();
            tiers.extend(is_given.then_some(tier));
        }
        // The API removes a price without tiers.
        if tiers.is_empty() {
            return Err(Error::invalid("tiers", Reason::Missing));
        }
    }
    let price = Price::parse(form.text("model")?, form.text("valid_from")?, Some(tiers))?;
    // A new price has no version and must not replace another one.
    let known = form.text("version")?;
    prices::set(db, admin, &price, |stored| stored == known).await
}
