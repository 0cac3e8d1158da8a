//! The database of Parlor, as an import writes it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
};

use common::platform::functions;
use futures_util::TryStreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use sqlx::{ConnectOptions as _, Executor as _, PgConnection, postgres::PgConnectOptions};

use super::{Kind, Numbers, Service, source::Counted};
use crate::{command::AnyError, database};

pub(super) struct Target {
    pub connection: PgConnection,
    pub service: Service,
    /// Nothing is written.
    pub dry_run: bool,
    /// Time zones of the sites, by id.
    pub sites: BTreeMap<i64, String>,
    /// False in the dry run before the first import.
    has_memory: bool,
}

/// A row to remember: its earlier id, its new id, and values that have no place in Parlor.
pub(super) type Remembered = (String, String, Option<Value>);

impl Target {
    /// # Errors
    /// The database has no schema of this build, or another import is running.
    pub(super) async fn open(
        url: &SecretString,
        service: Service,
        dry_run: bool,
    ) -> Result<Self, AnyError> {
        database::check(url).await?;
        let name = database::name_of(url);
        let mut connection = connect(url).await?;
        let (is_parlor, is_current): (bool, bool) = sqlx::query_as(
            "select to_regclass('biz.function_schemas') is not null, to_regnamespace($1) is not null",
        )
        .bind(functions::SCHEMA)
        .fetch_one(&mut connection)
        .await?;
        match (is_parlor, is_current) {
            (false, _) => {
                return Err(format!(
                    "{name} has no tables of Parlor. If its schema biz is the earlier service's, rename it; \
                     then run `migrate`"
                )
                .into());
            }
            (true, false) => {
                return Err(format!("{name} is of another version: run `migrate` first").into());
            }
            (true, true) => {}
        }
        connection
            .execute("set statement_timeout = 0; set lock_timeout = '30s'")
            .await?;
        sqlx::query("select set_config('search_path', $1, false)")
            .bind(functions::SEARCH_PATH)
            .execute(&mut connection)
            .await?;
        let is_alone: bool =
            sqlx::query_scalar("select pg_try_advisory_lock(hashtextextended('parlor import', 0))")
                .fetch_one(&mut connection)
                .await?;
        if !is_alone {
            return Err(format!("another import into {name} is running").into());
        }
        if !dry_run {
            connection.execute(include_str!("memory.sql")).await?;
        }
        let has_memory = sqlx::query_scalar("select to_regclass('parlor_import.ids') is not null")
            .fetch_one(&mut connection)
            .await?;
        let sites: Vec<(i64, String)> = sqlx::query_as("select id, timezone from biz.sites")
            .fetch_all(&mut connection)
            .await?;
        Ok(Self {
            connection,
            service,
            dry_run,
            sites: sites.into_iter().collect(),
            has_memory,
        })
    }

    /// The new ids of the rows that were imported earlier, by earlier id.
    pub(super) async fn known(
        &mut self,
        kind: &str,
        ids: &[String],
    ) -> Result<HashMap<String, String>, sqlx::Error> {
        if !self.has_memory || ids.is_empty() {
            return Ok(HashMap::new());
        }
        // Lateral with a limit, so that the plan uses the index for each id, also while the table
        // has no statistics.
        let rows: Vec<(String, String)> = sqlx::query_as(
            "select e.id, i.new_id from unnest($3::text[]) e (id) cross join lateral (
                 select i.new_id from parlor_import.ids i
                 where i.service = $1 and i.kind = $2 and i.earlier_id = e.id limit 1
             ) i",
        )
        .bind(self.service.name())
        .bind(kind)
        .bind(ids)
        .fetch_all(&mut self.connection)
        .await?;
        Ok(rows.into_iter().collect())
    }

    /// Lets the sequence of a table begin above the earlier ids, so that rows that Parlor stores
    /// meanwhile do not take them.
    pub(super) async fn keep_free(
        &mut self,
        kind: &Kind,
        earlier: &Counted,
    ) -> Result<(), sqlx::Error> {
        let (Some(numbers), Some(highest), false) = (kind.numbers, earlier.highest, self.dry_run)
        else {
            return Ok(());
        };
        sqlx::query(
            "select setval(s, greatest($2, nextval(s))) from (select pg_get_serial_sequence($1, 'id')::regclass) t (s)",
        )
        .bind(numbers.table)
        .bind(highest)
        .execute(&mut self.connection)
        .await?;
        Ok(())
    }

    /// Which of the ids rows of Parlor have.
    pub(super) async fn taken(
        &mut self,
        numbers: Numbers,
        ids: &[i64],
    ) -> Result<HashSet<i64>, sqlx::Error> {
        let ids: Vec<i64> = sqlx::query_scalar(numbers.taken)
            .bind(ids)
            .fetch_all(&mut self.connection)
            .await?;
        Ok(ids.into_iter().collect())
    }

    /// New ids. In a dry run they are not taken from the sequence.
    pub(super) async fn next_ids(
        &mut self,
        numbers: Numbers,
        count: usize,
    ) -> Result<Vec<i64>, sqlx::Error> {
        if self.dry_run || count == 0 {
            return Ok(vec![0; count]);
        }
        sqlx::query_scalar(
            "select nextval(s) from (select pg_get_serial_sequence($1, 'id')::regclass) t (s), generate_series(1, $2)",
        )
        .bind(numbers.table)
        .bind(i64::try_from(count).unwrap_or(i64::MAX))
        .fetch_all(&mut self.connection)
        .await
    }

    /// Counts the remembered rows of a kind.
    pub(super) async fn remembered(&mut self, kind: &Kind) -> Result<u64, sqlx::Error> {
        let rows: i64 = sqlx::query_scalar(
            "select count(*) from parlor_import.ids where service = $1 and kind = $2",
        )
        .bind(self.service.name())
        .bind(kind.name)
        .fetch_one(&mut self.connection)
        .await?;
        Ok(u64::try_from(rows).unwrap_or_default())
    }

    /// Writes the ids that differ from the earlier ones.
    pub(super) async fn write_ids(&mut self, file: &Path) -> Result<(), AnyError> {
        let mut file = csv::Writer::from_path(file)?;
        file.write_record(["kind", "earlier_id", "new_id", "public_id"])?;
        let mut rows = sqlx::query_as::<_, (String, String, String, Option<String>)>(
            "select i.kind, i.earlier_id, i.new_id, c.public_id::text
             from parlor_import.ids i
             left join biz.ai_conversations c on i.kind = 'session' and c.id::text = i.new_id
             where i.service = $1 and i.earlier_id is distinct from coalesce(c.public_id::text, i.new_id)
             order by i.kind, i.earlier_id",
        )
        .bind(self.service.name())
        .fetch(&mut self.connection);
        while let Some((kind, earlier, new, public)) = rows.try_next().await? {
            file.write_record([&kind, &earlier, &new, public.as_deref().unwrap_or_default()])?;
        }
        file.flush()?;
        Ok(())
    }
}

/// Connects without a log of slow statements: most statements of an import are slow.
pub(super) async fn connect(url: &SecretString) -> Result<PgConnection, sqlx::Error> {
    let options: PgConnectOptions = url.expose_secret().parse()?;
    options.disable_statement_logging().connect().await
}

/// Records imported rows, in the transaction that writes them.
pub(super) async fn remember(
    tx: &mut PgConnection,
    service: Service,
    kind: &str,
    rows: Vec<Remembered>,
) -> Result<(), sqlx::Error> {
    let (mut earlier, mut new, mut details) = (Vec::new(), Vec::new(), Vec::new());
    for (earlier_id, new_id, kept) in rows {
        earlier.push(earlier_id);
        new.push(new_id);
        details.push(kept.map(|kept| kept.to_string()));
    }
    sqlx::query(
        "insert into parlor_import.ids (service, kind, earlier_id, new_id, details)
         select $1, $2, earlier, new, details::jsonb from unnest($3::text[], $4::text[], $5::text[]) t (earlier, new, details)",
    )
    .bind(service.name())
    .bind(kind)
    .bind(earlier)
    .bind(new)
    .bind(details)
    .execute(tx)
    .await?;
    Ok(())
}
