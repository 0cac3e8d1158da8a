//! `/console/budgets`: budgets and quotas.

use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use common::{
    Error, Result,
    governance::{
        auth::{Admin, Role, SiteScope},
        budgets::{self, Budget, Cap, Limits, NewLimits},
        prices::Yuan,
        quotas::{self, Candidate, MAX_CANDIDATES, Quota, Subject},
        usage::fraction,
    },
    platform::{clock, db::Db, error::Reason},
    web::{FormText, QueryText},
};

use crate::{
    Parts,
    desk::Desk,
    format::{self, Choice, filters},
    frame::Frame,
    names::Names,
    session::redirect,
    texts::BudgetsTexts,
};

/// The routes of this place.
pub(crate) fn routes() -> Router<Parts> {
    Router::new().route("/console/budgets", get(show).post(change))
}

#[derive(Template)]
#[template(path = "budgets.html")]
struct BudgetsPage<'a> {
    desk: &'a Desk,
    frame: &'a Frame,
    t: &'static BudgetsTexts,
    budget: &'a Budget,
    names: Names,
    version: String,
    periods: [Period; 2],
    fields: Fields,
    /// True if the form of the budget failed.
    has_failed: bool,
    quotas: Vec<Row>,
    /// The form of a new quota.
    new: QuotaFields,
    /// Who may get a new quota: roles, bots and users.
    subjects: [Group; 3],
    /// True if only some users are listed.
    has_more: bool,
    /// True if the user may change something on this page.
    has_forms: bool,
}

/// A line of the budget.
struct Period {
    text: &'static str,
    used: i64,
    limit: i64,
    cap: Option<i64>,
    cost: Yuan,
    cost_limit: Option<Yuan>,
    /// The parameters that select the runs and the usage of the period.
    dates: String,
}

impl Period {
    fn left(&self) -> i64 {
        (self.limit - self.used).max(0)
    }

    /// Used divided by the limit.
    fn share(&self) -> f64 {
        fraction(self.used, self.limit)
    }
}

/// The fields of the form, as the user typed them or as they are stored.
struct Fields {
    daily_limit: String,
    monthly_limit: String,
    daily_cost_limit: String,
    monthly_cost_limit: String,
    daily_cap: String,
    monthly_cap: String,
}

impl Fields {
    fn of(budget: &Budget) -> Self {
        Self {
            daily_limit: budget.daily_limit.to_string(),
            monthly_limit: budget.monthly_limit.to_string(),
            daily_cost_limit: budget
                .daily_cost_limit
                .map_or_else(String::new, Yuan::short),
            monthly_cost_limit: budget
                .monthly_cost_limit
                .map_or_else(String::new, Yuan::short),
            daily_cap: text(budget.cap.daily),
            monthly_cap: text(budget.cap.monthly),
        }
    }

    fn typed(form: &QueryText) -> Result<Self> {
        let field = |name| Ok::<_, Error>(form.text(name)?.unwrap_or_default().to_owned());
        Ok(Self {
            daily_limit: field("daily_limit")?,
            monthly_limit: field("monthly_limit")?,
            daily_cost_limit: field("daily_cost_limit")?,
            monthly_cost_limit: field("monthly_cost_limit")?,
            daily_cap: field("daily_cap")?,
            monthly_cap: field("monthly_cap")?,
        })
    }
}

fn text(number: Option<i64>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

/// A quota in the table.
struct Row {
    quota: Quota,
    version: String,
    fields: QuotaFields,
    /// The link to the runs that count for the quota. A role has none: runs have no roles.
    runs: Option<String>,
}

impl Row {
    fn is_role(&self) -> bool {
        self.quota.subject_type == "role"
    }
}

/// Changes with each change of the budget.
fn version_of(budget: &Budget) -> String {
    format::version(&(budget.updated_by, budget.updated_at))
}

/// The fields of the form of a quota.
#[derive(Default)]
struct QuotaFields {
    subject_type: String,
    subject_id: String,
    daily_limit: String,
    monthly_limit: String,
    /// True if the form failed.
    has_failed: bool,
}

/// Options of a selection with a heading.
struct Group {
    heading: &'static str,
    options: Vec<Choice>,
}

/// The options of a new quota. Their values are type and id, such as `user:7`.
fn subjects(desk: &Desk, t: &BudgetsTexts, found: &[Candidate], new: &QuotaFields) -> [Group; 3] {
    let option = |kind: &str, id: &str, text: String| Choice {
        value: format!("{kind}:{id}"),
        text,
        is_chosen: new.subject_type == kind && new.subject_id == id,
    };
    let roles = Role::ALL.into_iter().filter(|role| *role != Role::Admin);
    let roles = roles.map(|role| option("role", role.name(), desk.word(role.name()).to_owned()));
    let named = |kind: &str| {
        let found = found.iter().filter(|found| found.subject_type == kind);
        found
            .map(|found| {
                let text = format!("{} ({})", found.name, found.subject_id);
                option(kind, &found.subject_id, text)
            })
            .collect()
    };
    [
        Group {
            heading: t.of_role,
            options: roles.collect(),
        },
        Group {
            heading: t.of_bot,
            options: named("bot"),
        },
        Group {
            heading: t.of_user,
            options: named("user"),
        },
    ]
}

/// Type and id of the subject of a quota. A new quota has both in one field.
fn subject(form: &QueryText) -> Result<(Option<&str>, Option<&str>)> {
    if let Some(subject) = form.text("subject")? {
        let unknown = Error::invalid("subject", Reason::Unknown);
        let (kind, id) = subject.split_once(':').ok_or(unknown)?;
        return Ok((Some(kind), Some(id)));
    }
    Ok((form.text("subject_type")?, form.text("subject_id")?))
}

impl QuotaFields {
    fn of(quota: &Quota) -> Self {
        Self {
            subject_type: quota.subject_type.clone(),
            subject_id: quota.subject_id.clone(),
            daily_limit: text(quota.daily_limit),
            monthly_limit: text(quota.monthly_limit),
            has_failed: false,
        }
    }

    fn typed(form: &QueryText) -> Result<Self> {
        let field = |name| Ok::<_, Error>(form.text(name)?.unwrap_or_default().to_owned());
        let (subject_type, subject_id) = subject(form)?;
        Ok(Self {
            subject_type: subject_type.unwrap_or_default().to_owned(),
            subject_id: subject_id.unwrap_or_default().to_owned(),
            daily_limit: field("daily_limit")?,
            monthly_limit: field("monthly_limit")?,
            has_failed: true,
        })
    }

    fn is_of(&self, quota: &Quota) -> bool {
        self.subject_type == quota.subject_type && self.subject_id == quota.subject_id
    }
}

/// Changes with each change of the limits.
fn version(quota: &Quota) -> String {
    format::version(&(quota.daily_limit, quota.monthly_limit))
}

async fn show(State(db): State<Db>, desk: Desk) -> Result<Response> {
    page(&db, &desk, None).await
}

/// Shows the page. `form` is the form that failed.
async fn page(db: &Db, desk: &Desk, form: Option<&QueryText>) -> Result<Response> {
    let failed = form.map(|form| form.text("do")).transpose()?.flatten();
    let of_budget = form.filter(|_| failed == Some("budget"));
    let of_quota = form.filter(|_| failed == Some("quota"));
    let typed = of_quota.map(QuotaFields::typed).transpose()?;
    // Only the form of a stored quota has a version.
    let is_change = match of_quota {
        Some(form) => form.text("version")?.is_some(),
        None => false,
    };
    let (mut changed, new) = if is_change {
        (typed, None)
    } else {
        (None, typed)
    };
    let budget = budgets::get(db, desk.scope).await?;
    let quotas = quotas::list(db, desk.scope).await?;
    let t = BudgetsTexts::of(desk.language);
    let new = new.unwrap_or_default();
    let has_forms = desk.may_change() && !desk.shows_all_sites();
    let candidates = match desk.scope {
        SiteScope::One(site_id) if has_forms => {
            quotas::candidates(
                db,
                site_id,
                desk.query.text("find")?.filter(|text| !text.is_empty()),
            )
            .await?
        }
        _ => Vec::new(),
    };
    let users = candidates.iter();
    let users = users.filter(|found| found.subject_type == "user").count();
    let now = desk.time(clock::now());
    let (today, month) = (&now[..10], &now[..7]);
    desk.show(&BudgetsPage {
        frame: &desk.frame,
        t,
        version: version_of(&budget),
        periods: [
            Period {
                text: t.day,
                used: budget.daily_used,
                limit: budget.daily_limit,
                cap: budget.cap.daily,
                cost: budget.daily_cost,
                cost_limit: budget.daily_cost_limit,
                dates: format!("date_from={today}"),
            },
            Period {
                text: t.month,
                used: budget.monthly_used,
                limit: budget.monthly_limit,
                cap: budget.cap.monthly,
                cost: budget.monthly_cost,
                cost_limit: budget.monthly_cost_limit,
                dates: format!("date_from={month}-01"),
            },
        ],
        fields: of_budget.map_or_else(|| Ok(Fields::of(&budget)), Fields::typed)?,
        quotas: quotas
            .into_iter()
            .map(|quota| Row {
                version: version(&quota),
                fields: changed
                    .take_if(|fields| fields.is_of(&quota))
                    .unwrap_or_else(|| QuotaFields::of(&quota)),
                runs: match &*quota.subject_type {
                    "user" => Some(format!("runs?user_id={}", quota.subject_id)),
                    "bot" => Some(format!("runs?bot_id={}", quota.subject_id)),
                    _ => None,
                },
                quota,
            })
            .collect(),
        subjects: subjects(desk, t, &candidates, &new),
        has_more: i64::try_from(users).is_ok_and(|users| users >= MAX_CANDIDATES),
        new,
        has_failed: of_budget.is_some(),
        has_forms,
        names: Names::load(db, budget.updated_by).await?,
        budget: &budget,
        desk,
    })
}

/// Sets the budget, or sets or removes a quota.
async fn change(
    State(db): State<Db>,
    mut desk: Desk,
    admin: Admin,
    form: FormText,
) -> Result<Response> {
    let done = match form.text("do")? {
        Some("budget") => set_budget(&db, &desk, &admin, &form).await,
        Some("quota") => set_quota(&db, &desk, &admin, &form).await,
        _ => Err(Error::invalid("do", Reason::Unknown)),
    };
    match done {
        Ok(()) => Ok(redirect(&desk.to("budgets"))),
        Err(error) => {
            desk.fail(error)?;
            page(&db, &desk, Some(&form)).await
        }
    }
}

async fn set_budget(db: &Db, desk: &Desk, admin: &Admin, form: &QueryText) -> Result<()> {
    let tokens = |name| form.integer(name, 0, i64::MAX);
    let cost = |name| Ok::<_, Error>(form.text(name)?.map(str::to_owned));
    // The form of a site admin has no caps.
    let cap = form.text("with_caps")?.map(|_| {
        Ok::<_, Error>(Cap {
            daily: tokens("daily_cap")?,
            monthly: tokens("monthly_cap")?,
        })
    });
    let limits = Limits::parse(NewLimits {
        daily: tokens("daily_limit")?,
        monthly: tokens("monthly_limit")?,
        daily_cost: Some(cost("daily_cost_limit")?),
        monthly_cost: Some(cost("monthly_cost_limit")?),
        cap: cap.transpose()?,
    })?;
    let site_id = admin.site_in(&desk.query)?;
    let known = form.text("version")?;
    let may_replace = |stored: &Budget| known.is_none_or(|known| known == version_of(stored));
    budgets::set(db, admin, site_id, limits, may_replace).await?;
    Ok(())
}

async fn set_quota(db: &Db, desk: &Desk, admin: &Admin, form: &QueryText) -> Result<()> {
    let (subject_type, subject_id) = subject(form)?;
    let subject = Subject::parse(subject_type, subject_id)?;
    let limits = if form.text("remove")?.is_some() {
        quotas::Limits {
            daily: None,
            monthly: None,
        }
    } else {
        let daily = form.integer("daily_limit", 0, i64::MAX)?;
        let monthly = form.integer("monthly_limit", 0, i64::MAX)?;
        if daily.is_none() && monthly.is_none() {
            return Err(Error::invalid("daily_limit", Reason::Missing));
        }
        quotas::Limits { daily, monthly }
    };
    let known = form.text("version")?;
    let may_replace = |stored: &Quota| match known {
        // A new quota must not replace another one.
        None => stored.daily_limit.is_none() && stored.monthly_limit.is_none(),
        Some(known) => known == version(stored),
    };
    let site_id = admin.site_in(&desk.query)?;
    quotas::set(db, admin, site_id, subject, limits.checked()?, may_replace).await?;
    Ok(())
}
