//! Reports: complaints of users about AI texts, which an admin must answer in time.
//!
//! As with feedback, the noun of the subject checks that the user may read it.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    governance::{
        auth::{Caller, SiteScope},
        feedback::{Subject, SubjectType, remark},
    },
    platform::{
        db::{Db, StatementTimeout},
        env::{ConfigError, Env},
        error::{Error, Reason, Result},
        paging::{GroupedKey, MAX_COUNTED, Page, Paging, Start, TimeKey, page},
        words::words,
    },
};

words! {
    /// What a user reports, as in the API and the column `reason`.
    pub enum Cause {
        Inaccurate = "inaccurate",
        Unhelpful = "unhelpful",
        Unsafe = "unsafe",
        Illegal = "illegal",
        Privacy = "privacy",
        Other = "other",
    }
}

words! {
    /// State of a report.
    pub enum State {
        Open = "open",
        Resolved = "resolved",
    }
}

/// The time limit for answers.
#[derive(Clone, Copy, Debug)]
pub struct ReportRules {
    /// Days until an answer is due.
    pub days: i32,
}

impl ReportRules {
    /// Reads `COMPLAINT_DAYS`.
    ///
    /// # Errors
    /// Names the variable if it cannot be read.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let days: u16 = env.parsed("COMPLAINT_DAYS", "a whole number up to 65535", 15)?;
        Ok(Self { days: days.into() })
    }
}

/// A report that a user makes.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct NewReport {
    pub subject: Subject,
    pub cause: Cause,
    /// Trimmed, 1 to 2,000 characters.
    pub text: Option<String>,
}

impl NewReport {
    /// Checks the fields of a request, as the mini-program spells them.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a missing field, an unknown word, or a text that is too long or
    /// contains NUL.
    pub fn parse(
        subject_type: Option<&str>,
        subject_id: Option<i64>,
        reason: Option<&str>,
        text: Option<&str>,
    ) -> Result<Self> {
        let kind = known("subjectType", subject_type, SubjectType::parse)?;
        let id = subject_id.ok_or(Error::invalid("subjectId", Reason::Missing))?;
        if id < 1 {
            return Err(Error::invalid("subjectId", Reason::Type));
        }
        Ok(Self {
            subject: Subject { kind, id },
            cause: known("reason", reason, Cause::parse)?,
            text: remark("text", text)?,
        })
    }
}

fn known<T>(
    field: &'static str,
    word: Option<&str>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T> {
    let word = word.ok_or(Error::invalid(field, Reason::Missing))?;
    parse(word).ok_or(Error::invalid(field, Reason::Unknown))
}

/// The answer to a report: trimmed, 1 to 2,000 characters, without NUL.
#[derive(Clone, Debug)]
pub struct ReportAnswer(String);

impl ReportAnswer {
    /// # Errors
    /// [`Error::Invalid`] if the text is missing, empty, too long or contains NUL.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        const FIELD: &str = "answer";
        let text = text.ok_or(Error::invalid(FIELD, Reason::Missing))?;
        remark(FIELD, Some(text))?
            .map(Self)
            .ok_or(Error::invalid(FIELD, Reason::Empty))
    }
}

/// A report.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Report {
    pub id: i64,
    pub site_id: i64,
    pub user_id: i64,
    /// A word of [`SubjectType`].
    pub subject_type: String,
    pub subject_id: i64,
    /// A word of [`Cause`].
    pub reason: String,
    pub text: Option<String>,
    pub due_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub resolved_at: Option<DateTime<Utc>>,
    /// The answer of the admin.
    pub answer: Option<String>,
}

impl Report {
    /// Open until an admin answers.
    pub fn state(&self) -> State {
        match self.resolved_at {
            None => State::Open,
            Some(_) => State::Resolved,
        }
    }
}

/// Id and due date of a new report.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Created {
    pub id: i64,
    pub due_at: DateTime<Utc>,
}

/// Stores a report. The caller of this function has checked in the same transaction that the user
/// may read the subject.
pub(crate) async fn create(
    tx: &mut PgConnection,
    caller: &Caller,
    report: &NewReport,
    rules: ReportRules,
) -> Result<Created> {
    sqlx::query_as!(
        Created,
        "insert into biz.ai_reports (site_id, user_id, subject_type, subject_id, reason, text, due_at)
         values ($1, $2, $3::text, $4, $5::text, $6, clock_timestamp() + make_interval(days => $7))
         returning id, due_at",
        caller.site_id,
        caller.user_id,
        report.subject.kind.name(),
        report.subject.id,
        report.cause.name(),
        report.text,
        rules.days,
    )
    .fetch_one(tx)
    .with_statement_timeout()
    .await
}

/// The caller's reports.
#[derive(Debug)]
pub struct OwnReports {
    /// Newest first.
    pub items: Vec<Report>,
    /// Cursor of the next page, if there is one.
    pub next_cursor: Option<String>,
}

/// The scope of cursors of the caller's own list. A cursor is valid only in its own scope.
pub fn own_scope(caller: &Caller) -> String {
    format!("reports/{}", caller.user_id)
}

/// Lists the caller's own reports, newest first.
pub async fn list_own(db: &Db, caller: &Caller, paging: &Paging<TimeKey>) -> Result<OwnReports> {
    let start = Start::of(paging.from);
    let found = sqlx::query_as!(
        Report,
        r#"
        select id, site_id, user_id, subject_type as "subject_type: String", subject_id, reason as "reason: String", text,
               due_at, created_at, resolved_at, answer
        from biz.ai_reports
        where user_id = $2 and site_id = $1
          and (created_at, id) < (coalesce($3, 'infinity'::timestamptz), coalesce($4::bigint, 0))
        order by created_at desc, id desc limit $5 offset $6
        "#,
        caller.site_id,
        caller.user_id,
        start.before,
        start.before_id,
        paging.size + 1,
        start.offset,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let keyed = found.into_iter().map(|report| {
        let key = (report.created_at.timestamp_micros(), report.id);
        (key, report)
    });
    let (items, next_cursor) = page(keyed, paging.size, &own_scope(caller));
    Ok(OwnReports { items, next_cursor })
}

/// A report with the text that it is about.
#[derive(Clone)]
#[expect(missing_docs, reason = "plain data")]
pub struct ReportedText {
    pub report: Report,
    /// The message or the result. `None` if it was deleted.
    pub content: Option<String>,
}

/// Filters of the admins' list.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct ReportQuery {
    pub scope: SiteScope,
    pub state: Option<State>,
}

impl ReportQuery {
    /// The scope of cursors of this list. A cursor is valid only in its own scope.
    pub fn cursor_scope(&self) -> String {
        format!("reports/{:?}/{:?}", self.scope, self.state)
    }
}

/// Lists reports: overdue ones first, each part newest first.
pub async fn list(
    db: &Db,
    query: &ReportQuery,
    paging: &Paging<GroupedKey>,
) -> Result<Page<ReportedText>> {
    let (overdue, start) = Start::of_grouped(paging.from);
    // The left join returns one row with the total even if the page is empty. The limits of 1 make
    // the plan look up the texts of the page by their keys.
    let rows = sqlx::query!(
        r#"
        with sites (id) as materialized (
            select s.id from biz.sites s where $1::bigint is null or s.id = $1
        ), counted (total) as (
            select count(*) from (
                select from sites s cross join lateral (
                    select from biz.ai_reports r
                    where r.site_id = s.id and ($2::boolean is null or (r.resolved_at is null) = $2)
                    order by r.created_at desc limit $3
                ) each
                limit $3
            ) few
        )
        select counted.total as "total!", r.id as "id?", r.site_id as "site_id?", r.user_id as "user_id?",
               r.subject_type::text as subject_type, r.subject_id as "subject_id?", r.reason::text as reason, r.text,
               r.due_at as "due_at?", r.created_at as "created_at?", r.resolved_at, r.answer, r.overdue,
               coalesce((
                   select visible_text(reply_text(m), m.blocked_at) from biz.ai_messages m
                   where r.subject_type = 'message' and m.id = r.subject_id and m.site_id = r.site_id limit 1
               ), (
                   select c.result_json::text from biz.ai_cache c
                   where r.subject_type = 'insight' and c.id = r.subject_id and c.site_id = r.site_id limit 1
               )) as content
        from counted left join lateral (
            select each.* from sites s cross join lateral (
                (select r.*, true as overdue from biz.ai_reports r
                 where r.site_id = s.id and r.resolved_at is null and r.due_at < now() and coalesce($2, true)
                   and $4 and (r.created_at, r.id) < (coalesce($5, 'infinity'::timestamptz), coalesce($6::bigint, 0))
                 order by r.created_at desc, r.id desc limit $7::bigint + $8::bigint)
                union all
                (select r.*, false from biz.ai_reports r
                 where r.site_id = s.id and not (r.resolved_at is null and r.due_at < now())
                   and ($2 is null or (r.resolved_at is null) = $2)
                   and ($4 or (r.created_at, r.id) < (coalesce($5, 'infinity'::timestamptz), coalesce($6::bigint, 0)))
                 order by r.created_at desc, r.id desc limit $7::bigint + $8::bigint)
            ) each
            order by each.overdue desc, each.created_at desc, each.id desc limit $7 offset $8
        ) r on true
        order by r.overdue desc, r.created_at desc, r.id desc
        "#,
        query.scope.site_id(),
        query.state.map(|state| state == State::Open),
        MAX_COUNTED + 1,
        overdue,
        start.before,
        start.before_id,
        paging.size + 1,
        start.offset,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let found = rows.into_iter().filter_map(|row| {
        let report = Report {
            id: row.id?,
            site_id: row.site_id?,
            user_id: row.user_id?,
            subject_type: row.subject_type?,
            subject_id: row.subject_id?,
            reason: row.reason?,
            text: row.text,
            due_at: row.due_at?,
            created_at: row.created_at?,
            resolved_at: row.resolved_at,
            answer: row.answer,
        };
        let key = (
            row.overdue?,
            report.created_at.timestamp_micros(),
            report.id,
        );
        let content = row.content;
        Some((key, ReportedText { report, content }))
    });
    Ok(Page::counted(
        total,
        found,
        paging.size,
        &query.cursor_scope(),
    ))
}

/// Resolves an open report with an answer.
///
/// # Errors
/// [`Error::NotFound`] if the site has no such report. [`Error::Conflict`] if it was answered
/// before.
pub(crate) async fn resolve(
    tx: &mut PgConnection,
    site_id: i64,
    admin_id: i64,
    id: i64,
    answer: &ReportAnswer,
) -> Result<Report> {
    let resolved = sqlx::query_scalar!(
        r#"select resolved_at is not null as "resolved!" from biz.ai_reports
           where id = $2 and site_id = $1 for no key update"#,
        site_id,
        id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    if resolved {
        return Err(Error::Conflict("the report was answered before"));
    }
    sqlx::query_as!(
        Report,
        r#"
        update biz.ai_reports set resolved_at = clock_timestamp(), resolved_by = $3, answer = $4
        where id = $2 and site_id = $1
        returning id, site_id, user_id, subject_type as "subject_type: String", subject_id, reason as "reason: String", text,
                  due_at, created_at, resolved_at, answer
        "#,
        site_id,
        id,
        admin_id,
        answer.0,
    )
    .fetch_one(tx)
    .with_statement_timeout()
    .await
}
