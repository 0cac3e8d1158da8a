//! Rows that become one row each: runs, results, jobs, agents and bots.

use futures_util::TryStreamExt as _;
use serde_json::{Map, Value};
use sqlx::{Connection as _, types::Json};

use super::{
    BATCH_BYTES, BATCH_ROWS, Import, Kind,
    progress::Progress,
    report::Report,
    row::{Issue, Row},
    target::{self, Target},
    users::Users,
};
use crate::command::AnyError;

/// How rows of a kind are imported.
pub(super) struct Plain<F> {
    pub kind: &'static Kind,
    /// Returns id and JSON of each earlier row, in the order of the ids. `$1` has the time zones of
    /// the sites.
    pub select: &'static str,
    /// Returns the columns of the new row. `kept` has values that have no place in Parlor. Without
    /// numeric ids, it also returns the `id`.
    pub convert: F,
    /// Each gets the new rows as a JSON array.
    pub writes: &'static [&'static str],
}

impl Import {
    pub(super) async fn plain<F>(&mut self, plain: Plain<F>) -> Result<(), AnyError>
    where
        F: Fn(&mut Row, &Users) -> Result<Map<String, Value>, Issue>,
    {
        let Self {
            source,
            target,
            users,
            report,
            ..
        } = self;
        let kind = plain.kind;
        let counted = source.count(kind).await?;
        target.keep_free(kind, &counted).await?;
        report.found(kind, counted.rows());
        let mut progress = Progress::start(kind.name, counted.rows())?;
        let mut rows = sqlx::query_as::<_, (String, String)>(plain.select)
            .bind(Json(&users.zones))
            .fetch(&mut source.connection);
        let mut batch = Vec::new();
        let mut bytes = 0;
        loop {
            let row = rows.try_next().await?;
            let is_last = row.is_none();
            bytes += row.as_ref().map_or(0, |(_, text)| text.len());
            batch.extend(row);
            if is_last || batch.len() >= BATCH_ROWS || bytes >= BATCH_BYTES {
                let size = batch.len() as u64;
                write(&plain, std::mem::take(&mut batch), target, users, report).await?;
                progress.advance(size);
                bytes = 0;
            }
            if is_last {
                break;
            }
        }
        drop(rows);
        progress.finish();
        self.check(kind).await
    }

    /// Compares the counts of the report with what is stored.
    pub(super) async fn check(&mut self, kind: &Kind) -> Result<(), AnyError> {
        if self.target.dry_run || self.target.remembered(kind).await? >= self.report.total(kind) {
            return Ok(());
        }
        Err(format!("fewer {} rows are stored than were imported", kind.name).into())
    }
}

async fn write<F>(
    plain: &Plain<F>,
    batch: Vec<(String, String)>,
    target: &mut Target,
    users: &Users,
    report: &mut Report,
) -> Result<(), AnyError>
where
    F: Fn(&mut Row, &Users) -> Result<Map<String, Value>, Issue>,
{
    let kind = plain.kind;
    let ids: Vec<String> = batch.iter().map(|(id, _)| id.clone()).collect();
    let known = target.known(kind.name, &ids).await?;
    let mut new = Vec::new();
    for (id, text) in batch {
        if known.contains_key(&id) {
            report.imported_before(kind);
            continue;
        }
        let converted = Row::parse(&text).and_then(|mut row| {
            let values = (plain.convert)(&mut row, users)?;
            Ok((row.changes, values))
        });
        match converted {
            Ok((changes, values)) => new.push((id, changes, values)),
            Err(issue) => report.not_imported(kind, &id, &issue)?,
        }
    }
    let numbers = new_ids(kind, target, new.iter().map(|(id, ..)| id.as_str())).await?;
    let (mut rows, mut remembered) = (Vec::new(), Vec::new());
    for ((id, mut changes, mut values), number) in new.into_iter().zip(numbers) {
        if let Some(number) = number {
            if number.is_new {
                changes.push(NEW_ID.into());
            }
            values.insert("id".to_owned(), number.id.into());
        }
        report.imported(kind, &id, &changes)?;
        let kept = values.remove("kept").filter(|kept| !kept.is_null());
        let new_id = match &values["id"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        remembered.push((id, new_id, kept));
        rows.push(Value::Object(values));
    }
    if target.dry_run || rows.is_empty() {
        return Ok(());
    }
    let mut tx = target.connection.begin().await?;
    for statement in plain.writes {
        sqlx::query(*statement)
            .bind(Json(&rows))
            .execute(&mut *tx)
            .await?;
    }
    target::remember(&mut tx, target.service, kind.name, remembered).await?;
    Ok(tx.commit().await?)
}

/// Why a row has another id than before.
pub(super) const NEW_ID: &str = "its id is taken in Parlor: it gets a new one";

/// The id of a new row.
#[derive(Clone, Copy)]
pub(super) struct NewId {
    pub id: i64,
    /// The earlier id is a number, but taken.
    pub is_new: bool,
}

/// The new id of each row: the earlier one if it is free. `None` if the kind has no numeric ids.
pub(super) async fn new_ids(
    kind: &Kind,
    target: &mut Target,
    earlier: impl Iterator<Item = &str>,
) -> Result<Vec<Option<NewId>>, sqlx::Error> {
    let earlier: Vec<Option<i64>> = earlier
        .map(|id| id.parse().ok().filter(|id| *id > 0))
        .collect();
    let Some(numbers) = kind.numbers else {
        return Ok(vec![None; earlier.len()]);
    };
    let wanted: Vec<i64> = earlier.iter().copied().flatten().collect();
    let taken = target.taken(numbers, &wanted).await?;
    let free = |id: Option<i64>| id.filter(|id| !taken.contains(id));
    let needed = earlier.iter().filter(|id| free(**id).is_none()).count();
    let mut next = target.next_ids(numbers, needed).await?.into_iter();
    let ids = earlier.iter().map(|id| match free(*id) {
        Some(id) => Some(NewId { id, is_new: false }),
        None => next.next().map(|new| NewId {
            id: new,
            is_new: id.is_some(),
        }),
    });
    Ok(ids.collect())
}
