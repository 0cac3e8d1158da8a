//! `/console/channels`: channels of notifications.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use chrono::{DateTime, TimeDelta, Utc};
use common::{
    Error, Result,
    governance::{
        auth::Admin,
        notifications::{
            Channel, ChannelQuery, Fields,
            channels::{self, Kind, Level},
        },
    },
    platform::{
        clock,
        db::Db,
        error::Reason,
        paging::{Page, Paging},
        public_client::PublicClient,
    },
    web::FormText,
};

use crate::{
    Parts,
    desk::Desk,
    format::{Choice, filters},
    frame::Frame,
    pages::forms::{self, Form, Sent},
    session::redirect,
    texts::ChannelsTexts,
};

/// Channels on a page. Each has a form.
const PAGE_SIZE: i64 = 20;

/// The hours for which a channel can be muted.
const MUTE_HOURS: [i64; 4] = [1, 8, 24, 168];

/// The choice that ends the mute.
const NOT_MUTED: &str = "0";

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new().route("/console/channels", get(list).post(change))
}

#[derive(Template)]
#[template(path = "channels.html")]
struct ChannelsPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static ChannelsTexts,
    found: Page<Channel>,
    sent: &'a Sent,
    now: DateTime<Utc>,
}

impl ChannelsPage<'_> {
    fn kinds(&self, form: &Form<'_>, stored: &str) -> Vec<Choice> {
        form.choices(self.desk, "kind", &Kind::ALL.map(Kind::name), stored)
    }

    fn levels(&self, form: &Form<'_>, stored: &str) -> Vec<Choice> {
        form.choices(self.desk, "level", &Level::ALL.map(Level::name), stored)
    }

    /// How long to mute a channel. The first choice changes nothing.
    fn mutes(&self, form: &Form<'_>, until: Option<DateTime<Utc>>) -> Vec<Choice> {
        let current = form.value("mute", "");
        let first = match self.muted(until) {
            Some(until) => format!("{} ({})", self.t.unchanged, self.desk.time(until)),
            None => self.t.not_muted.to_owned(),
        };
        let mut choices = vec![(String::new(), first)];
        if self.muted(until).is_some() {
            choices.push((NOT_MUTED.to_owned(), self.t.not_muted.to_owned()));
        }
        let hours =
            MUTE_HOURS.map(|hours| (hours.to_string(), format!("{hours} {}", self.t.hours)));
        let choices = choices.into_iter().chain(hours);
        choices
            .map(|(value, text)| Choice {
                is_chosen: value == current,
                value,
                text,
            })
            .collect()
    }

    /// The end of a mute that is not over.
    fn muted(&self, until: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        until.filter(|until| *until > self.now)
    }
}

/// Lists channels, ordered by site and id.
async fn list(State(db): State<Db>, desk: Desk) -> Result<Response> {
    page(&db, &desk, &Sent::default()).await
}

async fn page(db: &Db, desk: &Desk, sent: &Sent) -> Result<Response> {
    let list = ChannelQuery { scope: desk.scope };
    let paging = Paging::parse_bounded(&desk.query, PAGE_SIZE, &list.cursor_scope())?;
    let found = channels::list(db, &list, &paging).await?;
    paging.reaches(&found)?;
    desk.show(&ChannelsPage {
        frame: &desk.frame,
        t: ChannelsTexts::of(desk.language),
        found,
        sent,
        now: clock::now(),
        desk,
    })
}

/// Creates, changes, tests or deletes a channel.
async fn change(
    State(db): State<Db>,
    State(client): State<PublicClient>,
    mut desk: Desk,
    admin: Admin,
    form: FormText,
) -> Result<Response> {
    match apply(&db, &client, &desk, &admin, &form).await {
        Ok(()) => Ok(redirect(&desk.with("", ""))),
        Err(error) => {
            desk.fail(error)?;
            page(&db, &desk, &Sent::of(&form)).await
        }
    }
}

async fn apply(
    db: &Db,
    client: &PublicClient,
    desk: &Desk,
    admin: &Admin,
    form: &FormText,
) -> Result<()> {
    let (site_id, user_id) = (admin.site_in(&desk.query)?, admin.user_id);
    match form.text("do")? {
        Some("create") => {
            channels::create(db, site_id, user_id, fields(form)?).await?;
        }
        Some("set") => {
            let version = form.integer("version", 0, i64::MAX)?;
            let may_replace = |stored| version == Some(stored);
            let id = forms::id(form, "id")?;
            channels::set(db, site_id, user_id, id, fields(form)?, may_replace).await?;
        }
        Some("test") => {
            channels::test(db, client, site_id, user_id, forms::id(form, "id")?).await?;
        }
        Some("delete") => {
            channels::delete(db, site_id, user_id, forms::id(form, "id")?).await?;
        }
        _ => return Err(Error::invalid("do", Reason::Unknown)),
    }
    Ok(())
}

/// Reads the settings. An empty address or secret keeps the stored one.
fn fields(form: &FormText) -> Result<Fields> {
    let text = |name| -> Result<Option<String>> { Ok(form.text(name)?.map(str::to_owned)) };
    let cap = form.integer("hourly_cap", i32::MIN.into(), i32::MAX.into())?;
    let secret = if forms::is_checked(form, "remove_secret")? {
        Some(None)
    } else {
        text("secret")?.map(Some)
    };
    Ok(Fields {
        kind: text("kind")?,
        name: text("name")?,
        url: text("url")?.map(Some),
        secret,
        level: text("level")?,
        hourly_cap: cap.and_then(|cap| i32::try_from(cap).ok()),
        muted_until: muted_until(form)?,
        enabled: Some(forms::is_checked(form, "enabled")?),
    })
}

fn muted_until(form: &FormText) -> Result<Option<DateTime<Utc>>> {
    if let Some(hours) = form.integer("mute", 0, MUTE_HOURS[MUTE_HOURS.len() - 1])? {
        let until = clock::now() + TimeDelta::hours(hours);
        return Ok(Some(until).filter(|_| hours > 0));
    }
    form.one_of("muted_until", |text| text.parse().ok())
}
