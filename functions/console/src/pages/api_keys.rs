//! `/console/api-keys`: machine keys.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use chrono::{DateTime, TimeDelta, Utc};
use common::{
    Error, Result,
    governance::{
        api_keys::{self, ApiKey, NewKey},
        auth::{Admin, KeyScope},
    },
    platform::{
        clock,
        db::Db,
        error::Reason,
        paging::{Page, Paging},
    },
    web::FormText,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    Parts,
    desk::Desk,
    format::{Choice, filters},
    frame::Frame,
    pages::forms::{self, Form, Sent},
    session::redirect,
    texts::ApiKeysTexts,
};

/// Keys on a page.
const PAGE_SIZE: i64 = 50;

/// The days after which a new key can expire. The first one is the default.
const DAYS: [i64; 3] = [90, 30, 365];

/// The choice of a key that does not expire.
const NEVER: &str = "never";

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new().route("/console/api-keys", get(list).post(change))
}

#[derive(Template)]
#[template(path = "api_keys.html")]
struct ApiKeysPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static ApiKeysTexts,
    found: Page<ApiKey>,
    sent: &'a Sent,
    /// The text of the key that the request created. No other response contains it.
    created: Option<&'a str>,
}

impl ApiKeysPage<'_> {
    fn scopes(&self, form: &Form<'_>) -> Vec<Choice> {
        let scopes = KeyScope::ALL.map(KeyScope::name).into_iter();
        let choice = |word: &str| Choice {
            value: word.to_owned(),
            text: self.desk.word(word).to_owned(),
            is_chosen: form.has("scope", word, false),
        };
        scopes.map(choice).collect()
    }

    fn days(&self, form: &Form<'_>) -> Vec<Choice> {
        let current = form.value("days", DAYS[0]);
        let days = DAYS.map(|days| (days.to_string(), format!("{days} {}", self.t.days)));
        let never = (NEVER.to_owned(), self.t.never.to_owned());
        let choices = days.into_iter().chain([never]);
        choices
            .map(|(value, text)| Choice {
                is_chosen: value == current,
                value,
                text,
            })
            .collect()
    }
}

/// Lists keys, newest first.
async fn list(State(db): State<Db>, desk: Desk) -> Result<Response> {
    page(&db, &desk, &Sent::default(), None).await
}

async fn page(db: &Db, desk: &Desk, sent: &Sent, created: Option<&str>) -> Result<Response> {
    let paging = Paging::parse_bounded(&desk.query, PAGE_SIZE, &api_keys::list_scope(desk.scope))?;
    let found = api_keys::list(db, desk.scope, &paging).await?;
    paging.reaches(&found)?;
    desk.show(&ApiKeysPage {
        frame: &desk.frame,
        t: ApiKeysTexts::of(desk.language),
        found,
        sent,
        created,
        desk,
    })
}

/// Creates or revokes a key. The response shows a new key, because a redirect would have it in its
/// URL.
async fn change(
    State(db): State<Db>,
    mut desk: Desk,
    admin: Admin,
    form: FormText,
) -> Result<Response> {
    match apply(&db, &desk, &admin, &form).await {
        Ok(Some(key)) => page(&db, &desk, &Sent::default(), Some(key.expose_secret())).await,
        Ok(None) => Ok(redirect(&desk.with("", ""))),
        Err(error) => {
            desk.fail(error)?;
            page(&db, &desk, &Sent::of(&form), None).await
        }
    }
}

/// Returns the text of a new key.
async fn apply(
    db: &Db,
    desk: &Desk,
    admin: &Admin,
    form: &FormText,
) -> Result<Option<SecretString>> {
    match form.text("do")? {
        Some("create") => {
            let scope = forms::scope(desk, admin)?;
            let scopes: Vec<String> = form.all("scope")?.into_iter().map(Into::into).collect();
            let new = NewKey::parse(form.text("name")?, Some(&scopes), expires_at(form)?)?;
            let (_, key) = api_keys::create(db, admin, scope, new).await?;
            Ok(Some(key))
        }
        Some("revoke") => {
            let id = forms::id(form, "id")?;
            api_keys::delete(db, admin, desk.scope, id).await?;
            Ok(None)
        }
        _ => Err(Error::invalid("do", Reason::Unknown)),
    }
}

fn expires_at(form: &FormText) -> Result<Option<DateTime<Utc>>> {
    if form.text("days")? == Some(NEVER) {
        return Ok(None);
    }
    let days = form.integer("days", 1, 3650)?;
    let days = days.ok_or(Error::invalid("days", Reason::Missing))?;
    Ok(Some(clock::now() + TimeDelta::days(days)))
}
