//! `/console/users`: users.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use common::{
    Error, Result,
    chat::user_data,
    governance::{
        auth::{Admin, Role},
        users::{self, Change, Status, User},
    },
    platform::{
        db::Db,
        error::Reason,
        paging::{Page, Paging},
    },
    web::FormText,
};

use crate::{
    Parts,
    desk::Desk,
    format::{self, Choice, filters},
    frame::Frame,
    pages::forms::{self, Form, Sent},
    session::redirect,
    texts::UsersTexts,
};

/// Users on a page.
const PAGE_SIZE: i64 = 50;

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new().route("/console/users", get(list).post(change))
}

#[derive(Template)]
#[template(path = "users.html")]
struct UsersPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static UsersTexts,
    found: Page<User>,
    sent: &'a Sent,
}

impl UsersPage<'_> {
    fn roles(&self, form: &Form<'_>, user: &User) -> Vec<Choice> {
        let of_site = Role::ALL.into_iter().filter(|role| *role != Role::Admin);
        let words: Vec<_> = of_site.map(Role::name).collect();
        form.choices(self.desk, "role", &words, &user.role)
    }

    fn statuses(&self, form: &Form<'_>, user: &User) -> Vec<Choice> {
        let words = Status::ALL.map(Status::name);
        let mut choices = form.choices(self.desk, "status", &words, &user.status);
        for choice in &mut choices {
            self.status(&choice.value).clone_into(&mut choice.text);
        }
        choices
    }

    /// A job that is `pending` waits for a worker, and a user for an admin.
    fn status<'b>(&self, word: &'b str) -> &'b str {
        if word == Status::Pending.name() {
            self.t.awaiting
        } else {
            self.desk.word(word)
        }
    }

    #[expect(clippy::unused_self, reason = "the template calls it")]
    fn version(&self, user: &User) -> String {
        version(user)
    }
}

fn version(user: &User) -> String {
    format::version(&(&user.role, &user.status))
}

/// Lists users, ordered by id.
async fn list(State(db): State<Db>, desk: Desk) -> Result<Response> {
    page(&db, &desk, &Sent::default()).await
}

async fn page(db: &Db, desk: &Desk, sent: &Sent) -> Result<Response> {
    let paging = Paging::parse_bounded(&desk.query, PAGE_SIZE, &users::list_scope(desk.scope))?;
    let found = users::list(db, desk.scope, &paging).await?;
    paging.reaches(&found)?;
    desk.show(&UsersPage {
        frame: &desk.frame,
        t: UsersTexts::of(desk.language),
        found,
        sent,
        desk,
    })
}

/// Changes role and status of a user, or deletes the user's data.
async fn change(
    State(db): State<Db>,
    mut desk: Desk,
    admin: Admin,
    form: FormText,
) -> Result<Response> {
    match apply(&db, &desk, &admin, &form).await {
        Ok(()) => Ok(redirect(&desk.with("", ""))),
        Err(error) => {
            desk.fail(error)?;
            page(&db, &desk, &Sent::of(&form)).await
        }
    }
}

async fn apply(db: &Db, desk: &Desk, admin: &Admin, form: &FormText) -> Result<()> {
    let (site_id, id) = (admin.site_in(&desk.query)?, forms::id(form, "id")?);
    match form.text("do")? {
        Some("set") => {
            let seen = form.text("version")?.unwrap_or_default();
            let change = Change::parse(form.text("role")?, form.text("status")?)?;
            let may_replace = |stored: &User| version(stored) == seen;
            users::set(db, admin, site_id, id, change, may_replace).await?;
        }
        Some("delete_data") => {
            let keep_disabled = forms::is_checked(form, "keep_disabled")?;
            user_data::request_deletion(db, site_id, admin.user_id, id, keep_disabled).await?;
        }
        _ => return Err(Error::invalid("do", Reason::Unknown)),
    }
    Ok(())
}
